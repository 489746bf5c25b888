//! One association: its sockets, its targets and its end.
//!
//! The client's datagrams arrive at one socket; those for targets leave through one more for each IP version, so an
//! association costs at most three descriptors however many targets it has. An answer passes only when it comes from an
//! address the client has sent to.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{Associated, UdpEnd, UdpRoute, UdpTerms, header};
use crate::dial::{DialError, allowed};
use crate::guard::{Forbidden, Guard};
use crate::scratch::with_scratch;
use crate::socks::{self, Reply, Version};
use crate::{Connection, Host, Target, UpstreamAddr};

/// How many datagrams one socket may bring before the others get a turn.
const BATCH: usize = 32;
/// How many names are being resolved at once.
const LOOKUPS: usize = 8;

/// Serves a UDP ASSOCIATE request until its connection ends.
///
/// Shape: answers the request itself: with the address of the relay, on the IP address at which the client reached us, or
/// with a refusal. Datagrams are taken from the client's IP address only, and from one port: that of `declared` (the
/// request's target) when it names one, else the first seen. Answers carry the target as the client wrote it. `route` is
/// asked once for each target remembered and for each datagram refused. `on_guarded` is told the target and the reason, in
/// the words of [`DialError::Refused`], for each datagram that `route` sent on and its guard refused. `stop` ends it, and
/// what was counted until then is returned.
/// Cancel: closes everything; the counts are lost.
/// Source: RFC 1928 §6 (the association ends with its connection), §7.
pub async fn associate(
    mut connection: Connection,
    declared: &Target,
    terms: &UdpTerms,
    route: impl Fn(&Target) -> UdpRoute,
    on_guarded: impl Fn(&Target, &str),
    stop: &CancellationToken,
) -> Associated {
    let mut association = match Association::open(&connection, declared, terms) {
        Ok(association) => association,
        Err(why) => {
            // It is over either way, and the record says so.
            let _ = stop
                .run_until_cancelled(socks::refuse(&mut connection, Version::V5, why))
                .await;
            return Associated {
                end: UdpEnd::Refused,
                ..Associated::default()
            };
        }
    };
    let bound = Some(association.bound);
    let caller = Caller {
        route: &route,
        on_guarded: &on_guarded,
    };
    let served = stop.run_until_cancelled(async {
        match socks::reply(&mut connection, Version::V5, Reply::Succeeded, bound).await {
            Ok(()) => association.run(&mut connection, caller).await,
            Err(_) => UdpEnd::Closed,
        }
    });
    let end = served.await.unwrap_or(UdpEnd::Stopped);
    Associated {
        end,
        ..association.record
    }
}

type Lookup<'a> = Pin<Box<dyn Future<Output = (Target, Found)> + 'a>>;

/// What a lookup brought.
enum Found {
    At(SocketAddr),
    Nothing,
    /// Only addresses that the guard refuses; the words say so.
    Guarded(String),
}

/// Who decides about targets and hears what became of that.
#[derive(Clone, Copy)]
struct Caller<'a> {
    route: &'a dyn Fn(&Target) -> UdpRoute,
    on_guarded: &'a dyn Fn(&Target, &str),
}

struct Association<'a> {
    terms: &'a UdpTerms,
    /// Towards the client.
    inner: UdpSocket,
    bound: SocketAddr,
    client_ip: IpAddr,
    client_port: Option<u16>,
    /// Towards targets, made when first needed.
    outer: Outer,
    targets: Vec<Known>,
    lookups: FuturesUnordered<Lookup<'a>>,
    /// Counts uses of targets.
    uses: u64,
    active: Instant,
    record: Associated,
}

#[derive(Default)]
struct Outer {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
}

/// A target that the client has sent to.
struct Known {
    target: Target,
    state: State,
    last_use: u64,
}

enum State {
    /// Its name is being resolved; the first datagram waits.
    Resolving(Vec<u8>),
    /// Where its datagrams go.
    At(SocketAddr),
}

impl<'a> Association<'a> {
    fn open(connection: &Connection, declared: &Target, terms: &'a UdpTerms) -> Result<Self, Reply> {
        let client_ip = connection.client.ip().ok_or(Reply::NotAllowed)?;
        let here = connection.local.socket().ok_or(Reply::NotAllowed)?.ip();
        let inner = bind(here).map_err(|_| Reply::GeneralFailure)?;
        let bound = inner.local_addr().map_err(|_| Reply::GeneralFailure)?;
        Ok(Association {
            terms,
            inner,
            bound,
            client_ip,
            client_port: declared_port(declared, client_ip),
            outer: Outer::default(),
            targets: Vec::new(),
            lookups: FuturesUnordered::new(),
            uses: 0,
            active: Instant::now(),
            record: Associated::default(),
        })
    }

