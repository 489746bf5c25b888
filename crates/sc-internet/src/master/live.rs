//! A master that lives: one loop over what workers say, what people ask, what time brings and what the system signals.
//!
//! Everything goes through [`Master::happened`], which asks the policy and does what it answers.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use sc_config::Instance;
use sc_net::document;
use sc_net::folder_watch::{self, Watch};
use sc_net::tasks::Tasks;
use sc_server::Event;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, sleep_until};

use super::bus::Bus;
use super::certificate::Certificate;
use super::control::Ask;
use super::count::Tallies;
use super::error::RunError;
use super::log::Log;
use super::machine::{Load, Memory};
use super::process::{Given, News, Process};
use super::reload::{Reloads, Wish};
use super::run::{Signal, Start, system};
use super::tickets::SharedTickets;
use super::{notes, words};
use crate::bus::Line;
use crate::messages::{Document, ToMaster, ToWorker};
use crate::metrics::Totals;
use crate::sockets::Sockets;
use crate::supervisor::{self, Action, Moment, Outcome, State, Supervisor, Worker};
use crate::systemd::Service;
use crate::worker::LAST_LINE;

/// How often the master looks around.
const LOOK: Duration = Duration::from_millis(250);

/// A worker whose loop has not turned for so long is stuck. Its beat is every 100 ms.
const STUCK_AFTER: Duration = Duration::from_secs(3);

/// How often it is asked whether the machine is overloaded, and the service manager told how it stands.
const SURVEY: Duration = Duration::from_secs(5);

/// How long exchanges may still take when somebody asks a second time to stop.
const HURRIED_TIME: Duration = Duration::from_secs(3);

/// Workers that may end without a word before the first has served.
const MOST_EARLY_ENDS: u32 = 8;

/// How often it is said that the certificate ends soon.
const REMINDER: Duration = Duration::from_secs(24 * 3600);

/// What workers are given, as memory that is passed on.
pub(super) struct Documents {
    pub(super) document: OwnedFd,
    pub(super) credentials: OwnedFd,
}

impl Documents {
    /// Writes both down.
    pub(super) fn of(document: &Document, certificate: &Certificate) -> Result<Self, RunError> {
        let written = |error| system("write down the settings for the workers", error);
        Ok(Documents {
            document: write_settings(document).map_err(written)?,
            credentials: write_credentials(certificate).map_err(written)?,
        })
    }
}

pub(super) fn write_settings(document: &Document) -> io::Result<OwnedFd> {
    document::write("shimmercat settings", &serde_json::to_vec(document)?)
}

pub(super) fn write_credentials(certificate: &Certificate) -> io::Result<OwnedFd> {
    document::write("shimmercat certificate", &certificate.credentials.to_document())
}

/// The workers there are and were.
#[derive(Default)]
pub(super) struct Lives {
    pub(super) processes: BTreeMap<Worker, Process>,
    /// What those counted that are gone.
    pub(super) gone: Totals,
    pub(super) tallies: Tallies,
    stuck: BTreeSet<Worker>,
    recycles: HashMap<u64, oneshot::Sender<Outcome>>,
    tickets: u64,
    pub(super) stops: u32,
    pub(super) is_ready: bool,
    has_stopped: bool,
    /// Workers that ended before any had served.
    early_ends: u32,
    /// Why the very first workers cannot serve.
    unfit: Option<String>,
    looked: Moment,
    surveyed: Option<Moment>,
    reminded: Option<Moment>,
    load: Load,
    is_held: bool,
    watchdog_at: Moment,
}

