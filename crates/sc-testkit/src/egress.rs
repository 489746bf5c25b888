//! What a program sends to the network, seen from the kernel's side.
//!
//! A program launched with `Launch::watched` runs under `strace`, which writes down each `connect`, `sendto`, `sendmsg` and
//! `sendmmsg` of all its threads and children. That works for root and for ordinary users, needs no firewall, and sees DNS
//! queries too. Addresses of the `AF_INET` families are collected here; unix sockets and netlink never leave the machine.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// The arguments after which the program and its own arguments follow.
///
/// `-D` makes the tracer a grandchild, so that the process we started, signal and wait for is the program itself.
pub(crate) fn strace_arguments(log: &Path) -> Vec<String> {
    let mut arguments: Vec<String> = ["-D", "-f", "-q", "-s", "0", "-e", "signal=none"]
        .map(String::from)
        .into();
    arguments.extend(["-e", "trace=connect,sendto,sendmsg,sendmmsg"].map(String::from));
    arguments.extend(["-o".to_owned(), log.display().to_string(), "--".to_owned()]);
    arguments
}

/// An address that a program sent to, or tried to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Destination {
    /// Where to.
    pub address: SocketAddr,
    /// The line of the trace.
    pub call: String,
}

impl Destination {
    /// Whether a packet to it leaves the machine.
    pub fn is_outside(&self) -> bool {
        let ip = self.address.ip().to_canonical();
        !ip.is_loopback() && !ip.is_unspecified()
    }
}

/// Every Internet address in a trace, in order.
pub(crate) fn destinations_in(trace: &str) -> Vec<Destination> {
    trace.lines().flat_map(destinations_of_line).collect()
}

fn destinations_of_line(line: &str) -> Vec<Destination> {
    // One call may name several addresses (sendmmsg): each begins with its family.
    let pieces = line.split("sa_family=AF_INET").skip(1);
    pieces
        .filter_map(address_in)
        .map(|address| Destination {
            address,
            call: line.to_owned(),
        })
        .collect()
}

/// Reads `, sin_port=htons(53), sin_addr=inet_addr("9.9.9.9")}` or
/// `6, sin6_port=htons(443), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "::1", &sin6_addr), …`.
fn address_in(piece: &str) -> Option<SocketAddr> {
    let port: u16 = between(piece, "htons(", ")")?.parse().ok()?;
    let ip: IpAddr = between(piece, "\"", "\"")?.parse().ok()?;
    Some(SocketAddr::new(ip, port))
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(begin)?;
    rest.split_once(end).map(|(found, _)| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_family_of_a_trace() {
        let trace = r#"
71 connect(5, {sa_family=AF_UNIX, sun_path="/run/x"}, 110) = 0
71 connect(5, {sa_family=AF_INET, sin_port=htons(8080), sin_addr=inet_addr("127.0.0.1")}, 16) = -1 EINPROGRESS (Operation now in progress)
72 connect(6, {sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), sin6_scope_id=0}, 28) = -1 ENETUNREACH (Network is unreachable)
72 sendto(7, ""..., 40, MSG_NOSIGNAL, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("9.9.9.9")}, 16) = 40
72 sendto(7, ""..., 40, MSG_NOSIGNAL, NULL, 0) = 40
73 connect(6, {sa_family=AF_INET6, sin6_port=htons(80), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "::ffff:127.0.0.1", &sin6_addr), sin6_scope_id=0}, 28) = 0
"#;
        let found = destinations_in(trace);
        let shown: Vec<_> = found
            .iter()
            .map(|to| (to.address.to_string(), to.is_outside()))
            .collect();
        let expected = [
            ("127.0.0.1:8080", false),
            ("[2001:db8::1]:443", true),
            ("9.9.9.9:53", true),
            ("[::ffff:127.0.0.1]:80", false),
        ];
        assert_eq!(shown, expected.map(|(address, outside)| (address.to_owned(), outside)));
    }
}
