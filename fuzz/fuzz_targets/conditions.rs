//! Conditional fields, entity-tags and dates.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shimmercat_fuzz::run("conditions", input));
