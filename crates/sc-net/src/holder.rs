//! Finds out which process holds an address that cannot be bound.
//!
//! It reads `/proc`, so it sees other users' processes only as far as the system lets it; not finding the holder is
//! an ordinary outcome. Used by [`crate::listen`] for its error messages.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::Pid;

/// A process that listens where we want to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// The name of its command, as the kernel keeps it (at most 15 bytes).
    pub command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} ({})", self.pid, self.command)
    }
}

/// Finds who listens at a TCP address, or at a wildcard address with the same port.
pub fn of_tcp(addr: SocketAddr) -> Option<Holder> {
    holders(&listening_tcp(addr)).next()
}

/// As [`of_tcp`], but passes over processes whose title, their first argument, begins with `family`.
pub(crate) fn of_tcp_but(addr: SocketAddr, family: &str) -> Option<Holder> {
    let is_family = |holder: &Holder| {
        std::fs::read(format!("/proc/{}/cmdline", holder.pid)).is_ok_and(|line| line.starts_with(family.as_bytes()))
    };
    holders(&listening_tcp(addr)).find(|holder| !is_family(holder))
}

/// Finds who has a UDP address, or a wildcard address with the same port.
pub fn of_udp(addr: SocketAddr) -> Option<Holder> {
    holders(&in_tables(["/proc/net/udp", "/proc/net/udp6"], "07", addr)).next()
}

fn listening_tcp(addr: SocketAddr) -> Vec<u64> {
    in_tables(["/proc/net/tcp", "/proc/net/tcp6"], "0A", addr)
}

/// Names a process.
pub(crate) fn named(pid: Pid) -> Option<Holder> {
    let pid = u32::try_from(pid.as_raw_nonzero().get()).ok()?;
    let command = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(Holder {
        pid,
        command: command
            .trim_end()
            .chars()
            .filter(|letter| !letter.is_control())
            .collect(),
    })
}

/// The user whose rights a process has.
pub(crate) fn user_of(pid: u32) -> Option<u32> {
    std::fs::metadata(format!("/proc/{pid}"))
        .ok()
        .map(|folder| folder.uid())
}

fn in_tables(tables: [&str; 2], state: &str, addr: SocketAddr) -> Vec<u64> {
    tables
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().filter_map(|line| socket(line, state)).collect::<Vec<_>>())
        .filter(|(local, _)| collides(*local, addr))
        .map(|(_, inode)| inode)
        .collect()
}

/// Finds who listens at a unix socket's path.
pub fn of_unix(path: &Path) -> Option<Holder> {
    let table = std::fs::read("/proc/net/unix").ok()?;
    let inodes: Vec<u64> = table
        .split(|byte| *byte == b'\n')
        .filter(|line| {
            line.strip_suffix(path.as_os_str().as_bytes())
                .is_some_and(|rest| rest.ends_with(b" "))
        })
        .filter_map(|line| {
            std::str::from_utf8(line)
                .ok()?
                .split_ascii_whitespace()
                .nth(6)?
                .parse()
                .ok()
        })
        .collect();
    holders(&inodes).next()
}

/// Local address and inode of a socket's line, when it is in `state`.
///
/// Source: proc_pid_net(5): the fields are `sl local_address rem_address st … uid timeout inode`; state 0A is LISTEN, which
/// for UDP reads 07 (unconnected).
fn socket(line: &str, state: &str) -> Option<(SocketAddr, u64)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = fields.next()?;
    if fields.nth(1)? != state {
        return None;
    }
    Some((address(local)?, fields.nth(5)?.parse().ok()?))
}

/// Reads `0100007F:1F90`: 32-bit words in the byte order of the machine, and a port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| {
        let digits = ip.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (at, chunk) in octets.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

fn collides(held: SocketAddr, wanted: SocketAddr) -> bool {
    let (ours, theirs) = (wanted.ip().to_canonical(), held.ip().to_canonical());
    held.port() == wanted.port() && (ours == theirs || ours.is_unspecified() || theirs.is_unspecified())
}

/// The processes that have one of these sockets open, by their number.
fn holders(inodes: &[u64]) -> impl Iterator<Item = Holder> {
    let names: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let holds = move |pid: &u32| {
        std::fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|fds| {
            fds.flatten().any(|fd| {
                std::fs::read_link(fd.path())
                    .is_ok_and(|link| names.iter().any(|name| link.as_os_str() == name.as_str()))
            })
        })
    };
    let mut pids: Vec<u32> = match inodes {
        [] => Vec::new(),
        _ => std::fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect(),
    };
    pids.sort_unstable();
    pids.into_iter()
        .filter(holds)
        .filter_map(|pid| named(Pid::from_raw(i32::try_from(pid).ok()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernel_s_table() {
        let line =
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0";
        assert_eq!(
            socket(line, "0A"),
            Some(("127.0.0.1:8080".parse().expect("an address"), 12345))
        );
        let line6 =
            "   1: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 77 1";
        assert_eq!(
            socket(line6, "0A"),
            Some(("[::1]:8080".parse().expect("an address"), 77))
        );
        let open =
            "   2: 0100007F:1F90 0100007F:8000 01 00000000:00000000 00:00000000 00000000  1000        0 12346 1 0";
        assert_eq!(socket(open, "0A"), None);
        assert_eq!(socket("  sl  local_address rem_address   st tx_queue", "0A"), None);
    }

    #[test]
    fn finds_ourselves() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let holder = of_tcp(listener.local_addr().expect("an address")).expect("a holder");
        assert_eq!(holder.pid, std::process::id());
        assert!(!holder.command.is_empty());
    }
}
