//! What must be true after every step, judged from the events and actions alone.
//!
//! The judge keeps books of its own: which process accepts, who was asked to go and why. Only whether a planned change has
//! begun is read from the policy, since no action tells.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::super::event::{Cause, Hindrance};
use super::super::super::{Action, Event, LEAST_LIFE, Moment, Note, Outcome, Rules, Supervisor, Worker};

/// Nothing, or what was wrong.
pub(super) type Verdict = Result<(), String>;

/// The books.
pub(super) struct Judge {
    rules: Rules,
    now: Moment,
    lanes: Vec<Books>,
    processes: Vec<Process>,
    tickets: BTreeMap<u64, Moment>,
    spawned: u64,
    is_reloading: bool,
    is_held: bool,
    /// A change of settings may be rolled back.
    is_armed: bool,
    is_stopping: bool,
    is_stopped: bool,
    last_age: Option<Moment>,
    /// When each life that ended by age ended.
    pub(super) deaths: Vec<Moment>,
}

#[derive(Default)]
struct Books {
    /// A worker has accepted here.
    has_served: bool,
    /// The worker that accepted was lost, and nobody has accepted since.
    is_bereft: bool,
    /// It was, and the successor of that time is not settled yet.
    is_exempt: bool,
    /// Somebody asked for a new worker, and none has accepted since.
    is_wished: bool,
    change: Option<Cause>,
    /// How many accept, and answer.
    accepting: u32,
    /// How many start or were called.
    candidates: u32,
    promoted: Option<Moment>,
    backing_off_until: Moment,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Starting,
    Warm,
    Called,
    Accepting,
    Draining,
}

#[derive(Debug)]
struct Process {
    worker: Worker,
    lane: usize,
    stage: Stage,
    started: Moment,
    accepted: Moment,
    is_killed: bool,
    is_stuck: bool,
    was_stuck: bool,
    is_hurried: bool,
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(why()) }
}

