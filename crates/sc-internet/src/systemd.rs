//! What we and a service manager tell each other: states, a watchdog, and sockets over a restart.
//!
//! Everything is a no-op when no service manager asked for it. Nothing is read from the environment here and nothing is
//! removed from it: the program hands variables down, and gives its children none of [`VARIABLES`].
//!
//! Source: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3); systemd.service(5), `Type=notify-reload`.

use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    sockopt,
};
use rustix::time::{ClockId, clock_gettime};
use sc_net::BindError;

use crate::sockets::Inherited;

/// The variables by which a service manager speaks to the process that it started, and to no child of it.
pub const VARIABLES: [&str; 7] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
];

/// The number of the first descriptor that is passed in (`SD_LISTEN_FDS_START`).
const FIRST_FD: i32 = 3;
/// More than any number of lanes and addresses needs; the usual limit of a service is 524,288.
const MOST_FDS: i32 = 65_536;
/// How long a service manager that reads nothing may keep us: one message of ours is told every second or so.
const SEND_TIME: Duration = Duration::from_millis(50);

/// The connection to a service manager; without one, every call does nothing and succeeds.
#[derive(Debug)]
pub struct Service {
    notify: Option<(OwnedFd, SocketAddrUnix)>,
    watchdog_interval: Option<Duration>,
    passed: Vec<(i32, String)>,
}

