//! What a drill came to, as values; the program decides how it looks.

use std::time::Duration;

use super::account::{Loss, Protocol};

/// Times of whole answers, from dialling, where that was needed, to the last byte.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// Half of them were faster.
    pub p50: Duration,
    /// One in a hundred was slower.
    pub p99: Duration,
    /// The slowest.
    pub max: Duration,
}

/// What was done to the server.
#[derive(Clone, Debug, Default)]
pub struct Deeds {
    /// Lanes that got a new worker by command.
    pub recycles: u64,
    /// Changes of settings.
    pub reloads: u64,
    /// Workers that were killed.
    pub kills: u64,
    /// How often Redis was killed.
    pub redis_kills: u64,
    /// How often Redis stood still.
    pub redis_freezes: u64,
    /// What could not be done, and why.
    pub skipped: Vec<String>,
}

/// What a drill came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// Where its sequences came from.
    pub seed: u64,
    /// How long the load lasted.
    pub lasted: Duration,
    /// Whether it was stopped before its time.
    pub interrupted: bool,
    /// Requests that have their verdict.
    pub requests: u64,
    /// The same by protocol.
    pub by_protocol: Vec<(Protocol, u64)>,
    /// What was done.
    pub deeds: Deeds,
    /// Times of whole answers.
    pub latency: Option<Latency>,
    /// Requests that were sent again because their connection ended before a byte of an answer, as HTTP allows.
    pub reconnected: u64,
    /// Requests in flight on a worker when it was killed; outside the promise.
    pub killed: u64,
    /// Answers whose file was written meanwhile; only their status was compared.
    pub changed: u64,
    /// Requests without a whole and right answer.
    pub lost: u64,
    /// How many of these are errors of an application.
    pub lost_by_application: u64,
    /// The first of them.
    pub losses: Vec<Loss>,
    /// What the instance itself counted: exchanges and tunnels that it had to cut, and panics.
    pub forced_closes: u64,
    /// Panics in exchanges.
    pub panics: u64,
    /// What else there is to say.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether the promise was kept for as long as was planned.
    pub fn is_good(&self) -> bool {
        self.lost == 0 && !self.interrupted && self.requests > 0
    }
}
