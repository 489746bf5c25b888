//! What this mode does with events and records: counts them, keeps the latest, and tells the person.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::SystemTime;

use sc_server::log_codes::LogCodes;
use sc_server::{Event, Journal, Record, event};

use crate::voice::Voice;

/// Records that are kept for `status`.
const RECENT: usize = 200;

/// The journal of a devlove run.
pub(crate) struct Diary {
    voice: Rc<dyn Voice>,
    codes: LogCodes,
    clock: fn() -> SystemTime,
    recent: RefCell<VecDeque<Record>>,
    exchanges: Cell<u64>,
    errors: Cell<u64>,
}

impl Diary {
    pub(crate) fn new(voice: Rc<dyn Voice>, codes: LogCodes, clock: fn() -> SystemTime) -> Self {
        let (exchanges, errors) = (Cell::new(0), Cell::new(0));
        Diary {
            voice,
            codes,
            clock,
            recent: RefCell::default(),
            exchanges,
            errors,
        }
    }

    /// Exchanges so far.
    pub(crate) fn exchanges(&self) -> u64 {
        self.exchanges.get()
    }

    /// Faults of ours so far.
    pub(crate) fn errors(&self) -> u64 {
        self.errors.get()
    }

    /// The latest records, oldest first.
    pub(crate) fn recent(&self) -> Vec<Record> {
        self.recent.borrow().iter().cloned().collect()
    }
}

impl Journal for Diary {
    fn event(&self, event: Event) {
        let code = event.code();
        if code.severity == event::Severity::Error {
            self.errors.set(self.errors.get() + 1);
        }
        if self.codes.contains(code) {
            self.voice.event(&event, (self.clock)());
        }
    }

    fn record(&self, record: Record) {
        self.exchanges.set(self.exchanges.get() + 1);
        if self.codes.contains(&event::RECORD) {
            self.voice.record(&record);
        }
        let mut recent = self.recent.borrow_mut();
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(record);
    }
}
