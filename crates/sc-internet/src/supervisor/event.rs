//! The words between the policy and the master: what happened, what is to be done, what is worth telling.
//!
//! Nothing here decides anything.

use std::fmt;
use std::time::Duration;

/// A point in time: how long after the master's start.
pub type Moment = Duration;

/// One worker process, from before its start until after its end. Numbers begin at 1 and are never used again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Worker(pub u64);

impl fmt::Display for Worker {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// Where a worker stands in its life.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum State {
    /// Started; reads its settings and tests itself.
    Starting,
    /// Ready, and accepts nothing yet.
    Warm,
    /// Accepts on its lane's sockets.
    Active,
    /// Accepts no more; finishes what is open.
    Draining,
    /// Its process has ended.
    Gone,
}

/// What happened. Events about workers that are gone, or that do not fit the worker's state, change nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// Time passed. The first one starts the first workers.
    Tick,
    /// A starting worker has tested itself and can serve.
    Ready(Worker),
    /// A worker that was told to accept does so: its listeners are being polled.
    Accepting(Worker),
    /// A starting or warm worker says that it cannot serve. It is killed, so its exit is still awaited.
    Failed(Worker),
    /// A draining worker has nothing open any more and is about to end.
    Drained(Worker),
    /// A worker's process ended. `clean` when it ended of itself and without an error.
    Exited {
        /// Which one.
        worker: Worker,
        /// Whether the exit status was 0.
        clean: bool,
    },
    /// A worker has not answered for too long: its event loop does not turn.
    Stuck(Worker),
    /// A worker that was stuck answers again.
    Answers(Worker),
    /// A person wants the workers of these lanes renewed now; all lanes when the list is empty.
    ///
    /// The only thing that a person's wish overrides is the schedule: the least life, the gap between changes, the time to
    /// settle, and overload. Each `ticket` is answered exactly once, by [`Action::Recycled`].
    Recycle {
        /// The asker's number, not used by another open request.
        ticket: u64,
        /// The lanes.
        lanes: Vec<usize>,
    },
    /// New settings or certificates are being given to the workers.
    ReloadBegan,
    /// All have answered. `changed` when what runs is not what ran before.
    ReloadEnded {
        /// Whether workers run with something new.
        changed: bool,
    },
    /// The settings of before are back after an [`Action::RollBack`]. This ends a reload, and starts no watch for a storm.
    RolledBack,
    /// The machine is overloaded: planned deaths wait.
    Hold,
    /// It no longer is.
    Release,
    /// All workers shall finish and end. A second one is a `Hurry`.
    Stop,
    /// What waits while stopping (idle connections, tunnels) shall wait no longer. Does nothing unless stopping.
    Hurry,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Start a process. If that fails, say [`Event::Exited`].
    Spawn {
        /// The name it gets.
        worker: Worker,
        /// The lane whose sockets it is given.
        lane: usize,
        /// How many workers the lane has had, this one included.
        generation: u64,
    },
    /// Tell a warm worker to accept; it answers with [`Event::Accepting`].
    Activate {
        /// Which one.
        worker: Worker,
    },
    /// Tell a worker to accept no more, to finish what is open within a time, and to end. When everything stops it also goes
    /// to warm workers, and a second time, with a shorter time, to those that drain already.
    Drain {
        /// Which one.
        worker: Worker,
        /// What is still open after it may be cut by the worker.
        within: Duration,
    },
    /// Tell a draining worker that idle connections and tunnels shall be ended now. Exchanges still finish.
    Hurry {
        /// Which one.
        worker: Worker,
    },
    /// End a process by force. [`Event::Exited`] is still awaited.
    Kill {
        /// Which one.
        worker: Worker,
    },
    /// The answer to [`Event::Recycle`].
    Recycled {
        /// The asker's number.
        ticket: u64,
        /// How it went.
        outcome: Outcome,
    },
    /// Give the workers the settings of before the last change, and say [`Event::RolledBack`].
    RollBack,
    /// Something for the log.
    Note(Note),
    /// Everything has stopped: no worker's process is left. The last action there is.
    Stopped,
}

/// How a person's wish for new workers went.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Every lane that was named has a worker that began to accept after the wish. The old ones drain.
    Renewed,
    /// A lane's successor did not come to serve. The lane goes on with the worker it had; lanes not yet begun were left alone.
    Failed {
        /// The lane.
        lane: usize,
        /// What became of the successor.
        fault: Fault,
    },
    /// There is no such lane; nothing was done.
    NoSuchLane {
        /// The number that was given.
        lane: usize,
    },
    /// It could not begin, or not go on, within [`super::Rules::recycle_within`].
    Postponed {
        /// The first lane that still waits.
        lane: usize,
        /// What it waits for.
        because: Hindrance,
    },
    /// The service is stopping.
    Stopping,
}

/// What can go wrong with a worker.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Fault {
    /// It said that it cannot serve.
    Refused,
    /// It did not become ready in time.
    Silent,
    /// It was told to accept and did not say that it does in time.
    Deaf,
    /// Its process ended with an error or by a signal.
    Crashed,
    /// Its process ended without an error, though nobody asked it to.
    Left,
    /// Its event loop does not turn.
    Stuck,
}

/// Why a change waits.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Hindrance {
    /// New settings are being given to the workers.
    Reload,
    /// The machine is overloaded.
    Overload,
    /// A lane waits to start a worker after faults.
    BackingOff {
        /// The lane.
        lane: usize,
    },
    /// As many lanes as may are in change, or have just been.
    InChange,
    /// The last change was too short a time ago.
    Gap,
    /// Too many old workers still drain.
    Draining,
}

/// Why a worker was replaced.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Cause {
    /// Its time had come.
    Age,
    /// A person asked.
    Asked,
    /// Its event loop did not turn.
    Stuck,
}

/// Something for the log. None of it asks for anything to be done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Note {
    /// A hand-over is complete: `new` accepts, `old` was told to drain.
    Renewed {
        /// The lane.
        lane: usize,
        /// The worker that drains.
        old: Worker,
        /// The worker that accepts.
        new: Worker,
        /// How long the old one was active.
        lived: Duration,
        /// Why.
        cause: Cause,
    },
    /// A worker was lost, or is about to be.
    Lost {
        /// The lane.
        lane: usize,
        /// Which one.
        worker: Worker,
        /// The state it was in.
        state: State,
        /// What happened.
        fault: Fault,
    },
    /// A worker that was stuck answers again.
    Recovered {
        /// The lane.
        lane: usize,
        /// Which one.
        worker: Worker,
    },
    /// A lane waits before it starts its next worker.
    BackingOff {
        /// The lane.
        lane: usize,
        /// Faults in a row.
        faults: u32,
        /// How long it waits.
        delay: Duration,
    },
    /// Lanes fail since the last change of settings; it is rolled back.
    Storm {
        /// How many lanes.
        lanes: usize,
        /// Faults since the change.
        faults: u32,
    },
    /// A planned death has been postponed for very long.
    Postponed {
        /// The lane.
        lane: usize,
        /// Which one.
        worker: Worker,
        /// By how much.
        by: Duration,
        /// What it waits for.
        because: Hindrance,
    },
    /// Too many old workers drain; the oldest was told to hurry.
    TooManyDraining {
        /// The one that was told.
        worker: Worker,
        /// How many drain.
        draining: usize,
    },
    /// A worker did not end when it had to, and is killed.
    Overdue {
        /// The lane.
        lane: usize,
        /// Which one.
        worker: Worker,
    },
}
