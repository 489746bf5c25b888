//! A stage for one policy: an invented clock, and processes that do what they are told at once unless a test says otherwise.

use std::time::Duration;

use super::super::{Action, Event, LaneView, Moment, Note, Rules, State, Supervisor, Worker};

/// The policy, the clock, and what stands between them.
pub(super) struct Stage {
    pub(super) policy: Supervisor,
    pub(super) now: Moment,
}

pub(super) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Rules without a standby, so that a test sees each step.
pub(super) fn bare(lanes: usize) -> Rules {
    Rules {
        standby: false,
        ..Rules::new(lanes)
    }
}

impl Stage {
    /// A policy before its first event.
    pub(super) fn new(rules: Rules) -> Stage {
        Stage {
            policy: Supervisor::new(rules, 7),
            now: Moment::ZERO,
        }
    }

    /// A service that has been running for a minute: every lane serves, and has its warm worker if it shall have one.
    pub(super) fn running(rules: Rules) -> Stage {
        let mut stage = Stage::new(rules);
        stage.play(Event::Tick);
        stage.now += seconds(60);
        stage.play(Event::Tick);
        stage
    }

    pub(super) fn on(&mut self, event: Event) -> Vec<Action> {
        self.policy.on(event, self.now)
    }

    /// Lets time pass, with a tick whenever the policy wants one and one at the end.
    pub(super) fn pass(&mut self, time: Duration) -> Vec<Action> {
        let end = self.now + time;
        let mut actions = Vec::new();
        while let Some(at) = self.policy.wake_at().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            actions.extend(self.on(Event::Tick));
        }
        self.now = end;
        actions.extend(self.on(Event::Tick));
        actions
    }

    /// An event, and all that follows when workers start, accept and die as they are told. They go on draining.
    pub(super) fn play(&mut self, event: Event) -> Vec<Action> {
        let first = self.on(event);
        self.obey(first)
    }

    /// Lets time pass as `pass` does, with workers that obey.
    pub(super) fn play_on(&mut self, time: Duration) -> Vec<Action> {
        let end = self.now + time;
        let mut actions = Vec::new();
        while let Some(at) = self.policy.wake_at().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            actions.extend(self.play(Event::Tick));
        }
        self.now = end;
        actions.extend(self.play(Event::Tick));
        actions
    }

    pub(super) fn obey(&mut self, mut actions: Vec<Action>) -> Vec<Action> {
        let mut at = 0;
        while at < actions.len() {
            let answer = match actions[at] {
                Action::Spawn { worker, .. } => Some(Event::Ready(worker)),
                Action::Activate { worker } => Some(Event::Accepting(worker)),
                Action::Kill { worker } => Some(Event::Exited { worker, clean: false }),
                _ => None,
            };
            at += 1;
            if let Some(answer) = answer {
                actions.extend(self.on(answer));
            }
        }
        actions
    }

    pub(super) fn crash(&mut self, worker: Worker) -> Vec<Action> {
        self.on(Event::Exited { worker, clean: false })
    }

    pub(super) fn lane(&self, lane: usize) -> LaneView {
        self.policy.lanes().swap_remove(lane)
    }

    /// The first worker of a lane that is in this state.
    pub(super) fn worker(&self, lane: usize, state: State) -> Worker {
        let view = self.lane(lane);
        let found = view
            .workers
            .iter()
            .find(|member| member.state == state && !member.is_killed);
        found
            .map(|member| member.worker)
            .unwrap_or_else(|| panic!("no {state:?} worker in {view:?}"))
    }

    pub(super) fn active(&self, lane: usize) -> Worker {
        self.worker(lane, State::Active)
    }

    /// The states of a lane's workers that were not killed, oldest first.
    pub(super) fn states(&self, lane: usize) -> Vec<State> {
        let workers = self.lane(lane).workers.into_iter().filter(|member| !member.is_killed);
        workers.map(|member| member.state).collect()
    }

    /// Lets all old workers end.
    pub(super) fn finish_draining(&mut self) -> Vec<Action> {
        let lanes = self.policy.lanes();
        let workers = lanes.iter().flat_map(|lane| &lane.workers);
        let draining: Vec<Worker> = workers
            .filter(|member| member.state == State::Draining)
            .map(|member| member.worker)
            .collect();
        let ends = draining.into_iter().map(|worker| Event::Exited { worker, clean: true });
        ends.flat_map(|end| self.on(end)).collect()
    }
}

pub(super) fn spawned(actions: &[Action]) -> Vec<Worker> {
    let spawned = actions.iter().filter_map(|action| match action {
        Action::Spawn { worker, .. } => Some(*worker),
        _ => None,
    });
    spawned.collect()
}

/// All but notes.
pub(super) fn deeds(actions: Vec<Action>) -> Vec<Action> {
    actions
        .into_iter()
        .filter(|action| !matches!(action, Action::Note(_)))
        .collect()
}

pub(super) fn notes(actions: &[Action]) -> Vec<Note> {
    let notes = actions.iter().filter_map(|action| match action {
        Action::Note(note) => Some(note.clone()),
        _ => None,
    });
    notes.collect()
}

/// The lanes that were renewed, in order.
pub(super) fn renewed(actions: &[Action]) -> Vec<usize> {
    let renewed = notes(actions).into_iter().filter_map(|note| match note {
        Note::Renewed { lane, .. } => Some(lane),
        _ => None,
    });
    renewed.collect()
}
