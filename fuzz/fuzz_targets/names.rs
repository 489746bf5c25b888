//! Authorities, hosts and names of sites.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shimmercat_fuzz::run("names", input));
