//! Whole connections for a fuzzer: servers and clients of this room fed with any bytes, over streams in memory.
//!
//! The functions beside the codecs look at one parser each; here they work together, and what is asked is what no parser
//! can know alone: that a request is the same request to whoever stands behind us ([`proxy`]), that nothing depends on
//! how bytes arrive, and that every connection comes to an end. Nothing outside of fuzzing and tests uses this module.

mod parties;
pub mod proxy;
pub mod single;
mod wire;
