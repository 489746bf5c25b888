//! Takes a worker's lines from its ring to the stream in Redis, or to the fallback while there is none to be had.
//!
//! One task, which a request never waits for. A batch that Redis did not take in time goes to the fallback with all that
//! follow, until a new connection stands; what Redis took all the same is dropped by the reader, which knows the numbers.
//! The same connection carries the worker's heartbeat.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use sc_net::tasks::Spawner;
use sc_server::chain;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::backoff::Backoff;
use super::link::{Link, LinkError};
use super::{Instance, Line, Ring, Target};

/// Lines of one batch at most.
const BATCH_LINES: usize = 256;
/// Bytes of one batch at most.
const BATCH_BYTES: usize = 256 << 10;
/// Bytes of what the fallback is given at once: with 64 for what is around them, the lines are one message of the channel.
const FALLBACK_BYTES: usize = sc_net::channel::MESSAGE_BYTES - 64;
/// How long a batch waits for more lines.
const LINGER_TIME: Duration = Duration::from_millis(5);
/// How long Redis may take for a batch or a heartbeat.
const BATCH_TIME: Duration = Duration::from_millis(200);
/// Lines that the stream keeps, about.
pub(crate) const STREAM_LINES: usize = 100_000;
/// Waits between attempts to connect: up to the first, doubling to the second.
const RETRY_BASE: Duration = Duration::from_millis(100);
const RETRY_CAP: Duration = Duration::from_secs(5);
/// When the ring is fuller than this, in percent, and after a batch fuller than before it, Redis is too slow for us although
/// it answers.
const BEHIND_PERCENT: usize = 50;
/// So many lines may wait for the first attempt to connect.
const FIRST_LINES: usize = 1024;
/// How long a fallback under way may still take once Redis is back.
const FALLBACK_GRACE: Duration = Duration::from_secs(1);
/// Pause after a fallback that took nothing.
const FALLBACK_PAUSE: Duration = Duration::from_millis(200);
/// How often a worker says that it lives.
pub(crate) const BEAT_EVERY: Duration = Duration::from_secs(5);
/// How long a sign of life counts.
pub(crate) const BEAT_LIFE: Duration = Duration::from_secs(15);

/// Where lines go while Redis cannot have them: to the master by the channel. What it could not take it gives back.
///
/// Shape: as a message the lines are shorter than [`sc_net::channel::MESSAGE_BYTES`].
/// Cancel: may happen when Redis is back; the lines go there then, and the reader drops what it has already.
pub type Fallback = Rc<dyn Fn(Vec<Line>) -> LocalBoxFuture<'static, Result<(), Vec<Line>>>>;

/// What a worker says of itself in its heartbeat.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Beat {
    /// Its lane.
    pub lane: usize,
    /// How many workers the lane had before.
    pub generation: u64,
    /// Its process.
    pub pid: u32,
    /// `warm`, `active` or `draining`.
    pub state: &'static str,
    /// Open connections.
    pub connections: u64,
    /// Exchanges under way.
    pub exchanges: u64,
}

/// How the worker stands with Redis.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BusState {
    /// There is none.
    Off,
    /// Not tried yet.
    Starting,
    /// Lines go to the stream.
    Up,
    /// Lines go to the fallback.
    Down {
        /// Why, in words.
        why: String,
    },
}

/// How many lines went which way.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Shipped {
    /// To the stream.
    pub stream: u64,
    /// To the fallback.
    pub fallback: u64,
}

/// What a [`Shipper`] needs.
pub struct Shipping {
    /// Redis; `None` sends everything to the fallback.
    pub target: Option<Target>,
    /// Names of the keys.
    pub instance: Instance,
    /// Where the lines come from.
    pub ring: Ring,
    /// Where they go without Redis.
    pub fallback: Fallback,
    /// Asked before each heartbeat.
    pub beat: Rc<dyn Fn() -> Beat>,
    /// Told when the state changes, not at each attempt.
    pub told: Rc<dyn Fn(&BusState)>,
    /// Decides when attempts are made.
    pub seed: u64,
}

/// The task, from outside.
#[derive(Clone)]
pub struct Shipper {
    shared: Rc<Shared>,
    ring: Ring,
}

struct Shared {
    state: RefCell<BusState>,
    shipped: Cell<Shipped>,
    /// Lines that are out of the ring and not yet delivered.
    under_way: Cell<usize>,
    moved: Notify,
}

