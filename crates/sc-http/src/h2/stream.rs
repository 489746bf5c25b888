//! One HTTP/2 exchange: from the request head to the last frame of the response.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderName, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::channel::{Channel, Received};
use super::growth::Growth;
use super::request::{self, Request};
use super::turns::{Place, Turn, Turns};
use super::upload::Upload;
use crate::priority::Priority;
use crate::timer::{Alarm, Pace};
use crate::tunnel::{self, Sort};
use crate::{
    Answer, Body, Drain, Duplex, End, Exchange, Fault, Head, Interim, Kind, Limits, Meter, Payload, Protocol, Service,
    Side, date,
};

/// How long a client may go on sending a request body after the response, before its stream is reset: some drop a
/// response that they have not read when a reset comes on its heels.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// How much of such a body is thrown away meanwhile.
const LINGER_BYTES: usize = 256 << 10;

/// What holds for all streams of a connection.
pub(super) struct Terms {
    pub(super) limits: Rc<Limits>,
    pub(super) drain: Drain,
    pub(super) turns: Rc<RefCell<Turns>>,
    pub(super) growth: Rc<Growth>,
}

/// Serves one stream; `true` when it ended as it should.
pub(super) async fn run<S: Service>(
    service: Rc<S>,
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    terms: Rc<Terms>,
) -> bool {
    let (parts, recv) = request.into_parts();
    let recv = Rc::new(RefCell::new(recv));
    let is_head = parts.method == Method::HEAD;
    let is_whole = match request::understand(parts, &terms.limits) {
        Ok(request) => {
            Serving {
                respond,
                recv: recv.clone(),
                is_head,
                terms,
            }
            .serve(&*service, request)
            .await
        }
        Err(fault) => {
            if let Some(limit) = fault.limit() {
                service.limited(limit);
            }
            refuse(&mut respond, &fault, is_head)
        }
    };
    linger(&recv).await;
    is_whole
}

/// A stream that is being served.
struct Serving {
    respond: SendResponse<Bytes>,
    recv: Rc<RefCell<RecvStream>>,
    is_head: bool,
    terms: Rc<Terms>,
}

impl Serving {
    async fn serve<S: Service>(mut self, service: &S, request: Request) -> bool {
        let meter = Rc::new(Meter::default());
        meter.stream.set(self.respond.stream_id().as_u32());
        let interim = Interim::default();
        let expects_continue = request.expects_continue && !self.recv.borrow().is_end_stream();
        let sort = request.upgrade.as_deref().map(|upgrade| Sort::of(Some(upgrade)));
        let wanted = Priority::of(&request.headers);
        let exchange = self.open(request, &interim, &meter);
        // Pinned here, since moving it would copy it: the future of a whole site is large.
        let answering = pin!(service.answer(exchange));
        let answer = answer(answering, &interim, &mut self.respond, expects_continue).await;
        // Held to the end of this function, however it is reached: the record of the exchange lives in it.
        let Some(Answer {
            head,
            payload,
            guard: _guard,
        }) = answer
        else {
            return false;
        };
        if let Some(limit) = meter.limit.get() {
            service.limited(limit);
        }
        while let Some(head) = interim.take() {
            inform(&mut self.respond, head, expects_continue);
        }
        match (payload, sort) {
            (Payload::Body(body), _) if !head.status.is_informational() => {
                let is_whole = self.respond(head, body, wanted, &meter).await;
                if !is_whole && let Some(limit) = meter.limit.get() {
                    service.limited(limit);
                }
                is_whole
            }
            (Payload::Tunnel(io), Some(sort)) => self.join(head, io, sort, &meter).await,
            _ => {
                let head = Head::new(Kind::Internal.treatment().status);
                self.respond(head, Body::empty(), wanted, &meter).await
            }
        }
    }

    /// Makes the exchange. The bytes of a stream that may become a tunnel are no body.
    fn open(&self, request: Request, interim: &Interim, meter: &Rc<Meter>) -> Exchange {
        let body = if request.upgrade.is_some() || self.recv.borrow().is_end_stream() {
            Body::empty()
        } else {
            let expects = request.expects_continue.then(|| interim.clone());
            let declared = declared(&request.headers);
            let limits = &self.terms.limits;
            let pace = Pace::new(limits.body_idle_time, Some(limits.body_rate));
            let received = Received::new(self.recv.clone(), Side::Downstream, declared, pace);
            Body::stream(received.of_request(meter.clone(), expects, self.terms.growth.clone()))
        };
        Exchange {
            protocol: Protocol::Http2,
            scheme: request.scheme,
            authority: request.authority,
            method: request.method,
            form: request.form,
            target: request.target,
            headers: request.headers,
            upgrade: request.upgrade,
            body,
            interim: interim.clone(),
            meter: meter.clone(),
        }
    }

