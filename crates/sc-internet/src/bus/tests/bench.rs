//! What the tests stand on: a runtime, a Redis, workers that make lines, and an ear that hears them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sc_config::Secret;
use sc_net::tasks::Tasks;
use sc_testkit::find_program;
use tempfile::TempDir;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout};

use super::super::link::Link;
use super::super::*;

/// No test takes longer.
const LONGEST: Duration = Duration::from_secs(90);
/// No condition does.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a test as the programs run: one thread, one runtime, a local set.
pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let test = async { timeout(LONGEST, test).await.expect("the test takes too long") };
    LocalSet::new().block_on(&runtime, test);
}

/// Waits for a condition.
#[track_caller]
pub(super) fn until<'a>(what: &'a str, mut look: impl FnMut() -> bool + 'a) -> impl Future<Output = ()> + 'a {
    let began = Instant::now();
    let place = std::panic::Location::caller();
    async move {
        while !look() {
            assert!(began.elapsed() < PATIENCE, "{place}: waited too long until {what}");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A temporary folder and the tasks of one test.
pub(super) struct Bench {
    pub(super) folder: TempDir,
    pub(super) tasks: Tasks,
}

impl Bench {
    pub(super) fn new() -> Self {
        Bench {
            folder: TempDir::new().unwrap(),
            tasks: Tasks::new(|panicked| panic!("{panicked:?}")),
        }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// A Redis as the master starts it. It is asked whether it lives so seldom that a frozen one stays.
    pub(super) async fn own(&self, memory: &'static str) -> Own {
        let own = self.own_with(memory, Duration::from_secs(600), Rc::new(|_| {}));
        until("Redis is up", || matches!(own.health(), Health::Up { .. })).await;
        own
    }

    pub(super) fn own_with(&self, memory: &'static str, ask_every: Duration, told: Rc<dyn Fn(&Health)>) -> Own {
        let owning = Owning {
            program: find_program("redis-server"),
            socket: self.socket(),
            told,
            seed: 1,
        };
        Own::start_with(&self.tasks.spawner(), owning, memory, ask_every)
    }

    pub(super) fn ear(&self, place: &Place, instance: &Instance) -> Ear {
        let heard = Rc::new(RefCell::new(Vec::new()));
        let sink = heard.clone();
        let reading = Reading {
            target: Target::of(place).unwrap(),
            instance: instance.clone(),
            is_own: matches!(place, Place::Own { .. }),
            told: Rc::new(move |one| sink.borrow_mut().push(one)),
            seed: 2,
        };
        Ear {
            reader: Reader::start(&self.tasks.spawner(), reading),
            heard,
        }
    }

    pub(super) fn worker(&self, place: &Place, instance: &Instance, number: u64, fallback: Fallback) -> Worker {
        let counted = Rc::new(Counted::default());
        let ring = Ring::new(instance.worker(number), counted.clone());
        let states = Rc::new(RefCell::new(Vec::new()));
        let sink = states.clone();
        let shipping = Shipping {
            target: Target::of(place).unwrap(),
            instance: instance.clone(),
            ring: ring.clone(),
            fallback,
            beat: Rc::new(move || Beat {
                lane: 3,
                generation: 4,
                pid: 5,
                state: "active",
                connections: 6,
                exchanges: 7,
            }),
            told: Rc::new(move |state| sink.borrow_mut().push(state.clone())),
            seed: number,
        };
        Worker {
            shipper: Shipper::start(&self.tasks.spawner(), shipping),
            ring,
            counted,
            states,
        }
    }
}

pub(super) fn instance() -> Instance {
    Instance::new("test", "host", 7)
}

pub(super) fn signal(own: &Own, signal: Signal) -> u32 {
    let Health::Up { pid } = own.health() else {
        panic!("Redis is {:?}", own.health());
    };
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
    pid
}

/// Asks Redis directly.
pub(super) async fn ask<T: redis::FromRedisValue>(place: &Place, words: &[&str]) -> T {
    let target = Target::of(place).unwrap().unwrap();
    let mut link = Link::open(&target).await.unwrap();
    let mut command = redis::cmd(words[0]);
    words[1..].iter().for_each(|word| {
        command.arg(word);
    });
    link.ask(&command, Duration::from_secs(10)).await.unwrap()
}

/// What the master hears.
pub(super) struct Ear {
    pub(super) reader: Reader,
    pub(super) heard: Rc<RefCell<Vec<Heard>>>,
}

impl Ear {
    /// The numbers of the lines of a worker, in the order in which they came.
    pub(super) fn numbers(&self, worker: &str) -> Vec<u64> {
        let heard = self.heard.borrow();
        let lines = heard.iter().filter_map(|one| match one {
            Heard::Line(line) if *line.worker == *worker => Some(line.sequence),
            _ => None,
        });
        lines.collect()
    }

    /// Gives what a worker could not ship to the reader, as the channel does.
    pub(super) fn fallback(&self) -> Fallback {
        let reader = self.reader.clone();
        Rc::new(move |lines| {
            reader.fallback(lines);
            Box::pin(std::future::ready(Ok(())))
        })
    }

    pub(super) async fn is_up(&self) {
        until("the stream is read", || self.reader.is_up()).await;
    }

    /// Waits until nothing can come any more, and checks that each line that was made was heard once or is lost. Gives the
    /// number of those.
    pub(super) async fn reckon(&self, worker: &Worker) -> u64 {
        assert_eq!(worker.shipper.flush(PATIENCE).await, 0);
        let name = worker.ring.worker().to_owned();
        self.reader.ended(&name, Some(worker.ring.last_sequence()));
        until("no line is missing", || !self.reader.is_waiting()).await;
        let mut times = BTreeMap::new();
        for number in self.numbers(&name) {
            *times.entry(number).or_insert(0) += 1;
        }
        assert!(times.values().all(|times| *times == 1), "heard twice: {times:?}");
        let lost = self.reader.lost();
        assert_eq!(times.len() as u64 + lost, worker.ring.last_sequence());
        lost
    }
}

#[derive(Default)]
pub(super) struct Counted {
    pub(super) made: Cell<u64>,
    pub(super) dropped: Cell<u64>,
}

impl Tally for Counted {
    fn made(&self, sequence: u64) {
        self.made.set(sequence);
    }

    fn dropped(&self, lines: u64) {
        self.dropped.set(self.dropped.get() + lines);
    }
}

/// A worker, as far as the bus knows it.
pub(super) struct Worker {
    pub(super) ring: Ring,
    pub(super) shipper: Shipper,
    pub(super) counted: Rc<Counted>,
    pub(super) states: Rc<RefCell<Vec<BusState>>>,
}

impl Worker {
    pub(super) fn push(&self, lines: usize) {
        for _ in 0..lines {
            self.ring.push("M30201", LINE);
        }
    }

    /// Makes lines for a while, as requests do: some, then others have their turn.
    pub(super) async fn work(&self, lines: usize) {
        for _ in 0..lines / 50 {
            self.push(50);
            sleep(Duration::from_millis(1)).await;
        }
    }

    pub(super) async fn is_up(&self) {
        until("lines go to the stream", || self.shipper.state() == BusState::Up).await;
    }

    pub(super) async fn is_down(&self) {
        until("lines go to the fallback", || {
            matches!(self.shipper.state(), BusState::Down { .. })
        })
        .await;
    }
}

/// A line as long as a usual one.
pub(super) const LINE: &str = "{\"code\":\"M30201\",\"event\":\"exchange\",\"client\":\"192.0.2.1\",\"method\":\"GET\",\
    \"url\":\"https://www.example.com/some/page?with=a&query=string\",\"status\":200,\"sent_bytes\":12345,\"took_us\":678}";

/// Looks how late the runtime is: whoever blocks it is seen here.
pub(super) struct Pulse {
    late: Rc<RefCell<Vec<Duration>>>,
}

impl Pulse {
    pub(super) fn start(bench: &Bench) -> Self {
        let late = Rc::new(RefCell::new(Vec::new()));
        let sink = late.clone();
        bench.tasks.spawn("pulse", async move {
            loop {
                let due = Instant::now() + Duration::from_millis(2);
                tokio::time::sleep_until(due).await;
                sink.borrow_mut().push(due.elapsed());
            }
        });
        Pulse { late }
    }

    /// Checks that nothing was held up. The bounds leave room for a busy machine, and for no wait on Redis: every limit
    /// of those is 200 ms or more.
    pub(super) fn check(&self) {
        let mut late = self.late.borrow().clone();
        late.sort();
        assert!(late.len() > 5, "{} beats", late.len());
        let at = |part: usize| late[(late.len() - 1) * part / 100];
        assert!(at(50) < Duration::from_millis(20), "half were late by {:?}", at(50));
        assert!(
            at(95) < Duration::from_millis(150),
            "one in twenty was late by {:?}",
            at(95)
        );
    }
}

/// A Redis that is not ours.
pub(super) struct Outside {
    child: Child,
}

impl Outside {
    /// Starts one and waits until it answers at `place`.
    pub(super) async fn start(arguments: &[&str], place: &Place) -> Self {
        let child = Command::new(find_program("redis-server"))
            .args(["--save", "", "--appendonly", "no"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let outside = Outside { child };
        let target = Target::of(place).unwrap().unwrap();
        let began = Instant::now();
        while let Err(error) = Link::open(&target).await {
            assert!(began.elapsed() < PATIENCE, "{error}");
            sleep(Duration::from_millis(10)).await;
        }
        outside
    }

    /// One on a unix socket.
    pub(super) async fn on_socket(socket: &Path, more: &[&str]) -> (Self, Place) {
        let place = Place::Url(Secret::new(format!("unix://{}", socket.display())));
        let mut arguments = vec!["--port", "0", "--unixsocket", socket.to_str().unwrap()];
        arguments.extend(more);
        (Self::start(&arguments, &place).await, place)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
