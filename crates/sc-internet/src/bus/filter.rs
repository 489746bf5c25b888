//! Puts the lines of every worker in order again, whichever way they came: each is passed on once or counted as lost.
//!
//! Lines of one worker are numbered without a gap. A number that was passed over may still come by the other way, so a gap
//! is only called a loss after a while; until then a late line fills it. A line whose number was passed on already, or
//! given up, is dropped. A pure function of lines and times.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::Line;

/// A gap may be filled until all that was in the stream so long after it was seen has been read.
const SETTLE_TIME: Duration = Duration::from_secs(5);
/// How long a gap may be filled at most, when the stream cannot be read.
const LONGEST_TIME: Duration = Duration::from_secs(60);
/// Gaps of one worker at a time; with one more, the oldest is given up.
const GAPS: usize = 64;
/// Workers that have ended and are remembered, so that what comes late is known to be late.
const ENDED: usize = 1024;
/// Workers of a former master that are told apart.
const STRANGERS: usize = 256;

/// What comes out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Sorted {
    Line(Line),
    Lost { worker: String, lines: u64 },
}

/// Of every worker, how far it was read and what is missing.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    workers: BTreeMap<String, Read>,
    /// Workers that ended, the first to be forgotten first.
    ended: VecDeque<String>,
    /// Workers that were never announced, the first to be forgotten first.
    strangers: VecDeque<String>,
}

#[derive(Debug)]
struct Read {
    next: u64,
    gaps: Vec<Gap>,
}

/// Numbers from `from` to before `to`.
#[derive(Clone, Copy, Debug)]
struct Gap {
    from: u64,
    to: u64,
    since: Instant,
}

impl Filter {
    /// A worker will begin with its first line.
    pub(crate) fn expect(&mut self, worker: &str) {
        self.workers.entry(worker.to_owned()).or_insert_with(|| Read::from(1));
    }

    /// Takes a line in. One of a worker that was not announced is taken as that worker's first when `may_be_new`, and
    /// dropped otherwise.
    pub(crate) fn take(&mut self, line: Line, may_be_new: bool, now: Instant, out: &mut Vec<Sorted>) {
        if may_be_new && !self.workers.contains_key(&*line.worker) {
            self.meet(&line, out);
        }
        let Some(read) = self.workers.get_mut(&*line.worker) else {
            return;
        };
        if line.sequence >= read.next {
            read.miss(line.sequence, now);
            read.next = line.sequence.saturating_add(1);
        } else if !read.fill(line.sequence) {
            return;
        }
        let lost = read.too_many();
        if lost > 0 {
            out.push(Sorted::Lost {
                worker: line.worker.to_string(),
                lines: lost,
            });
        }
        out.push(Sorted::Line(line));
    }

    /// A worker has ended, and its last line had that number if anybody knows.
    pub(crate) fn end(&mut self, worker: &str, last: Option<u64>, now: Instant) -> Vec<Sorted> {
        let mut out = Vec::new();
        let Some(read) = self.workers.get_mut(worker) else {
            return out;
        };
        if let Some(last) = last {
            read.miss(last.saturating_add(1), now);
            read.next = read.next.max(last.saturating_add(1));
        }
        self.strangers.retain(|name| name != worker);
        self.ended.push_back(worker.to_owned());
        while self.ended.len() > ENDED {
            let forgotten = self.ended.pop_front();
            self.forget(forgotten, &mut out);
        }
        out
    }

    /// Gives up gaps that are old enough.
    ///
    /// Shape: `read_up` is when all that was in the stream had been read the last time; `None` if never.
    pub(crate) fn settle(&mut self, now: Instant, read_up: Option<Instant>) -> Vec<Sorted> {
        let mut out = Vec::new();
        for (worker, read) in &mut self.workers {
            let mut lost = 0;
            read.gaps.retain(|gap| {
                let age = now.saturating_duration_since(gap.since);
                let is_read_up = read_up.is_some_and(|at| at.saturating_duration_since(gap.since) >= SETTLE_TIME);
                let is_over = is_read_up || age >= LONGEST_TIME;
                lost += if is_over { gap.to - gap.from } else { 0 };
                !is_over
            });
            if lost > 0 {
                out.push(Sorted::Lost {
                    worker: worker.clone(),
                    lines: lost,
                });
            }
        }
        out
    }

    /// Whether anything is missing that may still come.
    pub(crate) fn is_waiting(&self) -> bool {
        self.workers.values().any(|read| !read.gaps.is_empty())
    }

    fn meet(&mut self, line: &Line, out: &mut Vec<Sorted>) {
        self.workers.insert(line.worker.to_string(), Read::from(line.sequence));
        self.strangers.push_back(line.worker.to_string());
        while self.strangers.len() > STRANGERS {
            let forgotten = self.strangers.pop_front();
            self.forget(forgotten, out);
        }
    }

    fn forget(&mut self, worker: Option<String>, out: &mut Vec<Sorted>) {
        let Some((worker, read)) = worker.and_then(|worker| self.workers.remove_entry(&worker)) else {
            return;
        };
        let lines = read.gaps.iter().map(|gap| gap.to - gap.from).sum();
        if lines > 0 {
            out.push(Sorted::Lost { worker, lines });
        }
    }
}

impl Read {
    fn from(next: u64) -> Self {
        Read { next, gaps: Vec::new() }
    }

    /// All from the next number to before `to` are missing.
    fn miss(&mut self, to: u64, since: Instant) {
        if to > self.next {
            self.gaps.push(Gap {
                from: self.next,
                to,
                since,
            });
        }
    }

    /// Whether that number was missing; it is not, after this.
    fn fill(&mut self, number: u64) -> bool {
        let Some(at) = self.gaps.iter().position(|gap| (gap.from..gap.to).contains(&number)) else {
            return false;
        };
        let gap = self.gaps.remove(at);
        let after = Gap {
            from: number + 1,
            ..gap
        };
        let before = Gap { to: number, ..gap };
        for half in [after, before] {
            if half.from < half.to {
                self.gaps.insert(at, half);
            }
        }
        true
    }

    /// Gives the oldest gaps up when there are too many, and says how many lines that were.
    fn too_many(&mut self) -> u64 {
        let surplus = self.gaps.len().saturating_sub(GAPS);
        self.gaps.drain(..surplus).map(|gap| gap.to - gap.from).sum()
    }
}

#[cfg(test)]
mod tests;
