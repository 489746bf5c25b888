//! A client of HTTP/1.1, the proxy, and an application that must see the same requests.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shimmercat_fuzz::run("h1_proxy", input));