/// A master that lives.
pub(super) struct Master {
    pub(super) start: Rc<Start>,
    pub(super) supervisor: Supervisor,
    pub(super) began: Instant,
    pub(super) watch: Option<Watch>,
    /// What other programs are told of this instance.
    pub(super) told: RefCell<Instance>,
    pub(super) document: Document,
    pub(super) documents: Documents,
    pub(super) certificate: Certificate,
    pub(super) tickets: Rc<SharedTickets>,
    pub(super) sockets: Sockets,
    pub(super) service: Service,
    /// Whether it was said that the service manager cannot be told.
    pub(super) is_manager_deaf: Cell<bool>,
    pub(super) bus: Bus,
    pub(super) log: Rc<Log>,
    pub(super) tasks: Rc<Tasks>,
    pub(super) news: mpsc::Sender<News>,
    pub(super) lives: Lives,
    pub(super) reloads: Reloads,
}

impl Master {
    /// Lives until everything has stopped.
    pub(super) async fn live(
        mut self,
        mut next_signal: impl AsyncFnMut() -> Signal,
        mut news: mpsc::Receiver<News>,
        mut asks: mpsc::Receiver<Ask>,
    ) -> Result<(), RunError> {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watch = self.watch.take();
        let (tickets, log) = (self.tickets.clone(), self.log.clone());
        self.manager(|service| service.forget(self.sockets.forgotten()));
        self.manager(|service| service.store(&self.sockets.stored()));
        self.happened(supervisor::Event::Tick);
        while !self.lives.has_stopped && self.lives.unfit.is_none() {
            let wake = self.wake_at();
            tokio::select! {
                signal = next_signal() => match signal {
                    Signal::Stop => self.stop(),
                    Signal::Reload => self.reload(Wish::signal()),
                },
                Some(news) = news.recv() => self.heard(news),
                Some(ask) = asks.recv() => self.asked(ask),
                () = folder_watch::changed(&mut watch) => self.reload(Wish::seen()),
                () = sleep_until(wake) => self.time_passed(),
                () = tickets.adopted() => self.share_tickets(),
                () = log.told() => self.start.voice.go_on(),
                _ = look.tick() => self.look(),
            }
            if self.watch.is_some() {
                watch = self.watch.take();
            }
        }
        self.end(news).await
    }

    async fn end(mut self, mut news: mpsc::Receiver<News>) -> Result<(), RunError> {
        self.lives.processes.values().for_each(Process::kill);
        while !self.lives.processes.is_empty() {
            match news.recv().await {
                Some(news) => self.heard(news),
                None => break,
            }
            self.start.voice.go_on();
        }
        self.bus.close().await;
        self.start.voice.go_on();
        if self.service.is_told() {
            self.sockets.stay();
        }
        // Another instance's file stays.
        let _ = self.told.borrow().remove(&self.start.places.scratch);
        self.start.voice.farewell(&words::farewell(&self));
        match self.lives.unfit {
            Some(why) => Err(RunError::Unfit(why)),
            None => Ok(()),
        }
    }

    /// The time, as the policy counts it.
    pub(super) fn now(&self) -> Moment {
        self.began.elapsed()
    }

    fn wake_at(&self) -> Instant {
        let far = Duration::from_secs(3600);
        let moments = [self.supervisor.wake_at(), self.reloads.wake_at()];
        let first = moments.into_iter().flatten().min().unwrap_or_else(|| self.now() + far);
        self.began + first
    }

    fn time_passed(&mut self) {
        self.happened(supervisor::Event::Tick);
        self.reload_time_passed();
    }

