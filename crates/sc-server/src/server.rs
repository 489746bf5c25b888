//! The running engine: what all listeners and connections share, how it starts and how it stops.
//!
//! A mode binds the sockets, gives them here with their kind, and swaps the sites when the configuration changes. The end
//! has steps: [`Server::drain`], when there is time [`Server::hurry`] later, and [`Server::drained`].

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sc_http::Drain;
use sc_net::listen::Listener;
use sc_net::relay::RelayLimits;
use sc_net::shape::{Shape, Shaper};
use sc_net::socks::Auth;
use sc_net::tasks::Tasks;
use sc_net::{ClientAddr, Connection, Gate, Network as Addresses, accept};
use sc_site::Sites;
use sc_tls::ServerConfig;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bounds::Bounds;
use crate::event::Event;
use crate::journal::Journal;
use crate::metrics::{Meters, Metric, NoMeters};
use crate::network::Network;
use crate::pressure::{Pressure, Wish};
use crate::self_test::{self, SelfTestError};
use crate::shares::Shares;
use crate::told::Told;
use crate::under_way::{Counts, Open};
use crate::{connection, control};

/// What a listener speaks, from its first byte.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// TLS, then HTTP.
    Tls,
    /// The little network's port: SOCKS, HTTP proxying, TLS by name, pages.
    Proxy,
    /// Plain HTTP, for nothing but the way to HTTPS: one answer, and the end of the connection within three seconds.
    Redirect,
}

impl Kind {
    /// The word in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Tls => "tls",
            Kind::Proxy => "proxy",
            Kind::Redirect => "redirect",
        }
    }
}

/// How much time what is open gets once the server drains. Within a spread each connection has a moment of its own, so
/// that clients do not come back all at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DrainPolicy {
    /// HTTP/1.1: idle connections end in the second half of this; requests until then are answered.
    pub idle_spread: Duration,
    /// HTTP/2: the first GOAWAY is sent within this, or as soon afterwards as the client opens no streams just then. When
    /// a third of the time to drain has passed, busy clients get it within as long again.
    pub goaway_spread: Duration,
    /// How long tunnels may go on.
    pub tunnel_time: Duration,
    /// They are ended within this afterwards.
    pub tunnel_spread: Duration,
}

impl Default for DrainPolicy {
    fn default() -> Self {
        DrainPolicy {
            idle_spread: Duration::from_secs(20),
            goaway_spread: Duration::from_secs(10),
            tunnel_time: Duration::from_secs(15 * 60),
            tunnel_spread: Duration::from_secs(60),
        }
    }
}

impl DrainPolicy {
    /// The same for a server that has so much time in all: whatever is ended has come to its end before.
    pub fn within(self, time: Duration) -> Self {
        let tunnel_spread = self.tunnel_spread.min(time / 4);
        let ending = ENDING_TIME.min(time / 4);
        DrainPolicy {
            idle_spread: self.idle_spread.min(time / 2),
            goaway_spread: self.goaway_spread.min(time / 4),
            tunnel_time: time.saturating_sub(tunnel_spread + ending),
            tunnel_spread,
        }
    }
}

/// What a tunnel may take to end once its time is up: the answer to a Close frame, and the last bytes.
const ENDING_TIME: Duration = Duration::from_secs(12);

/// Which part of the time to drain clients have that open one stream after the other.
const PATIENCE_WITH_BUSY: u32 = 3;

/// What holds for every connection.
pub struct Policy {
    /// What no client gets more of, to begin with.
    pub bounds: Bounds,
    /// Who may use the proxy port.
    pub auth: Auth,
    /// From where; empty means from anywhere that can reach the address.
    pub allowed_clients: Vec<Addresses>,
    /// Simulated network, applied to what is sent to clients.
    pub shape: Option<Shape>,
    /// How long dialling another machine may take.
    pub dial_time: Duration,
    /// How long a relayed connection may be silent.
    pub relay: RelayLimits,
    /// The port that clients find HTTPS at, for the redirect port.
    pub https_port: u16,
    /// How much time what is open gets at the end.
    pub drain: DrainPolicy,
    /// Where the delays of single connections come from; another one for each server.
    pub seed: u64,
    /// Where numbers are added up.
    pub meters: Rc<dyn Meters>,
    /// What time it is; read at the edge, passed in.
    pub clock: fn() -> SystemTime,
}

