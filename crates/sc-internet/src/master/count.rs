//! What the master counts and adds up: for the metrics, and for other machines.

use std::time::SystemTime;

use sc_server::metrics::Metric;

use super::live::Master;
use super::notes;
use crate::bus::{Place, Snapshot};
use crate::metrics::{self, LaneStanding, Standing, Totals, WorkerStanding};

/// What only the master sees happen.
#[derive(Default)]
pub(super) struct Tallies {
    pub(super) retired: u64,
    pub(super) crashed: u64,
    pub(super) reloads: u64,
    pub(super) reloads_refused: u64,
}

impl Master {
    /// The numbers of all workers, living and gone.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = self.lives.gone.clone();
        self.lives
            .processes
            .values()
            .for_each(|process| totals.add(&process.counters));
        totals
    }

    /// Connections of clients that are open.
    pub(super) fn open_connections(&self) -> u64 {
        open_connections(|metric| self.totals().get(metric))
    }

    /// Exchanges that have ended.
    pub(super) fn exchanges(&self) -> u64 {
        let totals = self.totals();
        family("exchanges").map(|metric| totals.get(*metric)).sum()
    }

    /// Everything, as Prometheus reads it.
    pub(super) fn metrics(&self) -> String {
        metrics::text(&self.totals(), &self.standing())
    }

    /// What other machines may see.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            about: vec![
                ("version", self.start.version.to_owned()),
                ("pid", std::process::id().to_string()),
                ("lanes", self.supervisor.lanes().len().to_string()),
                ("serving", self.supervisor.serving().to_string()),
            ],
            metrics: self.totals().named(),
        }
    }

    fn standing(&self) -> Standing {
        let now = self.now();
        let seconds = |at: SystemTime| {
            at.duration_since(SystemTime::UNIX_EPOCH)
                .map(|since| since.as_secs())
                .ok()
        };
        let lanes = self.supervisor.lanes();
        let workers = lanes
            .iter()
            .flat_map(|lane| lane.workers.iter().map(move |worker| (lane.lane, worker)));
        let worker = |(lane, worker): (usize, &crate::supervisor::WorkerView)| WorkerStanding {
            lane,
            state: notes::state_word(worker.state),
            age: now.saturating_sub(worker.started),
        };
        let generation = |lane: &crate::supervisor::LaneView| lane.workers.iter().map(|worker| worker.generation).max();
        Standing {
            version: self.start.version.to_owned(),
            started: self.told.borrow().started_unix,
            workers: workers.map(worker).collect(),
            lanes: lanes
                .iter()
                .map(|lane| LaneStanding {
                    generation: generation(lane).unwrap_or(0),
                    next_death: lane.next_death.map(|then| then.saturating_sub(now)),
                })
                .collect(),
            retired: self.lives.tallies.retired,
            crashed: self.lives.tallies.crashed,
            reloads: self.lives.tallies.reloads,
            reloads_refused: self.lives.tallies.reloads_refused,
            redis: (self.bus.place != Place::Off).then(|| self.bus.reader.is_up()),
            redis_starts: self.bus.starts(),
            log_lost: self.log.lost_so_far(),
            certificate_until: self.certificate.credentials.not_after().and_then(seconds),
            machines: self.bus.machines().map(|machines| machines.len() as u64),
        }
    }
}

/// Connections that were opened and not closed.
pub(super) fn open_connections(count: impl Fn(Metric) -> u64) -> u64 {
    let sum = |name| family(name).map(|metric| count(*metric)).sum::<u64>();
    sum("connections_opened").saturating_sub(sum("connections_closed"))
}

fn family(name: &str) -> impl Iterator<Item = &'static Metric> {
    Metric::ALL
        .iter()
        .filter(move |metric| metric.described().family == name)
}
