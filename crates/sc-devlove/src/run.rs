//! A run of devlove, from settings to the last word. Reads like the story it is: prepare, bind, serve, wait, stop.

use std::cell::RefCell;
use std::fs::File;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sc_compile::Names;
use sc_config::{Found, Instance, Places, Settings};
use sc_net::folder_watch::{self, Watch};
use sc_net::listen::Listener;
use sc_net::tasks::Tasks;
use sc_server::log_codes::LogCodes;
use sc_server::{Bounds, Event, Journal, NoMeters, Policy, Server, chain};
use sc_site::{Disclosure, Environment, Sites};
use sc_tls::{Ca, Created, Minter, Uncovered};
use tokio::sync::{mpsc, oneshot};

use crate::bind;
use crate::control::{Control, Verdict};
use crate::diary::Diary;
use crate::error::RunError;
use crate::little_network::LittleNetwork;
use crate::start_page::StartPage;
use crate::voice::Voice;
use crate::words;

/// Settings that were read again, or the mistakes, rendered.
pub type Reread = Result<Settings, Vec<String>>;

/// What a run begins with.
pub struct Start {
    /// What is to be served; the command line is laid over the file already.
    pub settings: Settings,
    /// Where the file is, or would be.
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
    /// Random text that no other instance has; marks requests that were here before.
    pub marker: String,
}

/// What a run can be told from outside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signal {
    /// Stop, letting open exchanges finish.
    Stop,
    /// Read the file again.
    Reload,
}

/// How long open exchanges may take to finish at the end: a person waits at the keyboard.
const STOP_TIME: Duration = Duration::from_secs(1);

/// How often the age of the CA is looked at.
const CA_CHECK: Duration = Duration::from_secs(6 * 3600);

/// Runs until told to stop.
///
/// Shape: `next_signal` is asked again and again, and must lose nothing when it is dropped in between.
/// Errors: [`RunError`] when something is taken, refused or broken at the start; nothing was served then.
pub async fn run(start: Start, mut next_signal: impl AsyncFnMut() -> Signal) -> Result<(), RunError> {
    start.places.create().map_err(RunError::Places)?;
    let _lock: File = sc_config::lock(&start.places).map_err(RunError::Lock)?;
    sc_compile::check_proxy(&start.settings, &start.settings.forward).map_err(RunError::OpenProxy)?;
    let diary = Rc::new(Diary::new(start.voice.clone(), start.log_codes.clone(), start.clock));
    let ca = open_ca(&start, &diary)?;
    let bound = bind::all(&start.settings)?;

    let names = Names::of(&start.settings);
    let minter = Arc::new(Minter::new(ca.clone(), covers(&names), Uncovered::Fallback).map_err(RunError::Mint)?);
    let tls = sc_tls::server_config(minter.clone(), sc_tls::H2_AND_HTTP11).map_err(RunError::Tls)?;
    let page = StartPage {
        proxy: bound.proxy_text().unwrap_or_default(),
        project: words::project(&start.places.folder),
    };
    let network = Rc::new(LittleNetwork::new(names, bound.guard(&start.settings), page));
    let side_tasks = side_tasks(&diary);
    let sites = compile_sites(&start, &start.settings, &side_tasks, &diary)?;
    let server = Server::new(policy(&start), diary.clone(), network.clone(), sites, tls);

    let settings = Rc::new(RefCell::new(start.settings.clone()));
    let (reload, mut asked_to_reload) = mpsc::channel(4);
    let control = bind::control(&start.places)?;
    let instance = instance(&start, &bound, &ca);
    let guard_addresses = bound.addresses();
    let addresses = words::Addresses::of(&bound);
    instance.write(&start.places.scratch).map_err(RunError::Instance)?;
    let instance = Rc::new(RefCell::new(instance));
    let ca = Rc::new(RefCell::new(ca));
    for (listener, kind) in bound.into_listeners() {
        server.listen(listener, kind);
    }
    serve_control(
        &server,
        control,
        Control {
            instance: instance.clone(),
            ca: ca.clone(),
            settings: settings.clone(),
            network: network.clone(),
            diary: diary.clone(),
            server: server.clone(),
            reload,
        },
    );
    let waiting = words::probe(&start.settings).await;
    start.voice.ready(&words::ready(&start, &addresses, &waiting));

    let live = Live {
        start: &start,
        settings,
        network: network.clone(),
        minter,
        server: server.clone(),
        diary,
        side_tasks,
        guard_addresses,
        instance: instance.clone(),
        ca,
    };
    live.until_stopped(&mut next_signal, &mut asked_to_reload).await;

    // Whoever asks for a reload from here on is told that it is too late.
    drop(asked_to_reload);
    server.stop(STOP_TIME).await;
    let _ = instance.borrow().remove(&start.places.scratch);
    let _ = std::fs::remove_file(&start.places.control);
    start.voice.farewell(&network.ledger.borrow().words());
    Ok(())
}

