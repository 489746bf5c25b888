//! From the path of a request to the path of a file.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shimmercat_fuzz::run("url_path", input));