impl Shipper {
    /// Starts the task.
    pub fn start(spawner: &Spawner, shipping: Shipping) -> Self {
        let state = match shipping.target {
            None => BusState::Off,
            Some(_) => BusState::Starting,
        };
        let shared = Rc::new(Shared {
            state: RefCell::new(state),
            shipped: Cell::default(),
            under_way: Cell::new(0),
            moved: Notify::new(),
        });
        let shipper = Shipper {
            shared: shared.clone(),
            ring: shipping.ring.clone(),
        };
        let backoff = Backoff::new(RETRY_BASE, RETRY_CAP, shipping.seed);
        let task = Task {
            log_key: shipping.instance.log_key(),
            worker_key: shipping.instance.worker_key(shipping.ring.worker()),
            shipping,
            shared,
            backoff,
            is_first: true,
        };
        spawner.spawn("log shipper", task.run());
        shipper
    }

    /// How it stands with Redis.
    pub fn state(&self) -> BusState {
        self.shared.state.borrow().clone()
    }

    /// How many lines went which way.
    pub fn shipped(&self) -> Shipped {
        self.shared.shipped.get()
    }

    /// Waits until every line is delivered, gives up what is left after `within`, and says how much that is.
    ///
    /// Cancel: gives up nothing.
    pub async fn flush(&self, within: Duration) -> u64 {
        let delivered = async {
            while !self.ring.is_empty() || self.shared.under_way.get() > 0 {
                self.shared.moved.notified().await;
            }
        };
        match timeout(within, delivered).await {
            Ok(()) => 0,
            Err(_) => self.ring.give_up() + self.shared.under_way.get() as u64,
        }
    }
}

/// A batch that the fallback has, and a copy of it for when that takes too long.
struct Falling {
    lines: Vec<Line>,
    under_way: LocalBoxFuture<'static, Result<(), Vec<Line>>>,
}

struct Task {
    shipping: Shipping,
    shared: Rc<Shared>,
    backoff: Backoff,
    is_first: bool,
    log_key: String,
    worker_key: String,
}

impl Task {
    async fn run(mut self) {
        loop {
            let mut link = self.without().await;
            self.say(BusState::Up);
            let why = self.with(&mut link).await;
            drop(link);
            self.say(BusState::Down { why: chain(&why) });
        }
    }

    fn say(&self, state: BusState) {
        let is_news = std::mem::discriminant(&state) != std::mem::discriminant(&*self.shared.state.borrow());
        *self.shared.state.borrow_mut() = state.clone();
        if is_news {
            (self.shipping.told)(&state);
        }
    }

    /// Ships to Redis until something goes wrong.
    async fn with(&mut self, link: &mut Link) -> LinkError {
        let ring = self.shipping.ring.clone();
        let mut fullness = ring.fullness();
        // Workers come back together when Redis does; their beats need not stay together.
        let mut beat_at = Instant::now() + self.backoff.up_to(BEAT_EVERY);
        loop {
            let step = tokio::select! {
                biased;
                () = sleep_until(beat_at) => {
                    beat_at = Instant::now() + BEAT_EVERY;
                    beat(link, &self.worker_key, &(self.shipping.beat)()).await
                }
                () = gathered(&ring) => self.batch(link).await,
                () = link.closed() => Err(LinkError::Closed),
            };
            let before = std::mem::replace(&mut fullness, ring.fullness());
            match step {
                Err(error) => return error,
                Ok(()) if fullness > BEHIND_PERCENT.max(before) => return LinkError::Behind(ring.len()),
                // Only what was done proves that it can be done: a full Redis still greets.
                Ok(()) => self.backoff.reset(),
            }
        }
    }

    async fn batch(&self, link: &mut Link) -> Result<(), LinkError> {
        let lines = self.take(BATCH_BYTES, Line::cost);
        if lines.is_empty() {
            self.put_down();
            return Ok(());
        }
        let mut commands = redis::Pipeline::with_capacity(lines.len());
        for line in &lines {
            let trim = ("MAXLEN", "~", STREAM_LINES, "*");
            commands.cmd("XADD").arg(&self.log_key).arg(trim);
            commands.arg("code").arg(&*line.code).arg("worker").arg(&*line.worker);
            commands.arg("sequence").arg(line.sequence).arg("line").arg(&*line.json);
        }
        let done = link.do_all(&commands, BATCH_TIME).await;
        match &done {
            Ok(()) => self.count(|shipped| shipped.stream += lines.len() as u64),
            // Some may have been taken; the reader knows them by their numbers.
            Err(_) => self.shipping.ring.put_back(lines),
        }
        self.put_down();
        done
    }

