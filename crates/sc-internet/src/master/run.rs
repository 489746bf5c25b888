//! A run of internet mode, from settings to the last word: prepare, open, live, stop.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use sc_config::{Address, Diagnostic, Found, Instance, Places, Redis, Settings};
use sc_net::folder_watch::Watch;
use sc_net::listen::{self, Listener, Place};
use sc_net::tasks::Tasks;
use sc_server::Event;
use sc_server::log_codes::LogCodes;
use sc_tls::tickets::{Root, Tickets};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::certificate::{self, Certificate};
use super::control;
use super::error::RunError;
use super::live::Master;
use super::log::Log;
use super::notes::OwnRedis;
use super::tickets::SharedTickets;
use super::{load, words};
use crate::bus::{
    self, Beat, NoTally, Own, Owning, Playing, Reader, Reading, Ring, Roles, Shipper, Shipping, Snapshot, Target,
    find_server,
};
use crate::messages::Document;
use crate::sockets::{Role, Sockets, Wanted};
use crate::supervisor::{Rules, Supervisor};
use crate::systemd::Service;
use crate::voice::Voice;

/// Settings that were read again, or the mistakes.
pub type Reread = Result<Settings, Vec<Diagnostic>>;

/// What a run begins with.
pub struct Start {
    /// What is to be served; the command line is laid over the file already.
    pub settings: Settings,
    /// Where the file is.
    pub found: Found,
    /// Where the project keeps what is not committed.
    pub places: Places,
    /// Which events are told.
    pub log_codes: LogCodes,
    /// Whom to tell.
    pub voice: Rc<dyn Voice>,
    /// Reads the settings again, with the same command line.
    pub reread: Box<dyn Fn() -> Reread>,
    /// Version of the program.
    pub version: &'static str,
    /// What time it is.
    pub clock: fn() -> SystemTime,
    /// Random bits that no other run has.
    pub seed: u64,
    /// The environment: `PATH`, where a Redis is looked for, and what a service manager says.
    pub environment: BTreeMap<OsString, OsString>,
}

/// What a run can be told from outside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signal {
    /// Stop, letting open exchanges finish; the second time, soon.
    Stop,
    /// Read the file and the certificate again.
    Reload,
}

/// News that may wait for the master; a worker that has more to say waits.
const NEWS: usize = 1024;

/// The number under which the master writes to the log; workers' numbers begin at 1.
const OURS: u64 = 0;

/// How long the last lines of the master may take to the bus.
pub(super) const LAST_LINES: Duration = Duration::from_secs(1);

/// Questions of the control socket that may wait.
const ASKS: usize = 64;

