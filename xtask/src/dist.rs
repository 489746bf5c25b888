//! `cargo xtask dist`: builds the programs as they are shipped: profile `dist`, arranged by what was counted at work.
//!
//! A program is faster when what is done often lies together. So the server is built and driven twice more than is needed
//! to have one, each time by the rows of `bench` for some seconds:
//!
//! 1. with counters of the compiler's, whose counts then tell it which way the code goes (profile-guided optimisation);
//! 2. with counters of BOLT's, which moves the finished code about: its blocks within functions, and the functions.
//!
//! Counts are found again by the names of functions, and those depend on the profile, so both builds have the same one,
//! and it is checked that the names are. The tools are Debian's `llvm-19` and `bolt-19`. Where they are not to be had, the
//! programs are built without, which is said.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::shell::{self, cargo, output, run};
use crate::{bench, outside};

/// The profile of what is shipped.
pub(crate) const PROFILE: &str = "dist";

/// The server, which is driven, and the other program; their packages have the same names.
const SERVER: &str = "shimmercat";
const SIDEKICK: &str = "sc-tool";

/// Merges and shows the counts of the compiler's counters.
const PROFDATA: &str = "llvm-profdata-19";
/// Counts in finished programs, and moves their code about.
const BOLT: &str = "llvm-bolt-19";
/// Merges its counts.
const MERGE: &str = "merge-fdata-19";
/// Takes the symbols away.
const STRIP: &str = "llvm-strip-19";

/// The Debian packages that have them.
const TOOLS: [(&str, &str); 5] = [
    (PROFDATA, "llvm-19"),
    (BOLT, "bolt-19"),
    ("/usr/lib/llvm-19/lib/libbolt_rt_instr.a", "libbolt-19-dev"),
    (MERGE, "bolt-19"),
    (STRIP, "llvm-19"),
];

/// Of the functions that were counted, one in so many at least must be in the program under its name. Most are not, since
/// they were put into others.
const FOUND_AGAIN: usize = 20;

const USAGE: &str = "usage: cargo xtask dist [--plain]";

/// Builds them and says where they are.
pub(crate) fn command(args: &[String]) -> Result<()> {
    let is_plain = match args {
        [] => false,
        [flag] if flag == "--plain" => true,
        _ => bail!(USAGE),
    };
    let folder = if is_plain { plain()? } else { build()? };
    for program in [SERVER, SIDEKICK] {
        println!("{}", folder.join(program).display());
    }
    Ok(())
}

/// Builds them, with counts where that is possible; the folder that they are in.
pub(crate) fn build() -> Result<PathBuf> {
    // Without Debian's packages there are none; that is no error.
    let _ = outside::ensure(&TOOLS);
    if let Some((missing, _)) = outside::missing(&TOOLS).first() {
        eprintln!("note: there is no {missing}, so the programs are built without counts and are slower");
        return plain();
    }
    let work = Work {
        host: host()?,
        folder: shell::target_dir()?.join("counts"),
    };
    let counts = work.count()?;
    shell::section("building the programs by what was counted");
    let flags = format!("-Cprofile-use={} -Clink-args=-Wl,--emit-relocs", counts.display());
    work.built(&flags, &["-p", SERVER, "-p", SIDEKICK])?;
    work.check(&counts)?;
    let server = work.arrange()?;
    work.install(&[(SERVER, server), (SIDEKICK, work.made(SIDEKICK))])
}

fn plain() -> Result<PathBuf> {
    run(&mut cargo(&[
        "build",
        "--locked",
        "--profile",
        PROFILE,
        "-p",
        SERVER,
        "-p",
        SIDEKICK,
    ]))?;
    Ok(shell::target_dir()?.join(PROFILE))
}

/// Where it is done.
struct Work {
    /// The compiler's own name for this machine.
    host: String,
    folder: PathBuf,
}

impl Work {
    /// Builds a server that counts, drives it, and merges the counts.
    fn count(&self) -> Result<PathBuf> {
        let (raw, counts) = (self.folder.join("raw"), self.folder.join("merged.profdata"));
        emptied(&raw)?;
        shell::section("building a server that counts");
        self.built(&format!("-Cprofile-generate={}", raw.display()), &["-p", SERVER])?;
        shell::section("driving it");
        // A file for each process: several that write into one spoil it.
        let file = raw.join("%p.profraw");
        bench::train(&self.made(SERVER), &[("LLVM_PROFILE_FILE", &file)])?;
        // A worker that was to be gone meanwhile may have left half a file.
        let merge = ["merge", "--failure-mode=all", "-o"];
        run(Command::new(PROFDATA).args(merge).arg(&counts).arg(&raw))?;
        Ok(counts)
    }

