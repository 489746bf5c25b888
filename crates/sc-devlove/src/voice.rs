//! What a run tells the person who started it. The binary decides how it looks; this room only says what.

use std::time::SystemTime;

use sc_server::{Event, Record};

/// Takes what is to be told. Must not block.
pub trait Voice {
    /// The server is ready: this is what it serves and how to go on.
    fn ready(&self, block: &[String]);
    /// One event.
    fn event(&self, event: &Event, at: SystemTime);
    /// One ended exchange.
    fn record(&self, record: &Record);
    /// The last words: the ledger.
    fn farewell(&self, words: &[String]);
}
