//! The master's ear: reads the stream, takes what workers say by their channels, and passes every line on once.
//!
//! The stream may be read by anybody else as well; it is never the only way. Where reading begins: in a Redis of our own
//! at the first line there is; in somebody else's at the time when we began. After a break, where it ended; and at the
//! beginning again if the stream has begun again.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use redis::Value;
use sc_net::tasks::Spawner;
use sc_server::chain;
use tokio::time::{Instant, sleep};

use super::backoff::Backoff;
use super::filter::{Filter, Sorted};
use super::link::{Link, LinkError};
use super::{Instance, Line, Target};

/// Entries asked for at once; of ours, the longest take 64 KiB each.
const READ_ENTRIES: usize = 128;
/// How long Redis waits for the first entry before it answers that there is none.
const BLOCK_TIME: Duration = Duration::from_secs(1);
/// How long Redis may take beyond that.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// Waits between attempts to connect: up to the first, doubling to the second.
const RETRY_BASE: Duration = Duration::from_millis(100);
const RETRY_CAP: Duration = Duration::from_secs(5);
/// How often gaps are looked at.
const SETTLE_EVERY: Duration = Duration::from_secs(1);
/// By how much our clock and that of Redis may drift apart while it is not there.
const CLOCK_MARGIN: Duration = Duration::from_secs(5);
/// How often the memory of a Redis of our own is looked at: after so much was read, or so long.
const WATCH_BYTES: usize = 4 << 20;
const WATCH_EVERY: Duration = Duration::from_secs(5);
/// Where a stream begins.
const BEGINNING: Id = Id(0, 0);

/// What the reader says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Heard {
    /// A line, in the order of its worker's lines unless it went the other way.
    Line(Line),
    /// Lines of a worker that will not come any more.
    Lost {
        /// Name of the worker.
        worker: String,
        /// How many.
        lines: u64,
    },
    /// The stream is read.
    Up,
    /// The stream cannot be read.
    Down {
        /// Why, in words.
        why: String,
    },
}

/// What a [`Reader`] needs.
pub struct Reading {
    /// Redis; `None` hears workers by their channels only.
    pub target: Option<Target>,
    /// Names of the keys.
    pub instance: Instance,
    /// Whether the Redis is ours alone: then every line in it is passed on, those of a former master's workers too, and
    /// its memory is watched.
    pub is_own: bool,
    /// Told everything, in order.
    pub told: Rc<dyn Fn(Heard)>,
    /// Decides when attempts are made.
    pub seed: u64,
}

/// The task, from outside.
#[derive(Clone)]
pub struct Reader {
    shared: Rc<Shared>,
}

struct Shared {
    instance: Instance,
    is_own: bool,
    told: Rc<dyn Fn(Heard)>,
    filter: RefCell<Filter>,
    is_up: Cell<bool>,
    lost: Cell<u64>,
    /// When all that was in the stream had been read the last time.
    read_up: Cell<Option<Instant>>,
    has_stream: bool,
}

impl Reader {
    /// Starts the task.
    pub fn start(spawner: &Spawner, reading: Reading) -> Self {
        let shared = Rc::new(Shared {
            instance: reading.instance,
            is_own: reading.is_own,
            told: reading.told,
            filter: RefCell::default(),
            is_up: Cell::new(false),
            lost: Cell::new(0),
            read_up: Cell::new(None),
            has_stream: reading.target.is_some(),
        });
        let task = Task {
            shared: shared.clone(),
            target: reading.target,
            backoff: Backoff::new(RETRY_BASE, RETRY_CAP, reading.seed),
            began: Instant::now(),
            position: None,
            unwatched: 0,
            watch_at: Instant::now(),
        };
        spawner.spawn("log reader", task.run());
        Reader { shared }
    }

    /// A worker of this machine is about to start; its lines are counted from the first.
    pub fn expect(&self, worker: &str) {
        self.shared.filter.borrow_mut().expect(worker);
    }

    /// Lines that a worker sent by its channel.
    pub fn fallback(&self, lines: Vec<Line>) {
        self.shared.hear(lines);
    }

    /// A worker has ended; `last` is the number of the last line that it made, if anybody knows.
    pub fn ended(&self, worker: &str, last: Option<u64>) {
        let sorted = self.shared.filter.borrow_mut().end(worker, last, Instant::now());
        self.shared.tell(sorted);
    }

    /// Whether the stream is read.
    pub fn is_up(&self) -> bool {
        self.shared.is_up.get()
    }

