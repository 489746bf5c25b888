//! One request and its response, as every protocol version hands it to a [`Service`].
//!
//! A protocol driver ([`crate::h1`], [`crate::h2`]) makes the [`Exchange`], asks the service for an [`Answer`],
//! pumps the body and closes the [`Meter`]. It does not know about sites, files or upstreams.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;
use std::task::{Context, Waker};

use http::{HeaderMap, Method, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::authority::PORT_BYTES;
use crate::{Authority, Body, Fault, Limit};

/// The protocol version that carried an exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// HTTP/1.0 (RFC 1945): one exchange a connection unless asked otherwise.
    Http10,
    /// HTTP/1.1 (RFC 9112).
    Http11,
    /// HTTP/2 (RFC 9113).
    Http2,
}

impl Protocol {
    /// Names the version as access logs and `Forwarded` users expect it, e.g. `HTTP/2`.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Http10 => "HTTP/1.0",
            Protocol::Http11 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
        }
    }
}

/// The scheme a request was made for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// Plain `http`.
    Http,
    /// `https`.
    Https,
}

impl Scheme {
    /// The scheme as it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// The form in which the request target was sent (RFC 9112 §3.2). Only a proxy port treats them differently.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// `/path?query`; every HTTP/2 request.
    Origin,
    /// `http://host/path`, as sent to a proxy.
    Absolute,
    /// `host:port` of `CONNECT`.
    Authority,
    /// `*` of `OPTIONS`.
    Asterisk,
}

/// One request, ready to be answered.
///
/// Shape: everything here was validated by the driver: `authority` and `target` hold no control bytes or spaces,
/// `headers` no malformed fields; framing fields (`Content-Length`, `Transfer-Encoding`) agree with `body`.
/// `Host` is removed from `headers` (it is `authority`).
#[derive(Debug)]
pub struct Exchange {
    /// The version that carried it.
    pub protocol: Protocol,
    /// `https` on TLS listeners; what the absolute-form or `:scheme` said elsewhere.
    pub scheme: Scheme,
    /// Host and port asked for (RFC 9110 §7.2); nameless for HTTP/1.0 without `Host`.
    pub authority: Authority,
    /// The form of the request target.
    pub form: Form,
    /// The method; `CONNECT` with `upgrade` set is extended CONNECT (RFC 8441).
    pub method: Method,
    /// Path and query exactly as sent (origin-form), or `*`, or empty for plain `CONNECT`.
    pub target: Box<str>,
    /// The header fields, without `Host`.
    pub headers: HeaderMap,
    /// The protocol asked for by `Upgrade` (RFC 9110 §7.8) or `:protocol` (RFC 8441 §4), e.g. `websocket`.
    pub upgrade: Option<Box<str>>,
    /// The request body.
    pub body: Body,
    /// Where interim (1xx) responses are put.
    pub interim: Interim,
    /// What is counted while the exchange lives.
    pub meter: Rc<Meter>,
}

impl Exchange {
    /// The URL that was asked for; the authority alone for `CONNECT`, which has no path.
    pub fn url(&self) -> String {
        let scheme = self.scheme.as_str();
        let host_bytes = self.authority.host().len() + PORT_BYTES;
        let mut url = String::with_capacity(scheme.len() + 3 + host_bytes + self.target.len());
        url.push_str(scheme);
        url.push_str("://");
        self.authority.put(&mut url);
        url.push_str(&self.target);
        url
    }

    /// The path part of `target`, without the query.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(&*self.target, |(path, _)| path)
    }

    /// The query part of `target`, without the question mark.
    pub fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }
}

/// Status and header fields of a response.
#[derive(Clone, Debug)]
pub struct Head {
    /// The status code.
    pub status: StatusCode,
    /// The header fields; drivers add `Date` and framing, and drop what their version forbids.
    pub headers: HeaderMap,
}

impl Head {
    /// A head without fields.
    pub fn new(status: StatusCode) -> Self {
        Head {
            status,
            headers: HeaderMap::new(),
        }
    }
}

/// A byte stream in both directions, e.g. an upgraded connection to an application.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// What follows the head of an answer.
pub enum Payload {
    /// An ordinary body.
    Body(Body),
    /// Bytes both ways until both ends are done: `101` over HTTP/1.1, `200` to extended CONNECT over HTTP/2.
    Tunnel(Box<dyn Duplex>),
    /// HTTP/1.1 only: write the head, then give the connection back to whoever called `serve` (`CONNECT` on a proxy port).
    Handover,
}

