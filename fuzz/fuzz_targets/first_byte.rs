//! The dialect of a client of the proxy port.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shimmercat_fuzz::run("first_byte", input));
