//! sc-devlove.
#![forbid(unsafe_code)]
