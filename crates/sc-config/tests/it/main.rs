//! Tests of the devlove file from the outside.
//!
//! [`cases`] compares one file per behaviour with the expectation beside it (`UPDATE_EXPECT=1` rewrites them);
//! [`fuzz`] feeds the same files, whole and mutated, to the reader; [`properties`] covers the small grammars;
//! [`project`] covers folders: discovery, places, instances, first files.
#![forbid(unsafe_code)]

mod cases;
mod fuzz;
mod pages;
mod project;
mod properties;
mod schema;
