//! What a person may say to `cargo xtask bench`, and how its first half hands it on to the second.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
usage: cargo xtask bench [OPTIONS] [ROW…]

Installs nginx, H2O, HAProxy, Caddy, microsocks and dante, measures them and ShimmerCat in turns on one core, prints the
table, and writes docs/benchmarks.md when every row was measured. Less than ten minutes on a quiet machine, after building.

  ROW…            only these rows, or those whose names begin so (--list names them); then no document is written
  --list          names the rows
  --quick         one short round, no sample repeated: shows that a row works, measures nothing
  --rounds N      how often each server has its turn (5)
  --seconds S     how long each turn is measured (1)
  --runs N        everything so many times; the document shows each (1)
  --peers A,B     only these peers
  --server FILE   measures this program instead of building one
  --cores S,L     the cores of the server and of the load
  --write         writes the document although not every row was measured
  --report        writes the document anew from the last results, and measures nothing
";

/// The command line, read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Beginnings of the names of wanted rows; none means all.
    pub(crate) rows: Vec<String>,
    /// Only name the rows.
    pub(crate) list: bool,
    /// Print the usage.
    pub(crate) help: bool,
    /// Show that it works.
    pub(crate) quick: bool,
    /// Turns of each server, when said.
    pub(crate) rounds: Option<u32>,
    /// Length of a turn, when said.
    pub(crate) seconds: Option<f64>,
    /// How often everything is done, when said.
    pub(crate) runs: Option<u32>,
    /// Peers that are measured; none means all.
    pub(crate) peers: Vec<String>,
    /// The program to measure.
    pub(crate) server: Option<PathBuf>,
    /// What it was built with, for the document.
    pub(crate) profile: String,
    /// Caddy's program.
    pub(crate) caddy: Option<PathBuf>,
    /// The server's core and the load's.
    pub(crate) cores: Option<(usize, usize)>,
    /// Write the document in any case.
    pub(crate) write: bool,
    /// Only write the document.
    pub(crate) report: bool,
    /// Only have the program work, as `devlove`, whose processes may write down what they have counted.
    pub(crate) train: bool,
}

impl Options {
    /// Reads a command line.
    pub(crate) fn read(args: &[String]) -> Result<Self> {
        let mut options = Options::default();
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            let mut value = || rest.next().with_context(|| format!("`{arg}` needs a value"));
            match arg.as_str() {
                "--list" => options.list = true,
                "--quick" => options.quick = true,
                "--write" => options.write = true,
                "--report" => options.report = true,
                "--train" => options.train = true,
                "--rounds" => options.rounds = Some(number(arg, value()?)?),
                "--seconds" => options.seconds = Some(number(arg, value()?)?),
                "--runs" => options.runs = Some(number(arg, value()?)?),
                "--peers" => options.peers = value()?.split(',').map(str::to_owned).collect(),
                "--server" => options.server = Some(PathBuf::from(value()?)),
                "--profile" => options.profile.clone_from(value()?),
                "--caddy" => options.caddy = Some(PathBuf::from(value()?)),
                "--cores" => options.cores = Some(pair(value()?)?),
                "-h" | "--help" => options.help = true,
                flag if flag.starts_with('-') => bail!("`bench` has no option `{flag}`\n\n{USAGE}"),
                row => options.rows.push(row.to_owned()),
            }
        }
        Ok(options)
    }

    /// Whether anything will be measured.
    pub(crate) fn needs_peers(&self) -> bool {
        !self.list && !self.report
    }

    /// The same, as a command line.
    pub(crate) fn write(&self) -> Vec<String> {
        let mut args = Vec::new();
        let flags = [
            (self.list, "--list"),
            (self.quick, "--quick"),
            (self.write, "--write"),
            (self.report, "--report"),
            (self.train, "--train"),
        ];
        args.extend(
            flags
                .iter()
                .filter(|(is_set, _)| *is_set)
                .map(|(_, flag)| (*flag).to_owned()),
        );
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let values = [
            ("--rounds", self.rounds.map(|n| n.to_string())),
            ("--seconds", self.seconds.map(|n| n.to_string())),
            ("--runs", self.runs.map(|n| n.to_string())),
            ("--peers", (!self.peers.is_empty()).then(|| self.peers.join(","))),
            ("--server", path(&self.server)),
            ("--profile", (!self.profile.is_empty()).then(|| self.profile.clone())),
            ("--caddy", path(&self.caddy)),
        ];
        for (flag, value) in values {
            args.extend(value.map(|value| [flag.to_owned(), value]).into_iter().flatten());
        }
        args.extend(self.rows.iter().cloned());
        args
    }
}

fn number<T: FromStr>(flag: &str, value: &str) -> Result<T> {
    value
        .parse()
        .ok()
        .with_context(|| format!("`{flag}` takes a number, not `{value}`"))
}

fn pair(value: &str) -> Result<(usize, usize)> {
    let cores = value
        .split_once(',')
        .and_then(|(one, other)| Some((one.parse().ok()?, other.parse().ok()?)));
    match cores {
        Some((server, load)) if server != load => Ok((server, load)),
        _ => bail!("`--cores` takes two different cores, as in `0,1`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_on_is_what_was_said() -> Result<()> {
        let line = "h1 --rounds 3 --seconds 0.5 --peers nginx,h2o --server a/b --quick --train --runs 2";
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let options = Options::read(&args)?;
        let again = Options::read(&options.write())?;
        assert_eq!(format!("{options:?}"), format!("{again:?}"));
        assert_eq!(
            (again.rounds, again.rows.as_slice()),
            (Some(3), ["h1".to_owned()].as_slice())
        );
        Ok(())
    }

    #[test]
    fn mistakes_are_told() {
        for line in ["--rounds", "--rounds x", "--cores 1,1", "--nonsense"] {
            let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert!(Options::read(&args).is_err(), "{line}");
        }
    }
}
