//! IP networks as written in `allow-private` and `socks-allow`: one address, or an address with a prefix length.
//!
//! IPv4-mapped IPv6 addresses count as the IPv4 address inside them, in the network as well as in what is asked.
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A range of IP addresses.
///
/// Shape: the bits beyond the prefix are zero.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

/// What is wrong with the text of a network.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum NetworkError {
    /// The part before the slash is not an IP address.
    #[error("`{0}` is not an IP address or network")]
    Address(String),
    /// The prefix length is no number, or too large for the kind of address.
    #[error("`{0}` has a prefix length that does not fit")]
    Prefix(String),
    /// Bits are set beyond the prefix.
    #[error("`{text}` has bits set beyond its prefix")]
    HostBits {
        /// As written.
        text: String,
        /// The network that contains it.
        network: Network,
    },
}

impl NetworkError {
    /// Says what to write instead.
    pub fn hint(&self) -> String {
        match self {
            Self::Address(_) => {
                "write an address or a network, as in `192.168.1.7` or `10.0.0.0/8`, without a port".into()
            }
            Self::Prefix(_) => "IPv4 has prefixes from 0 to 32, IPv6 from 0 to 128".into(),
            Self::HostBits { network, .. } => format!("write `{network}`, or the address without its prefix"),
        }
    }
}

impl Network {
    /// The network of the first `prefix` bits of `ip`; `None` when there are not that many bits.
    pub fn new(ip: IpAddr, prefix: u8) -> Option<Self> {
        if prefix > bits(ip) {
            return None;
        }
        match (ip, ip.to_canonical(), prefix.checked_sub(96)) {
            (IpAddr::V6(_), IpAddr::V4(inner), Some(prefix)) => Some(Self::masked(IpAddr::V4(inner), prefix)),
            _ => Some(Self::masked(ip, prefix)),
        }
    }

    fn masked(ip: IpAddr, prefix: u8) -> Self {
        let base = match ip {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask_v4(prefix))),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask_v6(prefix))),
        };
        Self { base, prefix }
    }

    /// Says whether `ip` lies in this network.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.base, ip.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(ip)) => ip.to_bits() & mask_v4(self.prefix) == base.to_bits(),
            (IpAddr::V6(base), IpAddr::V6(ip)) => ip.to_bits() & mask_v6(self.prefix) == base.to_bits(),
            _ => false,
        }
    }

    /// The first address of the network.
    pub fn base(&self) -> IpAddr {
        self.base
    }

    /// The number of leading bits that every address of the network shares.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }
}

fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn mask_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

fn mask_v6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == bits(self.base) {
            write!(f, "{}", self.base)
        } else {
            write!(f, "{}/{}", self.base, self.prefix)
        }
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let inner = address
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(address);
        let ip: IpAddr = inner.parse().map_err(|_| NetworkError::Address(text.to_owned()))?;
        let wrong_prefix = || NetworkError::Prefix(text.to_owned());
        let prefix = match prefix {
            None => bits(ip),
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().map_err(|_| wrong_prefix())?,
            Some(_) => return Err(wrong_prefix()),
        };
        let network = Self::new(ip, prefix).ok_or_else(wrong_prefix)?;
        if Self::new(ip, bits(ip)).is_none_or(|exact| exact.base != network.base) {
            return Err(NetworkError::HostBits {
                text: text.to_owned(),
                network,
            });
        }
        Ok(network)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn contains(network: &str, ip: &str) -> bool {
        network.parse::<Network>().unwrap().contains(ip.parse().unwrap())
    }

    #[test]
    fn containing() {
        assert!(contains("10.0.0.0/8", "10.255.0.1"));
        assert!(!contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("127.0.0.1", "127.0.0.1"));
        assert!(!contains("127.0.0.1", "127.0.0.2"));
        assert!(contains("0.0.0.0/0", "8.8.8.8"));
        assert!(!contains("0.0.0.0/0", "::1"));
        assert!(contains("fd00::/8", "fdff::1"));
        assert!(contains("::/0", "2001:db8::1"));
        assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(contains("::ffff:10.0.0.0/104", "10.1.2.3"));
        assert!(contains("[::1]", "::1"));
    }

    #[test]
    fn refusals() {
        for (text, error) in [
            ("example.com", "`example.com` is not an IP address or network"),
            ("127.0.0.1:80", "`127.0.0.1:80` is not an IP address or network"),
            ("10.0.0.0/33", "`10.0.0.0/33` has a prefix length that does not fit"),
            ("10.0.0.0/", "`10.0.0.0/` has a prefix length that does not fit"),
            ("10.0.0.1/8", "`10.0.0.1/8` has bits set beyond its prefix"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap_err().to_string(), error);
        }
        let hint = "10.0.0.1/8".parse::<Network>().unwrap_err().hint();
        assert_eq!(hint, "write `10.0.0.0/8`, or the address without its prefix");
    }
}
