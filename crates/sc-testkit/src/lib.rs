//! sc-testkit.
#![forbid(unsafe_code)]
