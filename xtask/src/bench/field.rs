//! What runs while rows are measured, and how each row is: the servers in turns, there and back (A B C, C B A, …), so that
//! what drifts on the machine falls on all alike. A sample that strangers disturbed is taken again, a few times.
//!
//! A server that fails is told and left out of its row; the others go on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::load::h2load::Requests;
use super::load::records::Records;
use super::load::{self, hands, socks};
use super::meter::{Meter, Sample};
use super::peers::{Kit, Server, Way};
use super::results::{Measured, Turn};
use super::rows::{Measure, Row};
use super::running::{Running, nap};
use super::turns::{Plan, UNJUDGED};
use super::{check, special};

/// How often a disturbed sample is taken again.
const REPEATS: u64 = 4;

/// How many are taken again in a whole run: on a machine that is never quiet it must come to an end, too.
const ALL_REPEATS: u64 = 80;

/// Idle connections, and how many are enough to show that the row works.
const IDLE: (usize, usize) = (10_000, 500);

/// Servers stay up from row to row; idle, they cost nothing.
pub(super) struct Bench<'a> {
    plan: &'a Plan,
    kit: Kit<'a>,
    app: Running,
    running: BTreeMap<(Server, Way), Running>,
    spoken: BTreeMap<Server, String>,
    /// Samples that may still be taken again.
    repeats: u64,
}

impl<'a> Bench<'a> {
    /// With nothing but the application running.
    pub(super) fn new(plan: &'a Plan, kit: Kit<'a>, app: Running) -> Self {
        Bench {
            plan,
            kit,
            app,
            running: BTreeMap::new(),
            spoken: BTreeMap::new(),
            repeats: ALL_REPEATS,
        }
    }

    /// How each server spoke TLS, as facts.
    pub(super) fn spoken(&self) -> impl Iterator<Item = (String, String)> {
        let spoken = self.spoken.iter();
        spoken.map(|(server, spoken)| (format!("{} spoke", server.name()), spoken.clone()))
    }

    /// Measures a row.
    pub(super) fn row(&mut self, row: &'static Row) -> Measured {
        let mut done = Measured {
            row: row.name.to_owned(),
            turns: Vec::new(),
            discarded: 0,
            notes: Vec::new(),
            failures: Vec::new(),
        };
        if let Err(error) = self.measure(row, &mut done) {
            done.failures.push(format!("{error:#}"));
        }
        done
    }

    fn measure(&mut self, row: &'static Row, done: &mut Measured) -> Result<()> {
        let mut servers = self.plan.servers(row);
        match row.measure {
            Measure::Requests(requests, way) => {
                self.each(done, &mut servers, |bench, server, done| {
                    let (_, at) = bench.meter(server, way)?;
                    let size = check::answers(bench.kit.stage, at, &requests)?;
                    if requests.gzip {
                        done.notes.push(format!("{}: {size} bytes on the wire", server.name()));
                    }
                    Ok(())
                });
                self.turns(row, done, &mut servers, |bench, server| {
                    bench.requests(server, way, &requests)
                });
                if way == Way::Logging {
                    self.each(done, &mut servers, |bench, server, done| {
                        done.notes.push(bench.logged(server, way, &requests)?);
                        Ok(())
                    });
                }
            }
            Measure::Handshakes { resume } => self.turns(row, done, &mut servers, |bench, server| {
                let (meter, at) = bench.meter(server, Way::Quiet)?;
                hands::run(at, meter, bench.plan.time, resume)
            }),
            Measure::SocksConnections => self.turns(row, done, &mut servers, |bench, server| {
                let (meter, at) = bench.meter(server, Way::Socks)?;
                socks::connections(at, bench.kit.app.echo, meter, bench.plan.time)
            }),
            Measure::SocksBytes => self.turns(row, done, &mut servers, |bench, server| {
                let (meter, at) = bench.meter(server, Way::Socks)?;
                socks::bytes(at, bench.kit.app.source, meter, bench.plan.time)
            }),
            Measure::Idle => self.each(done, &mut servers, |bench, server, done| {
                let count = if bench.plan.quick { IDLE.1 } else { IDLE.0 };
                let (turn, note) = special::idle(&bench.kit, server, count)?;
                done.turns.push(turn);
                done.notes.push(note);
                Ok(())
            }),
            Measure::ColdStart => {
                for round in 0..self.plan.rounds_of(row) {
                    self.each(done, &mut servers, |bench, server, done| {
                        done.turns.push(special::cold_start(&bench.kit, server, round)?);
                        Ok(())
                    });
                }
            }
            Measure::Warm => done.turns = special::warm(&self.kit, self.plan.rounds)?,
            Measure::Renewal => {
                // A second holds one renewal; a few are needed for a percentile.
                let time = self.plan.time.max(Duration::from_millis(500)) * 4;
                (done.turns, done.notes) = special::renewal(&self.kit, self.plan.rounds.min(UNJUDGED), time)?;
            }
            Measure::Missing(why) => done.notes.push(why.to_owned()),
        }
        Ok(())
    }

