//! `cargo xtask bench`: ShimmerCat and its peers at the same work, on the same core, in turns; writes `docs/benchmarks.md`.
//!
//! The first half, here, installs the peers, builds the program as it is shipped, and becomes the built xtask, pinned to
//! the core of the load. The second half runs from that build, which has the feature `bench`: [`rows`] says what is
//! measured, [`field`] how, [`meter`] what a measurement is, [`report`] what is made of it. The peers' configurations are
//! the files in `peers/`. Nothing here knows the rooms: the program is measured from outside, like the others.

mod args;
#[cfg(feature = "bench")]
mod check;
#[cfg(feature = "bench")]
mod field;
#[cfg(feature = "bench")]
mod load;
#[cfg(feature = "bench")]
mod machine;
#[cfg(feature = "bench")]
mod meter;
#[cfg(feature = "bench")]
mod peers;
#[cfg(feature = "bench")]
mod report;
#[cfg(feature = "bench")]
mod results;
#[cfg(feature = "bench")]
mod rows;
#[cfg(feature = "bench")]
mod running;
#[cfg(feature = "bench")]
mod special;
#[cfg(feature = "bench")]
mod stage;
#[cfg(feature = "bench")]
mod turns;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use self::args::Options;
use crate::dist::{self, PROFILE};
use crate::{outside, shell};

/// Programs of the peers and of the load, and the Debian packages that have them.
const PROGRAMS: &[(&str, &str)] = &[
    ("curl", "curl"),
    ("danted", "dante-server"),
    ("h2load", "nghttp2-client"),
    ("h2o", "h2o"),
    ("haproxy", "haproxy"),
    ("microsocks", "microsocks"),
    ("nginx", "nginx-light"),
    ("openssl", "openssl"),
    ("python3", "python3"),
    ("taskset", "util-linux"),
    ("timeout", "coreutils"),
];

/// Rows that are worked at to count: what servers do most of the time.
const TRAINING: [&str; 9] = [
    "h1-1",
    "h2-many-1",
    "h2-one-1k",
    "h2-1m",
    "app-",
    "handshake-",
    "gzip-100k",
    "socks-connections",
    "socks-bytes",
];

/// The row of the smoke test.
const SMOKE: &str = "h1-1k";

/// Installs, builds, and becomes the built xtask with the hidden command `bench-built`.
pub(crate) fn build_and_run(args: &[String]) -> Result<()> {
    let mut options = Options::read(args)?;
    if options.help {
        print!("{}", args::USAGE);
        return Ok(());
    }
    if options.needs_peers() {
        outside::ensure(PROGRAMS)?;
        if options.caddy.is_none() {
            options.caddy = Some(caddy()?);
        }
    }
    let folder = shell::target_dir()?.join(PROFILE);
    if let Some(server) = &options.server {
        let found = fs::canonicalize(server).with_context(|| format!("there is no {}", server.display()))?;
        ensure!(found.is_file(), "{} is no program", found.display());
        options.server = Some(found);
    } else if options.needs_peers() {
        eprintln!("building shimmercat (`cargo xtask dist`; the first time takes several minutes)");
        options.server = Some(dist::build()?.join("shimmercat"));
        options.profile = PROFILE.to_owned();
    }
    eprintln!("building the load (profile {PROFILE})");
    build(&["-p", "xtask", "--features", "xtask/bench", "--profile", PROFILE])?;
    become_built(&folder.join("xtask"), &options)
}

/// The smoke test of CI: one row, once, for half a second, with what the tests have built.
pub(crate) fn smoke() -> Result<()> {
    build(&["-p", "shimmercat", "-p", "xtask", "--features", "xtask/bench"])?;
    let folder = shell::target_dir()?.join("debug");
    let args = ["--quick", "--peers", "nginx", SMOKE].map(str::to_owned);
    let mut options = Options::read(&args)?;
    options.server = Some(folder.join("shimmercat"));
    options.profile = "debug".to_owned();
    shell::run(&mut built(&folder.join("xtask"), &options)?)
}

