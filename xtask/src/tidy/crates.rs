//! Rules about the crates: arrows between the rooms, licences, duplicate versions, and crates that must not be here.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::Value;

use crate::shell::{self, output};

/// What a mode may use; never the other mode.
const MODE: &[&str] = &[
    "sc-compile",
    "sc-config",
    "sc-server",
    "sc-site",
    "sc-http",
    "sc-tls",
    "sc-net",
];

/// Which room may use which; a room that is not named here fails. Tests of any room may use sc-testkit.
const ARROWS: &[(&str, &[&str])] = &[
    ("shimmercat", &["sc-devlove", "sc-internet", "sc-config"]),
    ("sc-tool", &["sc-config"]),
    ("sc-devlove", MODE),
    ("sc-internet", MODE),
    (
        "sc-compile",
        &["sc-config", "sc-server", "sc-site", "sc-http", "sc-tls", "sc-net"],
    ),
    ("sc-server", &["sc-site", "sc-http", "sc-tls", "sc-net"]),
    ("sc-site", &["sc-http", "sc-tls", "sc-net"]),
    ("sc-http", &[]),
    ("sc-tls", &[]),
    ("sc-net", &[]),
    ("sc-config", &[]),
    ("sc-testkit", &[]),
    ("xtask", &[]),
];

/// Licences whose text asks for no more than to be carried along.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that may not be in the tree: a second TLS library, or a binding to the system's.
const BANNED: &[&str] = &["native-tls", "openssl", "openssl-sys", "ring"];

/// Crates of which the tree has more than one version. This list may only get shorter.
const DUPLICATES: &[&str] = &["getrandom", "syn", "synstructure", "untrusted"];

/// A crate from outside, as the lock file and the chosen features have it on Linux.
struct Outside {
    name: String,
    version: String,
    licence: String,
}

/// All complaints about the crates.
pub(super) fn check() -> Result<Vec<String>> {
    let metadata = shell::metadata()?;
    let own: Vec<&Value> = list(&metadata["packages"]).collect();
    let outside = outside()?;
    let mut found = arrows(&own);
    found.extend(outside.iter().filter_map(banned));
    found.extend(outside.iter().filter_map(licence));
    found.extend(duplicates(&outside));
    Ok(found)
}

/// What is really built: `cargo metadata` would also list what no chosen feature asks for.
fn outside() -> Result<Vec<Outside>> {
    let tree = [
        "tree",
        "--workspace",
        "--locked",
        "--features",
        "xtask/sample,xtask/bench",
        "--target",
        "x86_64-unknown-linux-gnu",
    ];
    let form = [
        "--edges",
        "normal,build,dev",
        "--prefix",
        "none",
        "--no-dedupe",
        "--format",
        "{p}\t{l}",
    ];
    let text = output(shell::cargo(&tree).args(form))?;
    let lines: BTreeSet<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let read = |line: &str| {
        let (package, licence) = line.split_once('\t')?;
        let mut words = package.split(' ');
        let (name, version) = (words.next()?, words.next()?);
        let is_own = words.any(|word| word.starts_with("(/"));
        let [name, version, licence] = [name, version, licence].map(str::to_owned);
        (!is_own).then_some(Outside { name, version, licence })
    };
    Ok(lines.into_iter().filter_map(read).collect())
}

fn arrows(own: &[&Value]) -> Vec<String> {
    let names: BTreeSet<&str> = own.iter().map(|package| name(package)).collect();
    let mut found = Vec::new();
    for package in own {
        let room = name(package);
        let Some((_, may)) = ARROWS.iter().find(|(known, _)| *known == room) else {
            found.push(format!(
                "`{room}` is a new room: draw its arrows in xtask/src/tidy/crates.rs and argue it in docs/decisions"
            ));
            continue;
        };
        for dependency in list(&package["dependencies"]) {
            let used = name(dependency);
            let for_tests = dependency["kind"] == "dev" && used == "sc-testkit";
            if names.contains(used) && !may.contains(&used) && !for_tests {
                found.push(format!(
                    "`{room}` may not use `{used}`: that arrow is not drawn in ARCHITECTURE.md"
                ));
            }
        }
        let folder = package["manifest_path"].as_str().unwrap_or_default();
        if !folder.ends_with(&format!("/{room}/Cargo.toml")) {
            found.push(format!("the crate `{room}` is not in a folder of that name"));
        }
    }
    found
}

fn banned(package: &Outside) -> Option<String> {
    let name = package.name.as_str();
    BANNED
        .contains(&name)
        .then(|| format!("`{name}` may not be in the tree (see `cargo tree -i {name}`)"))
}

fn licence(package: &Outside) -> Option<String> {
    let Outside { name, licence, .. } = package;
    (!is_allowed(licence)).then(|| format!("`{name}` is under `{licence}`, which is not on the list of licences"))
}

/// Whether an SPDX expression can be met with licences of the list. Parentheses group; AND binds closer than OR.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let mut words = expression
        .split_whitespace()
        .flat_map(split_parentheses)
        .collect::<Vec<_>>();
    words.reverse();
    let allowed = any_of(&mut words);
    allowed && words.is_empty()
}

fn split_parentheses(word: &str) -> Vec<&str> {
    word.split_inclusive(['(', ')'])
        .flat_map(|part| match part.char_indices().last() {
            Some((at, '(' | ')')) => vec![&part[..at], &part[at..]],
            _ => vec![part],
        })
        .filter(|part| !part.is_empty())
        .collect()
}

fn any_of(words: &mut Vec<&str>) -> bool {
    let mut allowed = all_of(words);
    while words.last() == Some(&"OR") {
        words.pop();
        allowed |= all_of(words);
    }
    allowed
}

fn all_of(words: &mut Vec<&str>) -> bool {
    let mut allowed = one(words);
    while words.last() == Some(&"AND") {
        words.pop();
        allowed &= one(words);
    }
    allowed
}

fn one(words: &mut Vec<&str>) -> bool {
    match words.pop() {
        Some("(") => {
            let allowed = any_of(words);
            words.pop() == Some(")") && allowed
        }
        Some(name) if words.last() == Some(&"WITH") => {
            words.pop();
            let exception = words.pop().unwrap_or_default();
            LICENCES.contains(&format!("{name} WITH {exception}").as_str())
        }
        Some(name) => LICENCES.contains(&name),
        None => false,
    }
}

fn duplicates(outside: &[Outside]) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in outside {
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    let twice = |crate_name: &str| versions.get(crate_name).is_some_and(|all| all.len() > 1);
    let new = versions
        .iter()
        .filter(|(crate_name, all)| all.len() > 1 && !DUPLICATES.contains(crate_name));
    let mut found: Vec<String> = new
        .map(|(crate_name, all)| {
            format!(
                "`{crate_name}` is in the tree as {}",
                all.iter().copied().collect::<Vec<_>>().join(" and ")
            )
        })
        .collect();
    let old = DUPLICATES.iter().filter(|crate_name| !twice(crate_name));
    found.extend(old.map(|crate_name| format!("`{crate_name}` is there once now: take it off the list of duplicates")));
    found
}

fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licence_expressions() {
        for yes in [
            "MIT",
            "MIT OR GPL-3.0",
            "MIT/Apache-2.0",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "ISC AND (Apache-2.0 OR ISC)",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        ] {
            assert!(is_allowed(yes), "{yes}");
        }
        for no in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT OR Apache-2.0) AND LGPL-2.1",
            "GPL-2.0 WITH Classpath-exception-2.0",
            "(MIT",
        ] {
            assert!(!is_allowed(no), "{no}");
        }
    }
}
