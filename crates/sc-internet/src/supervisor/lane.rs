//! What the policy knows of a lane and of each worker on it. Holds facts, takes no decisions.

use std::time::Duration;

use super::event::{Cause, Moment, State, Worker};

/// One lane: the workers on it that are not gone, and how it fares.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// In the order of their start.
    pub(super) members: Vec<Member>,
    /// How many workers the lane has had.
    pub(super) generation: u64,
    /// Its worker is to be replaced, and a successor is on its way.
    pub(super) change: Option<Cause>,
    /// When a worker last began to accept here.
    pub(super) promoted: Option<Moment>,
    /// Faults in a row.
    pub(super) faults: u32,
    /// When the last of them was.
    pub(super) faulted: Moment,
    /// No worker is started before.
    pub(super) spawn_at: Option<Moment>,
}

/// One worker.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) worker: Worker,
    pub(super) generation: u64,
    pub(super) state: State,
    /// When it got into its state.
    pub(super) since: Moment,
    pub(super) started: Moment,
    /// When it said that it is ready.
    pub(super) ready: Option<Moment>,
    /// When it began to accept.
    pub(super) active: Option<Moment>,
    /// It is warm and was told to accept.
    pub(super) called: bool,
    /// Its event loop does not turn.
    pub(super) stuck: bool,
    /// It was told to hurry.
    pub(super) hurried: bool,
    /// It was killed: only its exit is awaited, and nothing it says counts.
    pub(super) over: bool,
    /// It is killed then.
    pub(super) deadline: Option<Moment>,
    /// The same without what being stuck has shortened.
    pub(super) drain_deadline: Moment,
    /// When its life ends.
    pub(super) due: Moment,
    /// When that is looked at, again and again while it is postponed.
    pub(super) look: Moment,
    /// When it is told that it was postponed.
    pub(super) tell: Moment,
}

impl Lane {
    /// The worker that accepts and whose event loop turns.
    pub(super) fn serving(&self) -> Option<usize> {
        self.position(|member| member.state == State::Active && !member.stuck)
    }

    /// A worker that is ready and was not yet told to accept.
    pub(super) fn warm(&self) -> Option<usize> {
        self.position(|member| member.state == State::Warm && !member.called)
    }

    pub(super) fn is_starting(&self) -> bool {
        self.position(|member| member.state == State::Starting).is_some()
    }

    /// A worker was told to accept and has not said yet that it does.
    pub(super) fn is_calling(&self) -> bool {
        self.position(|member| member.called).is_some()
    }

    /// Whether a successor is wanted on the sockets as soon as there is one.
    pub(super) fn needs_successor(&self) -> bool {
        self.change.is_some() || self.serving().is_none()
    }

    /// From the wish to replace its worker until the successor accepts, and while any worker of it starts.
    pub(super) fn is_changing(&self) -> bool {
        self.change.is_some() || self.is_starting() || self.is_calling()
    }

    pub(super) fn is_backing_off(&self, now: Moment) -> bool {
        self.spawn_at.is_some_and(|at| at > now)
    }

    pub(super) fn is_settling(&self, settle: Duration, now: Moment) -> bool {
        self.promoted.is_some_and(|at| now < at + settle)
    }

    /// Whether a worker that started after the last fault has been well for so long.
    pub(super) fn is_healthy(&self, healthy: Duration, now: Moment) -> bool {
        let well =
            |member: &Member| member.started >= self.faulted && member.ready.is_some_and(|at| at + healthy <= now);
        self.members.iter().any(well)
    }

    fn position(&self, holds: impl Fn(&Member) -> bool) -> Option<usize> {
        self.members.iter().position(|member| !member.over && holds(member))
    }
}

impl Member {
    pub(super) fn new(worker: Worker, generation: u64, now: Moment, deadline: Moment) -> Member {
        Member {
            worker,
            generation,
            state: State::Starting,
            since: now,
            started: now,
            ready: None,
            active: None,
            called: false,
            stuck: false,
            hurried: false,
            over: false,
            deadline: Some(deadline),
            drain_deadline: Moment::MAX,
            due: Moment::MAX,
            look: Moment::MAX,
            tell: Moment::MAX,
        }
    }

    pub(super) fn enter(&mut self, state: State, now: Moment) {
        self.state = state;
        self.since = now;
    }
}
