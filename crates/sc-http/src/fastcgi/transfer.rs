//! A connection with a request on its way and its answer coming in, both at once.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::complaints::Complaints;
use super::record::{self, Kind as Record, MOST_CONTENT_BYTES};
use super::response::{Piece, Response, ResponseError};
use super::{FastCgi, Reuse};
use crate::h1::wire::{BODY_READ_BYTES, Outbox, Wire};
use crate::timer::Alarm;
use crate::{Body, ClientLimits, Fault, Kind, Retry, Side};

/// Request bytes that may wait for the application; a body is asked for more only below this.
const HIGH_WATER_BYTES: usize = 64 << 10;

/// A request body on its way into records of `FCGI_STDIN`.
#[derive(Debug)]
pub(super) struct Stdin {
    body: Body,
    left: u64,
    is_done: bool,
    is_touched: bool,
}

impl Stdin {
    pub(super) fn new(body: Body, length: u64) -> Self {
        Stdin {
            body,
            left: length,
            is_done: false,
            is_touched: false,
        }
    }

    /// Puts the next piece into the outbox, or the end of the stream.
    ///
    /// Errors: the fault of the body, or `Internal` when the body is not as long as it was said to be.
    fn poll_fill(&mut self, outbox: &mut Outbox, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if self.left == 0 {
            return Poll::Ready(self.end(outbox));
        }
        self.is_touched = true;
        let frame = match ready!(http_body::Body::poll_frame(Pin::new(&mut self.body), cx)) {
            None => return Poll::Ready(self.end(outbox)),
            Some(frame) => frame?,
        };
        // Trailers have no place in CGI.
        let Ok(mut data) = frame.into_data() else {
            return Poll::Ready(self.end(outbox));
        };
        let detail = "a body is longer than was declared";
        let left = self.left.checked_sub(data.len() as u64);
        self.left = left.ok_or_else(|| Fault::new(Side::Local, Kind::Internal, detail))?;
        while !data.is_empty() {
            let part = data.split_to(data.len().min(MOST_CONTENT_BYTES));
            let content = u16::try_from(part.len()).unwrap_or(u16::MAX);
            record::put_header(outbox.tail(), Record::Stdin, content);
            outbox.push(part);
        }
        Poll::Ready(if self.left == 0 { self.end(outbox) } else { Ok(()) })
    }

    fn end(&mut self, outbox: &mut Outbox) -> Result<(), Fault> {
        self.is_done = true;
        if self.left > 0 {
            let detail = "a body is shorter than was declared";
            return Err(Fault::new(Side::Local, Kind::Internal, detail));
        }
        record::put_end(outbox.tail(), Record::Stdin);
        Ok(())
    }
}

