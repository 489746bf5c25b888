//! One HTTP/2 exchange: from the request head to the last frame of the response.

use std::any::Any;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::channel::{Channel, PIECE_BYTES, Received};
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

/// Fields of one hop, which HTTP/2 has no use for.
const FORBIDDEN: [&str; 5] = [
    "connection",
    "transfer-encoding",
    "upgrade",
    "keep-alive",
    "proxy-connection",
];

/// What holds for all streams of a connection.
pub(super) struct Terms {
    pub(super) limits: Rc<Limits>,
    pub(super) drain: Drain,
    pub(super) turns: Rc<RefCell<Turns>>,
    pub(super) growth: Rc<Growth>,
}

/// What came of beginning something.
pub(super) enum Begun<T> {
    /// It is over; `true` when it ended as it should.
    Over(bool),
    /// This is left.
    Goes(T),
}

/// A stream with something left to do.
pub(super) struct Open {
    recv: Rc<RefCell<RecvStream>>,
    stage: Stage,
}

/// How far an exchange has come.
#[expect(
    clippy::large_enum_variant,
    reason = "mostly it is sent at once: a box would be one for each request"
)]
enum Stage {
    /// It waits for its answer.
    Asked(Box<(Serving, Asked)>),
    /// It has one.
    Answered(Answered),
}

/// What the answer to an exchange leads to.
#[expect(
    clippy::large_enum_variant,
    reason = "mostly it is sent at once: a box would be one for each request"
)]
enum Answered {
    /// Its response is under way.
    Sending(Sending),
    /// It becomes a tunnel.
    Joining(Box<Joining>),
    /// It is over, and well or not.
    Over(bool),
}

/// Begins to serve a stream. What is in memory and small is answered here, without the future that an exchange is
/// otherwise, which is large.
///
/// Shape: what is left is for [`run`].
pub(super) fn begin<S: Service>(
    service: &S,
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    terms: &Rc<Terms>,
    cx: &mut Context<'_>,
) -> Begun<Open> {
    let (parts, recv) = request.into_parts();
    let recv = Rc::new(RefCell::new(recv));
    let is_head = parts.method == Method::HEAD;
    let stage = match request::understand(parts, &terms.limits) {
        Ok(request) => {
            let serving = Serving {
                respond,
                recv: recv.clone(),
                is_head,
                terms: terms.clone(),
            };
            serving.begin(service, request, cx)
        }
        Err(fault) => {
            if let Some(limit) = fault.limit() {
                service.limited(limit);
            }
            Stage::Answered(Answered::Over(refuse(&mut respond, &fault, is_head)))
        }
    };
    match stage {
        Stage::Answered(Answered::Over(is_whole)) if recv.borrow().is_end_stream() => Begun::Over(is_whole),
        stage => Begun::Goes(Open { recv, stage }),
    }
}

