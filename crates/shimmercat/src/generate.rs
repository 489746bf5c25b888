//! What is generated from the command line's own description: completions and the manual page.

use clap::CommandFactory;

use crate::args::Cli;
use crate::output;
use crate::report::{Kind, Report};

/// Prints a completion script.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<(), Report> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "shimmercat", &mut script);
    output::data(&String::from_utf8_lossy(&script))
}

/// Prints the manual page, for `man -l -` or a packager.
pub(crate) fn man() -> Result<(), Report> {
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
    rendered.map_err(|error| Report::new(Kind::Failed, "cannot make the manual page").caused_by(&error))?;
    output::data(&String::from_utf8_lossy(&page))
}
