//! `cargo xtask demo` and `app`, first half: builds the programs, and itself again with the feature `sample`.
//!
//! The second half runs from that build (`sample/`). So the sample application, its client and the programs share one
//! build of TLS, and the commands that need none of it start quickly.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::shell;

/// Builds in release, then becomes the built xtask with the hidden command `inner`.
pub(crate) fn build_and_run(inner: &str, args: &[String]) -> Result<()> {
    let started = Instant::now();
    eprintln!("building shimmercat and sc-tool (release; the first time takes a few minutes)");
    let packages = [
        "-p",
        "shimmercat",
        "-p",
        "sc-tool",
        "-p",
        "xtask",
        "--features",
        "xtask/sample",
    ];
    shell::run(shell::cargo(&["build", "--release", "--locked"]).args(packages))?;
    eprintln!("built in {:.0} s", started.elapsed().as_secs_f64());
    let built = shell::target_dir()?.join("release").join("xtask");
    let failed = Command::new(&built)
        .arg(inner)
        .args(args)
        .current_dir(shell::root())
        .exec();
    Err(failed).with_context(|| format!("{} does not start", built.display()))
}
