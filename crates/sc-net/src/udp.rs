//! UDP ASSOCIATE: relays datagrams between a client of the little network and the targets it names.
//!
//! An association lives as long as the TCP connection that asked for it, serves one client address, and is bounded in
//! targets, datagrams and lookups. Fragments are dropped, as RFC 1928 §7 lets a relay that does not implement them. Which
//! target may be reached is the caller's decision ([`UdpRoute`]); [`header`] is the codec.
//!
//! Source: RFC 1928 §6 and §7.

mod association;
pub mod header;

use std::io;
use std::rc::Rc;
use std::time::Duration;

pub use association::associate;

use crate::UpstreamAddr;
use crate::dial::Resolver;
use crate::guard::Guard;

/// What an association may use.
#[derive(Clone, Debug)]
pub struct UdpLimits {
    /// How many targets are remembered; the one used longest ago is forgotten first.
    pub targets: usize,
    /// The longest payload relayed, in bytes.
    pub datagram_bytes: usize,
    /// How long an association may be silent.
    pub idle: Duration,
    /// How long a name may take to resolve.
    pub resolve: Duration,
}

impl Default for UdpLimits {
    /// 64 targets, any datagram UDP can carry, two minutes (RFC 4787 §4.3), five seconds for a lookup.
    fn default() -> Self {
        UdpLimits {
            targets: 64,
            datagram_bytes: 65_507,
            idle: Duration::from_secs(120),
            resolve: Duration::from_secs(5),
        }
    }
}

/// Where datagrams for a target go.
#[derive(Clone, Debug)]
pub enum UdpRoute {
    /// To an address of the configuration, whatever it is; a unix socket counts as `Refuse`.
    To(UpstreamAddr),
    /// To the target itself, as far as the guard allows.
    Dial(Rc<Guard>),
    /// Nowhere.
    Refuse,
}

/// What an association needs besides its connection.
#[derive(Clone, Debug, Default)]
pub struct UdpTerms {
    /// The bounds.
    pub limits: UdpLimits,
    /// How names are resolved.
    pub resolver: Resolver,
}

/// What an association did. Datagrams unless said otherwise.
#[derive(Debug, Default)]
pub struct Associated {
    /// Relayed to targets.
    pub sent: u64,
    /// Relayed to the client.
    pub received: u64,
    /// Payload bytes relayed to targets.
    pub sent_bytes: u64,
    /// Payload bytes relayed to the client.
    pub received_bytes: u64,
    /// Dropped because they were fragments.
    pub fragments: u64,
    /// Dropped because they came from somebody else than the client, or from no target of its.
    pub foreign: u64,
    /// Dropped because their header or size was wrong.
    pub malformed: u64,
    /// Dropped because their target is refused, by the route or by its guard.
    pub refused: u64,
    /// Dropped because their target's name did not resolve, or too many were being resolved.
    pub unresolved: u64,
    /// Dropped because the system did not take them.
    pub unsent: u64,
    /// How it ended.
    pub end: UdpEnd,
}

/// How an association ended.
#[derive(Debug, Default)]
pub enum UdpEnd {
    /// The client closed its TCP connection.
    #[default]
    Closed,
    /// No datagram for as long as [`UdpLimits::idle`].
    Idle,
    /// It could not be set up, and the client was told so: the connection has no IP address, or no socket could be bound.
    Refused,
    /// We were told to stop.
    Stopped,
    /// A socket of ours failed.
    Failed(io::Error),
}
