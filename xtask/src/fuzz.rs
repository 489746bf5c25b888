//! `cargo xtask fuzz MINUTES [TARGET…] [--keep]`: runs the fuzz targets in turn and sums up what came of it.
//!
//! cargo-fuzz builds them (installed when it is missing, and without a sanitizer, so that the pinned stable toolchain
//! will do). What a fuzzer learns stays in the target folder; what is worth keeping is put into `fuzz/corpus` by
//! `--keep`, which adds the few inputs that reach code no other reaches. Findings are told with the line that repeats them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::shell::{self, find, run};

const CARGO_FUZZ: &str = "0.13.2";
/// No input may take longer than this, in seconds.
const SLOW: u32 = 20;
/// Memory that no target needs, in MiB.
const MEMORY: u32 = 2048;
/// Bytes of an input that is kept; larger ones show nothing that smaller ones do not.
const KEPT_BYTES: u64 = 2048;

/// What came of one target.
struct Outcome {
    name: String,
    runs: u64,
    coverage: String,
    is_clean: bool,
}

/// Runs the targets, all of them unless some are named.
pub(crate) fn command(args: &[String]) -> Result<()> {
    let keeps = args.iter().any(|arg| arg == "--keep");
    let mut words = args.iter().filter(|arg| *arg != "--keep");
    let minutes = words.next().and_then(|word| word.parse::<f64>().ok());
    let minutes = minutes.filter(|minutes| (0.01..10_000.0).contains(minutes));
    let minutes = minutes.context("say for how many minutes: `cargo xtask fuzz MINUTES [TARGET…]`")?;
    let all = targets()?;
    let chosen: Vec<String> = words.cloned().collect();
    if let Some(unknown) = chosen.iter().find(|name| !all.contains(name)) {
        bail!("no target `{unknown}`; there are {}", all.join(", "));
    }
    let chosen = if chosen.is_empty() { all } else { chosen };
    install()?;
    run(&mut cargo_fuzz("build"))?;
    let work = shell::target_dir()?.join("fuzz");
    let mut outcomes = Vec::new();
    for name in chosen {
        shell::section(&format!("fuzzing {name} for {minutes} min"));
        let outcome = fuzz(&name, minutes, &work)?;
        if keeps && outcome.is_clean {
            keep(&name, &work)?;
        }
        outcomes.push(outcome);
    }
    sum_up(&outcomes)
}

/// The targets, by their files.
fn targets() -> Result<Vec<String>> {
    let folder = shell::root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            entry
                .ok()?
                .file_name()
                .into_string()
                .ok()?
                .strip_suffix(".rs")
                .map(str::to_owned)
        })
        .collect();
    names.sort();
    Ok(names)
}

fn install() -> Result<()> {
    if find("cargo-fuzz").is_some() || cargo_home().is_some_and(|home| home.join("bin/cargo-fuzz").is_file()) {
        return Ok(());
    }
    shell::section("installing cargo-fuzz");
    run(&mut shell::cargo(&[
        "install",
        "cargo-fuzz",
        "--locked",
        "--version",
        CARGO_FUZZ,
    ]))
}

fn cargo_home() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home)
}

/// `cargo fuzz COMMAND`, optimised and without a sanitizer.
fn cargo_fuzz(command: &str) -> Command {
    shell::cargo(&["fuzz", command, "--sanitizer", "none", "--release"])
}

fn fuzz(name: &str, minutes: f64, work: &Path) -> Result<Outcome> {
    let corpus = work.join("corpus").join(name);
    let findings = work.join("findings").join(name);
    for folder in [&corpus, &findings] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let output = cargo_fuzz("run")
        .arg(name)
        .arg(&corpus)
        .arg(committed(name))
        .arg("--")
        .arg(format!("-max_total_time={:.0}", (minutes * 60.0).max(1.0)))
        .arg(format!("-timeout={SLOW}"))
        .arg(format!("-rss_limit_mb={MEMORY}"))
        .arg(format!("-dict={}", shell::root().join("fuzz/words.dict").display()))
        .arg(format!("-artifact_prefix={}/", findings.display()))
        .arg("-print_final_stats=1")
        .stdin(Stdio::null())
        .output()
        .context("cargo fuzz does not start")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        // The panic, its place, and where the input is.
        let from = said.find("panicked at").or_else(|| said.find("ERROR: ")).unwrap_or(0);
        eprintln!("{}", said.get(from..).unwrap_or(&said).trim_end());
        eprintln!("repeat it with: cargo fuzz run -s none {name} FILE");
    }
    Ok(Outcome {
        name: name.to_owned(),
        runs: number(&said, "stat::number_of_executed_units:"),
        coverage: coverage(&said).to_owned(),
        is_clean: output.status.success(),
    })
}

fn committed(name: &str) -> PathBuf {
    shell::root().join("fuzz/corpus").join(name)
}

/// Adds to the committed corpus what reaches further than it does.
fn keep(name: &str, work: &Path) -> Result<()> {
    let (new, known) = (work.join("corpus").join(name), committed(name));
    for entry in fs::read_dir(&new)? {
        let path = entry?.path();
        if fs::metadata(&path)?.len() > KEPT_BYTES {
            fs::remove_file(&path)?;
        }
    }
    run(cargo_fuzz("run").arg(name).arg(known).arg(new).args(["--", "-merge=1"]))
}

fn sum_up(outcomes: &[Outcome]) -> Result<()> {
    shell::section("fuzzing");
    for Outcome {
        name,
        runs,
        coverage,
        is_clean,
    } in outcomes
    {
        let verdict = if *is_clean { "no finding" } else { "A FINDING" };
        eprintln!("{name:<16} {runs:>12} runs  {coverage:<24} {verdict}");
    }
    match outcomes.iter().filter(|outcome| !outcome.is_clean).count() {
        0 => Ok(()),
        count => bail!("{count} of {} targets have a finding", outcomes.len()),
    }
}

/// The number behind the last `label` of the fuzzer's words, 0 without one.
fn number(said: &str, label: &str) -> u64 {
    let (_, behind) = said.rsplit_once(label).unwrap_or_default();
    let word = behind.split_whitespace().next().unwrap_or_default();
    word.parse().unwrap_or_default()
}

/// What the last line of progress says about coverage, as `cov: 12 ft: 34`.
fn coverage(said: &str) -> &str {
    let line = said
        .lines()
        .rev()
        .find(|line| line.contains(" cov: "))
        .unwrap_or_default();
    let from = line.find("cov: ").unwrap_or(line.len());
    let to = line.find(" corp: ").unwrap_or(line.len());
    line.get(from..to).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_fuzzer_says_is_understood() {
        let said = "#2\tINITED cov: 9 ft: 10 corp: 1/1b\n#99\tDONE   cov: 12 ft: 34 corp: 5/6b exec/s: 8\n\
                    stat::number_of_executed_units: 99\nstat::peak_rss_mb: 40\n";
        assert_eq!(number(said, "stat::number_of_executed_units:"), 99);
        assert_eq!(coverage(said), "cov: 12 ft: 34");
        assert_eq!((number("", "x"), coverage("")), (0, ""));
    }
}
