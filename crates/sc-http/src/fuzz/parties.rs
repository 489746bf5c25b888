//! The two services of the proxy that a fuzzer looks at: the one in the middle, and the application behind it.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::future::join;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::{Frame, SizeHint};
use tokio_util::sync::CancellationToken;

use crate::client::{H1, Incoming, Outgoing};
use crate::{Answer, Body, ClientLimits, Drain, Exchange, Fault, Head, Interim, Limits, Scheme, Service, h1, hop};

/// One request, as somebody understood it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) authority: String,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: HeaderMap,
    /// Whether the body came to its end.
    pub(super) is_whole: bool,
}

pub(super) type List = Rc<RefCell<Vec<Seen>>>;

impl Seen {
    fn of(exchange: &Exchange) -> Self {
        let mut headers = exchange.headers.clone();
        hop::strip(&mut headers);
        for gone in ["content-length", "expect", "te"] {
            headers.remove(gone);
        }
        let mut headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
            .collect();
        // Fields of one name keep their order.
        headers.sort_by(|one, other| one.0.cmp(&other.0));
        Seen {
            method: exchange.method.to_string(),
            target: exchange.target.to_string(),
            authority: exchange.authority.to_string(),
            headers,
            ..Seen::default()
        }
    }
}

/// Limits that a fuzzer can reach.
pub(super) fn limits() -> Limits {
    Limits {
        target_bytes: 1 << 10,
        header_bytes: 4 << 10,
        header_fields: 20,
        streams: 8,
        ..Limits::default()
    }
}

/// A server that never ends.
pub(super) fn no_drain() -> Drain {
    Drain::at_once(CancellationToken::new())
}

/// Reads every request to its end, notes it, and says so.
pub(super) struct Application {
    pub(super) seen: List,
}

impl Service for Application {
    async fn answer(&self, mut exchange: Box<Exchange>) -> Answer {
        let at = note(&self.seen, Seen::of(&exchange));
        let mut body = Noted {
            body: std::mem::take(&mut exchange.body),
            list: self.seen.clone(),
            at,
        };
        while let Some(Ok(_)) = std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut body), cx)).await {}
        let is_whole = self.seen.borrow().get(at).is_some_and(|seen| seen.is_whole);
        said(
            if is_whole {
                StatusCode::OK
            } else {
                StatusCode::BAD_REQUEST
            },
            "seen",
        )
    }
}

/// Hands every request on to an [`Application`] over HTTP/1.1, on a connection of its own, as the proxy of the product does.
pub(super) struct Proxy {
    /// What it understood.
    pub(super) taken: List,
    /// What came of that behind it: for each request of the first list, those that the application saw; nothing for one
    /// whose client went before its answer.
    pub(super) given: Rc<RefCell<Vec<Option<Vec<Seen>>>>>,
}

impl Service for Proxy {
    async fn answer(&self, mut exchange: Box<Exchange>) -> Answer {
        let at = note(&self.taken, Seen::of(&exchange));
        self.given.borrow_mut().push(None);
        let body = std::mem::take(&mut exchange.body);
        let body = match body.exact_bytes() {
            Some(0) => {
                if let Some(seen) = self.taken.borrow_mut().get_mut(at) {
                    seen.is_whole = true;
                }
                body
            }
            _ => Body::stream(Noted {
                body,
                list: self.taken.clone(),
                at,
            }),
        };
        let mut headers = std::mem::take(&mut exchange.headers);
        hop::strip(&mut headers);
        // A websocket of HTTP/2 becomes one of HTTP/1.1 (RFC 8441 §5).
        let is_tunnel = exchange.method == Method::CONNECT && exchange.upgrade.is_some();
        let method = if is_tunnel {
            Method::GET
        } else {
            exchange.method.clone()
        };
        let out = Outgoing {
            method,
            target: exchange.target.clone(),
            authority: exchange.authority.to_string(),
            scheme: exchange.scheme,
            headers,
            upgrade: exchange.upgrade.clone(),
            body,
        };
        let (near, far) = tokio::io::duplex(16 << 10);
        let seen = List::default();
        let (bounds, client_limits, interim) = (Limits::default(), ClientLimits::default(), Interim::default());
        let behind = Rc::new(Application { seen: seen.clone() });
        let application = h1::serve(far, BytesMut::new(), Scheme::Http, behind, &bounds, no_drain());
        let sent = async {
            match H1::new(near)
                .send(Box::new(out), &interim, &client_limits, Box::new(drop))
                .await
            {
                Ok(Incoming::Response { head, mut body }) => {
                    while let Some(Ok(_)) = body.frame().await {}
                    head.status
                }
                Ok(Incoming::Upgraded { .. }) => StatusCode::BAD_GATEWAY,
                Err(error) => error.fault.kind().treatment().status,
            }
        };
        let (status, _) = join(sent, application).await;
        if let Some(given) = self.given.borrow_mut().get_mut(at) {
            *given = Some(seen.take());
        }
        said(status, "handed on")
    }
}

/// An answer that says the same at any time.
fn said(status: StatusCode, text: &'static str) -> Answer {
    let mut head = Head::new(status);
    head.headers.insert(http::header::DATE, HeaderValue::from_static("now"));
    Answer::new(head, Body::full(text))
}

fn note(list: &List, seen: Seen) -> usize {
    let mut list = list.borrow_mut();
    list.push(seen);
    list.len() - 1
}

/// A body that notes what passes.
struct Noted {
    body: Body,
    list: List,
    at: usize,
}

impl http_body::Body for Noted {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let frame = ready!(http_body::Body::poll_frame(Pin::new(&mut self.body), cx));
        let is_end = self.body.is_end_stream();
        if let Some(seen) = self.list.borrow_mut().get_mut(self.at) {
            match &frame {
                Some(Ok(frame)) => {
                    seen.body
                        .extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                    if let Some(trailers) = frame.trailers_ref() {
                        seen.trailers = trailers.clone();
                    }
                    // Nobody asks again where the length says that this was all.
                    seen.is_whole = is_end;
                }
                Some(Err(_)) => {}
                None => seen.is_whole = true,
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}
