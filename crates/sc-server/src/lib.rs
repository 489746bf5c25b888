//! sc-server.
#![forbid(unsafe_code)]
