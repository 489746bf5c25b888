//! The rules of the repository that no compiler holds, as one command and one ordinary test.
//!
//! Every rule is a function from what is in the repository to complaints; it changes nothing. Rules about the crates
//! read `cargo metadata` ([`crates`]), rules about text read the files that git knows ([`text`]), [`pages`] holds
//! `ARCHITECTURE.md` to names that exist, and [`protocols`] the page of protocols to tests. Old debt stands in lists beside
//! the rules, which may only get shorter: an entry that is no longer needed is itself a complaint.

mod crates;
mod pages;
mod protocols;
mod size;
mod text;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{self, output};

/// A file of the repository.
pub(crate) struct File {
    /// Its path from the top, with `/`.
    pub(crate) path: String,
    /// Its contents.
    pub(crate) text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// `cargo xtask tidy`.
pub(crate) fn command() -> Result<()> {
    let files = files()?;
    let complaints = complaints(&files)?;
    size::print_largest(&files);
    if complaints.is_empty() {
        eprintln!("tidy: {} files and the crates keep the rules", files.len());
        return Ok(());
    }
    for complaint in &complaints {
        eprintln!("error: {complaint}");
    }
    bail!("{} rules of the repository are broken", complaints.len())
}

fn complaints(files: &[File]) -> Result<Vec<String>> {
    let mut found = crates::check()?;
    found.extend(text::check(files));
    found.extend(pages::check(files));
    found.extend(protocols::check(files));
    Ok(found)
}

/// Every text file that git has or would take.
fn files() -> Result<Vec<File>> {
    let root = shell::root();
    let listed = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"];
    let names =
        output(Command::new("git").args(listed).current_dir(root)).context("tidy reads the files that git knows")?;
    let mut files = Vec::new();
    for name in names.split_terminator('\0') {
        let path: PathBuf = root.join(name);
        if !path.is_file() {
            continue;
        }
        let bytes = fs::read(&path).with_context(|| format!("cannot read {name}"))?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File {
                path: name.to_owned(),
                text,
            });
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_keeps_its_rules() -> Result<()> {
        let found = complaints(&files()?)?;
        assert!(found.is_empty(), "{}", found.join("\n"));
        Ok(())
    }
}
