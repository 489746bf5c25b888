//! The numbers of the policy, and where each comes from.

use std::time::Duration;

/// The shortest life of a worker that no setting can lower. Source: the user's page on internet mode.
pub const LEAST_LIFE: Duration = Duration::from_secs(15 * 60);

/// The numbers that the policy follows. [`Rules::new`] has the usual ones.
///
/// Shape: [`super::Supervisor::new`] raises `lanes` and `most_draining` to 1 and `life` to [`LEAST_LIFE`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rules {
    /// How many lanes.
    pub lanes: usize,
    /// The shortest time that a worker is active before its planned end.
    pub life: Duration,
    /// What is added to it at random.
    pub spread: Duration,
    /// Whether each lane keeps a warm worker beside the active one.
    pub standby: bool,
    /// A starting worker that is silent for so long is killed.
    pub ready_within: Duration,
    /// A warm worker that was told to accept, and does not say that it does for so long, is killed.
    pub accepting_within: Duration,
    /// How long a retiring worker may finish exchanges and tunnels.
    pub drain_time: Duration,
    /// The same when everything stops.
    pub stop_time: Duration,
    /// What a worker gets on top of either before it is killed: it cuts what is open by itself, and spreads that.
    pub drain_grace: Duration,
    /// A drained worker ends within it, or is killed.
    pub exit_within: Duration,
    /// A stuck worker is killed so long after its successor began to accept, unless it answers again.
    pub stuck_grace: Duration,
    /// For so long after a hand-over its lane counts as in change, for planned deaths.
    pub settle: Duration,
    /// Ceiling of the delay after the second fault in a row; it doubles with each. The first has none.
    pub backoff_base: Duration,
    /// Where that ceiling ends.
    pub backoff_cap: Duration,
    /// A worker that is well for so long ends a row of faults.
    pub healthy: Duration,
    /// A storm is faults within so long after a change of settings.
    pub storm_window: Duration,
    /// Above so many draining workers the oldest is hurried; at twice as many no further change begins.
    pub most_draining: usize,
    /// A death that is postponed by so long is told, and again after as long.
    pub postponed_after: Duration,
    /// A person's wish for new workers is given up when no lane of it was renewed for so long.
    pub recycle_within: Duration,
}

impl Rules {
    /// The usual numbers for so many lanes.
    pub fn new(lanes: usize) -> Rules {
        let seconds = Duration::from_secs;
        Rules {
            lanes: lanes.max(1),
            life: LEAST_LIFE,
            spread: seconds(15 * 60),
            standby: true,
            ready_within: seconds(30),
            accepting_within: seconds(10),
            drain_time: seconds(15 * 60),
            stop_time: seconds(60),
            drain_grace: seconds(90),
            exit_within: seconds(5),
            stuck_grace: seconds(10),
            settle: seconds(10),
            backoff_base: Duration::from_millis(100),
            backoff_cap: seconds(30),
            healthy: seconds(60),
            storm_window: seconds(60),
            // One that drains has about ten megabytes of its own, less than the buffers of the long downloads that keep it.
            // Lives of 15 minutes and drains as long make one or two per lane; only a person who renews again and again
            // gets more.
            most_draining: lanes.saturating_mul(4).max(16),
            postponed_after: seconds(4 * 60 * 60),
            recycle_within: seconds(10 * 60),
        }
    }

    /// How many lanes may be in change at a time: a quarter, at least one.
    pub fn most_in_change(&self) -> usize {
        (self.lanes / 4).max(1)
    }

    /// The least time between two planned changes: 20 s, or less where so many lanes would not get their turn.
    pub fn gap(&self) -> Duration {
        let twice = u32::try_from(self.lanes).unwrap_or(u32::MAX).max(1).saturating_mul(2);
        ((self.life + self.spread / 2) / twice).min(Duration::from_secs(20))
    }

    /// The same numbers, within what the policy is sure of.
    pub(super) fn checked(mut self) -> Rules {
        self.lanes = self.lanes.max(1);
        self.life = self.life.max(LEAST_LIFE);
        self.most_draining = self.most_draining.max(1);
        self
    }
}
