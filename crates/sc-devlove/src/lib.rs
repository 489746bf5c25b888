//! Development mode: sites open under their real names, in a little network of their own.
//!
//! A run is told in [`run()`]: `run.rs` reads like the story. What the network answers to a name is decided in
//! `sc-compile`, as settings become sites there; what was refused is kept in the [`ledger`]. This room prints
//! nothing: it gives words to a [`Voice`].
#![forbid(unsafe_code)]

mod bind;
mod control;
mod diary;
mod error;
pub mod ledger;
mod little_network;
mod run;
mod start_page;
mod voice;
mod words;

pub use error::RunError;
pub use run::{Reread, Signal, Start, run};
pub use sc_server::{Event, Record, event, journal, log_codes, record};
pub use voice::Voice;
