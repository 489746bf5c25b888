//! Which addresses may be dialled on behalf of a client.
//!
//! A forwarding proxy on a developer's machine must not be a way into that machine or its network. The guard looks at
//! the address that is dialled, after resolving, and sees through the IPv6 forms that carry an IPv4 address. It does
//! not resolve and does not look at ports, except to keep us from dialling our own listeners. See [`crate::dial()`].
//!
//! Source: the IANA special-purpose address registries (RFC 6890 and its updates).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::str::FromStr;

/// A network in CIDR notation, or a single address.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Network {
    base: IpAddr,
    bits: u8,
}

/// Why a text is no network.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NetworkError {
    /// The part before the slash is no IP address.
    #[error("`{0}` is not an IP address")]
    Address(String),
    /// The part after the slash is no number of bits that fits the address.
    #[error("`{0}` is not a prefix length between 0 and {1}")]
    Bits(String, u8),
}

impl Network {
    /// The network of all addresses that share the first `bits` bits with `base`; too many bits mean all of them.
    pub fn new(base: IpAddr, bits: u8) -> Self {
        Network {
            base,
            bits: bits.min(width(base)),
        }
    }

    /// Whether `ip` belongs to it; an IPv4-mapped address counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.base, ip.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(ip)) => {
                prefix(u128::from(base.to_bits()), 32, self.bits) == prefix(u128::from(ip.to_bits()), 32, self.bits)
            }
            (IpAddr::V6(base), IpAddr::V6(ip)) => {
                prefix(base.to_bits(), 128, self.bits) == prefix(ip.to_bits(), 128, self.bits)
            }
            _ => false,
        }
    }
}

fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// The first `bits` of a number `width` bits wide.
fn prefix(number: u128, width: u8, bits: u8) -> u128 {
    number.checked_shr(u32::from(width - bits)).unwrap_or(0)
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let bare = address
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(address);
        let base: IpAddr = bare.parse().map_err(|_| NetworkError::Address(address.to_owned()))?;
        let most = width(base);
        let bits = match bits {
            None => most,
            Some(bits) => bits
                .parse()
                .ok()
                .filter(|count| *count <= most)
                .ok_or_else(|| NetworkError::Bits(bits.to_owned(), most))?,
        };
        Ok(Network::new(base, bits))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

/// Why an address is not dialled.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Forbidden {
    /// One of our own listeners: a loop.
    Own,
    /// This machine.
    Loopback,
    /// `0.0.0.0/8` and `::`, which also mean this machine.
    Unspecified,
    /// The link (RFC 3927, RFC 4291 §2.5.6).
    LinkLocal,
    /// A private network (RFC 1918, RFC 4193).
    Private,
    /// Behind a carrier's translator (RFC 6598).
    CarrierGrade,
    /// A cloud's instance metadata.
    Metadata,
    /// Multicast.
    Multicast,
    /// The limited broadcast address.
    Broadcast,
    /// Documentation (RFC 5737, RFC 3849, RFC 9637).
    Documentation,
    /// Benchmarking (RFC 2544, RFC 5180).
    Benchmarking,
    /// Reserved, never given out, or a tunnel whose end cannot be seen (Teredo).
    Reserved,
    /// A path on this machine's file system.
    UnixSocket,
}

impl Forbidden {
    /// What kind of address it is, as it reads after "is".
    pub fn as_str(self) -> &'static str {
        match self {
            Forbidden::Own => "one of our own listeners",
            Forbidden::Loopback => "a loopback address",
            Forbidden::Unspecified => "an unspecified address",
            Forbidden::LinkLocal => "a link-local address",
            Forbidden::Private => "a private address",
            Forbidden::CarrierGrade => "a carrier-grade NAT address",
            Forbidden::Metadata => "a cloud metadata address",
            Forbidden::Multicast => "a multicast address",
            Forbidden::Broadcast => "the broadcast address",
            Forbidden::Documentation => "a documentation address",
            Forbidden::Benchmarking => "a benchmarking address",
            Forbidden::Reserved => "a reserved address",
            Forbidden::UnixSocket => "a unix socket",
        }
    }
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Decides which addresses may be dialled.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    public: Option<Public>,
}

#[derive(Clone, Debug, Default)]
struct Public {
    allow: Vec<Network>,
    own: Vec<SocketAddr>,
}

impl Guard {
    /// Allows everything: for addresses that stand in the configuration.
    pub fn any() -> Self {
        Guard::default()
    }

    /// Allows the public Internet and `allow_private`, but never `own`, the addresses of our listeners.
    ///
    /// Shape: a wildcard address in `own` means its port on every address of this machine.
    pub fn public(allow_private: Vec<Network>, own: Vec<SocketAddr>) -> Self {
        let own = own
            .into_iter()
            .map(|addr| SocketAddr::new(addr.ip().to_canonical(), addr.port()))
            .collect();
        Guard {
            public: Some(Public {
                allow: allow_private,
                own,
            }),
        }
    }

