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
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/internet");
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