/// A run that serves.
struct Live<'a> {
    start: &'a Start,
    settings: Rc<RefCell<Settings>>,
    network: Rc<LittleNetwork>,
    minter: Arc<Minter>,
    server: Server,
    diary: Rc<Diary>,
    side_tasks: Rc<Tasks>,
    guard_addresses: Vec<std::net::SocketAddr>,
    /// What other programs are told of this run.
    instance: Rc<RefCell<Instance>>,
    ca: Rc<RefCell<Arc<Ca>>>,
}

impl Live<'_> {
    async fn until_stopped(
        &self,
        next_signal: &mut impl AsyncFnMut() -> Signal,
        asked_to_reload: &mut mpsc::Receiver<oneshot::Sender<Verdict>>,
    ) {
        let mut watch = self.watch();
        // What was saved after the first reading and before the watch began is told by nobody.
        let _ = self.reload();
        let mut ca_check = tokio::time::interval(CA_CHECK);
        loop {
            tokio::select! {
                signal = next_signal() => match signal {
                    Signal::Reload => { let _ = self.reload(); }
                    Signal::Stop => return,
                },
                Some(answer) = asked_to_reload.recv() => { let _ = answer.send(self.reload()); }
                () = folder_watch::changed(&mut watch) => { let _ = self.reload(); }
                _ = ca_check.tick() => self.renew_ca(),
            }
        }
    }

    fn watch(&self) -> Option<Watch> {
        match Watch::on(self.start.found.watched()) {
            Ok(watch) => Some(watch),
            Err(error) => {
                self.diary.event(Event::WatchFailed {
                    error: error.to_string(),
                });
                None
            }
        }
    }

    /// Reads the file again: a good one applies at once, a bad one changes nothing.
    fn reload(&self) -> Verdict {
        let verdict = (self.start.reread)().and_then(|settings| self.apply(settings));
        match &verdict {
            Ok(changes) if changes.is_empty() => {}
            Ok(changes) => self.diary.event(Event::Reloaded {
                changes: changes.clone(),
            }),
            Err(mistakes) => self.diary.event(Event::ReloadRefused {
                mistakes: mistakes.clone(),
            }),
        }
        verdict
    }

    fn apply(&self, settings: Settings) -> Verdict {
        let changes = sc_config::changes(&self.settings.borrow(), &settings);
        if changes.is_empty() {
            return Ok(changes);
        }
        let mistake = |error: RunError| vec![format!("error: {}\n", chain(&error))];
        sc_compile::check_proxy(&self.start.settings, &settings.forward)
            .map_err(|open| mistake(RunError::OpenProxy(open)))?;
        let sites = compile_sites(self.start, &settings, &self.side_tasks, &self.diary).map_err(mistake)?;
        for setting in words::needs_restart(&self.start.settings, &settings) {
            self.diary.event(Event::RestartNeeded {
                setting: setting.to_owned(),
            });
        }
        let names = Names::of(&settings);
        self.minter.set_covers(covers(&names));
        self.network
            .swap(names, sc_compile::guard(&settings, &self.guard_addresses));
        self.server.swap_sites(sites);
        self.server.swap_bounds(bounds(&settings));
        self.tell_others(|instance| instance.names = names_of(&settings));
        *self.settings.borrow_mut() = settings;
        Ok(changes)
    }

    /// Changes what other programs are told of this run.
    fn tell_others(&self, change: impl FnOnce(&mut Instance)) {
        let mut instance = self.instance.borrow_mut();
        change(&mut instance);
        if let Err(error) = instance.write(&self.start.places.scratch) {
            self.diary.event(Event::Internal {
                place: "instance",
                fault: chain(&error),
            });
        }
    }

    /// Renews the CA when its time has come, for a run that lasts for weeks.
    fn renew_ca(&self) {
        match open_ca(self.start, &self.diary) {
            Ok(ca) => {
                self.tell_others(|instance| instance.ca_spki = ca.spki_sha256_base64().to_owned());
                self.minter.set_ca(ca.clone());
                *self.ca.borrow_mut() = ca;
            }
            Err(error) => self.diary.event(Event::Internal {
                place: "ca",
                fault: chain(&error),
            }),
        }
    }
}

