//! Binds listeners: TCP, unix sockets, and sockets that were passed in by whoever started us.
//!
//! An address that is taken is an error that names its holder ([`crate::holder`]). Accepting is [`crate::accept`]'s;
//! which addresses to bind is decided by the modes.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use crate::holder::{self, Holder};
use crate::stream::Stream;
use crate::{ClientAddr, LocalAddr};

/// How many connections the kernel keeps for us until we accept them; it lowers this to `net.core.somaxconn`.
pub(crate) const BACKLOG: i32 = 4096;

/// What the kernel takes of a connection beyond what it has sent. It would take megabytes otherwise: memory for each client
/// that reads slowly, and time by which whatever is urgent comes later. Below half of it there is room to write again, which
/// leaves 64 KiB to send until then: 5 ms at 100 Mbit/s.
pub(crate) const UNSENT_BYTES: u32 = 128 << 10;

/// Where to listen.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Place {
    /// An address; port 0 lets the system choose, `[::]` takes IPv6 only.
    Tcp(SocketAddr),
    /// A path; the socket there is readable and writable by its owner only.
    Unix(PathBuf),
    /// A listening socket that is open already under this number, as with socket activation.
    Fd(RawFd),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp(addr) => addr.fmt(f),
            Place::Unix(path) => write!(f, "unix://{}", path.display()),
            Place::Fd(number) => write!(f, "socket-fd://{number}"),
        }
    }
}

