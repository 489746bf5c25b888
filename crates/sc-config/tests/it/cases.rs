//! One devlove file per behaviour, with the expected settings or diagnostics beside it.
//!
//! `NAME.yaml`, sometimes `NAME.local.yaml`, and `NAME.expect`. Each case is loaded from a folder of its own that holds
//! the folders `site` and `public`, and the files `afile` and `certs/ca.pem`.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use sc_config::{Diagnostic, Found, Loaded, Settings, load, render_all};

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

/// The names of all cases, and the files in the folder that belong to none.
fn names() -> (BTreeSet<String>, Vec<String>) {
    let files: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let main = |file: &String| {
        file.strip_suffix(".yaml")
            .filter(|name| !name.ends_with(".local"))
            .map(str::to_owned)
    };
    let names: BTreeSet<_> = files.iter().filter_map(main).collect();
    let known = |file: &&String| {
        [".local.yaml", ".expect", ".yaml"]
            .iter()
            .find_map(|end| file.strip_suffix(end))
            .is_some_and(|n| names.contains(n))
    };
    let forgotten = files.iter().filter(|file| !known(file)).cloned().collect();
    (names, forgotten)
}

#[test]
fn every_case_has_its_expectation() {
    let (names, forgotten) = names();
    assert!(forgotten.is_empty(), "files without a case: {forgotten:?}");
    assert!(names.len() >= 40, "only {} cases", names.len());
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !folder().join(format!("{name}.expect")).exists())
        .collect();
    assert!(
        missing.is_empty() || updating(),
        "cases without expectation: {missing:?}"
    );
}

fn updating() -> bool {
    std::env::var_os("UPDATE_EXPECT").is_some()
}

#[test]
fn cases() {
    let mut wrong = Vec::new();
    for name in names().0 {
        let expected_file = folder().join(format!("{name}.expect"));
        let found = outcome(&name);
        if updating() {
            fs::write(&expected_file, &found).unwrap();
        } else if fs::read_to_string(&expected_file).unwrap_or_default() != found {
            wrong.push(format!("--- {name}, found:\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}\n(UPDATE_EXPECT=1 accepts)", wrong.join("\n"));
}

/// A worker gets its settings from the master, so none may be lost or changed on the way.
#[test]
fn settings_go_from_one_process_to_another_as_they_are() {
    let mut seen = 0;
    for name in names().0 {
        if let Ok(loaded) = scene(&name).1 {
            let text = serde_json::to_string(&loaded.settings).unwrap();
            assert_eq!(
                serde_json::from_str::<Settings>(&text).unwrap(),
                loaded.settings,
                "{name}"
            );
            seen += 1;
        }
    }
    assert!(seen >= 20, "only {seen}");
}

/// Everything that is rendered fits a terminal of 80 columns and names its severity.
#[test]
fn expectations_fit_80_columns() {
    for name in names().0 {
        let text = fs::read_to_string(folder().join(format!("{name}.expect"))).unwrap_or_default();
        let rendered = text.split("\n== settings\n").next().unwrap_or_default();
        for line in rendered.lines() {
            assert!(line.chars().count() <= 80, "{name}: {line}");
        }
    }
}

/// Loads a case from a folder of its own, which lasts as long as the first value.
fn scene(name: &str) -> (tempfile::TempDir, Result<Loaded, Vec<Diagnostic>>) {
    let scene = tempfile::tempdir().unwrap();
    let root = scene.path().canonicalize().unwrap();
    for folder in ["site", "public", "certs"] {
        fs::create_dir(root.join(folder)).unwrap();
    }
    fs::write(root.join("afile"), "").unwrap();
    fs::write(root.join("certs/ca.pem"), "").unwrap();
    let file = root.join("devlove.yaml");
    fs::copy(folder().join(format!("{name}.yaml")), &file).unwrap();
    let local = folder().join(format!("{name}.local.yaml"));
    if local.exists() {
        fs::copy(local, root.join("devlove.local.yaml")).unwrap();
    }
    let found = Found {
        shown: "devlove.yaml".into(),
        ..Found::file(&file)
    };
    let loaded = load(&found);
    (scene, loaded)
}

fn outcome(name: &str) -> String {
    let (scene, loaded) = scene(name);
    let root = scene.path().canonicalize().unwrap();
    let text = match loaded {
        Ok(loaded) => format!(
            "{}\n== settings\n{}",
            render_all(&loaded.warnings, false),
            show(&loaded.settings)
        ),
        Err(errors) => render_all(&errors, false),
    };
    text.replace(root.to_str().unwrap(), "<folder>")
}

/// The settings, leaving out what is as it is by default.
fn show(settings: &Settings) -> String {
    let plain = Settings::default();
    let bare = format!("{plain:#?}");
    let known: BTreeSet<&str> = bare.lines().collect();
    let text = format!(
        "{:#?}",
        Settings {
            domains: Vec::new(),
            ..settings.clone()
        }
    );
    let mut out: String = text
        .lines()
        .filter(|line| !known.contains(line) && line.contains(char::is_alphanumeric))
        .map(|line| format!("{line}\n"))
        .collect();
    for domain in &settings.domains {
        out.push_str(&format!("{domain:#?}\n"));
    }
    out
}
