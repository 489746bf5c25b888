//! sc-site.
#![forbid(unsafe_code)]
