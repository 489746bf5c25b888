//! The course of a whole measurement: what the command line decides, then run by run and row by row.
//!
//! What a row does stands in [`super::field`]. A row that fails is told, and the others go on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use super::args::Options;
use super::field::Bench;
use super::load::app;
use super::meter::{self, STRANGERS};
use super::peers::{Kit, Server};
use super::results::{self, Run};
use super::rows::{self, Row};
use super::stage::Stage;
use super::{machine, report};

/// Turns in rows that are held against nothing.
pub(super) const UNJUDGED: u64 = 3;

/// Descriptors that those need, with some to spare.
const DESCRIPTORS: u64 = 12_000;

/// Everything that the command line decides.
pub(super) struct Plan {
    rows: Vec<&'static Row>,
    /// Turns of each server.
    pub(super) rounds: u64,
    /// Length of a turn.
    pub(super) time: Duration,
    /// Whether it is only to be seen that a row works.
    pub(super) quick: bool,
    peers: Vec<String>,
    /// Whether it is only to be worked.
    train: bool,
}

/// `cargo xtask bench`, from start to end.
pub(super) fn bench(options: &Options) -> Result<()> {
    let plan = Plan::of(options)?;
    if options.list {
        for row in &plan.rows {
            println!("{:<18} {}", row.name, row.title);
        }
        return Ok(());
    }
    if options.report {
        return report::write(&results::kept()?);
    }
    raise_descriptors()?;
    let strangers = meter::busy_cores();
    if strangers > STRANGERS && !plan.quick {
        eprintln!(
            "warning: other programs use {strangers:.2} cores; samples with more than {STRANGERS} are taken again"
        );
    }
    let is_whole = options.rows.is_empty() && options.peers.is_empty() && !options.quick;
    let mut runs = Vec::new();
    for number in 1..=options.runs.unwrap_or(1).max(1) {
        eprintln!(
            "run {number}: {} rows, {} rounds of {:?}",
            plan.rows.len(),
            plan.rounds,
            plan.time
        );
        runs.push(run(&plan, options)?);
        if !plan.quick {
            eprintln!("raw results: {}", results::keep(&runs, is_whole)?.display());
        }
    }
    print!("\n{}", report::tables(&runs));
    if is_whole || options.write {
        report::write(&runs)?;
    }
    let failures: usize = runs
        .iter()
        .flat_map(|run| &run.rows)
        .map(|row| row.failures.len())
        .sum();
    ensure!(failures == 0, "{failures} measurements failed; the table has the rest");
    Ok(())
}

impl Plan {
    fn of(options: &Options) -> Result<Self> {
        let rows = rows::wanted(&options.rows);
        ensure!(!rows.is_empty(), "no row begins so; `--list` names them");
        if let Some(unknown) = options.peers.iter().find(|peer| Server::named(peer).is_none()) {
            bail!("there is no peer `{unknown}`");
        }
        let (rounds, seconds) = if options.quick { (1, 0.5) } else { (5, 1.0) };
        Ok(Plan {
            rows,
            rounds: options.rounds.unwrap_or(rounds).max(1).into(),
            time: Duration::try_from_secs_f64(options.seconds.unwrap_or(seconds)).context("no such time")?,
            quick: options.quick,
            peers: options.peers.clone(),
            train: options.train,
        })
    }

    /// Turns of each server in a row: a row that is held against nothing has fewer.
    pub(super) fn rounds_of(&self, row: &Row) -> u64 {
        match (row.floor, row.goal) {
            (None, None) => self.rounds.min(UNJUDGED),
            _ => self.rounds,
        }
    }

    /// Who takes part in a row, we last.
    pub(super) fn servers(&self, row: &Row) -> Vec<Server> {
        let is_wanted = |server: &Server| {
            (!self.train && self.peers.is_empty()) || self.peers.iter().any(|peer| Server::named(peer) == Some(*server))
        };
        row.peers
            .iter()
            .copied()
            .filter(is_wanted)
            .chain([Server::ShimmerCat])
            .collect()
    }
}

/// Idle connections need descriptors, here and in every server, which has them from us.
fn raise_descriptors() -> Result<()> {
    let now = getrlimit(Resource::Nofile);
    if now.current.is_some_and(|current| current < DESCRIPTORS) {
        let most = now.maximum.unwrap_or(DESCRIPTORS);
        ensure!(
            most >= DESCRIPTORS,
            "{DESCRIPTORS} descriptors are needed, {most} are allowed (`ulimit -Hn`)"
        );
        let wanted = Rlimit {
            current: Some(most),
            maximum: now.maximum,
        };
        setrlimit(Resource::Nofile, wanted).context("the limit of descriptors stays")?;
    }
    Ok(())
}

/// Lets the workers write down what they have counted: they may write nothing where the kernel has Landlock, so for what is
/// started from here on it has none.
fn without_landlock() -> Result<()> {
    /// landlock_create_ruleset(2), the same on every architecture.
    const CREATE_RULESET: i64 = 444;
    const ENOSYS: u32 = 38;
    let filter = SeccompFilter::new(
        BTreeMap::from([(CREATE_RULESET, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(ENOSYS),
        std::env::consts::ARCH.try_into()?,
    )?;
    seccompiler::apply_filter(&BpfProgram::try_from(filter)?).context("no filter")
}

fn run(plan: &Plan, options: &Options) -> Result<Run> {
    if options.train {
        without_landlock()?;
    }
    let started = Instant::now();
    let program = options.server.clone().context("no program to measure")?;
    let cores = options.cores.context("no cores")?;
    let facts = machine::facts(&program, &options.profile, options.caddy.as_deref(), cores)?;
    let stage = Stage::make()?;
    let (app, ports) = app::start(cores.1, &stage.folder)?;
    let kit = Kit {
        stage: &stage,
        app: ports,
        core: cores.0,
        program,
        caddy: options.caddy.clone(),
    };
    let mut bench = Bench::new(plan, kit, app);
    let mut measured = Vec::new();
    for row in &plan.rows {
        let since = Instant::now();
        let done = bench.row(row);
        eprintln!(
            "{:<18} {:>5.1} s  {}",
            row.name,
            since.elapsed().as_secs_f64(),
            report::line(row, &done)
        );
        for failure in &done.failures {
            eprintln!("error: row `{}`: {failure}", row.name);
        }
        measured.push(done);
    }
    Ok(Run {
        facts: facts.into_iter().chain(bench.spoken()).collect(),
        rounds: plan.rounds,
        seconds: plan.time.as_secs_f64(),
        took: started.elapsed().as_secs_f64(),
        rows: measured,
    })
}