    /// Makes sure that the counts are those of the functions of this program.
    fn check(&self, counts: &Path) -> Result<()> {
        let told = output(Command::new(PROFDATA).args(["show", "--all-functions"]).arg(counts))?;
        let counted: Vec<&str> = told
            .lines()
            .filter_map(|line| line.strip_prefix("  _")?.strip_suffix(':'))
            .collect();
        let told = output(Command::new("nm").arg(self.made(SERVER)))?;
        let has: HashSet<&str> = told
            .lines()
            .filter_map(|line| line.rsplit(' ').next()?.strip_prefix('_'))
            .collect();
        let found = counted.iter().filter(|name| has.contains(*name)).count();
        ensure!(
            found * FOUND_AGAIN >= counted.len() && found > 0,
            "of {} functions that were counted only {found} are in the program: the counts are of another one",
            counted.len()
        );
        Ok(())
    }

    /// Has BOLT move the code of the server about.
    fn arrange(&self) -> Result<PathBuf> {
        let (raw, counts) = (self.folder.join("moves"), self.folder.join("merged.fdata"));
        emptied(&raw)?;
        fs::create_dir(&raw).with_context(|| format!("cannot make {}", raw.display()))?;
        let (made, counting) = (self.made(SERVER), self.folder.join("counting"));
        // It looks for its library beside where it is called, and Debian's name for it is a link from elsewhere.
        let program = shell::find(BOLT).and_then(|link| fs::canonicalize(link).ok());
        let program = program.with_context(|| format!("there is no {BOLT}"))?;
        let bolt = |to: &Path, args: &[&str]| {
            let log = to.with_extension("log");
            let file = fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
            let mut command = Command::new(&program);
            command.arg(&made).arg("-o").arg(to).args(args);
            // It tells of hundreds of functions, one by one.
            run(command.stdout(file.try_clone()?).stderr(file)).with_context(|| format!("see {}", log.display()))
        };
        shell::section("counting once more, in the finished server");
        let file = format!("--instrumentation-file={}", raw.join("counts").display());
        bolt(&counting, &["--instrument", "--instrumentation-file-append-pid", &file])?;
        bench::train(&counting, &[])?;
        let files = fs::read_dir(&raw)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<_>>>()?;
        run(Command::new(MERGE).args(files).stdout(fs::File::create(&counts)?))?;
        shell::section("moving its code about");
        let arranged = self.folder.join("arranged");
        let data = format!("--data={}", counts.display());
        let moves = [
            &data,
            "--reorder-blocks=ext-tsp",
            "--reorder-functions=cdsort",
            "--split-functions",
            "--split-all-cold",
            "--icf=1",
        ];
        bolt(&arranged, &moves)?;
        shell::section("trying it");
        bench::check(&arranged)?;
        Ok(arranged)
    }

    /// Puts the programs where a plain build has them, without their symbols.
    fn install(&self, programs: &[(&str, PathBuf)]) -> Result<PathBuf> {
        let folder = shell::target_dir()?.join(PROFILE);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for (program, made) in programs {
            // A program that runs cannot be written, but another one can take its name.
            let (beside, to) = (folder.join(format!("{program}.new")), folder.join(program));
            run(Command::new(STRIP).arg("-o").arg(&beside).arg(made))?;
            fs::rename(&beside, &to).with_context(|| format!("cannot write {}", to.display()))?;
        }
        Ok(folder)
    }

    /// Builds for the host, named so that what runs while building is not built with these flags. The symbols stay: BOLT
    /// needs them.
    fn built(&self, flags: &str, packages: &[&str]) -> Result<()> {
        let mut command = cargo(&["build", "--locked", "--profile", PROFILE, "--target", &self.host]);
        command.args(["--config", "profile.dist.strip=\"none\""]);
        command.arg("--target-dir").arg(&self.folder).args(packages);
        run(command.env("RUSTFLAGS", flags))
    }

    /// Where a program is once it is built.
    fn made(&self, program: &str) -> PathBuf {
        self.folder.join(&self.host).join(PROFILE).join(program)
    }
}

fn emptied(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    Ok(())
}

/// The compiler's own name for this machine.
fn host() -> Result<String> {
    let told = output(Command::new("rustc").arg("-vV").current_dir(shell::root()))?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say what it builds for")?.to_owned())
}
