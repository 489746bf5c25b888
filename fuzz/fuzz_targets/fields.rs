//! What becomes of header fields on their way to an application.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shimmercat_fuzz::run("fields", input));
