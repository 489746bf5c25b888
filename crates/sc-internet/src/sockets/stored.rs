//! The names under which a service manager keeps our sockets: what is spoken, on which lane, at which address.
//!
//! The address is the wanted one, so that `127.0.0.1:0` finds its port again after a restart.
//!
//! Source: sd_notify(3), `FDNAME=`: ASCII without control characters and `:`, at most 255 bytes.

use std::os::fd::OwnedFd;

use rustix::net::SocketType;
use sc_config::Address;

use super::{Inherited, Role};

/// What a socket is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Listens for TCP.
    Tcp,
    /// One of the two UDP sockets of a lane.
    Udp,
    /// Listens at a path.
    Unix,
}

impl Kind {
    pub(super) fn socket_type(self) -> SocketType {
        match self {
            Kind::Tcp | Kind::Unix => SocketType::STREAM,
            Kind::Udp => SocketType::DGRAM,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Kind::Tcp => "tcp",
            Kind::Udp => "udp",
            Kind::Unix => "unix",
        }
    }
}

/// A name, taken apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct StoredName {
    pub(super) role: Role,
    pub(super) lane: usize,
    pub(super) kind: Kind,
    /// The wanted address as written.
    address: String,
}

/// What our names begin with; no unit file would name a socket so.
const PREFIX: &str = "shimmercat/";

impl StoredName {
    pub(super) fn new(role: Role, lane: usize, kind: Kind, address: &Address) -> Self {
        StoredName {
            role,
            lane,
            kind,
            address: address.to_string(),
        }
    }

    pub(super) fn is_of(&self, role: Role, kind: Kind, address: &Address) -> bool {
        self.role == role && self.kind == kind && self.address == address.to_string()
    }

    /// Shape: `shimmercat/https/0/tcp/[%3A%3A1]%3A443`.
    pub(super) fn encode(&self) -> String {
        let mut name = format!("{PREFIX}{}/{}/{}/", self.role, self.lane, self.kind.word());
        for byte in self.address.bytes() {
            match byte {
                b':' | b'%' => name.push_str(&format!("%{byte:02X}")),
                b' '..=b'~' => name.push(char::from(byte)),
                _ => name.push_str(&format!("%{byte:02X}")),
            }
        }
        name
    }

    /// Shape: `None` for any name that [`StoredName::encode`] does not give.
    pub(super) fn decode(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(PREFIX)?.splitn(4, '/');
        let role = match parts.next()? {
            "https" => Role::Https,
            "socks" => Role::Socks,
            "redirect" => Role::Redirect,
            _ => return None,
        };
        let lane = parts.next()?.parse().ok()?;
        let kind = [Kind::Tcp, Kind::Udp, Kind::Unix]
            .into_iter()
            .find(|kind| Some(kind.word()) == parts.clone().next())?;
        let address = unescape(parts.nth(1)?)?;
        Some(StoredName {
            role,
            lane,
            kind,
            address,
        })
    }
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Parts what we gave away to be kept from what else was passed in.
pub(super) fn sort(inherited: Vec<Inherited>) -> (Vec<(StoredName, OwnedFd)>, Vec<Inherited>) {
    let mut kept = Vec::new();
    let mut passed = Vec::new();
    for item in inherited {
        match StoredName::decode(&item.name) {
            Some(name) => kept.push((name, item.fd)),
            None => passed.push(item),
        }
    }
    (kept, passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for address in ["127.0.0.1:443", "[::]:443", "unix:///run/a b%c:d/é.sock"] {
            let address: Address = address.parse().expect("an address");
            for (role, kind) in [
                (Role::Https, Kind::Udp),
                (Role::Socks, Kind::Tcp),
                (Role::Redirect, Kind::Unix),
            ] {
                let name = StoredName::new(role, 17, kind, &address);
                let text = name.encode();
                let fits = text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b':');
                assert!(fits, "{text}");
                assert_eq!(StoredName::decode(&text), Some(name), "{text}");
            }
        }
    }

    #[test]
    fn other_names_are_not_ours() {
        for name in [
            "https",
            "shimmercat",
            "shimmercat/",
            "shimmercat/https/x/tcp/1",
            "shimmercat/ftp/0/tcp/1",
            "shimmercat/https/0/sctp/1",
            "shimmercat/https/0/tcp",
            "shimmercat/https/0/tcp/%",
            "shimmercat/https/0/tcp/%zz",
        ] {
            assert_eq!(StoredName::decode(name), None, "{name}");
        }
    }
}
