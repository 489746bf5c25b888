//! Which address of an application is asked next: the less busy of two random ones, without those that fail.
//!
//! An address that failed three times in a row is left out for a while, longer each time; when all are, all are tried.
//! Decided on plain numbers, so that the tests need no sockets.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use crate::random::Random;

/// Failures in a row until an address is left out.
const FAILURES: u32 = 3;
/// How long it is left out at first, and how much longer with each further failure.
const PAUSE: Duration = Duration::from_secs(5);
/// How long at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What is known of one address.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failures: Cell<u32>,
    out_until: Cell<Option<Instant>>,
}

impl Health {
    /// Notes that it answered.
    pub(crate) fn succeed(&self) {
        self.failures.set(0);
        self.out_until.set(None);
    }

    /// Notes that it could not be reached, or closed before it answered.
    pub(crate) fn fail(&self, now: Instant) {
        let failures = self.failures.get().saturating_add(1);
        self.failures.set(failures);
        if let Some(beyond) = failures.checked_sub(FAILURES) {
            let pause = PAUSE.saturating_mul(beyond.saturating_add(1)).min(LONGEST_PAUSE);
            self.out_until.set(now.checked_add(pause));
        }
    }

    /// Whether it may be asked.
    pub(crate) fn is_in(&self, now: Instant) -> bool {
        self.out_until.get().is_none_or(|until| until <= now)
    }
}

/// One address in a choice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// Whether its health lets it in.
    pub(crate) is_in: bool,
    /// Whether this very request has failed there already.
    pub(crate) was_tried: bool,
    /// Exchanges under way.
    pub(crate) load: usize,
}

/// Chooses an address; none when all were tried.
pub(crate) fn choose(candidates: &[Candidate], random: &Random) -> Option<usize> {
    let left = |needs_health: bool| -> Vec<usize> {
        let is_left = |c: &Candidate| !c.was_tried && (c.is_in || !needs_health);
        candidates
            .iter()
            .enumerate()
            .filter(|(_, c)| is_left(c))
            .map(|(at, _)| at)
            .collect()
    };
    let mut left = Some(left(true))
        .filter(|healthy| !healthy.is_empty())
        .unwrap_or_else(|| left(false));
    if left.len() < 2 {
        return left.first().copied();
    }
    let one = left.swap_remove(random.below(left.len()));
    let other = left.swap_remove(random.below(left.len()));
    let load = |at: usize| candidates.get(at).map_or(usize::MAX, |candidate| candidate.load);
    Some(if load(other) < load(one) { other } else { one })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(list: &[(bool, bool, usize)]) -> Vec<Candidate> {
        list.iter()
            .map(|&(is_in, was_tried, load)| Candidate { is_in, was_tried, load })
            .collect()
    }

    #[test]
    fn the_less_busy_of_two_is_chosen() {
        let random = Random::new(7);
        let two = candidates(&[(true, false, 9), (true, false, 1)]);
        assert!((0..50).all(|_| choose(&two, &random) == Some(1)));
        let three = candidates(&[(true, false, 9), (true, false, 1), (true, false, 5)]);
        let picks: Vec<_> = (0..200).filter_map(|_| choose(&three, &random)).collect();
        assert!(!picks.contains(&0) && picks.contains(&1) && picks.contains(&2));
    }

    #[test]
    fn ejected_ones_are_used_only_when_nothing_else_is_left() {
        let random = Random::new(7);
        assert!((0..50).all(|_| choose(&candidates(&[(false, false, 0), (true, false, 99)]), &random) == Some(1)));
        assert_eq!(
            choose(&candidates(&[(false, false, 0), (true, true, 0)]), &random),
            Some(0)
        );
        assert_eq!(choose(&candidates(&[(true, true, 0)]), &random), None);
        assert_eq!(choose(&[], &random), None);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_eject_for_longer_and_longer() {
        let health = Health::default();
        health.fail(Instant::now());
        health.fail(Instant::now());
        assert!(health.is_in(Instant::now()));
        health.fail(Instant::now());
        assert!(!health.is_in(Instant::now()));
        tokio::time::advance(PAUSE).await;
        assert!(health.is_in(Instant::now()));
        health.fail(Instant::now());
        tokio::time::advance(PAUSE).await;
        assert!(!health.is_in(Instant::now()));
        health.succeed();
        assert!(health.is_in(Instant::now()));
    }
}
