//! `cargo xtask …`: the only automation of the project. It uses no room.
//!
//! Each command is a module; this file only chooses. The sample application and the client that shows it need TLS and
//! a runtime, so they stand behind the feature `sample` and are built together with the programs they show; `bench` likewise.
//! Read next: `ci.rs` for what is checked, `tidy/mod.rs` for the rules of the repository, `demo.rs` for the main job.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "talking to the person who called is its job"
)]

mod bench;
mod ci;
mod demo;
mod dist;
mod fuzz;
mod instructions;
mod outside;
mod pages;
#[cfg(feature = "sample")]
mod sample;
mod shell;
mod tidy;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo             build the programs, serve the sample site, show the main job; the first command to run
  test [ARG…]      install what the tests need, then run them all (ARGs go to the test runner)
  bench [ROW…]     measure ShimmerCat and its peers, in turns on one core; writes docs/benchmarks.md (`bench --help`)
  dist [--plain]   build the programs as they are shipped, arranged by what was counted at work (--plain: without that)
  ci               everything that CI runs: fmt, clippy, tidy, pages, one short row of bench, instructions, test
  instructions [--update] [MODE…]
                   count what a request costs the server, under callgrind, and compare with what is written down
  tidy             the rules of the repository: arrows between rooms, headers, licences, names in documents
  pages [--check]  write the generated parts of the documents (or compare them)
  outside          install the outside programs that the tests use, and nothing else
  fuzz MINUTES [TARGET…] [--keep]
                   run the fuzz targets, so many minutes each; --keep adds what reaches further to their corpora
  app [--port N] [--echo-port N]
                   the application behind the sample site (JSON, websocket, event stream, TCP echo)
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let (command, rest) = match args.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", args),
    };
    match command {
        "demo" => demo::build_and_run("demo-built", rest),
        "app" => demo::build_and_run("app-built", rest),
        #[cfg(feature = "sample")]
        "demo-built" => sample::demo(rest),
        #[cfg(feature = "sample")]
        "app-built" => sample::app(rest),
        "bench" => bench::build_and_run(rest),
        #[cfg(feature = "bench")]
        "bench-built" => bench::bench(rest),
        #[cfg(feature = "bench")]
        "bench-app" => bench::app(rest),
        "dist" => dist::command(rest),
        "test" => ci::test(rest),
        "ci" => ci::everything(),
        "instructions" => instructions::command(rest),
        "tidy" => tidy::command(),
        "pages" => pages::command(rest),
        "outside" => outside::install(),
        "fuzz" => fuzz::command(rest),
        "help" | "-h" | "--help" => {
            print!("{USAGE}");
            Ok(())
        }
        other => bail!("no command `{other}`\n\n{USAGE}"),
    }
}