    async fn run(&mut self, connection: &mut Connection, caller: Caller<'_>) -> UdpEnd {
        let mut closed = std::pin::pin!(closed(connection));
        loop {
            let until = self.active + self.terms.limits.idle;
            let result = tokio::select! {
                () = &mut closed => return UdpEnd::Closed,
                ready = self.inner.readable() => ready.and_then(|()| self.take_from_client(caller)),
                ready = readable(self.outer.v4.as_ref()) => ready.and_then(|()| self.take_from_targets(Family::V4)),
                ready = readable(self.outer.v6.as_ref()) => ready.and_then(|()| self.take_from_targets(Family::V6)),
                Some((target, found)) = self.lookups.next() => {
                    self.resolved(&target, found, caller);
                    Ok(())
                }
                () = sleep_until(until) => return UdpEnd::Idle,
            };
            if let Err(fault) = result {
                return UdpEnd::Failed(fault);
            }
        }
    }

    /// Takes what the client sent.
    fn take_from_client(&mut self, caller: Caller<'_>) -> io::Result<()> {
        for _ in 0..BATCH {
            let more = with_scratch(|scratch| {
                let Some((count, from)) = received(&self.inner, scratch)? else {
                    return Ok(false);
                };
                let bytes = scratch.get(..count).unwrap_or_default();
                if self.is_client(from) {
                    self.datagram(bytes, caller)
                } else {
                    self.record.foreign += 1
                }
                io::Result::Ok(true)
            })?;
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn is_client(&mut self, from: SocketAddr) -> bool {
        from.ip().to_canonical() == self.client_ip && *self.client_port.get_or_insert(from.port()) == from.port()
    }

    fn datagram(&mut self, bytes: &[u8], caller: Caller<'_>) {
        let Ok(datagram) = header::read(bytes) else {
            self.record.malformed += 1;
            return;
        };
        if datagram.fragment != 0 {
            self.record.fragments += 1;
            return;
        }
        if datagram.payload.len() > self.terms.limits.datagram_bytes || datagram.target.port == 0 {
            self.record.malformed += 1;
            return;
        }
        self.active = Instant::now();
        self.uses += 1;
        let uses = self.uses;
        let known = self.targets.iter_mut().find(|known| known.target == datagram.target);
        match known.map(|known| (std::mem::replace(&mut known.last_use, uses), &known.state)) {
            Some((_, State::At(addr))) => {
                let addr = *addr;
                self.send(addr, datagram.payload);
            }
            Some((_, State::Resolving(_))) => self.record.unresolved += 1,
            None => self.first(datagram.target, datagram.payload, caller),
        }
    }

    /// Handles the first datagram to a target.
    fn first(&mut self, target: Target, payload: &[u8], caller: Caller<'_>) {
        let (addr, guard) = match (caller.route)(&target) {
            UdpRoute::To(addr) => (addr, None),
            UdpRoute::Dial(guard) => (target.upstream(), Some(guard)),
            UdpRoute::Refuse => return self.record.refused += 1,
        };
        match addr {
            UpstreamAddr::Unix(_) => self.record.refused += 1,
            UpstreamAddr::Tcp(socket) => {
                if let Some(Err(why)) = guard.map(|guard| guard.check(socket)) {
                    let words = guarded(UpstreamAddr::Tcp(socket), socket, why);
                    return self.refused_by_guard(&target, &words, caller);
                }
                self.remember(target, State::At(socket));
                self.send(socket, payload);
            }
            UpstreamAddr::Name { .. } if self.lookups.len() >= LOOKUPS => self.record.unresolved += 1,
            UpstreamAddr::Name { host, port } => {
                let (terms, asked) = (self.terms, target.clone());
                self.lookups.push(Box::pin(async move {
                    let found = timeout(terms.limits.resolve, terms.resolver.resolve(&host, port)).await;
                    let found = found.ok().and_then(Result::ok).unwrap_or_default();
                    let guard = guard.as_deref().cloned().unwrap_or_else(Guard::any);
                    let found = match allowed(found, &guard) {
                        Ok(allowed) => allowed.first().copied().map_or(Found::Nothing, Found::At),
                        Err((refused, why)) => Found::Guarded(guarded(UpstreamAddr::Name { host, port }, refused, why)),
                    };
                    (asked, found)
                }));
                self.remember(target, State::Resolving(payload.to_vec()));
            }
        }
    }

    fn refused_by_guard(&mut self, target: &Target, words: &str, caller: Caller<'_>) {
        self.record.refused += 1;
        (caller.on_guarded)(target, words);
    }

    /// Ends a lookup: sends what waited for it, or forgets the target.
    fn resolved(&mut self, target: &Target, found: Found, caller: Caller<'_>) {
        let Some(at) = self.targets.iter().position(|known| known.target == *target) else {
            return;
        };
        match (found, self.targets.get_mut(at)) {
            (Found::At(addr), Some(known)) => {
                if let State::Resolving(payload) = std::mem::replace(&mut known.state, State::At(addr)) {
                    self.send(addr, &payload);
                }
            }
            (Found::Guarded(words), _) => {
                self.targets.swap_remove(at);
                self.refused_by_guard(target, &words, caller);
            }
            _ => {
                self.targets.swap_remove(at);
                self.record.unresolved += 1;
            }
        }
    }

    fn remember(&mut self, target: Target, state: State) {
        if self.targets.len() >= self.terms.limits.targets.max(1) {
            let oldest = self
                .targets
                .iter()
                .enumerate()
                .min_by_key(|(_, known)| known.last_use)
                .map(|(at, _)| at);
            if let Some(at) = oldest {
                self.targets.swap_remove(at);
            }
        }
        self.targets.push(Known {
            target,
            state,
            last_use: self.uses,
        });
    }

    /// Sends at once: a socket without room loses the datagram, it does not wait.
    fn send(&mut self, addr: SocketAddr, payload: &[u8]) {
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        match self
            .outer
            .to(addr)
            .and_then(|socket| SockRef::from(socket).send_to(payload, &addr.into()))
        {
            Ok(_) => {
                self.record.sent += 1;
                self.record.sent_bytes += payload.len() as u64;
            }
            // Datagrams may be lost; the client's protocol copes with it.
            Err(_) => self.record.unsent += 1,
        }
    }

    /// Takes what targets answered.
    fn take_from_targets(&mut self, family: Family) -> io::Result<()> {
        for _ in 0..BATCH {
            let Some(socket) = self.outer.of(family) else { break };
            let more = with_scratch(|scratch| {
                let Some((count, from)) = received(socket, scratch)? else {
                    return Ok(false);
                };
                let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                let source = self
                    .targets
                    .iter()
                    .filter(|known| matches!(known.state, State::At(addr) if same(addr, from)))
                    .max_by_key(|known| known.last_use);
                match (source, self.client_port) {
                    (Some(known), Some(port)) => {
                        let client = SocketAddr::new(self.client_ip, port);
                        self.active = Instant::now();
                        let payload = scratch.get(..count).unwrap_or_default();
                        if answer(&self.inner, client, &known.target, payload).is_ok() {
                            self.record.received += 1;
                            self.record.received_bytes += payload.len() as u64;
                        } else {
                            self.record.unsent += 1;
                        }
                    }
                    _ => self.record.foreign += 1,
                }
                io::Result::Ok(true)
            })?;
            if !more {
                break;
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

impl Outer {
    fn of(&self, family: Family) -> Option<&UdpSocket> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }

    /// The socket from which datagrams for `addr` are sent.
    fn to(&mut self, addr: SocketAddr) -> io::Result<&UdpSocket> {
        let (socket, any) = match addr {
            SocketAddr::V4(_) => (&mut self.v4, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            SocketAddr::V6(_) => (&mut self.v6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        };
        match socket {
            Some(socket) => Ok(socket),
            None => Ok(socket.insert(bind(any)?)),
        }
    }
}

/// Says that the guard refused, in the words that a TCP connection's refusal has.
fn guarded(addr: UpstreamAddr, refused: SocketAddr, why: Forbidden) -> String {
    DialError::Refused { addr, refused, why }.to_string()
}

/// The port that the request declares, when it speaks of the address that we see.
fn declared_port(declared: &Target, client_ip: IpAddr) -> Option<u16> {
    let speaks_of_it = match &declared.host {
        Host::Name(_) => false,
        Host::V4(ip) => ip.is_unspecified() || IpAddr::V4(*ip) == client_ip,
        Host::V6(ip) => ip.is_unspecified() || IpAddr::V6(*ip) == client_ip,
    };
    Some(declared.port).filter(|port| speaks_of_it && *port != 0)
}

fn bind(ip: IpAddr) -> io::Result<UdpSocket> {
    let domain = socket2::Domain::for_address(SocketAddr::new(ip, 0));
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    if ip.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::new(ip, 0).into())?;
    UdpSocket::from_std(socket.into())
}

/// Receives one datagram, if one is there.
fn received(socket: &UdpSocket, scratch: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
    match socket.try_recv_from(scratch) {
        Ok(datagram) => Ok(Some(datagram)),
        Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Sends header and payload as one datagram without copying the payload.
fn answer(socket: &UdpSocket, client: SocketAddr, source: &Target, payload: &[u8]) -> io::Result<usize> {
    let mut head = Vec::with_capacity(24);
    header::write(&mut head, source);
    let parts = [IoSlice::new(&head), IoSlice::new(payload)];
    SockRef::from(socket).send_to_vectored(&parts, &client.into())
}

/// Whether two addresses are one, scope and flow label aside.
fn same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip().to_canonical() == b.ip()
}

async fn readable(socket: Option<&UdpSocket>) -> io::Result<()> {
    match socket {
        Some(socket) => socket.readable().await,
        None => std::future::pending().await,
    }
}

/// Waits until the client ends the connection; whatever it sends there means nothing.
async fn closed(connection: &mut Connection) {
    loop {
        connection.read_ahead.clear();
        if !matches!(connection.read_more().await, Ok(1..)) {
            return;
        }
    }
}
