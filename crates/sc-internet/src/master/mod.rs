//! The master: one thread that owns every listening socket, starts workers, and never touches a byte of traffic.
//!
//! Its story is [`run::run`]: prepare, open, start, live, stop. What happens during a life is in `live.rs`; who is started
//! and who ends is not decided here but in [`crate::supervisor`]. A change of the configuration is in `reload.rs`, what a
//! person sees of it in `status.rs` and `words.rs`.

mod bus;
mod certificate;
mod control;
mod count;
mod error;
mod live;
pub(crate) mod load;
mod log;
mod machine;
mod notes;
mod process;
mod reload;
mod run;
mod status;
mod tickets;
mod words;

pub use error::RunError;
pub use run::{Reread, Signal, Start, run};
