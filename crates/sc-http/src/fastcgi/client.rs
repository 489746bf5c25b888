//! FastCGI towards an application: one exchange at a time on a connection of its own.
//!
//! No task is spawned. The request is written while the answer is awaited, and goes on being written while the answer's body
//! is polled: an application may answer before it has read, and neither side waits for the other to finish.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::complaints::{Complaints, Listener};
use super::head::Bounds;
use super::request::{self, Call};
use super::response::{Piece, Response};
use super::transfer::{Stdin, Transfer};
use crate::client::{Incoming, Outgoing, SendError};
use crate::h1::wire::{Outbox, Wire};
use crate::timer::Alarm;
use crate::{Body, ClientLimits, Fault, Head, Kind, Retry, Side};

/// What is called with a connection that can carry another exchange.
pub type Reuse<IO> = Box<dyn FnOnce(FastCgi<IO>)>;

/// A FastCGI connection to an application, used by one exchange at a time.
#[derive(Debug)]
pub struct FastCgi<IO> {
    pub(super) wire: Wire<IO>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin + 'static> FastCgi<IO> {
    /// Takes a fresh connection.
    pub fn new(io: IO) -> Self {
        FastCgi {
            wire: Wire::new(io, BytesMut::new()),
        }
    }

    /// Sends one request and waits for the head of the answer.
    ///
    /// Shape: `complain` hears the application's stderr as it comes. `reuse` is called with the connection once request
    /// and answer are both complete, when `call` keeps it and it can carry another exchange; otherwise it is closed.
    /// Errors: [`Retry::Safe`] when nothing was written or the application refused the request, [`Retry::Idempotent`]
    /// when the connection ended without a byte of an answer; the request comes back with the error as long as its body
    /// is whole. [`Kind::LengthRequired`] for a body of unknown length.
    /// Cancel: the connection is closed, which is how an application learns that nobody waits any more.
    pub async fn send(
        self,
        mut out: Box<Outgoing>,
        call: &Call,
        limits: &ClientLimits,
        complain: Listener,
        reuse: Reuse<IO>,
    ) -> Result<Incoming, SendError> {
        let mut outbox = Outbox::default();
        let length = request::length(&out);
        let put = length.and_then(|length| {
            request::put_request(outbox.tail(), &out, length, call)?;
            Ok(length.unwrap_or(0))
        });
        let length = match put {
            Ok(length) => length,
            Err(fault) => {
                let outgoing = Some(out);
                return Err(SendError { fault, outgoing });
            }
        };
        let spare = out.body.take_ready();
        let body = spare.clone().map_or_else(|| std::mem::take(&mut out.body), Body::full);
        let bounds = Bounds {
            header_bytes: limits.header_bytes,
            fields: limits.header_fields,
        };
        let response = Response::new(&out.method, bounds);
        let (stdin, complaints) = (Stdin::new(body, length), Complaints::new(complain));
        let mut transfer = Transfer::new(self.wire, outbox, stdin, response, complaints, limits);
        let head = match transfer.answer_head(limits.first_byte_time).await {
            Ok(head) => head,
            Err(fault) => {
                let body = spare.map(Body::full).or_else(|| transfer.into_untouched());
                let outgoing = body.filter(|_| fault.retryable() != Retry::No).map(|body| {
                    out.body = body;
                    out
                });
                return Err(SendError { fault, outgoing });
            }
        };
        let body = transfer
            .into_body(call.is_kept.then_some(reuse), limits.idle_time)
            .await;
        match body {
            Ok(body) => Ok(Incoming::Response { head, body }),
            Err(fault) => Err(SendError { fault, outgoing: None }),
        }
    }