impl Policy {
    /// The documented defaults.
    pub fn new(clock: fn() -> SystemTime) -> Self {
        Policy {
            bounds: Bounds::default(),
            auth: Auth::None,
            allowed_clients: Vec::new(),
            shape: None,
            dial_time: Duration::from_secs(10),
            relay: RelayLimits::default(),
            https_port: 443,
            drain: DrainPolicy::default(),
            seed: 0,
            meters: Rc::new(NoMeters),
            clock,
        }
    }
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) policy: Policy,
    pub(crate) journal: Rc<dyn Journal>,
    network: RefCell<Rc<dyn Network>>,
    pub(crate) sites: RefCell<Rc<Sites>>,
    bounds: RefCell<Rc<Bounds>>,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) tasks: Tasks,
    pub(crate) counts: Counts,
    pub(crate) shaper: Option<Shaper>,
    begin: CancellationToken,
    hurry: CancellationToken,
    last_call: CancellationToken,
    serial: Cell<u64>,
    pub(crate) shares: Rc<Shares>,
    pressure: Pressure,
    told: Told,
}

impl Shared {
    pub(crate) fn event(&self, event: Event) {
        self.journal.event(event);
    }

    pub(crate) fn now(&self) -> SystemTime {
        (self.policy.clock)()
    }

    pub(crate) fn current_sites(&self) -> Rc<Sites> {
        self.sites.borrow().clone()
    }

    pub(crate) fn bounds(&self) -> Rc<Bounds> {
        self.bounds.borrow().clone()
    }

    pub(crate) fn network(&self) -> Rc<dyn Network> {
        self.network.borrow().clone()
    }

    pub(crate) fn count(&self, metric: Metric, by: u64) {
        self.policy.meters.add(metric, by);
    }

    /// Tells of a client that ran into a limit.
    pub(crate) fn limited(&self, limit: Metric, connection: u64, client: &ClientAddr) {
        self.count(limit, 1);
        if let Some(times) = self.told.reached(limit, Instant::now()) {
            let name = limit.described().labels.first().map_or("", |(_, name)| name);
            self.event(Event::Limited {
                connection,
                client: client.to_string(),
                limit: name,
                times,
            });
        }
    }

    /// Whether there is memory for it; told when there is not.
    pub(crate) fn admits(&self, wish: Wish, connection: u64, client: &ClientAddr) -> bool {
        let admits = self.pressure.admits(wish, self.bounds().memory);
        if !admits {
            self.limited(Metric::LimitMemory, connection, client);
        }
        admits
    }

    /// Tells of a client that may not use the proxy port.
    pub(crate) fn unauthorised(&self, event: Event) {
        self.count(Metric::Refused, 1);
        self.event(event);
    }

    /// The end of one connection, with delays that are its own.
    pub(crate) fn drain(&self, serial: u64) -> Drain {
        let DrainPolicy {
            idle_spread,
            goaway_spread,
            tunnel_time,
            tunnel_spread,
        } = self.policy.drain;
        let within = |spread: Duration, what: &str| {
            let dice = BuildHasherDefault::<DefaultHasher>::new().hash_one((self.policy.seed, serial, what));
            spread.mul_f64(dice as f64 / u64::MAX as f64)
        };
        Drain {
            begin: self.begin.clone(),
            hurry: self.hurry.clone(),
            idle_after: idle_spread / 2 + within(idle_spread / 2, "idle"),
            goaway_after: within(goaway_spread, "goaway"),
            last_call: self.last_call.clone(),
            tunnel_after: tunnel_time.saturating_add(within(tunnel_spread, "tunnel")),
        }
    }

    fn next_serial(&self) -> u64 {
        self.serial.set(self.serial.get() + 1);
        self.serial.get()
    }
}

/// The engine.
#[derive(Clone)]
pub struct Server(Rc<Shared>);

impl Server {
    /// Puts an engine together; it accepts nothing yet.
    pub fn new(
        policy: Policy,
        journal: Rc<dyn Journal>,
        network: Rc<dyn Network>,
        sites: Sites,
        tls: Arc<ServerConfig>,
    ) -> Self {
        let (told, meters) = (journal.clone(), policy.meters.clone());
        let tasks = Tasks::new(move |panicked| {
            meters.add(Metric::Panics, 1);
            told.event(panicked.into());
        });
        let shaper = policy.shape.map(|shape| Shaper::new(shape, tasks.spawner()));
        let bounds = Rc::new(policy.bounds.clone());
        Server(Rc::new(Shared {
            bounds: RefCell::new(bounds),
            policy,
            journal,
            network: RefCell::new(network),
            sites: RefCell::new(Rc::new(sites)),
            tls,
            tasks,
            counts: Counts::default(),
            shaper,
            begin: CancellationToken::new(),
            hurry: CancellationToken::new(),
            last_call: CancellationToken::new(),
            serial: Cell::new(0),
            shares: Rc::new(Shares::new()),
            pressure: Pressure::new(),
            told: Told::default(),
        }))
    }

