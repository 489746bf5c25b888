//! Internet mode: a master that owns every socket, lanes of workers that renew themselves, and a bus between them.
//!
//! The master's story is told in `master/`, a worker's in `worker/`; who lives and dies is decided in [`supervisor`], a pure
//! function of events and time. This room prints nothing: it gives words to a voice.
#![forbid(unsafe_code)]

pub mod bus;
pub mod drill;
pub mod metrics;
pub mod sockets;
pub mod supervisor;
pub mod systemd;