    /// Does something with each server, and leaves out whoever fails.
    fn each(
        &mut self,
        done: &mut Measured,
        servers: &mut Vec<Server>,
        mut work: impl FnMut(&mut Self, Server, &mut Measured) -> Result<()>,
    ) {
        servers.retain(|server| match work(self, *server, done) {
            Ok(()) => true,
            Err(error) => {
                done.failures.push(format!("{}: {error:#}", server.name()));
                false
            }
        });
    }

    /// Each server once a round, there and back.
    fn turns(
        &mut self,
        row: &Row,
        done: &mut Measured,
        servers: &mut Vec<Server>,
        sample: impl Fn(&mut Self, Server) -> Result<Sample>,
    ) {
        for round in 0..self.plan.rounds_of(row) {
            self.each(done, servers, |bench, server, done| {
                let taken = bench.quiet(|bench| sample(bench, server)).or_else(|error| {
                    // Generators hang now and then; a server that fails does so twice.
                    done.notes
                        .push(format!("{}: once more after: {error:#}", server.name()));
                    bench.quiet(|bench| sample(bench, server))
                });
                let (sample, discarded) = taken?;
                done.discarded += discarded;
                done.turns.push(Turn::of(server, round, &sample));
                Ok(())
            });
            servers.reverse();
        }
    }

    /// A sample without strangers; after some tries the quietest there was. Also, how many were thrown away.
    fn quiet(&mut self, take: impl Fn(&mut Self) -> Result<Sample>) -> Result<(Sample, u64)> {
        let mut best = take(self)?;
        let mut discarded = 0;
        while !best.is_quiet() && !self.plan.quick && discarded < REPEATS && self.repeats > 0 {
            nap(Duration::from_millis(300));
            let again = take(self)?;
            (discarded, self.repeats) = (discarded + 1, self.repeats - 1);
            if again.work > 0.0 && (again.is_quiet() || again.strangers < best.strangers) {
                best = again;
            }
        }
        ensure!(best.work > 0.0, "no work was done");
        Ok((best, discarded))
    }

    fn requests(&mut self, server: Server, way: Way, requests: &Requests) -> Result<Sample> {
        let (meter, at) = self.meter(server, way)?;
        let (sample, said) = requests.run(at, meter, self.plan.time)?;
        self.spoke(server, at, said);
        Ok(sample)
    }

    /// How many of some requests are in a server's access log.
    fn logged(&mut self, server: Server, way: Way, requests: &Requests) -> Result<String> {
        let (_, at) = self.meter(server, way)?;
        let running = self.running.get(&(server, way)).context("it runs")?;
        let (asked, lines) = check::logged(&self.kit.log(server, running), at, requests, self.plan.quick)?;
        let name = server.name();
        Ok(format!(
            "{name}: {lines} lines in the log for {asked} requests at full speed"
        ))
    }

    /// Keeps how a server speaks TLS, looked at once.
    fn spoke(&mut self, server: Server, at: SocketAddr, said: String) {
        if self.spoken.contains_key(&server) {
            return;
        }
        // HAProxy has no files.
        let records = load::block_on(load::records::of_a_mebibyte(at));
        let cut = records.map(|records| {
            let Records { count, largest } = records;
            format!("; 1 MiB in {count} records, the largest of {largest} bytes")
        });
        self.spoken.insert(server, format!("{said}{}", cut.unwrap_or_default()));
    }

    /// A server that runs, started when it does not yet.
    fn meter(&mut self, server: Server, way: Way) -> Result<(Meter, SocketAddr)> {
        if !self.running.contains_key(&(server, way)) {
            let running = self.kit.start(server, way)?;
            running.settle();
            self.running.insert((server, way), running);
        }
        let running = self.running.get_mut(&(server, way)).context("it runs")?;
        if let Err(error) = running.check() {
            // The next row may have more luck with a new one.
            self.running.remove(&(server, way));
            return Err(error);
        }
        let meter = Meter {
            server: running.pid(),
            app: self.app.pid(),
            generator: None,
        };
        Ok((meter, running.address))
    }
}
