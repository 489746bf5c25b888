//! Joins two byte streams after a protocol switch, keeping half-closes (RFC 9110 §7.8), and ends them when the server does.
//!
//! A tunnel whose time is up is ended in order. A websocket gets a Close frame in each direction, between two of its frames,
//! and a while for the answers; then, as every other tunnel at once, the end of both streams and a while to read the last
//! bytes.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::drain::Delay;
use crate::timer::Alarm;
use crate::websocket::{self, GOING_AWAY, Towards, Tracker};
use crate::{Drain, End, Meter};

/// Bytes moved at a time.
const PIECE_BYTES: usize = 16 << 10;

/// How long the two ends of a websocket may take to finish the frame under way and to answer our Close. Browsers answer
/// within a round trip.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// How long we read on after both streams were ended, so that the last bytes are read rather than met by a reset.
const LINGER_TIME: Duration = Duration::from_secs(5);

/// What goes through a tunnel, as far as its end depends on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sort {
    /// Frames of RFC 6455.
    Websocket,
    /// Bytes.
    Opaque,
}

impl Sort {
    /// By the name in `Upgrade` or `:protocol`.
    pub(crate) fn of(upgrade: Option<&str>) -> Self {
        match upgrade {
            Some(name) if name.eq_ignore_ascii_case("websocket") => Sort::Websocket,
            _ => Sort::Opaque,
        }
    }
}

/// Moves bytes both ways until both ends are done, or the drain ends the tunnel; `ahead` was already read from `client`.
///
/// Shape: `meter` counts, and is told of an end that is in order.
/// Errors: the first stream that failed. The end by the drain is none.
pub(crate) async fn join<A, B>(
    client: &mut A,
    ahead: BytesMut,
    other: &mut B,
    sort: Sort,
    drain: &Drain,
    meter: &Meter,
) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin + ?Sized,
    B: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    let (mut up, mut down) = (Pipe::new(sort, ahead), Pipe::new(sort, BytesMut::new()));
    let begun = pin!(drain.begin.cancelled());
    let mut time = Delay::new(drain, begun, drain.tunnel_after);
    let is_due = poll_fn(|cx| {
        let up_end = up.poll(client, other, cx);
        let down_end = down.poll(other, client, cx);
        meter.received_bytes.set(up.moved);
        meter.sent_bytes.set(down.moved);
        match (up_end, down_end) {
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(false)),
            _ if time.poll_is_over(cx) => Poll::Ready(Ok(true)),
            _ => Poll::Pending,
        }
    })
    .await?;
    if is_due {
        // Boxed: it is needed once, at the end.
        Box::pin(end(client, up, other, down, meter)).await;
    }
    meter.end.set(End::Complete);
    Ok(())
}

