//! The budget of memory: what is shed when most of it is taken.
//!
//! New work is turned away before work that was begun is hurt, and the more a client has, the sooner: first new streams of
//! connections that have many and new connections of addresses that do, then all new requests, then new connections. Memory is looked at when somebody comes, and at most
//! fifty times a second; an idle server looks at nothing. What was admitted just now counts as if it had taken its part
//! already, or a burst would be through before it costs anything.

use std::cell::Cell;
use std::time::Duration;

use sc_net::memory::Memory;
use tokio::time::Instant;

/// How long one look holds: a loop turns far more often.
const LOOK: Duration = Duration::from_millis(20);

/// What a request may come to take: its head and its exchange; what it sends and gets is bounded by windows.
const REQUEST_BYTES: u64 = 16 << 10;

/// What a connection may come to take before its first request: buffers of TLS, tables and queues of HTTP/2.
const CONNECTION_BYTES: u64 = 128 << 10;

/// Streams of a connection, or connections of an address, from which a client counts as one that has many: a browser's page
/// has more only for moments.
const MANY: usize = 8;

/// Parts of the budget, in percent, at which each thing is shed.
const FROM_MANY: u64 = 75;
const REQUESTS: u64 = 85;
const CONNECTIONS: u64 = 95;

/// Something that somebody wants to begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wish {
    /// A request, of a client that has so many under way on its connection.
    Request { open: usize },
    /// A connection, from an address that has so many others.
    Connection { open: usize },
}

/// How much of the budget is taken.
#[derive(Debug)]
pub(crate) struct Pressure {
    memory: Memory,
    looked: Cell<Option<Instant>>,
    taken: Cell<u64>,
    /// What was admitted of late may come to take, each look half as much.
    admitted: Cell<u64>,
}

impl Pressure {
    pub(crate) fn new() -> Self {
        Pressure {
            memory: Memory::of_this_process(),
            looked: Cell::new(None),
            taken: Cell::new(0),
            admitted: Cell::new(0),
        }
    }

    /// Whether it may begin, with this budget.
    pub(crate) fn admits(&self, wish: Wish, budget: Option<u64>) -> bool {
        let Some(budget) = budget else { return true };
        let now = Instant::now();
        if self
            .looked
            .get()
            .is_none_or(|looked| now.duration_since(looked) >= LOOK)
        {
            self.looked.set(Some(now));
            self.taken.set(self.memory.taken_bytes());
            self.admitted.set(self.admitted.get() / 2);
        }
        let fits = fits(wish, self.taken.get() + self.admitted.get(), budget);
        if fits {
            let cost = match wish {
                Wish::Request { .. } => REQUEST_BYTES,
                Wish::Connection { .. } => CONNECTION_BYTES,
            };
            self.admitted.set(self.admitted.get() + cost);
        }
        fits
    }
}

fn fits(wish: Wish, taken: u64, budget: u64) -> bool {
    let part = match wish {
        Wish::Request { open } | Wish::Connection { open } if open >= MANY => FROM_MANY,
        Wish::Request { .. } => REQUESTS,
        Wish::Connection { .. } => CONNECTIONS,
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
                Wish::Request { open: MANY },
                Wish::Request { open: 0 },
                Wish::Connection { open: MANY },
                Wish::Connection { open: 0 },
            ]
            .map(|wish| fits(wish, taken, 1000))
        };
        assert_eq!(admitted(0), [true; 4]);
        assert_eq!(admitted(749), [true; 4]);
        assert_eq!(admitted(750), [false, true, false, true]);
        assert_eq!(admitted(850), [false, false, false, true]);
        assert_eq!(admitted(950), [false; 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_counts_before_it_costs_anything() {
        let pressure = Pressure::new();
        let budget = Some(pressure.memory.taken_bytes() * 2 + (64 << 20));
        let burst = |open| {
            let admitted = (0..100_000).take_while(|_| pressure.admits(Wish::Request { open }, budget));
            admitted.count()
        };
        let many = burst(MANY);
        assert!((100..50_000).contains(&many), "{many}");
        assert!(pressure.admits(Wish::Request { open: 0 }, budget), "others are served");
        tokio::time::advance(LOOK).await;
        assert!(burst(MANY) > many / 4, "what has cost nothing is forgotten");
    }

    #[test]
    fn without_a_budget_nothing_is_shed() {
        let pressure = Pressure::new();
        assert!(pressure.admits(Wish::Connection { open: 0 }, None));
        assert!(!pressure.admits(Wish::Connection { open: 0 }, Some(1 << 10)));
        assert!(pressure.admits(Wish::Connection { open: 0 }, Some(1 << 50)));
    }
}
