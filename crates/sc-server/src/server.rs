//! The running engine: what all listeners and connections share, how it starts and how it stops.
//!
//! A mode binds the sockets, gives them here with their kind, and swaps the sites when the configuration changes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sc_http::Limits;
use sc_net::listen::Listener;
use sc_net::relay::RelayLimits;
use sc_net::shape::{Shape, Shaper};
use sc_net::socks::Auth;
use sc_net::tasks::Tasks;
use sc_net::{Connection, Gate, Network as Addresses, accept};
use sc_site::Sites;
use sc_tls::ServerConfig;
use tokio_util::sync::CancellationToken;

use crate::connection;
use crate::event::Event;
use crate::journal::Journal;
use crate::network::{LocalFuture, Network};

/// What a listener speaks, from its first byte.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// TLS, then HTTP.
    Tls,
    /// The little network's port: SOCKS, HTTP proxying, TLS by name, pages.
    Proxy,
}

impl Kind {
    /// The word in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Tls => "tls",
            Kind::Proxy => "proxy",
        }
    }
}

/// What holds for every connection.
pub struct Policy {
    /// Bounds of the protocol engines.
    pub limits: Limits,
    /// Who may use the proxy port.
    pub auth: Auth,
    /// From where; empty means from anywhere that can reach the address.
    pub allowed_clients: Vec<Addresses>,
    /// Simulated network, applied to what is sent to clients.
    pub shape: Option<Shape>,
    /// How long a proxy client may take for its first byte and for its greeting.
    pub greeting_time: Duration,
    /// How long a TLS handshake may take.
    pub handshake_time: Duration,
    /// How long dialling another machine may take.
    pub dial_time: Duration,
    /// How long a relayed connection may be silent.
    pub relay: RelayLimits,
    /// Open connections of one listener; accepting pauses above.
    pub connections: usize,
    /// What time it is; read at the edge, passed in.
    pub clock: fn() -> SystemTime,
}

impl Policy {
    /// The documented defaults.
    pub fn new(clock: fn() -> SystemTime) -> Self {
        Policy {
            limits: Limits::default(),
            auth: Auth::None,
            allowed_clients: Vec::new(),
            shape: None,
            greeting_time: Duration::from_secs(2),
            handshake_time: Duration::from_secs(10),
            dial_time: Duration::from_secs(10),
            relay: RelayLimits::default(),
            connections: 16_384,
            clock,
        }
    }
}

/// Open connections of a control socket: its clients are commands that a person types.
const CONTROL_CONNECTIONS: usize = 64;

/// The name of the task that serves a connection.
const CONNECTION: &str = "connection";

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) policy: Policy,
    pub(crate) journal: Rc<dyn Journal>,
    pub(crate) network: Rc<dyn Network>,
    pub(crate) sites: RefCell<Rc<Sites>>,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) tasks: Tasks,
    pub(crate) drain: CancellationToken,
    pub(crate) shaper: Option<Shaper>,
    gate: Gate,
    serial: Cell<u64>,
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

    fn open_connections(&self) -> u64 {
        self.tasks.names().get(CONNECTION).map_or(0, |count| *count as u64)
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
        let told = journal.clone();
        let tasks = Tasks::new(move |panicked| {
            told.event(Event::Internal {
                place: panicked.task,
                fault: format!("panic: {}", panicked.message),
            });
        });
        let gate = Gate::new(policy.connections);
        let shaper = policy.shape.map(|shape| Shaper::new(shape, tasks.spawner()));
        Server(Rc::new(Shared {
            policy,
            journal,
            network,
            sites: RefCell::new(Rc::new(sites)),
            tls,
            tasks,
            drain: CancellationToken::new(),
            shaper,
            gate,
            serial: Cell::new(0),
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
                .spawn(CONNECTION, connection::serve(shared, kind, serial, conn));
        };
        self.0.tasks.spawn("accept", async move {
            let events = shared.clone();
            let on_event = move |event| events.event(accept_event(kind, &event));
            let ended = accept::run(
                listener,
                shared.gate.clone(),
                shared.drain.clone(),
                on_event,
                on_connection,
            )
            .await;
            if let Err(error) = ended {
                shared.event(Event::ListenerFailed {
                    listener: kind.as_str(),
                    error: chain(&error),
                });
            }
        });
    }

    /// Serves plain HTTP on a bound socket with one handler: the control socket of a mode.
    pub fn serve_control(
        &self,
        listener: Listener,
        handler: Rc<dyn Fn(sc_http::Exchange) -> LocalFuture<'static, sc_http::Answer>>,
    ) {
        let shared = self.0.clone();
        self.0.tasks.spawn("control", async move {
            let spawner = shared.clone();
            let on_connection = move |conn: Connection| {
                let control = connection::control(spawner.clone(), handler.clone(), conn);
                spawner.tasks.spawn("control connection", control);
            };
            let gate = Gate::new(CONTROL_CONNECTIONS);
            let ended = accept::run(listener, gate, shared.drain.clone(), |_| {}, on_connection).await;
            if let Err(error) = ended {
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

    /// Accepts nothing new, lets open exchanges finish until the deadline, then ends what is left.
    pub async fn stop(&self, within: Duration) {
        self.0.event(Event::Stopping {
            connections: self.0.open_connections(),
        });
        self.0.drain.cancel();
        let finished = tokio::time::timeout(within, self.0.tasks.wait()).await;
        if finished.is_err() {
            self.0.tasks.abort_all();
            self.0.tasks.wait().await;
        }
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
