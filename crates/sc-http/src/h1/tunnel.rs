//! Joins two byte streams after a protocol switch, keeping half-closes (RFC 9110 §7.8).

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes moved at a time.
const PIECE_BYTES: usize = 16 << 10;

/// One direction. An idle one holds no memory.
#[derive(Debug, Default)]
struct Pipe {
    pending: BytesMut,
    is_eof: bool,
    is_shut: bool,
    needs_flush: bool,
    moved: u64,
}

impl Pipe {
    /// Moves bytes until `from` has ended and `to` was told so.
    fn poll<A, B>(&mut self, from: &mut A, to: &mut B, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        A: AsyncRead + Unpin + ?Sized,
        B: AsyncWrite + Unpin + ?Sized,
    {
        loop {
            while !self.pending.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.pending))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.pending.advance(written);
                self.moved += written as u64;
                self.needs_flush = true;
            }
            if self.is_eof {
                if !self.is_shut {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.is_shut = true;
                }
                return Poll::Ready(Ok(()));
            }
            let mut space = [MaybeUninit::uninit(); PIECE_BYTES];
            let mut read = ReadBuf::uninit(&mut space);
            match Pin::new(&mut *from).poll_read(cx, &mut read) {
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => self.is_eof = true,
                Poll::Ready(done) => {
                    done?;
                    self.is_eof = read.filled().is_empty();
                    self.pending.extend_from_slice(read.filled());
                }
                Poll::Pending => {
                    self.pending = BytesMut::new();
                    if self.needs_flush {
                        ready!(Pin::new(&mut *to).poll_flush(cx))?;
                        self.needs_flush = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

/// What was moved through a tunnel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    /// Bytes from the client.
    pub(crate) received: u64,
    /// Bytes to the client.
    pub(crate) sent: u64,
}

/// Moves bytes both ways until both ends are done; `ahead` was already read from `client`.
pub(crate) async fn join<A, B>(client: &mut A, ahead: BytesMut, other: &mut B, moved: impl Fn(Moved)) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin + ?Sized,
    B: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    let mut up = Pipe {
        pending: ahead,
        ..Pipe::default()
    };
    let mut down = Pipe::default();
    std::future::poll_fn(|cx| {
        let up_end = up.poll(client, other, cx);
        let down_end = down.poll(other, client, cx);
        moved(Moved {
            received: up.moved,
            sent: down.moved,
        });
        match (up_end, down_end) {
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    })
    .await
}
