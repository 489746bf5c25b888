//! Handshakes: between our two sides in memory, and with OpenSSL as the independent other side.

mod credentials;
mod failures;
mod files;
mod handshakes;
mod openssl;
mod support;
mod tickets;

#[test]
fn every_file_is_part_of_the_tests() {
    sc_testkit::assert_test_files_are_listed(env!("CARGO_MANIFEST_DIR"), "it");
}
