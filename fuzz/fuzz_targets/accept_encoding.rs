//! The choice of a content coding, from the lines of `Accept-Encoding`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shimmercat_fuzz::run("accept_encoding", input));