/// Why a listener could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody listens there.
    #[error("{place} is taken{}", by(.holder.as_ref()))]
    InUse {
        /// What was asked for.
        place: Place,
        /// Who holds it, where the system lets us see that.
        holder: Option<Holder>,
    },
    /// The system forbids it, e.g. a port below 1024.
    #[error("no permission to listen at {place}")]
    Denied {
        /// What was asked for.
        place: Place,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The address does not belong to this machine.
    #[error("{place} is no address of this machine")]
    NotHere {
        /// What was asked for.
        place: Place,
    },
    /// Something that is no socket stands at the path.
    #[error("{place} exists and is not a socket")]
    NotASocket {
        /// What was asked for.
        place: Place,
    },
    /// The descriptor is not an inherited listening stream socket.
    #[error("{place} is not a listening socket that was passed in: {why}")]
    NotInherited {
        /// What was asked for.
        place: Place,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Anything else.
    #[error("cannot listen at {place}")]
    Other {
        /// What was asked for.
        place: Place,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

fn by(holder: Option<&Holder>) -> String {
    holder.map_or_else(String::new, |holder| format!(" by {holder}"))
}

/// A bound, listening socket.
///
/// Dropping it closes it; a unix socket that we made is removed from the file system, unless it was replaced meanwhile.
#[derive(Debug)]
pub struct Listener {
    socket: Kind,
    local: LocalAddr,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        _path: Option<OwnPath>,
    },
}

impl Listener {
    /// Where it listens, with the port that the system chose.
    pub fn local(&self) -> LocalAddr {
        self.local.clone()
    }

    /// Listens on a socket that is open already, of TCP or unix. Needs a tokio runtime.
    ///
    /// Shape: it is made close-on-exec and non-blocking; a unix socket's file is left alone when it is dropped.
    /// Errors: `NotInherited` when it does not listen for streams; otherwise the system's.
    pub fn from_owned(socket: OwnedFd) -> Result<Listener, BindError> {
        let place = Place::Fd(socket.as_raw_fd());
        match inherited::set_up(socket.into()) {
            Ok(Some(listener)) => Ok(listener),
            Ok(None) => Err(BindError::NotInherited {
                place,
                why: "it does not listen for streams",
            }),
            Err(source) => Err(BindError::Other { place, source }),
        }
    }

    /// Takes the next connection, with `TCP_NODELAY` set.
    ///
    /// Cancel: nothing is lost.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, ClientAddr, LocalAddr)> {
        match &self.socket {
            Kind::Tcp(listener) => {
                let (stream, client) = listener.accept().await?;
                let local = self.local_of(&stream);
                Ok((stream.into(), ClientAddr::inet(client), local))
            }
            Kind::Unix { listener, .. } => {
                let (stream, client) = listener.accept().await?;
                let client = ClientAddr::unix(client.as_pathname().map(Path::to_owned));
                Ok((stream.into(), client, self.local.clone()))
            }
        }
    }

    /// Only a wildcard listener has to ask where a connection arrived.
    fn local_of(&self, stream: &TcpStream) -> LocalAddr {
        match self.local.socket() {
            Some(addr) if addr.ip().is_unspecified() => {
                stream.local_addr().map_or_else(|_| self.local.clone(), LocalAddr::inet)
            }
            _ => self.local.clone(),
        }
    }
}

/// Binds a listener and starts listening. Needs a tokio runtime.
///
/// Errors: [`BindError`]; a stale unix socket is none, it is replaced when nobody listens at it.
pub fn bind(place: &Place) -> Result<Listener, BindError> {
    match place {
        Place::Tcp(addr) => bind_tcp(*addr).map_err(|fault| explain(place, fault)),
        Place::Unix(path) => {
            let (socket, own) = unix_at(path, false)?;
            from_unix(socket.into(), Some(own)).map_err(|fault| explain(place, fault))
        }
        Place::Fd(number) => Listener::from_owned(adopt(*number)?),
    }
}

/// Takes a descriptor that was open when the program started, and makes it close-on-exec.
///
/// Errors: `NotInherited` when it is a standard stream, not open, opened by this program, or was taken before.
pub fn adopt(number: RawFd) -> Result<OwnedFd, BindError> {
    let place = Place::Fd(number);
    let owned = inherited::own(number).map_err(|why| BindError::NotInherited {
        place: place.clone(),
        why,
    })?;
    match rustix::io::fcntl_setfd(&owned, rustix::io::FdFlags::CLOEXEC) {
        Ok(()) => Ok(owned),
        Err(fault) => Err(explain(&place, fault.into())),
    }
}

/// Binds a unix socket and starts listening, without a runtime; `replaces` one that others may still listen on.
pub(crate) fn unix_at(path: &Path, replaces: bool) -> Result<(OwnedFd, OwnPath), BindError> {
    let place = Place::Unix(path.to_owned());
    unix::bind(path, replaces).map_err(|fault| match fault {
        unix::Fault::NotASocket => BindError::NotASocket { place },
        unix::Fault::Io(fault) => explain(&place, fault),
    })
}

/// Binds the first free port from `addr` on, trying `how_many`.
///
/// Shape: stops at port 65535; port 0 is tried once.
/// Errors: `InUse` for the first port when all are taken; any other error at once.
pub fn bind_first_free(addr: SocketAddr, how_many: u16) -> Result<Listener, BindError> {
    let last = if addr.port() == 0 {
        0
    } else {
        addr.port().saturating_add(how_many.saturating_sub(1))
    };
    let mut first_fault = None;
    for port in addr.port()..=last {
        match bind_tcp(SocketAddr::new(addr.ip(), port)) {
            Ok(listener) => return Ok(listener),
            Err(fault) if fault.kind() == io::ErrorKind::AddrInUse => {
                first_fault.get_or_insert(fault);
            }
            Err(fault) => return Err(explain(&Place::Tcp(SocketAddr::new(addr.ip(), port)), fault)),
        }
    }
    let fault = first_fault.unwrap_or_else(|| Errno::ADDRINUSE.into());
    Err(explain(&Place::Tcp(addr), fault))
}

/// Says why a place could not be bound, and by whom it is held.
pub(crate) fn explain(place: &Place, source: io::Error) -> BindError {
    explain_with(place, source, |place| match place {
        Place::Tcp(addr) => holder::of_tcp(*addr),
        Place::Unix(path) => holder::of_unix(path),
        Place::Fd(_) => None,
    })
}

/// As [`explain`], for an address of UDP.
pub(crate) fn explain_udp(addr: SocketAddr, source: io::Error) -> BindError {
    explain_with(&Place::Tcp(addr), source, |_| holder::of_udp(addr))
}

fn explain_with(place: &Place, source: io::Error, holder: impl Fn(&Place) -> Option<Holder>) -> BindError {
    let place = place.clone();
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            let holder = holder(&place);
            BindError::InUse { place, holder }
        }
        io::ErrorKind::AddrNotAvailable => BindError::NotHere { place },
        io::ErrorKind::PermissionDenied => BindError::Denied { place, source },
        _ => BindError::Other { place, source },
    }
}

fn bind_tcp(addr: SocketAddr) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    from_tcp(socket)
}

/// Accepted sockets inherit `TCP_NODELAY` and `TCP_NOTSENT_LOWAT` from the listener (Linux), which saves system calls.
fn from_tcp(socket: Socket) -> io::Result<Listener> {
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
    let listener = TcpListener::from_std(socket.into())?;
    let local = LocalAddr::inet(listener.local_addr()?);
    Ok(Listener {
        socket: Kind::Tcp(listener),
        local,
    })
}

fn from_unix(socket: Socket, path: Option<OwnPath>) -> io::Result<Listener> {
    socket.set_nonblocking(true)?;
    let listener = UnixListener::from_std(OwnedFd::from(socket).into())?;
    let local = LocalAddr::unix(listener.local_addr()?.as_pathname().map(Path::to_owned));
    Ok(Listener {
        socket: Kind::Unix { listener, _path: path },
        local,
    })
}

/// A socket file that we made; removed when dropped, if it is still ours.
#[derive(Debug)]
pub(crate) struct OwnPath {
    path: PathBuf,
    /// Device and inode; `None` when it is to stay.
    file: Option<(u64, u64)>,
}

impl OwnPath {
    /// Takes the socket file that stands at `path` for ours.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let file = unix::file_of(path).ok()??;
        Some(OwnPath {
            path: path.to_owned(),
            file: Some(file),
        })
    }

    /// Leaves the file where it is.
    pub(crate) fn stay(&mut self) {
        self.file = None;
    }
}

