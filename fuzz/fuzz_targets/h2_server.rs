//! Any frames to the server of HTTP/2.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shimmercat_fuzz::run("h2_server", input));