    /// Asks the policy what follows from an event, and does it.
    pub(super) fn happened(&mut self, event: supervisor::Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.supervisor.on(event, self.now()) {
                self.act(action, &mut events);
            }
        }
    }

    fn act(&mut self, action: Action, events: &mut VecDeque<supervisor::Event>) {
        match action {
            // The run is over before it began: those who are still there are waited for, and nobody follows them.
            Action::Spawn { .. } if self.lives.unfit.is_some() => {}
            Action::Spawn {
                worker,
                lane,
                generation,
            } => {
                if let Err(error) = self.spawn(worker, lane, generation) {
                    self.unfit(worker, lane, &format!("its process cannot be started: {error}"));
                    events.push_back(supervisor::Event::Failed(worker));
                    events.push_back(supervisor::Event::Exited { worker, clean: false });
                }
            }
            Action::Activate { worker } => self.tell(worker, &ToWorker::Activate),
            Action::Drain { worker, within } => self.tell(worker, &ToWorker::Drain { within }),
            Action::Hurry { worker } => self.tell(worker, &ToWorker::Hurry),
            Action::Kill { worker } => {
                if let Some(process) = self.lives.processes.get(&worker) {
                    process.kill();
                }
            }
            Action::Recycled { ticket, outcome } => {
                if let Some(asker) = self.lives.recycles.remove(&ticket) {
                    // Whoever asked may have gone.
                    let _ = asker.send(outcome);
                }
            }
            Action::RollBack => {
                self.roll_back();
                events.push_back(supervisor::Event::RolledBack);
            }
            Action::Note(note) => self.log.event(&notes::event(&note)),
            Action::Stopped => self.lives.has_stopped = true,
        }
    }

    fn spawn(&mut self, worker: Worker, lane: usize, generation: u64) -> io::Result<()> {
        let tickets = document::write("shimmercat tickets", &self.tickets.root().to_document())?;
        let given = Given {
            document: &self.documents.document,
            credentials: &self.documents.credentials,
            tickets: &tickets,
            sockets: self.sockets.of_lane(lane),
        };
        let who = (worker, lane, generation);
        let process = Process::start(who, self.now(), &given, &self.tasks.spawner(), self.news.clone())?;
        // Nothing that it says is heard before this; and one that could not be started would be waited for without end.
        self.bus.reader.expect(&self.document.instance.worker(worker.0));
        self.log.event(&Event::WorkerStarted {
            lane: lane as u64,
            worker: worker.0,
            generation,
            pid: process.pid.into(),
        });
        self.lives.processes.insert(worker, process);
        Ok(())
    }

    /// Says something to a worker. One that cannot even be told is of no use.
    fn tell(&self, worker: Worker, message: &ToWorker) {
        if let Some(process) = self.lives.processes.get(&worker)
            && process.tell(message, &[]).is_err()
        {
            process.kill();
        }
    }

    /// Says something to every worker, with a descriptor; those that heard it.
    pub(super) fn tell_all(&self, message: &ToWorker, fd: &OwnedFd) -> BTreeSet<Worker> {
        let mut heard = BTreeSet::new();
        for (worker, process) in &self.lives.processes {
            match process.tell(message, &[fd.as_fd()]) {
                Ok(()) => drop(heard.insert(*worker)),
                Err(_) => process.kill(),
            }
        }
        heard
    }

    /// Gives every worker the root that another machine had first.
    fn share_tickets(&self) {
        match document::write("shimmercat tickets", &self.tickets.root().to_document()) {
            Ok(root) => drop(self.tell_all(&ToWorker::Tickets, &root)),
            Err(error) => self.log.event(&Event::Internal {
                place: "tickets",
                fault: error.to_string(),
            }),
        }
    }

    fn heard(&mut self, news: News) {
        match news {
            News::Said(worker, said) => self.said(worker, said),
            News::Wrote(worker, message) => {
                // A worker speaks for itself only.
                let name = self.document.instance.worker(worker.0).into();
                match Line::read(&message, &name) {
                    Some(lines) => self.bus.reader.fallback(lines),
                    None => self.lives.processes.get(&worker).into_iter().for_each(Process::kill),
                }
            }
            News::Ended(worker, status) => {
                let Some(process) = self.lives.processes.remove(&worker) else {
                    return;
                };
                self.lives.stuck.remove(&worker);
                self.lives.gone.bury(&process.counters);
                let last = process.counters.get(LAST_LINE);
                self.bus
                    .reader
                    .ended(&self.document.instance.worker(worker.0), Some(last));
                self.log.event(&Event::WorkerEnded {
                    lane: process.lane as u64,
                    worker: worker.0,
                    status: status.map_or_else(|| "unknown".to_owned(), |status| status.to_string()),
                });
                self.configured(worker, None);
                let clean = status.is_some_and(|status| status.success());
                let tally = if clean {
                    &mut self.lives.tallies.retired
                } else {
                    &mut self.lives.tallies.crashed
                };
                *tally += 1;
                self.ended_early(worker, process.lane, clean);
                self.happened(supervisor::Event::Exited { worker, clean });
            }
        }
    }

    fn said(&mut self, worker: Worker, said: ToMaster) {
        match said {
            ToMaster::Ready { confined } => {
                if let Some(process) = self.lives.processes.get_mut(&worker) {
                    process.confined = confined;
                }
                self.happened(supervisor::Event::Ready(worker));
            }
            ToMaster::Accepting => {
                self.happened(supervisor::Event::Accepting(worker));
                self.announce();
            }
            ToMaster::Failed { why } => {
                let lane = self.lives.processes.get(&worker).map_or(0, |process| process.lane);
                self.unfit(worker, lane, &why);
                self.happened(supervisor::Event::Failed(worker));
            }
            ToMaster::Configured { attempt, refused } => self.configured(worker, Some((attempt, refused))),
            ToMaster::Outcasts(outcasts) => {
                if let Some(process) = self.lives.processes.get_mut(&worker) {
                    process.outcasts = outcasts;
                }
            }
            ToMaster::Drained { forced } => {
                if forced > 0 {
                    let lane = self.lives.processes.get(&worker).map_or(0, |process| process.lane);
                    self.log.event(&Event::ForcedCloses {
                        lane: lane as u64,
                        worker: worker.0,
                        count: forced,
                    });
                }
                self.happened(supervisor::Event::Drained(worker));
            }
        }
    }

    /// A worker that ends before any has ever served, without a word, may do so for ever: a few of them are enough.
    fn ended_early(&mut self, worker: Worker, lane: usize, clean: bool) {
        if clean || self.lives.is_ready || self.supervisor.serving() > 0 {
            return;
        }
        self.lives.early_ends += 1;
        if self.lives.early_ends >= MOST_EARLY_ENDS && self.lives.unfit.is_none() {
            self.unfit(worker, lane, "each ends before it has said anything; the log says how");
        }
    }

    /// A worker cannot serve. When none ever could, the run is over before it began.
    fn unfit(&mut self, worker: Worker, lane: usize, why: &str) {
        self.log.event(&Event::WorkerUnfit {
            lane: lane as u64,
            worker: worker.0,
            why: why.to_owned(),
        });
        if !self.lives.is_ready && self.supervisor.serving() == 0 {
            self.lives.unfit = Some(why.to_owned());
        }
    }

    /// Tells the person and the service manager once every lane serves.
    fn announce(&mut self) {
        if !self.lives.is_ready && self.supervisor.serving() == self.supervisor.lanes().len() {
            self.lives.is_ready = true;
            self.start.voice.ready(&words::ready(self));
            self.manager(|service| service.ready(&words::summary(self)));
        }
    }

    /// Stops: new connections are refused, idle ones and tunnels end now, exchanges may finish within the stop time. Asked a
    /// second time, they may finish within seconds; a third time, they are cut.
    fn stop(&mut self) {
        self.lives.stops += 1;
        let within = match self.lives.stops {
            1 => {
                self.manager(Service::stopping);
                let connections = self.open_connections();
                self.log.event(&Event::Stopping { connections });
                self.happened(supervisor::Event::Stop);
                return self.happened(supervisor::Event::Hurry);
            }
            2 => HURRIED_TIME,
            _ => Duration::ZERO,
        };
        for worker in self.lives.processes.keys() {
            self.tell(*worker, &ToWorker::Drain { within });
        }
    }

    /// Renews workers and has the asker told when that is done.
    pub(super) fn recycle(&mut self, lanes: Vec<usize>, asker: oneshot::Sender<Outcome>) {
        self.lives.tickets += 1;
        let ticket = self.lives.tickets;
        self.lives.recycles.insert(ticket, asker);
        self.happened(supervisor::Event::Recycle { ticket, lanes });
    }

    /// Looks after everything that nobody says.
    fn look(&mut self) {
        let now = self.now();
        self.start.voice.go_on();
        self.look_for_stuck(now);
        if self.lives.surveyed.is_none_or(|then| now - then >= SURVEY) {
            self.lives.surveyed = Some(now);
            self.survey(now);
        }
        if let Some(interval) = self.service.watchdog_interval()
            && now >= self.lives.watchdog_at
            && self.has_quorum()
        {
            self.lives.watchdog_at = now + interval;
            self.manager(Service::watchdog);
        }
        if self.lives.stops > 0 {
            self.manager(|service| service.extend(SURVEY));
        }
    }

    fn look_for_stuck(&mut self, now: Moment) {
        // A master that was itself stopped for a while knows nothing about that while.
        let has_slept = now - std::mem::replace(&mut self.lives.looked, now) > STUCK_AFTER / 2;
        let mut events = Vec::new();
        for (worker, process) in &self.lives.processes {
            let is_starting = matches!(self.supervisor.state(*worker), None | Some((_, State::Starting)));
            // Nor does one that starts turn its loop yet: its silence counts from when it is ready.
            if has_slept || is_starting {
                process.heard_now(now);
            }
            let is_stuck = !is_starting && now - process.silent_since(now) >= STUCK_AFTER;
            if is_stuck && self.lives.stuck.insert(*worker) {
                events.push(supervisor::Event::Stuck(*worker));
            } else if !is_stuck && self.lives.stuck.remove(worker) {
                events.push(supervisor::Event::Answers(*worker));
            }
        }
        events.into_iter().for_each(|event| self.happened(event));
    }

    fn has_quorum(&self) -> bool {
        let lanes = self.supervisor.lanes();
        let is_well = |worker: &supervisor::WorkerView| worker.state == State::Active && !worker.is_stuck;
        let well = lanes.iter().filter(|lane| lane.workers.iter().any(is_well)).count();
        well * 2 > lanes.len()
    }

    fn survey(&mut self, now: Moment) {
        let is_overloaded = self.lives.load.is_overloaded() || !Memory::now().allows_one_more();
        if is_overloaded != std::mem::replace(&mut self.lives.is_held, is_overloaded) {
            self.happened(if is_overloaded {
                supervisor::Event::Hold
            } else {
                supervisor::Event::Release
            });
        }
        self.bus.show(self.snapshot());
        if self.lives.is_ready {
            self.manager(|service| service.status(&words::summary(self)));
        }
        let is_due = self.lives.reminded.is_none_or(|then| now - then >= REMINDER);
        if let Some(days) = self.certificate.ends_in_days((self.start.clock)()).filter(|_| is_due) {
            self.lives.reminded = Some(now);
            let not_after = words::day(self.certificate.credentials.not_after());
            self.log.event(&Event::CertificateEnds { not_after, days });
        }
    }

    /// Tells the service manager something. That it does not listen must not hinder serving.
    pub(super) fn manager(&self, tell: impl FnOnce(&Service) -> io::Result<()>) {
        if let Err(error) = tell(&self.service)
            && !self.is_manager_deaf.replace(true)
        {
            self.log.event(&Event::ServiceManagerDeaf {
                error: error.to_string(),
            });
        }
    }

    /// Writes down what other programs are told of this instance.
    pub(super) fn tell_others(&self) -> Result<(), sc_config::InstanceError> {
        self.told.borrow().write(&self.start.places.scratch)
    }
}
