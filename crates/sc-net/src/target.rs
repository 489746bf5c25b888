//! What a client of the little network asks for: a name or address, and a port.
//!
//! Names are checked and normalised here once, so that everything behind compares them byte by byte. A name that
//! is an address in disguise (`127.0.0.1` sent as a name) becomes an address. Forms that only the system's resolver
//! understands (`0x7f.1`, `2130706433`) stay names: whatever they resolve to meets [`crate::Guard`] before a dial.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::UpstreamAddr;

/// The longest name taken, in bytes (RFC 1035 §2.3.4, without the length bytes and the root).
pub const MAX_NAME_BYTES: usize = 253;
/// The longest label taken, in bytes (RFC 1035 §2.3.4).
pub const MAX_LABEL_BYTES: usize = 63;

/// A host that was asked for.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Host {
    /// A name: lower-case ASCII letters, digits, `-`, `_` and `.`, no trailing dot.
    Name(String),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address, never an IPv4-mapped one.
    V6(Ipv6Addr),
}

/// Why a name is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameError {
    /// Nothing was sent, or only a dot.
    #[error("the name is empty")]
    Empty,
    /// More than [`MAX_NAME_BYTES`].
    #[error("the name is longer than {MAX_NAME_BYTES} bytes")]
    Long,
    /// A label is empty or longer than [`MAX_LABEL_BYTES`].
    #[error("a label of the name is empty or longer than {MAX_LABEL_BYTES} bytes")]
    Label,
    /// A byte above 127: internationalised names travel as punycode (RFC 5891 §4.4).
    #[error("the name is not ASCII; internationalised names are sent as punycode")]
    NotAscii,
    /// A control byte, a space, or anything else no host name holds.
    #[error("the name holds the byte 0x{0:02x}")]
    Byte(u8),
}

impl Host {
    /// Reads a host as a client sends it: a name, or an address with or without brackets.
    ///
    /// Shape: the result is normalised as [`Host`] says.
    /// Errors: [`NameError`] for whatever can be neither.
    pub fn parse(bytes: &[u8]) -> Result<Host, NameError> {
        if let Some(ip) = literal(bytes) {
            return Ok(Host::from(ip));
        }
        let name = bytes.strip_suffix(b".").unwrap_or(bytes);
        check_name(name)?;
        Ok(Host::Name(
            name.iter().map(|byte| char::from(byte.to_ascii_lowercase())).collect(),
        ))
    }

    /// The name, when it is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Host::Name(name) => Some(name),
            Host::V4(_) | Host::V6(_) => None,
        }
    }

    /// The address, when it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::Name(_) => None,
            Host::V4(ip) => Some(IpAddr::V4(*ip)),
            Host::V6(ip) => Some(IpAddr::V6(*ip)),
        }
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Host::V4(ip),
            IpAddr::V6(ip) => Host::V6(ip),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::V4(ip) => ip.fmt(f),
            Host::V6(ip) => ip.fmt(f),
        }
    }
}

/// A host and a port that were asked for.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Target {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
}

impl Target {
    /// The address, when the host is one.
    pub fn socket(&self) -> Option<SocketAddr> {
        self.host.ip().map(|ip| SocketAddr::new(ip, self.port))
    }

    /// What [`crate::dial()`] takes.
    pub fn upstream(&self) -> UpstreamAddr {
        match &self.host {
            Host::Name(name) => UpstreamAddr::Name {
                host: name.clone(),
                port: self.port,
            },
            Host::V4(ip) => UpstreamAddr::Tcp(SocketAddr::new(IpAddr::V4(*ip), self.port)),
            Host::V6(ip) => UpstreamAddr::Tcp(SocketAddr::new(IpAddr::V6(*ip), self.port)),
        }
    }
}