    /// Begins to accept on a bound socket.
    pub fn listen(&self, listener: Listener, kind: Kind) {
        let shared = self.0.clone();
        shared.event(Event::Listening {
            listener: kind.as_str(),
            address: listener.local().to_string(),
        });
        let connections = self.0.clone();
        let on_connection = move |conn: Connection| {
            let shared = connections.clone();
            let serial = shared.next_serial();
            connections
                .tasks
                .spawn("connection", connection::serve(shared, kind, serial, conn));
        };
        self.0.tasks.spawn("accept", async move {
            let events = shared.clone();
            let on_event = move |event| events.event(accept_event(kind, &event));
            let gate = Gate::new(shared.bounds().connections);
            let ended = accept::run(listener, gate, shared.begin.clone(), on_event, on_connection).await;
            if let Err(error) = ended {
                shared.event(Event::ListenerFailed {
                    listener: kind.as_str(),
                    error: chain(&error),
                });
            }
        });
    }

    /// Serves plain HTTP on a bound socket with one handler: the control socket of a mode. It ends with the server.
    pub fn serve_control(&self, listener: Listener, handler: control::Handler) {
        let shared = self.0.clone();
        self.0.tasks.spawn("control", async move {
            let limits = shared.bounds().http.clone();
            let serving = control::serve(shared.tasks.spawner(), listener, limits, shared.begin.clone(), handler);
            if let Err(error) = serving.await {
                shared.event(Event::ListenerFailed {
                    listener: "control",
                    error: chain(&error),
                });
            }
        });
    }

    /// Replaces the sites; exchanges that were already being answered end with the old ones.
    pub fn swap_sites(&self, sites: Sites) {
        *self.0.sites.borrow_mut() = Rc::new(sites);
    }

    /// Replaces what no client gets more of; connections that are open keep theirs.
    pub fn swap_bounds(&self, bounds: Bounds) {
        *self.0.bounds.borrow_mut() = Rc::new(bounds);
    }

    /// The sites that are served now.
    pub fn sites(&self) -> Rc<Sites> {
        self.0.current_sites()
    }

    /// Replaces what is behind the proxy port; connections that were let through stay.
    pub fn swap_network(&self, network: Rc<dyn Network>) {
        *self.0.network.borrow_mut() = network;
    }

    /// Makes one request to itself, in memory: a TLS handshake with the listener's configuration for `name`, one of the
    /// configured names, and a request that is answered here and not by an application.
    ///
    /// Shape: leaves no record and is counted nowhere. Errors: [`SelfTestError`], with what failed.
    /// Cancel: changes nothing.
    pub async fn self_test(&self, name: &str) -> Result<(), SelfTestError> {
        self_test::run(&self.0, name).await
    }

    /// How much is under way.
    pub fn open(&self) -> Open {
        self.0.counts.open()
    }

    /// Begins to end: accepts nothing new, lets go of the listeners, and lets what is open come to its end as
    /// [`DrainPolicy`] says. Once begun, it cannot be taken back.
    pub fn drain(&self) {
        self.0.begin.cancel();
    }

    /// Waits for no delays any more; exchanges under way still finish. Begins to drain if that was not done.
    pub fn hurry(&self) {
        self.0.begin.cancel();
        self.0.hurry.cancel();
    }

    /// Waits until nothing is left, and at the end of the time cuts what is. When a third of the time has passed, HTTP/2
    /// clients that never paused are told to open no more streams. Returns how many exchanges and tunnels had to be cut;
    /// idle connections do not count.
    ///
    /// Cancel: nothing is cut then.
    pub async fn drained(&self, within: Duration) -> u64 {
        let tasks = &self.0.tasks;
        let patience = within / PATIENCE_WITH_BUSY;
        if tokio::time::timeout(patience, tasks.wait()).await.is_ok() {
            return 0;
        }
        self.0.last_call.cancel();
        if tokio::time::timeout(within - patience, tasks.wait()).await.is_ok() {
            return 0;
        }
        let Open { exchanges, tunnels, .. } = self.open();
        let forced = exchanges + tunnels;
        self.0.count(Metric::ForcedCloses, forced);
        tasks.abort_all();
        tasks.wait().await;
        forced
    }

    /// Ends without delays: accepts nothing new, lets open exchanges finish until the deadline, then cuts what is left.
    /// Returns what [`Server::drained`] does.
    pub async fn stop(&self, within: Duration) -> u64 {
        self.0.event(Event::Stopping {
            connections: self.open().connections,
        });
        self.hurry();
        self.drained(within).await
    }
}

fn accept_event(kind: Kind, event: &accept::AcceptEvent) -> Event {
    let listener = kind.as_str();
    match event {
        accept::AcceptEvent::Full { open } => Event::AcceptPaused {
            listener,
            error: format!("all {open} connections are in use"),
        },
        accept::AcceptEvent::Exhausted(error) => Event::AcceptPaused {
            listener,
            error: error.to_string(),
        },
        accept::AcceptEvent::Recovered { pauses } => Event::AcceptResumed {
            listener,
            pauses: u64::from(*pauses),
        },
    }
}

/// An error and its causes in one line, as events carry them.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
