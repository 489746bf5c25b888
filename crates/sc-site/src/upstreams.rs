//! What happens with applications while they are asked, for logs, metrics and whoever wants to know how they stand.
//!
//! The room writes no log itself: the mode hands in a function ([`crate::Environment::told`]) and makes lines and numbers of
//! what it is told. How often a single address is told of is bounded by the pauses of [`crate::BalanceSpec`].

use std::rc::Rc;
use std::time::Duration;

use sc_http::Kind;

pub use crate::proxy::Cause;

/// Takes what happens with applications. Must not block.
pub type Told = Rc<dyn Fn(UpstreamEvent)>;

/// Something that happened with an application.
#[derive(Clone, Debug)]
pub enum UpstreamEvent {
    /// An attempt to have a request answered has ended; without a fault there was the head of an answer.
    Attempt {
        /// What went wrong.
        fault: Option<Kind>,
    },
    /// A request that failed may be sent again.
    Again {
        /// Whether it was; otherwise too many were lately.
        is_sent: bool,
    },
    /// An address was asked how it is.
    Checked {
        /// Whether it answered as it should.
        is_good: bool,
    },
    /// A program of the application complained beside its answer (FastCGI's stderr), or returned a fault.
    Complained {
        /// Serial number of the client's connection.
        connection: u64,
        /// HTTP/2 stream of the exchange, 0 elsewhere.
        stream: u32,
        /// The site.
        site: Rc<str>,
        /// The address.
        address: Rc<str>,
        /// One line, without control characters.
        message: String,
        /// Lines of the application that were left out before this one.
        omitted: u64,
    },
    /// An address is left out from now on.
    Out {
        /// The site.
        site: Rc<str>,
        /// The address.
        address: Rc<str>,
        /// Who said so.
        cause: Cause,
        /// What was wrong at last, in words.
        why: String,
        /// For how long, when that is known.
        pause: Option<Duration>,
        /// Addresses that are still fit.
        fit: usize,
        /// All addresses of the application.
        of: usize,
    },
    /// An address is used again.
    Back {
        /// The site.
        site: Rc<str>,
        /// The address.
        address: Rc<str>,
        /// Addresses that are fit now.
        fit: usize,
        /// All addresses of the application.
        of: usize,
    },
}

/// How one address of an application stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndpointStanding {
    /// The site.
    pub site: Rc<str>,
    /// The address.
    pub address: Rc<str>,
    /// `in`, `slow` (it came back just now), `trial` (a request may try it), `out` or `unreachable`.
    pub state: &'static str,
    /// Exchanges under way.
    pub busy: usize,
    /// Exchanges that wait for one of them to end.
    pub waiting: usize,
}