/// The answer to an exchange.
pub struct Answer {
    /// Status and fields.
    pub head: Head,
    /// What follows.
    pub payload: Payload,
    /// Kept until the exchange has ended, however it ends, and dropped then: the record of the exchange lives here.
    pub guard: Option<Box<dyn Any>>,
}

impl Answer {
    /// An answer with a body and no guard.
    pub fn new(head: Head, body: Body) -> Self {
        Answer {
            head,
            payload: Payload::Body(body),
            guard: None,
        }
    }
}

/// Answers exchanges; implemented by the server.
pub trait Service: 'static {
    /// Answers one exchange if all that it takes is in memory; it is asked before [`Service::answer`], and spares a driver
    /// the future that that is, which is large.
    ///
    /// Shape: `None` leaves no trace, and the same exchange is then given to [`Service::answer`].
    fn answer_now(&self, exchange: &Exchange) -> Option<Answer> {
        let _ = exchange;
        None
    }

    /// Answers one exchange.
    ///
    /// Shape: an exchange goes through many hands, and a future holds what it is given twice; so it is on the heap.
    /// Cancel: dropped when the client gives up; whatever the service has to note is in a guard of its own.
    fn answer(&self, exchange: Box<Exchange>) -> impl Future<Output = Answer>;

    /// Whether a request may begin on a connection that has so many `open`; HTTP/2 only. Otherwise its client is told that
    /// nothing of it was processed.
    fn admits(&self, _open: usize) -> bool {
        true
    }

    /// Hears of a bound that the client ran into; must not block.
    fn limited(&self, _: Limit) {}
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum End {
    /// It was dropped before its end: the client went away or reset the stream, or the connection failed.
    #[default]
    Cancelled,
    /// The whole response was handed to the transport.
    Complete,
    /// A fault cut the response short.
    Failed(crate::Kind),
}

/// What a driver counts for one exchange; shared with the record of it.
#[derive(Debug, Default)]
pub struct Meter {
    /// Body bytes received from downstream.
    pub received_bytes: Cell<u64>,
    /// Body bytes handed to the downstream transport.
    pub sent_bytes: Cell<u64>,
    /// Status of the final response, 0 before it was sent.
    pub status: Cell<u16>,
    /// HTTP/2 stream id, 0 elsewhere.
    pub stream: Cell<u32>,
    /// How it ended.
    pub end: Cell<End>,
    /// The bound that its client ran into.
    pub limit: Cell<Option<Limit>>,
}

impl Meter {
    /// Notes a fault that cut the exchange short.
    pub fn fail(&self, fault: &Fault) {
        self.end.set(End::Failed(fault.kind()));
        self.limit.set(self.limit.get().or(fault.limit()));
    }
}

/// Queue of interim (1xx) responses of one exchange (RFC 9110 §15.2).
///
/// Shape: at most [`Interim::CAPACITY`] wait at a time, further ones are dropped; the driver sends them in order before the
/// final head. `101` never goes through here.
#[derive(Clone, Debug, Default)]
pub struct Interim {
    shared: Rc<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    heads: RefCell<VecDeque<Head>>,
    driver: RefCell<Option<Waker>>,
}

impl Interim {
    /// How many may wait to be sent.
    pub const CAPACITY: usize = 8;

    /// Queues one interim response; anything but 1xx (without 101) is ignored.
    pub fn send(&self, head: Head) {
        let mut heads = self.shared.heads.borrow_mut();
        if head.status.is_informational()
            && head.status != StatusCode::SWITCHING_PROTOCOLS
            && heads.len() < Self::CAPACITY
        {
            heads.push_back(head);
            if let Some(driver) = self.shared.driver.take() {
                driver.wake();
            }
        }
    }

    /// Takes the oldest one that waits.
    pub fn take(&self) -> Option<Head> {
        self.shared.heads.borrow_mut().pop_front()
    }

    /// Takes the oldest one that waits, or has `cx` woken when there is one.
    pub(crate) fn poll_take(&self, cx: &Context<'_>) -> Option<Head> {
        let head = self.take();
        if head.is_none() {
            let mut driver = self.shared.driver.borrow_mut();
            if !driver.as_ref().is_some_and(|driver| driver.will_wake(cx.waker())) {
                *driver = Some(cx.waker().clone());
            }
        }
        head
    }
}
