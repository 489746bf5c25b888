//! `cargo xtask pages`: the parts of the documents that are written from the programs, so that they cannot go stale.
//!
//! `docs/cli.md` is the help of every command; the table of keys in `docs/configuration.md` comes from the JSON Schema
//! that `shimmercat schema` prints, as does that of `docs/limits.md`; the catalogue in `docs/logs.md` from the list of events in the code. With `--check`
//! nothing is written and a difference is an error.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{self, cargo, output, run};

mod events;
mod keys;
mod limits;

/// Columns that the help is wrapped to.
const COLUMNS: &str = "100";
const BEGIN: &str = "<!-- begin: written by `cargo xtask pages` -->\n";
const END: &str = "<!-- end: written by `cargo xtask pages` -->\n";

/// Writes the generated parts, or compares them.
pub(crate) fn command(args: &[String]) -> Result<()> {
    let check = match args {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => bail!("`pages` takes only `--check`"),
    };
    run(&mut cargo(&[
        "build",
        "--quiet",
        "--locked",
        "-p",
        "shimmercat",
        "-p",
        "sc-tool",
    ]))?;
    let programs = shell::target_dir()?.join("debug");
    let cli = cli(&programs)?;
    let schema = output(&mut program(&programs, "shimmercat", &["schema"]))?;
    let schema = serde_json::from_str(&schema).context("the schema is not JSON")?;
    let keys = keys::table(&schema)?;
    let mut stale = Vec::new();
    for (page, text) in [
        ("docs/cli.md", cli),
        ("docs/configuration.md", keys),
        ("docs/limits.md", limits::table(&schema)?),
        ("docs/logs.md", events::table()?),
    ] {
        let file = shell::root().join(page);
        let have = fs::read_to_string(&file).with_context(|| format!("cannot read {page}"))?;
        let want = splice(&have, &text).with_context(|| format!("{page} has no generated part"))?;
        if have == want {
            continue;
        }
        stale.push(page);
        if !check {
            fs::write(&file, want).with_context(|| format!("cannot write {page}"))?;
        }
    }
    match (stale.is_empty(), check) {
        (true, _) => eprintln!("the generated parts are up to date"),
        (false, false) => eprintln!("written: {}", stale.join(", ")),
        (false, true) => bail!(
            "{} do not say what the programs say: run `cargo xtask pages`",
            stale.join(", ")
        ),
    }
    Ok(())
}

/// Puts the text between the two marks.
fn splice(page: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{text}\n{END}{after}"))
}

/// The help of both programs and of all their commands, as one document.
fn cli(programs: &Path) -> Result<String> {
    let mut text = String::new();
    for name in ["shimmercat", "sc-tool"] {
        describe(programs, &[name], &mut text)?;
    }
    Ok(text.trim_end().to_owned() + "\n")
}

/// The help of one command, then that of each command below it.
fn describe(programs: &Path, words: &[&str], text: &mut String) -> Result<()> {
    let [name, rest @ ..] = words else { bail!("no command") };
    let help = output(program(programs, name, rest).arg("--help"))?;
    let level = if rest.is_empty() { "##" } else { "###" };
    write!(
        text,
        "{level} {}\n\n```text\n{}\n```\n\n",
        words.join(" "),
        tidied(&help)
    )?;
    for command in commands(&help) {
        describe(programs, &[words, &[command]].concat(), text)?;
    }
    Ok(())
}

/// The names under `Commands:` of a help text.
fn commands(help: &str) -> Vec<&str> {
    let listed = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect()
}

fn tidied(help: &str) -> String {
    help.trim_end()
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}

/// A built program in an environment that leaves no trace in what it prints.
fn program(programs: &Path, name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(programs.join(name));
    command
        .args(args)
        .env_clear()
        .env("COLUMNS", COLUMNS)
        .env("NO_COLOR", "1")
        .env("HOME", PathBuf::from("/nonexistent"));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let page = format!("before\n{BEGIN}old\n{END}after\n");
        assert_eq!(
            splice(&page, "new\n"),
            Some(format!("before\n{BEGIN}\nnew\n\n{END}after\n"))
        );
        assert_eq!(splice("no marks", "new"), None);
    }

    #[test]
    fn commands_are_found_in_a_help_text() {
        let help = "Usage: x\n\nCommands:\n  one   Does one\n          and more\n  two   Does two\n  help  Print\n\nOptions:\n  -h\n";
        assert_eq!(commands(help), ["one", "two"]);
    }
}
