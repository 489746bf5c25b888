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
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/attacks");
    let main = include_str!("main.rs");
    for entry in std::fs::read_dir(folder).expect("the folder of this file") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        let module = name.trim_end_matches(".rs");
        assert!(
            module == "main" || main.contains(&format!("mod {module};")),
            "{name} is not a module of main.rs"
        );
    }
}
