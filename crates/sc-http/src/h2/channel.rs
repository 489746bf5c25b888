//! DATA frames as bodies and as byte streams, with flow-control windows given back as bytes are consumed.

use std::any::Any;
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use http::StatusCode;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::growth::{Growth, Thirst};
use crate::timer::Pace;
use crate::{Fault, Head, Interim, Kind, Limit, Meter, Side};

/// Most bytes for which send capacity is asked at a time, so that the streams of a connection share its window.
pub(crate) const PIECE_BYTES: usize = 16 << 10;

/// A body that is received.
pub(crate) struct Received {
    stream: Rc<RefCell<RecvStream>>,
    side: Side,
    remaining: Option<u64>,
    pace: Pace,
    meter: Option<Rc<Meter>>,
    /// Where `100` is asked for when the body is first waited for.
    expects: Option<Interim>,
    growth: Option<(Rc<Growth>, Thirst)>,
    is_at_data_end: bool,
    is_over: bool,
}

impl Received {
    /// A body from the `side` that sends it.
    pub(crate) fn new(stream: Rc<RefCell<RecvStream>>, side: Side, remaining: Option<u64>, pace: Pace) -> Self {
        Received {
            stream,
            side,
            remaining,
            pace,
            meter: None,
            expects: None,
            growth: None,
            is_at_data_end: false,
            is_over: false,
        }
    }

    /// Counts into a meter, asks for `100 Continue` where the client waits for it, and for a larger window where a larger
    /// one would be of use.
    pub(crate) fn of_request(mut self, meter: Rc<Meter>, expects: Option<Interim>, growth: Rc<Growth>) -> Self {
        (self.meter, self.expects) = (Some(meter), expects);
        self.growth = Some((growth, Thirst::default()));
        self
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let mut stream = self.stream.borrow_mut();
        while !self.is_at_data_end {
            match ready!(stream.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    // A window that cannot be given back belongs to a stream that is gone: the next poll says so.
                    let _ = stream.flow_control().release_capacity(data.len());
                    if let Some((growth, thirst)) = &mut self.growth {
                        growth.took(thirst, data.len());
                    }
                    if let Some(remaining) = &mut self.remaining {
                        *remaining = remaining.saturating_sub(data.len() as u64);
                    }
                    if let Some(meter) = &self.meter {
                        meter.received_bytes.set(meter.received_bytes.get() + data.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(fault(self.side, "in the middle of a body", error)))),
                None => self.is_at_data_end = true,
            }
        }
        Poll::Ready(match ready!(stream.poll_trailers(cx)) {
            Ok(Some(mut trailers)) => {
                crate::h1::head::keep_trailers(&mut trailers);
                (!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers)))
            }
            Ok(None) => None,
            Err(error) => Some(Err(fault(self.side, "in the trailers of a body", error))),
        })
    }
}

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        let frame = match this.poll_next(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                if let Some((growth, thirst)) = &mut this.growth {
                    growth.waited(thirst);
                }
                if let Some(interim) = this.expects.take() {
                    interim.send(Head::new(StatusCode::CONTINUE));
                }
                if !this.pace.poll_is_out(cx) {
                    return Poll::Pending;
                }
                if let Some(meter) = &this.meter {
                    meter.limit.set(Some(Limit::BodyRate));
                }
                let kind = if this.side == Side::Upstream {
                    Kind::UpstreamTimeout
                } else {
                    Kind::RequestTimeout
                };
                Some(Err(Fault::new(this.side, kind, "a body took too long")))
            }
        };
        if let Some(Ok(frame)) = &frame {
            this.pace.moved(frame.data_ref().map_or(0, |data| data.len() as u64));
        }
        this.is_over = !matches!(&frame, Some(Ok(frame)) if frame.is_data());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.stream.borrow().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A stream of DATA frames as a stream of bytes (RFC 8441 §5).
pub(crate) struct Channel {
    recv: Rc<RefCell<RecvStream>>,
    send: SendStream<Bytes>,
    ahead: Bytes,
    is_ended: bool,
    _held: Option<Box<dyn Any>>,
}

impl Channel {
    /// Joins the two directions of a stream; `held` lives as long as the channel.
    pub(crate) fn new(recv: Rc<RefCell<RecvStream>>, send: SendStream<Bytes>, held: Option<Box<dyn Any>>) -> Self {
        Channel {
            recv,
            send,
            ahead: Bytes::new(),
            is_ended: false,
            _held: held,
        }
    }
}

impl AsyncRead for Channel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.ahead.is_empty() {
            let data = ready!(self.recv.borrow_mut().poll_data(cx));
            match data {
                None => return Poll::Ready(Ok(())),
                Some(data) => self.ahead = data.map_err(io_error)?,
            }
        }
        let part = self.ahead.len().min(buf.remaining());
        buf.put_slice(self.ahead.get(..part).unwrap_or_default());
        self.ahead.advance(part);
        let _ = self.recv.borrow_mut().flow_control().release_capacity(part);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Channel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let capacity = match ready!(poll_capacity(&mut self.send, buf.len(), cx)) {
            Some(capacity) => capacity.map_err(io_error)?,
            None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        };
        let part = buf.get(..capacity.min(buf.len())).unwrap_or_default();
        self.send
            .send_data(Bytes::copy_from_slice(part), false)
            .map_err(io_error)?;
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_ended {
            self.is_ended = true;
            self.send.send_data(Bytes::new(), true).map_err(io_error)?;
        }
        Poll::Ready(Ok(()))
    }
}

/// Asks for room to send up to `wanted` bytes; `None` when the stream takes no more.
pub(crate) fn poll_capacity(
    stream: &mut SendStream<Bytes>,
    wanted: usize,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<usize, h2::Error>>> {
    stream.reserve_capacity(wanted.min(PIECE_BYTES));
    match stream.capacity() {
        0 => stream.poll_capacity(cx),
        capacity => Poll::Ready(Some(Ok(capacity))),
    }
}

/// The fault that an error of the `h2` crate is, by whose side it came from.
pub(crate) fn fault(side: Side, detail: &str, error: h2::Error) -> Fault {
    let is_theirs = error.is_library() && !error.is_io();
    let kind = match side {
        Side::Upstream if is_theirs => Kind::UpstreamProtocol,
        Side::Upstream => Kind::UpstreamClosed,
        _ if is_theirs => Kind::BadRequest,
        _ => Kind::DownstreamClosed,
    };
    Fault::new(side, kind, detail).caused_by(error)
}

fn io_error(error: h2::Error) -> io::Error {
    let kind = match error.reason() {
        Some(Reason::NO_ERROR | Reason::CANCEL) => io::ErrorKind::ConnectionAborted,
        _ => io::ErrorKind::ConnectionReset,
    };
    io::Error::new(kind, error)
}
