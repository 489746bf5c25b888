//! What no client gets more of, as a server keeps it. Replaced as a whole when the file changes; a connection keeps what held
//! when it was accepted.

use std::time::Duration;

use sc_http::Limits;
use sc_net::Network;

/// Every bound that a client can run into.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Those of the protocol engines.
    pub http: Limits,
    /// How long a proxy client may take for its first byte and for its greeting.
    pub greeting_time: Duration,
    /// How long it may take from accept to the end of a TLS handshake.
    pub handshake_time: Duration,
    /// Open connections of one listener; accepting pauses above. A listener keeps what held when it was opened.
    pub connections: usize,
    /// Open connections of one address.
    pub connections_per_address: usize,
    /// TLS handshakes of one address that are taken part in at a time; further ones wait.
    pub handshakes_per_address: usize,
    /// Addresses that have no shares.
    pub exempt: Vec<Network>,
    /// Memory that this process may take before it sheds, in bytes.
    pub memory: Option<u64>,
}

impl Default for Bounds {
    /// The documented defaults; nobody is exempt, and memory is not looked at.
    fn default() -> Self {
        Bounds {
            http: Limits::default(),
            greeting_time: Duration::from_secs(2),
            handshake_time: Duration::from_secs(10),
            connections: 16_384,
            connections_per_address: 8_192,
            handshakes_per_address: 32,
            exempt: Vec::new(),
            memory: None,
        }
    }
}
