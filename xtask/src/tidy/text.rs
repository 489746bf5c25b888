//! Rules about the text of files: headers, `unsafe`, owners of things, forgotten test files, paths of one machine.

use std::collections::BTreeSet;

use super::File;

/// A word of the standard library or a crate, and the rooms whose code may say it (tests may say all).
struct Owner {
    words: &'static [&'static str],
    rooms: &'static [&'static str],
    instead: &'static str,
}

const OWNERS: &[Owner] = &[
    Owner {
        words: &["std::env::var", "env::var(", "env::var_os(", "env::vars"],
        rooms: &["shimmercat", "sc-tool", "sc-testkit", "xtask"],
        instead: "the environment is read in the programs and handed down",
    },
    Owner {
        words: &["spawn_local(", "tokio::spawn("],
        rooms: &["sc-net", "sc-testkit", "xtask"],
        instead: "tasks are started through sc_net::tasks",
    },
    Owner {
        words: &["std::process::exit", "process::exit("],
        rooms: &["shimmercat", "sc-tool", "xtask"],
        instead: "only a program decides to end",
    },
    Owner {
        words: &["Command::new("],
        rooms: &["sc-tool", "sc-internet", "sc-testkit", "xtask", "shimmercat"],
        instead: "child processes belong to sc-tool (browsers) and sc-internet (workers, Redis)",
    },
    Owner {
        words: &["anyhow::"],
        rooms: &["xtask"],
        instead: "a library says what can fail, in an enum of its own",
    },
];

/// All complaints about the text of files.
pub(super) fn check(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        found.extend(machine_paths(file));
        if file.is_rust() {
            found.extend(header(file));
            found.extend(crate_root(file));
            found.extend(unsafe_blocks(file));
            found.extend(owners(file));
        }
    }
    found.extend(forgotten_tests(files));
    found
}

fn header(file: &File) -> Option<String> {
    (!file.text.starts_with("//! ")).then(|| format!("{}: starts without a `//!` header", file.path))
}

fn crate_root(file: &File) -> Option<String> {
    let is_root = file.path.ends_with("/src/lib.rs") || file.path.ends_with("/src/main.rs");
    let needs = is_root && room(file) != "sc-net";
    (needs && !file.text.contains("#![forbid(unsafe_code)]"))
        .then(|| format!("{}: has no `#![forbid(unsafe_code)]`", file.path))
}

/// Only sc-net has `unsafe`, and each block says right above, or in its first line, why it is sound.
fn unsafe_blocks(file: &File) -> Vec<String> {
    let lines: Vec<&str> = file.text.lines().collect();
    let is_unsafe = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        [
            concat!("unsafe", " {"),
            concat!("unsafe", " fn"),
            concat!("unsafe", " impl"),
            concat!("unsafe", " extern"),
        ]
        .iter()
        .any(|word| code.contains(word))
    };
    let mut found = Vec::new();
    for (at, _) in lines.iter().enumerate().filter(|(_, line)| is_unsafe(line)) {
        let near = lines
            .get(at.saturating_sub(5)..(at + 2).min(lines.len()))
            .unwrap_or_default();
        if room(file) != "sc-net" {
            found.push(format!("{}:{}: `unsafe` belongs to sc-net", file.path, at + 1));
        } else if !near.iter().any(|line| line.contains("SAFETY:")) {
            found.push(format!("{}:{}: `unsafe` without a `SAFETY:` line", file.path, at + 1));
        }
    }
    found
}

fn owners(file: &File) -> Vec<String> {
    if is_test(&file.path) {
        return Vec::new();
    }
    let code = without_tests(&file.text);
    let said = |word: &&str| {
        code.lines()
            .any(|line| !line.trim_start().starts_with("//") && line.contains(*word))
    };
    let foreign = OWNERS.iter().filter(|owner| !owner.rooms.contains(&room(file)));
    foreign
        .filter_map(|owner| {
            owner
                .words
                .iter()
                .find(|word| said(word))
                .map(|word| (word, owner.instead))
        })
        .map(|(word, instead)| format!("{}: says `{word}`, but {instead}", file.path))
        .collect()
}