    /// Lines that were lost, of all workers.
    pub fn lost(&self) -> u64 {
        self.shared.lost.get()
    }

    /// Whether a line is missing that may still come.
    pub fn is_waiting(&self) -> bool {
        self.shared.filter.borrow().is_waiting()
    }
}

impl Shared {
    fn hear(&self, lines: impl IntoIterator<Item = Line>) {
        let (mut sorted, now) = (Vec::new(), Instant::now());
        let mut filter = self.filter.borrow_mut();
        for line in lines {
            // A worker of ours that was not announced has been forgotten: what comes now is late.
            let may_be_new = self.is_own && !self.instance.is_ours(&line.worker);
            filter.take(line, may_be_new, now, &mut sorted);
        }
        drop(filter);
        self.tell(sorted);
    }

    fn settle(&self) {
        let now = Instant::now();
        let read_up = if self.has_stream { self.read_up.get() } else { Some(now) };
        let sorted = self.filter.borrow_mut().settle(now, read_up);
        self.tell(sorted);
    }

    /// Nothing is borrowed while the mode listens: it may ask back.
    fn tell(&self, sorted: Vec<Sorted>) {
        for one in sorted {
            (self.told)(match one {
                Sorted::Line(line) => Heard::Line(line),
                Sorted::Lost { worker, lines } => {
                    self.lost.set(self.lost.get().saturating_add(lines));
                    Heard::Lost { worker, lines }
                }
            });
        }
    }
}

struct Task {
    shared: Rc<Shared>,
    target: Option<Target>,
    backoff: Backoff,
    began: Instant,
    /// The last entry that was read.
    position: Option<Id>,
    /// Bytes read since the memory of Redis was looked at.
    unwatched: usize,
    watch_at: Instant,
}

impl Task {
    async fn run(mut self) {
        let shared = self.shared.clone();
        tokio::join!(self.follow(), settling(&shared));
    }

    async fn follow(&mut self) {
        let Some(target) = self.target.clone() else {
            return;
        };
        let mut is_told = false;
        loop {
            let why = match self.open(&target).await {
                Ok(mut link) => {
                    self.shared.is_up.set(true);
                    (self.shared.told)(Heard::Up);
                    is_told = false;
                    self.read(&mut link).await
                }
                Err(error) => error,
            };
            self.shared.is_up.set(false);
            if !std::mem::replace(&mut is_told, true) {
                (self.shared.told)(Heard::Down { why: chain(&why) });
            }
            sleep(self.backoff.next()).await;
        }
    }

    /// Connects and finds the place to read from.
    async fn open(&mut self, target: &Target) -> Result<Link, LinkError> {
        let mut link = Link::open(target).await?;
        let newest: Vec<(String, redis::Value)> = link
            .ask(
                redis::cmd("XREVRANGE")
                    .arg(self.shared.instance.log_key())
                    .arg(("+", "-", "COUNT", 1)),
                ANSWER_TIME,
            )
            .await?;
        let newest = newest.first().and_then(|(id, _)| Id::read(id));
        self.position = Some(match self.position {
            // The stream has begun again, or was emptied: numbers tell what is known already.
            Some(position) if newest.is_none_or(|newest| newest < position) => BEGINNING,
            Some(position) => position,
            None if self.shared.is_own => BEGINNING,
            None => self.our_beginning(&mut link).await?,
        });
        Ok(link)
    }

    /// The entry that Redis would have given at the time when we began, by its own clock.
    async fn our_beginning(&self, link: &mut Link) -> Result<Id, LinkError> {
        let (seconds, micros): (u64, u64) = link.ask(&redis::cmd("TIME"), ANSWER_TIME).await?;
        let now = Duration::from_secs(seconds) + Duration::from_micros(micros);
        let then = now.saturating_sub(self.began.elapsed() + CLOCK_MARGIN);
        Ok(Id(u64::try_from(then.as_millis()).unwrap_or(u64::MAX), 0))
    }

    /// Reads until something goes wrong.
    async fn read(&mut self, link: &mut Link) -> LinkError {
        loop {
            let result = match self.read_some(link).await {
                // What is not read yet must not be thrown away; if Redis is full before we have read it all, workers take the
                // other way until we have.
                Ok(true) => self.watch(link).await,
                other => other.map(|_| ()),
            };
            if let Err(error) = result {
                return error;
            }
            self.backoff.reset();
        }
    }

