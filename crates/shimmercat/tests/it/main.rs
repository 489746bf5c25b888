//! Black-box tests of the `shimmercat` program. One binary; every file beside this one is a module of it.

mod applications;
mod apps;
mod browser;
mod browser_apps;
mod check_as;
mod cli;
mod clients;
mod config;
mod egress;
mod files;
mod hostile;
mod outside;
mod php;
mod refusals;
mod server;
mod serving;
mod start;
mod streams;
mod switches;
mod trust;
mod wordpress;

#[test]
fn no_file_is_forgotten() {
    sc_testkit::assert_test_files_are_listed(env!("CARGO_MANIFEST_DIR"), "it");
}
