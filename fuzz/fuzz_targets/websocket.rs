//! The frames of one direction of a websocket.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shimmercat_fuzz::run("websocket", input));
