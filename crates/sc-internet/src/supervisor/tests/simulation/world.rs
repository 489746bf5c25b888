//! The master and its processes as the policy sees them: they do what they are told, late, badly, or not at all.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::super::super::random::Random;
use super::super::super::{Action, Event, Moment, Rules, Supervisor, Worker};
use super::judge::{Judge, Verdict};
use super::seconds;
use super::weather::Weather;

/// One service and everything around it.
pub(super) struct World {
    seed: u64,
    policy: Supervisor,
    random: Random,
    weather: Weather,
    now: Moment,
    plans: BinaryHeap<Reverse<Plan>>,
    planned: u64,
    tickets: u64,
    /// The settings of now kill most workers that use them.
    is_poisoned: bool,
    /// Workers that were killed or told to end, and will.
    is_stopped: bool,
    pub(super) judge: Judge,
}

/// Something that will happen.
#[derive(Clone, Debug, Eq, PartialEq)]
enum What {
    Event(Event),
    /// Something from outside: a person, the machine, bad luck.
    Outside,
    /// A reload ends, for better or worse.
    Reloaded {
        is_poisoned: bool,
    },
    /// Settings that kill are replaced by somebody.
    Cured,
}

#[derive(Debug, Eq, PartialEq)]
struct Plan {
    at: Moment,
    order: u64,
    what: What,
}