fn open_ca(start: &Start, diary: &Diary) -> Result<Arc<Ca>, RunError> {
    let name = words::project(&start.places.folder);
    let (ca, created) = Ca::open_or_create(&start.places.ca_dir, &name, (start.clock)()).map_err(RunError::Ca)?;
    let how = match created {
        Created::New => Some("new"),
        Created::Renewed => Some("renewed"),
        Created::Existing => None,
    };
    if let Some(how) = how {
        diary.event(Event::AuthorityMade {
            file: ca.pem_path().display().to_string(),
            how,
        });
    }
    Ok(Arc::new(ca))
}

fn policy(start: &Start) -> Policy {
    let settings = &start.settings;
    let mut policy = Policy::new(start.clock);
    policy.bounds = bounds(settings);
    policy.auth = sc_compile::auth(settings);
    policy.allowed_clients = sc_compile::networks(&settings.socks_allow);
    policy.shape = sc_compile::shape(settings);
    policy
}

fn bounds(settings: &Settings) -> Bounds {
    let mut bounds = sc_compile::bounds(settings, &sc_compile::this_machine());
    bounds.memory = bounds
        .memory
        .or_else(|| sc_net::memory::machine_bytes().map(|bytes| bytes / 2));
    bounds
}

fn covers(names: &Names) -> impl Fn(&str) -> bool + Send + Sync + 'static {
    let sites = names.sites.clone();
    move |name: &str| sites.iter().any(|site| site.matches(name))
}

fn side_tasks(diary: &Rc<Diary>) -> Rc<Tasks> {
    let told = diary.clone();
    Rc::new(Tasks::new(move |panicked| told.event(panicked.into())))
}

fn compile_sites(start: &Start, settings: &Settings, tasks: &Rc<Tasks>, diary: &Rc<Diary>) -> Result<Sites, RunError> {
    let tasks = tasks.clone();
    let environment = Environment {
        disclosure: Disclosure::Developer,
        marker: start.marker.clone(),
        spawn: Rc::new(move |name, task| tasks.spawn(name, task)),
        told: sc_server::upstreams::told(diary.clone(), Rc::new(NoMeters)),
    };
    Sites::compile(sc_compile::sites(settings), environment).map_err(RunError::Site)
}

fn instance(start: &Start, bound: &bind::Bound, ca: &Ca) -> Instance {
    let (pid, pid_started) = Instance::this_process();
    let since = (start.clock)()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Instance {
        pid,
        pid_started,
        mode: "devlove".to_owned(),
        version: start.version.to_owned(),
        folder: start.places.folder.clone(),
        config: start.found.path.clone(),
        https: bound.https_texts(),
        socks: bound.proxy_text(),
        ca_pem: PathBuf::from(ca.pem_path()),
        ca_spki: ca.spki_sha256_base64().to_owned(),
        control: start.places.control.clone(),
        names: names_of(&start.settings),
        started_unix: since.as_secs(),
    }
}

fn names_of(settings: &Settings) -> Vec<String> {
    settings.domains.iter().map(|domain| domain.name.to_string()).collect()
}

fn serve_control(server: &Server, listener: Listener, control: Control) {
    let control = Rc::new(control);
    server.serve_control(
        listener,
        Rc::new(move |exchange| {
            let control = control.clone();
            Box::pin(async move { control.answer(&exchange).await })
        }),
    );
}
