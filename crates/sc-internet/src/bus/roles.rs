//! What else a master does with Redis: says that its machine lives and what it counted, sees who else does, and shares the
//! root of the ticket keys with machines that show the same certificate.
//!
//! All of it is a help and nothing waits for it. The root is sealed before it comes here and is only ever given to somebody
//! else's Redis: in one of our own nobody could need it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use sc_net::tasks::Spawner;
use sc_server::chain;
use tokio::time::sleep;

use super::backoff::Backoff;
use super::link::{Link, LinkError};
use super::ship::{BEAT_EVERY, BEAT_LIFE};
use super::{Instance, Target};

/// How long Redis may take for one step.
const STEP_TIME: Duration = Duration::from_secs(1);
/// Waits between attempts to connect: up to the first, doubling to the second.
const RETRY_BASE: Duration = Duration::from_millis(100);
const RETRY_CAP: Duration = Duration::from_secs(5);
/// Signs of life after which the root of the ticket keys is looked at again.
const BEATS_PER_ROOT: u32 = 12;
/// How long a root is kept that nobody looks at any more: longer than a machine is restarted, and two of its epochs.
const ROOT_LIFE: Duration = Duration::from_secs(12 * 60 * 60);
/// Bytes of a sealed root that are looked at.
const ROOT_BYTES: usize = 4096;
/// Other machines that are remembered.
const MACHINES: usize = 256;

/// What a master says of its machine.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Snapshot {
    /// Facts: version, process, lanes.
    pub about: Vec<(&'static str, String)>,
    /// Metrics, by name with labels.
    pub metrics: Vec<(String, u64)>,
}

/// What came of a root that was found in Redis.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Offered {
    /// It is ours, as old as ours or newer.
    Same,
    /// It is ours, and older: ours should take its place, so that what is past cannot be reckoned from it.
    Older,
    /// It was another machine's, and is ours from now on.
    Adopted,
    /// It does not open: another certificate sealed it.
    Unreadable,
}

/// The root of the ticket keys, as far as it can be shared.
pub trait SharedRoot {
    /// The present root, sealed.
    fn sealed(&self) -> Option<Vec<u8>>;
    /// Looks at another's; may adopt it.
    fn offer(&self, sealed: &[u8]) -> Offered;
}

/// What the roles say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Told {
    /// The other machines of the instance are now these.
    Machines(Vec<String>),
    /// A root was found and looked at; said when it differs from the time before.
    Root(Offered),
    /// Redis has it all.
    Up,
    /// Redis cannot be had, or not for this.
    Down {
        /// Why, in words.
        why: String,
    },
}

/// What [`Roles`] need.
pub struct Playing {
    /// Redis.
    pub target: Target,
    /// Names of the keys.
    pub instance: Instance,
    /// Asked before each sign of life.
    pub snapshot: Rc<dyn Fn() -> Snapshot>,
    /// Shared when given; only for somebody else's Redis.
    pub root: Option<Rc<dyn SharedRoot>>,
    /// Told of every change.
    pub told: Rc<dyn Fn(Told)>,
    /// Decides when attempts are made.
    pub seed: u64,
}

/// The task, from outside.
#[derive(Clone)]
pub struct Roles {
    shared: Rc<Shared>,
}

struct Shared {
    machines: RefCell<Vec<String>>,
    is_root_due: Cell<bool>,
}

impl Roles {
    /// Starts the task.
    pub fn start(spawner: &Spawner, playing: Playing) -> Self {
        let shared = Rc::new(Shared {
            machines: RefCell::default(),
            is_root_due: Cell::new(true),
        });
        let task = Task {
            backoff: Backoff::new(RETRY_BASE, RETRY_CAP, playing.seed),
            shared: shared.clone(),
            last_root: None,
            playing,
        };
        spawner.spawn("redis roles", task.run());
        Roles { shared }
    }

    /// The other machines of the instance that gave a sign of life lately, as last seen.
    pub fn machines(&self) -> Vec<String> {
        self.shared.machines.borrow().clone()
    }

    /// The root or the certificate has changed: look at Redis with the next sign of life.
    pub fn root_changed(&self) {
        self.shared.is_root_due.set(true);
    }
}

struct Task {
    playing: Playing,
    shared: Rc<Shared>,
    backoff: Backoff,
    last_root: Option<Offered>,
}

impl Task {
    async fn run(mut self) {
        let mut is_told = false;
        loop {
            let why = match Link::open(&self.playing.target).await {
                Ok(mut link) => self.play(&mut link, &mut is_told).await,
                Err(error) => error,
            };
            if !std::mem::replace(&mut is_told, true) {
                (self.playing.told)(Told::Down { why: chain(&why) });
            }
            sleep(self.backoff.next()).await;
        }
    }

