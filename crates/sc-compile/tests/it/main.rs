//! The corpora of the fuzz targets, looked at as ordinary tests. They stand in this room because it may use all that parse.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod corpus;
#[expect(unreachable_pub, reason = "the fuzzer uses it as a crate")]
#[path = "../../../../fuzz/src/lib.rs"]
mod targets;
