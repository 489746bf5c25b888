//! What the little network answers to a name and a port. The engine asks; a mode decides.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use http::StatusCode;
use sc_http::{Answer, Exchange};
use sc_net::socks::Reply;
use sc_net::{Guard, Target, UpstreamAddr};

use crate::record::Around;

/// A future that need not leave its thread.
pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// The network behind a proxy port.
pub trait Network {
    /// Decides about one TCP connection.
    fn route(&self, target: &Target) -> Route;

    /// Decides about one UDP destination (RFC 1928 §7).
    fn udp_route(&self, target: &Target) -> Route;

    /// Notes that something was refused: the decision's own refusals, and addresses that the guard held back.
    fn refused(&self, target: &Target, refusal: &Refusal);

    /// Answers a request that was made to the proxy port itself (start page, PAC file).
    fn page<'a>(&'a self, exchange: Box<Exchange>, around: &'a Around) -> LocalFuture<'a, Answer>;

    /// Makes the page for a plain HTTP request to a name that is refused.
    fn refusal_page(&self, exchange: &Exchange, refusal: &Refusal) -> Answer;
}

/// The answer to a name and a port.
#[derive(Clone)]
pub enum Route {
    /// One of our own sites: TLS and HTTP go on right here, on the same stream.
    Site,
    /// Plain HTTP to one of our own sites: redirect to `https://` of the same name.
    Redirect,
    /// To an address that the configuration names, wherever that is.
    Relay(UpstreamAddr),
    /// To the target itself, within what the guard allows.
    Forward(Rc<Guard>),
    /// Not at all.
    Refuse(Refusal),
}

/// Why the network refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The name is not configured and nothing is forwarded.
    NotForwarded,
    /// The name is not configured and not in the list of what is forwarded.
    NotListed,
    /// The name is one of ours but nothing answers at this port.
    NoSuchPort,
    /// The address is private, or one of our own listeners, and not allowed.
    Guarded(String),
    /// Dialling failed.
    Unreachable(String, Reply),
    /// The command is not one that we serve.
    Command,
}

impl Refusal {
    /// The SOCKS5 reply that says so (RFC 1928 §6).
    pub fn reply(&self) -> Reply {
        match self {
            Refusal::NotForwarded | Refusal::NotListed | Refusal::Guarded(_) => Reply::NotAllowed,
            Refusal::NoSuchPort => Reply::HostUnreachable,
            Refusal::Unreachable(_, reply) => *reply,
            Refusal::Command => Reply::CommandNotSupported,
        }
    }

    /// The status that says so to an HTTP client.
    pub fn status(&self) -> StatusCode {
        match self {
            Refusal::NotForwarded | Refusal::NotListed | Refusal::Guarded(_) => StatusCode::FORBIDDEN,
            Refusal::NoSuchPort | Refusal::Unreachable(..) => StatusCode::BAD_GATEWAY,
            Refusal::Command => StatusCode::NOT_IMPLEMENTED,
        }
    }

    /// Whether it is a decision, which belongs in the ledger, rather than a failure to connect.
    pub fn is_policy(&self) -> bool {
        !matches!(self, Refusal::Unreachable(..) | Refusal::Command)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotForwarded => f.write_str("the name is not configured and nothing is forwarded without -w"),
            Refusal::NotListed => f.write_str("the name is neither configured nor in the list given to -w"),
            Refusal::NoSuchPort => f.write_str("the name is configured, but nothing answers at this port"),
            Refusal::Guarded(what) => write!(f, "{what}"),
            Refusal::Unreachable(what, _) => write!(f, "{what}"),
            Refusal::Command => f.write_str("the command is not supported"),
        }
    }
}
