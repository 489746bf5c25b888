//! sc-config.
#![forbid(unsafe_code)]
