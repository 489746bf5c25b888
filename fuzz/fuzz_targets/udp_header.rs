//! The header of a datagram between a client and the relay.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shimmercat_fuzz::run("udp_header", input));
