//! TLS for both modes: the project's own CA, certificates chosen by SNI, rustls configurations, handshakes.
//!
//! - `ca` keeps one CA per project in a folder that the caller names; `minter` mints a leaf per server name from it.
//! - `credentials` and `one` are production's: the certificate of an instance, and the resolver that swaps it.
//! - `tickets` lets all workers, and all machines that share a certificate, resume each other's sessions.
//! - `files` reads a certificate chain and its key from PEM files, as production does.
//! - `server` and `client` make the rustls configurations and run the two sides of a handshake under a deadline.
//!
//! Private keys live in this crate only: the types that hold one have neither `Debug` nor serde (`Minter` has the `Debug`
//! that rustls demands, and it shows a count). The aws-lc-rs provider is passed everywhere; nothing relies on a
//! process-wide default. No sockets here, no log, no choice of which names exist: callers hand those in.

#![forbid(unsafe_code)]

pub mod alpn;
pub mod ca;
pub mod client;
pub mod credentials;
pub mod files;
pub mod minter;
pub mod one;
mod provider;
pub mod server;
pub mod tickets;

pub use alpn::{Alpn, H2_AND_HTTP11, HTTP11_ONLY};
pub use ca::{Ca, CaError, Created};
pub use client::{ClientConfigError, ClientTrust, ConnectError, Connected, client_config, connect};
pub use credentials::{Credentials, CredentialsError};
pub use files::{FilesError, load_certified_key, names_of};
pub use minter::{MintError, Minter, Uncovered};
pub use one::One;
pub use rustls::Error as TlsError;
pub use rustls::server::ResolvesServerCert;
pub use rustls::{ClientConfig, KeyLog, ProtocolVersion, ServerConfig};
pub use server::{
    Accepted, HandshakeError, HandshakeFault, ServerOptions, accept, accept_in_turn, production_config, server_config,
    server_config_with,
};
pub use tickets::{Ratchet, Root, Tickets, TicketsError};
pub use tokio_rustls::server::TlsStream;
pub use zeroize::Zeroizing;
