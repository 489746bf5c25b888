//! The engine: runs listeners, leads each connection through its dialects to an answer, writes the record, drains.
//!
//! Both modes run this very code; they differ in listeners, in the [`Network`] behind the proxy port, and in what they do
//! with events and records. The life of a connection is told in `connection.rs`; begin there.
#![forbid(unsafe_code)]

mod bounds;
mod connection;
mod contained;
pub mod control;
pub mod event;
mod event_stream;
mod exchanges;
mod http_proxy;
pub mod journal;
mod line;
pub mod log_codes;
pub mod metrics;
pub mod network;
mod pressure;
pub mod record;
mod self_test;
pub mod server;
mod shares;
mod told;
mod udp;
mod under_way;
pub mod upstreams;

pub use bounds::Bounds;
pub use event::Event;
pub use event_stream::fuzz_event_stream;
pub use journal::Journal;
pub use metrics::{Meters, Metric, NoMeters};
pub use network::{LocalFuture, Network, Refusal, Route};
pub use record::{Around, Entry, Record};
pub use self_test::SelfTestError;
pub use server::{DrainPolicy, Kind, Policy, Server, chain};
pub use under_way::Open;
