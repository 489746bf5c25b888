//! The life of one server connection: head, exchange, what is left over, and again.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use http::header::UPGRADE;
use http::{HeaderValue, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};

use super::head::{self, Bounds, Scan, Section};
use super::link::{Expect, Link, RequestBody, gone, malformed};
use super::receive::{Piece, Receiver};
use super::request::{self, Request};
use super::respond::{self, Asked, Next};
use super::send::{Framing, Sender};
use super::wire::{HEAD_READ_BYTES, Outbox, Wire};
use crate::drain::Delay;
use crate::timer::{Alarm, Pace};
use crate::tunnel::{self, Sort};
use crate::{
    Answer, Body, Drain, Duplex, End, Exchange, Fault, Head, Interim, Kind, Limit, Limits, Meter, Payload, Protocol,
    Scheme, Service, Side,
};

/// Response bytes that may wait for the client; a body is asked for more only below this.
const HIGH_WATER_BYTES: usize = 64 << 10;

/// Answers to pipelined requests that wait to be written together: one TLS record.
const PIPELINED_BYTES: usize = 16 << 10;

/// Pipelined bytes read while an exchange is under way.
const READ_AHEAD_BYTES: usize = 16 << 10;

/// Unread request body that is thrown away so that the connection can be kept.
const DRAIN_BYTES: u64 = 64 << 10;

/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_millis(100);

/// What a client may still send after our last byte, so that it reads the answer rather than meet a reset (RFC 9112 §9.6).
const LINGER_BYTES: usize = 1 << 20;

/// How long we listen for that.
const LINGER_TIME: Duration = Duration::from_secs(5);

/// How long a silent answer is kept up for a client that has ended its side. It may be half-closed, or it may be gone.
const HALF_CLOSED_TIME: Duration = Duration::from_secs(60);

/// What came of waiting for a request.
pub(super) enum Opening {
    /// One is here.
    Request(Box<Request>),
    /// The client is through, or was idle too long, or we drain.
    End,
    /// It has to be answered by the driver.
    Refused(Fault),
    /// The connection failed.
    Broken(Fault),
}

/// How to go on after an exchange.
pub(super) enum After<IO> {
    /// With the next one.
    Next,
    /// By closing gently.
    Close,
    /// Not at all; the connection breaks off, or has ended.
    Gone(Option<Fault>),
    /// It is the caller's now.
    Handover { io: IO, read_ahead: BytesMut },
}

/// A connection that is being served.
pub(super) struct Connection<'a, IO> {
    link: Rc<RefCell<Link<IO>>>,
    outbox: Outbox,
    scheme: Scheme,
    limits: &'a Limits,
    drain: &'a Drain,
    /// The head, or idleness, or a half-closed client.
    alarm: Alarm,
    /// Patience with a client that does not read.
    stall: Pace,
    stalled_at: u64,
    /// What a response body broke off with.
    broken: Option<Fault>,
}

