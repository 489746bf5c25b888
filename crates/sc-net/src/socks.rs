//! SOCKS 4, 4a and 5: the codec and the server's side of the handshake.
//!
//! [`codec`] knows bytes only; [`handshake`] and [`reply`] talk to a client. What is asked for is granted or refused by
//! sc-server. UDP datagrams have their header in [`crate::udp`].
//!
//! Source: RFC 1928 (SOCKS 5), RFC 1929 (user name and password), Lee's memos on SOCKS 4 and 4A.

pub mod codec;
mod handshake;

use std::fmt;

pub use handshake::{SocksError, handshake, refuse, reply};

use crate::Target;

/// How long a client may take from its first byte to the end of its request.
pub const HANDSHAKE_DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);

/// The protocol version of a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// SOCKS 4 or 4a.
    V4,
    /// SOCKS 5.
    V5,
}

/// What a client wants to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Command {
    /// A TCP connection to the target.
    Connect,
    /// To wait for a connection from the target.
    Bind,
    /// A relay for datagrams (SOCKS 5 only).
    UdpAssociate,
}

/// What a client asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ask {
    /// The version it speaks.
    pub version: Version,
    /// What it wants.
    pub command: Command,
    /// Where to; with [`Command::UdpAssociate`] where its datagrams will come from (RFC 1928 §6), often all zeros.
    pub target: Target,
    /// The user: authenticated with [`Auth::Users`], merely claimed with [`Auth::None`].
    pub user: Option<String>,
}

/// The answers of RFC 1928 §6. SOCKS 4 knows only "granted" and "rejected".
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Reply {
    /// 00
    Succeeded,
    /// 01: general SOCKS server failure.
    GeneralFailure,
    /// 02: connection not allowed by ruleset.
    NotAllowed,
    /// 03
    NetworkUnreachable,
    /// 04
    HostUnreachable,
    /// 05
    ConnectionRefused,
    /// 06
    TtlExpired,
    /// 07
    CommandNotSupported,
    /// 08
    AddressTypeNotSupported,
}

impl Reply {
    /// The code of RFC 1928 §6.
    pub fn code(self) -> u8 {
        match self {
            Reply::Succeeded => 0,
            Reply::GeneralFailure => 1,
            Reply::NotAllowed => 2,
            Reply::NetworkUnreachable => 3,
            Reply::HostUnreachable => 4,
            Reply::ConnectionRefused => 5,
            Reply::TtlExpired => 6,
            Reply::CommandNotSupported => 7,
            Reply::AddressTypeNotSupported => 8,
        }
    }

    /// The code of SOCKS 4: 90 granted, 91 rejected or failed.
    pub fn code4(self) -> u8 {
        match self {
            Reply::Succeeded => 90,
            _ => 91,
        }
    }

    /// What it means, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Reply::Succeeded => "succeeded",
            Reply::GeneralFailure => "general failure",
            Reply::NotAllowed => "not allowed",
            Reply::NetworkUnreachable => "network unreachable",
            Reply::HostUnreachable => "host unreachable",
            Reply::ConnectionRefused => "connection refused",
            Reply::TtlExpired => "TTL expired",
            Reply::CommandNotSupported => "command not supported",
            Reply::AddressTypeNotSupported => "address type not supported",
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who may use the proxy.
#[derive(Clone, Default)]
pub enum Auth {
    /// Anyone who can reach it; a client that insists on sending a name and password may.
    #[default]
    None,
    /// Users by name and password. SOCKS 4, which has no passwords, is refused then.
    Users(Vec<(String, String)>),
}

impl Auth {
    /// Whether name and password belong to a user.
    ///
    /// Shape: takes the same time for every name and password, right or wrong, known or not.
    pub fn admits(&self, name: &[u8], password: &[u8]) -> bool {
        match self {
            Auth::None => true,
            Auth::Users(users) => {
                let (name, password) = (Padded::new(name), Padded::new(password));
                users.iter().fold(false, |found, (known, secret)| {
                    let same =
                        name.equals(&Padded::new(known.as_bytes())) & password.equals(&Padded::new(secret.as_bytes()));
                    found | same
                })
            }
        }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Auth::None => f.write_str("None"),
            Auth::Users(users) => f
                .debug_list()
                .entries(users.iter().map(|(name, _)| format_args!("{name}:…").to_string()))
                .finish(),
        }
    }
}

/// Up to 255 bytes (RFC 1929 §2) in a field of constant size, for comparing in constant time; anything longer equals
/// nothing.
struct Padded {
    bytes: [u8; 255],
    length: usize,
}

impl Padded {
    fn new(text: &[u8]) -> Self {
        let mut bytes = [0; 255];
        bytes.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
        Padded {
            bytes,
            length: text.len(),
        }
    }

    fn equals(&self, other: &Padded) -> bool {
        let differing = self
            .bytes
            .iter()
            .zip(&other.bytes)
            .fold(0, |all, (a, b)| std::hint::black_box(all | (a ^ b)));
        (differing == 0) & (self.length == other.length) & (self.length <= self.bytes.len())
    }
}

#[cfg(test)]
mod tests;