impl Ord for Plan {
    fn cmp(&self, other: &Plan) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl PartialOrd for Plan {
    fn partial_cmp(&self, other: &Plan) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl World {
    pub(super) fn new(seed: u64, rules: Rules, weather: Weather) -> World {
        let mut world = World {
            seed,
            judge: Judge::new(rules.clone()),
            policy: Supervisor::new(rules, seed),
            random: Random::new(!seed),
            weather,
            now: Moment::ZERO,
            plans: BinaryHeap::new(),
            planned: 0,
            tickets: 0,
            is_poisoned: false,
            is_stopped: false,
        };
        world.plan_outside();
        world
    }

    /// Lives for so long, and then stops everything in good order.
    pub(super) fn live(&mut self, time: Duration) {
        self.run_until(time);
        self.step(Event::Stop);
        if self.random.below(2) == 0 {
            self.run_until(time + seconds(20));
            self.step(Event::Stop);
        }
        let rules = self.judge.rules();
        self.run_until(time + rules.stop_time + rules.exit_within + seconds(20));
        let verdict = self.judge.end(self.is_stopped);
        self.insist(verdict);
    }

    /// Lives until then, with nothing said about the end.
    pub(super) fn run_until(&mut self, end: Moment) {
        loop {
            let wake = self.policy.wake_at();
            let next = self.plans.peek().map(|Reverse(plan)| plan.at);
            let is_wake = wake.is_some_and(|wake| next.is_none_or(|next| wake <= next));
            match if is_wake { wake } else { next } {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => break,
            }
            if is_wake {
                self.step(Event::Tick);
            } else if let Some(Reverse(plan)) = self.plans.pop() {
                self.happen(plan.what);
            }
        }
        self.now = end;
    }

    /// Says something to the policy now.
    pub(super) fn tell(&mut self, event: Event) {
        self.step(event);
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Event(event) => self.step(event),
            What::Outside => {
                self.outside();
                self.plan_outside();
            }
            What::Reloaded { is_poisoned } => {
                self.is_poisoned = is_poisoned;
                self.step(Event::ReloadEnded { changed: true });
                if is_poisoned {
                    self.poison();
                    self.plan_what(seconds(300), What::Cured);
                }
            }
            What::Cured if self.is_poisoned => {
                self.is_poisoned = false;
                self.step(Event::ReloadBegan);
                self.step(Event::ReloadEnded { changed: true });
            }
            What::Cured => {}
        }
    }

    fn step(&mut self, event: Event) {
        let verdict = self.judge.before(&event, self.now);
        self.insist(verdict);
        let actions = self.policy.on(event, self.now);
        for action in actions {
            let verdict = self.judge.action(&action);
            self.insist(verdict);
            self.obey(action);
        }
        let verdict = self.judge.after(&self.policy);
        self.insist(verdict);
    }

    fn insist(&self, verdict: Verdict) {
        if let Err(why) = verdict {
            let rules = self.judge.rules();
            panic!(
                "seed {:#x}, at {:?}: {why}\n{:?}\n{rules:?}",
                self.seed, self.now, self.weather
            );
        }
    }

    fn obey(&mut self, action: Action) {
        match action {
            Action::Spawn { worker, .. } => self.start(worker),
            Action::Activate { worker } => self.call(worker),
            Action::Drain { worker, within } => self.drain(worker, within),
            Action::Hurry { worker } => self.exit_within(worker, seconds(5), true),
            Action::Kill { worker } => self.exit_within(worker, Duration::from_millis(100), false),
            Action::RollBack => {
                self.is_poisoned = false;
                self.plan(Duration::from_millis(1), Event::ReloadBegan);
                self.plan(seconds(1), Event::RolledBack);
            }
            Action::Stopped => self.is_stopped = true,
            Action::Recycled { .. } | Action::Note(_) => {}
        }
    }

    fn start(&mut self, worker: Worker) {
        let delay = self.random.within(seconds(2));
        let Weather {
            refuse,
            die_early,
            silent,
            ..
        } = self.weather;
        let luck = self.luck();
        if self.is_poisoned && !luck.is_multiple_of(4) || luck < die_early {
            self.plan(delay, exited(worker, luck.is_multiple_of(10)));
        } else if luck < die_early + refuse {
            self.plan(delay, Event::Failed(worker));
        } else if luck >= die_early + refuse + silent {
            self.plan(delay, Event::Ready(worker));
        }
    }

    /// What a worker will do with its active life is decided when it begins.
    fn call(&mut self, worker: Worker) {
        if self.luck() < self.weather.deaf {
            return;
        }
        let delay = self.random.within(Duration::from_millis(50));
        self.plan(delay, Event::Accepting(worker));
        let life = self.judge.rules().life + self.judge.rules().spread;
        let luck = self.luck();
        if luck < self.weather.crash {
            let after = self.random.within(life);
            self.plan(after, exited(worker, luck.is_multiple_of(10)));
        }
        if self.luck() < self.weather.stick {
            let after = self.random.within(life);
            self.plan(after, Event::Stuck(worker));
            if self.random.below(2) == 0 {
                let pause = self.random.within(seconds(20));
                self.plan(after + pause, Event::Answers(worker));
            }
        }
    }

    fn drain(&mut self, worker: Worker, within: Duration) {
        if self.luck() < self.weather.immortal {
            return;
        }
        let longest = match self.random.below(20) {
            0 => within,
            1..=5 => seconds(20),
            _ => seconds(1),
        };
        self.exit_within(worker, longest.min(within), true);
        if self.luck() < self.weather.immortal {
            self.plan(Duration::from_millis(1), Event::Drained(worker));
        }
    }

    fn exit_within(&mut self, worker: Worker, longest: Duration, clean: bool) {
        let delay = self.random.within(longest);
        self.plan(delay, exited(worker, clean));
    }

    /// Workers die of the new settings.
    fn poison(&mut self) {
        for worker in self.judge.processes() {
            if self.random.below(4) != 0 {
                self.exit_within(worker, seconds(50), false);
            }
        }
    }

    fn outside(&mut self) {
        match self.random.below(16) {
            0..=3 => self.reload(),
            4..=8 => self.recycle(),
            9 | 10 => {
                self.step(Event::Hold);
                let pause = self.random.within(seconds(3600));
                self.plan(pause, Event::Release);
            }
            11 if self.weather.crash > 0 => {
                for worker in self.judge.processes() {
                    self.exit_within(worker, Duration::from_millis(200), false);
                }
            }
            _ => self.speak_of_the_dead(),
        }
    }

    fn reload(&mut self) {
        if self.judge.is_reloading() {
            return;
        }
        self.step(Event::ReloadBegan);
        let pause = self.random.within(seconds(5));
        match self.random.below(4) {
            0 => self.plan(pause, Event::ReloadEnded { changed: false }),
            luck => {
                let is_poisoned = luck == 1 && self.weather.crash > 0;
                self.plan_what(pause, What::Reloaded { is_poisoned });
            }
        }
    }

    fn recycle(&mut self) {
        let count = self.judge.rules().lanes as u64;
        let lanes = match self.random.below(4) {
            0 => vec![],
            1 => vec![self.lane(count), self.lane(count), self.lane(count + 1)],
            _ => vec![self.lane(count)],
        };
        for _ in 0..=self.random.below(2) {
            self.tickets += 1;
            let ticket = self.tickets;
            let lanes = lanes.clone();
            self.step(Event::Recycle { ticket, lanes });
        }
    }

    fn lane(&mut self, count: u64) -> usize {
        usize::try_from(self.random.below(count)).expect("small")
    }

    fn speak_of_the_dead(&mut self) {
        let worker = Worker(self.random.below(self.judge.spawned() + 2));
        if self.judge.is_alive(worker) {
            return;
        }
        let events = [
            Event::Ready(worker),
            Event::Accepting(worker),
            Event::Failed(worker),
            Event::Drained(worker),
            exited(worker, true),
            exited(worker, false),
            Event::Stuck(worker),
            Event::Answers(worker),
        ];
        for event in events {
            self.step(event);
        }
    }

    /// Of a thousand.
    fn luck(&mut self) -> u64 {
        self.random.below(1000)
    }

    fn plan_outside(&mut self) {
        let pause = self.random.within(self.weather.between * 2);
        self.plan_what(pause, What::Outside);
    }

    fn plan(&mut self, delay: Duration, event: Event) {
        self.plan_what(delay, What::Event(event));
    }

    fn plan_what(&mut self, delay: Duration, what: What) {
        self.planned += 1;
        self.plans.push(Reverse(Plan {
            at: self.now + delay,
            order: self.planned,
            what,
        }));
    }
}

fn exited(worker: Worker, clean: bool) -> Event {
    Event::Exited { worker, clean }
}
