//! One address of an application and its connections: those in use, those that rest, those that several exchanges share.
//!
//! An exchange takes a [`Lease`]: a place (bounded, waited for no longer than the queue's time limit) and a connection. HTTP/1.1
//! connections come back when they can carry another exchange; HTTP/2 connections stay here and are shared. What rests
//! too long is closed by a task that lives only while something rests.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use sc_http::client::{H1, H2, Incoming, Outgoing, SendError};
use sc_http::fastcgi::{Call, FastCgi, Listener};
use sc_http::{ClientLimits, Fault, Interim, Kind, Protocol, Retry, Side};
use sc_net::UpstreamAddr;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::choice::Candidate;
use super::dial::{Dialer, Fresh, Io, resolver_for};
use super::health::{Change, Health, Verdict};
use crate::sites::Spawn;
use crate::spec::{HealthSpec, PoolSpec, UpstreamProtocol};
use crate::upstreams::{EndpointStanding, Told, UpstreamEvent};

/// What the addresses of one application have in common.
pub(crate) struct Group {
    /// The site.
    pub(crate) site: Rc<str>,
    /// How many addresses there are.
    pub(crate) all: usize,
    /// How many of them are left out.
    pub(crate) out: Cell<usize>,
    /// Who is told of it.
    pub(crate) told: Told,
}

/// One address and its connections.
pub(crate) struct Endpoint {
    pub(crate) addr: UpstreamAddr,
    /// The address as records have it.
    pub(crate) label: Rc<str>,
    health: Health,
    group: Rc<Group>,
    pub(crate) dialer: Dialer,
    pool: PoolSpec,
    places: Arc<Semaphore>,
    /// Exchanges that wait for a place.
    waiting: Cell<usize>,
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Vec<Shared>>,
    /// Held while a connection is made that others could share, so that they wait for it rather than make their own.
    making: Mutex<()>,
    /// How many were made that exchanges share.
    made: Cell<u64>,
    /// Whether the application's TLS has chosen HTTP/1.1, so that there is nothing to share.
    keeps_apart: Cell<bool>,
    sweeps: Cell<bool>,
    /// Dropped with the address: ends its checks.
    _ends_checks: oneshot::Sender<()>,
    pub(crate) spawn: Spawn,
}

/// A connection that rests.
struct Idle {
    connection: Resting,
    since: Instant,
}

/// A connection that exchanges share.
struct Shared {
    connection: H2,
    number: u64,
    used: Instant,
    /// Exchanges under way on it.
    busy: Rc<()>,
}

/// A place among the exchanges of an address; dropped when the exchange has ended.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    _busy: Option<Rc<()>>,
    endpoint: Rc<Endpoint>,
}