    /// Ships to the fallback until Redis can be had.
    async fn without(&mut self) -> Link {
        let ring = self.shipping.ring.clone();
        let mut connecting = self.attempt();
        let mut falling: Option<Falling> = None;
        let mut fall_at = Instant::now();
        loop {
            // The first attempt is about to succeed as a rule, and is short if not: some lines can wait for it.
            let is_first = *self.shared.state.borrow() == BusState::Starting;
            let lines_to_fall = async {
                sleep_until(fall_at).await;
                if is_first {
                    ring.filled_to(FIRST_LINES).await;
                }
                gathered(&ring).await;
            };
            tokio::select! {
                biased;
                attempt = &mut connecting => match attempt {
                    Ok(link) => {
                        if let Some(falling) = falling {
                            self.last_fall(falling).await;
                        }
                        return link;
                    }
                    Err(error) => {
                        self.say(BusState::Down { why: chain(&error) });
                        connecting = self.attempt();
                    }
                },
                result = fallen(&mut falling) => {
                    let lines = falling.take().map_or(0, |falling| falling.lines.len());
                    fall_at = self.fell(lines, result);
                }
                () = lines_to_fall, if falling.is_none() => {
                    let lines = self.take(FALLBACK_BYTES, Line::message_bytes);
                    if lines.is_empty() {
                        self.put_down();
                        continue;
                    }
                    falling = Some(Falling { under_way: (self.shipping.fallback)(lines.clone()), lines });
                }
            }
        }
    }

    /// The next attempt to connect and to say that we live, after a while.
    fn attempt(&mut self) -> LocalBoxFuture<'static, Result<Link, LinkError>> {
        let Some(target) = self.shipping.target.clone() else {
            return Box::pin(pending());
        };
        let wait = match std::mem::take(&mut self.is_first) {
            true => Duration::ZERO,
            false => self.backoff.next(),
        };
        let (key, about) = (self.worker_key.clone(), self.shipping.beat.clone());
        Box::pin(async move {
            sleep(wait).await;
            let mut link = Link::open(&target).await?;
            beat(&mut link, &key, &about()).await?;
            Ok(link)
        })
    }

    /// Redis is back: what the fallback has may end, but not hold us up.
    async fn last_fall(&self, falling: Falling) {
        match timeout(FALLBACK_GRACE, falling.under_way).await {
            Ok(result) => {
                self.fell(falling.lines.len(), result);
            }
            Err(_) => {
                self.shipping.ring.put_back(falling.lines);
                self.put_down();
            }
        }
    }

    /// Reckons up what came of a fallback, and says when the next may begin.
    fn fell(&self, lines: usize, result: Result<(), Vec<Line>>) -> Instant {
        let given_back = result.err().unwrap_or_default();
        let taken = lines.saturating_sub(given_back.len());
        self.count(|shipped| shipped.fallback += taken as u64);
        let pause = if given_back.is_empty() {
            Duration::ZERO
        } else {
            FALLBACK_PAUSE
        };
        if !given_back.is_empty() {
            self.shipping.ring.put_back(given_back);
        }
        self.put_down();
        Instant::now() + pause
    }

    fn take(&self, bytes: usize, measure: fn(&Line) -> usize) -> Vec<Line> {
        let lines = self.shipping.ring.take(BATCH_LINES, bytes, measure);
        self.shared.under_way.set(lines.len());
        lines
    }

    /// Nothing is under way any more.
    fn put_down(&self) {
        self.shared.under_way.set(0);
        self.shared.moved.notify_one();
    }

    fn count(&self, change: impl FnOnce(&mut Shipped)) {
        let mut shipped = self.shared.shipped.get();
        change(&mut shipped);
        self.shared.shipped.set(shipped);
    }
}

/// Returns when there is a batch worth sending.
async fn gathered(ring: &Ring) {
    ring.filled().await;
    let _ = timeout(LINGER_TIME, ring.filled_to(BATCH_LINES)).await;
}

async fn fallen(falling: &mut Option<Falling>) -> Result<(), Vec<Line>> {
    match falling {
        Some(falling) => (&mut falling.under_way).await,
        None => pending().await,
    }
}

/// Says that a worker lives.
async fn beat(link: &mut Link, key: &str, beat: &Beat) -> Result<(), LinkError> {
    let mut commands = redis::Pipeline::with_capacity(2);
    commands.cmd("HSET").arg(key).arg("lane").arg(beat.lane);
    commands.arg("generation").arg(beat.generation).arg("pid").arg(beat.pid);
    commands
        .arg("state")
        .arg(beat.state)
        .arg("connections")
        .arg(beat.connections);
    commands.arg("exchanges").arg(beat.exchanges);
    commands.cmd("EXPIRE").arg(key).arg(BEAT_LIFE.as_secs());
    link.do_all(&commands, BATCH_TIME).await
}