/// Serves the rest of a stream; `true` when it ended as it should.
pub(super) async fn run<S: Service>(service: Rc<S>, open: Open) -> bool {
    let Open { recv, stage } = open;
    let answered = match stage {
        Stage::Asked(asked) => {
            let (serving, asked) = *asked;
            serving.answer(&*service, asked).await
        }
        Stage::Answered(answered) => answered,
    };
    let is_whole = match answered {
        Answered::Sending(mut sending) => poll_fn(|cx| sending.poll(&*service, cx)).await,
        Answered::Joining(joining) => joining.join().await,
        Answered::Over(is_whole) => is_whole,
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

/// A request, and what its response depends on.
struct Asked {
    exchange: Box<Exchange>,
    about: About,
}

struct About {
    interim: Interim,
    meter: Rc<Meter>,
    sort: Option<Sort>,
    wanted: Option<Priority>,
    expects_continue: bool,
}

impl Serving {
    /// Has the request answered if that can be now.
    fn begin<S: Service>(self, service: &S, request: Request, cx: &mut Context<'_>) -> Stage {
        let (exchange, about) = self.open(request);
        let Some(answer) = service.answer_now(&exchange) else {
            let exchange = Box::new(exchange);
            return Stage::Asked(Box::new((self, Asked { exchange, about })));
        };
        Stage::Answered(match self.send(service, answer, about) {
            Answered::Sending(mut sending) if sending.is_small => match sending.poll(service, cx) {
                Poll::Ready(is_whole) => Answered::Over(is_whole),
                Poll::Pending => Answered::Sending(sending),
            },
            answered => answered,
        })
    }

    /// Has the request answered.
    async fn answer<S: Service>(mut self, service: &S, asked: Asked) -> Answered {
        let Asked { exchange, about } = asked;
        // Pinned here, since moving it would copy it: the future of a whole site is large.
        let answering = pin!(service.answer(exchange));
        match answer(answering, &about.interim, &mut self.respond, about.expects_continue).await {
            Some(answer) => self.send(service, answer, about),
            None => Answered::Over(false),
        }
    }

    /// Begins the response.
    fn send<S: Service>(mut self, service: &S, answer: Answer, about: About) -> Answered {
        let Answer { head, payload, guard } = answer;
        if let Some(limit) = about.meter.limit.get() {
            service.limited(limit);
        }
        while let Some(head) = about.interim.take() {
            inform(&mut self.respond, head, about.expects_continue);
        }
        match (payload, about.sort) {
            (Payload::Body(body), _) if !head.status.is_informational() => {
                self.respond(head, body, about.wanted, about.meter, guard)
            }
            (Payload::Tunnel(io), Some(sort)) => Answered::Joining(Box::new(Joining {
                serving: self,
                head,
                io,
                sort,
                meter: about.meter,
                _guard: guard,
            })),
            _ => {
                let head = Head::new(Kind::Internal.treatment().status);
                self.respond(head, Body::empty(), about.wanted, about.meter, guard)
            }
        }
    }

    /// Makes the exchange. The bytes of a stream that may become a tunnel are no body.
    fn open(&self, request: Request) -> (Exchange, About) {
        let meter = Rc::new(Meter::default());
        meter.stream.set(self.respond.stream_id().as_u32());
        let interim = Interim::default();
        let has_ended = self.recv.borrow().is_end_stream();
        let body = if request.upgrade.is_some() || has_ended {
            Body::empty()
        } else {
            let expects = request.expects_continue.then(|| interim.clone());
            let declared = declared(&request.headers);
            let limits = &self.terms.limits;
            let pace = Pace::new(limits.body_idle_time, Some(limits.body_rate));
            let received = Received::new(self.recv.clone(), Side::Downstream, declared, pace);
            Body::stream(received.of_request(meter.clone(), expects, self.terms.growth.clone()))
        };
        let about = About {
            interim: interim.clone(),
            meter: meter.clone(),
            sort: request.upgrade.as_deref().map(|upgrade| Sort::of(Some(upgrade))),
            wanted: Priority::of(&request.headers),
            expects_continue: request.expects_continue && !has_ended,
        };
        let exchange = Exchange {
            protocol: Protocol::Http2,
            scheme: request.scheme,
            authority: request.authority,
            method: request.method,
            form: request.form,
            target: request.target,
            headers: request.headers,
            upgrade: request.upgrade,
            body,
            interim,
            meter,
        };
        (exchange, about)
    }

    /// Sends the head of a response; its body goes in the order that the client wants unless the answer itself says
    /// otherwise.
    fn respond(
        mut self,
        mut head: Head,
        mut body: Body,
        wanted: Option<Priority>,
        meter: Rc<Meter>,
        guard: Option<Box<dyn Any>>,
    ) -> Answered {
        clean(&mut head.headers);
        head.headers.entry(DATE).or_insert_with(date::now);
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
            return Answered::Over(false);
        };
        if is_empty {
            meter.end.set(End::Complete);
            return Answered::Over(true);
        }
        let is_small = body.exact_bytes().is_some_and(|bytes| bytes <= PIECE_BYTES as u64);
        let limits = &self.terms.limits;
        let pace = Pace::new(limits.write_stall_time, Some(limits.write_rate));
        let turn = Turn::new(self.terms.turns.clone(), meter.stream.get(), place);
        Answered::Sending(Sending {
            upload: Upload::new(body, stream, declared, pace, Side::Downstream, Some(turn)),
            is_small,
            meter,
            _guard: guard,
        })
    }
}

/// A response whose body is under way.
struct Sending {
    upload: Upload,
    is_small: bool,
    meter: Rc<Meter>,
    /// Held to the end, however it is reached: the record of the exchange lives in it.
    _guard: Option<Box<dyn Any>>,
}

impl Sending {
    /// Sends as much as can be; at the end, whether it is one as it should be.
    fn poll<S: Service>(&mut self, service: &S, cx: &mut Context<'_>) -> Poll<bool> {
        let sent = self.upload.poll(cx);
        self.meter.sent_bytes.set(self.upload.sent());
        let Err(fault) = ready!(sent) else {
            self.meter.end.set(End::Complete);
            return Poll::Ready(true);
        };
        if fault.kind() != Kind::DownstreamClosed {
            self.meter.fail(&fault);
        }
        self.meter.limit.set(fault.limit());
        if let Some(limit) = fault.limit() {
            service.limited(limit);
        }
        self.upload.stream().send_reset(fault.kind().treatment().reset);
        Poll::Ready(false)
    }
}

/// A stream that becomes a tunnel.
struct Joining {
    serving: Serving,
    head: Head,
    io: Box<dyn Duplex>,
    sort: Sort,
    meter: Rc<Meter>,
    _guard: Option<Box<dyn Any>>,
}

impl Joining {
    /// Joins a stream of DATA frames to a tunnel (RFC 8441).
    async fn join(self) -> bool {
        let Joining {
            serving,
            mut head,
            mut io,
            sort,
            meter,
            _guard,
        } = self;
        let Serving {
            mut respond,
            recv,
            terms,
            ..
        } = serving;
        clean(&mut head.headers);
        head.headers.remove(CONTENT_LENGTH);
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            head.status = StatusCode::OK;
        }
        meter.status.set(head.status.as_u16());
        let Ok(send) = respond.send_response(response(head), false) else {
            return false;
        };
        let mut channel = Channel::new(recv, send, None);
        let ahead = BytesMut::new();
        match tunnel::join(&mut channel, ahead, &mut *io, sort, &terms.drain, &meter).await {
            Ok(()) => true,
            Err(_) => {
                respond.send_reset(Reason::CONNECT_ERROR);
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
    if head.status == StatusCode::NO_CONTENT {
        head.headers.remove(CONTENT_LENGTH);
        return None;
    }
    let exact = body
        .exact_bytes()
        .filter(|bytes| !(*bytes == 0 && (is_head || head.status == StatusCode::NOT_MODIFIED)));
    let known = exact.or_else(|| declared(&head.headers));
    match known {
        Some(bytes) => {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
        }
        None => {
            head.headers.remove(CONTENT_LENGTH);
        }
    }
    known
}

/// Removes what HTTP/2 forbids (RFC 9113 §8.2.2).
fn clean(headers: &mut HeaderMap) {
    // Seldom is one there, and to look for each would take longer.
    if headers.keys().any(|name| FORBIDDEN.contains(&name.as_str())) {
        for name in FORBIDDEN {
            headers.remove(name);
        }
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
