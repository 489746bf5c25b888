//! The outside programs that the tests are written against: which they are, and how a Debian machine gets them.
//!
//! Nothing is skipped silently: a test asks for its program by name and fails without it, and `cargo xtask ci` fails
//! before any test when one of this list cannot be found. Only what is missing is installed. Python and Node packages
//! go into a folder of their own in the cache, pinned by `tests/apps`, and never into the system.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{self, find, run};

/// Program, or a file by its whole path, and the Debian package that has it.
const PROGRAMS: &[(&str, &str)] = &[
    ("certutil", "libnss3-tools"),
    ("chromium", "chromium"),
    ("curl", "curl"),
    ("danted", "dante-server"),
    ("dig", "bind9-dnsutils"),
    ("firefox-esr", "firefox-esr"),
    ("h2load", "nghttp2-client"),
    ("ip", "iproute2"),
    ("mariadbd", "mariadb-server"),
    ("microsocks", "microsocks"),
    ("nc", "netcat-openbsd"),
    ("nghttp", "nghttp2-client"),
    ("nginx", "nginx-light"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("nsenter", "util-linux"),
    ("openssl", "openssl"),
    ("php-fpm8.2", "php8.2-fpm"),
    ("python3", "python3"),
    ("redis-cli", "redis-tools"),
    ("redis-server", "redis-server"),
    ("script", "bsdutils"),
    ("setcap", "libcap2-bin"),
    ("setpriv", "util-linux"),
    ("ssh", "openssh-client"),
    ("strace", "strace"),
    ("systemd-analyze", "systemd"),
    ("systemd-socket-activate", "systemd"),
    ("unshare", "util-linux"),
    ("valgrind", "valgrind"),
    ("wrk", "wrk"),
    ("/usr/share/wordpress/wp-load.php", "wordpress"),
];

/// Where the pinned Python and Node packages are, for the tests: set as environment of the test run.
pub(crate) struct Apps {
    /// The interpreter of the virtual environment.
    pub(crate) python: PathBuf,
    /// The `node_modules` folder.
    pub(crate) node_modules: PathBuf,
}

/// Installs what is missing.
pub(crate) fn install() -> Result<()> {
    prepare().map(|_| ())
}

/// Installs what is missing of other programs, each with the Debian package that has it.
pub(crate) fn ensure(programs: &[(&str, &str)]) -> Result<()> {
    debian_packages(programs)
}

/// A virtual environment of its own in the cache, with the packages that a file pins.
pub(crate) fn python_packages(name: &str, requirements: &Path) -> Result<PathBuf> {
    let folder = cache_dir()?.join(name);
    up_to_date(&folder, &[requirements.to_path_buf()], |sources| venv(&folder, sources))?;
    Ok(folder)
}

/// Installs what is missing and says where the packages are.
pub(crate) fn prepare() -> Result<Apps> {
    debian_packages(PROGRAMS)?;
    let cache = cache_dir()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    Ok(Apps {
        python: python(&cache)?,
        node_modules: node(&cache)?,
    })
}

/// `$XDG_CACHE_HOME/shimmercat`, or `~/.cache/shimmercat`.
fn cache_dir() -> Result<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    Ok(base
        .context("neither XDG_CACHE_HOME nor HOME is set")?
        .join("shimmercat"))
}

fn debian_packages(programs: &[(&str, &str)]) -> Result<()> {
    let mut wanted: Vec<&str> = missing(programs).into_iter().map(|(_, package)| package).collect();
    if !has_venv() {
        wanted.push("python3-venv");
    }
    wanted.sort_unstable();
    wanted.dedup();
    if wanted.is_empty() {
        return Ok(());
    }
    if find("apt-get").is_none() {
        bail!(
            "these Debian packages are missing, and there is no apt-get to install them: {}",
            wanted.join(" ")
        );
    }
    shell::section(&format!("installing {}", wanted.join(" ")));
    run(apt().args(["update", "-q"]))?;
    run(apt()
        .args(["install", "-q", "-y", "--no-install-recommends"])
        .args(&wanted))?;
    match missing(programs).as_slice() {
        [] => Ok(()),
        still => bail!(
            "installed, and still not found: {}",
            still.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
        ),
    }
}

/// Those of a list that cannot be found.
pub(crate) fn missing<'a>(programs: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    programs
        .iter()
        .copied()
        .filter(|(program, _)| match program.starts_with('/') {
            true => !Path::new(program).exists(),
            false => find(program).is_none(),
        })
        .collect()
}

fn has_venv() -> bool {
    let asked = Command::new("python3").args(["-c", "import venv, ensurepip"]).output();
    asked.is_ok_and(|output| output.status.success())
}

/// `apt-get`, through sudo when we are not root; it asks nothing.
fn apt() -> Command {
    let is_root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    let mut command = Command::new(if is_root { "env" } else { "sudo" });
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    command
}

fn python(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join("python");
    up_to_date(&folder, &apps(&["requirements.txt"]), |sources| venv(&folder, sources))?;
    Ok(folder.join("bin/python3"))
}

/// Makes a virtual environment with the packages of the first file.
fn venv(folder: &Path, requirements: &[PathBuf]) -> Result<()> {
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
    run(Command::new(folder.join("bin/python3"))
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
        .args(requirements.first()))
}

fn node(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join("node");
    up_to_date(&folder, &apps(&["package.json", "package-lock.json"]), |sources| {
        fs::create_dir_all(&folder)?;
        for source in sources {
            fs::copy(source, folder.join(source.file_name().unwrap_or_default()))?;
        }
        run(Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
            .current_dir(&folder))
    })?;
    Ok(folder.join("node_modules"))
}

/// Files of `tests/apps`.
fn apps(names: &[&str]) -> Vec<PathBuf> {
    let folder = shell::root().join("tests/apps");
    names.iter().map(|name| folder.join(name)).collect()
}

/// Runs `install` unless it has succeeded before for the same contents of the files.
fn up_to_date(folder: &Path, sources: &[PathBuf], install: impl FnOnce(&[PathBuf]) -> Result<()>) -> Result<()> {
    let mut wanted = String::new();
    for source in sources {
        wanted += &fs::read_to_string(source).with_context(|| format!("cannot read {}", source.display()))?;
    }
    let stamp = folder.join("installed-from");
    if fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    let names: Vec<_> = sources
        .iter()
        .filter_map(|source| source.file_name()?.to_str())
        .collect();
    shell::section(&format!("installing {} into {}", names.join(" and "), folder.display()));
    install(sources).with_context(|| format!("cannot install {}", names.join(" and ")))?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))
}
