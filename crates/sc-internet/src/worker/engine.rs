//! The engine of a worker, put together from what the master gave it: the same engine that devlove runs.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sc_config::Settings;
use sc_net::channel::Channel;
use sc_net::counters::Counters;
use sc_net::listen::Listener;
use sc_net::tasks::Tasks;
use sc_server::log_codes::LogCodes;
use sc_server::metrics::Metric;
use sc_server::{Bounds, Event, Journal, Kind, Policy, Server, chain};
use sc_site::{Disclosure, EndpointStanding, Environment, Sites, Told, UpstreamEvent};
use sc_tls::tickets::{Root, Tickets};
use sc_tls::{Credentials, One};
use tokio::sync::watch;
use tokio::time::Instant;

use super::diary::{Cells, Diary};
use super::{HEARTBEAT, ORPHAN_TIME, Start};
use crate::bus::{Beat, Fallback, Line, Ring, Shipper, Shipping, Target};
use crate::messages::{Document, MOST_OUTCASTS, Outcast, lanes};
use crate::network::PublicNetwork;

/// A worker with less would shed in ordinary times.
const LEAST_MEMORY: u64 = 64 << 20;

/// What the master gives a worker at its start.
pub(super) struct Parts {
    pub(super) worker: u64,
    pub(super) lane: usize,
    pub(super) generation: u64,
    pub(super) document: Document,
    pub(super) credentials: Credentials,
    pub(super) tickets: Root,
    pub(super) counters: Counters,
}

/// A worker's engine.
pub(super) struct Engine {
    server: Server,
    clock: fn() -> SystemTime,
    certificate: Arc<One>,
    tickets: Arc<Tickets>,
    diary: Rc<Diary>,
    shipper: Shipper,
    /// Owns connections to applications, and what ships log lines; they end with the worker.
    tasks: Rc<Tasks>,
    counters: Rc<Counters>,
    document: RefCell<Document>,
    state: Rc<Cell<&'static str>>,
    applications: Rc<Applications>,
    /// Is told what happens with applications.
    told: Told,
}

/// Whether something is new about how applications stand.
#[derive(Default)]
struct Applications {
    has_news: Cell<bool>,
}

impl Applications {
    /// Listens in on what is told.
    fn told(self: &Rc<Self>, further: Told) -> Told {
        let applications = self.clone();
        Rc::new(move |event| {
            if matches!(event, UpstreamEvent::Out { .. } | UpstreamEvent::Back { .. }) {
                applications.has_news.set(true);
            }
            further(event);
        })
    }
}

impl Engine {
    /// Puts it together; it accepts nothing yet.
    ///
    /// Errors: why this configuration cannot be served, with all causes.
    pub(super) fn new(start: &Start, channel: Rc<Channel>, parts: Parts) -> Result<Self, String> {
        let Parts {
            worker,
            lane,
            generation,
            document,
            credentials,
            tickets,
            counters,
        } = parts;
        let seed = seed()?;
        let counters = Rc::new(counters);
        let cells = Rc::new(Cells(counters.clone()));
        let ring = Ring::new(document.instance.worker(worker), cells.clone());
        let diary = Rc::new(Diary::new(ring.clone(), codes(&document)?, start.clock, worker));
        let tasks = tasks(&diary);

        let now = (start.clock)();
        let certificate = One::new(credentials);
        let tickets = Arc::new(Tickets::new(tickets, document.instance.name().as_bytes(), now));
        let tls = sc_tls::production_config(certificate.clone(), tickets.clone()).map_err(|error| chain(&error))?;
        let applications = Rc::new(Applications::default());
        let told = applications.told(sc_server::upstreams::told(diary.clone(), cells.clone()));
        let server = Server::new(
            policy(&document, start.clock, seed, cells),
            diary.clone(),
            network(&document),
            sites(&document, &tasks, &told)?,
            tls,
        );

        let state = Rc::new(Cell::new("warm"));
        let shipper = Shipper::start(
            &tasks.spawner(),
            Shipping {
                target: Target::of(&document.bus).map_err(|error| chain(&error))?,
                instance: document.instance.clone(),
                ring,
                fallback: to_master(channel, start.last_resort.clone()),
                beat: beat(&server, state.clone(), lane, generation),
                // The master says for all when the bus comes and goes.
                told: Rc::new(|_| {}),
                seed,
            },
        );
        let document = RefCell::new(document);
        let clock = start.clock;
        Ok(Engine {
            server,
            clock,
            certificate,
            tickets,
            diary,
            shipper,
            tasks,
            counters,
            document,
            state,
            applications,
            told,
        })
    }

