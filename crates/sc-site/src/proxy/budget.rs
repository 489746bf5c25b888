//! How many requests may be sent again, so that an outage is not made worse by those who try once more.
//!
//! Over ten seconds, a share of the requests that came in that time, and ten in any case. Time is handed in.

use std::cell::RefCell;
use std::time::Duration;

use tokio::time::Instant;

use crate::spec::RetrySpec;

/// How far back is counted, in slots.
const SLOTS: usize = 10;
/// What one slot holds.
const SLOT: Duration = Duration::from_secs(1);
/// Allowed in any ten seconds, however few requests come.
const ALWAYS: u64 = 10;

/// What was sent, and what was sent again.
#[derive(Debug)]
pub(crate) struct Budget {
    percent: u64,
    window: RefCell<Window>,
}

#[derive(Debug, Default)]
struct Window {
    /// When the first slot ever began.
    began: Option<Instant>,
    /// The slot that counts now, from the first one on.
    current: u64,
    slots: [Slot; SLOTS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    requests: u64,
    repeats: u64,
}

impl Budget {
    /// Nothing was sent yet.
    pub(crate) fn new(spec: RetrySpec) -> Self {
        Budget {
            percent: spec.budget_percent.into(),
            window: RefCell::default(),
        }
    }

    /// Counts a request that came.
    pub(crate) fn came(&self, now: Instant) {
        if let Some(slot) = self.window.borrow_mut().slot(now) {
            slot.requests += 1;
        }
    }

    /// Asks whether a request may be sent again, and counts it when it may.
    pub(crate) fn allows(&self, now: Instant) -> bool {
        let mut window = self.window.borrow_mut();
        window.slot(now);
        let sum = |of: fn(&Slot) -> u64| window.slots.iter().map(of).sum::<u64>();
        let most = sum(|slot| slot.requests) * self.percent / 100 + ALWAYS;
        let is_allowed = sum(|slot| slot.repeats) < most;
        if is_allowed && let Some(slot) = window.slot(now) {
            slot.repeats += 1;
        }
        is_allowed
    }
}

impl Window {
    /// The slot of this moment; those that have become too old are emptied.
    fn slot(&mut self, now: Instant) -> Option<&mut Slot> {
        let began = *self.began.get_or_insert(now);
        let number = now.saturating_duration_since(began).as_secs() / SLOT.as_secs();
        let passed = usize::try_from(number.saturating_sub(self.current)).unwrap_or(SLOTS);
        for step in 1..=passed.min(SLOTS) {
            let at = (self.current + step as u64) % SLOTS as u64;
            if let Some(slot) = self.slots.get_mut(at as usize) {
                *slot = Slot::default();
            }
        }
        self.current = self.current.max(number);
        self.slots.get_mut((self.current % SLOTS as u64) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(budget: &Budget, wanted: usize, now: Instant) -> usize {
        (0..wanted).filter(|_| budget.allows(now)).count()
    }

    #[test]
    fn a_share_of_what_came_and_ten_in_any_case() {
        let (budget, now) = (Budget::new(RetrySpec::default()), Instant::now());
        assert_eq!(allowed(&budget, 100, now), 10);
        (0..1000).for_each(|_| budget.came(now));
        assert_eq!(allowed(&budget, 1000, now), 200);
    }

    #[test]
    fn what_is_older_than_ten_seconds_is_forgotten() {
        let (budget, now) = (Budget::new(RetrySpec::default()), Instant::now());
        (0..100).for_each(|_| budget.came(now));
        assert_eq!(allowed(&budget, 100, now), 30);
        assert_eq!(allowed(&budget, 100, now + SLOT * 9), 0);
        assert_eq!(allowed(&budget, 100, now + SLOT * 10), 10);
        assert_eq!(allowed(&budget, 100, now + SLOT * 500), 10);
        assert_eq!(
            allowed(&budget, 100, now),
            0,
            "a moment that has passed counts as the latest"
        );
    }

    #[test]
    fn an_outage_is_amplified_by_no_more_than_the_share() {
        let (budget, begin) = (Budget::new(RetrySpec::default()), Instant::now());
        let mut repeats = 0;
        for second in 0..60 {
            for _ in 0..500 {
                budget.came(begin + SLOT * second);
                repeats += usize::from(budget.allows(begin + SLOT * second));
            }
        }
        let most = 60 * 500 / 5 + 10 * 6;
        assert!(repeats <= most && repeats > most * 9 / 10, "{repeats}");
    }
}
