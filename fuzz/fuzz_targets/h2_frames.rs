//! What the server looks at in HTTP/2 frames and header blocks before the engine does.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shimmercat_fuzz::run("h2_frames", input));