/// Runs until told to stop.
///
/// Shape: `next_signal` is asked again and again, and must lose nothing when it is dropped in between.
/// Errors: [`RunError`] when something is taken, refused or broken at the start; nothing was served then.
pub async fn run(start: Start, next_signal: impl AsyncFnMut() -> Signal) -> Result<(), RunError> {
    let start = Rc::new(start);
    start.places.create().map_err(RunError::Places)?;
    let _lock: File = sc_config::lock(&start.places).map_err(RunError::Lock)?;
    let settings = start.settings.clone();
    load::check(&settings).map_err(RunError::Mistakes)?;
    load::try_sites(&settings).map_err(RunError::Site)?;
    let certificate = certificate::read(&settings, &start.places)?;

    let instance = bus_instance(&start, &settings);
    let ring = Ring::new(instance.worker(OURS), Rc::new(NoTally));
    let log = Rc::new(Log::new(
        start.voice.clone(),
        ring.clone(),
        start.log_codes.clone(),
        start.clock,
    ));
    let mut service = Service::from_environment(|name| start.environment.get(OsStr::new(name)).cloned())?;
    let lanes = lanes(&settings);
    let wanted = wanted(&settings);
    // Workers of a master that was killed may still serve at these addresses; the lock says that they have none now.
    let sockets = Sockets::open(&wanted, lanes, service.inherited()?, true).map_err(RunError::Sockets)?;
    // After what was passed in has been taken, and before the first child.
    sc_net::child::keep_descriptors();
    for note in sockets.notes() {
        log.event(&Event::NotHeld {
            what: sc_server::chain(note),
        });
    }
    let control = bind("the control socket", Place::Unix(start.places.control.clone()))?;
    let metrics = settings
        .metrics
        .as_ref()
        .map(|address| bind("the metrics", place_of(address)))
        .transpose()?;

    let told = log.clone();
    let tasks = Rc::new(Tasks::new(move |panicked| {
        told.event(&Event::Internal {
            place: panicked.task,
            fault: format!("panic: {}", panicked.message),
        });
    }));
    let (news, heard) = mpsc::channel(NEWS);
    let (asks, asked) = mpsc::channel(ASKS);
    let own_redis = Rc::new(OwnRedis::default());
    let (place, own) = bus(&start, &settings, (&log, &own_redis), &tasks);
    let document = Document {
        https_port: sockets.inet(Role::Https).first().map_or(443, |address| address.port()),
        addresses: [Role::Https, Role::Socks, Role::Redirect]
            .iter()
            .flat_map(|role| sockets.inet(*role))
            .collect(),
        instance: instance.clone(),
        marker: format!("{:016x}", start.seed),
        bus: place,
        version: start.version.to_owned(),
        settings,
    };
    let reader = reader(&start, &document, (&log, &own_redis), &tasks);
    let shipper = shipper(&start, &document, ring, (&reader, &tasks));
    let now = (start.clock)();
    let root = Root::random(now).map_err(|error| system("get random bytes", std::io::Error::other(error)))?;
    let tickets = Rc::new(Tickets::new(root, instance.name().as_bytes(), now));
    let adopted = Rc::new(Notify::new());
    let credentials = certificate.credentials.clone();
    let shared_tickets = Rc::new(SharedTickets::new(
        tickets.clone(),
        credentials,
        start.clock,
        adopted.clone(),
    ));
    let shown = Rc::new(RefCell::new(Snapshot::default()));
    let roles = roles(&start, &document, &log, &tasks, (shared_tickets.clone(), shown.clone()));
    let master = Master {
        supervisor: Supervisor::new(rules(&document.settings, lanes), start.seed),
        began: Instant::now(),
        watch: watch(&start, &certificate, &log),
        told: RefCell::new(instance_file(&start, &document.settings, &sockets, &certificate)),
        documents: super::live::Documents::of(&document, &certificate)?,
        document,
        certificate,
        tickets,
        sockets,
        service,
        is_manager_deaf: Cell::new(false),
        own,
        own_redis,
        reader,
        shipper,
        roles,
        shared_tickets,
        adopted,
        shown,
        log: log.clone(),
        tasks: tasks.clone(),
        news,
        start: start.clone(),
        lives: super::live::Lives::default(),
        reloads: super::reload::Reloads::default(),
    };
    control::serve(&tasks, control, metrics, asks, log);
    master.tell_others().map_err(RunError::Instance)?;
    let done = master.live(next_signal, heard, asked).await;
    // The last words were written by whoever lived; what is left here is nobody's.
    let _ = std::fs::remove_file(&start.places.control);
    done
}

/// One for each core, unless somebody has said how many.
fn lanes(settings: &Settings) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    settings
        .workers
        .map_or_else(cores, |workers| usize::from(workers.get()))
}

fn rules(settings: &Settings, lanes: usize) -> Rules {
    let mut rules = Rules::new(lanes);
    rules.life = settings.worker_life;
    rules.standby = settings
        .standby
        .unwrap_or_else(|| super::live::Memory::now().allows_standby(lanes));
    rules.drain_time = settings.drain_time;
    rules.stop_time = settings.stop_time;
    rules
}

fn wanted(settings: &Settings) -> Vec<Wanted> {
    let all = |role, addresses: &[Address]| {
        let wanted = |address: &Address| Wanted {
            role,
            address: address.clone(),
        };
        addresses.iter().map(wanted).collect::<Vec<_>>()
    };
    let socks = settings.socks5.as_slice();
    let socks = if settings.enable_socks5 { socks } else { &[] };
    [
        all(Role::Https, &settings.listen),
        all(Role::Redirect, &settings.redirect),
        all(Role::Socks, socks),
    ]
    .concat()
}

fn bind(what: &'static str, place: Place) -> Result<Listener, RunError> {
    listen::bind(&place).map_err(|source| RunError::Bind {
        what,
        address: place.to_string(),
        source,
    })
}

/// `metrics` takes a loopback address or a unix socket; sc-config has refused the rest.
fn place_of(address: &Address) -> Place {
    match address {
        Address::Unix(path) => Place::Unix(path.clone()),
        other => Place::Tcp((std::net::Ipv4Addr::LOCALHOST, other.port().unwrap_or(0)).into()),
    }
}

pub(super) fn system(doing: &'static str, source: std::io::Error) -> RunError {
    RunError::System { doing, source }
}

fn bus_instance(start: &Start, settings: &Settings) -> bus::Instance {
    let name = settings.instance.clone().unwrap_or_else(|| start.places.id.clone());
    let host = rustix::system::uname();
    bus::Instance::new(name, &host.nodename().to_string_lossy(), start.seed)
}

