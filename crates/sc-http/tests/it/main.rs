//! Tests of what the drivers and clients put on the wire, over streams in memory.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod app;
mod drain;
mod fuzzed;
mod h1_client;
mod h1_server;
mod h2_both;
mod h2_order;
mod h2_rules;

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

/// Runs a future where tasks that cannot be sent can be spawned, on a clock that only moves while everything waits.
fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, future)
}
