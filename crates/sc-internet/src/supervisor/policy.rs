//! The policy itself: an event and a time go in, actions come out.
//!
//! Each event first changes what is known, then the same few steps look at the whole: deadlines that have passed, lanes
//! without a worker or without a warm one, wishes, deaths, too many that drain, the end. So no event needs to know what
//! others might be waiting for it.

use std::mem;
use std::time::Duration;

use super::event::{Action, Cause, Event, Fault, Moment, Note, Outcome, State, Worker};
use super::faults::StormWatch;
use super::lane::{Lane, Member};
use super::random::Random;
use super::renewal::Wish;
use super::rules::Rules;

/// The policy and all it remembers.
///
/// Shape: needs [`Event::Tick`] once at the start and whenever [`Supervisor::wake_at`] has come; all other events as they
/// happen. Does its actions' bookkeeping at once: a caller performs every action it is given.
#[derive(Debug)]
pub struct Supervisor {
    pub(super) rules: Rules,
    pub(super) random: Random,
    pub(super) lanes: Vec<Lane>,
    pub(super) now: Moment,
    pub(super) actions: Vec<Action>,
    pub(super) wishes: Vec<Wish>,
    pub(super) is_reloading: bool,
    pub(super) is_held: bool,
    /// When a planned change last began.
    pub(super) last_change: Option<Moment>,
    pub(super) storm: Option<StormWatch>,
    pub(super) phase: Phase,
    /// Which part of the spread each lane's first life gets.
    first_slots: Vec<u32>,
    spawned: u64,
    wake: Option<Moment>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    Running,
    Stopping,
    Stopped,
}

impl Supervisor {
    /// A policy that has done nothing yet.
    ///
    /// Shape: `seed` comes from the operating system, so that nobody can foretell lives; a test gives its own and sees the
    /// same run again.
    pub fn new(rules: Rules, seed: u64) -> Supervisor {
        let rules = rules.checked();
        let mut random = Random::new(seed);
        let mut first_slots: Vec<u32> = (0..rules.lanes).filter_map(|lane| u32::try_from(lane).ok()).collect();
        for at in (1..first_slots.len()).rev() {
            let other = usize::try_from(random.below(at as u64 + 1)).unwrap_or(0);
            first_slots.swap(at, other);
        }
        Supervisor {
            lanes: (0..rules.lanes).map(|_| Lane::default()).collect(),
            rules,
            random,
            now: Moment::ZERO,
            actions: Vec::new(),
            wishes: Vec::new(),
            is_reloading: false,
            is_held: false,
            last_change: None,
            storm: None,
            phase: Phase::Running,
            first_slots,
            spawned: 0,
            wake: Some(Moment::ZERO),
        }
    }

    /// What is to be done, now that this has happened.
    ///
    /// Shape: a `now` before the last one counts as the last one.
    pub fn on(&mut self, event: Event, now: Moment) -> Vec<Action> {
        self.now = self.now.max(now);
        let is_awaited = self.wake.is_some_and(|at| at <= self.now);
        self.learn(event);
        if is_awaited {
            self.pass_deadlines();
        }
        if self.phase == Phase::Running {
            self.supply_lanes();
            self.supply_standbys();
            self.grant_wishes();
        }
        if self.phase == Phase::Running && is_awaited {
            self.end_lives();
        }
        self.limit_draining();
        self.notice_the_end();
        self.wake = self.next_wake();
        mem::take(&mut self.actions)
    }

    /// When the policy wants its next [`Event::Tick`]; `None` when only other events can change anything.
    pub fn wake_at(&self) -> Option<Moment> {
        self.wake
    }

    /// The next time at which something may be due. Before it, no deadline has passed and no life is over.
    fn next_wake(&self) -> Option<Moment> {
        let mut next = Moment::MAX;
        for lane in &self.lanes {
            for member in lane.members.iter().filter(|member| !member.over) {
                next = next.min(member.deadline.unwrap_or(next));
                if lane.change.is_none() && member.state == State::Active && !member.stuck {
                    next = next.min(member.look);
                }
            }
            next = next.min(lane.spawn_at.unwrap_or(next));
        }
        for wish in &self.wishes {
            next = next.min(wish.until);
        }
        (next < Moment::MAX).then_some(next)
    }

    fn learn(&mut self, event: Event) {
        match event {
            Event::Tick => {}
            Event::Ready(worker) => self.ready(worker),
            Event::Accepting(worker) => self.accepting(worker),
            Event::Failed(worker) => self.failed(worker),
            Event::Drained(worker) => self.drained(worker),
            Event::Exited { worker, clean } => self.exited(worker, clean),
            Event::Stuck(worker) => self.stuck(worker),
            Event::Answers(worker) => self.answers(worker),
            Event::Recycle { ticket, lanes } => self.wish(ticket, lanes),
            Event::ReloadBegan => self.is_reloading = true,
            Event::ReloadEnded { changed } => self.reloaded(changed),
            Event::RolledBack => self.rolled_back(),
            Event::Hold => self.is_held = true,
            Event::Release => self.is_held = false,
            Event::Stop if self.phase == Phase::Running => self.stop(),
            Event::Stop | Event::Hurry => self.hurry_all(),
        }
    }

