//! The answer of a FastCGI application.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shimmercat_fuzz::run("fastcgi", input));