    /// Sends a response and its body, in the order that the client wants unless the answer itself says otherwise.
    async fn respond(mut self, mut head: Head, mut body: Body, wanted: Option<Priority>, meter: &Meter) -> bool {
        clean(&mut head.headers);
        if !head.headers.contains_key(DATE) {
            head.headers.insert(DATE, date::now());
        }
        let place = Place::of(match Priority::of(&head.headers) {
            Some(said) => Some(wanted.unwrap_or_default().overridden_by(said)),
            None => wanted,
        });
        let status = head.status;
        let declared = frame(&mut head, &body, self.is_head);
        if self.is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            body = Body::empty();
        }
        let is_empty = http_body::Body::is_end_stream(&body);
        meter.status.set(status.as_u16());
        let Ok(stream) = self.respond.send_response(response(head), is_empty) else {
            return false;
        };
        if is_empty {
            meter.end.set(End::Complete);
            return true;
        }
        let mut upload = Upload::new(
            body,
            stream,
            declared,
            Pace::new(self.terms.limits.write_stall_time, Some(self.terms.limits.write_rate)),
            Side::Downstream,
            Some(Turn::new(self.terms.turns.clone(), meter.stream.get(), place)),
        );
        let sent = poll_fn(|cx| {
            let sent = upload.poll(cx);
            meter.sent_bytes.set(upload.sent());
            sent
        })
        .await;
        match sent {
            Ok(()) => {
                meter.end.set(End::Complete);
                true
            }
            Err(fault) => {
                if fault.kind() != Kind::DownstreamClosed {
                    meter.fail(&fault);
                }
                meter.limit.set(fault.limit());
                upload.stream().send_reset(fault.kind().treatment().reset);
                false
            }
        }
    }

    /// Joins a stream of DATA frames to a tunnel (RFC 8441).
    async fn join(mut self, mut head: Head, mut io: Box<dyn Duplex>, sort: Sort, meter: &Meter) -> bool {
        clean(&mut head.headers);
        head.headers.remove(CONTENT_LENGTH);
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            head.status = StatusCode::OK;
        }
        meter.status.set(head.status.as_u16());
        let Ok(send) = self.respond.send_response(response(head), false) else {
            return false;
        };
        let mut channel = Channel::new(self.recv, send, None);
        let ahead = BytesMut::new();
        match tunnel::join(&mut channel, ahead, &mut *io, sort, &self.terms.drain, meter).await {
            Ok(()) => true,
            Err(_) => {
                self.respond.send_reset(Reason::CONNECT_ERROR);
                false
            }
        }
    }
}

/// Throws away what still comes of a request body, for a while.
async fn linger(recv: &RefCell<RecvStream>) {
    let (mut left, mut alarm) = (LINGER_BYTES, Alarm::default());
    alarm.set(LINGER_TIME);
    poll_fn(|cx| {
        let mut recv = recv.borrow_mut();
        while left > 0 && !recv.is_end_stream() {
            match recv.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    left = left.saturating_sub(data.len());
                    let _ = recv.flow_control().release_capacity(data.len());
                }
                Poll::Ready(None | Some(Err(_))) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        if recv.is_end_stream() || alarm.poll_is_due(cx) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Waits for the answer, sending interim responses; `None` when the client has taken the request back.
async fn answer(
    mut answer: Pin<&mut impl Future<Output = Answer>>,
    interim: &Interim,
    respond: &mut SendResponse<Bytes>,
    expects_continue: bool,
) -> Option<Answer> {
    poll_fn(|cx| {
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return Poll::Ready(Some(answer));
        }
        while let Some(head) = interim.poll_take(cx) {
            inform(respond, head, expects_continue);
        }
        match respond.poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Sends an interim response; one that cannot be sent any more is none the client waits for.
fn inform(respond: &mut SendResponse<Bytes>, mut head: Head, expects_continue: bool) {
    if head.status == StatusCode::CONTINUE && !expects_continue {
        return;
    }
    clean(&mut head.headers);
    head.headers.remove(CONTENT_LENGTH);
    let _ = respond.send_informational(response(head));
}

/// Answers a request that cannot be served.
fn refuse(respond: &mut SendResponse<Bytes>, fault: &Fault, is_head: bool) -> bool {
    let status = fault.kind().treatment().status;
    let text = Bytes::from(format!(
        "{} {}\n{fault}\n",
        status.as_str(),
        status.canonical_reason().unwrap_or("Error")
    ));
    let mut head = Head::new(status);
    head.headers
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    head.headers.insert(DATE, date::now());
    if let Ok(mut stream) = respond.send_response(response(head), is_head)
        && !is_head
    {
        // A few bytes: they may wait for a window inside the engine.
        let _ = stream.send_data(text, true);
    }
    false
}

/// Makes `Content-Length` agree with the body; gives back what was declared for a body of unknown size.
fn frame(head: &mut Head, body: &Body, is_head: bool) -> Option<u64> {
    let said = declared(&head.headers);
    if head.status == StatusCode::NO_CONTENT {
        head.headers.remove(CONTENT_LENGTH);
        return None;
    }
    let exact = body
        .exact_bytes()
        .filter(|bytes| !(*bytes == 0 && (is_head || head.status == StatusCode::NOT_MODIFIED)));
    match exact.or(said) {
        Some(bytes) => {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
        }
        None => {
            head.headers.remove(CONTENT_LENGTH);
        }
    }
    exact.or(said)
}

/// Removes what HTTP/2 forbids (RFC 9113 §8.2.2).
fn clean(headers: &mut HeaderMap) {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE, KEEP_ALIVE, PROXY_CONNECTION] {
        headers.remove(name);
    }
}

/// `Content-Length`, where it is one number.
pub(super) fn declared(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn response(head: Head) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}