    /// Has one request answered through its own stack, in memory.
    ///
    /// Errors: what is not as it should be.
    pub(super) async fn test_itself(&self) -> Result<(), String> {
        let names = sc_compile::public_names(&self.document.borrow().settings);
        let name = names
            .first()
            .map(|name| name.replacen('*', "self-test", 1))
            .unwrap_or_default();
        let tested = self.server.self_test(&name).await;
        tested.map_err(|error| format!("the self-test failed: {}", chain(&error)))
    }

    /// Accepts on a socket of the lane.
    pub(super) fn listen(&self, listener: Listener, kind: Kind) {
        self.state.set("active");
        self.server.listen(listener, kind);
    }

    /// Serves by other settings from now on. What belongs to a port stays until the next start of the master.
    ///
    /// Errors: why they cannot be served; the former ones stay.
    pub(super) fn configure(&self, document: Document) -> Result<(), String> {
        let sites = sites(&document, &self.tasks, &self.told)?;
        let codes = codes(&document)?;
        self.server.swap_sites(sites);
        // Nothing is known of the new ones yet.
        self.applications.has_news.set(true);
        self.server.swap_network(network(&document));
        self.server.swap_bounds(bounds(&document.settings));
        self.diary.set_codes(codes);
        *self.document.borrow_mut() = document;
        Ok(())
    }

    /// Shows another certificate from now on.
    pub(super) fn certify(&self, credentials: Credentials) {
        self.certificate.swap(credentials);
    }

    /// Makes session tickets from another root from now on, and opens the former ones for as long as they are good.
    pub(super) fn adopt(&self, root: Root) {
        self.tickets.adopt(root, (self.clock)());
    }

    /// Shows that the loop turns, and moves the ticket keys on.
    pub(super) fn beat(&self) {
        self.counters.add(HEARTBEAT, 1);
        self.tickets.advance((self.clock)());
    }

    /// The addresses of applications that are left out, when that has changed since it was asked last.
    pub(super) fn news_of_applications(&self) -> Option<Vec<Outcast>> {
        self.applications
            .has_news
            .take()
            .then(|| outcasts(self.server.sites().endpoints()))
    }

    /// What was told has not gone out.
    pub(super) fn tell_of_applications_again(&self) {
        self.applications.has_news.set(true);
    }

    pub(super) fn drain_time(&self) -> Duration {
        self.document.borrow().settings.drain_time
    }

    /// Accepts nothing more.
    pub(super) fn drain(&self) {
        self.state.set("draining");
        self.server.drain();
    }

    pub(super) fn hurry(&self) {
        self.server.hurry();
    }

    /// Says that the master is gone.
    pub(super) fn told_alone(&self) {
        self.diary.event(Event::Alone {
            serves_s: ORPHAN_TIME.as_secs(),
        });
    }

    /// Says that something the master sent did not arrive.
    pub(super) fn told_incomplete(&self, error: &std::io::Error) {
        self.diary.event(Event::Internal {
            place: "channel",
            fault: error.to_string(),
        });
    }

    /// Ends when everything that was begun has ended, or at the deadline; how much had to be cut.
    pub(super) async fn drained(&self, mut deadline: watch::Receiver<Option<Instant>>) -> u64 {
        loop {
            let until = *deadline.borrow_and_update();
            let Some(until) = until else {
                if deadline.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            tokio::select! {
                forced = self.server.drained(left) => return forced,
                Ok(()) = deadline.changed() => {}
            }
        }
    }

    /// Lets the last log lines leave.
    pub(super) async fn last_lines(&self, within: Duration) {
        self.shipper.flush(within).await;
    }
}

fn seed() -> Result<u64, String> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| format!("the system gives no random bytes: {error}"))?;
    Ok(u64::from_ne_bytes(bytes))
}

