//! Every file of every corpus goes through its target; and what is fuzzed, its list and its files agree.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use crate::targets::{TARGETS, run};

/// Small enough that nobody minds them in a clone.
const MOST_FILES: usize = 300;
const MOST_BYTES: usize = 400 << 10;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(name)
}

/// Names in a folder, without the ending `.rs`.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    entries
        .map(|entry| name(entry.unwrap()).trim_end_matches(".rs").to_owned())
        .collect()
}

#[test]
fn every_corpus_replays() {
    let (mut files, mut bytes, mut failed) = (0, 0, Vec::new());
    for (name, _) in TARGETS {
        let corpus = folder("corpus").join(name);
        for file in names(&corpus) {
            let input = fs::read(corpus.join(&file)).unwrap();
            (files, bytes) = (files + 1, bytes + input.len());
            if catch_unwind(|| run(name, &input)).is_err() {
                failed.push(format!("{name}/{file}"));
            }
        }
    }
    assert!(failed.is_empty(), "these inputs are a finding: {failed:?}");
    assert!(
        files <= MOST_FILES && bytes <= MOST_BYTES,
        "{files} files, {bytes} bytes: minimise them"
    );
}

#[test]
fn every_target_has_its_binary_and_its_corpus() {
    let listed: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(listed, names(&folder("fuzz_targets")));
    assert_eq!(listed, names(&folder("corpus")));
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for name in listed {
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")),
            "{name} has no binary"
        );
        let source = fs::read_to_string(folder("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        assert!(
            source.contains(&format!("run(\"{name}\", input)")),
            "{name} runs something else"
        );
    }
}
