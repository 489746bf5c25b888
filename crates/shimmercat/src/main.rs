//! The `shimmercat` program: reads the command line, picks a command, tells failures, chooses the exit code.
//!
//! Nothing is decided here about serving; a mode does that. What a person reads is in `voice.rs` and `report.rs`.
#![forbid(unsafe_code)]

mod args;
mod check;
mod devlove;
mod drill;
mod generate;
mod init;
mod internet;
mod output;
mod pretty;
mod report;
mod runtime;
mod settings;
mod signals;
mod talk;
mod teller;
mod voice;
mod words;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::report::Kind;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => return usage(&told),
    };
    let done = match cli.command {
        Command::Devlove(args) => devlove::run(args),
        Command::Internet(args) => internet::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Status(args) => talk::status(&args),
        Command::Reload(args) => talk::reload(&args),
        Command::Recycle(args) => talk::recycle(&args),
        Command::Logs(args) => talk::logs(&args),
        Command::Worker => internet::work(),
        Command::Drill(args) => drill::run(&args),
        Command::Drilled => drill::serve(),
        Command::Schema => output::data(&sc_config::schema()),
        Command::Completions { shell } => generate::completions(shell),
        Command::Man => generate::man(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(report) => report.print(),
    }
}

/// Help and version go to stdout and are a success; everything else is a mistake of the command line.
fn usage(told: &clap::Error) -> ExitCode {
    // Nobody is left to be told when the stream is gone.
    let _ = told.print();
    if told.use_stderr() {
        ExitCode::from(Kind::Usage as u8)
    } else {
        ExitCode::SUCCESS
    }
}