impl Drop for OwnPath {
    fn drop(&mut self) {
        if self.file.is_some() && unix::file_of(&self.path).is_ok_and(|file| file == self.file) {
            // Nothing can be done about a failure here; the next start finds a stale socket and replaces it.
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}

mod unix {
    //! Unix sockets in the file system: private to their owner, stale ones replaced.

    use super::*;

    pub(super) enum Fault {
        NotASocket,
        Io(io::Error),
    }

    impl<E: Into<io::Error>> From<E> for Fault {
        fn from(fault: E) -> Self {
            Fault::Io(fault.into())
        }
    }

    /// Binds the path while the folder is locked, so that two starts cannot remove each other's socket.
    pub(super) fn bind(path: &Path, replaces: bool) -> Result<(OwnedFd, OwnPath), Fault> {
        let addr = SockAddr::unix(path)?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let lock = rustix::fs::open(
            folder,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|fault| match fault {
            // Somebody is binding here at this moment.
            Errno::WOULDBLOCK => Errno::ADDRINUSE,
            other => other,
        })?;
        remove_old(path, &addr, replaces)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // Linux makes the file with the mode of the unbound socket: it is never open to others, not even at first.
        rustix::fs::fchmod(socket.as_fd(), OWNER_ONLY)?;
        socket.bind(&addr)?;
        rustix::fs::chmod(path, OWNER_ONLY)?;
        let file = file_of(path)?.ok_or(Fault::NotASocket)?;
        let own = OwnPath {
            path: path.to_owned(),
            file: Some(file),
        };
        socket.listen(BACKLOG)?;
        Ok((socket.into(), own))
    }

    const OWNER_ONLY: Mode = Mode::from_raw_mode(0o600);

    /// Device and inode of the socket at `path`; `None` when something else stands there.
    pub(super) fn file_of(path: &Path) -> io::Result<Option<(u64, u64)>> {
        let stat = rustix::fs::lstat(path)?;
        let is_socket = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_socket();
        Ok(is_socket.then_some((stat.st_dev, stat.st_ino)))
    }

    fn remove_old(path: &Path, addr: &SockAddr, replaces: bool) -> Result<(), Fault> {
        match file_of(path) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(fault) => return Err(fault.into()),
            Ok(None) => return Err(Fault::NotASocket),
            Ok(Some(_)) if replaces => return Ok(rustix::fs::unlink(path)?),
            Ok(Some(_)) => {}
        }
        let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        probe.set_nonblocking(true)?;
        match probe.connect(addr) {
            Err(fault) if fault.kind() == io::ErrorKind::ConnectionRefused => Ok(rustix::fs::unlink(path)?),
            // A full backlog, a success, or anything unclear: somebody may be there.
            _ => Err(Fault::Io(Errno::ADDRINUSE.into())),
        }
    }
}

mod inherited {
    //! Listening sockets that were open when the program started.

    use std::os::fd::FromRawFd;
    use std::sync::Mutex;

    use super::*;

    /// Numbers taken so far: each is owned once.
    static ADOPTED: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

    /// Makes a listener of a socket; `None` when it does not listen for streams.
    pub(super) fn set_up(socket: Socket) -> io::Result<Option<Listener>> {
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
            return Ok(None);
        }
        if socket.domain()? == Domain::UNIX {
            from_unix(socket, None)
        } else {
            from_tcp(socket)
        }
        .map(Some)
    }

    /// Takes ownership of a descriptor that came from outside.
    #[expect(unsafe_code, reason = "a number becomes an owned descriptor in no other way")]
    pub(super) fn own(number: RawFd) -> Result<OwnedFd, &'static str> {
        if number < 3 {
            return Err("0, 1 and 2 are the standard streams");
        }
        let mut adopted = ADOPTED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if adopted.contains(&number) {
            return Err("it was taken before");
        }
        let link = std::fs::read_link(format!("/proc/self/fd/{number}")).map_err(|_| "it is not open")?;
        if !link.as_os_str().as_encoded_bytes().starts_with(b"socket:") {
            return Err("it is not a socket");
        }
        if is_close_on_exec(number) {
            return Err("it was opened by this program");
        }
        adopted.push(number);
        // SAFETY: the descriptor is open (it has an entry in /proc/self/fd) and nobody in this program owns it: std,
        // tokio and this room open everything close-on-exec, and this one is not, so it was inherited through exec;
        // ADOPTED gives each number away once.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    }

    /// Whether the descriptor cannot have come through exec; when that cannot be seen, it counts as ours.
    ///
    /// Source: proc_pid_fdinfo(5): `flags` is octal, close-on-exec is 02000000.
    fn is_close_on_exec(number: RawFd) -> bool {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        flags
            .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())
            .is_none_or(|flags| flags & 0o2_000_000 != 0)
    }
}