/// What the service manager said cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A variable has a value that makes no sense.
    #[error("the service manager set `{name}` to `{value}`, which cannot be understood")]
    Variable {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// The socket for telling it could not be made.
    #[error("the service manager cannot be spoken to")]
    Socket(#[source] io::Error),
    /// A descriptor that it announced is not there.
    #[error("the service manager announced a descriptor that is not there")]
    Descriptor(#[source] BindError),
}

impl Service {
    /// Reads what a service manager said when it started us; `variable` looks into the environment.
    ///
    /// Errors: `Variable` for values of no sense, `Socket` when there are no descriptors.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Result<Service, ServiceError> {
        let ours = std::process::id();
        let is_ours = |name: &'static str| Ok(number(&variable, name)?.is_none_or(|pid| pid == u64::from(ours)));
        let watchdog = number(&variable, "WATCHDOG_USEC")?.filter(|time| *time > 0);
        let watched = is_ours("WATCHDOG_PID")?;
        let has_pid = variable("LISTEN_PID").is_some() && is_ours("LISTEN_PID")?;
        let count = number(&variable, "LISTEN_FDS")?.filter(|_| has_pid).unwrap_or(0);
        Ok(Service {
            notify: variable("NOTIFY_SOCKET")
                .and_then(|place| place_of(&place))
                .map(open)
                .transpose()?,
            // Half the time, as the manual advises.
            watchdog_interval: watchdog.filter(|_| watched).map(|time| Duration::from_micros(time) / 2),
            passed: passed(count, variable("LISTEN_FDNAMES"))?,
        })
    }

    /// Whether somebody listens to what is told.
    pub fn is_told(&self) -> bool {
        self.notify.is_some()
    }

    /// Takes the descriptors that were passed in, which can be done once.
    ///
    /// Errors: `Descriptor` when one is missing or was taken before.
    pub fn inherited(&mut self) -> Result<Vec<Inherited>, ServiceError> {
        std::mem::take(&mut self.passed)
            .into_iter()
            .map(|(number, name)| {
                let fd = sc_net::listen::adopt(number).map_err(ServiceError::Descriptor)?;
                Ok(Inherited { name, fd })
            })
            .collect()
    }

    /// Tells that starting or reloading is over.
    ///
    /// Errors: of this and of all that tell: nobody reads there, or not in time.
    pub fn ready(&self, status: &str) -> io::Result<()> {
        self.tell(&format!("READY=1\nSTATUS={}", one_line(status)), &[])
    }

    /// Tells that reloading begins; [`Service::ready`] ends it.
    pub fn reloading(&self) -> io::Result<()> {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"), &[])
    }

    /// Tells a person how it goes.
    pub fn status(&self, text: &str) -> io::Result<()> {
        self.tell(&format!("STATUS={}", one_line(text)), &[])
    }

    /// Tells that we are stopping.
    pub fn stopping(&self) -> io::Result<()> {
        self.tell("STOPPING=1", &[])
    }

    /// Asks for so much more time, from now on, for starting, reloading or stopping.
    pub fn extend(&self, by: Duration) -> io::Result<()> {
        self.tell(&format!("EXTEND_TIMEOUT_USEC={}", by.as_micros()), &[])
    }

    /// Tells that all is well; to be called once in each [`Service::watchdog_interval`].
    pub fn watchdog(&self) -> io::Result<()> {
        match self.watchdog_interval {
            Some(_) => self.tell("WATCHDOG=1", &[]),
            None => Ok(()),
        }
    }

    /// How often [`Service::watchdog`] is to be called; `None` when nobody waits for it.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog_interval
    }

    /// Gives sockets away to be kept for the process that is started after us.
    ///
    /// Shape: keeping the same socket again changes nothing; a unit with too small a `FileDescriptorStoreMax=` loses some.
    pub fn store(&self, sockets: &[(String, BorrowedFd<'_>)]) -> io::Result<()> {
        // One message each, since a message has one name. Without polling, an error on a socket does not end its keeping.
        sockets
            .iter()
            .try_for_each(|(name, socket)| self.tell(&format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}"), &[*socket]))
    }

    /// Has sockets that were kept closed.
    pub fn forget(&self, names: &[String]) -> io::Result<()> {
        names
            .iter()
            .try_for_each(|name| self.tell(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[]))
    }

    fn tell(&self, text: &str, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        let Some((socket, place)) = &self.notify else {
            return Ok(());
        };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let text = [IoSlice::new(text.as_bytes())];
        rustix::net::sendmsg_addr(socket, place, &text, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

/// A line break would begin another assignment.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn number(variable: &impl Fn(&str) -> Option<OsString>, name: &'static str) -> Result<Option<u64>, ServiceError> {
    let Some(value) = variable(name) else {
        return Ok(None);
    };
    match value.to_str().and_then(|text| text.parse().ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(ServiceError::Variable {
            name,
            value: value.to_string_lossy().into_owned(),
        }),
    }
}

/// A path or, behind `@`, an abstract name. Other kinds, such as `vsock:`, are for virtual machines.
fn place_of(text: &OsString) -> Option<SocketAddrUnix> {
    match text.as_bytes() {
        [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name).ok(),
        [b'/', ..] => SocketAddrUnix::new(text.as_os_str()).ok(),
        _ => None,
    }
}

fn open(place: SocketAddrUnix) -> Result<(OwnedFd, SocketAddrUnix), ServiceError> {
    let made = || {
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(SEND_TIME))?;
        rustix::io::Result::Ok(socket)
    };
    made()
        .map(|socket| (socket, place))
        .map_err(|fault| ServiceError::Socket(fault.into()))
}

fn passed(count: u64, names: Option<OsString>) -> Result<Vec<(i32, String)>, ServiceError> {
    let wrong = |name, value: String| ServiceError::Variable { name, value };
    let last = i32::try_from(count)
        .ok()
        .filter(|count| *count <= MOST_FDS)
        .map(|count| FIRST_FD + count)
        .ok_or_else(|| wrong("LISTEN_FDS", count.to_string()))?;
    let names = names.map(|names| names.to_string_lossy().into_owned());
    let listed: Vec<&str> = match &names {
        Some(names) => names.split(':').collect(),
        None => Vec::new(),
    };
    if count > 0 && names.is_some() && listed.len() as u64 != count {
        return Err(wrong("LISTEN_FDNAMES", names.unwrap_or_default()));
    }
    let name_at = |at: usize| listed.get(at).map_or("unknown", |name| *name).to_owned();
    Ok((FIRST_FD..last)
        .enumerate()
        .map(|(at, number)| (number, name_at(at)))
        .collect())
}

#[cfg(test)]
mod tests;
