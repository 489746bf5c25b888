//! The log as it passes through the master: told, kept for `shimmercat logs`, and handed to those who follow.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::SystemTime;

use sc_server::log_codes::LogCodes;
use sc_server::{Event, journal};
use tokio::sync::{Notify, broadcast};

use crate::bus::{Line, Ring};
use crate::voice::Voice;

/// Lines that are kept for `shimmercat logs`.
const KEPT_LINES: usize = 2_000;

/// Bytes that they may have together.
const KEPT_BYTES: usize = 8 << 20;

/// Lines that may wait for one who follows; a slower one is told how many it missed.
const FOLLOWED_LINES: usize = 4_096;

/// The log of the whole instance.
pub(super) struct Log {
    voice: Rc<dyn Voice>,
    ring: Ring,
    codes: RefCell<LogCodes>,
    clock: fn() -> SystemTime,
    kept: RefCell<Kept>,
    followers: broadcast::Sender<Rc<str>>,
    lost: Cell<u64>,
    has_told: Notify,
}

#[derive(Default)]
struct Kept {
    lines: VecDeque<Rc<str>>,
    bytes: usize,
}

impl Log {
    /// An empty log; `ring` is what takes the master's own lines to the bus.
    pub(super) fn new(voice: Rc<dyn Voice>, ring: Ring, codes: LogCodes, clock: fn() -> SystemTime) -> Self {
        Log {
            voice,
            ring,
            codes: RefCell::new(codes),
            clock,
            kept: RefCell::default(),
            followers: broadcast::Sender::new(FOLLOWED_LINES),
            lost: Cell::new(0),
            has_told: Notify::new(),
        }
    }

    /// Which of the master's own events are told from now on.
    pub(super) fn set_codes(&self, codes: LogCodes) {
        *self.codes.borrow_mut() = codes;
    }

    /// An event of the master's own: told here, and handed to the bus for other agents.
    pub(super) fn event(&self, event: &Event) {
        let code = event.code();
        if self.codes.borrow().contains(code) {
            let json: Rc<str> = journal::event_line(event, (self.clock)()).into();
            self.ring.push(code.label(), json.clone());
            self.put(json);
        }
    }

    /// A line that came by the bus or by a channel. The master's own have been told already.
    pub(super) fn line(&self, line: Line) {
        if *line.worker != *self.ring.worker() {
            self.put(line.json);
        }
    }

    /// Returns when lines were told that the voice may have kept.
    pub(super) async fn told(&self) {
        self.has_told.notified().await;
    }

    /// Lines that were written and never came.
    pub(super) fn lost(&self, count: u64) {
        self.lost.set(self.lost.get().saturating_add(count));
        self.event(&Event::LogLost { count });
    }

    /// How many lines never came.
    pub(super) fn lost_so_far(&self) -> u64 {
        self.lost.get()
    }

    /// The latest lines, oldest first.
    pub(super) fn kept(&self) -> Vec<Rc<str>> {
        self.kept.borrow().lines.iter().cloned().collect()
    }

    /// Lines from now on.
    pub(super) fn follow(&self) -> broadcast::Receiver<Rc<str>> {
        self.followers.subscribe()
    }

    fn put(&self, json: Rc<str>) {
        self.voice.line(&json);
        self.has_told.notify_one();
        self.kept.borrow_mut().push(json.clone());
        // Nobody has to follow.
        let _ = self.followers.send(json);
    }
}

impl Kept {
    fn push(&mut self, line: Rc<str>) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > KEPT_LINES || self.bytes > KEPT_BYTES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.len();
        }
    }
}
