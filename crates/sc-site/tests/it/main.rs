//! What a site answers, asked as the protocol engines ask it: an exchange in, an answer out.
//!
//! Files live in temporary folders, applications are small servers on loopback inside the test. How the answers look on
//! the wire is tested in sc-http and sc-server.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod app;
mod balance;
mod coding;
mod fastcgi;
mod files;
mod kit;
mod oracle;
mod pages;
mod php;
mod proxy;
mod tls;
mod upgrade;

#[test]
fn no_test_file_is_forgotten() {
    sc_testkit::assert_test_files_are_listed(env!("CARGO_MANIFEST_DIR"), "it");
}
