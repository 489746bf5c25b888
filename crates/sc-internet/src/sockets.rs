//! Every listening socket of the instance: bound once, in fixed order, and never closed while the master lives.
//!
//! A TCP address has one socket for each lane, in a group among which the kernel spreads connections, and for HTTPS two
//! UDP sockets for each lane, which nobody reads yet. A unix path, and a socket that was passed in alone, is shared by all
//! lanes. What a service manager kept for us is taken over, so that a restart refuses nobody. Accepting is the workers';
//! how sockets are made is told in [`sc_net::lanes`], how they are kept in [`crate::systemd`].

mod stored;

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{SocketType, sockopt};
use sc_config::Address;
use sc_net::lanes::{self, AddressLock, UnixSocket};
use sc_net::{BindError, Place};
use serde::{Deserialize, Serialize};

use stored::{Kind, StoredName};

/// What the title of a worker's process begins with.
pub const WORKER: &str = "shimmercat: worker";

/// What is spoken on a socket.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// TLS, and the sites.
    Https,
    /// The dialects of the little network.
    Socks,
    /// Plain HTTP that only redirects.
    Redirect,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Https => "https",
            Role::Socks => "socks",
            Role::Redirect => "redirect",
        })
    }
}

/// An address of the settings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wanted {
    /// What is spoken there.
    pub role: Role,
    /// Where.
    pub address: Address,
}

/// A descriptor that whoever started us passed in.
#[derive(Debug)]
pub struct Inherited {
    /// Its name; `unknown` when it was given none.
    pub name: String,
    /// The descriptor, close-on-exec.
    pub fd: OwnedFd,
}

/// Why the sockets could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    /// An address could not be bound, or a descriptor is of no use.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// No socket was passed in under the name.
    #[error("no socket named `{name}` was passed in{}", instead(.known))]
    NoSuchName {
        /// The name that was asked for.
        name: String,
        /// The names that were passed in.
        known: Vec<String>,
    },
    /// A form of address that has nothing to listen on.
    #[error("`{0}` cannot be listened on")]
    NotListening(Address),
}

fn instead(known: &[String]) -> String {
    match known {
        [] => String::new(),
        known => format!(", only `{}`", known.join("`, `")),
    }
}

/// What is worth telling about the sockets, though it hinders nothing.
#[derive(Debug, thiserror::Error)]
pub enum Note {
    /// The address is not prepared for HTTP/3.
    #[error("nothing can be prepared for HTTP/3 at {address}")]
    NoUdp {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: BindError,
    },
    /// A socket that was kept or passed in has no use, and was closed.
    #[error("the socket `{name}` was passed in and is not used: {why}")]
    Unused {
        /// Its name.
        name: String,
        /// Why.
        why: &'static str,
    },
}

/// The sockets of the instance.
///
/// Dropping them closes them, and removes the files of unix sockets.
#[derive(Debug)]
pub struct Sockets {
    lanes: usize,
    bound: Vec<Bound>,
    places: Vec<Listening>,
    notes: Vec<Note>,
    forgotten: Vec<String>,
    _locks: Vec<AddressLock>,
}

/// Where a wanted address is listened on; a name may stand for several.
#[derive(Debug, Eq, PartialEq)]
struct Listening {
    role: Role,
    shown: String,
    inet: Option<SocketAddr>,
}

/// One socket.
#[derive(Debug)]
struct Bound {
    role: Role,
    share: Share,
    /// Its name in the store; what came from a service manager's own unit has none.
    name: Option<StoredName>,
    socket: Handle,
}

/// Which lanes accept from a socket.
#[derive(Debug)]
enum Share {
    /// All.
    All,
    /// One.
    One(usize),
    /// Of every `of` lanes the one at `at`.
    Each { of: usize, at: usize },
}

impl Share {
    fn serves(&self, lane: usize) -> bool {
        match *self {
            Share::All => true,
            Share::One(own) => own == lane,
            Share::Each { of, at } => lane.checked_rem(of) == Some(at),
        }
    }
}

#[derive(Debug)]
enum Handle {
    Plain(OwnedFd),
    Unix(UnixSocket),
}

impl Bound {
    fn is_stream(&self) -> bool {
        self.name.as_ref().is_none_or(|name| name.kind != Kind::Udp)
    }
}

