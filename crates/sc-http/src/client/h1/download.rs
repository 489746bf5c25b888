//! Response bodies and upgraded streams of the HTTP/1.1 client.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::transfer::Transfer;
use super::{Reuse, broken};
use crate::h1::receive::{Piece, Receiver};
use crate::h1::wire::{BODY_READ_BYTES, Wire};
use crate::timer::Alarm;
use crate::{Fault, Kind, Side};

/// A response body; polling it also sends what is left of the request.
pub(super) struct Download<IO> {
    transfer: Option<Transfer<IO>>,
    receiver: Receiver,
    reuse: Option<Reuse<IO>>,
    alarm: Alarm,
    idle: Duration,
}

impl<IO> Download<IO> {
    pub(super) fn new(transfer: Transfer<IO>, receiver: Receiver, reuse: Option<Reuse<IO>>, idle: Duration) -> Self {
        Download {
            transfer: Some(transfer),
            receiver,
            reuse,
            alarm: Alarm::default(),
            idle,
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin + 'static> Download<IO> {
    /// Takes the next piece, reading as needed.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Fault>> {
        let Some(transfer) = &mut self.transfer else {
            return Poll::Ready(Ok(Piece::End));
        };
        if let Poll::Ready(Err(fault)) = transfer.poll_upload(cx) {
            return Poll::Ready(Err(fault));
        }
        loop {
            match self.receiver.take(&mut transfer.wire.buf) {
                Ok(Piece::More) => {}
                Ok(piece) => return Poll::Ready(Ok(piece)),
                Err(error) => return Poll::Ready(Err(broken("the response body is malformed").caused_by(error))),
            }
            let read = match transfer.wire.poll_fill(cx, BODY_READ_BYTES) {
                Poll::Pending => break,
                Poll::Ready(read) => read,
            };
            match read {
                Ok(1..) => {}
                Ok(0) if matches!(self.receiver, Receiver::UntilClose) && !transfer.wire.is_truncated => {
                    self.receiver = Receiver::Done;
                }
                Ok(0) => return Poll::Ready(Err(closed())),
                Err(error) => return Poll::Ready(Err(closed().caused_by(error))),
            }
        }
        self.alarm.set_once(self.idle);
        if self.alarm.poll_is_due(cx) {
            return Poll::Ready(Err(Fault::new(
                Side::Upstream,
                Kind::UpstreamTimeout,
                "the response body took too long",
            )));
        }
        Poll::Pending
    }

    /// After the last piece.
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
        let piece = match this.poll_piece(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(piece) => piece,
        };
        this.alarm.clear();
        let frame = match piece {
            Ok(Piece::Data(data)) => Some(Ok(Frame::data(data))),
            Ok(Piece::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Ok(Piece::End | Piece::More) => None,
            Err(fault) => {
                this.transfer = None;
                Some(Err(fault))
            }
        };
        if this.receiver.is_done() {
            this.finish();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.transfer.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.receiver
            .remaining()
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn closed() -> Fault {
    Fault::new(
        Side::Upstream,
        Kind::UpstreamClosed,
        "the application closed in the middle of a response body",
    )
}

/// A stream with the bytes that were read ahead of it.
pub(super) struct Rewound<IO> {
    wire: Wire<IO>,
}

impl<IO> Rewound<IO> {
    pub(super) fn new(wire: Wire<IO>) -> Self {
        Rewound { wire }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Rewound<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = &mut self.wire;
        if wire.buf.is_empty() {
            return Pin::new(&mut wire.io).poll_read(cx, buf);
        }
        let part = wire.buf.len().min(buf.remaining());
        buf.put_slice(wire.buf.get(..part).unwrap_or_default());
        wire.buf.advance(part);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Rewound<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire.io).poll_shutdown(cx)
    }
}