impl<'a, IO: AsyncRead + AsyncWrite + Unpin + 'static> Connection<'a, IO> {
    pub(super) fn new(io: IO, read_ahead: BytesMut, scheme: Scheme, limits: &'a Limits, drain: &'a Drain) -> Self {
        Connection {
            link: Rc::new(RefCell::new(Link::new(Wire::new(io, read_ahead)))),
            outbox: Outbox::default(),
            scheme,
            limits,
            drain,
            alarm: Alarm::default(),
            stall: Pace::new(limits.write_stall_time, Some(limits.write_rate)),
            stalled_at: 0,
            broken: None,
        }
    }

    /// Waits for a whole request head.
    pub(super) async fn next_request(&mut self, drained: &mut Delay<'_, '_>) -> Opening {
        let is_first = self.link.borrow().exchange == 0;
        // A next request that is there already is not waited for, so no clock is read for it.
        self.alarm.clear();
        if is_first {
            self.alarm.set(self.limits.head_time);
        }
        let bounds = Bounds {
            line_bytes: self.limits.target_bytes + 64,
            header_bytes: self.limits.header_bytes,
            fields: self.limits.header_fields,
        };
        let mut scan = Scan::new(Section::Request);
        let mut has_begun = is_first;
        let shared = self.link.clone();
        poll_fn(|cx| {
            loop {
                let mut link = shared.borrow_mut();
                let Some(wire) = &mut link.wire else {
                    return Poll::Ready(Opening::End);
                };
                if !wire.buf.is_empty() {
                    match scan.advance(&wire.buf, &bounds) {
                        Ok(None) => {
                            if !has_begun {
                                has_begun = true;
                                self.alarm.set(self.limits.head_time);
                            }
                        }
                        Err(error) => return Poll::Ready(Opening::Refused(malformed(error))),
                        Ok(Some((start, end))) => {
                            let head = wire.buf.split_to(end).freeze().slice(start..);
                            let request = head::parse_request(&head, &bounds)
                                .and_then(|head| request::understand(head, self.scheme, self.limits.target_bytes));
                            return Poll::Ready(match request {
                                Ok(request) => Opening::Request(Box::new(request)),
                                Err(error) => Opening::Refused(malformed(error)),
                            });
                        }
                    }
                }
                // Answers to pipelined requests are written together, before anything is waited for.
                if !self.outbox.is_empty() {
                    drop(link);
                    match self.poll_flush(cx) {
                        Poll::Ready(Ok(())) => continue,
                        Poll::Ready(Err(fault)) => return Poll::Ready(Opening::Broken(fault)),
                        Poll::Pending => return Poll::Pending,
                    }
                }
                match wire.poll_fill(cx, HEAD_READ_BYTES) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(Ok(0)) => return Poll::Ready(Opening::End),
                    Poll::Ready(Err(_)) if wire.buf.is_empty() => return Poll::Ready(Opening::End),
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Opening::Broken(gone("reading a request head").caused_by(error)));
                    }
                    Poll::Pending => {
                        let is_idle = wire.buf.is_empty();
                        if is_idle {
                            wire.rest();
                            self.outbox.rest();
                            // A fresh connection may have its first request on the way: that one is still answered.
                            if !is_first && drained.poll_is_over(cx) {
                                return Poll::Ready(Opening::End);
                            }
                        }
                        self.alarm.set_once(self.limits.idle_time);
                        if !self.alarm.poll_is_due(cx) {
                            return Poll::Pending;
                        }
                        let late = Fault::new(Side::Downstream, Kind::RequestTimeout, "the request head took too long")
                            .at(Limit::HeadTime);
                        return Poll::Ready(if is_idle { Opening::End } else { Opening::Refused(late) });
                    }
                }
            }
        })
        .await
    }

    /// Has one request answered, and writes the answer.
    pub(super) async fn exchange<S: Service>(&mut self, request: Box<Request>, service: &S) -> After<IO> {
        let meter = Rc::new(Meter::default());
        let interim = Interim::default();
        let asked = Asked::new(&request.method, request.is_11, request.takes_trailers);
        let (keeps_alive, upgrade) = (request.keeps_alive, request.upgrade.clone());
        self.alarm.clear();
        // In a scope of its own, and on the heap, so that a connection that waits for a next request holds the size of neither.
        let answering = {
            let exchange = self.open(*request, &interim, &meter);
            match service.answer_now(&exchange) {
                Some(answer) => Ok(answer),
                None => Err(Box::pin(service.answer(Box::new(exchange)))),
            }
        };
        let answer = match answering {
            Ok(answer) => answer,
            Err(mut answering) => match self.answer(answering.as_mut(), &interim, asked).await {
                Ok(answer) => answer,
                Err(fault) => return After::Gone(Some(fault)),
            },
        };
        if let Some(limit) = meter.limit.get() {
            service.limited(limit);
        }
        // Held to the end of this function, however it is reached: the record of the exchange lives in it.
        let Answer {
            mut head,
            payload,
            guard: _guard,
        } = answer;
        self.put_interims(&interim, asked);
        self.alarm.clear();
        match payload {
            Payload::Body(_) if head.status.is_informational() => {
                self.respond(failed(), Body::empty(), asked, false, &meter).await
            }
            Payload::Body(body) => self.respond(head, body, asked, keeps_alive, &meter).await,
            Payload::Tunnel(io) => {
                let is_upgrade =
                    head.status == StatusCode::SWITCHING_PROTOCOLS && name_protocol(&mut head, upgrade.as_deref());
                if is_upgrade || (asked.is_connect && head.status.is_success()) {
                    // On the heap, for the same reason.
                    Box::pin(self.tunnel(head, io, Sort::of(upgrade.as_deref()), asked, &meter)).await
                } else {
                    self.respond(failed(), Body::empty(), asked, false, &meter).await
                }
            }
            Payload::Handover => self.hand_over(head, asked, &meter).await,
        }
    }

    /// Writes a response to a request that cannot be served, and closes.
    pub(super) async fn refuse(&mut self, fault: &Fault) {
        respond::put_refusal(self.outbox.tail(), fault);
        if self.flush().await.is_ok() {
            self.close().await;
        }
    }

    /// Ends our side, and listens a while so that the client reads our last bytes rather than meet a reset.
    pub(super) async fn close(&mut self) {
        let Some(mut wire) = self.link.borrow_mut().wire.take() else {
            return;
        };
        let (mut left, mut is_shut) = (LINGER_BYTES, false);
        self.alarm.set(LINGER_TIME);
        poll_fn(|cx| {
            if !is_shut {
                match Pin::new(&mut wire.io).poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => is_shut = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            }
            while is_shut && !wire.is_eof && left > 0 {
                wire.buf.clear();
                match wire.poll_fill(cx, HEAD_READ_BYTES) {
                    Poll::Ready(Ok(read)) => left = left.saturating_sub(read),
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => break,
                }
            }
            let is_over = is_shut && (wire.is_eof || left == 0);
            if is_over || self.alarm.poll_is_due(cx) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Makes the exchange of a request.
    fn open(&mut self, request: Request, interim: &Interim, meter: &Rc<Meter>) -> Exchange {
        let mut link = self.link.borrow_mut();
        link.exchange += 1;
        link.expect = if request.expects_continue {
            Expect::Asked
        } else {
            Expect::Nothing
        };
        link.has_reader = !request.body.is_done();
        link.receiver = request.body;
        let has_body = link.has_reader;
        drop(link);
        let body = if has_body {
            Body::stream(RequestBody::new(self.link.clone(), meter.clone(), self.limits))
        } else {
            Body::empty()
        };
        Exchange {
            protocol: if request.is_11 {
                Protocol::Http11
            } else {
                Protocol::Http10
            },
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

    /// Waits for the answer, sending interim responses and watching for a client that is gone.
    async fn answer(
        &mut self,
        mut answer: Pin<&mut impl Future<Output = Answer>>,
        interim: &Interim,
        asked: Asked,
    ) -> Result<Answer, Fault> {
        poll_fn(|cx| {
            self.link.borrow_mut().driver = Some(cx.waker().clone());
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(Ok(answer));
            }
            while let Some(head) = interim.poll_take(cx) {
                self.put_interim(&head, asked);
            }
            self.put_continue();
            if let Poll::Ready(Err(fault)) = self.poll_flush(cx) {
                return Poll::Ready(Err(fault));
            }
            match self.poll_watch(cx) {
                Err(fault) => Poll::Ready(Err(fault)),
                Ok(()) => Poll::Pending,
            }
        })
        .await
    }

    /// Writes an ordinary response.
    async fn respond(&mut self, head: Head, body: Body, asked: Asked, keeps_alive: bool, meter: &Meter) -> After<IO> {
        let next = if keeps_alive && self.can_keep() {
            Next::Keep
        } else {
            Next::Close
        };
        let (framing, next) = respond::frame(&head, &body, asked, next);
        respond::put_head(self.outbox.tail(), &head, &body, asked, framing, next);
        meter.status.set(head.status.as_u16());
        self.link.borrow_mut().expect = Expect::Nothing;
        let mut sender = Sender::new(body, framing);
        let may_wait = next == Next::Keep && self.link.borrow().has_next();
        let sent = poll_fn(|cx| self.poll_send(&mut sender, meter, may_wait, cx)).await;
        if let Err(fault) = sent {
            // Only a broken connection tells the client that this was not the end.
            if fault.kind() != Kind::DownstreamClosed {
                meter.fail(&fault);
            }
            return After::Gone(Some(fault));
        }
        meter.end.set(End::Complete);
        drop(sender);
        if next == Next::Close || !self.drop_request_body().await {
            After::Close
        } else {
            After::Next
        }
    }

    /// Moves a body to the client. A small rest of it may wait for what is written next, if it `may_wait`.
    fn poll_send(
        &mut self,
        sender: &mut Sender,
        meter: &Meter,
        may_wait: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        loop {
            let mut is_waiting = false;
            while !sender.is_done() && !is_waiting && self.outbox.waiting() < HIGH_WATER_BYTES {
                match sender.poll_fill(&mut self.outbox, cx) {
                    Poll::Ready(Ok(())) => self.alarm.clear(),
                    // What came before the fault is still sent.
                    Poll::Ready(Err(cause)) => {
                        sender.stop();
                        self.broken = Some(cause);
                    }
                    Poll::Pending => is_waiting = true,
                }
            }
            if may_wait && sender.is_done() && self.broken.is_none() && self.outbox.waiting() < PIPELINED_BYTES {
                meter.sent_bytes.set(sender.sent());
                return Poll::Ready(Ok(()));
            }
            let flushed = self.poll_flush(cx);
            meter
                .sent_bytes
                .set(sender.sent().saturating_sub(self.outbox.waiting() as u64));
            match flushed {
                Poll::Ready(Ok(())) if sender.is_done() => return Poll::Ready(self.broken.take().map_or(Ok(()), Err)),
                Poll::Ready(Ok(())) => {}
                unfinished => return unfinished,
            }
            if is_waiting {
                return self
                    .poll_watch(cx)
                    .map_or_else(|fault| Poll::Ready(Err(fault)), |()| Poll::Pending);
            }
        }
    }

    /// Writes the head of a protocol switch and moves bytes both ways until both ends are done.
    async fn tunnel(
        &mut self,
        head: Head,
        mut other: Box<dyn Duplex>,
        sort: Sort,
        asked: Asked,
        meter: &Meter,
    ) -> After<IO> {
        respond::put_head(
            self.outbox.tail(),
            &head,
            &Body::empty(),
            asked,
            Framing::Nothing,
            Next::Switch,
        );
        meter.status.set(head.status.as_u16());
        if let Err(fault) = self.flush().await {
            return After::Gone(Some(fault));
        }
        let Some(mut wire) = self.link.borrow_mut().wire.take() else {
            return After::Gone(None);
        };
        let ahead = std::mem::take(&mut wire.buf);
        match tunnel::join(&mut wire.io, ahead, &mut *other, sort, self.drain, meter).await {
            Ok(()) => After::Gone(None),
            Err(error) => After::Gone(Some(gone("a tunnel broke").caused_by(error))),
        }
    }

    /// Writes a head and gives the connection away.
    async fn hand_over(&mut self, head: Head, asked: Asked, meter: &Meter) -> After<IO> {
        respond::put_head(
            self.outbox.tail(),
            &head,
            &Body::empty(),
            asked,
            Framing::Nothing,
            Next::Switch,
        );
        meter.status.set(head.status.as_u16());
        if let Err(fault) = self.flush().await {
            return After::Gone(Some(fault));
        }
        meter.end.set(End::Complete);
        match self.link.borrow_mut().wire.take() {
            Some(Wire { io, buf, .. }) => After::Handover { io, read_ahead: buf },
            None => After::Gone(None),
        }
    }

    fn put_interims(&mut self, interim: &Interim, asked: Asked) {
        while let Some(head) = interim.take() {
            self.put_interim(&head, asked);
        }
        self.put_continue();
    }

    /// Writes an interim response, which HTTP/1.0 does not know (RFC 9110 §15.2).
    fn put_interim(&mut self, head: &Head, asked: Asked) {
        if head.status == StatusCode::CONTINUE {
            let mut link = self.link.borrow_mut();
            if link.expect == Expect::Asked {
                link.expect = Expect::Wanted;
            }
        } else if asked.is_11 {
            respond::put_interim(self.outbox.tail(), head);
        }
    }

    /// Writes `100` when the body of a client that waits for it is being read.
    fn put_continue(&mut self) {
        let mut link = self.link.borrow_mut();
        if link.expect == Expect::Wanted {
            link.expect = Expect::Nothing;
            respond::put_interim(self.outbox.tail(), &Head::new(StatusCode::CONTINUE));
        }
    }

    /// Whether the next request can follow, as far as can be said before the response.
    fn can_keep(&self) -> bool {
        let link = self.link.borrow();
        let can_drain = match &link.receiver {
            Receiver::Done | Receiver::Chunked(_) => true,
            Receiver::Length(left) => link.has_reader || *left <= DRAIN_BYTES,
            Receiver::UntilClose | Receiver::Failed => false,
        };
        // A client that was not told to continue may send the body all the same, or not: nobody can know.
        can_drain && link.expect == Expect::Nothing && !self.drain.has_begun()
    }

    /// Throws away what was not read of the request body; `false` when that is too much.
    async fn drop_request_body(&mut self) -> bool {
        {
            let mut link = self.link.borrow_mut();
            // Whoever still holds the body finds it stale from here on.
            link.exchange += 1;
            match link.receiver {
                Receiver::Done => return true,
                // Nobody knows where it ends.
                Receiver::Failed => return false,
                Receiver::Length(_) | Receiver::Chunked(_) | Receiver::UntilClose => {}
            }
        }
        let mut left = DRAIN_BYTES;
        self.alarm.set(DRAIN_TIME);
        poll_fn(|cx| {
            loop {
                match self.link.borrow_mut().poll_piece(cx) {
                    Poll::Ready(Ok(Piece::Data(data))) if data.len() as u64 <= left => left -= data.len() as u64,
                    Poll::Ready(Ok(Piece::End | Piece::Trailers(_))) => return Poll::Ready(true),
                    Poll::Ready(_) => return Poll::Ready(false),
                    Poll::Pending if self.alarm.poll_is_due(cx) => return Poll::Ready(false),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// While nothing else is being read: takes in pipelined bytes, and notices a connection that failed.
    ///
    /// An end of the client's side is no failure: it may wait for the answer with half a connection.
    fn poll_watch(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let mut link = self.link.borrow_mut();
        if !link.receiver.is_done() {
            return Ok(());
        }
        let Some(wire) = &mut link.wire else { return Ok(()) };
        while !wire.is_eof && wire.buf.len() < READ_AHEAD_BYTES {
            match wire.poll_fill(cx, HEAD_READ_BYTES) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Err(gone("the client broke the connection").caused_by(error)),
                Poll::Pending => return Ok(()),
            }
        }
        // An end without close_notify is no half-close (RFC 8446 §6.1): the client was killed, or cut off.
        if wire.is_truncated {
            return Err(gone("the client's connection was cut"));
        }
        if wire.is_eof {
            self.alarm.set_once(HALF_CLOSED_TIME);
            if self.alarm.poll_is_due(cx) {
                return Err(gone("the client ended its side and the answer is silent"));
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if self.outbox.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let mut link = self.link.borrow_mut();
        let Some(wire) = &mut link.wire else {
            return Poll::Ready(Err(gone("the connection is gone")));
        };
        match self.outbox.poll_flush(&mut wire.io, cx) {
            Poll::Ready(Ok(())) => {
                self.stall.moved(self.outbox.written() - self.stalled_at);
                self.stalled_at = self.outbox.written();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(gone("writing to the client").caused_by(error))),
            Poll::Pending => {
                if self.stalled_at != self.outbox.written() {
                    self.stall.moved(self.outbox.written() - self.stalled_at);
                    self.stalled_at = self.outbox.written();
                }
                if self.stall.poll_is_out(cx) {
                    return Poll::Ready(Err(gone("the client does not read").at(Limit::WriteRate)));
                }
                Poll::Pending
            }
        }
    }
}

impl<IO> Drop for Connection<'_, IO> {
    /// Closes the connection even when a service still holds a request body of it.
    fn drop(&mut self) {
        if let Ok(mut link) = self.link.try_borrow_mut() {
            link.wire = None;
        }
    }
}

/// The answer to a service's own mistake.
fn failed() -> Head {
    Head::new(Kind::Internal.treatment().status)
}

/// Makes sure that a `101` names a protocol, and one that was asked for.
fn name_protocol(head: &mut Head, asked: Option<&str>) -> bool {
    let Some(asked) = asked else { return false };
    match head.headers.get(UPGRADE) {
        Some(named) => named.as_bytes().eq_ignore_ascii_case(asked.as_bytes()),
        None => HeaderValue::from_str(asked).is_ok_and(|asked| head.headers.insert(UPGRADE, asked).is_none()),
    }
}