    /// Whether the idle connection is still open and silent, as far as is known here.
    pub fn is_open(&mut self) -> bool {
        let mut space = [0];
        let mut read = ReadBuf::new(&mut space);
        let mut cx = Context::from_waker(Waker::noop());
        let wire = &mut self.wire;
        !wire.is_eof && wire.buf.is_empty() && Pin::new(&mut wire.io).poll_read(&mut cx, &mut read).is_pending()
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin + 'static> Transfer<IO> {
    /// Waits for the head of the answer, sending the request meanwhile; what is sent counts as life.
    async fn answer_head(&mut self, first_byte_time: Duration) -> Result<Head, Fault> {
        let mut alarm = Alarm::default();
        alarm.set(first_byte_time);
        poll_fn(|cx| {
            let before = self.written();
            if let Poll::Ready(Err(fault)) = self.poll_upload(cx) {
                return Poll::Ready(Err(fault));
            }
            if self.written() != before {
                alarm.set(first_byte_time);
            }
            match self.poll_piece(cx) {
                Poll::Ready(Ok(Piece::Head(head))) => Poll::Ready(Ok(head)),
                Poll::Ready(Err(fault)) => Poll::Ready(Err(fault)),
                // The head comes before all else, or its absence is an error.
                Poll::Ready(Ok(_)) => Poll::Ready(Err(Fault::new(Side::Local, Kind::Internal, "no head came first"))),
                Poll::Pending if alarm.poll_is_due(cx) => {
                    let detail = "the application did not answer in time";
                    Poll::Ready(Err(Fault::new(Side::Upstream, Kind::UpstreamTimeout, detail)))
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// The body of the answer: whole when it is here already, else a stream.
    ///
    /// Shape: for an answer that has no body, what the application has sent until now is thrown away; it is not waited for.
    async fn into_body(mut self, reuse: Option<Reuse<IO>>, idle_time: Duration) -> Result<Body, Fault> {
        let mut ready = Vec::new();
        let is_over = loop {
            match self.take()? {
                Piece::Data(data) => ready.push(data),
                Piece::End(_) => break true,
                _ => break false,
            }
        };
        let ready = joined(ready);
        if is_over {
            self.release(reuse);
            return Ok(Body::full(ready));
        }
        if self.remaining() == Some(0) && ready.is_empty() {
            let polled = poll_fn(|cx| {
                let sent = self.poll_upload(cx);
                Poll::Ready(matches!(
                    (sent, self.poll_piece(cx)),
                    (_, Poll::Ready(Ok(Piece::End(_))))
                ))
            });
            if polled.await {
                self.release(reuse);
            }
            return Ok(Body::empty());
        }
        Ok(Body::stream(Download {
            ready,
            transfer: Some(self),
            reuse,
            alarm: Alarm::default(),
            idle_time,
        }))
    }
}

fn joined(mut pieces: Vec<Bytes>) -> Bytes {
    match (pieces.pop(), pieces.is_empty()) {
        (None, _) => Bytes::new(),
        (Some(only), true) => only,
        (Some(last), false) => [pieces.concat(), last.to_vec()].concat().into(),
    }
}

/// The body of an answer; polling it also sends what is left of the request.
struct Download<IO> {
    /// What came together with the head.
    ready: Bytes,
    transfer: Option<Transfer<IO>>,
    reuse: Option<Reuse<IO>>,
    alarm: Alarm,
    idle_time: Duration,
}

impl<IO: AsyncRead + AsyncWrite + Unpin + 'static> Download<IO> {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>> {
        if !self.ready.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.ready))));
        }
        let Some(transfer) = &mut self.transfer else {
            return Poll::Ready(Ok(None));
        };
        if let Poll::Ready(Err(fault)) = transfer.poll_upload(cx) {
            return Poll::Ready(Err(fault));
        }
        match transfer.poll_piece(cx) {
            Poll::Ready(Ok(Piece::Data(data))) => {
                // The end often comes in the same read; whoever counts the bytes does not ask for it again.
                if transfer.remaining() == Some(0) && matches!(transfer.take(), Ok(Piece::End(_))) {
                    self.finish();
                }
                Poll::Ready(Ok(Some(data)))
            }
            Poll::Ready(Ok(_)) => {
                self.finish();
                Poll::Ready(Ok(None))
            }
            Poll::Ready(Err(fault)) => Poll::Ready(Err(fault)),
            Poll::Pending => {
                self.alarm.set_once(self.idle_time);
                if self.alarm.poll_is_due(cx) {
                    let detail = "the body of the answer took too long";
                    return Poll::Ready(Err(Fault::new(Side::Upstream, Kind::UpstreamTimeout, detail)));
                }
                Poll::Pending
            }
        }
    }

    /// After the end of the request.
    fn finish(&mut self) {
        if let Some(transfer) = self.transfer.take() {
            transfer.release(self.reuse.take());
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin + 'static> http_body::Body for Download<IO> {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = self.get_mut();
        let Poll::Ready(data) = this.poll_data(cx) else {
            return Poll::Pending;
        };
        this.alarm.clear();
        if data.is_err() {
            this.transfer = None;
        }
        Poll::Ready(data.transpose().map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.transfer.is_none() && self.ready.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let left = match &self.transfer {
            Some(transfer) => transfer.remaining(),
            None => Some(0),
        };
        left.map_or_else(SizeHint::default, |left| {
            SizeHint::with_exact(left + self.ready.len() as u64)
        })
    }
}