/// Which Redis there is, and the own one, started.
fn bus(
    start: &Start,
    settings: &Settings,
    (log, seen): (&Rc<Log>, &Rc<OwnRedis>),
    tasks: &Tasks,
) -> (bus::Place, Option<Own>) {
    match &settings.redis {
        Redis::Off => (bus::Place::Off, None),
        Redis::Url(url) => (bus::Place::Url(url.clone()), None),
        Redis::Auto => match find_server(
            start
                .environment
                .get(OsStr::new("PATH"))
                .map_or(OsStr::new(""), OsString::as_os_str),
        ) {
            None => (bus::Place::Off, None),
            Some(program) => {
                let (told, seen) = (log.clone(), seen.clone());
                let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let own = Own::start(
                    &tasks.spawner(),
                    Owning {
                        program,
                        socket: start.places.runtime.join("redis.sock"),
                        told: Rc::new(move |health| super::notes::redis(&told, &name, &seen, health)),
                        seed: start.seed,
                    },
                );
                (own.place(), Some(own))
            }
        },
    }
}

fn reader(start: &Start, document: &Document, (log, own): (&Rc<Log>, &Rc<OwnRedis>), tasks: &Tasks) -> Reader {
    let target = Target::of(&document.bus).unwrap_or_else(|error| {
        log.event(&Event::BusDown {
            redis: "Redis".to_owned(),
            why: sc_server::chain(&error),
        });
        None
    });
    let shown = target.as_ref().map_or_else(String::new, ToString::to_string);
    let is_own = matches!(document.bus, bus::Place::Own { .. });
    let told = log.clone();
    let own = is_own.then(|| own.clone());
    Reader::start(
        &tasks.spawner(),
        Reading {
            target,
            instance: document.instance.clone(),
            is_own,
            told: Rc::new(move |heard| super::notes::bus(&told, &shown, own.as_deref(), heard)),
            seed: start.seed,
        },
    )
}

/// Takes the master's own lines to the bus. What that cannot have was told all the same.
fn shipper(start: &Start, document: &Document, ring: Ring, (reader, tasks): (&Reader, &Tasks)) -> Shipper {
    let reader = reader.clone();
    let beat = || Beat {
        lane: 0,
        generation: 0,
        pid: std::process::id(),
        state: "master",
        connections: 0,
        exchanges: 0,
    };
    Shipper::start(
        &tasks.spawner(),
        Shipping {
            target: Target::of(&document.bus).ok().flatten(),
            instance: document.instance.clone(),
            ring,
            fallback: Rc::new(move |lines| {
                reader.fallback(lines);
                Box::pin(std::future::ready(Ok(())))
            }),
            beat: Rc::new(beat),
            told: Rc::new(|_| {}),
            seed: start.seed,
        },
    )
}

/// Says to the other machines of the instance that this one lives, and shares ticket keys with them.
fn roles(
    start: &Start,
    document: &Document,
    log: &Rc<Log>,
    tasks: &Tasks,
    (tickets, shown): (Rc<SharedTickets>, Rc<RefCell<Snapshot>>),
) -> Option<Roles> {
    let target = Target::of(&document.bus).ok().flatten()?;
    let root: Option<Rc<dyn bus::SharedRoot>> = match document.bus {
        bus::Place::Url(_) => Some(tickets),
        bus::Place::Own { .. } | bus::Place::Off => None,
    };
    let told = log.clone();
    Some(Roles::start(
        &tasks.spawner(),
        Playing {
            target,
            instance: document.instance.clone(),
            snapshot: Rc::new(move || shown.borrow().clone()),
            root,
            told: Rc::new(move |what| super::notes::roles(&told, &what)),
            seed: start.seed,
        },
    ))
}

/// Sees changes of the file and the certificate; without it they are seen when a reload is asked for.
pub(super) fn watch(start: &Start, certificate: &Certificate, log: &Log) -> Option<Watch> {
    let mut files: Vec<PathBuf> = start.found.watched().into_iter().collect();
    files.extend([certificate.chain.clone(), certificate.key.clone()]);
    match Watch::on(files) {
        Ok(watch) => Some(watch),
        Err(error) => {
            log.event(&Event::WatchFailed {
                error: error.to_string(),
            });
            None
        }
    }
}

fn instance_file(start: &Start, settings: &Settings, sockets: &Sockets, certificate: &Certificate) -> Instance {
    let (pid, pid_started) = Instance::this_process();
    let since = (start.clock)()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Instance {
        pid,
        pid_started,
        mode: "internet".to_owned(),
        version: start.version.to_owned(),
        folder: start.places.folder.clone(),
        config: start.found.path.clone(),
        https: sockets.addresses(Role::Https),
        socks: sockets.addresses(Role::Socks).into_iter().next(),
        ca_pem: certificate.chain.clone(),
        ca_spki: String::new(),
        control: start.places.control.clone(),
        names: words::names(settings),
        started_unix: since.as_secs(),
    }
}
