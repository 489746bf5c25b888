//! A byte stream with what was read ahead of it, and the queue of what is to be written to it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

/// Room made for one read of heads; what browsers send fits in.
pub(crate) const HEAD_READ_BYTES: usize = 4 << 10;

/// Room made for one read of a body: two TLS records.
pub(crate) const BODY_READ_BYTES: usize = 32 << 10;

/// Pieces up to this size are copied behind the head rather than queued beside it.
pub(super) const COPY_BYTES: usize = 4 << 10;

/// How many pieces go into one vectored write.
const SLICES: usize = 16;

/// A byte stream and the bytes already read from it.
#[derive(Debug)]
pub(crate) struct Wire<IO> {
    pub(crate) io: IO,
    pub(crate) buf: BytesMut,
    /// Whether the peer has ended its side.
    pub(crate) is_eof: bool,
    /// Whether it ended without saying so as its transport should (TLS without `close_notify`).
    pub(crate) is_truncated: bool,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Wire<IO> {
    pub(crate) fn new(io: IO, buf: BytesMut) -> Self {
        Wire {
            io,
            buf,
            is_eof: false,
            is_truncated: false,
        }
    }

    /// Reads some more; 0 bytes are the end.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        if self.is_eof {
            return Poll::Ready(Ok(0));
        }
        if self.buf.capacity() - self.buf.len() < room / 4 {
            if self.buf.capacity() == 0 {
                self.buf = spare();
            }
            self.buf.reserve(room);
        }
        let read = match ready!(poll_read_buf(Pin::new(&mut self.io), cx, &mut self.buf)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.is_truncated = true;
                0
            }
            read => read?,
        };
        self.is_eof = read == 0;
        Poll::Ready(Ok(read))
    }

    /// Gives memory back while nothing is being received.
    pub(crate) fn rest(&mut self) {
        if self.buf.is_empty() {
            give_back(&mut self.buf);
        }
    }
}

/// Empty buffers that a thread keeps for the connection that wakes up next: most requests need one for a moment only.
const SPARES: usize = 32;

/// The largest that is kept.
const SPARE_BYTES: usize = 16 << 10;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

fn spare() -> BytesMut {
    let spare = SPARE.with_borrow_mut(Vec::pop);
    spare.unwrap_or_else(|| BytesMut::with_capacity(HEAD_READ_BYTES))
}

/// Takes the memory of an empty buffer away from its connection.
fn give_back(buf: &mut BytesMut) {
    if buf.capacity() == 0 {
        return;
    }
    let mut buf = std::mem::take(buf);
    buf.clear();
    // What was taken out of its front may still be held by somebody; then there is nothing to keep.
    let is_whole = buf.try_reclaim(HEAD_READ_BYTES) && buf.capacity() <= SPARE_BYTES;
    SPARE.with_borrow_mut(|spares| {
        if is_whole && spares.len() < SPARES {
            spares.push(buf);
        }
    });
}

/// Bytes to be written, in order.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Bytes>,
    queued: usize,
    tail: BytesMut,
    written: u64,
    needs_flush: bool,
}

impl Outbox {
    /// How many bytes wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queued + self.tail.len()
    }

    /// Whether everything was written and flushed.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting() == 0 && !self.needs_flush
    }

    /// How many bytes were written in all.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Gives memory back while nothing is being sent.
    pub(crate) fn rest(&mut self) {
        if self.is_empty() {
            give_back(&mut self.tail);
        }
    }

    /// Where heads and framing are put.
    pub(crate) fn tail(&mut self) -> &mut BytesMut {
        if self.tail.capacity() == 0 {
            self.tail = spare();
        }
        &mut self.tail
    }

    /// Adds a piece of a body.
    pub(crate) fn push(&mut self, piece: Bytes) {
        if piece.len() <= COPY_BYTES {
            self.tail.extend_from_slice(&piece);
            return;
        }
        if !self.tail.is_empty() {
            let tail = self.tail.split().freeze();
            self.queued += tail.len();
            self.queue.push_back(tail);
        }
        self.queued += piece.len();
        self.queue.push_back(piece);
    }

    /// Writes and flushes all of it.
    pub(crate) fn poll_flush(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.waiting() > 0 {
            let written = ready!(self.poll_write(io, cx))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        if self.needs_flush {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, io: &mut (impl AsyncWrite + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(first) = self.queue.front() else {
            return Pin::new(io).poll_write(cx, &self.tail);
        };
        if !io.is_write_vectored() {
            return Pin::new(io).poll_write(cx, first);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let pieces = self
            .queue
            .iter()
            .map(|piece| &**piece)
            .chain(std::iter::once(&*self.tail));
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces.filter(|piece| !piece.is_empty())) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        Pin::new(io).poll_write_vectored(cx, slices.get(..count).unwrap_or_default())
    }

    fn advance(&mut self, mut written: usize) {
        self.written += written as u64;
        self.needs_flush = true;
        while let Some(piece) = self.queue.front_mut() {
            let part = written.min(piece.len());
            piece.advance(part);
            self.queued -= part;
            written -= part;
            if !piece.is_empty() {
                return;
            }
            self.queue.pop_front();
        }
        self.tail.advance(written.min(self.tail.len()));
    }
}
