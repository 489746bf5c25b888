//! HTTP/2 towards an application: many exchanges at a time on a shared connection (RFC 9113), over the `h2` crate.
//!
//! The driver future owns the connection and moves frames; each exchange sends its own body while its response is awaited
//! and polled, as [`super::H1`] does.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{PingPong, Reason, RecvStream};
use http::header::CONTENT_LENGTH;
use http::uri::{Authority, PathAndQuery, Uri};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Incoming, Outgoing, SendError};
use crate::h1::framing;
use crate::h2::channel::{self, Channel, Received};
use crate::h2::cork::{self, Cork, Corked};
use crate::h2::field_bytes;
use crate::h2::upload::Upload;
use crate::timer::{Alarm, Pace};
use crate::{Body, ClientLimits, Fault, Head, Interim, Kind, Retry, Side, hop};

/// Receive window of one stream and of the connection, bytes.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// Decoded size of a response head; [`ClientLimits`] may ask for less.
const HEADER_BYTES: u32 = 256 << 10;

/// Interim responses taken before the final one; an application that sends more is broken.
const MOST_INTERIM: usize = 64;

/// Streams that are opened before the application has said how many it takes (RFC 9113 §6.5.2 advises no fewer).
const FIRST_STREAMS: usize = 100;

/// An HTTP/2 connection to an application, shared by its clones.
#[derive(Clone)]
pub struct H2 {
    requests: SendRequest<Bytes>,
    state: Rc<State>,
}

/// What is known of a connection.
#[derive(Default)]
struct State {
    is_closed: Cell<bool>,
    /// The application's settings have come.
    is_settled: Cell<bool>,
    settled: RefCell<Vec<Waker>>,
    active: Cell<usize>,
}

/// Counts an exchange for as long as it lives.
struct Active(Rc<State>);

impl Active {
    fn new(state: &Rc<State>) -> Self {
        state.active.set(state.active.get() + 1);
        Active(state.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
    }
}

/// Opens HTTP/2 by prior knowledge, or on a TLS stream that negotiated it.
///
/// Shape: the second part drives the connection and ends with it; the caller spawns it. Dropping every clone of the first
/// part ends the connection once its exchanges have.
/// Errors: the connection failed at once.
pub async fn h2_handshake<IO>(io: IO) -> Result<(H2, impl Future<Output = ()> + use<IO>), Fault>
where
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (stream, corked) = cork::cork(io, None);
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEADER_BYTES)
        .initial_max_send_streams(FIRST_STREAMS);
    let (requests, connection) = builder.handshake(stream).await.map_err(|error| {
        Fault::new(Side::Upstream, Kind::UpstreamConnect, "opening HTTP/2")
            .caused_by(error)
            .retry(Retry::Safe)
    })?;
    let state = Rc::new(State::default());
    Ok((
        H2 {
            requests,
            state: state.clone(),
        },
        drive(connection, corked, state),
    ))
}

