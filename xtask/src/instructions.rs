//! `cargo xtask instructions`: how many instructions the server executes for a request, counted by callgrind.
//!
//! Counts do not depend on how busy the machine is, so a regression shows at once. Each mode of the bench `hot_path` is run
//! with N and with 2 N requests; the difference, divided by N, is what one costs. The numbers that are expected stand in
//! `crates/sc-server/benches/instructions.txt`; they hold for one toolchain, one C library and one kind of processor, which
//! the file names. Elsewhere only a larger rise fails: `--update` there before a change, and compare with that after it.
//!
//! valgrind has its limits: before 3.24 it knows neither `openat2` (files are found without, as on old kernels) nor the vDSO
//! (so nothing that is counted may read a clock through rustix, which looks for it; the standard library's are fine).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::shell::{self, cargo, output, run};

/// A mode may become this much worse before it fails, in percent: what reordering of code by the compiler may do.
const SLACK_PERCENT: f64 = 3.0;
/// The same on another machine than the one where the numbers were written down: copying and cryptography differ a little.
const SLACK_PERCENT_ELSEWHERE: f64 = 15.0;

/// Requests of the shorter run: enough to make differences of a few thousand instructions in the start invisible.
const REQUESTS: u64 = 480;
/// The same for modes that move a MiB a request or make a handshake.
const HEAVY_REQUESTS: u64 = 12;

/// One run takes seconds; this is for one that hangs.
const RUN_SECONDS: &str = "300";

/// Flags of the processor by which copying and cryptography choose what they execute, as far as valgrind lets them.
const FLAGS: [&str; 8] = ["adx", "aes", "avx", "avx2", "bmi2", "erms", "fma", "pclmulqdq"];

/// How the line in the file begins that says where it was written.
const WRITTEN_ON: &str = "# on: ";

/// The function that is counted, with all it calls: making keys and seeding random numbers takes a different time each run.
const COUNTED: &str = "*counted_part*";

const USAGE: &str = "usage: cargo xtask instructions [--update] [MODE…]";

/// Counts the modes named, or all, and compares them with what is written down.
///
/// Errors: a mode is worse than the slack allows, or cannot be counted.
pub(crate) fn command(args: &[String]) -> Result<()> {
    let (flags, wanted): (Vec<&str>, Vec<&str>) = args.iter().map(String::as_str).partition(|arg| arg.starts_with('-'));
    let is_update = match *flags {
        [] => false,
        ["--update"] => true,
        _ => bail!(USAGE),
    };
    if shell::find("valgrind").is_none() {
        bail!("valgrind is missing; `cargo xtask outside` installs it");
    }
    let program = build()?;
    let known = modes(&program)?;
    if let Some(unknown) = wanted.iter().find(|name| !known.iter().any(|mode| mode == *name)) {
        bail!("no mode `{unknown}`; there are {}", known.join(", "));
    }
    let file = shell::root().join("crates/sc-server/benches/instructions.txt");
    let mut expected = read(&file)?;
    let here = machine()?;
    let there = written_on(&file).unwrap_or_default();
    let slack = if there == here {
        SLACK_PERCENT
    } else {
        SLACK_PERCENT_ELSEWHERE
    };
    let mut worse = Vec::new();
    println!("{:16} {:>12} {:>12} {:>8}", "instructions", "expected", "now", "change");
    for mode in known
        .iter()
        .filter(|mode| wanted.is_empty() || wanted.contains(&mode.as_str()))
    {
        let now = count(&program, mode)?;
        let before = expected.get(mode).copied();
        let change = before.map(|before| (now as f64 / before as f64 - 1.0) * 100.0);
        println!(
            "{mode:16} {:>12} {now:>12} {:>8}",
            before.map_or_else(|| "-".to_owned(), |before| before.to_string()),
            change.map_or_else(|| "new".to_owned(), |change| format!("{change:+.1} %")),
        );
        if change.is_none_or(|change| change > slack) {
            worse.push(mode.clone());
        }
        expected.insert(mode.clone(), now);
    }
    if is_update {
        return write(&file, &here, &known, &expected);
    }
    if there != here {
        println!("counted on: {here}\nexpected on: {there}\nso only a rise of more than {slack} % fails");
    }
    if !worse.is_empty() {
        bail!(
            "more than {slack} % above what is written down: {}. When that is meant: `cargo xtask instructions \
             --update`, and say in the commit why",
            worse.join(", ")
        );
    }
    Ok(())
}