impl From<SocketAddr> for Target {
    fn from(addr: SocketAddr) -> Self {
        Target {
            host: Host::from(addr.ip()),
            port: addr.port(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::V6(ip) => write!(f, "[{ip}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

fn literal(bytes: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(bytes).ok()?;
    let text = text.strip_suffix('.').unwrap_or(text);
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse().ok()
}

fn check_name(name: &[u8]) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(NameError::Long);
    }
    for byte in name.iter().copied() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {}
            128.. => return Err(NameError::NotAscii),
            other => return Err(NameError::Byte(other)),
        }
    }
    if name
        .split(|byte| *byte == b'.')
        .any(|label| label.is_empty() || label.len() > MAX_LABEL_BYTES)
    {
        return Err(NameError::Label);
    }
    Ok(())
}

/// Reads any bytes as a host, for fuzzing.
///
/// Shape: what was understood is in one form only, which reads back as itself; an address never stays a name.
pub fn fuzz_host(bytes: &[u8]) {
    let Ok(host) = Host::parse(bytes) else { return };
    let shown = host.to_string();
    assert_eq!(Host::parse(shown.as_bytes()).as_ref(), Ok(&host), "{shown}");
    assert_eq!(
        Host::parse(&bytes.to_ascii_uppercase()),
        Ok(host.clone()),
        "names have no case"
    );
    match &host {
        Host::Name(name) => {
            assert!(
                name.len() <= MAX_NAME_BYTES && name.parse::<IpAddr>().is_err(),
                "{name}"
            );
            assert!(
                name.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase()),
                "{name}"
            );
        }
        Host::V6(ip) => assert!(ip.to_ipv4_mapped().is_none(), "{ip}"),
        Host::V4(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: &str) {
        let found = match Host::parse(input.as_bytes()) {
            Ok(Host::Name(name)) => format!("name {name}"),
            Ok(Host::V4(ip)) => format!("v4 {ip}"),
            Ok(Host::V6(ip)) => format!("v6 {ip}"),
            Err(fault) => format!("{fault:?}"),
        };
        assert_eq!(found, expected, "for {input:?}");
    }

    #[test]
    fn names_are_lowered_and_lose_the_root_dot() {
        check("WWW.Example.COM.", "name www.example.com");
        check("phpmyadmin", "name phpmyadmin");
        check("_dmarc.xn--bcher-kva.example", "name _dmarc.xn--bcher-kva.example");
    }

    #[test]
    fn addresses_in_disguise_are_addresses() {
        check("127.0.0.1", "v4 127.0.0.1");
        check("127.0.0.1.", "v4 127.0.0.1");
        check("::1", "v6 ::1");
        check("[::1]", "v6 ::1");
        check("::ffff:10.0.0.1", "v4 10.0.0.1");
        check("[::ffff:a9fe:a9fe]", "v4 169.254.169.254");
    }

    #[test]
    fn forms_only_the_resolver_knows_stay_names() {
        for odd in ["0x7f.1", "2130706433", "017700000001", "127.1"] {
            check(odd, &format!("name {odd}"));
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        check("", "Empty");
        check(".", "Empty");
        check("a..b", "Label");
        check(".a", "Label");
        check("a..", "Label");
        check("b\u{fc}cher.example", "NotAscii");
        check("a b", "Byte(32)");
        check("a\0b", "Byte(0)");
        check("a\r\nb", "Byte(13)");
        check("<script>", "Byte(60)");
        check("fe80::1%lo", "Byte(58)");
        check(&"a".repeat(64), "Label");
        check(&"a.".repeat(127), &format!("name {}a", "a.".repeat(126)));
        check(&"a.".repeat(128), "Long");
    }

    #[test]
    fn targets_print_with_brackets_where_needed() {
        let target = Target {
            host: Host::V6(Ipv6Addr::LOCALHOST),
            port: 53,
        };
        assert_eq!(target.to_string(), "[::1]:53");
        assert_eq!(
            Target::from(SocketAddr::from(([1, 2, 3, 4], 5))).to_string(),
            "1.2.3.4:5"
        );
    }
}
