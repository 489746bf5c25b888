//! HTTP: bytes to exchanges and back, for HTTP/1.1 and HTTP/2, in both roles.
//!
//! This room takes byte streams, limits and a [`Drain`]; it never learns where they came from, opens no
//! socket or file, and writes no log. Start reading at [`exchange`]; then [`h1`] and [`h2`] (server role),
//! [`client`] and [`fastcgi`] (towards applications), and the rules that belong to no protocol version: [`authority`],
//! [`conditional`], [`date`], [`encoding`], [`forwarded`], [`hop`], [`priority`], [`range`]. Tunnels are joined in
//! `tunnel`, with the frames of a [`websocket`] watched. [`fuzz`] is for fuzzers alone.
#![forbid(unsafe_code)]

pub mod authority;
pub mod body;
pub mod client;
pub mod conditional;
pub mod date;
pub mod drain;
pub mod encoding;
pub mod exchange;
pub mod fastcgi;
pub mod fault;
pub mod forwarded;
pub mod fuzz;
pub mod h1;
pub mod h2;
pub mod hop;
pub mod limits;
pub mod priority;
pub mod range;
mod timer;
mod tunnel;
pub mod websocket;

pub use authority::Authority;
pub use body::Body;
pub use drain::Drain;
pub use exchange::{Answer, Duplex, End, Exchange, Form, Head, Interim, Meter, Payload, Protocol, Scheme, Service};
pub use fault::{Fault, Kind, Retry, Side};
pub use limits::{ClientLimits, Limit, Limits};
