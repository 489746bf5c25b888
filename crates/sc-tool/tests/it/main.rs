//! The program from outside: what it prints, what it writes, what it starts.
//!
//! Most tests use a fake browser (a script that says how it was started) and a small SOCKS5 server of their own; the
//! tests in `real` open real browsers on a real `shimmercat devlove`.
mod ca;
mod doctor;
mod firefox;
mod help;
mod opening;
mod profile;
mod programs;
mod real;
mod tcp;
mod world;

#[test]
fn every_file_of_this_folder_is_part_of_it() {
    sc_testkit::assert_test_files_are_listed(env!("CARGO_MANIFEST_DIR"), "it");
}
