//! One measurement: what a server's processes used of their core while the load counted its work, and whether anybody else
//! was on the machine meanwhile.

use std::fs;
use std::time::{Duration, Instant};

use super::running::{Used, nap};

/// Strangers may use so much of the machine, in cores; a sample with more is thrown away.
pub(super) const STRANGERS: f64 = 0.12;

/// Looking may be late by so much of the time that is looked at.
const LATE: f64 = 0.03;

/// What one turn came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sample {
    /// Requests, handshakes, connections or MiB.
    pub(super) work: f64,
    /// How long it was looked at.
    pub(super) seconds: f64,
    /// Seconds of processor that the server used.
    pub(super) cpu: f64,
    /// Cores that the load used.
    pub(super) load: f64,
    /// Cores that everybody else used.
    pub(super) strangers: f64,
    /// Seconds by which it was looked at too late: who looks was kept waiting.
    pub(super) late: f64,
}

impl Sample {
    /// Microseconds of the server's processor for one unit of work.
    pub(super) fn cost(&self) -> f64 {
        self.cpu * 1e6 / self.work.max(1e-9)
    }

    /// Work per second.
    pub(super) fn rate(&self) -> f64 {
        self.work / self.seconds.max(1e-9)
    }

    /// Cores that the server used.
    pub(super) fn busy(&self) -> f64 {
        self.cpu / self.seconds.max(1e-9)
    }

    /// Whether strangers kept out.
    pub(super) fn is_quiet(&self) -> bool {
        self.strangers <= STRANGERS && self.late <= LATE * self.seconds && self.work > 0.0
    }
}

/// Whose processes are looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    /// The server's first process.
    pub(super) server: u32,
    /// The application beside the load.
    pub(super) app: u32,
    /// An outside generator, once it runs.
    pub(super) generator: Option<u32>,
}

/// One look.
pub(super) struct Mark {
    at: Instant,
    server: Used,
    load: [Used; 3],
    machine: f64,
}

impl Meter {
    /// Looks at everybody.
    pub(super) fn look(&self) -> Mark {
        let generator = self.generator.map(Used::of).unwrap_or_default();
        Mark {
            at: Instant::now(),
            server: Used::of(self.server),
            load: [Used::of(self.app), generator, Used::ours()],
            machine: machine(),
        }
    }
}

impl Mark {
    /// What happened since an earlier look, `time` ago if nobody was kept waiting.
    pub(super) fn since(&self, before: &Mark, time: Duration, work: f64) -> Sample {
        let seconds = (self.at - before.at).as_secs_f64();
        let cpu = self.server.since(&before.server);
        let load: f64 = self
            .load
            .iter()
            .zip(&before.load)
            .map(|(now, then)| now.since(then))
            .sum();
        let strangers = (self.machine - before.machine - cpu - load).max(0.0);
        Sample {
            work,
            seconds,
            cpu,
            load: load / seconds,
            strangers: strangers / seconds,
            late: (seconds - time.as_secs_f64()).abs(),
        }
    }
}

/// How many cores are busy right now, looked at for a second.
pub(super) fn busy_cores() -> f64 {
    let (since, before) = (Instant::now(), machine());
    nap(Duration::from_secs(1));
    (machine() - before) / since.elapsed().as_secs_f64()
}

/// Seconds that all cores were busy since the machine started; time that a hypervisor took away counts as busy.
fn machine() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    // user, nice, system; then idle and waiting for disks; then irq, softirq, steal.
    let busy = ticks.iter().enumerate().filter(|(at, _)| matches!(at, 0..=2 | 5..=7));
    busy.map(|(_, ticks)| ticks).sum::<f64>() / 100.0
}
