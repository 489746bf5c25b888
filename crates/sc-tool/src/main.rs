//! `sc-tool`: opens a browser, a shell or a program inside the little network of a running `shimmercat`.
//!
//! Boot order: read the environment, read the command line, do the one thing that was asked, print the failure if there
//! is one. Each command has a file of its own; start with [`browse`] (what most people use) and [`target`] (which little
//! network is meant). This program opens no listener but that of [`tcp`], speaks no TLS, and keeps no state but the
//! profiles and files in the project's state folder.
#![forbid(unsafe_code)]

mod args;
mod browse;
mod browsers;
mod ca;
mod ca_command;
mod chromium;
mod chromium_db;
mod doctor;
mod environment;
mod files;
mod firefox;
mod launch;
mod nss;
mod pac;
mod ports;
mod profile;
mod report;
mod run;
mod screen;
mod shell;
mod socks;
mod surroundings;
mod target;
mod tcp;
mod theme;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use report::Report;
use screen::Screen;
use surroundings::Surroundings;

fn main() -> ExitCode {
    let args = Args::parse();
    let around = Surroundings::read();
    let screen = Screen::new(around.as_ref().is_ok_and(|around| around.no_color));
    match around.and_then(|around| obey(&args.command, &around, screen)) {
        Ok(code) => code,
        Err(report) => {
            screen.report(&report);
            ExitCode::from(report.exit as u8)
        }
    }
}

fn obey(command: &Command, around: &Surroundings, screen: Screen) -> Result<ExitCode, Report> {
    match command {
        Command::Chrome(args) => browse::chrome(args, around, screen),
        Command::Firefox(args) => browse::firefox(args, around, screen),
        Command::Run(args) => run::run(args, around, screen),
        Command::Env(args) => run::env(args, around, screen),
        Command::Pac(args) => pac::print(args, around, screen),
        Command::Ca(args) => ca_command::act(&args.action, around, screen),
        Command::Tcp(args) => tcp::serve(args, around, screen),
        Command::Doctor(args) => doctor::examine(args, around, screen),
        Command::Detached(args) => launch::detached(&args.command),
    }
}
