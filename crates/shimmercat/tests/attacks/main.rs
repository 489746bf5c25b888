//! The published attacks, one by one, against a real `shimmercat internet`, with a well-behaved client beside each.
//!
//! Every attack has an address of its own on loopback and is met by the very worker that serves the other client. It prints
//! the limit that it runs into, what the worker took at most, and how long the other client waited; it fails when the limit
//! did not act, when the worker took more than its budget, or when the other client noticed. One binary; every file beside
//! this one is a module of it.

#![allow(clippy::print_stdout, reason = "the tests print the figures that they have measured")]

mod attack;
mod crowds;
mod floods;
mod slowness;
mod smuggling;

#[path = "../internet/kit.rs"]
#[allow(dead_code, reason = "shared with the tests of internet mode, which use all of it")]
mod kit;

#[test]
fn no_file_is_forgotten() {
    sc_testkit::assert_test_files_are_listed(env!("CARGO_MANIFEST_DIR"), "attacks");
}
