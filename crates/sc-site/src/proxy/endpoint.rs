//! One address of an application and its connections: those in use, those that rest, those that several exchanges share.
//!
//! An exchange takes a [`Lease`]: a place (bounded, waited for no longer than the queue's time limit) and a connection. HTTP/1.1
//! connections come back when they can carry another exchange; HTTP/2 connections stay here and are shared. What rests
//! too long is closed by a task that lives only while something rests.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use sc_http::client::{H1, H2};
use sc_http::fastcgi::FastCgi;
use sc_http::{Fault, Kind, Retry, Side};
use sc_net::UpstreamAddr;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

use super::dial::{Dialer, Fresh, Io, resolver_for};
use super::health::Health;
use crate::sites::Spawn;
use crate::spec::{PoolSpec, UpstreamProtocol};

/// One address and its connections.
pub(crate) struct Endpoint {
    pub(crate) addr: UpstreamAddr,
    /// The address as records have it.
    pub(crate) label: Rc<str>,
    pub(crate) health: Health,
    dialer: Dialer,
    pool: PoolSpec,
    places: Arc<Semaphore>,
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Vec<Shared>>,
    /// Held while a connection is made that others could share, so that they wait for it rather than make their own.
    making: Mutex<()>,
    /// Whether the application's TLS has chosen HTTP/1.1, so that there is nothing to share.
    keeps_apart: Cell<bool>,
    sweeps: Cell<bool>,
    spawn: Spawn,
}

/// A connection that rests.
struct Idle {
    connection: Resting,
    since: Instant,
}

/// A connection that exchanges share.
struct Shared {
    connection: H2,
    used: Instant,
    /// Exchanges under way on it.
    busy: Rc<()>,
}

/// A place among the exchanges of an address; dropped when the exchange has ended.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    _busy: Option<Rc<()>>,
}

/// A connection for one exchange.
pub(crate) struct Lease {
    pub(crate) connection: Connection,
    pub(crate) place: Place,
    /// Whether it has carried an exchange before.
    pub(crate) is_reused: bool,
}

/// A connection.
pub(crate) enum Connection {
    H1(H1<Io>),
    H2(H2),
    FastCgi(FastCgi<Io>),
}

/// A connection that can carry another exchange.
pub(crate) enum Resting {
    H1(H1<Io>),
    FastCgi(FastCgi<Io>),
}

impl Resting {
    fn is_open(&mut self) -> bool {
        match self {
            Resting::H1(connection) => connection.is_open(),
            Resting::FastCgi(connection) => connection.is_open(),
        }
    }
}

impl From<Resting> for Connection {
    fn from(resting: Resting) -> Self {
        match resting {
            Resting::H1(connection) => Connection::H1(connection),
            Resting::FastCgi(connection) => Connection::FastCgi(connection),
        }
    }
}