/// Moves frames until the connection ends.
async fn drive<IO>(mut connection: Connection<Cork<IO>, Bytes>, corked: Rc<RefCell<Corked<IO>>>, state: Rc<State>)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    // The answer to a ping cannot come before the application's settings (RFC 9113 §3.4).
    let mut pings = connection.ping_pong();
    if let Some(pings) = &mut pings {
        let _ = pings.send_ping(h2::Ping::opaque());
    }
    let mut connection = pin!(connection);
    poll_fn(|cx| {
        let ended = connection.as_mut().poll(cx);
        poll_settled(&mut pings, &state, cx);
        let drained = corked.borrow_mut().poll_drain(cx);
        if ended.is_ready() || matches!(drained, Poll::Ready(Err(_))) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    state.is_closed.set(true);
    state.wake();
}

fn poll_settled(pings: &mut Option<PingPong>, state: &State, cx: &mut Context<'_>) {
    if pings.as_mut().is_some_and(|pings| pings.poll_pong(cx).is_ready()) {
        *pings = None;
        state.is_settled.set(true);
        state.wake();
    }
}

impl State {
    fn wake(&self) {
        for waker in self.settled.take() {
            waker.wake();
        }
    }
}

impl H2 {
    /// Sends one request and waits for the response head.
    ///
    /// Shape: interim responses go to `interim` as they come. With `upgrade` the method becomes `CONNECT` (RFC 8441).
    /// Errors: [`Retry::Safe`] when the application says, or we know, that it has not looked at the request; the request
    /// comes back with the error as long as its body is whole.
    /// Cancel: the stream is reset.
    pub async fn send(
        &self,
        out: Box<Outgoing>,
        interim: &Interim,
        limits: &ClientLimits,
    ) -> Result<Incoming, SendError> {
        let mut out = out;
        let spare = out.body.take_ready();
        if let Some(bytes) = &spare {
            out.body = Body::full(bytes.clone());
        }
        let mut exchange = match self.send_head(&mut out, limits).await {
            Ok(exchange) => exchange,
            Err(fault) => {
                return Err(SendError {
                    fault,
                    outgoing: Some(out),
                });
            }
        };
        match exchange.response(interim, limits).await {
            Ok(response) => exchange
                .receive(response, &out, limits)
                .map_err(|fault| SendError { fault, outgoing: None }),
            Err(fault) => {
                let body = spare
                    .map(Body::full)
                    .or_else(|| exchange.upload.and_then(Upload::into_untouched));
                let outgoing = body.filter(|_| fault.retryable() != Retry::No).map(|body| {
                    out.body = body;
                    out
                });
                Err(SendError { fault, outgoing })
            }
        }
    }

    /// Whether new requests can be sent.
    pub fn is_open(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        // An error is an end; a pending answer only says that this clone must wait for room.
        !self.state.is_closed.get() && !matches!(self.requests.clone().poll_ready(&mut cx), Poll::Ready(Err(_)))
    }

    /// Whether one more request would be sent at once rather than wait for another to end.
    pub fn has_room(&self) -> bool {
        self.state.active.get() < self.requests.current_max_send_streams()
    }

    /// Opens a stream with the request head; takes the body out of `out` when that has worked.
    async fn send_head(&self, out: &mut Outgoing, limits: &ClientLimits) -> Result<Exchange, Fault> {
        if out.upgrade.is_some() {
            self.settle(limits).await?;
        }
        let active = Active::new(&self.state);
        let declared = framing::content_length(&out.headers).ok().flatten();
        let declared = out.body.exact_bytes().or(declared);
        let request = head(out, declared)?;
        let mut requests = self.requests.clone().ready().await.map_err(unsent)?;
        let is_empty = out.upgrade.is_none() && out.body.exact_bytes() == Some(0);
        let (response, stream) = requests.send_request(request, is_empty).map_err(unsent)?;
        let (upload, tunnel) = if out.upgrade.is_some() {
            (None, Some(stream))
        } else if is_empty {
            (None, None)
        } else {
            let body = std::mem::take(&mut out.body);
            (
                Some(Upload::new(
                    body,
                    stream,
                    declared,
                    Pace::new(limits.write_stall_time, None),
                    Side::Upstream,
                    None,
                )),
                None,
            )
        };
        Ok(Exchange {
            response,
            upload,
            tunnel,
            active,
        })
    }

    /// Waits for the application's settings, which say whether it takes extended CONNECT.
    async fn settle(&self, limits: &ClientLimits) -> Result<(), Fault> {
        self.settled(limits.first_byte_time).await;
        if self.requests.is_extended_connect_protocol_enabled() {
            return Ok(());
        }
        Err(Fault::new(
            Side::Upstream,
            Kind::UpstreamProtocol,
            "the application takes no extended CONNECT",
        ))
    }

    /// Waits until the application has said how many streams it takes, or has closed, or for that long. Requests need not
    /// wait; but those that come before are refused beyond a number that nobody knows.
    pub async fn settled(&self, patience: Duration) {
        let mut alarm = Alarm::default();
        alarm.set(patience);
        poll_fn(|cx| {
            if self.state.is_closed.get() || self.state.is_settled.get() || alarm.poll_is_due(cx) {
                return Poll::Ready(());
            }
            let mut waiting = self.state.settled.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

/// One exchange whose head was sent.
struct Exchange {
    response: ResponseFuture,
    upload: Option<Upload>,
    tunnel: Option<h2::SendStream<Bytes>>,
    active: Active,
}

impl Exchange {
    /// Waits for the final response head, sending the body meanwhile.
    async fn response(&mut self, interim: &Interim, limits: &ClientLimits) -> Result<Response<RecvStream>, Fault> {
        let mut alarm = Alarm::default();
        let (mut sent, mut interims, mut has_final) = (0, 0, false);
        alarm.set(limits.first_byte_time);
        poll_fn(|cx| {
            poll_upload(&mut self.upload, cx)?;
            let now_sent = self.upload.as_ref().map_or(0, Upload::sent);
            if now_sent != sent {
                sent = now_sent;
                alarm.set(limits.first_byte_time);
            }
            while !has_final {
                match self.response.poll_informational(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Ok(head))) => {
                        interims += 1;
                        if interims > MOST_INTERIM {
                            return Poll::Ready(Err(broken("too many interim responses")));
                        }
                        match clean(head.into_parts().0) {
                            Ok(head) => interim.send(head),
                            Err(fault) => return Poll::Ready(Err(fault)),
                        }
                    }
                    Poll::Ready(None | Some(Err(_))) => has_final = true,
                }
            }
            match Pin::new(&mut self.response).poll(cx) {
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
                Poll::Ready(Err(error)) => Poll::Ready(Err(failed(error, interims > 0))),
                Poll::Pending if alarm.poll_is_due(cx) => Poll::Ready(Err(Fault::new(
                    Side::Upstream,
                    Kind::UpstreamTimeout,
                    "the application did not answer in time",
                ))),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Decides what follows a final head.
    fn receive(self, response: Response<RecvStream>, out: &Outgoing, limits: &ClientLimits) -> Result<Incoming, Fault> {
        let (parts, recv) = response.into_parts();
        let head = clean(parts)?;
        if head.headers.len() > limits.header_fields || field_bytes(&head.headers) > limits.header_bytes {
            return Err(broken("the header fields of the response are too large or too many"));
        }
        if let Some(send) = self.tunnel
            && head.status.is_success()
        {
            // It counts among the streams of the connection to its end.
            let held: Box<dyn Any> = Box::new(self.active);
            return Ok(Incoming::Upgraded {
                head,
                io: Box::new(Channel::new(Rc::new(RefCell::new(recv)), send, Some(held))),
            });
        }
        let has_no_body =
            out.method == Method::HEAD || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if has_no_body || recv.is_end_stream() {
            return Ok(Incoming::Response {
                head,
                body: Body::empty(),
            });
        }
        let declared = framing::content_length(&head.headers)
            .map_err(|error| broken("the response is malformed").caused_by(error))?;
        let pace = Pace::new(limits.idle_time, None);
        let received = Received::new(Rc::new(RefCell::new(recv)), Side::Upstream, declared, pace);
        let body = Body::stream(Download {
            received,
            upload: self.upload,
            _active: self.active,
        });
        Ok(Incoming::Response { head, body })
    }
}

/// A response body; polling it also sends what is left of the request.
struct Download {
    received: Received,
    upload: Option<Upload>,
    _active: Active,
}

impl http_body::Body for Download {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = self.get_mut();
        if let Err(fault) = poll_upload(&mut this.upload, cx) {
            this.upload = None;
            return Poll::Ready(Some(Err(fault)));
        }
        Pin::new(&mut this.received).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.received.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.received.size_hint()
    }
}

/// Sends what can be sent of a body. An application that wants no more of it is no fault: it may have answered.
fn poll_upload(upload: &mut Option<Upload>, cx: &mut Context<'_>) -> Result<(), Fault> {
    let Some(sending) = upload else { return Ok(()) };
    match sending.poll(cx) {
        Poll::Pending => Ok(()),
        Poll::Ready(Ok(())) => {
            // The handle stays for as long as the exchange: dropping it says nothing more.
            debug_assert!(sending.is_done(), "an upload that is through is done");
            Ok(())
        }
        Poll::Ready(Err(fault)) if fault.side() == Side::Upstream && fault.kind() == Kind::UpstreamClosed => {
            *upload = None;
            Ok(())
        }
        Poll::Ready(Err(fault)) => {
            sending.stream().send_reset(fault.kind().treatment().reset);
            Err(fault)
        }
    }
}

/// Makes the request head from what was understood.
fn head(out: &mut Outgoing, declared: Option<u64>) -> Result<Request<()>, Fault> {
    let internal = |detail: &str| Fault::new(Side::Local, Kind::Internal, detail.to_owned());
    out.strip();
    let authority = Authority::try_from(out.authority.as_str()).map_err(|_| internal("an authority is malformed"))?;
    let path = PathAndQuery::try_from(&*out.target).map_err(|_| internal("a request target is malformed"))?;
    let uri = Uri::builder()
        .scheme(out.scheme.as_str())
        .authority(authority)
        .path_and_query(path);
    let mut request = Request::new(());
    *request.uri_mut() = uri.build().map_err(|_| internal("a request target is malformed"))?;
    *request.version_mut() = Version::HTTP_2;
    *request.method_mut() = if out.upgrade.is_some() {
        Method::CONNECT
    } else {
        out.method.clone()
    };
    *request.headers_mut() = out.headers.clone();
    let is_said =
        declared.is_some_and(|bytes| bytes > 0 || matches!(out.method, Method::POST | Method::PUT | Method::PATCH));
    if let (true, Some(bytes), None) = (is_said, declared, &out.upgrade) {
        request.headers_mut().insert(CONTENT_LENGTH, bytes.into());
    }
    if let Some(protocol) = &out.upgrade {
        request.extensions_mut().insert(Protocol::from(&**protocol));
    }
    Ok(request)
}

/// The head of a response, without what concerns one hop.
///
/// Errors: a name that HTTP/1.1 could not carry.
fn clean(parts: http::response::Parts) -> Result<Head, Fault> {
    let mut headers = parts.headers;
    if !headers.keys().all(hop::is_portable) {
        return Err(broken("a field name of the response is not a token"));
    }
    hop::strip(&mut headers);
    Ok(Head {
        status: parts.status,
        headers,
    })
}

/// The fault of a request that never left.
fn unsent(error: h2::Error) -> Fault {
    Fault::new(
        Side::Upstream,
        Kind::UpstreamClosed,
        "the HTTP/2 connection takes no more requests",
    )
    .caused_by(error)
    .retry(Retry::Safe)
}

/// The fault of a request without a final response; `has_begun` when there was an interim one.
fn failed(error: h2::Error, has_begun: bool) -> Fault {
    let retry = match error.reason() {
        // RFC 9113 §8.7
        Some(Reason::REFUSED_STREAM) if error.is_remote() => {
            let fault = Fault::new(
                Side::Upstream,
                Kind::UpstreamBusy,
                "the application takes no more streams",
            );
            return fault.caused_by(error).retry(Retry::Safe);
        }
        // Streams above the last one of a GOAWAY, and only these, get its error (RFC 9113 §6.8).
        Some(_) if error.is_go_away() && error.is_remote() => Retry::Safe,
        _ if error.is_io() && !has_begun => Retry::Idempotent,
        _ => Retry::No,
    };
    channel::fault(Side::Upstream, "the application did not answer", error).retry(retry)
}

fn broken(detail: &str) -> Fault {
    Fault::new(Side::Upstream, Kind::UpstreamProtocol, detail)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn names_that_are_no_tokens_are_not_passed_on() {
        let head = |name: &'static [u8]| {
            let mut response = Response::new(());
            let name = HeaderName::from_lowercase(name).expect("the crate takes it");
            response.headers_mut().insert(name, HeaderValue::from_static("1"));
            clean(response.into_parts().0).map_err(|fault| fault.kind())
        };
        assert!(head(b"x-a").is_ok_and(|head| head.headers.len() == 1));
        assert!(matches!(head(b"x\"a"), Err(Kind::UpstreamProtocol)));
    }
}
