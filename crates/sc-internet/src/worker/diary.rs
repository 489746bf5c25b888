//! What a worker does with events and records: makes log lines of them, with its own number.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::SystemTime;

use sc_net::counters::Counters;
use sc_server::event::RECORD;
use sc_server::log_codes::LogCodes;
use sc_server::metrics::{Meters, Metric};
use sc_server::{Event, Journal, Record, journal};
use serde_json::Value;

use super::LAST_LINE;
use crate::bus::{Ring, Tally};

/// The journal of a worker.
pub(super) struct Diary {
    pub(super) ring: Ring,
    codes: RefCell<LogCodes>,
    /// Whether records are among them.
    has_records: Cell<bool>,
    clock: fn() -> SystemTime,
    worker: u64,
    record_code: Rc<str>,
    /// Where lines of records are written before they are put into the ring.
    line: RefCell<String>,
}

impl Diary {
    pub(super) fn new(ring: Ring, codes: LogCodes, clock: fn() -> SystemTime, worker: u64) -> Self {
        Diary {
            ring,
            has_records: codes.contains(&RECORD).into(),
            codes: RefCell::new(codes),
            clock,
            worker,
            record_code: RECORD.label().into(),
            line: RefCell::default(),
        }
    }

    pub(super) fn set_codes(&self, codes: LogCodes) {
        self.has_records.set(codes.contains(&RECORD));
        *self.codes.borrow_mut() = codes;
    }
}

impl Journal for Diary {
    fn event(&self, event: Event) {
        let code = event.code();
        if self.codes.borrow().contains(code) {
            let mut map = journal::event_map(&event, (self.clock)());
            map.insert("worker".to_owned(), self.worker.into());
            self.ring.push(code.label(), Value::Object(map).to_string());
        }
    }

    fn record(&self, record: Record) {
        if self.has_records.get() {
            let mut line = self.line.borrow_mut();
            line.clear();
            journal::put_record_of_worker(&mut line, &record, self.worker);
            self.ring.push(self.record_code.clone(), line.as_str());
        }
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
