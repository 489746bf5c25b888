//! Black-box tests of `shimmercat internet`. One binary; every file beside this one is a module of it.

#![allow(clippy::print_stdout, reason = "the tests print the figures that they have measured")]

mod alone;
mod balance;
mod crash;
mod differences;
mod drill;
mod edges;
mod gate;
mod kept;
mod kit;
mod life;
mod lossless;
mod manager;
mod mistakes;
mod php;
mod processes;
mod seen;
mod several;
mod shipped;
mod supervised;
mod traffic;
mod user_pages;
mod visitors;

#[test]
fn no_file_is_forgotten() {
    sc_testkit::assert_test_files_are_listed(env!("CARGO_MANIFEST_DIR"), "internet");
}
