//! The course of a measurement: rows one after the other, in each the servers in turns, there and back (A B C, C B A, …),
//! so that what drifts on the machine falls on all alike. A sample that strangers disturbed is taken again, a few times.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::args::Options;
use super::load::app::{self, Ports};
use super::load::h2load::Requests;
use super::load::{hands, socks};
use super::meter::{Meter, Sample};
use super::peers::{Kit, Server, Way};
use super::results::{self, Measured, Run, Turn};
use super::rows::{self, Measure, Row};
use super::running::{Running, nap};
use super::stage::Stage;
use super::{check, machine, report, special};

/// How often a disturbed sample is taken again.
const REPEATS: u32 = 4;
/// Idle connections, and how many are enough to show that the row works.
const IDLE: (usize, usize) = (10_000, 500);
/// Descriptors that those need, with some to spare.
const DESCRIPTORS: u64 = 12_000;

/// Everything that the command line decides.
struct Plan {
    rows: Vec<&'static Row>,
    rounds: u64,
    time: Duration,
    quick: bool,
    peers: Vec<String>,
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
            eprintln!("raw results: {}", results::keep(&runs)?.display());
        }
    }
    print!("\n{}", report::tables(&runs));
    let is_whole = options.rows.is_empty() && options.peers.is_empty() && !options.quick;
    if is_whole || options.write {
        report::write(&runs)?;
    }
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
        })
    }

    /// Who takes part in a row, we last.
    fn servers(&self, row: &Row) -> Vec<Server> {
        let is_wanted = |server: &Server| {
            self.peers.is_empty() || self.peers.iter().any(|peer| Server::named(peer) == Some(*server))
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

fn run(plan: &Plan, options: &Options) -> Result<Run> {
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
    let mut bench = Bench {
        plan,
        kit,
        app,
        ports,
        running: BTreeMap::new(),
        spoken: BTreeMap::new(),
    };
    let mut measured = Vec::new();
    for row in &plan.rows {
        let since = Instant::now();
        let done = bench.row(row).with_context(|| format!("row `{}`", row.name))?;
        eprintln!(
            "{:<18} {:>5.1} s  {}",
            row.name,
            since.elapsed().as_secs_f64(),
            report::line(row, &done)
        );
        measured.push(done);
    }
    let spoken = bench
        .spoken
        .iter()
        .map(|(server, spoken)| (format!("{} spoke", server.name()), spoken.clone()));
    Ok(Run {
        facts: facts.into_iter().chain(spoken).collect(),
        rounds: plan.rounds,
        seconds: plan.time.as_secs_f64(),
        took: started.elapsed().as_secs_f64(),
        rows: measured,
    })
}

/// What runs while rows are measured. Servers stay up from row to row; idle, they cost nothing.
struct Bench<'a> {
    plan: &'a Plan,
    kit: Kit<'a>,
    app: Running,
    ports: Ports,
    running: BTreeMap<(Server, Way), Running>,
    spoken: BTreeMap<Server, String>,
}

impl Bench<'_> {
    fn row(&mut self, row: &'static Row) -> Result<Measured> {
        let mut done = Measured {
            row: row.name.to_owned(),
            turns: Vec::new(),
            discarded: 0,
            notes: Vec::new(),
        };
        let servers = self.plan.servers(row);
        match row.measure {
            Measure::Requests(requests, way) => {
                for server in &servers {
                    let size = self.checked(*server, way, &requests)?;
                    if requests.gzip {
                        done.notes.push(format!("{}: {size} bytes on the wire", server.name()));
                    }
                }
                self.turns(&mut done, &servers, |bench, server| {
                    bench.requests(server, way, &requests)
                })?;
            }
            Measure::Handshakes { resume } => self.turns(&mut done, &servers, |bench, server| {
                let (meter, at) = bench.meter(server, Way::Quiet)?;
                hands::run(at, meter, bench.plan.time, resume)
            })?,
            Measure::SocksConnections => self.turns(&mut done, &servers, |bench, server| {
                let (meter, at) = bench.meter(server, Way::Socks)?;
                socks::connections(at, bench.ports.echo, meter, bench.plan.time)
            })?,
            Measure::SocksBytes => self.turns(&mut done, &servers, |bench, server| {
                let (meter, at) = bench.meter(server, Way::Socks)?;
                socks::bytes(at, bench.ports.source, meter, bench.plan.time)
            })?,
            Measure::Idle => {
                let count = if self.plan.quick { IDLE.1 } else { IDLE.0 };
                for server in servers {
                    let (turn, note) = special::idle(&self.kit, server, count).with_context(|| server.name())?;
                    done.turns.push(turn);
                    done.notes.push(note);
                }
            }
            Measure::ColdStart => {
                for round in 0..self.plan.rounds {
                    for server in &servers {
                        done.turns.push(special::cold_start(&self.kit, *server, round)?);
                    }
                }
            }
            Measure::Warm => done.turns = special::warm(&self.kit, self.plan.rounds)?,
            Measure::Renewal => {
                // A second holds one renewal; a few are needed for a percentile.
                let time = self.plan.time.max(Duration::from_millis(500)) * 4;
                (done.turns, done.notes) = special::renewal(&self.kit, self.plan.rounds.min(3), time)?;
            }
            Measure::Missing(why) => done.notes.push(why.to_owned()),
        }
        Ok(done)
    }

    /// Each server once a round, there and back.
    fn turns(
        &mut self,
        done: &mut Measured,
        servers: &[Server],
        sample: impl Fn(&mut Self, Server) -> Result<Sample>,
    ) -> Result<()> {
        for round in 0..self.plan.rounds {
            let mut order = servers.to_vec();
            if round % 2 == 1 {
                order.reverse();
            }
            for server in order {
                let (sample, discarded) = self
                    .quiet(|bench| sample(bench, server))
                    .with_context(|| server.name())?;
                done.discarded += discarded;
                done.turns.push(Turn::of(server, round, &sample));
            }
        }
        Ok(())
    }

    /// A sample without strangers; after some tries the quietest there was. Also, how many were thrown away.
    fn quiet(&mut self, take: impl Fn(&mut Self) -> Result<Sample>) -> Result<(Sample, u64)> {
        let mut best = take(self)?;
        let mut discarded = 0;
        while !best.is_quiet() && !self.plan.quick && discarded < u64::from(REPEATS) {
            nap(Duration::from_millis(300));
            let again = take(self)?;
            discarded += 1;
            if again.work > 0.0 && (again.is_quiet() || again.strangers < best.strangers) {
                best = again;
            }
        }
        ensure!(best.work > 0.0, "no work was done");
        Ok((best, discarded))
    }

    fn requests(&mut self, server: Server, way: Way, requests: &Requests) -> Result<Sample> {
        let (meter, at) = self.meter(server, way)?;
        let (sample, spoken) = requests.run(at, meter, self.plan.time)?;
        self.spoken.insert(server, spoken);
        Ok(sample)
    }

    fn checked(&mut self, server: Server, way: Way, requests: &Requests) -> Result<u64> {
        let (_, at) = self.meter(server, way)?;
        check::answers(self.kit.stage, at, requests).with_context(|| server.name())
    }

    /// A server that runs, started when it does not yet.
    fn meter(&mut self, server: Server, way: Way) -> Result<(Meter, std::net::SocketAddr)> {
        if !self.running.contains_key(&(server, way)) {
            let running = self.kit.start(server, way)?;
            self.running.insert((server, way), running);
        }
        let running = self.running.get_mut(&(server, way)).context("it runs")?;
        running.check().with_context(|| server.name())?;
        let meter = Meter {
            server: running.pid(),
            app: self.app.pid(),
            generator: None,
        };
        Ok((meter, running.address))
    }
}