/// A place that is waited for.
struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a Cell<usize>) -> Self {
        waiting.set(waiting.get() + 1);
        Waiting(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A connection for one exchange.
pub(crate) struct Lease {
    pub(crate) connection: Connection,
    pub(crate) place: Place,
    /// Whether it has carried an exchange before.
    pub(crate) is_reused: bool,
    /// Connections have numbers in the order in which they were made; the last one's, where it did not matter.
    pub(crate) number: u64,
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

impl Connection {
    /// The version that is spoken on it.
    pub(crate) fn version(&self) -> Protocol {
        match self {
            Connection::H1(_) | Connection::FastCgi(_) => Protocol::Http11,
            Connection::H2(_) => Protocol::Http2,
        }
    }

    /// Sends one request and waits for the head of the answer; a connection that can carry another exchange goes to `reuse`.
    pub(crate) async fn send(
        self,
        out: Box<Outgoing>,
        way: Way<'_>,
        reuse: impl FnOnce(Resting) + 'static,
    ) -> Result<Incoming, SendError> {
        match self {
            Connection::H1(connection) => {
                let reuse = Box::new(move |connection| reuse(Resting::H1(connection)));
                connection.send(out, way.interim, way.limits, reuse).await
            }
            Connection::FastCgi(connection) => {
                let Some((call, complain)) = way.call else {
                    let fault = Fault::new(Side::Local, Kind::Internal, "a FastCGI application without its call");
                    return Err(SendError { fault, outgoing: None });
                };
                let reuse = Box::new(move |connection| reuse(Resting::FastCgi(connection)));
                // On the heap, so that other exchanges do not hold its size.
                Box::pin(connection.send(out, call, way.limits, complain, reuse)).await
            }
            Connection::H2(connection) => connection.send(out, way.interim, way.limits).await,
        }
    }
}

/// How a request is sent.
pub(crate) struct Way<'a> {
    pub(crate) interim: &'a Interim,
    pub(crate) limits: &'a ClientLimits,
    /// What a FastCGI application is told besides, and who hears what it complains of.
    pub(crate) call: Option<(&'a Call, Listener)>,
}

/// What an exchange needs of its connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need<'a> {
    /// The host of the request.
    pub(crate) asked: &'a str,
    /// Whether the protocol is to be switched.
    pub(crate) is_upgrade: bool,
    /// The number of the connection that has just failed this request, so that only a newer one will do.
    pub(crate) newer_than: Option<u64>,
}

impl Place {
    /// Notes that the answer came to its end.
    pub(crate) fn completed(&self) {
        self.endpoint.completed();
    }

    /// Notes that the answer broke off.
    pub(crate) fn broke_off(&self, fault: &Fault) {
        if fault.side() == Side::Upstream {
            self.endpoint.failed(false, || fault.chain());
        }
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("addr", &self.addr)
            .field("busy", &self.busy_places())
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// An address without connections yet. The second part is resolved when the address is dropped.
    pub(crate) fn new(
        addr: UpstreamAddr,
        mut dialer: Dialer,
        pool: PoolSpec,
        health: Health,
        group: Rc<Group>,
        spawn: Spawn,
    ) -> (Self, oneshot::Receiver<()>) {
        dialer.resolver = resolver_for(&addr);
        let (ends_checks, ended) = oneshot::channel();
        let endpoint = Endpoint {
            label: addr.to_string().into(),
            addr,
            health,
            group,
            dialer,
            pool,
            places: Arc::new(Semaphore::new(pool.busy.max(1))),
            waiting: Cell::new(0),
            idle: RefCell::default(),
            shared: RefCell::default(),
            making: Mutex::new(()),
            made: Cell::new(0),
            keeps_apart: Cell::new(false),
            sweeps: Cell::new(false),
            _ends_checks: ends_checks,
            spawn,
        };
        (endpoint, ended)
    }

    /// Exchanges under way.
    fn busy_places(&self) -> usize {
        self.pool.busy.max(1).saturating_sub(self.places.available_permits())
    }

    /// Itself in a choice; `was_tried` says whether the request has failed here already.
    pub(crate) fn candidate(&self, was_tried: bool, now: Instant) -> Candidate {
        Candidate {
            standing: self.health.standing(now),
            was_tried,
            has_room: self.places.available_permits() > 0,
            load: self.busy_places() + self.waiting.get(),
            share: self.health.share(now),
        }
    }

    /// How it stands, for people.
    pub(crate) fn standing(&self, now: Instant) -> EndpointStanding {
        EndpointStanding {
            site: self.group.site.clone(),
            address: self.label.clone(),
            state: self.health.word(now),
            busy: self.busy_places(),
            waiting: self.waiting.get(),
        }
    }

    /// Notes that a request was chosen to find out whether it is well again, if that is what it is.
    pub(crate) fn chosen(&self, now: Instant) {
        self.health.begin_trial(now);
    }

    /// Notes that it began to answer.
    pub(crate) fn answered(&self) {
        // The clock is read only when there is something to decide.
        if self.health.is_out() {
            let change = self.health.answered(Instant::now());
            self.tell(change, || "it answered".to_owned());
        }
    }

    /// Notes that its answer came to its end.
    pub(crate) fn completed(&self) {
        self.health.completed();
    }

    /// Notes that it could not be reached, or did not answer as it should.
    pub(crate) fn failed(&self, is_unreachable: bool, why: impl FnOnce() -> String) {
        let change = self.health.failed(is_unreachable, Instant::now());
        self.tell(change, why);
    }

    /// Notes what a check found.
    pub(crate) fn checked(&self, verdict: Verdict, spec: &HealthSpec, why: String) {
        (self.group.told)(UpstreamEvent::Checked {
            is_good: verdict == Verdict::Good,
        });
        let change = self.health.checked(verdict, spec, Instant::now());
        self.tell(change, || why);
    }

    fn tell(&self, change: Option<Change>, why: impl FnOnce() -> String) {
        let Some(change) = change else { return };
        let (group, out) = (&self.group, self.group.out.get());
        let out = match change {
            Change::Out { .. } => out.saturating_add(1),
            Change::Back => out.saturating_sub(1),
        };
        group.out.set(out);
        let (site, address) = (group.site.clone(), self.label.clone());
        let (fit, of) = (group.all.saturating_sub(out), group.all);
        (group.told)(match change {
            Change::Out { cause, pause } => UpstreamEvent::Out {
                site,
                address,
                cause,
                why: why(),
                pause,
                fit,
                of,
            },
            Change::Back => UpstreamEvent::Back { site, address, fit, of },
        });
    }

    /// Takes a place and a connection: one that rests, one that can be shared, or a new one.
    ///
    /// Shape: `until` is when waiting for a place ends, over all addresses; it is set when there is first something to wait for.
    /// Errors: [`Kind::UpstreamBusy`] when no place became free in time, or too many wait; what dialling met.
    /// Cancel: gives the place back.
    pub(crate) async fn lease(self: &Rc<Self>, need: Need<'_>, until: &Cell<Option<Instant>>) -> Result<Lease, Fault> {
        let permit = self.place(until).await?;
        if let Some(found) = self.ready(need) {
            return Ok(found.lease(permit, self));
        }
        // On the heap: an exchange that finds a connection need not hold the size of making one.
        let made = Box::pin(self.make(need)).await?;
        Ok(made.lease(permit, self))
    }

    /// A connection that is new, or was made by another exchange meanwhile.
    async fn make(self: &Rc<Self>, need: Need<'_>) -> Result<Ready, Fault> {
        let may_share = match self.dialer.protocol {
            UpstreamProtocol::Http | UpstreamProtocol::FastCgi => false,
            UpstreamProtocol::H2c => true,
            UpstreamProtocol::Https => !need.is_upgrade && !self.keeps_apart.get(),
        };
        let mut _making = None;
        if may_share {
            // Not for ever: where each attempt runs into its time limit, a long queue would wait for all of them in turn.
            _making = timeout(self.dialer.timeouts.connect, self.making.lock()).await.ok();
            // Whoever held the lock before may have made what is needed.
            if let Some(found) = self.ready(need) {
                return Ok(found);
            }
        }
        self.fresh(need).await
    }

    async fn place(&self, until: &Cell<Option<Instant>>) -> Result<OwnedSemaphorePermit, Fault> {
        if let Ok(permit) = self.places.clone().try_acquire_owned() {
            return Ok(permit);
        }
        if self.waiting.get() >= self.pool.waiting {
            let detail = format!(
                "all {} places at {} are in use, and {} requests wait already",
                self.pool.busy, self.addr, self.pool.waiting
            );
            return Err(Fault::new(Side::Upstream, Kind::UpstreamBusy, detail).retry(Retry::Safe));
        }
        let deadline = until
            .get()
            .unwrap_or_else(|| Instant::now() + self.dialer.timeouts.queue);
        until.set(Some(deadline));
        let _waiting = Waiting::begin(&self.waiting);
        match timeout_at(deadline, self.places.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(self.busy()),
        }
    }

    fn busy(&self) -> Fault {
        let detail = format!(
            "all {} places at {} are in use, and none became free within {} s",
            self.pool.busy,
            self.addr,
            self.dialer.timeouts.queue.as_secs_f32()
        );
        Fault::new(Side::Upstream, Kind::UpstreamBusy, detail).retry(Retry::Safe)
    }

    /// A connection that is there already.
    fn ready(&self, need: Need<'_>) -> Option<Ready> {
        let is_apart = need.is_upgrade && self.dialer.protocol == UpstreamProtocol::Https;
        let shared = if is_apart { None } else { self.take_shared(need) };
        // One that has rested will do where none has failed, since another may have been closed as well.
        shared.or_else(|| need.newer_than.is_none().then(|| self.take_idle()).flatten())
    }

    fn take_shared(&self, need: Need<'_>) -> Option<Ready> {
        let mut shared = self.shared.borrow_mut();
        shared.retain(|shared| shared.connection.is_open());
        let is_new = |shared: &Shared| need.newer_than.is_none_or(|old| shared.number > old);
        let found = shared
            .iter_mut()
            .find(|shared| is_new(shared) && shared.connection.has_room())?;
        found.used = Instant::now();
        let busy = Some(found.busy.clone());
        Some(Ready {
            connection: Connection::H2(found.connection.clone()),
            busy,
            is_reused: true,
            number: found.number,
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
                    number: self.made.get(),
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
            number: self.made.get(),
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
                connection.settled(self.dialer.timeouts.connect).await;
                let busy = Rc::new(());
                let number = self.made.get() + 1;
                self.made.set(number);
                let shared = Shared {
                    connection: connection.clone(),
                    number,
                    used: Instant::now(),
                    busy: busy.clone(),
                };
                self.shared.borrow_mut().push(shared);
                self.sweep();
                Ok(Ready {
                    connection: Connection::H2(connection),
                    busy: Some(busy),
                    is_reused: false,
                    number,
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
    number: u64,
}

impl Ready {
    fn lease(self, permit: OwnedSemaphorePermit, endpoint: &Rc<Endpoint>) -> Lease {
        let place = Place {
            _permit: permit,
            _busy: self.busy,
            endpoint: endpoint.clone(),
        };
        Lease {
            connection: self.connection,
            place,
            is_reused: self.is_reused,
            number: self.number,
        }
    }
}