impl AsFd for Bound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Handle::Plain(socket) => socket.as_fd(),
            Handle::Unix(socket) => socket.as_fd(),
        }
    }
}

impl Sockets {
    /// Opens every wanted address for `lanes` lanes, taking over what was `inherited` where that fits. Needs a tokio runtime.
    ///
    /// Shape: `orphans` says that workers of a former master may still serve, so addresses are shared with processes of this
    /// user that call themselves [`WORKER`]. Sockets that were kept for more lanes than there are now go to the lanes there
    /// are.
    /// Errors: [`SocketsError`]; all that was opened is closed again.
    pub fn open(
        wanted: &[Wanted],
        lanes: usize,
        inherited: Vec<Inherited>,
        orphans: bool,
    ) -> Result<Sockets, SocketsError> {
        let (kept, passed) = stored::sort(inherited);
        let mut opening = Opening {
            orphans,
            kept,
            passed,
            sockets: Sockets {
                lanes: lanes.max(1),
                bound: Vec::new(),
                places: Vec::new(),
                notes: Vec::new(),
                forgotten: Vec::new(),
                _locks: Vec::new(),
            },
        };
        for wanted in wanted {
            opening.open(wanted)?;
        }
        Ok(opening.finish())
    }

    /// The sockets that a worker of this lane accepts from.
    pub fn of_lane(&self, lane: usize) -> Vec<(Role, BorrowedFd<'_>)> {
        let serves = |bound: &&Bound| bound.is_stream() && bound.share.serves(lane);
        self.bound
            .iter()
            .filter(serves)
            .map(|bound| (bound.role, bound.as_fd()))
            .collect()
    }

    /// Where each wanted address of a role listens, in the order of the settings, with the port that the system chose.
    pub fn addresses(&self, role: Role) -> Vec<String> {
        self.of_role(role).map(|place| place.shown.clone()).collect()
    }

    /// The same without unix sockets.
    pub fn inet(&self, role: Role) -> Vec<SocketAddr> {
        self.of_role(role).filter_map(|place| place.inet).collect()
    }

    fn of_role(&self, role: Role) -> impl Iterator<Item = &Listening> {
        self.places.iter().filter(move |place| place.role == role)
    }

    /// The sockets that are to be kept by a service manager over a restart, with their names there.
    pub fn stored(&self) -> Vec<(String, BorrowedFd<'_>)> {
        self.bound
            .iter()
            .filter_map(|bound| Some((bound.name.as_ref()?.encode(), bound.as_fd())))
            .collect()
    }

    /// Names that a service manager has to forget, before [`Sockets::stored`] is kept: their sockets were not taken over.
    pub fn forgotten(&self) -> &[String] {
        &self.forgotten
    }

    /// Leaves the files of unix sockets in place at the end, because the sockets were given to be kept.
    pub fn stay(&mut self) {
        for bound in &mut self.bound {
            if let Handle::Unix(socket) = &mut bound.socket {
                socket.stay();
            }
        }
    }

    /// What is worth telling.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }
}

/// The sockets while they are being opened.
struct Opening {
    orphans: bool,
    /// Sockets that we gave away to be kept.
    kept: Vec<(StoredName, OwnedFd)>,
    /// Sockets of the service manager's own units, and what came with them.
    passed: Vec<Inherited>,
    sockets: Sockets,
}

impl Opening {
    fn open(&mut self, wanted: &Wanted) -> Result<(), SocketsError> {
        let role = wanted.role;
        let inet = match &wanted.address {
            Address::Tcp(addr) => Some(self.tcp(role, *addr)?),
            Address::Unix(path) => self.unix(role, path)?,
            Address::Fd(number) => self.numbered(role, *number)?,
            Address::SocketName(name) => return self.named(role, name, &wanted.address),
            Address::Name { .. } => return Err(SocketsError::NotListening(wanted.address.clone())),
        };
        self.listens_at(role, &wanted.address, inet);
        Ok(())
    }

    fn listens_at(&mut self, role: Role, wanted: &Address, inet: Option<SocketAddr>) {
        let shown = inet.map_or_else(|| wanted.to_string(), |addr| addr.to_string());
        let place = Listening { role, shown, inet };
        if !self.sockets.places.contains(&place) {
            self.sockets.places.push(place);
        }
    }

