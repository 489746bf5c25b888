//! What the master and its workers say to each other over their channel.
//!
//! Every message is one JSON object, save for log lines, of which there are many ([`crate::bus::Line`]); descriptors travel beside it, in the order that the variant's documentation gives.
//! What may be large is a sealed memfd instead: settings ([`Document`]), certificates, the root of the ticket keys. The
//! counters of a worker need no message: both sides map the same memory ([`sc_net::counters`]).

use std::num::NonZeroUsize;
use std::time::Duration;

use sc_config::Settings;
use serde::{Deserialize, Serialize};

use crate::bus::{Instance, Place};
use crate::sockets::Role;

/// Bytes that a document may have: a file of the largest size that is read, several times over.
pub(crate) const DOCUMENT_BYTES: usize = 64 << 20;

/// Bytes of a reason that are passed on: enough for any that somebody reads, and it always fits a message.
const REASON_BYTES: usize = 8 << 10;

/// A reason, cut where it is too long.
pub(crate) fn reason(mut why: String) -> String {
    if why.len() > REASON_BYTES {
        let end = (0..=REASON_BYTES)
            .rev()
            .find(|at| why.is_char_boundary(*at))
            .unwrap_or(0);
        why.truncate(end);
        why.push_str("...");
    }
    why
}

/// Addresses of applications that a worker tells of: more than somebody reads, and they always fit a message.
pub(crate) const MOST_OUTCASTS: usize = 100;

/// An address of an application that is left out.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Outcast {
    /// The site.
    pub(crate) site: String,
    /// The address.
    pub(crate) address: String,
}

/// What the master says.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum ToWorker {
    /// Who you are. Descriptors: [`Document`], certificates, root of the ticket keys, counters, then one socket for each
    /// of `sockets`.
    Start {
        /// Number of the worker, never given again.
        worker: u64,
        /// Its lane.
        lane: usize,
        /// How many workers the lane has had, this one included.
        generation: u64,
        /// What is spoken on the sockets that follow.
        sockets: Vec<Role>,
    },
    /// Accept connections from now on.
    Activate,
    /// Serve by these settings from now on. Descriptor: [`Document`]. Answered by [`ToMaster::Configured`].
    Configure {
        /// Number of the attempt.
        attempt: u64,
    },
    /// Show this certificate from now on. Descriptor: certificates.
    Certify,
    /// Make session tickets from this root from now on. Descriptor: root of the ticket keys.
    Tickets,
    /// Accept nothing more, and end when everything that was begun has come to its end. Said again, it can only make the
    /// end come sooner.
    Drain {
        /// After this, what is left is cut.
        within: Duration,
    },
    /// Wait for nobody who is idle; what is under way still ends by itself.
    Hurry,
}

/// What a worker says.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum ToMaster {
    /// I have tested myself and can accept at once.
    Ready {
        /// How I am confined: the names of the layers that hold.
        confined: Vec<String>,
    },
    /// I accept, as I was told.
    Accepting,
    /// I cannot serve, and end now.
    Failed {
        /// Why, with all causes.
        why: String,
    },
    /// What came of [`ToWorker::Configure`].
    Configured {
        /// Number of the attempt.
        attempt: u64,
        /// Why the settings cannot be served; the former ones stay.
        refused: Option<String>,
    },
    /// The addresses of applications that I leave out now, all of them; at most [`MOST_OUTCASTS`].
    Outcasts(Vec<Outcast>),
    /// Everything that was begun has ended.
    Drained {
        /// Exchanges and tunnels that had to be cut.
        forced: u64,
    },
}

/// How many lanes both sides reckon with: one for each core, unless somebody has said how many.
pub(crate) fn lanes(settings: &Settings) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    settings
        .workers
        .map_or_else(cores, |workers| usize::from(workers.get()))
}

/// All that decides how a worker serves.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Document {
    /// The file with the command line laid over it.
    pub(crate) settings: Settings,
    /// Names of the instance and its machine, as in Redis.
    pub(crate) instance: Instance,
    /// Random text that no other instance has; marks requests that were here before.
    pub(crate) marker: String,
    /// Version of the program.
    pub(crate) version: String,
    /// Port of the HTTPS addresses that redirects lead to.
    pub(crate) https_port: u16,
    /// Our own addresses; clients of the little network may not reach them through us.
    pub(crate) addresses: Vec<std::net::SocketAddr>,
    /// The bus.
    pub(crate) bus: Place,
}
