//! Connects to applications and, for clients of the little network, to the Internet.
//!
//! A name is resolved once; every address it has is checked by the [`Guard`]; those allowed are raced (Happy Eyeballs,
//! RFC 8305). No address is dialled that was not checked. Pools and retries are sc-site's.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::guard::{Forbidden, Guard};
use crate::socks::Reply;
use crate::stream::Fresh;
use crate::{Stream, UpstreamAddr};

/// How long one attempt is given before the next one starts beside it (RFC 8305 §8).
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// How many addresses of a name are tried at most.
pub const MAX_ADDRESSES: usize = 16;

/// Turns names into addresses.
#[derive(Clone, Debug, Default)]
pub enum Resolver {
    /// The system's: `/etc/hosts`, DNS and whatever else is set up (getaddrinfo on tokio's blocking threads).
    #[default]
    System,
    /// A fixed table, for tests and for names that must not leave the machine; unknown names do not resolve.
    Table(HashMap<String, Vec<IpAddr>>),
}

impl Resolver {
    /// Resolves a name.
    ///
    /// Shape: the addresses in the order of preference, without duplicates; never empty.
    /// Errors: what the system said, or `NotFound`.
    /// Cancel: a system lookup runs to its end on its thread; nobody waits for it.
    pub async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut found: Vec<SocketAddr> = Vec::new();
        let mut keep = |addr: SocketAddr| {
            if !found.contains(&addr) {
                found.push(addr);
            }
        };
        match self {
            Resolver::System => tokio::net::lookup_host((host, port)).await?.for_each(&mut keep),
            Resolver::Table(table) => {
                table
                    .get(host)
                    .into_iter()
                    .flatten()
                    .for_each(|ip| keep(SocketAddr::new(*ip, port)));
            }
        }
        if found.is_empty() {
            Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
        } else {
            Ok(found)
        }
    }
}

/// A connection that was dialled.
#[derive(Debug)]
pub struct Dialled {
    /// The stream, with `TCP_NODELAY` set.
    pub stream: Stream,
    /// The address it leads to: never a name.
    pub addr: UpstreamAddr,
}

/// An attempt that failed.
#[derive(Debug)]
pub struct Tried {
    /// The address.
    pub addr: SocketAddr,
    /// What the system said; `None` when the deadline came first.
    pub fault: Option<io::Error>,
}

