//! The expression of `--log-codes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shimmercat_fuzz::run("log_codes", input));