/// Ends a tunnel in order, within bounds; what fails meanwhile has come to its end by itself.
async fn end<A, B>(client: &mut A, mut up: Pipe, other: &mut B, mut down: Pipe, meter: &Meter)
where
    A: AsyncRead + AsyncWrite + Unpin + ?Sized,
    B: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    let mut alarm = Alarm::default();
    alarm.set(CLOSE_TIME);
    poll_fn(|cx| {
        let up_end = up.poll_close(client, other, Towards::Server, cx);
        let down_end = down.poll_close(other, client, Towards::Client, cx);
        meter.received_bytes.set(up.moved);
        meter.sent_bytes.set(down.moved);
        // A side that failed will not answer the other one's Close.
        let is_broken = matches!(up_end, Poll::Ready(Err(_))) || matches!(down_end, Poll::Ready(Err(_)));
        if is_broken || (up_end.is_ready() && down_end.is_ready()) || alarm.poll_is_due(cx) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    // What follows is a courtesy: the client may be gone before it ends.
    meter.end.set(End::Complete);
    alarm.set(LINGER_TIME);
    poll_fn(|cx| {
        let up_end = up.poll_end(client, other, cx);
        let down_end = down.poll_end(other, client, cx);
        if (up_end.is_ready() && down_end.is_ready()) || alarm.poll_is_due(cx) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// One direction. An idle one holds no memory.
#[derive(Debug)]
struct Pipe {
    pending: BytesMut,
    is_eof: bool,
    is_shut: bool,
    needs_flush: bool,
    moved: u64,
    /// Where the frames stand that were read, in a websocket.
    frames: Option<Tracker>,
    /// Whether nothing is moved any more: a Close was put behind the last frame, or there is none to put.
    is_closed: bool,
}

impl Pipe {
    fn new(sort: Sort, ahead: BytesMut) -> Self {
        let frames = (sort == Sort::Websocket).then(|| {
            let mut frames = Tracker::new();
            frames.follow(&ahead);
            frames
        });
        Pipe {
            pending: ahead,
            is_eof: false,
            is_shut: false,
            needs_flush: false,
            moved: 0,
            frames,
            is_closed: false,
        }
    }

    /// Moves bytes until `from` has ended and `to` was told so.
    fn poll<A, B>(&mut self, from: &mut A, to: &mut B, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        A: AsyncRead + Unpin + ?Sized,
        B: AsyncWrite + Unpin + ?Sized,
    {
        loop {
            ready!(self.poll_write(to, cx))?;
            if self.is_eof {
                return self.poll_shut(to, cx);
            }
            let mut space = [MaybeUninit::uninit(); PIECE_BYTES];
            let mut read = ReadBuf::uninit(&mut space);
            if self.poll_read(from, &mut read, cx)?.is_pending() {
                self.pending = BytesMut::new();
                ready!(self.poll_flush(to, cx))?;
                return Poll::Pending;
            }
            if let Some(frames) = &mut self.frames {
                frames.follow(read.filled());
            }
            self.pending.extend_from_slice(read.filled());
        }
    }

    /// Puts a Close behind the frame that is under way; ready when `to` has all that it gets, and `from` has ended or said
    /// that it will. What else still comes from there is thrown away.
    fn poll_close<A, B>(
        &mut self,
        from: &mut A,
        to: &mut B,
        towards: Towards,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        A: AsyncRead + Unpin + ?Sized,
        B: AsyncWrite + Unpin + ?Sized,
    {
        self.put_close(towards);
        loop {
            let written = match self.poll_write(to, cx)? {
                Poll::Ready(()) => self.poll_flush(to, cx)?,
                Poll::Pending => Poll::Pending,
            };
            let is_heard = self.is_eof || self.frames.is_none_or(|frames| frames.has_close() || frames.is_lost());
            if is_heard && self.is_closed {
                return written.map(Ok);
            }
            // While a frame is being moved, it is as slow as who takes it.
            if !self.is_closed && written.is_pending() {
                return Poll::Pending;
            }
            let mut space = [MaybeUninit::uninit(); PIECE_BYTES];
            let mut read = ReadBuf::uninit(&mut space);
            ready!(self.poll_read(from, &mut read, cx))?;
            let mut bytes: &[u8] = read.filled();
            if let (false, Some(frames)) = (self.is_closed, &mut self.frames) {
                let (frame, rest) = bytes.split_at(frames.finish_frame(bytes));
                self.pending.extend_from_slice(frame);
                bytes = rest;
                self.put_close(towards);
            }
            if let Some(frames) = &mut self.frames {
                frames.follow(bytes);
            }
        }
    }

    /// Puts a Close behind what waits, if this is the place and there is none yet.
    fn put_close(&mut self, towards: Towards) {
        let frames = self.frames.filter(|frames| !frames.is_lost() && !frames.has_close());
        match frames {
            _ if self.is_closed || self.is_shut => self.is_closed = true,
            Some(frames) if frames.is_between_frames() => {
                let close = websocket::close_frame(GOING_AWAY, towards);
                self.pending.extend_from_slice(&close);
                self.is_closed = true;
            }
            // The end of the frame may still come.
            Some(_) => self.is_closed = self.is_eof,
            None => self.is_closed = true,
        }
    }

    /// Ends `to`, and throws away what comes from `from` until it has ended, too.
    fn poll_end<A, B>(&mut self, from: &mut A, to: &mut B, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        A: AsyncRead + Unpin + ?Sized,
        B: AsyncWrite + Unpin + ?Sized,
    {
        let shut = self.poll_shut(to, cx)?;
        while !self.is_eof {
            let mut space = [MaybeUninit::uninit(); PIECE_BYTES];
            ready!(self.poll_read(from, &mut ReadBuf::uninit(&mut space), cx))?;
        }
        shut.map(Ok)
    }

    /// Reads a piece; notes the end, also one that does not say so.
    fn poll_read<A>(&mut self, from: &mut A, read: &mut ReadBuf<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        A: AsyncRead + Unpin + ?Sized,
    {
        match ready!(Pin::new(from).poll_read(cx, read)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            done => done?,
        }
        self.is_eof = read.filled().is_empty();
        Poll::Ready(Ok(()))
    }

    fn poll_write<B: AsyncWrite + Unpin + ?Sized>(&mut self, to: &mut B, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.pending))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.advance(written);
            self.moved += written as u64;
            self.needs_flush = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush<B: AsyncWrite + Unpin + ?Sized>(&mut self, to: &mut B, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.needs_flush {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shut<B: AsyncWrite + Unpin + ?Sized>(&mut self, to: &mut B, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(Pin::new(to).poll_shutdown(cx))?;
            self.is_shut = true;
        }
        Poll::Ready(Ok(()))
    }
}