    /// Opens one socket for each lane, and for HTTPS two of UDP; returns the address with the port that was chosen.
    fn tcp(&mut self, role: Role, wanted: SocketAddr) -> Result<SocketAddr, SocketsError> {
        if wanted.port() != 0 {
            self.sockets._locks.push(lanes::hold(wanted)?);
        }
        let (mut addr, missing) = self.kept_of_lanes(role, Kind::Tcp, wanted, wanted, 1);
        let has_kept = missing.len() < self.sockets.lanes;
        let joins = has_kept || (self.orphans && wanted.port() != 0);
        if joins && !has_kept {
            // Of those that share only workers are welcome: another program would get a part of the connections.
            if let Some(holder) = lanes::stranger(wanted, WORKER) {
                let (place, holder) = (Place::Tcp(wanted), Some(holder));
                return Err(BindError::InUse { place, holder }.into());
            }
        }
        for (lane, socket) in missing.iter().zip(lanes::bind(addr, missing.len(), joins)?) {
            addr = lanes::local(&socket).unwrap_or(addr);
            self.assign(StoredName::new(role, *lane, Kind::Tcp, &Address::Tcp(wanted)), socket);
        }
        if wanted.port() == 0 {
            self.sockets._locks.push(lanes::hold(addr)?);
        }
        if role == Role::Https {
            self.udp(role, wanted, addr);
        }
        Ok(addr)
    }

    /// Opens two UDP sockets for each lane. When that cannot be, it is noted only: HTTPS needs none of them.
    fn udp(&mut self, role: Role, wanted: SocketAddr, addr: SocketAddr) {
        let (_, missing) = self.kept_of_lanes(role, Kind::Udp, wanted, addr, 2);
        // Workers have none of these yet, so those of former ones cannot be in the way.
        let joins = missing.len() < 2 * self.sockets.lanes;
        match lanes::bind_udp(addr, missing.len().div_ceil(2), joins) {
            Ok(pairs) => {
                for (lane, socket) in missing.into_iter().zip(pairs.into_iter().flatten()) {
                    self.assign(StoredName::new(role, lane, Kind::Udp, &Address::Tcp(wanted)), socket);
                }
            }
            Err(source) => self.sockets.notes.push(Note::NoUdp { address: addr, source }),
        }
    }

    /// Takes over what was kept of a group; returns its address, and each lane as often as it has not `each` sockets.
    fn kept_of_lanes(
        &mut self,
        role: Role,
        kind: Kind,
        wanted: SocketAddr,
        mut addr: SocketAddr,
        each: usize,
    ) -> (SocketAddr, Vec<usize>) {
        let mut missing = vec![each; self.sockets.lanes];
        for (name, socket) in self.take_kept(role, kind, &Address::Tcp(wanted)) {
            match check(&socket, kind.socket_type(), addr) {
                Ok(local) => {
                    addr = local;
                    let lane = self.assign(name, socket);
                    if let Some(count) = missing.get_mut(lane) {
                        *count = count.saturating_sub(1);
                    }
                }
                Err(why) => self.forget(&name, why),
            }
        }
        let missing = missing.into_iter().enumerate();
        (
            addr,
            missing
                .flat_map(|(lane, count)| std::iter::repeat_n(lane, count))
                .collect(),
        )
    }

    fn unix(&mut self, role: Role, path: &Path) -> Result<Option<SocketAddr>, SocketsError> {
        let address = Address::Unix(path.to_owned());
        let mut own: Option<UnixSocket> = None;
        for (name, socket) in self.take_kept(role, Kind::Unix, &address) {
            match own.is_none().then(|| lanes::adopt_unix(socket, path)).flatten() {
                Some(adopted) => own = Some(adopted),
                None => self.forget(&name, "its file is another one now"),
            }
        }
        let socket = match own {
            Some(adopted) => adopted,
            None => lanes::bind_unix(path, self.orphans)?,
        };
        self.sockets.bound.push(Bound {
            role,
            share: Share::All,
            name: Some(StoredName::new(role, 0, Kind::Unix, &address)),
            socket: Handle::Unix(socket),
        });
        Ok(None)
    }

