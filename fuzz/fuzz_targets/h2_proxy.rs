//! A client of HTTP/2, the proxy, and an application of HTTP/1.1 that must see the same requests.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shimmercat_fuzz::run("h2_proxy", input));