fn codes(document: &Document) -> Result<LogCodes, String> {
    let text = document.settings.log_codes.as_deref();
    text.map_or_else(|| Ok(LogCodes::default()), LogCodes::parse)
        .map_err(|error| error.to_string())
}

fn tasks(diary: &Rc<Diary>) -> Rc<Tasks> {
    let told = diary.clone();
    Rc::new(Tasks::new(move |panicked| told.event(panicked.into())))
}

/// The public sites as the settings say.
fn sites(document: &Document, tasks: &Rc<Tasks>, told: &Told) -> Result<Sites, String> {
    let tasks = tasks.clone();
    let environment = Environment {
        disclosure: Disclosure::Public,
        marker: document.marker.clone(),
        spawn: Rc::new(move |name, task| tasks.spawn(name, task)),
        told: told.clone(),
    };
    Sites::compile(sc_compile::sites(&document.settings), environment).map_err(|error| chain(&error))
}

/// Those that are left out, as the master is told of them.
fn outcasts(all: Vec<EndpointStanding>) -> Vec<Outcast> {
    let is_out = |endpoint: &EndpointStanding| matches!(endpoint.state, "out" | "trial" | "unreachable");
    let outcast = |endpoint: EndpointStanding| Outcast {
        site: endpoint.site.to_string(),
        address: endpoint.address.to_string(),
    };
    all.into_iter()
        .filter(is_out)
        .take(MOST_OUTCASTS)
        .map(outcast)
        .collect()
}

fn network(document: &Document) -> Rc<PublicNetwork> {
    let addresses: &[SocketAddr] = &document.addresses;
    Rc::new(PublicNetwork::new(&document.settings, addresses))
}

/// What no client gets more of. Where the file names no budget of memory, half of the machine's is for the workers.
fn bounds(settings: &Settings) -> Bounds {
    let mut bounds = sc_compile::bounds(settings, &[]);
    let lanes = lanes(settings) as u64;
    bounds.memory = bounds
        .memory
        .or_else(|| sc_net::memory::machine_bytes().map(|bytes| (bytes / 2 / lanes).max(LEAST_MEMORY)));
    bounds
}

fn policy(document: &Document, clock: fn() -> SystemTime, seed: u64, meters: Rc<Cells>) -> Policy {
    let settings = &document.settings;
    let mut policy = Policy::new(clock);
    policy.bounds = bounds(settings);
    policy.auth = sc_compile::auth(settings);
    policy.allowed_clients = sc_compile::networks(&settings.socks_allow);
    policy.https_port = document.https_port;
    policy.drain = policy.drain.within(settings.drain_time);
    policy.seed = seed;
    policy.meters = meters;
    policy
}

/// The way of log lines while the bus has none of them: to the master, and to the last resort when that is gone too.
fn to_master(channel: Rc<Channel>, last_resort: Rc<dyn Fn(&str)>) -> Fallback {
    Rc::new(move |lines: Vec<Line>| {
        let (channel, last_resort) = (channel.clone(), last_resort.clone());
        Box::pin(async move {
            if channel.send(&Line::message(&lines), &[]).await.is_err() {
                lines.iter().for_each(|line| last_resort(&line.json));
            }
            Ok(())
        })
    })
}

fn beat(server: &Server, state: Rc<Cell<&'static str>>, lane: usize, generation: u64) -> Rc<dyn Fn() -> Beat> {
    let server = server.clone();
    Rc::new(move || {
        let open = server.open();
        Beat {
            lane,
            generation,
            pid: std::process::id(),
            state: state.get(),
            connections: open.connections,
            exchanges: open.exchanges,
        }
    })
}

/// Everything that is counted is a cell of its own.
const _: () = assert!(HEARTBEAT >= Metric::COUNT);
