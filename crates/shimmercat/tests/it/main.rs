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
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it");
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