/// A connection in use.
#[derive(Debug)]
pub(super) struct Transfer<IO> {
    wire: Wire<IO>,
    outbox: Outbox,
    stdin: Stdin,
    response: Response,
    complaints: Complaints,
    has_heard: bool,
    write_error: Option<io::Error>,
    is_broken: bool,
    stall: Alarm,
    stalled_at: u64,
    stall_time: Duration,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Transfer<IO> {
    pub(super) fn new(
        wire: Wire<IO>,
        outbox: Outbox,
        stdin: Stdin,
        response: Response,
        complaints: Complaints,
        limits: &ClientLimits,
    ) -> Self {
        Transfer {
            wire,
            outbox,
            stdin,
            response,
            complaints,
            has_heard: false,
            write_error: None,
            is_broken: false,
            stall: Alarm::default(),
            stalled_at: 0,
            stall_time: limits.write_stall_time,
        }
    }

    /// How many bytes were written.
    pub(super) fn written(&self) -> u64 {
        self.outbox.written()
    }

    /// Bytes of the answer's body that are still to come, where that is known.
    pub(super) fn remaining(&self) -> Option<u64> {
        self.response.remaining()
    }

    /// Gives the request's body back when nothing was taken out of it.
    pub(super) fn into_untouched(self) -> Option<Body> {
        (!self.stdin.is_touched).then_some(self.stdin.body)
    }

    fn is_sent(&self) -> bool {
        self.stdin.is_done && self.outbox.is_empty() && !self.is_broken
    }

    /// Writes as much of the request as can be; an application that takes no more is no fault yet.
    ///
    /// Errors: the fault of the request body, or `UpstreamTimeout`.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        loop {
            if self.is_broken || self.is_sent() {
                return Poll::Ready(Ok(()));
            }
            let mut is_waiting = false;
            while !self.stdin.is_done && !is_waiting && self.outbox.waiting() < HIGH_WATER_BYTES {
                is_waiting = self.stdin.poll_fill(&mut self.outbox, cx)?.is_pending();
            }
            match self.outbox.poll_flush(&mut self.wire.io, cx) {
                Poll::Ready(Ok(())) => self.stall.clear(),
                Poll::Ready(Err(error)) => {
                    self.write_error = Some(error);
                    self.is_broken = true;
                    self.stdin.body = Body::empty();
                }
                Poll::Pending => return self.poll_stalled(cx),
            }
            if is_waiting {
                return Poll::Pending;
            }
        }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if self.stalled_at != self.written() {
            self.stalled_at = self.written();
            self.stall.clear();
        }
        self.stall.set_once(self.stall_time);
        if self.stall.poll_is_due(cx) {
            let detail = "the application does not read the request";
            return Poll::Ready(Err(Fault::new(Side::Upstream, Kind::UpstreamTimeout, detail)));
        }
        Poll::Pending
    }

    /// Takes the next piece of the answer from what was read already; complaints are told on the way.
    pub(super) fn take(&mut self) -> Result<Piece, Fault> {
        loop {
            match self.response.take(&mut self.wire.buf) {
                Ok(Piece::Stderr(data)) => self.complaints.take(&data),
                Ok(Piece::End(status)) => {
                    self.complaints.returned(status);
                    return Ok(Piece::End(status));
                }
                Ok(piece) => return Ok(piece),
                Err(error) => return Err(malformed(error)),
            }
        }
    }

    /// Takes the next piece of the answer, reading as needed; never [`Piece::More`].
    ///
    /// Errors: a malformed answer; `UpstreamClosed` when the connection ends before the answer does.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Fault>> {
        loop {
            match self.take() {
                Ok(Piece::More) => {}
                other => return Poll::Ready(other),
            }
            match ready!(self.wire.poll_fill(cx, BODY_READ_BYTES)) {
                Ok(1..) => self.has_heard = true,
                Ok(0) => return Poll::Ready(Err(self.closed())),
                Err(error) => return Poll::Ready(Err(self.closed().caused_by(error))),
            }
        }
    }

    /// The fault of a connection that ended before the answer did.
    fn closed(&mut self) -> Fault {
        let (retry, detail) = match (self.written(), self.has_heard) {
            (0, _) => (Retry::Safe, "the application closed the connection without an answer"),
            (_, false) => (
                Retry::Idempotent,
                "the application closed the connection without an answer",
            ),
            (_, true) => (Retry::No, "the application closed in the middle of an answer"),
        };
        let fault = Fault::new(Side::Upstream, Kind::UpstreamClosed, detail).retry(retry);
        match self.write_error.take() {
            Some(error) => fault.caused_by(error),
            None => fault,
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin + 'static> Transfer<IO> {
    /// Gives the connection back after a whole answer, if it can carry another exchange.
    pub(super) fn release(mut self, reuse: Option<Reuse<IO>>) {
        let is_clean = self.is_sent() && self.wire.buf.is_empty() && !self.wire.is_eof;
        if let Some(reuse) = reuse.filter(|_| is_clean) {
            self.wire.rest();
            reuse(FastCgi { wire: self.wire });
        }
    }
}

fn malformed(error: ResponseError) -> Fault {
    let (kind, retry) = match error {
        // The application has not looked at the request.
        ResponseError::Overloaded | ResponseError::CannotMultiplex => (Kind::UpstreamBusy, Retry::Safe),
        ResponseError::UnknownRole => (Kind::UpstreamProtocol, Retry::Safe),
        ResponseError::Short(_) => (Kind::UpstreamClosed, Retry::No),
        _ => (Kind::UpstreamProtocol, Retry::No),
    };
    let detail = match kind {
        Kind::UpstreamBusy => "the application refuses the request",
        _ => "the answer of the application is malformed",
    };
    Fault::new(Side::Upstream, kind, detail).retry(retry).caused_by(error)
}
