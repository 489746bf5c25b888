//! Internet mode: a master that owns every socket, lanes of workers that renew themselves, and a bus between them.
//!
//! The master's story is told in `master/`, a worker's in `worker/`; who lives and dies is decided in [`supervisor`], a pure
//! function of events and time. This room prints nothing: it gives words to a [`Voice`].
#![forbid(unsafe_code)]

pub mod bus;
pub mod drill;
mod findings;
mod master;
mod messages;
pub mod metrics;
mod network;
pub mod sockets;
pub mod supervisor;
pub mod systemd;
mod voice;
mod worker;

pub use findings::{Project, findings};
pub use master::{Reread, RunError, Signal, Start, run};
pub use sc_server::log_codes;
pub use voice::Voice;
pub use worker::{Start as WorkerStart, WorkerError, run as work};
