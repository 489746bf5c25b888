//! `cargo xtask test` and `ci`: what is run before a change is taken, in the order in which it fails soonest.
//!
//! The test runner is cargo-nextest where it is installed, `cargo test` otherwise; its summary is the last thing said.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, bail};

use crate::shell::{self, cargo, run};
use crate::{bench, instructions, outside, pages, tidy};

/// Installs what the tests need and runs them all; `args` go to the runner.
pub(crate) fn test(args: &[String]) -> Result<()> {
    let apps = outside::prepare()?;
    let mut runner = match has_nextest() {
        true => cargo(&["nextest", "run", "--workspace", "--locked", "--no-fail-fast"]),
        false => cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]),
    };
    runner.args(args).stdin(Stdio::null());
    runner
        .env("SHIMMERCAT_TEST_PYTHON", &apps.python)
        .env("SHIMMERCAT_TEST_NODE_MODULES", &apps.node_modules);
    shell::section("tests");
    run(&mut runner)
}

/// Everything that CI runs.
pub(crate) fn everything() -> Result<()> {
    let started = Instant::now();
    check("fmt", || run(&mut cargo(&["fmt", "--all", "--check"])))?;
    check("clippy", || {
        let lint = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--features",
            "xtask/sample,xtask/bench",
            "--locked",
            "--",
            "-D",
            "warnings",
        ];
        run(&mut cargo(&lint))
    })?;
    check("tidy", tidy::command)?;
    check("pages", || pages::command(&["--check".to_owned()]))?;
    eprintln!(
        "\n== fmt, clippy, tidy and pages are fine after {:.0} s",
        started.elapsed().as_secs_f64()
    );
    outside::install()?;
    check("bench", bench::smoke)?;
    check("instructions", || instructions::command(&[]))?;
    test(&[])
}

fn check(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    shell::section(name);
    match work() {
        Ok(()) => Ok(()),
        Err(error) => bail!("{name}: {error:#}"),
    }
}

fn has_nextest() -> bool {
    let asked = Command::new("cargo-nextest").args(["nextest", "--version"]).output();
    asked.is_ok_and(|output| output.status.success())
}
