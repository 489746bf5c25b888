//! The field `Priority`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shimmercat_fuzz::run("priority", input));