/// Every file beside `tests/it/main.rs` is a module of it.
fn forgotten_tests(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for main in files.iter().filter(|file| file.path.ends_with("/tests/it/main.rs")) {
        let folder = main.path.trim_end_matches("main.rs");
        let declared: BTreeSet<&str> = main
            .text
            .lines()
            .filter_map(|line| {
                line.trim()
                    .trim_start_matches("pub ")
                    .strip_prefix("mod ")?
                    .strip_suffix(';')
            })
            .collect();
        let beside = files
            .iter()
            .filter_map(|file| file.path.strip_prefix(folder))
            .filter(|name| *name != "main.rs");
        for name in beside.filter(|name| name.ends_with(".rs")) {
            let module = name.split('/').next().unwrap_or_default().trim_end_matches(".rs");
            if !declared.contains(module) {
                found.push(format!(
                    "{folder}{name}: is never compiled, `main.rs` has no `mod {module};`"
                ));
            }
        }
    }
    found
}

/// Absolute paths into somebody's home or workshop have no place in a repository; `me` and `you` are nobody.
fn machine_paths(file: &File) -> Vec<String> {
    let homes = ["home", "root", "Users", "work"].map(|folder| format!("/{folder}/"));
    let starts_path = |before: Option<char>| before.is_none_or(|c| !c.is_alphanumeric() && !"/._-~>}*".contains(c));
    let is_nobody = |rest: &str| {
        ["me", "you"]
            .iter()
            .any(|name| rest.strip_prefix(name).is_some_and(ends_a_word))
    };
    let said = |line: &str| {
        let found = homes.iter().flat_map(|home| line.match_indices(home.as_str()));
        found
            .into_iter()
            .any(|(at, home)| starts_path(line[..at].chars().next_back()) && !is_nobody(&line[at + home.len()..]))
    };
    let lines = file.text.lines().enumerate().filter(|(_, line)| said(line));
    lines
        .map(|(at, _)| format!("{}:{}: names a path of one machine", file.path, at + 1))
        .collect()
}

fn ends_a_word(rest: &str) -> bool {
    !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '-')
}

/// The room a file belongs to: its folder under `crates`, or `xtask`.
fn room(file: &File) -> &str {
    let mut parts = file.path.split('/');
    match parts.next() {
        Some("crates") => parts.next().unwrap_or_default(),
        other => other.unwrap_or_default(),
    }
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.contains("/benches/") || path.contains("/examples/")
}

/// The text up to its test module, which stands last in a file.
fn without_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod ").map_or(text, |at| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, text: &str) -> Vec<String> {
        check(&[File {
            path: path.to_owned(),
            text: text.to_owned(),
        }])
    }

    #[test]
    fn a_clean_file_passes() {
        let text = "//! Header.\n#![forbid(unsafe_code)]\nfn f() {}\n#[cfg(test)]\nmod tests { fn g() { std::env::var(\"A\"); } }\n";
        assert_eq!(complaints("crates/sc-http/src/lib.rs", text), Vec::<String>::new());
    }

    #[test]
    fn each_rule_complains() {
        let unsafe_line = concat!("fn f() { ", "unsafe", " { g() } }\n");
        let home = format!("//! See /{}/meg/x.\n", "home");
        for (path, text, want) in [
            ("crates/sc-http/src/a.rs", "fn f() {}\n", "header"),
            ("crates/sc-http/src/lib.rs", "//! H.\n", "forbid"),
            (
                "crates/sc-http/src/a.rs",
                &format!("//! H.\n{unsafe_line}"),
                "belongs to sc-net",
            ),
            ("crates/sc-net/src/a.rs", &format!("//! H.\n{unsafe_line}"), "SAFETY"),
            (
                "crates/sc-http/src/a.rs",
                "//! H.\nlet x = std::env::var(\"A\");\n",
                "environment",
            ),
            ("crates/sc-site/src/a.rs", "//! H.\ntokio::spawn(f);\n", "sc_net::tasks"),
            ("README.md", &home, "one machine"),
        ] {
            let found = complaints(path, text);
            assert!(found.len() == 1 && found[0].contains(want), "{path}: {found:?}");
        }
    }

    #[test]
    fn a_test_file_that_nobody_declares_is_found() {
        let file = |path: &str, text: &str| File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let files = [
            file("crates/a/tests/it/main.rs", "//! H.\nmod one;\n"),
            file("crates/a/tests/it/one.rs", "//! H.\n"),
            file("crates/a/tests/it/two.rs", "//! H.\n"),
        ];
        assert_eq!(forgotten_tests(&files).len(), 1);
    }
}