/// Builds the bench and says where it is.
fn build() -> Result<PathBuf> {
    let build = [
        "build",
        "--profile",
        "counted",
        "--locked",
        "-p",
        "sc-server",
        "--bench",
        "hot_path",
    ];
    run(&mut cargo(&build))?;
    let told = output(cargo(&build).args(["--quiet", "--message-format", "json"]))?;
    let artifacts = told
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let programs = artifacts.filter(|artifact| artifact["target"]["name"] == "hot_path");
    let mut paths = programs.filter_map(|artifact| artifact["executable"].as_str().map(PathBuf::from));
    paths.next_back().context("cargo does not say where the bench is")
}

/// The modes that it knows: the first words of the indented lines of its usage.
fn modes(program: &Path) -> Result<Vec<String>> {
    let usage = output(&mut Command::new(program))?;
    let lines = usage.lines().filter_map(|line| line.strip_prefix("  "));
    Ok(lines
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect())
}

/// What one request costs.
fn count(program: &Path, mode: &str) -> Result<u64> {
    let is_heavy = mode.ends_with("-1m") || mode.ends_with("-connect");
    let requests = if is_heavy { HEAVY_REQUESTS } else { REQUESTS };
    let folder = shell::target_dir()?.join("instructions");
    fs::create_dir_all(&folder)?;
    // Side by side: counts do not care.
    let shorter = Counted::start(program, mode, requests, &folder)?;
    let longer = Counted::start(program, mode, 2 * requests, &folder)?;
    let (shorter, longer) = (shorter.total()?, longer.total()?);
    let more = longer.checked_sub(shorter);
    Ok(more.context("more requests took fewer instructions")? / requests)
}

/// A run under callgrind.
struct Counted {
    running: Child,
    counts: PathBuf,
}

impl Counted {
    fn start(program: &Path, mode: &str, requests: u64, folder: &Path) -> Result<Self> {
        let counts = folder.join(format!("{mode}.{requests}"));
        let running = Command::new("timeout")
            .args([
                RUN_SECONDS,
                "valgrind",
                "--tool=callgrind",
                "--quiet",
                "--collect-atstart=no",
            ])
            .arg(format!("--toggle-collect={COUNTED}"))
            .arg(format!("--callgrind-out-file={}", counts.display()))
            // It wonders at length about system calls that it does not know.
            .arg(format!(
                "--log-file={}",
                folder.join(format!("{mode}.{requests}.log")).display()
            ))
            .arg(program)
            .args([mode, &requests.to_string()])
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .spawn()
            .context("valgrind does not start")?;
        Ok(Counted { running, counts })
    }

    fn total(mut self) -> Result<u64> {
        let status = self.running.wait()?;
        if !status.success() {
            bail!("the bench failed under valgrind: {status}");
        }
        let text = fs::read_to_string(&self.counts).with_context(|| format!("no {}", self.counts.display()))?;
        let total = text.lines().rev().find_map(|line| line.strip_prefix("totals: "));
        let total = total.context("callgrind told no total")?;
        total.trim().parse().context("callgrind's total is no number")
    }
}

fn read(file: &Path) -> Result<BTreeMap<String, u64>> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pair = |line: &str| {
        let (mode, count) = line.split_once(' ')?;
        Some((mode.to_owned(), count.trim().parse().ok()?))
    };
    lines
        .map(|line| pair(line).with_context(|| format!("{}: `{line}`", file.display())))
        .collect()
}

/// What counts depend on beside the program.
fn machine() -> Result<String> {
    let first_line = |command: &mut Command| -> Result<String> {
        let text = output(command)?;
        Ok(text.lines().next().unwrap_or_default().trim().to_owned())
    };
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = processor
        .lines()
        .find_map(|line| line.strip_prefix("flags"))
        .unwrap_or_default();
    let has: Vec<&str> = has.split_ascii_whitespace().collect();
    let flags = FLAGS.iter().filter(|flag| has.contains(flag)).copied();
    let parts = [
        std::env::consts::ARCH.to_owned(),
        flags.collect::<Vec<_>>().join(" "),
        first_line(Command::new("getconf").arg("GNU_LIBC_VERSION")).unwrap_or_default(),
        first_line(Command::new("valgrind").arg("--version"))?,
        first_line(Command::new("rustc").arg("--version").current_dir(shell::root()))?,
    ];
    Ok(parts.join(", "))
}

fn written_on(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(WRITTEN_ON))
        .map(str::to_owned)
}

fn write(file: &Path, here: &str, known: &[String], counts: &BTreeMap<String, u64>) -> Result<()> {
    let mut text =
        "# Instructions of the server for one request, counted by `cargo xtask instructions`, which also writes this\n\
                    # file (--update). A rise of more than 3 % fails there.\n"
            .to_owned();
    writeln!(text, "{WRITTEN_ON}{here}")?;
    for (mode, count) in known.iter().filter_map(|mode| Some((mode, counts.get(mode)?))) {
        writeln!(text, "{mode:16} {count:>9}")?;
    }
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
