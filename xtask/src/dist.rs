//! `cargo xtask dist`: builds the programs as they are shipped: profile `dist`, arranged by what was counted at work.
//!
//! The compiler lays a program out better when it knows which way it goes (profile-guided optimisation). So it is built
//! twice: once with counters, which the rows of `bench` drive for some seconds, and once with what they counted. The counts
//! are merged by `llvm-profdata`: rustup's component `llvm-tools` has it, and Debian's `llvm-19`. Where there is none, the
//! programs are built without, which is said.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{self, cargo, output, run};
use crate::{bench, outside};

/// The profile of what is shipped.
pub(crate) const PROFILE: &str = "dist";

/// The programs, by their packages, which have the same names.
const PROGRAMS: [&str; 2] = ["shimmercat", "sc-tool"];

/// The Debian package with a merger for the compiler's counts, and the merger.
const LLVM: (&str, &str) = ("llvm-profdata-19", "llvm-19");

const USAGE: &str = "usage: cargo xtask dist [--plain]";

/// Builds them and says where they are.
pub(crate) fn command(args: &[String]) -> Result<()> {
    let is_plain = match args {
        [] => false,
        [flag] if flag == "--plain" => true,
        _ => bail!(USAGE),
    };
    let folder = if is_plain { plain()? } else { build()? };
    for program in PROGRAMS {
        println!("{}", folder.join(program).display());
    }
    Ok(())
}

/// Builds them, with counts where that is possible; the folder that they are in.
pub(crate) fn build() -> Result<PathBuf> {
    let host = host()?;
    let Some(merger) = merger(&host)? else {
        eprintln!(
            "note: there is no llvm-profdata (`rustup component add llvm-tools`), so the programs are built without counts \
             and are slower"
        );
        return plain();
    };
    let work = shell::target_dir()?.join("counts");
    let (raw, merged) = (work.join("raw"), work.join("merged.profdata"));
    if raw.exists() {
        fs::remove_dir_all(&raw).with_context(|| format!("cannot empty {}", raw.display()))?;
    }
    shell::section("building a program that counts");
    let counting = [
        // Counts are taken before crates are put together: how that is done does not matter to them.
        "--config",
        "profile.dist.lto=\"thin\"",
        "-p",
        "shimmercat",
    ];
    built(
        &host,
        &work,
        &format!("-Cprofile-generate={}", raw.display()),
        &counting,
    )?;
    let programs = work.join(&host).join(PROFILE);
    shell::section("driving it");
    bench::train(&programs.join("shimmercat"))?;
    run(Command::new(merger).arg("merge").arg("-o").arg(&merged).arg(&raw))?;
    shell::section("building the programs by what was counted");
    let use_it = format!("-Cprofile-use={}", merged.display());
    built(&host, &work, &use_it, &["-p", "shimmercat", "-p", "sc-tool"])?;
    let folder = shell::target_dir()?.join(PROFILE);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for program in PROGRAMS {
        // A program that runs cannot be written, but another one can take its name.
        let (from, to) = (programs.join(program), folder.join(program));
        let beside = folder.join(format!("{program}.new"));
        let copied = fs::copy(&from, &beside).and_then(|_| fs::rename(&beside, &to));
        copied.with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    }
    Ok(folder)
}

fn plain() -> Result<PathBuf> {
    let packages = ["-p", "shimmercat", "-p", "sc-tool"];
    run(cargo(&["build", "--locked", "--profile", PROFILE]).args(packages))?;
    Ok(shell::target_dir()?.join(PROFILE))
}

/// Builds for the host, named so that what runs while building is not built with these flags.
fn built(host: &str, work: &Path, flags: &str, args: &[&str]) -> Result<()> {
    let mut command = cargo(&["build", "--locked", "--profile", PROFILE, "--target", host]);
    command.arg("--target-dir").arg(work).args(args);
    run(command.env("RUSTFLAGS", flags))
}

/// The compiler's own name for this machine.
fn host() -> Result<String> {
    let told = output(Command::new("rustc").arg("-vV").current_dir(shell::root()))?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say what it builds for")?.to_owned())
}

/// A program that merges counts: the toolchain's, or else Debian's.
fn merger(host: &str) -> Result<Option<PathBuf>> {
    let sysroot = output(
        Command::new("rustc")
            .args(["--print", "sysroot"])
            .current_dir(shell::root()),
    )?;
    let own = Path::new(sysroot.trim()).join(format!("lib/rustlib/{host}/bin/llvm-profdata"));
    if own.is_file() {
        return Ok(Some(own));
    }
    // Without Debian's packages there is none; that is no error.
    let _ = outside::ensure(&[LLVM]);
    Ok(shell::find(LLVM.0))
}
