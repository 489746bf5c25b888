//! Tests of a whole server inside the test: real sockets on loopback, applications and clients of the test's own.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod control;
mod end;
mod events;
mod faults;
mod redirect;
mod rig;
mod self_test;

/// No test file is forgotten.
#[test]
fn every_file_is_a_module() {
    let main = include_str!("main.rs");
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let stem = name.strip_suffix(".rs").unwrap();
        assert!(
            stem == "main" || main.contains(&format!("mod {stem};")),
            "{name} is not a module"
        );
    }
}