/// What an exchange needs of its connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need<'a> {
    /// The host of the request.
    pub(crate) asked: &'a str,
    /// Whether the protocol is to be switched.
    pub(crate) is_upgrade: bool,
    /// Whether a resting connection has just failed this request, so that only a new one will do.
    pub(crate) is_fresh: bool,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("addr", &self.addr)
            .field("load", &self.load())
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// An address without connections yet.
    pub(crate) fn new(addr: UpstreamAddr, mut dialer: Dialer, pool: PoolSpec, spawn: Spawn) -> Self {
        dialer.resolver = resolver_for(&addr);
        Endpoint {
            label: addr.to_string().into(),
            addr,
            health: Health::default(),
            dialer,
            pool,
            places: Arc::new(Semaphore::new(pool.busy.max(1))),
            idle: RefCell::default(),
            shared: RefCell::default(),
            making: Mutex::new(()),
            keeps_apart: Cell::new(false),
            sweeps: Cell::new(false),
            spawn,
        }
    }

    /// Exchanges under way.
    pub(crate) fn load(&self) -> usize {
        self.pool.busy.max(1).saturating_sub(self.places.available_permits())
    }

    /// Takes a place and a connection: one that rests, one that can be shared, or a new one.
    ///
    /// Errors: [`Kind::UpstreamBusy`] when no place became free in time; what dialling met.
    /// Cancel: gives the place back.
    pub(crate) async fn lease(self: &Rc<Self>, need: Need<'_>) -> Result<Lease, Fault> {
        let waited = timeout(self.dialer.timeouts.queue, self.places.clone().acquire_owned()).await;
        let permit = match waited {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) | Err(_) => return Err(self.busy()),
        };
        if let Some(found) = self.ready(need) {
            return Ok(found.lease(permit));
        }
        let may_share = match self.dialer.protocol {
            UpstreamProtocol::Http | UpstreamProtocol::FastCgi => false,
            UpstreamProtocol::H2c => true,
            UpstreamProtocol::Https => !need.is_upgrade && !self.keeps_apart.get(),
        };
        if !may_share {
            return Ok(self.fresh(need).await?.lease(permit));
        }
        // Not for ever: where each attempt runs into its time limit, a long queue would wait for all of them in turn.
        let _making = timeout(self.dialer.timeouts.connect, self.making.lock()).await.ok();
        // Whoever held the lock before may have made what is needed.
        match self.ready(need) {
            Some(found) => Ok(found.lease(permit)),
            None => Ok(self.fresh(need).await?.lease(permit)),
        }
    }

    fn busy(&self) -> Fault {
        let detail = format!(
            "all {} connections to {} are in use, and none became free within {} s",
            self.pool.busy,
            self.addr,
            self.dialer.timeouts.queue.as_secs_f32()
        );
        Fault::new(Side::Upstream, Kind::UpstreamBusy, detail).retry(Retry::Safe)
    }

    /// A connection that is there already.
    fn ready(&self, need: Need<'_>) -> Option<Ready> {
        if need.is_fresh {
            return None;
        }
        let is_apart = need.is_upgrade && self.dialer.protocol == UpstreamProtocol::Https;
        let shared = if is_apart { None } else { self.take_shared() };
        shared.or_else(|| self.take_idle())
    }

    fn take_shared(&self) -> Option<Ready> {
        let mut shared = self.shared.borrow_mut();
        shared.retain(|shared| shared.connection.is_open());
        let found = shared.iter_mut().find(|shared| shared.connection.has_room())?;
        found.used = Instant::now();
        let busy = Some(found.busy.clone());
        Some(Ready {
            connection: Connection::H2(found.connection.clone()),
            busy,
            is_reused: true,
        })
    }

    /// The connection that rested last, because it is the likeliest to be open still.
    fn take_idle(&self) -> Option<Ready> {
        let mut idle = self.idle.borrow_mut();
        while let Some(mut last) = idle.pop() {
            if last.since.elapsed() < self.pool.idle_time && last.connection.is_open() {
                return Some(Ready {
                    connection: last.connection.into(),
                    busy: None,
                    is_reused: true,
                });
            }
        }
        None
    }

    async fn fresh(self: &Rc<Self>, need: Need<'_>) -> Result<Ready, Fault> {
        let apart = |connection| Ready {
            connection,
            busy: None,
            is_reused: false,
        };
        match self.dialer.dial(&self.addr, need.asked, need.is_upgrade).await? {
            Fresh::H1(connection) => {
                self.keeps_apart.set(true);
                Ok(apart(Connection::H1(connection)))
            }
            Fresh::FastCgi(connection) => Ok(apart(Connection::FastCgi(connection))),
            Fresh::H2(connection, driver) => {
                self.keeps_apart.set(false);
                (self.spawn)("connection to an application", driver);
                let busy = Rc::new(());
                let shared = Shared {
                    connection: connection.clone(),
                    used: Instant::now(),
                    busy: busy.clone(),
                };
                self.shared.borrow_mut().push(shared);
                self.sweep();
                Ok(Ready {
                    connection: Connection::H2(connection),
                    busy: Some(busy),
                    is_reused: false,
                })
            }
        }
    }

    /// Takes back a connection that can carry another exchange.
    pub(crate) fn give_back(self: &Rc<Self>, connection: Resting) {
        {
            let mut idle = self.idle.borrow_mut();
            if idle.len() >= self.pool.idle {
                return;
            }
            idle.push(Idle {
                connection,
                since: Instant::now(),
            });
        }
        self.sweep();
    }

    /// Starts the task that closes what rests too long, unless it runs.
    fn sweep(self: &Rc<Self>) {
        if !self.sweeps.replace(true) {
            let endpoint = Rc::downgrade(self);
            (self.spawn)("resting connections to an application", Box::pin(sweep(endpoint)));
        }
    }

    /// Closes what has rested too long; tells when to look again, or that nothing rests.
    fn close_rested(&self) -> Option<Instant> {
        let (now, time) = (Instant::now(), self.pool.idle_time);
        let mut idle = self.idle.borrow_mut();
        idle.retain_mut(|idle| idle.since + time > now && idle.connection.is_open());
        let mut shared = self.shared.borrow_mut();
        shared.retain_mut(|shared| {
            if Rc::strong_count(&shared.busy) > 1 {
                shared.used = now;
            }
            shared.connection.is_open() && shared.used + time > now
        });
        let idle = idle.iter().map(|idle| idle.since);
        idle.chain(shared.iter().map(|shared| shared.used))
            .min()
            .map(|since| since + time)
    }
}

async fn sweep(endpoint: Weak<Endpoint>) {
    loop {
        let next = match endpoint.upgrade() {
            None => return,
            Some(endpoint) => match endpoint.close_rested() {
                Some(next) => next,
                None => return endpoint.sweeps.set(false),
            },
        };
        sleep_until(next).await;
    }
}

/// A connection before it has its place.
struct Ready {
    connection: Connection,
    busy: Option<Rc<()>>,
    is_reused: bool,
}

impl Ready {
    fn lease(self, permit: OwnedSemaphorePermit) -> Lease {
        let place = Place {
            _permit: permit,
            _busy: self.busy,
        };
        Lease {
            connection: self.connection,
            place,
            is_reused: self.is_reused,
        }
    }
}
