//! The client role, towards applications: HTTP/1.1 ([`H1`]) and HTTP/2 ([`H2`]).
//!
//! Pools, dialling and TLS are the caller's. Nothing is echoed: requests are written, and responses handed on, from what
//! was understood; framing and hop-by-hop fields never pass through.

mod h1;
mod h2;

use http::header::{CONTENT_LENGTH, EXPECT, HOST};
use http::{HeaderMap, Method};

pub use self::h1::H1;
pub use self::h2::{H2, h2_handshake};
use crate::{Body, Duplex, Fault, Head, Scheme, hop};

/// One request to an application.
#[derive(Debug)]
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// Path and query (origin-form), or `*`.
    pub target: Box<str>,
    /// `Host` or `:authority`.
    pub authority: String,
    /// `:scheme`; unused by HTTP/1.1.
    pub scheme: Scheme,
    /// Header fields. `Host`, framing and hop-by-hop fields, and `Expect`, are ignored.
    pub headers: HeaderMap,
    /// A protocol to switch to: `Upgrade` (RFC 9110 §7.8) or extended CONNECT (RFC 8441).
    pub upgrade: Option<Box<str>>,
    /// The body; its exact size, where known, becomes `Content-Length`.
    pub body: Body,
}

impl Outgoing {
    /// Removes the fields that are ignored.
    fn strip(&mut self) {
        hop::strip_with(&mut self.headers, |name| {
            *name == HOST || *name == CONTENT_LENGTH || *name == EXPECT
        });
    }
}

/// What an application answered.
pub enum Incoming {
    /// A response.
    Response {
        /// Status and end-to-end fields.
        head: Head,
        /// The body; polling it also sends what is left of the request body.
        body: Body,
    },
    /// The protocol was switched.
    Upgraded {
        /// Status (`101`, or `200` over HTTP/2) and end-to-end fields.
        head: Head,
        /// Bytes of the new protocol.
        io: Box<dyn Duplex>,
    },
}

/// No response was obtained.
#[derive(Debug, thiserror::Error)]
#[error("{fault}")]
pub struct SendError {
    /// What went wrong; [`Fault::retryable`] says whether a resend is safe.
    #[source]
    pub fault: Fault,
    /// The request, when its body is still whole.
    pub outgoing: Option<Box<Outgoing>>,
}