    /// Checks an address that is about to be dialled.
    ///
    /// Errors: what forbids it.
    pub fn check(&self, addr: SocketAddr) -> Result<(), Forbidden> {
        let Some(public) = &self.public else { return Ok(()) };
        let ip = seen_through(addr.ip());
        if public.is_own(ip, addr.port()) || public.is_own(addr.ip().to_canonical(), addr.port()) {
            return Err(Forbidden::Own);
        }
        if public
            .allow
            .iter()
            .any(|network| network.contains(addr.ip()) || network.contains(ip))
        {
            return Ok(());
        }
        classify(addr.ip()).map_or(Ok(()), Err)
    }

    /// Checks a dial to a unix socket.
    pub(crate) fn check_unix(&self) -> Result<(), Forbidden> {
        if self.public.is_some() {
            Err(Forbidden::UnixSocket)
        } else {
            Ok(())
        }
    }
}

impl Public {
    fn is_own(&self, ip: IpAddr, port: u16) -> bool {
        self.own.iter().any(|own| {
            own.port() == port && (own.ip() == ip || ip.is_unspecified() || (own.ip().is_unspecified() && is_here(ip)))
        })
    }
}

/// Whether the address belongs to this machine: only then can a socket be bound to it.
fn is_here(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

/// The IPv4 address that an IPv6 address leads to, or the address itself.
///
/// Source: RFC 4291 §2.5.5 (mapped, compatible), RFC 2765 (translated), RFC 6052 §2.1 (NAT64), RFC 3056 (6to4),
/// RFC 5214 §6.1 (ISATAP).
pub fn seen_through(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => embedded(v6).map_or(ip, IpAddr::V4),
    }
}

fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let low = |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match ip.segments() {
        // `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0xffff | 0, a, b] | [0, 0, 0, 0, 0xffff, 0, a, b] => low(a, b),
        [0x64, 0xff9b, 0, 0, 0, 0, a, b] => low(a, b),
        [0x2002, a, b, ..] => low(a, b),
        [_, _, _, _, 0 | 0x0200, 0x5efe, a, b] => low(a, b),
        _ => None,
    }
}

/// Says what is special about an address; `None` is the public Internet.
pub fn classify(ip: IpAddr) -> Option<Forbidden> {
    match ip {
        IpAddr::V4(ip) => classify_v4(ip),
        IpAddr::V6(ip) => match embedded(ip) {
            Some(inner) => classify_v4(inner).or_else(|| classify_carrier(ip)),
            None => classify_v6(ip),
        },
    }
}

fn classify_v4(ip: Ipv4Addr) -> Option<Forbidden> {
    let kind = match ip.octets() {
        // Amazon and most others; Amazon's containers; Alibaba; Azure's virtual public address; Oracle.
        [169, 254, 169, 254] | [169, 254, 170, 2] | [100, 100, 100, 200] | [168, 63, 129, 16] | [192, 0, 0, 192] => {
            Forbidden::Metadata
        }
        [0, ..] => Forbidden::Unspecified,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Forbidden::Private,
        [100, 64..=127, ..] => Forbidden::CarrierGrade,
        [127, ..] => Forbidden::Loopback,
        [169, 254, ..] => Forbidden::LinkLocal,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Forbidden::Documentation,
        [192, 0, 0, _] | [192, 88, 99, _] => Forbidden::Reserved,
        [198, 18 | 19, ..] => Forbidden::Benchmarking,
        [224..=239, ..] => Forbidden::Multicast,
        [255, 255, 255, 255] => Forbidden::Broadcast,
        [240..=255, ..] => Forbidden::Reserved,
        _ => return None,
    };
    Some(kind)
}

fn classify_v6(ip: Ipv6Addr) -> Option<Forbidden> {
    let kind = match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Forbidden::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Forbidden::Loopback,
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => Forbidden::Metadata,
        // fc00::/7, and fec0::/10 that RFC 3879 retired, and the local NAT64 of RFC 8215.
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] | [0x64, 0xff9b, 1, ..] => Forbidden::Private,
        [0xfe80..=0xfebf, ..] => Forbidden::LinkLocal,
        [0xff00..=0xffff, ..] => Forbidden::Multicast,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Forbidden::Documentation,
        [0x2001, 2, 0, ..] => Forbidden::Benchmarking,
        // 2001::/23: Teredo, ORCHID and other protocol assignments (RFC 2928).
        [0x2001, 0..=0x1ff, ..] => Forbidden::Reserved,
        // Only 2000::/3 is given out (RFC 4291 §2.4, IANA).
        [0x2000..=0x3fff, ..] => return None,
        _ => Forbidden::Reserved,
    };
    Some(kind)
}

/// What an IPv6 address is whose IPv4 part is public.
fn classify_carrier(ip: Ipv6Addr) -> Option<Forbidden> {
    match ip.segments() {
        // IPv4-compatible and IPv4-translated: retired, routed nowhere.
        [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => Some(Forbidden::Reserved),
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, ..] => None,
        _ => classify_v6(ip),
    }
}

#[cfg(test)]
mod tests;
