//! What is done to the server and when: a sequence that follows from a seed, known before it begins.

use std::fmt;
use std::time::Duration;

use crate::supervisor::random::Random;

/// Between two steps; shorter than a hand-over takes, so that one often meets the next.
const LEAST_PAUSE: Duration = Duration::from_millis(100);
const PAUSE_SPREAD: Duration = Duration::from_millis(300);

/// How long a Redis stands still: longer than a worker waits for it (200 ms), shorter than anybody would call an outage.
const LEAST_FREEZE: Duration = Duration::from_millis(300);
const FREEZE_SPREAD: Duration = Duration::from_millis(500);

/// One disturbance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Deed {
    /// A lane gets a new worker.
    Recycle {
        /// The lane.
        lane: usize,
    },
    /// Every lane gets a new worker.
    RecycleAll,
    /// The settings change, and are read again by all workers.
    Reload,
    /// The active worker of a lane is killed with SIGKILL.
    KillWorker {
        /// The lane.
        lane: usize,
    },
    /// Redis is killed with SIGKILL.
    KillRedis,
    /// Redis is stopped with SIGSTOP and goes on with SIGCONT.
    FreezeRedis {
        /// How long it stands still.
        during: Duration,
    },
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Deed::Recycle { lane } => write!(f, "recycle lane {lane}"),
            Deed::RecycleAll => f.write_str("recycle all lanes"),
            Deed::Reload => f.write_str("reload"),
            Deed::KillWorker { lane } => write!(f, "SIGKILL the worker of lane {lane}"),
            Deed::KillRedis => f.write_str("SIGKILL Redis"),
            Deed::FreezeRedis { during } => write!(f, "SIGSTOP Redis for {} ms", during.as_millis()),
        }
    }
}

/// A disturbance and its time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Step {
    /// How long after the beginning; later when an earlier one takes its time.
    pub at: Duration,
    /// What is done.
    pub deed: Deed,
}

/// Everything that is done, in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plan {
    /// Where it comes from.
    pub seed: u64,
    /// How long the drill lasts.
    pub lasts: Duration,
    /// How many lanes there are.
    pub lanes: usize,
    /// The steps, none of them after the end.
    pub steps: Vec<Step>,
}

impl Plan {
    /// The plan of a seed.
    ///
    /// Shape: the same for the same values. Each kind of disturbance comes once before any comes again.
    pub fn new(seed: u64, lasts: Duration, lanes: usize, has_redis: bool) -> Plan {
        let mut random = Random::new(seed);
        let (mut steps, mut at) = (Vec::new(), Duration::ZERO);
        let mut hand = Vec::new();
        loop {
            at += LEAST_PAUSE + random.within(PAUSE_SPREAD);
            if at >= lasts {
                break;
            }
            if hand.is_empty() {
                hand = deal(&mut random, lanes, has_redis);
            }
            steps.extend(hand.pop().map(|deed| Step { at, deed }));
        }
        Plan {
            seed,
            lasts,
            lanes,
            steps,
        }
    }
}

/// One of each kind, recycling more often, shuffled (Fisher and Yates).
fn deal(random: &mut Random, lanes: usize, has_redis: bool) -> Vec<Deed> {
    let mut lane = || usize::try_from(random.below(lanes as u64)).unwrap_or(0);
    let mut hand = vec![
        Deed::Recycle { lane: lane() },
        Deed::Recycle { lane: lane() },
        Deed::KillWorker { lane: lane() },
        Deed::RecycleAll,
        Deed::Reload,
        Deed::Reload,
    ];
    if has_redis {
        let during = LEAST_FREEZE + random.within(FREEZE_SPREAD);
        hand.extend([Deed::KillRedis, Deed::FreezeRedis { during }]);
    }
    shuffle(&mut hand, random);
    hand
}

/// Brings a list into an order that follows from the sequence.
pub(super) fn shuffle<T>(list: &mut [T], random: &mut Random) {
    for last in (1..list.len()).rev() {
        let other = usize::try_from(random.below(last as u64 + 1)).unwrap_or(0);
        list.swap(last, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LASTS: Duration = Duration::from_secs(20);

    #[test]
    fn a_seed_has_one_plan_and_another_seed_another() {
        let plan = Plan::new(7, LASTS, 4, true);
        assert_eq!(plan, Plan::new(7, LASTS, 4, true));
        assert_ne!(plan.steps, Plan::new(8, LASTS, 4, true).steps);
    }

    #[test]
    fn every_kind_comes_early_and_nothing_after_the_end() {
        for seed in 0..200 {
            let plan = Plan::new(seed, LASTS, 3, true);
            assert!(plan.steps.iter().all(|step| step.at < LASTS), "{seed}: {plan:?}");
            assert!(plan.steps.is_sorted_by_key(|step| step.at), "{seed}: {plan:?}");
            let first = plan.steps.get(..8).unwrap_or_default();
            let has = |wanted: fn(&Deed) -> bool| first.iter().any(|step| wanted(&step.deed));
            assert!(has(|deed| matches!(deed, Deed::Recycle { .. })), "{seed}: {plan:?}");
            assert!(has(|deed| matches!(deed, Deed::RecycleAll)), "{seed}: {plan:?}");
            assert!(has(|deed| matches!(deed, Deed::Reload)), "{seed}: {plan:?}");
            assert!(has(|deed| matches!(deed, Deed::KillWorker { .. })), "{seed}: {plan:?}");
            assert!(has(|deed| matches!(deed, Deed::KillRedis)), "{seed}: {plan:?}");
            assert!(has(|deed| matches!(deed, Deed::FreezeRedis { .. })), "{seed}: {plan:?}");
        }
    }

    #[test]
    fn without_a_redis_none_is_disturbed_and_lanes_exist() {
        let plan = Plan::new(1, LASTS, 2, false);
        for step in &plan.steps {
            match step.deed {
                Deed::Recycle { lane } | Deed::KillWorker { lane } => assert!(lane < 2, "{step:?}"),
                Deed::KillRedis | Deed::FreezeRedis { .. } => panic!("{step:?}"),
                Deed::RecycleAll | Deed::Reload => {}
            }
        }
    }
}