    /// Reads what there is, or waits a while for it. Whether that was all.
    async fn read_some(&mut self, link: &mut Link) -> Result<bool, LinkError> {
        let position = self.position.unwrap_or(BEGINNING);
        let mut command = redis::cmd("XREAD");
        command
            .arg("COUNT")
            .arg(READ_ENTRIES)
            .arg("BLOCK")
            .arg(BLOCK_TIME.as_millis() as u64);
        command
            .arg("STREAMS")
            .arg(self.shared.instance.log_key())
            .arg(position.to_string());
        let reply: Option<Vec<(Value, Vec<Entry>)>> = link.ask(&command, BLOCK_TIME + ANSWER_TIME).await?;
        let entries: Vec<Entry> = reply.into_iter().flatten().flat_map(|(_, entries)| entries).collect();
        let is_read_up = entries.len() < READ_ENTRIES;
        if let Some(last) = entries.last().and_then(|(id, _)| Id::read(id)) {
            self.position = Some(last);
        }
        let mut lines: Vec<Line> = Vec::with_capacity(entries.len());
        for (_, fields) in &entries {
            lines.extend(line_of(fields, lines.last()));
        }
        self.unwatched += lines.iter().map(Line::cost).sum::<usize>();
        lines.retain(|line| self.shared.is_own || self.shared.instance.is_ours(&line.worker));
        self.shared.hear(lines);
        if is_read_up {
            self.shared.read_up.set(Some(Instant::now()));
        }
        Ok(is_read_up)
    }

    /// Keeps a Redis of our own from being filled by the lines that it keeps for others: when most of its memory is used,
    /// the older half of the stream goes.
    async fn watch(&mut self, link: &mut Link) -> Result<(), LinkError> {
        if !self.shared.is_own || (self.unwatched < WATCH_BYTES && Instant::now() < self.watch_at) {
            return Ok(());
        }
        self.unwatched = 0;
        self.watch_at = Instant::now() + WATCH_EVERY;
        let about: String = link.ask(redis::cmd("INFO").arg("memory"), ANSWER_TIME).await?;
        let (Some(used), Some(most)) = (number(&about, "used_memory:"), number(&about, "maxmemory:")) else {
            return Ok(());
        };
        if most == 0 || used < most / 4 * 3 {
            return Ok(());
        }
        let key = self.shared.instance.log_key();
        let length: u64 = link.ask(redis::cmd("XLEN").arg(&key), ANSWER_TIME).await?;
        let mut trim = redis::cmd("XTRIM");
        trim.arg(&key).arg("MAXLEN").arg(length / 2);
        link.ask::<u64>(&trim, ANSWER_TIME).await.map(|_| ())
    }
}

async fn settling(shared: &Shared) {
    loop {
        sleep(SETTLE_EVERY).await;
        shared.settle();
    }
}

/// An entry of the stream: its name, then names and values of its fields in turn.
type Entry = (String, Vec<Value>);

/// The line in an entry, which shares with the line `before` what is the same; `None` when somebody else put something else
/// there.
fn line_of(fields: &[Value], before: Option<&Line>) -> Option<Line> {
    let (mut sequence, mut worker, mut code, mut json) = (None, None, None, None);
    for field in fields.chunks_exact(2) {
        let [Value::BulkString(name), Value::BulkString(value)] = field else {
            return None;
        };
        let value = std::str::from_utf8(value).ok()?;
        match name.as_slice() {
            b"sequence" => sequence = Some(value.parse().ok()?),
            b"worker" => worker = Some(shared(value, before.map(|line| &line.worker))),
            b"code" => code = Some(shared(value, before.map(|line| &line.code))),
            b"line" => json = Some(value.into()),
            _ => {}
        }
    }
    Some(Line {
        sequence: sequence?,
        worker: worker?,
        code: code?,
        json: json?,
    })
}

/// A text, which is mostly the one that came before.
fn shared(text: &str, before: Option<&Rc<str>>) -> Rc<str> {
    match before {
        Some(before) if **before == *text => before.clone(),
        _ => text.into(),
    }
}

/// A number of `INFO`.
fn number(about: &str, name: &str) -> Option<u64> {
    let line = about.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}

/// Name of an entry in a stream: milliseconds and a number within them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Id(u64, u64);

impl Id {
    fn read(text: &str) -> Option<Self> {
        let (time, number) = text.split_once('-')?;
        Some(Id(time.parse().ok()?, number.parse().ok()?))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}