    async fn play(&mut self, link: &mut Link, is_told: &mut bool) -> LinkError {
        let mut is_new = true;
        let mut beats = 0;
        loop {
            if beats == 0 {
                self.shared.is_root_due.set(true);
            }
            beats = (beats + 1) % BEATS_PER_ROOT;
            if let Err(error) = self.beat(link).await {
                return error;
            }
            self.backoff.reset();
            if std::mem::take(&mut is_new) {
                *is_told = false;
                (self.playing.told)(Told::Up);
            }
            tokio::select! {
                () = sleep(BEAT_EVERY) => {}
                () = link.closed() => return LinkError::Closed,
            }
        }
    }

    async fn beat(&mut self, link: &mut Link) -> Result<(), LinkError> {
        let (now, _micros): (u64, u64) = link.ask(&redis::cmd("TIME"), STEP_TIME).await?;
        let oldest = now.saturating_sub(BEAT_LIFE.as_secs());
        let instance = &self.playing.instance;
        let (machine, machines) = (instance.machine(), instance.machines_key());
        let snapshot = (self.playing.snapshot)();
        let mut commands = redis::Pipeline::new();
        set(&mut commands, &instance.machine_key(machine), &snapshot.about);
        set(&mut commands, &instance.metrics_key(machine), &snapshot.metrics);
        commands.cmd("ZADD").arg(&machines).arg(now).arg(machine);
        commands
            .cmd("ZREMRANGEBYSCORE")
            .arg(&machines)
            .arg("-inf")
            .arg(format!("({oldest}"));
        commands.cmd("EXPIRE").arg(&machines).arg(BEAT_LIFE.as_secs());
        link.do_all(&commands, STEP_TIME).await?;

        let mut seen = redis::cmd("ZREVRANGE");
        seen.arg(&machines).arg(0).arg(MACHINES);
        let mut seen: Vec<String> = link.ask(&seen, STEP_TIME).await?;
        seen.retain(|other| other != machine);
        seen.sort();
        if *self.shared.machines.borrow() != seen {
            *self.shared.machines.borrow_mut() = seen.clone();
            (self.playing.told)(Told::Machines(seen));
        }
        if self.shared.is_root_due.take() {
            self.root(link).await?;
        }
        Ok(())
    }

    /// Puts our root there if there is none, and looks at the one that is.
    async fn root(&mut self, link: &mut Link) -> Result<(), LinkError> {
        let Some(root) = self.playing.root.clone() else {
            return Ok(());
        };
        let Some(ours) = root.sealed() else {
            return Ok(());
        };
        let key = self.playing.instance.tickets_key();
        let mut set = redis::cmd("SET");
        set.arg(&key).arg(&ours).arg("NX").arg("EX").arg(ROOT_LIFE.as_secs());
        link.ask::<redis::Value>(&set, STEP_TIME).await?;
        let mut get = redis::cmd("GETRANGE");
        get.arg(&key).arg(0).arg(ROOT_BYTES);
        let found: Vec<u8> = link.ask(&get, STEP_TIME).await?;
        if found.is_empty() {
            return Ok(());
        }
        let offered = root.offer(&found);
        match offered {
            Offered::Same | Offered::Adopted => {
                let mut keep = redis::cmd("EXPIRE");
                keep.arg(&key).arg(ROOT_LIFE.as_secs());
                link.ask::<redis::Value>(&keep, STEP_TIME).await?;
            }
            Offered::Older => {
                let mut set = redis::cmd("SET");
                set.arg(&key).arg(&ours).arg("XX").arg("EX").arg(ROOT_LIFE.as_secs());
                link.ask::<redis::Value>(&set, STEP_TIME).await?;
            }
            // Whoever can open it keeps it alive; when nobody can, it goes by itself.
            Offered::Unreadable => {}
        }
        if self.last_root.replace(offered) != Some(offered) {
            (self.playing.told)(Told::Root(offered));
        }
        Ok(())
    }
}

/// A hash that replaces the one before and does not outlive its machine.
fn set<N: redis::ToRedisArgs, V: redis::ToRedisArgs>(commands: &mut redis::Pipeline, key: &str, fields: &[(N, V)]) {
    if fields.is_empty() {
        return;
    }
    commands.cmd("HSET").arg(key);
    for (name, value) in fields {
        commands.arg(name).arg(value);
    }
    commands.cmd("EXPIRE").arg(key).arg(BEAT_LIFE.as_secs());
}