    /// Takes the descriptor of a number, from what a service manager passed or from whoever else started us.
    fn numbered(&mut self, role: Role, number: i32) -> Result<Option<SocketAddr>, SocketsError> {
        let socket = match self.passed.iter().position(|passed| passed.fd.as_raw_fd() == number) {
            Some(at) => self.passed.swap_remove(at).fd,
            None => sc_net::listen::adopt(number)?,
        };
        self.use_passed(role, Share::All, socket)
    }

    /// Spreads the sockets of a name over the lanes: each lane has at least one, and each socket at least one lane.
    fn named(&mut self, role: Role, name: &str, wanted: &Address) -> Result<(), SocketsError> {
        let (found, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.passed)
            .into_iter()
            .partition(|passed| passed.name == name);
        self.passed = others;
        let (lanes, count) = (self.sockets.lanes, found.len());
        if count == 0 {
            return Err(SocketsError::NoSuchName {
                name: name.to_owned(),
                known: self.passed.iter().map(|passed| passed.name.clone()).collect(),
            });
        }
        for (at, passed) in found.into_iter().enumerate() {
            let share = if count < lanes {
                Share::Each { of: count, at }
            } else {
                Share::One(at % lanes)
            };
            let local = self.use_passed(role, share, passed.fd)?;
            self.listens_at(role, wanted, local);
        }
        Ok(())
    }

    fn use_passed(&mut self, role: Role, share: Share, socket: OwnedFd) -> Result<Option<SocketAddr>, SocketsError> {
        if !listens(&socket) {
            return Err(SocketsError::Bind(BindError::NotInherited {
                place: Place::Fd(socket.as_raw_fd()),
                why: "it does not listen for streams",
            }));
        }
        let local = lanes::local(&socket).ok();
        self.sockets.bound.push(Bound {
            role,
            share,
            name: None,
            socket: Handle::Plain(socket),
        });
        Ok(local)
    }

    /// Takes what was kept for an address, in the order of lanes.
    fn take_kept(&mut self, role: Role, kind: Kind, address: &Address) -> Vec<(StoredName, OwnedFd)> {
        let (mut found, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.kept)
            .into_iter()
            .partition(|(name, _)| name.is_of(role, kind, address));
        self.kept = others;
        found.sort_by_key(|(name, _)| name.lane);
        found
    }

    /// Gives a socket that was kept to its lane, or another one when that lane is no more; it is kept under its old name.
    fn assign(&mut self, name: StoredName, socket: OwnedFd) -> usize {
        let lane = name.lane % self.sockets.lanes;
        self.sockets.bound.push(Bound {
            role: name.role,
            share: Share::One(lane),
            name: Some(name),
            socket: Handle::Plain(socket),
        });
        lane
    }

    fn forget(&mut self, name: &StoredName, why: &'static str) {
        let name = name.encode();
        self.sockets.notes.push(Note::Unused {
            name: name.clone(),
            why,
        });
        if !self.sockets.forgotten.contains(&name) {
            self.sockets.forgotten.push(name);
        }
    }

    /// Closes what is left over.
    fn finish(mut self) -> Sockets {
        for (name, _) in std::mem::take(&mut self.kept) {
            self.forget(&name, "nothing listens there any more");
        }
        for passed in self.passed {
            self.sockets.notes.push(Note::Unused {
                name: passed.name,
                why: "no address asks for it",
            });
        }
        self.sockets
    }
}

/// Checks a socket that was kept: is it still what its name says?
fn check(socket: &OwnedFd, kind: SocketType, wanted: SocketAddr) -> Result<SocketAddr, &'static str> {
    let local = lanes::local(socket).map_err(|_| "it is no socket of the Internet protocols")?;
    let is_there = local.ip() == wanted.ip() && (wanted.port() == 0 || local.port() == wanted.port());
    if !is_there {
        return Err("it is bound to another address");
    }
    let is_kind = sockopt::socket_type(socket).is_ok_and(|found| found == kind);
    if !is_kind || (kind == SocketType::STREAM && !listens(socket)) {
        return Err("it is no socket of this kind");
    }
    if !sockopt::socket_reuseport(socket).unwrap_or(false) {
        return Err("it does not share its address");
    }
    Ok(local)
}

fn listens(socket: &OwnedFd) -> bool {
    sockopt::socket_type(socket).is_ok_and(|kind| kind == SocketType::STREAM)
        && sockopt::socket_acceptconn(socket).unwrap_or(false)
}

#[cfg(test)]
mod tests;
