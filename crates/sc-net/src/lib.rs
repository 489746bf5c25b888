//! sc-net.
#![forbid(unsafe_code)]
