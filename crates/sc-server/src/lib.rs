//! The engine: runs listeners, leads each connection through its dialects to an answer, writes the record, drains.
//!
//! Both modes run this very code; they differ in listeners, in the [`Network`] behind the proxy port, and in what they do
//! with events and records. The life of a connection is told in `connection.rs`; begin there.
#![forbid(unsafe_code)]

mod connection;
pub mod event;
mod exchanges;
mod http_proxy;
pub mod journal;
pub mod log_codes;
pub mod network;
pub mod record;
pub mod server;
mod udp;

pub use event::Event;
pub use journal::Journal;
pub use network::{LocalFuture, Network, Refusal, Route};
pub use record::{Around, Entry, Record};
pub use server::{Kind, Policy, Server, chain};
