//! A run of internet mode, from settings to the last word: prepare, open, live, stop.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::SystemTime;

use sc_config::{Address, Diagnostic, Found, Places, Settings};
use sc_net::folder_watch::Watch;
use sc_net::listen::{self, Listener, Place};
use sc_net::tasks::Tasks;
use sc_server::Event;
use sc_server::log_codes::LogCodes;
use sc_tls::tickets::{Root, Tickets};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::bus::{self, Bus, OURS, Opening};
use super::certificate::{self, Certificate};
use super::error::RunError;
use super::live::{Documents, Lives, Master};
use super::log::Log;
use super::machine::{self, Memory};
use super::reload::Reloads;
use super::tickets::SharedTickets;
use super::{control, load, words};
use crate::bus::{Instance, NoTally, Ring};
use crate::messages::{Document, lanes};
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
    load::check(&start.settings).map_err(RunError::Mistakes)?;
    load::try_sites(&start.settings).map_err(RunError::Site)?;
    let certificate = certificate::read(&start.settings, &start.places)?;

    let instance = bus::instance(&start, &start.settings);
    let ring = Ring::new(instance.worker(OURS), Rc::new(NoTally));
    let (voice, codes) = (start.voice.clone(), start.log_codes.clone());
    let log = Rc::new(Log::new(voice, ring.clone(), codes, start.clock));
    let tasks = Rc::new(tasks(&log));
    let (service, sockets) = sockets(&start, &log)?;
    let control = bind("the control socket", Place::Unix(start.places.control.clone()))?;
    let metrics = start.settings.metrics.as_ref().map(place_of);
    let metrics = metrics.map(|place| bind("the metrics", place)).transpose()?;

    let tickets = tickets(&start, &instance, &certificate)?;
    let bus = Bus::open(Opening {
        start: &start,
        instance: &instance,
        log: &log,
        ring,
        tickets: tickets.clone(),
        spawner: tasks.spawner(),
    });
    let document = document(&start, instance, &sockets, &bus);
    let (news, heard) = mpsc::channel(NEWS);
    let (asks, asked) = mpsc::channel(ASKS);
    let master = Master {
        supervisor: Supervisor::new(rules(&start.settings), start.seed),
        began: Instant::now(),
        watch: watch(&start, &certificate, &log),
        told: RefCell::new(instance_file(&start, &sockets, &certificate)),
        documents: Documents::of(&document, &certificate)?,
        document,
        certificate,
        tickets,
        sockets,
        service,
        is_manager_deaf: Cell::new(false),
        bus,
        log: log.clone(),
        tasks: tasks.clone(),
        news,
        start: start.clone(),
        lives: Lives::default(),
        reloads: Reloads::default(),
    };
    control::serve(&tasks, control, metrics, asks, log);
    master.tell_others().map_err(RunError::Instance)?;
    let done = master.live(next_signal, heard, asked).await;
    // The last words were written by whoever lived; what is left here is nobody's.
    let _ = std::fs::remove_file(&start.places.control);
    done
}

fn tasks(log: &Rc<Log>) -> Tasks {
    let log = log.clone();
    Tasks::new(move |panicked| log.event(&panicked.into()))
}

/// Opens every address, with what a service manager passed in or kept.
fn sockets(start: &Start, log: &Log) -> Result<(Service, Sockets), RunError> {
    let mut service = Service::from_environment(|name| start.environment.get(OsStr::new(name)).cloned())?;
    let wanted = wanted(&start.settings);
    machine::allow_descriptors();
    // Workers of a master that was killed may still serve at these addresses; the lock says that they have none now.
    let sockets = Sockets::open(&wanted, lanes(&start.settings), service.inherited()?, true);
    let sockets = sockets.map_err(RunError::Sockets)?;
    // After what was passed in has been taken, and before the first child.
    sc_net::child::keep_descriptors();
    for note in sockets.notes() {
        log.event(&Event::NotHeld {
            what: sc_server::chain(note),
        });
    }
    Ok((service, sockets))
}

fn tickets(start: &Start, instance: &Instance, certificate: &Certificate) -> Result<Rc<SharedTickets>, RunError> {
    let now = (start.clock)();
    let root = Root::random(now).map_err(|error| system("get random bytes", std::io::Error::other(error)))?;
    let tickets = Tickets::new(root, instance.name().as_bytes(), now);
    Ok(Rc::new(SharedTickets::new(
        tickets,
        certificate.credentials.clone(),
        start.clock,
    )))
}

/// What every worker is told of the settings.
fn document(start: &Start, instance: Instance, sockets: &Sockets, bus: &Bus) -> Document {
    let roles = [Role::Https, Role::Socks, Role::Redirect];
    Document {
        https_port: sockets.inet(Role::Https).first().map_or(443, |address| address.port()),
        addresses: roles.iter().flat_map(|role| sockets.inet(*role)).collect(),
        instance,
        marker: format!("{:016x}", start.seed),
        bus: bus.place.clone(),
        version: start.version.to_owned(),
        settings: start.settings.clone(),
    }
}

fn rules(settings: &Settings) -> Rules {
    let lanes = lanes(settings);
    let mut rules = Rules::new(lanes);
    rules.life = settings.worker_life;
    rules.standby = settings.standby.unwrap_or_else(|| Memory::now().allows_standby(lanes));
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

fn instance_file(start: &Start, sockets: &Sockets, certificate: &Certificate) -> sc_config::Instance {
    let (pid, pid_started) = sc_config::Instance::this_process();
    let since = (start.clock)()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    sc_config::Instance {
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
        names: words::names(&start.settings),
        started_unix: since.as_secs(),
    }
}
