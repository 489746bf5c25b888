//! The rule that every file of a test folder is part of its test binary.

use std::fs;
use std::path::Path;

/// Asserts that `tests/it/main.rs` of a crate names every file and folder beside it with `mod`.
///
/// Shape: pass `env!("CARGO_MANIFEST_DIR")`. Folders named `cases` and `snapshots` hold data.
pub fn assert_test_files_are_listed(manifest_dir: &str) {
    let folder = Path::new(manifest_dir).join("tests/it");
    let main = fs::read_to_string(folder.join("main.rs")).expect("tests/it/main.rs can be read");
    for entry in fs::read_dir(&folder).expect("tests/it can be listed") {
        let path = entry.expect("tests/it can be listed").path();
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