    fn ready(&mut self, worker: Worker) {
        let now = self.now;
        if let Some(member) = self.living(worker)
            && member.state == State::Starting
        {
            member.enter(State::Warm, now);
            member.ready = Some(now);
            member.deadline = None;
        }
    }

    /// The hand-over's last step: the successor accepts, so the old one may stop to.
    fn accepting(&mut self, worker: Worker) {
        let Some((lane, at)) = self.find(worker) else { return };
        let member = &self.lanes[lane].members[at];
        if member.over || !member.called || member.state != State::Warm {
            return;
        }
        let cause = self.lanes[lane].change.take().unwrap_or(Cause::Stuck);
        let old: Vec<usize> = (0..self.lanes[lane].members.len())
            .filter(|other| {
                let member = &self.lanes[lane].members[*other];
                !member.over && member.state == State::Active
            })
            .collect();
        self.enthrone(lane, at);
        for other in old {
            self.retire(lane, other, worker, cause);
        }
        self.fulfil(lane);
    }

    fn enthrone(&mut self, number: usize, at: usize) {
        let now = self.now;
        let due = now.saturating_add(self.life(number));
        let postponed_after = self.rules.postponed_after;
        let lane = &mut self.lanes[number];
        lane.promoted = Some(now);
        let member = &mut lane.members[at];
        member.enter(State::Active, now);
        member.active = Some(now);
        member.called = false;
        member.deadline = None;
        member.due = due;
        member.look = due;
        member.tell = due.saturating_add(postponed_after);
    }

    /// How long a lane's new worker shall live. The first lives are dealt so that lanes do not begin in step.
    fn life(&mut self, lane: usize) -> Duration {
        let Rules { life, spread, .. } = self.rules;
        let is_first = self.lanes[lane].promoted.is_none();
        let slots = u32::try_from(self.rules.lanes).unwrap_or(u32::MAX);
        match self.first_slots.get(lane) {
            Some(slot) if is_first => life + spread / slots * *slot + self.random.within(spread / slots),
            _ => life + self.random.within(spread),
        }
    }

    fn retire(&mut self, number: usize, at: usize, new: Worker, cause: Cause) {
        let (now, rules) = (self.now, &self.rules);
        let within = rules.drain_time;
        let member = &mut self.lanes[number].members[at];
        let lived = now.saturating_sub(member.active.unwrap_or(now));
        member.enter(State::Draining, now);
        member.drain_deadline = now + within + rules.drain_grace;
        let stuck = member.stuck.then(|| now + rules.stuck_grace);
        member.deadline = Some(stuck.unwrap_or(member.drain_deadline).min(member.drain_deadline));
        let (old, cause) = (member.worker, if member.stuck { Cause::Stuck } else { cause });
        self.actions.push(Action::Drain { worker: old, within });
        self.actions.push(Action::Note(Note::Renewed {
            lane: number,
            old,
            new,
            lived,
            cause,
        }));
    }

    fn drained(&mut self, worker: Worker) {
        let end = self.now + self.rules.exit_within;
        if let Some(member) = self.living(worker)
            && member.state == State::Draining
        {
            member.drain_deadline = member.drain_deadline.min(end);
            member.deadline = Some(member.deadline.map_or(end, |at| at.min(end)));
        }
    }

    fn pass_deadlines(&mut self) {
        for lane in 0..self.lanes.len() {
            for at in 0..self.lanes[lane].members.len() {
                let member = &self.lanes[lane].members[at];
                if member.over || member.deadline.is_none_or(|deadline| deadline > self.now) {
                    continue;
                }
                let worker = member.worker;
                match member.state {
                    State::Starting => self.lose(lane, at, Fault::Silent),
                    State::Warm => self.lose(lane, at, Fault::Deaf),
                    State::Active | State::Draining | State::Gone => {
                        self.actions.push(Action::Note(Note::Overdue { lane, worker }));
                        self.kill(lane, at);
                    }
                }
            }
        }
    }

    /// Sees that every lane that needs a worker gets one, and that nobody idles where there is no standby.
    fn supply_lanes(&mut self) {
        for number in 0..self.lanes.len() {
            let lane = &mut self.lanes[number];
            if lane.spawn_at.is_some_and(|at| at <= self.now) {
                lane.spawn_at = None;
            }
            if lane.needs_successor() {
                self.supply(number);
            } else if !self.rules.standby {
                self.send_spares_away(number);
            }
        }
    }

    /// One step further for a lane that needs a successor: call the warm worker, or start one.
    pub(super) fn supply(&mut self, number: usize) {
        let lane = &mut self.lanes[number];
        if lane.is_calling() {
            return;
        }
        if let Some(at) = lane.warm() {
            let member = &mut lane.members[at];
            member.called = true;
            member.deadline = Some(self.now + self.rules.accepting_within);
            self.actions.push(Action::Activate { worker: member.worker });
        } else if !lane.is_starting() && lane.spawn_at.is_none() {
            self.spawn(number);
        }
    }

