//! The master's side of the bus: the own Redis, what reads the log, what writes to it, what other machines are told.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::rc::Rc;
use std::time::Duration;

use sc_config::{Redis, Settings};
use sc_net::tasks::Spawner;
use sc_server::Event;

use super::log::Log;
use super::notes::{self, OwnRedis};
use super::run::Start;
use super::tickets::SharedTickets;
use crate::bus::{
    Beat, Health, Instance, Own, Owning, Place, Playing, Reader, Reading, Ring, Roles, SharedRoot, Shipper, Shipping,
    Snapshot, Target, find_server,
};

/// The number under which the master writes to the log; workers' numbers begin at 1.
pub(super) const OURS: u64 = 0;

/// How long the last lines of the master may take to the bus.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What the master has on the bus.
pub(super) struct Bus {
    /// Which Redis it is.
    pub(super) place: Place,
    own: Option<Own>,
    known: Rc<OwnRedis>,
    pub(super) reader: Reader,
    shipper: Shipper,
    roles: Option<Roles>,
    /// What other machines may see, as it was at the last survey.
    shown: Rc<RefCell<Snapshot>>,
}

/// What the bus is opened with.
pub(super) struct Opening<'a> {
    pub(super) start: &'a Start,
    pub(super) instance: &'a Instance,
    pub(super) log: &'a Rc<Log>,
    /// The master's own lines.
    pub(super) ring: Ring,
    pub(super) tickets: Rc<SharedTickets>,
    pub(super) spawner: Spawner,
}

/// What an instance is called on the bus.
pub(super) fn instance(start: &Start, settings: &Settings) -> Instance {
    let name = settings.instance.clone().unwrap_or_else(|| start.places.id.clone());
    let host = rustix::system::uname();
    Instance::new(name, &host.nodename().to_string_lossy(), start.seed)
}

impl Bus {
    /// Starts the own Redis, if it shall be that, and everything that speaks to one.
    pub(super) fn open(opening: Opening<'_>) -> Self {
        let known = Rc::new(OwnRedis::default());
        let (place, own) = opening.redis(&known);
        let target = Target::of(&place).unwrap_or_else(|error| {
            opening.log.event(&Event::BusDown {
                redis: "Redis".to_owned(),
                why: sc_server::chain(&error),
            });
            None
        });
        let shown = Rc::new(RefCell::default());
        let reader = opening.reader(target.clone(), own.is_some().then(|| known.clone()));
        let roles = target.clone().map(|target| opening.roles(target, &place, &shown));
        let shipper = opening.shipper(target, reader.clone());
        Bus {
            place,
            own,
            known,
            reader,
            shipper,
            roles,
            shown,
        }
    }

    /// Lets the last lines leave, and ends the own Redis.
    pub(super) async fn close(&self) {
        self.shipper.flush(LAST_LINES).await;
        if let Some(own) = &self.own {
            own.stop().await;
        }
    }

    /// Shows other machines something else from now on.
    pub(super) fn show(&self, snapshot: Snapshot) {
        *self.shown.borrow_mut() = snapshot;
    }

    /// The root of the ticket keys is sealed with another key now.
    pub(super) fn root_changed(&self) {
        if let Some(roles) = &self.roles {
            roles.root_changed();
        }
    }

    /// The other machines of the instance; nothing without a Redis.
    pub(super) fn machines(&self) -> Option<Vec<String>> {
        self.roles.as_ref().map(Roles::machines)
    }

    /// How often the own Redis was started.
    pub(super) fn starts(&self) -> u64 {
        self.known.starts.get()
    }

    /// How it is: a word, why when it is down, and the process of the own one.
    pub(super) fn health(&self) -> (&'static str, Option<String>, Option<u32>) {
        match self.own.as_ref().map(Own::health) {
            Some(Health::Starting) => ("starting", None, None),
            Some(Health::Down { why, .. }) => ("down", Some(why), None),
            Some(Health::Stopped) => ("stopped", None, None),
            Some(Health::Up { pid }) => (if self.reader.is_up() { "up" } else { "silent" }, None, Some(pid)),
            None if self.place == Place::Off => ("off", None, None),
            None if self.reader.is_up() => ("up", None, None),
            None => ("down", None, None),
        }
    }
}

impl Opening<'_> {
    /// Which Redis there is, and the own one, started.
    fn redis(&self, known: &Rc<OwnRedis>) -> (Place, Option<Own>) {
        let path = self.start.environment.get(OsStr::new("PATH"));
        let program = match &self.start.settings.redis {
            Redis::Off => return (Place::Off, None),
            Redis::Url(url) => return (Place::Url(url.clone()), None),
            Redis::Auto => find_server(path.map_or(OsStr::new(""), OsString::as_os_str)),
        };
        let Some(program) = program else {
            return (Place::Off, None);
        };
        let (log, known) = (self.log.clone(), known.clone());
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let own = Own::start(
            &self.spawner,
            Owning {
                program,
                socket: self.start.places.runtime.join("redis.sock"),
                told: Rc::new(move |health| notes::redis(&log, &name, &known, health)),
                seed: self.start.seed,
            },
        );
        (own.place(), Some(own))
    }

    fn reader(&self, target: Option<Target>, own: Option<Rc<OwnRedis>>) -> Reader {
        let redis = target.as_ref().map_or_else(String::new, ToString::to_string);
        let log = self.log.clone();
        Reader::start(
            &self.spawner,
            Reading {
                target,
                instance: self.instance.clone(),
                is_own: own.is_some(),
                told: Rc::new(move |heard| notes::bus(&log, &redis, own.as_deref(), heard)),
                seed: self.start.seed,
            },
        )
    }

    /// Takes the master's own lines to the bus. What that cannot have was told all the same.
    fn shipper(self, target: Option<Target>, reader: Reader) -> Shipper {
        let beat = || Beat {
            lane: 0,
            generation: 0,
            pid: std::process::id(),
            state: "master",
            connections: 0,
            exchanges: 0,
        };
        Shipper::start(
            &self.spawner,
            Shipping {
                target,
                instance: self.instance.clone(),
                ring: self.ring,
                fallback: Rc::new(move |lines| {
                    reader.fallback(lines);
                    Box::pin(std::future::ready(Ok(())))
                }),
                beat: Rc::new(beat),
                told: Rc::new(|_| {}),
                seed: self.start.seed,
            },
        )
    }

    /// Says to the other machines of the instance that this one lives, and shares ticket keys with them.
    fn roles(&self, target: Target, place: &Place, shown: &Rc<RefCell<Snapshot>>) -> Roles {
        let root: Option<Rc<dyn SharedRoot>> = match place {
            Place::Url(_) => Some(self.tickets.clone()),
            Place::Own { .. } | Place::Off => None,
        };
        let (log, shown) = (self.log.clone(), shown.clone());
        Roles::start(
            &self.spawner,
            Playing {
                target,
                instance: self.instance.clone(),
                snapshot: Rc::new(move || shown.borrow().clone()),
                root,
                told: Rc::new(move |what| notes::roles(&log, &what)),
                seed: self.start.seed,
            },
        )
    }
}