/// Has a program that counts do all kinds of work for a while, with this environment.
pub(crate) fn train(server: &Path, environment: &[(&str, &Path)]) -> Result<()> {
    outside::ensure(PROGRAMS)?;
    build(&["-p", "xtask", "--features", "xtask/bench", "--profile", PROFILE])?;
    let mut args = vec!["--train", "--quick", "--seconds", "2"];
    args.extend(TRAINING);
    shell::run(alone(server, &args, "counting")?.envs(environment.iter().copied()))
}

/// Has a program that was trained answer a few requests rightly.
pub(crate) fn check(server: &Path) -> Result<()> {
    shell::run(&mut alone(
        server,
        &["--train", "--quick", "h1-1k", "h2-many-1k", "app-kept"],
        "arranged",
    )?)
}

/// The built xtask, which will drive a program and no peers.
fn alone(server: &Path, args: &[&str], profile: &str) -> Result<Command> {
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    let mut options = Options::read(&args)?;
    options.server = Some(server.to_owned());
    options.profile = profile.to_owned();
    built(&shell::target_dir()?.join(PROFILE).join("xtask"), &options)
}

fn build(args: &[&str]) -> Result<()> {
    shell::run(shell::cargo(&["build", "--locked"]).args(args))
}

fn become_built(program: &Path, options: &Options) -> Result<()> {
    let failed = built(program, options)?.exec();
    Err(failed).with_context(|| format!("{} does not start", program.display()))
}

/// The built xtask, pinned to the core of the load.
fn built(program: &Path, options: &Options) -> Result<Command> {
    let (server, load) = match options.cores {
        Some(cores) => cores,
        None => cores()?,
    };
    let mut command = Command::new("taskset");
    command
        .args(["-c", &load.to_string()])
        .arg(program)
        .arg("bench-built")
        .args(options.write())
        .args(["--cores", &format!("{server},{load}")])
        .current_dir(shell::root());
    Ok(command)
}

/// Two cores that this process may use, not two threads of one core where there is a choice.
fn cores() -> Result<(usize, usize)> {
    let status = fs::read_to_string("/proc/self/status").context("no /proc")?;
    let allowed = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .map(|list| numbers(list.trim()))
        .unwrap_or_default();
    let [server, rest @ ..] = allowed.as_slice() else {
        bail!("no core is allowed");
    };
    let beside = siblings(*server);
    let apart = rest.iter().find(|core| !beside.contains(core));
    match apart.or(rest.first()) {
        Some(load) => Ok((*server, *load)),
        None => bail!("two cores are needed: one for the server, one for the load"),
    }
}

/// The other threads of a core.
pub(crate) fn siblings(core: usize) -> Vec<usize> {
    let file = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
    numbers(fs::read_to_string(file).unwrap_or_default().trim())
}

/// `0,2-3` as numbers.
fn numbers(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some(from.parse().ok()?..=to.parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

/// Caddy's newest, which Debian does not have: in a virtual environment of its own.
fn caddy() -> Result<PathBuf> {
    let requirements = shell::root().join("xtask/src/bench/peers/requirements.txt");
    Ok(outside::python_packages("bench", &requirements)?.join("bin/caddy"))
}

/// `cargo xtask bench`, second half.
#[cfg(feature = "bench")]
pub(crate) fn bench(args: &[String]) -> Result<()> {
    turns::bench(&Options::read(args)?)
}

/// The application that proxies lead to, and the ends of SOCKS connections; a process of its own beside the load.
#[cfg(feature = "bench")]
pub(crate) fn app(args: &[String]) -> Result<()> {
    load::app::run(args)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_read() {
        assert_eq!(numbers("0-1"), [0, 1]);
        assert_eq!(numbers("0,2-3,7"), [0, 2, 3, 7]);
        assert_eq!(numbers(""), [] as [usize; 0]);
    }
}
