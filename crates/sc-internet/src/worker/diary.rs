//! What a worker does with events and records: makes log lines of them, with its own number.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::SystemTime;

use sc_net::counters::Counters;
use sc_server::event::{Code, RECORD};
use sc_server::log_codes::LogCodes;
use sc_server::metrics::{Meters, Metric};
use sc_server::{Event, Journal, Record, journal};
use serde_json::{Map, Value};

use super::LAST_LINE;
use crate::bus::{Ring, Tally};

/// The journal of a worker.
pub(super) struct Diary {
    pub(super) ring: Ring,
    codes: RefCell<LogCodes>,
    clock: fn() -> SystemTime,
    worker: u64,
}

impl Diary {
    pub(super) fn new(ring: Ring, codes: LogCodes, clock: fn() -> SystemTime, worker: u64) -> Self {
        let codes = RefCell::new(codes);
        Diary {
            ring,
            codes,
            clock,
            worker,
        }
    }

    pub(super) fn set_codes(&self, codes: LogCodes) {
        *self.codes.borrow_mut() = codes;
    }

    fn put(&self, code: &Code, make: impl FnOnce() -> Map<String, Value>) {
        if self.codes.borrow().contains(code) {
            let mut map = make();
            map.insert("worker".to_owned(), self.worker.into());
            self.ring.push(code.label(), Value::Object(map).to_string());
        }
    }
}

impl Journal for Diary {
    fn event(&self, event: Event) {
        self.put(event.code(), || journal::event_map(&event, (self.clock)()));
    }

    fn record(&self, record: Record) {
        self.put(&RECORD, || journal::record_map(&record));
    }
}

/// What a worker counts, in memory that it shares with the master.
#[derive(Clone)]
pub(super) struct Cells(pub(super) Rc<Counters>);

impl Meters for Cells {
    fn add(&self, metric: Metric, by: u64) {
        self.0.add(metric as usize, by);
    }
}

impl Tally for Cells {
    fn made(&self, sequence: u64) {
        self.0.set(LAST_LINE, sequence);
    }

    fn dropped(&self, lines: u64) {
        self.add(Metric::LogDropped, lines);
    }
}