/// Why nothing was dialled.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The guard allows none of the addresses.
    #[error("{addr} is not dialled: {ip} is {why}", ip = .refused.ip())]
    Refused {
        /// What was asked for.
        addr: UpstreamAddr,
        /// The first address that was refused.
        refused: SocketAddr,
        /// Why.
        why: Forbidden,
    },
    /// The guard allows no unix sockets.
    #[error("{addr} is not dialled: it is a unix socket")]
    RefusedPath {
        /// What was asked for.
        addr: UpstreamAddr,
    },
    /// The name has no address.
    #[error("cannot resolve {addr}")]
    Resolve {
        /// What was asked for.
        addr: UpstreamAddr,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// Every address failed.
    #[error("cannot connect to {addr}{}", list(addr, .tried))]
    Connect {
        /// What was asked for.
        addr: UpstreamAddr,
        /// The kind of the most telling failure.
        kind: io::ErrorKind,
        /// What was tried, in order.
        tried: Vec<Tried>,
    },
    /// The unix socket could not be connected to.
    #[error("cannot connect to {addr}")]
    ConnectPath {
        /// What was asked for.
        addr: UpstreamAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The deadline passed.
    #[error("{addr} did not answer within {} ms{}", .deadline.as_millis(), list(addr, .tried))]
    Timeout {
        /// What was asked for.
        addr: UpstreamAddr,
        /// How long was waited.
        deadline: Duration,
        /// What was tried, in order; empty when the name was still being resolved.
        tried: Vec<Tried>,
    },
}

fn list(asked: &UpstreamAddr, tried: &[Tried]) -> String {
    let text = |Tried { addr, fault }: &Tried| {
        let fault = fault
            .as_ref()
            .map_or_else(|| "no answer".to_owned(), io::Error::to_string);
        if *asked == UpstreamAddr::Tcp(*addr) {
            fault
        } else {
            format!("{addr}: {fault}")
        }
    };
    let texts: Vec<String> = tried.iter().map(text).collect();
    if texts.is_empty() {
        String::new()
    } else {
        format!(" ({})", texts.join("; "))
    }
}

impl DialError {
    /// The SOCKS reply that says it best (RFC 1928 §6).
    pub fn reply(&self) -> Reply {
        match self {
            DialError::Refused { .. } | DialError::RefusedPath { .. } => Reply::NotAllowed,
            DialError::Resolve { .. } | DialError::Timeout { .. } => Reply::HostUnreachable,
            DialError::Connect { kind, .. } => reply_to(*kind),
            DialError::ConnectPath { source, .. } => reply_to(source.kind()),
        }
    }
}

fn reply_to(kind: io::ErrorKind) -> Reply {
    match kind {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset | io::ErrorKind::NotFound => {
            Reply::ConnectionRefused
        }
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => Reply::NetworkUnreachable,
        io::ErrorKind::HostUnreachable | io::ErrorKind::TimedOut => Reply::HostUnreachable,
        io::ErrorKind::PermissionDenied => Reply::NotAllowed,
        _ => Reply::GeneralFailure,
    }
}

/// Dials with the system's resolver; see [`dial_with`].
pub async fn dial(addr: &UpstreamAddr, guard: &Guard, deadline: Duration) -> Result<Dialled, DialError> {
    dial_with(addr, guard, deadline, &Resolver::System, None).await
}

/// Dials an address: resolve once, check, race.
///
/// Shape: the deadline covers resolving and connecting. Addresses that the guard refuses are left out. `last` is the one that
/// answered before: it is the first to be tried, if the name still has it.
/// Errors: [`DialError`]; its text says what was tried.
/// Cancel: attempts under way are dropped.
/// Source: RFC 8305 §4 (interleaving), §5 (connection attempts).
pub async fn dial_with(
    addr: &UpstreamAddr,
    guard: &Guard,
    deadline: Duration,
    resolver: &Resolver,
    last: Option<SocketAddr>,
) -> Result<Dialled, DialError> {
    let until = Instant::now() + deadline;
    let late = |tried| DialError::Timeout {
        addr: addr.clone(),
        deadline,
        tried,
    };
    let found = match addr {
        UpstreamAddr::Unix(path) => {
            guard
                .check_unix()
                .map_err(|_| DialError::RefusedPath { addr: addr.clone() })?;
            let stream = timeout_at(until, UnixStream::connect(path))
                .await
                .map_err(|_| late(vec![]))?;
            let stream = stream.map_err(|source| DialError::ConnectPath {
                addr: addr.clone(),
                source,
            })?;
            return Ok(Dialled {
                stream: stream.into(),
                addr: addr.clone(),
            });
        }
        UpstreamAddr::Tcp(socket) => vec![*socket],
        UpstreamAddr::Name { host, port } => timeout_at(until, resolver.resolve(host, *port))
            .await
            .map_err(|_| late(vec![]))?
            .map_err(|source| DialError::Resolve {
                addr: addr.clone(),
                source,
            })?,
    };
    let mut allowed = allowed(found, guard).map_err(|(refused, why)| DialError::Refused {
        addr: addr.clone(),
        refused,
        why,
    })?;
    let answered = last.and_then(|last| allowed.iter().position(|addr| *addr == last));
    if let Some(before) = answered.and_then(|at| allowed.get_mut(..=at)) {
        before.rotate_right(1);
    }
    match race(interleave(allowed), until).await {
        Ok((stream, socket)) => Ok(Dialled {
            stream,
            addr: UpstreamAddr::Tcp(socket),
        }),
        Err(tried) if tried.iter().any(|one| one.fault.is_none()) => Err(late(tried)),
        Err(tried) => {
            let kinds = tried.iter().filter_map(|one| one.fault.as_ref()).map(io::Error::kind);
            let kind = kinds.max_by_key(|kind| telling(*kind)).unwrap_or(io::ErrorKind::Other);
            Err(DialError::Connect {
                addr: addr.clone(),
                kind,
                tried,
            })
        }
    }
}

/// Ranks failures by how near they came to the application: that its machine refused says more than that one of two
/// networks cannot be reached.
fn telling(kind: io::ErrorKind) -> u8 {
    match kind {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => 3,
        io::ErrorKind::HostUnreachable | io::ErrorKind::TimedOut => 2,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => 1,
        _ => 0,
    }
}

/// Leaves out what the guard refuses.
///
/// Errors: nothing is left: the first address and its verdict.
pub(crate) fn allowed(found: Vec<SocketAddr>, guard: &Guard) -> Result<Vec<SocketAddr>, (SocketAddr, Forbidden)> {
    let mut first = None;
    let mut kept = found;
    kept.retain(|addr| match guard.check(*addr) {
        Ok(()) => true,
        Err(why) => {
            first.get_or_insert((*addr, why));
            false
        }
    });
    match first {
        Some(refused) if kept.is_empty() => Err(refused),
        _ => Ok(kept),
    }
}

/// Alternates the families, beginning with that of the first address (RFC 8305 §4).
fn interleave(addrs: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    if addrs.len() < 2 {
        return addrs.into();
    }
    let first_is_v6 = addrs.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addrs.into_iter().partition(|addr| addr.is_ipv6() == first_is_v6);
    let mut second = second.into_iter();
    let mut mixed = VecDeque::new();
    for addr in first {
        mixed.push_back(addr);
        mixed.extend(second.next());
    }
    mixed.extend(second);
    mixed.truncate(MAX_ADDRESSES);
    mixed
}

/// Starts an attempt every [`ATTEMPT_DELAY`], or as soon as one fails; the first to succeed wins.
///
/// Errors: what was tried, in the order of the starts.
async fn race(mut waiting: VecDeque<SocketAddr>, until: Instant) -> Result<(Stream, SocketAddr), Vec<Tried>> {
    let mut tried: Vec<Tried> = Vec::new();
    let mut running = FuturesUnordered::new();
    let mut next_start = until;
    loop {
        if running.is_empty() || next_start <= Instant::now() {
            if let Some(addr) = waiting.pop_front() {
                let at = tried.len();
                let fault = match Attempt::begin(addr) {
                    Ok(Attempt::Connected(stream)) => return Ok((stream, addr)),
                    Ok(Attempt::Begun(socket)) => {
                        running.push(async move { (at, ended(socket).await) });
                        None
                    }
                    Err(fault) => Some(fault),
                };
                let pause = if fault.is_some() { Duration::ZERO } else { ATTEMPT_DELAY };
                next_start = Instant::now() + pause;
                tried.push(Tried { addr, fault });
                continue;
            } else if running.is_empty() {
                return Err(tried);
            }
        }
        let wake = if waiting.is_empty() {
            until
        } else {
            next_start.min(until)
        };
        tokio::select! {
            Some((at, result)) = running.next() => match (result, tried.get_mut(at)) {
                (Ok(stream), Some(one)) => return Ok((stream, one.addr)),
                (Err(fault), Some(one)) => {
                    one.fault = Some(fault);
                    next_start = Instant::now();
                }
                (_, None) => {}
            },
            () = sleep_until(wake) => if Instant::now() >= until {
                return Err(tried);
            },
        }
    }
}

/// An attempt to connect.
enum Attempt {
    /// It has succeeded.
    Connected(Stream),
    /// Its outcome is not known yet.
    Begun(TcpStream),
}

impl Attempt {
    /// Begins one, and looks once how it went: within the machine it is over before connect(2) returns, although that says
    /// that it has only begun.
    fn begin(addr: SocketAddr) -> io::Result<Attempt> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(addr), kind, Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&addr.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            Err(_) | Ok(()) => {}
        }
        let is_connected = socket.peer_addr().is_ok();
        let stream = TcpStream::from_std(socket.into())?;
        Ok(if is_connected {
            Attempt::Connected(Fresh::new(stream).into())
        } else {
            Attempt::Begun(stream)
        })
    }
}

/// Waits for the outcome of an attempt.
async fn ended(begun: TcpStream) -> io::Result<Stream> {
    begun.writable().await?;
    match begun.take_error()? {
        Some(fault) => Err(fault),
        None => Ok(begun.into()),
    }
}

#[cfg(test)]
mod tests;
