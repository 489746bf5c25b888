//! The worker's own store of log lines: bounded, and putting a line in never waits for anything.
//!
//! When it is full the oldest line goes and is counted. Lines are numbered as they are made, so that whoever reads them
//! knows what is missing, whichever way it went.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::sync::Notify;

use super::Line;

/// Lines that wait at most: some seconds of a busy worker.
const RING_LINES: usize = 8192;
/// Bytes that the waiting lines take at most, as [`Line::cost`] reckons.
const RING_BYTES: usize = 4 << 20;
/// Bytes of one line at most. A request's target is at most 16 KiB, and JSON makes at most two of a byte that it may have.
const LINE_BYTES: usize = 64 << 10;

/// Who wants to know how many lines were made and lost here.
///
/// Both are called from inside [`Ring::push`], and must be quick: cells of shared memory, so that the numbers are there
/// when the worker is not.
pub trait Tally {
    /// The number of the line that was just made.
    fn made(&self, sequence: u64);
    /// So many more lines were dropped.
    fn dropped(&self, lines: u64);
}

/// Nobody wants to know.
#[derive(Clone, Copy, Debug)]
pub struct NoTally;

impl Tally for NoTally {
    fn made(&self, _sequence: u64) {}
    fn dropped(&self, _lines: u64) {}
}

/// The store; clones are the same store.
#[derive(Clone)]
pub struct Ring {
    inner: Rc<Inner>,
}

struct Inner {
    worker: Rc<str>,
    tally: Rc<dyn Tally>,
    held: RefCell<Held>,
    filled: Notify,
    /// How many lines the least patient waits for; nobody is woken before they are there.
    wanted: Cell<usize>,
}

struct Held {
    lines: VecDeque<Line>,
    bytes: usize,
    last: u64,
    dropped: u64,
}

impl Ring {
    /// An empty store for the lines of `worker`, whose name nobody else ever had.
    pub fn new(worker: impl Into<Rc<str>>, tally: Rc<dyn Tally>) -> Self {
        Ring {
            inner: Rc::new(Inner {
                worker: worker.into(),
                tally,
                held: RefCell::new(Held {
                    lines: VecDeque::new(),
                    bytes: 0,
                    last: 0,
                    dropped: 0,
                }),
                filled: Notify::new(),
                wanted: Cell::new(usize::MAX),
            }),
        }
    }

    /// Puts a line in; never waits, and makes room by dropping the oldest.
    pub fn push(&self, code: impl Into<Rc<str>>, json: impl Into<Rc<str>>) {
        let (sequence, dropped, waiting) = {
            let mut held = self.inner.held.borrow_mut();
            held.last += 1;
            let line = Line {
                sequence: held.last,
                worker: self.inner.worker.clone(),
                code: code.into(),
                json: json.into(),
            };
            let before = held.dropped;
            if line.cost() > LINE_BYTES {
                held.dropped += 1;
            } else {
                held.bytes += line.cost();
                held.lines.push_back(line);
                held.shrink();
            }
            (held.last, held.dropped - before, held.lines.len())
        };
        self.inner.tally.made(sequence);
        if dropped > 0 {
            self.inner.tally.dropped(dropped);
        }
        self.tell(waiting);
    }

    /// Wakes whoever waits for lines, when there are enough.
    fn tell(&self, waiting: usize) {
        if waiting >= self.inner.wanted.get() {
            // Those for whom it is not enough say so again.
            self.inner.wanted.set(usize::MAX);
            self.inner.filled.notify_waiters();
        }
    }

    /// Name of the worker.
    pub fn worker(&self) -> &str {
        &self.inner.worker
    }

    /// Lines that wait.
    pub fn len(&self) -> usize {
        self.inner.held.borrow().lines.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How much of the room is taken, in percent.
    pub(crate) fn fullness(&self) -> usize {
        let held = self.inner.held.borrow();
        (held.lines.len() * 100 / RING_LINES).max(held.bytes * 100 / RING_BYTES)
    }

    /// Number of the last line that was made; 0 before the first.
    pub fn last_sequence(&self) -> u64 {
        self.inner.held.borrow().last
    }

    /// Lines that were dropped for want of room.
    pub fn dropped(&self) -> u64 {
        self.inner.held.borrow().dropped
    }

    /// Takes the oldest lines out: at most so many, and so many bytes as `measure` reckons. A line that is longer than that
    /// alone is dropped.
    pub(crate) fn take(&self, lines: usize, bytes: usize, measure: impl Fn(&Line) -> usize) -> Vec<Line> {
        let mut held = self.inner.held.borrow_mut();
        let (mut taken, mut sum, mut dropped) = (Vec::new(), 0, 0);
        while let Some(next) = held.lines.front().map(&measure) {
            if next > bytes {
                held.pop();
                dropped += 1;
                continue;
            }
            sum += next;
            if taken.len() == lines || sum > bytes {
                break;
            }
            taken.extend(held.pop());
        }
        held.dropped += dropped;
        drop(held);
        if dropped > 0 {
            self.inner.tally.dropped(dropped);
        }
        taken
    }

    /// Puts lines that nobody took back where they were. What finds no room is dropped, the oldest first.
    pub(crate) fn put_back(&self, lines: Vec<Line>) {
        let (dropped, waiting) = {
            let mut held = self.inner.held.borrow_mut();
            for line in lines.into_iter().rev() {
                held.bytes += line.cost();
                held.lines.push_front(line);
            }
            let before = held.dropped;
            held.shrink();
            (held.dropped - before, held.lines.len())
        };
        if dropped > 0 {
            self.inner.tally.dropped(dropped);
        }
        self.tell(waiting);
    }

    /// Gives up what still waits, and says how much that was.
    pub(crate) fn give_up(&self) -> u64 {
        let dropped = {
            let mut held = self.inner.held.borrow_mut();
            let left = held.lines.len() as u64;
            held.lines.clear();
            held.bytes = 0;
            held.dropped += left;
            left
        };
        if dropped > 0 {
            self.inner.tally.dropped(dropped);
        }
        dropped
    }

    /// Returns when a line waits.
    pub(crate) async fn filled(&self) {
        self.filled_to(1).await;
    }

    /// Returns when `lines` wait.
    pub(crate) async fn filled_to(&self, lines: usize) {
        while self.len() < lines {
            self.inner.wanted.set(self.inner.wanted.get().min(lines));
            self.inner.filled.notified().await;
        }
    }
}

impl Held {
    fn pop(&mut self) -> Option<Line> {
        let line = self.lines.pop_front()?;
        self.bytes -= line.cost();
        Some(line)
    }

    fn shrink(&mut self) {
        while self.lines.len() > RING_LINES || self.bytes > RING_BYTES {
            if self.pop().is_none() {
                return;
            }
            self.dropped += 1;
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let held = self.inner.held.borrow();
        f.debug_struct("Ring")
            .field("lines", &held.lines.len())
            .field("bytes", &held.bytes)
            .field("dropped", &held.dropped)
            .finish()
    }
}

#[cfg(test)]
mod tests;