    fn send_spares_away(&mut self, number: usize) {
        for at in 0..self.lanes[number].members.len() {
            let member = &self.lanes[number].members[at];
            if !member.over && !member.called && matches!(member.state, State::Starting | State::Warm) {
                self.kill(number, at);
            }
        }
    }

    /// Starts warm workers where there is none, as long as no more lanes are in change than may be.
    fn supply_standbys(&mut self) {
        if !self.rules.standby || self.is_reloading {
            return;
        }
        let changing = self.lanes.iter().filter(|lane| lane.is_changing()).count();
        let mut room = self.rules.most_in_change().saturating_sub(changing);
        for number in 0..self.lanes.len() {
            let lane = &self.lanes[number];
            let is_complete = lane.needs_successor() || lane.is_changing() || lane.warm().is_some();
            if room > 0 && !is_complete && lane.spawn_at.is_none() {
                room -= 1;
                self.spawn(number);
            }
        }
    }

    fn spawn(&mut self, number: usize) {
        self.spawned += 1;
        let worker = Worker(self.spawned);
        let lane = &mut self.lanes[number];
        lane.generation += 1;
        let generation = lane.generation;
        let deadline = self.now + self.rules.ready_within;
        lane.members.push(Member::new(worker, generation, self.now, deadline));
        self.actions.push(Action::Spawn {
            worker,
            lane: number,
            generation,
        });
    }

    pub(super) fn kill(&mut self, lane: usize, at: usize) {
        let member = &mut self.lanes[lane].members[at];
        member.over = true;
        member.called = false;
        member.deadline = None;
        self.actions.push(Action::Kill { worker: member.worker });
    }

    fn limit_draining(&mut self) {
        let draining = self.draining();
        if draining <= self.rules.most_draining {
            return;
        }
        let hurried = self.draining_members().filter(|member| member.hurried).count();
        for _ in 0..draining
            .saturating_sub(hurried)
            .saturating_sub(self.rules.most_draining)
        {
            let patient = self.lanes.iter_mut().flat_map(|lane| &mut lane.members);
            let patient = patient.filter(|member| !member.over && member.state == State::Draining && !member.hurried);
            if let Some(member) = patient.min_by_key(|member| (member.since, member.worker)) {
                member.hurried = true;
                let worker = member.worker;
                self.actions.push(Action::Hurry { worker });
                self.actions
                    .push(Action::Note(Note::TooManyDraining { worker, draining }));
            }
        }
    }

    fn stop(&mut self) {
        self.phase = Phase::Stopping;
        for wish in mem::take(&mut self.wishes) {
            self.answer(wish.ticket, Outcome::Stopping);
        }
        for lane in 0..self.lanes.len() {
            self.lanes[lane].change = None;
            self.lanes[lane].spawn_at = None;
            for at in 0..self.lanes[lane].members.len() {
                self.stop_member(lane, at);
            }
        }
    }

    /// A starting worker has nothing to finish. All others are told to, those that drain already in a shorter time.
    fn stop_member(&mut self, lane: usize, at: usize) {
        let (now, within) = (self.now, self.rules.stop_time);
        let end = now + within + self.rules.exit_within;
        let member = &mut self.lanes[lane].members[at];
        if member.over {
            return;
        }
        if member.state == State::Starting {
            return self.kill(lane, at);
        }
        if member.state != State::Draining {
            member.enter(State::Draining, now);
        }
        member.called = false;
        member.drain_deadline = member.drain_deadline.min(end);
        member.deadline = Some(member.deadline.map_or(end, |at| at.min(end)));
        let worker = member.worker;
        self.actions.push(Action::Drain { worker, within });
    }

    fn hurry_all(&mut self) {
        if self.phase != Phase::Stopping {
            return;
        }
        for member in self.lanes.iter_mut().flat_map(|lane| &mut lane.members) {
            if !member.over && !member.hurried {
                member.hurried = true;
                self.actions.push(Action::Hurry { worker: member.worker });
            }
        }
    }

    fn notice_the_end(&mut self) {
        if self.phase == Phase::Stopping && self.lanes.iter().all(|lane| lane.members.is_empty()) {
            self.phase = Phase::Stopped;
            self.actions.push(Action::Stopped);
        }
    }

    pub(super) fn draining_members(&self) -> impl Iterator<Item = &Member> {
        let members = self.lanes.iter().flat_map(|lane| &lane.members);
        members.filter(|member| !member.over && member.state == State::Draining)
    }

    /// The lane of a worker, and its place there.
    pub(super) fn find(&self, worker: Worker) -> Option<(usize, usize)> {
        for (number, lane) in self.lanes.iter().enumerate() {
            for (at, member) in lane.members.iter().enumerate() {
                if member.worker == worker {
                    return Some((number, at));
                }
            }
        }
        None
    }

    /// A worker whose word counts.
    pub(super) fn living(&mut self, worker: Worker) -> Option<&mut Member> {
        let (lane, at) = self.find(worker)?;
        self.lanes[lane].members.get_mut(at).filter(|member| !member.over)
    }
}
