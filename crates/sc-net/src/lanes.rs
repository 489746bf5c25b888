//! Sockets of lanes: for each address one listening socket per lane, in a group among which the kernel spreads connections.
//!
//! A connection stays with the socket that the kernel chose, so a group loses nothing as long as none of its sockets is
//! closed: a master makes them all, in fixed order, keeps them, and only passes copies to those that accept. This is about
//! making them; [`crate::Listener::from_owned`] accepts from one.
//!
//! Source: socket(7), SO_REUSEPORT; unix(7), "Abstract socket".

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind as bind_to, connect, listen, socket_with, sockopt,
};
use rustix::process::{Pid, geteuid};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UnixStream;

use crate::holder::{self, Holder};
use crate::listen::{self, BACKLOG, BindError, OwnPath, Place, explain};

/// Proof that no other instance of this user has the same address; given back when dropped.
#[derive(Debug)]
pub struct AddressLock {
    _socket: Option<OwnedFd>,
}

/// Takes the lock of an address, so that two instances cannot share a group by accident. Needs a tokio runtime.
///
/// Shape: it is a name in the network namespace, no file, so nothing is left behind. The kernel lets no two users share a
/// group, so a name that another user took stops nobody.
/// Errors: `InUse` with the holder when another instance of this user has it, or the port at a wildcard address that covers
/// it, or at one that it covers; otherwise the system's.
pub fn hold(addr: SocketAddr) -> Result<AddressLock, BindError> {
    let place = Place::Tcp(addr);
    let name = format!("{LOCK_NAME}{addr}");
    let failed = |fault: Errno| explain(&place, fault.into());
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).map_err(failed)?;
    let socket = unix_socket().map_err(failed)?;
    match bind_to(&socket, &address) {
        Ok(()) => {
            // It listens only so that others can ask the kernel who we are.
            listen(&socket, LOCK_BACKLOG).map_err(failed)?;
            match overlapping(addr) {
                Some(holder) => Err(BindError::InUse { place, holder }),
                None => Ok(AddressLock { _socket: Some(socket) }),
            }
        }
        Err(Errno::ADDRINUSE) => match owner_of(&address, &name) {
            Owner::Us(holder) => Err(BindError::InUse { place, holder }),
            Owner::Other => Ok(AddressLock { _socket: None }),
        },
        Err(fault) => Err(failed(fault)),
    }
}

/// What the names of locks begin with.
const LOCK_NAME: &str = "shimmercat/tcp/";

/// Another instance of this user that has the port at an address which ours contains, or which contains ours: the kernel
/// would give it a part of our connections, or us of its.
///
/// Source: proc_pid_net(5), `/proc/net/unix`; abstract names begin with `@` there.
fn overlapping(addr: SocketAddr) -> Option<Option<Holder>> {
    let text = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let names = text
        .lines()
        .filter_map(|line| line.rsplit(' ').next()?.strip_prefix('@'));
    let overlaps = |other: &SocketAddr| {
        let contains = other.ip().is_unspecified() || addr.ip().is_unspecified();
        *other != addr && other.port() == addr.port() && other.is_ipv4() == addr.is_ipv4() && contains
    };
    names
        .filter_map(|name| name.strip_prefix(LOCK_NAME)?.parse().ok())
        .filter(overlaps)
        .find_map(|other| {
            let name = format!("{LOCK_NAME}{other}");
            let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).ok()?;
            match owner_of(&address, &name) {
                // One instance may have both.
                Owner::Us(Some(holder)) if holder.pid == std::process::id() => None,
                Owner::Us(holder) => Some(holder),
                Owner::Other => None,
            }
        })
}

/// How many others may have asked who we are; later ones look into `/proc`.
const LOCK_BACKLOG: i32 = 64;

enum Owner {
    /// A process of this user, or one that we cannot tell from it.
    Us(Option<Holder>),
    /// A process of another user.
    Other,
}

fn owner_of(address: &SocketAddrUnix, name: &str) -> Owner {
    let asked = unix_socket().and_then(|socket| connect(&socket, address).map(|()| socket));
    let asked = asked.map_err(io::Error::from).and_then(|socket| {
        // Not rustix, whose process ids cannot be 0: that is what a process outside of our namespace has here.
        UnixStream::from_std(socket.into())?.peer_cred()
    });
    let from_proc = || holder::of_unix(Path::new(&format!("@{name}")));
    match asked {
        Ok(credentials) if credentials.uid() != geteuid().as_raw() => Owner::Other,
        Ok(credentials) => {
            let pid = credentials.pid().and_then(Pid::from_raw);
            Owner::Us(pid.and_then(holder::named).or_else(from_proc))
        }
        // Nobody listens, or too many have asked. Other users' processes are not seen in `/proc`.
        Err(fault)
            if matches!(
                fault.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::WouldBlock
            ) =>
        {
            match from_proc() {
                Some(holder) if holder::user_of(holder.pid).is_some_and(|user| user == geteuid().as_raw()) => {
                    Owner::Us(Some(holder))
                }
                _ => Owner::Other,
            }
        }
        Err(_) => Owner::Us(from_proc()),
    }
}

