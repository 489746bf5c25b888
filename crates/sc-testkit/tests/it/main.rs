//! The test kit's clients against its own applications, and against curl.

mod pairs;
mod socks;

#[test]
fn every_file_is_part_of_the_tests() {
    sc_testkit::assert_test_files_are_listed(env!("CARGO_MANIFEST_DIR"), "it");
}
