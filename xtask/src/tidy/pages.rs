//! Holds documents to names that exist: what stands in backticks in `ARCHITECTURE.md`, and links between pages.
//!
//! A name is a file, a folder, a crate, a test, or a word of the code; what looks like none of these (`GET`, `-w`,
//! `127.0.0.1:2006`) is left alone.

use std::path::Path;

use super::File;
use crate::shell;

/// Pages whose names are checked.
const HELD: &[&str] = &["ARCHITECTURE.md", "docs/protocols.md"];

/// All complaints about documents.
pub(super) fn check(files: &[File]) -> Vec<String> {
    let code: Vec<&File> = files.iter().filter(|file| !file.path.ends_with(".md")).collect();
    let mut found = Vec::new();
    for page in files.iter().filter(|file| file.path.ends_with(".md")) {
        found.extend(dead_links(page));
        if HELD.contains(&page.path.as_str()) {
            found.extend(unknown_names(page, &code));
        }
    }
    found.extend(
        HELD.iter()
            .filter(|name| !files.iter().any(|file| file.path == **name))
            .map(|name| format!("{name}: is missing")),
    );
    found
}

fn dead_links(page: &File) -> Vec<String> {
    let folder = Path::new(&page.path).parent().unwrap_or(Path::new(""));
    let targets = page.text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = targets.filter(|target| !target.contains(':') && !target.starts_with('#') && !target.contains(' '));
    local
        .map(|target| target.split('#').next().unwrap_or_default())
        .filter(|target| !shell::root().join(folder).join(target).exists())
        .map(|target| format!("{}: links to `{target}`, which is not there", page.path))
        .collect()
}

fn unknown_names(page: &File, code: &[&File]) -> Vec<String> {
    let mut fenced = false;
    let mut found = Vec::new();
    for (at, line) in page.text.lines().enumerate() {
        if line.starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for name in line.split('`').skip(1).step_by(2).filter(|name| !exists(name, code)) {
            found.push(format!("{}:{}: names `{name}`, which is nowhere", page.path, at + 1));
        }
    }
    found
}

fn exists(name: &str, code: &[&File]) -> bool {
    if name.contains('/') && !name.contains(char::is_whitespace) && looks_like_path(name) {
        let path = name.trim_end_matches('/');
        return shell::root().join(path).exists() || shell::root().join("crates").join(path).exists();
    }
    // `sc_http::Fault` is there when its last part is a word of a crate of that name.
    if let Some((crate_name, item)) = name.split_once("::") {
        let folder = format!("crates/{}/", crate_name.replace('_', "-"));
        let last = item.rsplit("::").next().unwrap_or(item).trim_end_matches("()");
        let own = code.iter().any(|file| file.path.starts_with(&folder));
        return !own
            || code
                .iter()
                .any(|file| file.path.starts_with(&folder) && says(file, last));
    }
    let word = name.trim_end_matches("()");
    let is_name = word.len() > 3 && word.contains('_') && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    !is_name || code.iter().any(|file| says(file, word))
}

fn looks_like_path(name: &str) -> bool {
    let first = name.split('/').next().unwrap_or_default();
    ["crates", "docs", "xtask", "sample", "tests", ".ci"].contains(&first)
        || first.starts_with("sc-")
        || first == "shimmercat"
}

/// Whether a file has the word, as a word, or is named by it.
fn says(file: &File, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let whole = |at: usize| {
        let before = file.text[..at].chars().next_back();
        let after = file.text[at + word.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    };
    file.path.ends_with(&format!("/{word}.rs"))
        || file.path.ends_with(&format!("/{word}/mod.rs"))
        || file.text.match_indices(word).any(|(at, _)| whole(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_for_where_they_say_they_are() {
        let code = File {
            path: "crates/sc-http/src/fault.rs".to_owned(),
            text: "pub struct Fault;\nfn every_kind_is_answered() {}".to_owned(),
        };
        let code = [&code];
        for there in [
            "sc_http::Fault",
            "sc_http::fault",
            "every_kind_is_answered",
            "GET",
            "-w",
            "127.0.0.1:2006",
            "xtask/src/main.rs",
            "tokio::spawn",
        ] {
            assert!(exists(there, &code), "{there}");
        }
        for nowhere in ["sc_http::Fau", "no_such_test", "xtask/src/nothing.rs", "sc_http::Gone"] {
            assert!(!exists(nowhere, &code), "{nowhere}");
        }
    }
}
