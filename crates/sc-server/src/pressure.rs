//! The budget of memory: what is shed when most of it is taken.
//!
//! New work is turned away before work that was begun is hurt, and the more a client has, the sooner: first new streams of
//! those that have many, then all new requests, then new connections. Memory is looked at when somebody comes, fifty times a
//! second or once for some dozens of them; an idle server looks at nothing.

use std::cell::Cell;
use std::time::Duration;

use sc_net::memory::Memory;
use tokio::time::Instant;

/// How long one look holds: a loop turns far more often.
const LOOK: Duration = Duration::from_millis(20);

/// How many wishes one look holds for: what they cost is known only when they are granted.
const WISHES: u32 = 64;

/// Streams that a client may have open before it counts as one that has many: a browser's page has more only for moments.
const MANY_STREAMS: usize = 8;

/// Parts of the budget, in percent, at which each thing is shed.
const FROM_MANY: u64 = 75;
const REQUESTS: u64 = 85;
const CONNECTIONS: u64 = 95;

/// Something that somebody wants to begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wish {
    /// A request, of a client that has so many under way on its connection.
    Request { open: usize },
    /// A connection.
    Connection,
}

/// How much of the budget is taken.
#[derive(Debug)]
pub(crate) struct Pressure {
    memory: Memory,
    looked: Cell<Option<Instant>>,
    wishes: Cell<u32>,
    taken: Cell<u64>,
}

impl Pressure {
    pub(crate) fn new() -> Self {
        Pressure {
            memory: Memory::of_this_process(),
            looked: Cell::new(None),
            wishes: Cell::new(0),
            taken: Cell::new(0),
        }
    }

    /// Whether it may begin, with this budget.
    pub(crate) fn admits(&self, wish: Wish, budget: Option<u64>) -> bool {
        let Some(budget) = budget else { return true };
        let now = Instant::now();
        self.wishes.set(self.wishes.get() + 1);
        let is_fresh = self
            .looked
            .get()
            .is_some_and(|looked| now.duration_since(looked) < LOOK);
        if !is_fresh || self.wishes.get() >= WISHES {
            self.looked.set(Some(now));
            self.wishes.set(0);
            self.taken.set(self.memory.taken_bytes());
        }
        fits(wish, self.taken.get(), budget)
    }
}

fn fits(wish: Wish, taken: u64, budget: u64) -> bool {
    let part = match wish {
        Wish::Request { open } if open >= MANY_STREAMS => FROM_MANY,
        Wish::Request { .. } => REQUESTS,
        Wish::Connection => CONNECTIONS,
    };
    taken < budget / 100 * part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_work_is_shed_before_old_and_from_those_who_have_much_first() {
        let admitted = |taken| {
            [
                Wish::Request { open: MANY_STREAMS },
                Wish::Request { open: 0 },
                Wish::Connection,
            ]
            .map(|wish| fits(wish, taken, 1000))
        };
        assert_eq!(admitted(0), [true; 3]);
        assert_eq!(admitted(749), [true; 3]);
        assert_eq!(admitted(750), [false, true, true]);
        assert_eq!(admitted(850), [false, false, true]);
        assert_eq!(admitted(950), [false; 3]);
    }

    #[test]
    fn without_a_budget_nothing_is_shed() {
        let pressure = Pressure::new();
        assert!(pressure.admits(Wish::Connection, None));
        assert!(!pressure.admits(Wish::Connection, Some(1 << 10)));
        assert!(pressure.admits(Wish::Connection, Some(1 << 50)));
    }
}
