//! The rule that every file of a test folder is part of its test binary.

use std::fs;
use std::path::Path;

/// Asserts that `main.rs` of a test binary of a crate names every file and folder beside it with `mod`.
///
/// Shape: pass `env!("CARGO_MANIFEST_DIR")`, and the name of the folder in `tests`. Folders named `cases` and `snapshots` hold
/// data.
pub fn assert_test_files_are_listed(manifest_dir: &str, binary: &str) {
    let folder = Path::new(manifest_dir).join("tests").join(binary);
    let main = fs::read_to_string(folder.join("main.rs")).expect("main.rs can be read");
    for entry in fs::read_dir(&folder).expect("the folder can be listed") {
        let path = entry.expect("the folder can be listed").path();
        let is_data = path.is_dir() && !path.join("mod.rs").exists();
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let is_listed = main.lines().any(|line| line.trim() == format!("mod {name};"));
        assert!(
            name == "main" || is_data || is_listed,
            "{} is not part of any test: add `mod {name};`",
            path.display()
        );
    }
}
