//! The stream that the `h2` crate reads and writes, with a cork in it.
//!
//! `h2` flushes before every DATA frame, which costs a system call and a TLS record each. Here a flush does nothing: frames
//! gather, bounded, until the driver has polled everything and drains them in one write. Large frames are not copied but
//! written at once, behind what has gathered. Frames that pass in are looked at by [`super::frames`].

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;

/// Bytes that gather: two TLS records.
const CORK_BYTES: usize = 32 << 10;

/// The stream, shared by `h2` and the driver.
pub(crate) struct Corked<IO> {
    io: IO,
    out: BytesMut,
    written: u64,
    needs_flush: bool,
    is_eof: bool,
    /// What has passed in; only the server looks.
    pub(crate) frames: Option<Frames>,
    violation: Option<Reason>,
    is_mute: bool,
}

/// What `h2` holds of the stream.
pub(crate) struct Cork<IO>(Rc<RefCell<Corked<IO>>>);

/// Puts a cork into a stream; the second part is the driver's.
pub(crate) fn cork<IO>(io: IO, frames: Option<Frames>) -> (Cork<IO>, Rc<RefCell<Corked<IO>>>) {
    let out = BytesMut::new();
    let corked = Corked {
        io,
        out,
        written: 0,
        needs_flush: false,
        is_eof: false,
        frames,
        violation: None,
        is_mute: false,
    };
    let corked = Rc::new(RefCell::new(corked));
    (Cork(corked.clone()), corked)
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Corked<IO> {
    /// Writes and flushes all that has gathered.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.out))?;
            self.advance(written)?;
        }
        if self.needs_flush {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// How many bytes were written in all.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// The connection error that a frame was, once. What follows that frame is not read.
    pub(crate) fn take_violation(&mut self) -> Option<Reason> {
        self.violation.take()
    }

    /// Gives memory back while nothing happens.
    pub(crate) fn rest(&mut self) {
        if self.out.is_empty() && self.out.capacity() > 0 {
            self.out = BytesMut::new();
        }
    }

    /// Drains, ends our side and throws away what still comes, at most `left` bytes of it.
    pub(crate) fn poll_close(
        &mut self,
        left: &mut usize,
        is_shut: &mut bool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if !*is_shut {
            ready!(self.poll_drain(cx))?;
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            *is_shut = true;
        }
        let mut space = [0; 4096];
        while !self.is_eof && *left > 0 {
            let mut read = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
            self.is_eof = read.filled().is_empty();
            *left = left.saturating_sub(read.filled().len());
        }
        Poll::Ready(Ok(()))
    }

    /// Takes account of what was written of the gathered bytes; gives back what was written beyond them.
    fn advance(&mut self, written: usize) -> io::Result<usize> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.written += written as u64;
        self.needs_flush = true;
        let part = written.min(self.out.len());
        self.out.advance(part);
        Ok(written - part)
    }

    fn poll_write_pieces(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let total: usize = pieces.iter().map(|piece| piece.len()).sum();
        loop {
            if self.out.len() + total <= CORK_BYTES {
                for piece in pieces {
                    self.out.extend_from_slice(piece);
                }
                return Poll::Ready(Ok(total));
            }
            let io = Pin::new(&mut self.io);
            let written = if self.out.is_empty() {
                ready!(io.poll_write_vectored(cx, pieces))?
            } else if io.is_write_vectored() {
                let mut slices = [IoSlice::new(&[]); 8];
                let gathered = std::iter::once(IoSlice::new(&self.out)).chain(pieces.iter().copied());
                let mut count = 0;
                for (slice, piece) in slices.iter_mut().zip(gathered) {
                    *slice = piece;
                    count += 1;
                }
                ready!(io.poll_write_vectored(cx, slices.get(..count).unwrap_or_default()))?
            } else {
                ready!(io.poll_write(cx, &self.out))?
            };
            let beyond = self.advance(written)?;
            if beyond > 0 {
                return Poll::Ready(Ok(beyond));
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Cork<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut corked = self.0.borrow_mut();
        let corked = &mut *corked;
        if corked.is_mute {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        match ready!(Pin::new(&mut corked.io).poll_read(cx, buf)) {
            // TLS without close_notify: an end all the same, since every message has its own.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            read => read?,
        }
        let came = buf.filled().get(before..).unwrap_or_default();
        corked.is_eof |= came.is_empty();
        let Some(Err(bad)) = corked.frames.as_mut().map(|frames| frames.inspect(came)) else {
            return Poll::Ready(Ok(()));
        };
        corked.violation = Some(bad.reason);
        corked.is_mute = true;
        buf.set_filled(before + bad.at);
        if bad.at == 0 {
            Poll::Pending
        } else {
            Poll::Ready(Ok(()))
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Cork<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write_pieces(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write_pieces(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut corked = self.0.borrow_mut();
        ready!(corked.poll_drain(cx))?;
        Pin::new(&mut corked.io).poll_shutdown(cx)
    }
}
