//! Any frames to the client of HTTP/2, as the answer of an application.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shimmercat_fuzz::run("h2_response", input));
