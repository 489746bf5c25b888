//! What an exchange can suffer, and the one place where each fault becomes an answer.

use std::error::Error;
use std::fmt;

use http::StatusCode;

use crate::Limit;

/// On whose side a fault lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The client's.
    Downstream,
    /// The application's.
    Upstream,
    /// Ours.
    Local,
}

/// Whether the same request may be sent to an application again (RFC 9110 §9.2.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Retry {
    /// Nothing of the request was processed: always safe.
    Safe,
    /// The request may have been processed: only idempotent methods.
    Idempotent,
    /// Never.
    No,
}

/// What went wrong. Every kind is answered in [`Kind::treatment`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// The request is malformed.
    BadRequest,
    /// The request head or body took too long.
    RequestTimeout,
    /// The request line is over its limit.
    TargetTooLong,
    /// Header fields are over their limits.
    HeadersTooLarge,
    /// The body is over its limit.
    BodyTooLarge,
    /// The application has to know the length of the body beforehand, and the client did not tell it.
    LengthRequired,
    /// A transfer coding or method that is not supported.
    NotImplemented,
    /// `Expect` asked for something else than `100-continue`.
    ExpectationFailed,
    /// A version of HTTP that is not spoken here.
    VersionNotSupported,
    /// The client went away or broke the protocol in mid-exchange.
    DownstreamClosed,
    /// The application could not be connected to.
    UpstreamConnect,
    /// The application's certificate was not accepted.
    UpstreamTls,
    /// The application closed before a whole response.
    UpstreamClosed,
    /// The application's response is malformed.
    UpstreamProtocol,
    /// The application took too long.
    UpstreamTimeout,
    /// All connections to the application are in use.
    UpstreamBusy,
    /// We met our own marker: the request has been here before.
    Loop,
    /// A file could not be read though it is there.
    File,
    /// A fault of this program.
    Internal,
}

/// How a fault is answered, logged and counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Treatment {
    /// Status of the response, where one can still be sent.
    pub status: StatusCode,
    /// HTTP/2 error code of a reset (RFC 9113 §7), where it can not.
    pub reset: h2::Reason,
    /// Whether it is an error of ours that is logged as ERROR.
    pub is_error: bool,
    /// Stable label for metrics and log lines.
    pub label: &'static str,
}

impl Kind {
    /// The one match from kind to answer.
    pub fn treatment(self) -> Treatment {
        let of = |status, reset, is_error, label| Treatment {
            status,
            reset,
            is_error,
            label,
        };
        use h2::Reason;
        match self {
            Kind::BadRequest => of(StatusCode::BAD_REQUEST, Reason::PROTOCOL_ERROR, false, "bad_request"),
            Kind::RequestTimeout => of(StatusCode::REQUEST_TIMEOUT, Reason::CANCEL, false, "request_timeout"),
            Kind::TargetTooLong => of(
                StatusCode::URI_TOO_LONG,
                Reason::PROTOCOL_ERROR,
                false,
                "target_too_long",
            ),
            Kind::HeadersTooLarge => of(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                Reason::PROTOCOL_ERROR,
                false,
                "headers_too_large",
            ),
            Kind::BodyTooLarge => of(StatusCode::PAYLOAD_TOO_LARGE, Reason::CANCEL, false, "body_too_large"),
            Kind::LengthRequired => of(StatusCode::LENGTH_REQUIRED, Reason::CANCEL, false, "length_required"),
            Kind::NotImplemented => of(
                StatusCode::NOT_IMPLEMENTED,
                Reason::PROTOCOL_ERROR,
                false,
                "not_implemented",
            ),
            Kind::ExpectationFailed => of(
                StatusCode::EXPECTATION_FAILED,
                Reason::PROTOCOL_ERROR,
                false,
                "expectation_failed",
            ),
            Kind::VersionNotSupported => of(
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                Reason::HTTP_1_1_REQUIRED,
                false,
                "version_not_supported",
            ),
            Kind::DownstreamClosed => of(StatusCode::BAD_REQUEST, Reason::CANCEL, false, "downstream_closed"),
            Kind::UpstreamConnect => of(
                StatusCode::BAD_GATEWAY,
                Reason::INTERNAL_ERROR,
                false,
                "upstream_connect",
            ),
            Kind::UpstreamTls => of(StatusCode::BAD_GATEWAY, Reason::INTERNAL_ERROR, false, "upstream_tls"),
            Kind::UpstreamClosed => of(
                StatusCode::BAD_GATEWAY,
                Reason::INTERNAL_ERROR,
                false,
                "upstream_closed",
            ),
            Kind::UpstreamProtocol => of(
                StatusCode::BAD_GATEWAY,
                Reason::INTERNAL_ERROR,
                false,
                "upstream_protocol",
            ),
            Kind::UpstreamTimeout => of(StatusCode::GATEWAY_TIMEOUT, Reason::CANCEL, false, "upstream_timeout"),
            Kind::UpstreamBusy => of(
                StatusCode::SERVICE_UNAVAILABLE,
                Reason::REFUSED_STREAM,
                false,
                "upstream_busy",
            ),
            Kind::Loop => of(StatusCode::LOOP_DETECTED, Reason::INTERNAL_ERROR, false, "loop"),
            Kind::File => of(StatusCode::INTERNAL_SERVER_ERROR, Reason::INTERNAL_ERROR, true, "file"),
            Kind::Internal => of(
                StatusCode::INTERNAL_SERVER_ERROR,
                Reason::INTERNAL_ERROR,
                true,
                "internal",
            ),
        }
    }
}

/// One fault, with its cause.
#[derive(Debug)]
pub struct Fault {
    side: Side,
    kind: Kind,
    retry: Retry,
    limit: Option<Limit>,
    detail: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    /// A fault on a side, with words for its own layer only.
    pub fn new(side: Side, kind: Kind, detail: impl Into<String>) -> Self {
        Fault {
            side,
            kind,
            retry: Retry::No,
            limit: None,
            detail: detail.into(),
            source: None,
        }
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// Says whether the request may be sent again.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Names the bound that the client ran into.
    #[must_use]
    pub fn at(mut self, limit: Limit) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The bound that the client ran into, if it was one.
    pub fn limit(&self) -> Option<Limit> {
        self.limit
    }

    /// On whose side it lies.
    pub fn side(&self) -> Side {
        self.side
    }

    /// What went wrong.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the request may be sent again.
    pub fn retryable(&self) -> Retry {
        self.retry
    }

    /// The fault and all its causes in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = self.source();
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
