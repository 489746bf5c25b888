//! One line of the log on its way from a worker to whoever reads it.

use serde::{Deserialize, Serialize};

/// A log line.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Line {
    /// Its number among the lines of its worker, from 1 and without a gap as they are made.
    pub sequence: u64,
    /// Name of the worker ([`super::Instance::worker`]).
    pub worker: String,
    /// Code of the event, e.g. `M30201`.
    pub code: String,
    /// The whole line as a JSON object.
    pub json: String,
}

impl Line {
    /// Bytes that the line is reckoned to take, wherever it waits: its texts and what holds them.
    pub(crate) fn cost(&self) -> usize {
        self.worker.len() + self.code.len() + self.json.len() + OVERHEAD_BYTES
    }
}

/// Three strings, a number and their allocations.
const OVERHEAD_BYTES: usize = 128;
