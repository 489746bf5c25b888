//! Unplanned ends: workers that crash, refuse, are silent or stuck; how long a lane waits before it tries again; and storms
//! of faults after a change of settings.

use std::collections::BTreeSet;
use std::time::Duration;

use super::event::{Action, Fault, Moment, Note, State, Worker};
use super::policy::{Phase, Supervisor};

/// Fewer faults than these are never a storm, however few lanes there are.
const LEAST_STORM: u32 = 2;

/// What has gone wrong since the settings changed.
#[derive(Debug)]
pub(super) struct StormWatch {
    until: Moment,
    lanes: BTreeSet<usize>,
    faults: u32,
}

impl Supervisor {
    pub(super) fn failed(&mut self, worker: Worker) {
        if let Some((lane, at)) = self.find(worker) {
            let member = &self.lanes[lane].members[at];
            if !member.over && matches!(member.state, State::Starting | State::Warm) {
                self.lose(lane, at, Fault::Refused);
            }
        }
    }

    pub(super) fn exited(&mut self, worker: Worker, clean: bool) {
        let Some((lane, at)) = self.find(worker) else { return };
        let member = &self.lanes[lane].members[at];
        let is_expected = member.over || (member.state == State::Draining && clean);
        if !is_expected {
            let fault = if clean { Fault::Left } else { Fault::Crashed };
            self.lose(lane, at, fault);
        }
        self.lanes[lane].members.remove(at);
    }

    pub(super) fn stuck(&mut self, worker: Worker) {
        let Some((lane, at)) = self.find(worker) else { return };
        let grace = self.now + self.rules.stuck_grace;
        let member = &mut self.lanes[lane].members[at];
        if member.over || member.stuck {
            return;
        }
        match member.state {
            State::Starting | State::Gone => {}
            State::Warm => self.lose(lane, at, Fault::Stuck),
            State::Draining => {
                member.stuck = true;
                member.deadline = Some(member.deadline.map_or(grace, |at| at.min(grace)));
            }
            State::Active => {
                member.stuck = true;
                self.tell_lost(lane, at, Fault::Stuck);
                self.back_off(lane, Fault::Stuck);
            }
        }
    }

    /// A worker that answers again is an ordinary one again: if it was replaced it may finish, and if not it goes on.
    pub(super) fn answers(&mut self, worker: Worker) {
        let Some((lane, at)) = self.find(worker) else { return };
        let look = self.look_again();
        let member = &mut self.lanes[lane].members[at];
        if member.over || !member.stuck {
            return;
        }
        member.stuck = false;
        match member.state {
            State::Draining => member.deadline = Some(member.drain_deadline),
            _ => member.look = member.look.max(look),
        }
        self.actions.push(Action::Note(Note::Recovered { lane, worker }));
    }

    /// A worker is lost that nobody sent away. If its process is still there it is killed.
    pub(super) fn lose(&mut self, lane: usize, at: usize, fault: Fault) {
        self.tell_lost(lane, at, fault);
        let member = &self.lanes[lane].members[at];
        let (state, was_stuck) = (member.state, member.stuck);
        if matches!(fault, Fault::Crashed | Fault::Left) {
            let member = &mut self.lanes[lane].members[at];
            member.over = true;
            member.called = false;
        } else {
            self.kill(lane, at);
        }
        if self.phase != Phase::Running || state == State::Draining {
            return;
        }
        if !was_stuck {
            self.back_off(lane, fault);
        }
        if matches!(state, State::Starting | State::Warm) {
            self.give_up_change(lane, state, fault);
        }
    }

    /// The lane goes on with the worker it has; if it has none the next one is on its way.
    fn give_up_change(&mut self, number: usize, state: State, fault: Fault) {
        let look = self.look_again();
        let lane = &mut self.lanes[number];
        let was_awaited = lane.needs_successor() || state == State::Starting;
        if lane.change.take().is_some()
            && let Some(at) = lane.serving()
        {
            lane.members[at].look = lane.members[at].look.max(look);
        }
        if was_awaited {
            self.disappoint(number, fault);
        }
    }

    fn tell_lost(&mut self, lane: usize, at: usize, fault: Fault) {
        let member = &self.lanes[lane].members[at];
        self.actions.push(Action::Note(Note::Lost {
            lane,
            worker: member.worker,
            state: member.state,
            fault,
        }));
    }

    /// Counts a fault, and lets the lane wait before it starts another worker.
    fn back_off(&mut self, number: usize, fault: Fault) {
        let now = self.now;
        let lane = &mut self.lanes[number];
        if lane.is_healthy(self.rules.healthy, now) {
            lane.faults = 0;
        }
        lane.faults = lane.faults.saturating_add(1);
        lane.faulted = now;
        let faults = lane.faults;
        let delay = self.random.within(self.ceiling(faults));
        if !delay.is_zero() {
            self.lanes[number].spawn_at = Some(now + delay);
            self.actions.push(Action::Note(Note::BackingOff {
                lane: number,
                faults,
                delay,
            }));
        }
        if fault != Fault::Left {
            self.count_for_storm(number);
        }
    }

    /// Full jitter: the delay lies anywhere below the ceiling, so that lanes that failed together do not try together.
    fn ceiling(&self, faults: u32) -> Duration {
        match faults {
            0 | 1 => Duration::ZERO,
            more => {
                let factor = 1_u32.checked_shl(more - 2).unwrap_or(u32::MAX);
                self.rules
                    .backoff_base
                    .saturating_mul(factor)
                    .min(self.rules.backoff_cap)
            }
        }
    }

    pub(super) fn reloaded(&mut self, changed: bool) {
        self.is_reloading = false;
        if changed {
            self.forgive();
            self.storm = Some(StormWatch {
                until: self.now + self.rules.storm_window,
                lanes: BTreeSet::new(),
                faults: 0,
            });
        }
    }

    pub(super) fn rolled_back(&mut self) {
        self.is_reloading = false;
        self.storm = None;
        self.forgive();
    }

    /// With other settings a worker may well start: nobody waits for the faults of before.
    fn forgive(&mut self) {
        for lane in &mut self.lanes {
            lane.faults = 0;
            lane.spawn_at = None;
        }
    }

    fn count_for_storm(&mut self, lane: usize) {
        let now = self.now;
        let Some(watch) = self.storm.as_mut().filter(|watch| now <= watch.until) else {
            return;
        };
        watch.faults += 1;
        watch.lanes.insert(lane);
        let (lanes, faults) = (watch.lanes.len(), watch.faults);
        if faults >= LEAST_STORM && lanes * 2 >= self.rules.lanes {
            self.storm = None;
            self.actions.push(Action::Note(Note::Storm { lanes, faults }));
            self.actions.push(Action::RollBack);
        }
    }
}
