//! How long to wait before trying again: full jitter, so that many who lost the same thing do not come back together.
//!
//! Source: "Exponential Backoff And Jitter", Marc Brooker, 2015 (full jitter); SplitMix64 (Steele, Lea, Flood, 2014).

use std::time::Duration;

/// The waits of one seed.
#[derive(Debug)]
pub(crate) struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
    state: u64,
}

impl Backoff {
    /// Waits of up to `base`, then twice that, and so on to `cap`.
    pub(crate) fn new(base: Duration, cap: Duration, seed: u64) -> Self {
        Backoff {
            base,
            cap,
            failures: 0,
            state: seed,
        }
    }

    /// The wait after one more failure: anything between nothing and the present bound.
    pub(crate) fn next(&mut self) -> Duration {
        let bound = self.base.saturating_mul(1 << self.failures.min(16)).min(self.cap);
        self.failures = self.failures.saturating_add(1);
        self.up_to(bound)
    }

    /// Begins again with the shortest waits.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Anything between nothing and `bound`.
    pub(crate) fn up_to(&mut self, bound: Duration) -> Duration {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // 53 bits are what a float holds exactly.
        bound.mul_f64((mixed >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_differ_by_seed() {
        let [base, cap] = [100, 5000].map(Duration::from_millis);
        let waits = |seed| {
            let mut backoff = Backoff::new(base, cap, seed);
            (0..64).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        for seed in 0..100 {
            let waits = waits(seed);
            assert!(waits[0] <= base && waits[1] <= base * 2 && waits.iter().all(|wait| *wait <= cap));
            assert!(waits.iter().any(|wait| *wait > cap / 2));
        }
        assert_ne!(waits(1), waits(2));
        assert_eq!(waits(3), waits(3));
    }

    #[test]
    fn a_thousand_who_lost_the_same_do_not_return_together() {
        let bound = Duration::from_secs(1);
        let mut in_tenth = [0; 10];
        for seed in 0..1000 {
            let wait = Backoff::new(bound, bound, seed).next();
            in_tenth[usize::try_from(wait.as_millis() / 100).unwrap().min(9)] += 1;
        }
        assert!(in_tenth.iter().all(|count| (60..=140).contains(count)), "{in_tenth:?}");
    }
}
