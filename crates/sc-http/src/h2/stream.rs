//! One HTTP/2 exchange: from the request head to the last frame of the response.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderName, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::channel::{Channel, Received};
use super::request::{self, Request};
use super::upload::Upload;
use crate::h1::tunnel;
use crate::{
    Answer, Body, Duplex, End, Exchange, Fault, Head, Interim, Kind, Limits, Meter, Payload, Protocol, Service, Side,
    date,
};

/// Serves one stream; `true` when it ended as it should.
pub(super) async fn run<S: Service>(
    service: Rc<S>,
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    limits: Rc<Limits>,
) -> bool {
    let (parts, recv) = request.into_parts();
    let is_head = parts.method == Method::HEAD;
    let request = match request::understand(parts, &limits) {
        Ok(request) => request,
        Err(fault) => return refuse(&mut respond, &fault, is_head),
    };
    let meter = Rc::new(Meter::default());
    meter.stream.set(respond.stream_id().as_u32());
    let interim = Interim::default();
    let expects_continue = request.expects_continue && !recv.is_end_stream();
    let is_tunnel = request.upgrade.is_some();
    let (exchange, recv) = open(request, recv, &interim, &meter, &limits);
    // Pinned here, since moving it would copy it: the future of a whole site is large.
    let answering = pin!(service.answer(exchange));
    let answer = answer(answering, &interim, &mut respond, expects_continue).await;
    // Held to the end of this function, however it is reached: the record of the exchange lives in it.
    let Some(Answer {
        head,
        payload,
        guard: _guard,
    }) = answer
    else {
        return false;
    };
    while let Some(head) = interim.take() {
        inform(&mut respond, head, expects_continue);
    }
    match (payload, recv) {
        (Payload::Body(body), _) if !head.status.is_informational() => {
            respond_with(respond, head, body, is_head, &meter, &limits).await
        }
        (Payload::Tunnel(io), Some(recv)) if is_tunnel => join(respond, recv, head, io, &meter).await,
        _ => {
            let failed = Head::new(Kind::Internal.treatment().status);
            respond_with(respond, failed, Body::empty(), is_head, &meter, &limits).await
        }
    }
}

/// Makes the exchange. Of a stream that may become a tunnel, the receiving half stays here.
fn open(
    request: Request,
    recv: RecvStream,
    interim: &Interim,
    meter: &Rc<Meter>,
    limits: &Limits,
) -> (Exchange, Option<RecvStream>) {
    let (body, recv) = if request.upgrade.is_some() {
        (Body::empty(), Some(recv))
    } else if recv.is_end_stream() {
        (Body::empty(), None)
    } else {
        let declared = declared(&request.headers);
        let expects = request.expects_continue.then(|| interim.clone());
        let received = Received::new(recv, Side::Downstream, declared, limits.body_idle_time);
        (Body::stream(received.of_request(meter.clone(), expects)), None)
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
        interim: interim.clone(),
        meter: meter.clone(),
    };
    (exchange, recv)
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

/// Sends a response and its body.
async fn respond_with(
    mut respond: SendResponse<Bytes>,
    mut head: Head,
    mut body: Body,
    is_head: bool,
    meter: &Meter,
    limits: &Limits,
) -> bool {
    clean(&mut head.headers);
    if !head.headers.contains_key(DATE) {
        head.headers.insert(DATE, date::now());
    }
    let status = head.status;
    let declared = frame(&mut head, &body, is_head);
    if is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        body = Body::empty();
    }
    let is_empty = http_body::Body::is_end_stream(&body);
    meter.status.set(status.as_u16());
    let Ok(stream) = respond.send_response(response(head), is_empty) else {
        return false;
    };
    if is_empty {
        meter.end.set(End::Complete);
        return true;
    }
    let mut upload = Upload::new(body, stream, declared, limits.write_stall_time, Side::Downstream);
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
            upload.stream().send_reset(fault.kind().treatment().reset);
            false
        }
    }
}

/// Joins a stream of DATA frames to a tunnel (RFC 8441).
async fn join(
    mut respond: SendResponse<Bytes>,
    recv: RecvStream,
    mut head: Head,
    mut io: Box<dyn Duplex>,
    meter: &Meter,
) -> bool {
    clean(&mut head.headers);
    head.headers.remove(CONTENT_LENGTH);
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        head.status = StatusCode::OK;
    }
    meter.status.set(head.status.as_u16());
    let Ok(send) = respond.send_response(response(head), false) else {
        return false;
    };
    let mut channel = Channel::new(recv, send);
    let moved = |moved: tunnel::Moved| {
        meter.received_bytes.set(moved.received);
        meter.sent_bytes.set(moved.sent);
    };
    match tunnel::join(&mut channel, BytesMut::new(), &mut *io, moved).await {
        Ok(()) => {
            meter.end.set(End::Complete);
            true
        }
        Err(_) => {
            respond.send_reset(Reason::CONNECT_ERROR);
            false
        }
    }
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
