//! Tests of the devlove file from the outside: one case file per behaviour, and properties of the parsers.
#![forbid(unsafe_code)]
