//! sc-tls.
#![forbid(unsafe_code)]