fn unix_socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// Makes one listening socket for each lane of a TCP address.
///
/// Shape: as many sockets as `lanes`, close-on-exec, in the order of the group; with port 0 the first chooses and the others
/// follow. `joins` says that sockets of our own group may be open already. IPv6 sockets take IPv6 only.
/// Errors: `InUse` with the holder when somebody else has the address; `joins` takes sockets of the same user that share for
/// our own. Otherwise as [`crate::listen::bind`].
pub fn bind(addr: SocketAddr, lanes: usize, joins: bool) -> Result<Vec<OwnedFd>, BindError> {
    group(addr, lanes, joins, Type::STREAM).map_err(|fault| explain(&Place::Tcp(addr), fault))
}

/// Finds a process that listens at a TCP address and is not of a `family`, whose first argument begins so.
///
/// Shape: `None` also when the system does not let us see who listens.
pub fn stranger(addr: SocketAddr, family: &str) -> Option<Holder> {
    holder::of_tcp_but(addr, family)
}

/// Makes two UDP sockets for each lane of an address: for one generation of its workers and the next.
///
/// Shape: as [`bind`]; the group's order is that of the pairs.
/// Errors: as [`bind`].
pub fn bind_udp(addr: SocketAddr, lanes: usize, joins: bool) -> Result<Vec<[OwnedFd; 2]>, BindError> {
    let sockets =
        group(addr, lanes.saturating_mul(2), joins, Type::DGRAM).map_err(|fault| listen::explain_udp(addr, fault))?;
    let mut sockets = sockets.into_iter();
    let mut pairs = Vec::with_capacity(lanes);
    while let (Some(first), Some(second)) = (sockets.next(), sockets.next()) {
        pairs.push([first, second]);
    }
    Ok(pairs)
}

/// Where a socket is bound.
///
/// Errors: it is no socket of IPv4 or IPv6.
pub fn local(socket: impl AsFd) -> io::Result<SocketAddr> {
    rustix::net::getsockname(socket)?
        .try_into()
        .map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn group(addr: SocketAddr, how_many: usize, joins: bool, kind: Type) -> io::Result<Vec<OwnedFd>> {
    if !joins && addr.port() != 0 {
        // Without the wish to share this fails when anybody is there, whoever it is. It never listens, so it takes nothing.
        one(addr, kind, false)?;
    }
    let mut addr = addr;
    let mut sockets = Vec::with_capacity(how_many);
    for _ in 0..how_many {
        let socket = one(addr, kind, true)?;
        if kind == Type::STREAM {
            socket.listen(BACKLOG)?;
        }
        let socket = OwnedFd::from(socket);
        addr = local(&socket)?;
        sockets.push(socket);
    }
    Ok(sockets)
}

fn one(addr: SocketAddr, kind: Type, shares: bool) -> io::Result<Socket> {
    let socket = if kind == Type::STREAM {
        let socket = Socket::new(Domain::for_address(addr), kind, Some(Protocol::TCP))?;
        // Old connections in TIME_WAIT are in nobody's way. With UDP it would mean sharing.
        socket.set_reuse_address(true)?;
        socket
    } else {
        Socket::new(Domain::for_address(addr), kind, Some(Protocol::UDP))?
    };
    socket.set_reuse_port(shares)?;
    socket.set_nonblocking(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// A listening unix socket with a path, shared by all lanes.
///
/// Dropping it closes it and removes the file, unless that was replaced meanwhile or is to [`UnixSocket::stay`].
#[derive(Debug)]
pub struct UnixSocket {
    socket: OwnedFd,
    path: OwnPath,
}

impl UnixSocket {
    /// Leaves the file where it is, because somebody else keeps the socket open.
    pub fn stay(&mut self) {
        self.path.stay();
    }
}

impl AsFd for UnixSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Makes a listening unix socket that only its owner can open, without a runtime.
///
/// Shape: with `replaces` it takes the place of a socket that others may still listen on; for a moment there is none.
/// Errors: as [`crate::listen::bind`].
pub fn bind_unix(path: &Path, replaces: bool) -> Result<UnixSocket, BindError> {
    let (socket, path) = listen::unix_at(path, replaces)?;
    Ok(UnixSocket { socket, path })
}

/// Takes a unix socket over that was bound to `path` before; `None` when it listens no more at the file that stands there.
///
/// Shape: the file is known by being a socket, and the socket by the path that it was bound to.
pub fn adopt_unix(socket: OwnedFd, path: &Path) -> Option<UnixSocket> {
    let bound = rustix::net::getsockname(&socket).ok()?;
    let bound: SocketAddrUnix = bound.try_into().ok()?;
    let is_there = bound.path_bytes() == Some(path.as_os_str().as_encoded_bytes());
    let listens = sockopt::socket_acceptconn(&socket).unwrap_or(false);
    let path = (is_there && listens).then(|| OwnPath::of(path))??;
    Some(UnixSocket { socket, path })
}