impl Judge {
    pub(super) fn new(rules: Rules) -> Judge {
        Judge {
            lanes: (0..rules.lanes).map(|_| Books::default()).collect(),
            rules,
            now: Moment::ZERO,
            processes: Vec::new(),
            tickets: BTreeMap::new(),
            spawned: 0,
            is_reloading: false,
            is_held: false,
            is_armed: false,
            is_stopping: false,
            is_stopped: false,
            last_age: None,
            deaths: Vec::new(),
        }
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    pub(super) fn is_reloading(&self) -> bool {
        self.is_reloading
    }

    pub(super) fn spawned(&self) -> u64 {
        self.spawned
    }

    pub(super) fn processes(&self) -> Vec<Worker> {
        self.processes.iter().map(|process| process.worker).collect()
    }

    pub(super) fn is_alive(&self, worker: Worker) -> bool {
        self.processes.iter().any(|process| process.worker == worker)
    }

    /// Writes down what happens to the processes.
    pub(super) fn before(&mut self, event: &Event, now: Moment) -> Verdict {
        self.now = now;
        match *event {
            Event::Ready(worker) => self.move_on(worker, Stage::Starting, Stage::Warm),
            Event::Accepting(worker) => self.accepting(worker),
            Event::Exited { worker, .. } => self.exited(worker),
            Event::Stuck(worker) => self.stuck(worker),
            Event::Answers(worker) => self.answers(worker),
            Event::Recycle { ticket, ref lanes } => self.recycle(ticket, lanes),
            Event::ReloadBegan => self.is_reloading = true,
            Event::ReloadEnded { changed } => {
                self.is_reloading = false;
                self.is_armed |= changed;
                self.forgive(changed);
            }
            Event::RolledBack => {
                self.is_reloading = false;
                self.is_armed = false;
                self.forgive(true);
            }
            Event::Hold => self.is_held = true,
            Event::Release => self.is_held = false,
            Event::Stop => self.is_stopping = true,
            Event::Tick | Event::Failed(_) | Event::Drained(_) | Event::Hurry => {}
        }
        Ok(())
    }

    fn forgive(&mut self, changed: bool) {
        for books in self.lanes.iter_mut().filter(|_| changed) {
            books.backing_off_until = Moment::ZERO;
        }
    }

    fn recycle(&mut self, ticket: u64, lanes: &[usize]) {
        self.tickets.insert(ticket, self.now);
        for (lane, books) in self.lanes.iter_mut().enumerate() {
            books.is_wished |= lanes.is_empty() || lanes.contains(&lane);
        }
    }

    fn process(&mut self, worker: Worker) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.worker == worker)
    }

    fn living(&mut self, worker: Worker) -> Option<&mut Process> {
        self.process(worker).filter(|process| !process.is_killed)
    }

    fn move_on(&mut self, worker: Worker, from: Stage, to: Stage) {
        if let Some(process) = self.living(worker).filter(|process| process.stage == from) {
            process.stage = to;
        }
    }

    fn accepting(&mut self, worker: Worker) {
        let now = self.now;
        let Some(process) = self.living(worker).filter(|process| process.stage == Stage::Called) else {
            return;
        };
        process.stage = Stage::Accepting;
        process.accepted = now;
        let lane = process.lane;
        let books = &mut self.lanes[lane];
        books.has_served = true;
        books.is_bereft = false;
        books.is_wished = false;
        books.promoted = Some(now);
    }

    fn exited(&mut self, worker: Worker) {
        if let Some(at) = self.processes.iter().position(|process| process.worker == worker) {
            let process = self.processes.swap_remove(at);
            if process.stage == Stage::Accepting {
                self.bereave(process.lane);
            }
        }
    }

    fn stuck(&mut self, worker: Worker) {
        let Some(process) = self.living(worker) else { return };
        process.is_stuck = true;
        process.was_stuck = true;
        let (lane, stage) = (process.lane, process.stage);
        if stage == Stage::Accepting {
            self.bereave(lane);
        }
    }

    fn answers(&mut self, worker: Worker) {
        let Some(process) = self.living(worker) else { return };
        process.is_stuck = false;
        let (lane, stage) = (process.lane, process.stage);
        if stage == Stage::Accepting {
            self.lanes[lane].is_bereft = false;
        }
    }

    fn bereave(&mut self, lane: usize) {
        if !self.serves(lane) {
            self.lanes[lane].is_bereft = true;
            self.lanes[lane].is_exempt = true;
        }
    }

    fn serves(&self, lane: usize) -> bool {
        self.processes
            .iter()
            .any(|process| process.lane == lane && process.stage == Stage::Accepting && !process.is_stuck)
    }

    /// Judges one action, and writes it down.
    pub(super) fn action(&mut self, action: &Action) -> Verdict {
        let may_follow = !self.is_stopped || matches!(action, Action::Recycled { .. });
        ensure(may_follow, || format!("{action:?} after the end"))?;
        match *action {
            Action::Spawn { worker, lane, .. } => self.spawn(worker, lane),
            Action::Activate { worker } => self.activate(worker),
            Action::Drain { worker, .. } => self.drain(worker),
            Action::Hurry { worker } => self.hurry(worker),
            Action::Kill { worker } => self.kill(worker),
            Action::Recycled { ticket, ref outcome } => self.recycled(ticket, outcome),
            Action::RollBack => {
                ensure(self.is_armed, || "rolled back without a change, or twice".to_owned())?;
                self.is_armed = false;
                Ok(())
            }
            Action::Note(ref note) => self.note(note),
            Action::Stopped => {
                self.is_stopped = true;
                ensure(self.is_stopping && self.processes.is_empty(), || {
                    format!("stopped with {:?}", self.processes)
                })
            }
        }
    }

    fn spawn(&mut self, worker: Worker, lane: usize) -> Verdict {
        self.spawned += 1;
        ensure(!self.is_stopping, || {
            format!("worker {worker} is started while stopping")
        })?;
        ensure(worker.0 == self.spawned, || format!("{worker} is not a new number"))?;
        let may_start = self.lanes[lane].backing_off_until <= self.now;
        ensure(may_start, || {
            format!("lane {lane} does not wait before it starts {worker}")
        })?;
        self.processes.push(Process {
            worker,
            lane,
            stage: Stage::Starting,
            started: self.now,
            accepted: Moment::ZERO,
            is_killed: false,
            is_stuck: false,
            was_stuck: false,
            is_hurried: false,
        });
        Ok(())
    }

    fn activate(&mut self, worker: Worker) -> Verdict {
        let process = self
            .living(worker)
            .ok_or_else(|| format!("{worker} is called and dead"))?;
        ensure(process.stage == Stage::Warm, || format!("called: {process:?}"))?;
        process.stage = Stage::Called;
        Ok(())
    }

    fn drain(&mut self, worker: Worker) -> Verdict {
        let is_stopping = self.is_stopping;
        let process = self
            .living(worker)
            .ok_or_else(|| format!("{worker} drains and is dead"))?;
        ensure(is_stopping || process.stage == Stage::Accepting, || {
            format!("drains: {process:?}")
        })?;
        process.stage = Stage::Draining;
        let lane = process.lane;
        ensure(is_stopping || self.serves(lane), || {
            format!("lane {lane} has nobody when {worker} drains")
        })
    }

    fn hurry(&mut self, worker: Worker) -> Verdict {
        let process = self
            .living(worker)
            .ok_or_else(|| format!("{worker} hurries and is dead"))?;
        ensure(process.stage == Stage::Draining && !process.is_hurried, || {
            format!("hurries: {process:?}")
        })?;
        process.is_hurried = true;
        Ok(())
    }

    /// A worker that accepts is never killed, and one that starts or drains only when it must.
    fn kill(&mut self, worker: Worker) -> Verdict {
        let process = self
            .living(worker)
            .ok_or_else(|| format!("{worker} is killed and dead"))?;
        ensure(process.stage != Stage::Accepting, || format!("killed: {process:?}"))?;
        process.is_killed = true;
        Ok(())
    }

    fn recycled(&mut self, ticket: u64, outcome: &Outcome) -> Verdict {
        let asked = self.tickets.remove(&ticket);
        ensure(asked.is_some(), || {
            format!("ticket {ticket} is answered twice: {outcome:?}")
        })
    }

    fn note(&mut self, note: &Note) -> Verdict {
        match *note {
            Note::Renewed {
                old,
                lived,
                cause,
                lane,
                ..
            } => self.renewed(old, lane, lived, cause),
            Note::BackingOff { lane, delay, .. } => {
                self.lanes[lane].backing_off_until = self.now + delay;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn renewed(&mut self, old: Worker, lane: usize, lived: Duration, cause: Cause) -> Verdict {
        let (now, life) = (self.now, self.rules.life);
        let process = self
            .living(old)
            .ok_or_else(|| format!("{old} was renewed and is dead"))?;
        let really = now - process.accepted;
        ensure(lived == really, || {
            format!("{old} is said to have lived {lived:?}, not {really:?}")
        })?;
        match cause {
            Cause::Age => {
                self.deaths.push(now);
                ensure(lived >= LEAST_LIFE && lived >= life, || {
                    format!("{old} of lane {lane} lived only {lived:?}")
                })
            }
            Cause::Asked => Ok(()),
            Cause::Stuck => ensure(process.was_stuck, || format!("{old} never was stuck")),
        }
    }

    /// Judges the whole after a step.
    pub(super) fn after(&mut self, policy: &Supervisor) -> Verdict {
        let wake = policy.wake_at();
        ensure(wake.is_none_or(|at| at > self.now), || {
            "the policy would turn in circles".to_owned()
        })?;
        if self.is_stopping {
            return Ok(());
        }
        self.count()?;
        let (mut changing, mut serving) = (0, 0);
        for (lane, books) in self.lanes.iter_mut().enumerate() {
            let (serves, has_candidate) = (books.accepting > 0, books.candidates > 0);
            books.is_exempt &= has_candidate || !serves;
            let is_lost = !serves && !books.is_bereft && books.has_served;
            ensure(!is_lost, || format!("nobody accepts on lane {lane}"))?;
            changing += usize::from(has_candidate && books.has_served && !books.is_exempt);
            serving += usize::from(serves);
            let waits = books.backing_off_until > self.now && wake.is_some_and(|at| at <= books.backing_off_until);
            ensure(serves || has_candidate || waits, || format!("lane {lane} is forgotten"))?;
        }
        let most = self.rules.most_in_change();
        ensure(changing <= most, || {
            format!("{changing} lanes are in change, not {most}")
        })?;
        ensure(serving == policy.serving(), || {
            format!("{serving} lanes serve, not {}", policy.serving())
        })?;
        self.judge_beginnings(policy)?;
        self.judge_tickets()
    }

    /// Counts for each lane who accepts, and who starts or was called; and of all, who drains without being hurried.
    fn count(&mut self) -> Verdict {
        for books in &mut self.lanes {
            books.accepting = 0;
            books.candidates = 0;
        }
        let mut patient = 0;
        for process in self.processes.iter().filter(|process| !process.is_killed) {
            let books = &mut self.lanes[process.lane];
            match process.stage {
                Stage::Starting => {
                    let is_late = self.now > process.started + self.rules.ready_within;
                    ensure(!is_late, || format!("too silent: {process:?}"))?;
                    books.candidates += 1;
                }
                Stage::Called => books.candidates += 1,
                Stage::Accepting => books.accepting += u32::from(!process.is_stuck),
                Stage::Draining => patient += usize::from(!process.is_hurried),
                Stage::Warm => {}
            }
        }
        let most = self.rules.most_draining;
        ensure(patient <= most, || {
            format!("{patient} workers drain in peace, not {most}")
        })
    }

    /// Looks at planned changes that began in this step.
    fn judge_beginnings(&mut self, policy: &Supervisor) -> Verdict {
        for lane in 0..self.lanes.len() {
            let now = policy.lanes[lane].change;
            let before = std::mem::replace(&mut self.lanes[lane].change, now);
            match now {
                Some(cause) if before.is_none() => self.began(lane, cause)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn began(&mut self, lane: usize, cause: Cause) -> Verdict {
        let backs_off = self.lanes.iter().any(|books| books.backing_off_until > self.now);
        ensure(!self.is_reloading, || self.too_early(lane, Hindrance::Reload))?;
        ensure(!backs_off, || self.too_early(lane, Hindrance::BackingOff { lane }))?;
        if cause == Cause::Asked {
            return ensure(self.lanes[lane].is_wished, || format!("nobody asked for lane {lane}"));
        }
        ensure(!self.is_held, || self.too_early(lane, Hindrance::Overload))?;
        let gap = self.rules.gap();
        let is_apart = self.last_age.is_none_or(|last| self.now >= last + gap);
        ensure(is_apart, || self.too_early(lane, Hindrance::Gap))?;
        self.last_age = Some(self.now);
        let settle = self.rules.settle;
        let fresh = self
            .lanes
            .iter()
            .filter(|books| books.promoted.is_some_and(|at| self.now < at + settle));
        let fresh = fresh.count();
        ensure(fresh < self.rules.most_in_change(), || {
            self.too_early(lane, Hindrance::InChange)
        })
    }

    fn too_early(&self, lane: usize, because: Hindrance) -> String {
        format!("a change of lane {lane} begins in spite of {because:?}")
    }

    fn judge_tickets(&self) -> Verdict {
        let rounds = u32::try_from(self.rules.lanes + 1).unwrap_or(u32::MAX);
        let longest = self.rules.recycle_within * rounds;
        let late = self.tickets.iter().find(|(_, asked)| **asked + longest < self.now);
        ensure(late.is_none(), || format!("ticket {late:?} was forgotten"))
    }

    /// Judges the end.
    pub(super) fn end(&self, is_stopped: bool) -> Verdict {
        ensure(is_stopped && self.is_stopped, || {
            format!("it did not stop: {:?}", self.processes)
        })?;
        ensure(self.tickets.is_empty(), || {
            format!("tickets are open: {:?}", self.tickets)
        })
    }
}
