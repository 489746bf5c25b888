//! The room on real sockets, loopback only: one module for each part.
//!
//! No test sleeps to wait for something, uses a fixed port, or leaves the machine.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may fail loudly")]

mod accept;
mod channel;
mod child;
mod confine;
mod dial;
mod folder_watch;
mod help;
mod lanes;
mod listen;
mod relay;
mod roles;
mod socks;
mod udp;

/// Every file in this folder is a module of this binary: a forgotten one would never run.
#[test]
fn no_file_is_forgotten() {
    let main = include_str!("main.rs");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it");
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        assert!(
            module == "main" || main.contains(&format!("mod {module};")),
            "{name} is not a module of main.rs"
        );
    }
}
