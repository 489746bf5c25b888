//! The stream that the `h2` crate reads and writes, with a cork in it.
//!
//! `h2` flushes before every DATA frame, which costs a system call and a TLS record each. Here a flush does nothing: frames
//! gather, bounded, until the driver has polled everything and drains them in one write. Large frames are not copied but
//! written at once, behind what has gathered. Frames that pass are looked at by [`super::frames`] and
//! [`super::outgoing`].

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{Frames, Heard};
use super::outgoing::Outgoing;
use super::turns::Turns;
use crate::Limit;

/// Bytes that gather: two TLS records.
const CORK_BYTES: usize = 32 << 10;

/// Buffers that are kept for the next connection of the thread. Few write at the same time: mostly one, which finds it in
/// the processor's cache.
const SPARE_BUFFERS: usize = 4;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// What a client may have us take in before others have their turn; heads are bounded besides.
const TURN_BYTES: usize = 128 << 10;

/// A GOAWAY frame of the `h2` crate, with the word that says why.
const PARTING_BYTES: usize = 64;

/// The stream, shared by `h2` and the driver.
pub(crate) struct Corked<IO> {
    io: IO,
    /// What has gathered; from a spare buffer, and given back as soon as it is written.
    out: Vec<u8>,
    /// How much of it is written.
    out_at: usize,
    written: u64,
    needs_flush: bool,
    is_eof: bool,
    /// What the server looks at; a client does not.
    pub(crate) watch: Option<Watch>,
    violation: Option<(Reason, Option<Limit>)>,
    is_mute: bool,
    /// Bytes that came in this turn.
    taken: usize,
    /// Whether all was read in this turn that was there: the engine asks again each time that it is polled.
    is_dry: bool,
    /// Who wants to know that more came; whoever reads, unless that is said.
    reader: Option<Waker>,
    /// The end of what was written before our side ended.
    parting: Vec<u8>,
    /// Whether our SETTINGS frame is complete.
    is_settled: bool,
}

/// Frames that pass, in both directions, and what follows from them for the order of responses.
pub(crate) struct Watch {
    pub(crate) frames: Frames,
    outgoing: Outgoing,
    turns: Rc<RefCell<Turns>>,
}

impl Watch {
    pub(crate) fn new(frames: Frames, turns: Rc<RefCell<Turns>>) -> Self {
        Watch {
            frames,
            outgoing: Outgoing::default(),
            turns,
        }
    }

    /// Tells the order what the client said, of which the engine knows now, too: it takes in all frames that are complete
    /// before it reads on. Told earlier, a stream could hand over something after it had been forgotten.
    fn hear(&mut self) {
        for heard in self.frames.take_heard() {
            let mut turns = self.turns.borrow_mut();
            match heard {
                Heard::Reset(id) => turns.thrown_away(id),
                Heard::Window(bytes) => turns.widen(bytes),
                Heard::Priority(id, priority) => turns.update(id, priority),
            }
        }
    }
}

/// What `h2` holds of the stream.
pub(crate) struct Cork<IO>(Rc<RefCell<Corked<IO>>>);

/// Puts a cork into a stream; the second part is the driver's.
pub(crate) fn cork<IO>(io: IO, watch: Option<Watch>) -> (Cork<IO>, Rc<RefCell<Corked<IO>>>) {
    let corked = Corked {
        io,
        out: Vec::new(),
        out_at: 0,
        written: 0,
        needs_flush: false,
        is_eof: false,
        watch,
        violation: None,
        is_mute: false,
        taken: 0,
        is_dry: false,
        reader: None,
        is_settled: false,
        parting: Vec::new(),
    };
    let corked = Rc::new(RefCell::new(corked));
    (Cork(corked.clone()), corked)
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Corked<IO> {
    /// Writes and flushes all that has gathered.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_drained() {
            let waiting = self.out.get(self.out_at..).unwrap_or_default();
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, waiting))?;
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

    /// The connection error that a frame was, once, and the bound that it ran into. What follows that frame is not read.
    pub(crate) fn take_violation(&mut self) -> Option<(Reason, Option<Limit>)> {
        self.violation.take()
    }

    /// Has somebody else woken than the engine when more came: in a turn in which all was read, the engine is not let through
    /// again, whatever it was woken for.
    pub(crate) fn wake_instead(&mut self, reader: Waker) {
        self.reader = Some(reader);
    }

    /// The connection has its turn: it may take in some more.
    pub(crate) fn begin_turn(&mut self) {
        (self.taken, self.is_dry) = (0, false);
        if let Some(watch) = &mut self.watch {
            watch.frames.begin_turn();
        }
    }

    /// Whether the last frame before our side ended has this word in it, as GOAWAY may (RFC 9113 §6.8).
    pub(crate) fn parted_with(&self, word: &str) -> bool {
        self.parting.windows(word.len()).any(|part| part == word.as_bytes())
    }

    fn is_drained(&self) -> bool {
        self.out_at == self.out.len()
    }

    /// Copies pieces behind what has gathered.
    fn gather(&mut self, pieces: &[IoSlice<'_>]) {
        if self.out.capacity() == 0 {
            let spare = SPARE.with_borrow_mut(Vec::pop);
            self.out = spare.unwrap_or_else(|| Vec::with_capacity(CORK_BYTES));
        }
        for piece in pieces {
            self.out.extend_from_slice(piece);
        }
    }

    /// Lends the buffer to others when it is empty.
    fn give_back(&mut self) {
        if self.is_drained() && self.out.capacity() > 0 {
            let mut out = std::mem::take(&mut self.out);
            self.out_at = 0;
            out.clear();
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < SPARE_BUFFERS && out.capacity() <= 2 * CORK_BYTES {
                    spare.push(out);
                }
            });
        }
    }

    /// Adds a setting to our SETTINGS frame, while that is all that has gathered (RFC 9218 §2.1: nobody need say anything
    /// in the terms of RFC 7540).
    pub(crate) fn settle(&mut self) {
        const SETTINGS: u8 = 4;
        const NO_RFC7540_PRIORITIES: [u8; 6] = [0, 9, 0, 0, 0, 1];
        let Some([0, high, low, SETTINGS, 0, ..]) = self.out.get_mut(self.out_at..) else {
            return;
        };
        let length = u16::from_be_bytes([*high, *low]);
        let end = self.out_at + 9 + usize::from(length);
        if !std::mem::replace(&mut self.is_settled, true) && self.written == 0 && length < 1000 {
            [*high, *low] = (length + 6).to_be_bytes();
            self.out.splice(end..end, NO_RFC7540_PRIORITIES);
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
        let part = written.min(self.out.len() - self.out_at);
        self.out_at += part;
        self.give_back();
        Ok(written - part)
    }

    /// Looks at the first bytes of some pieces, which were taken from the engine.
    fn pass_out(&mut self, pieces: &[IoSlice<'_>], mut bytes: usize) {
        let Some(watch) = &mut self.watch else { return };
        for piece in pieces {
            let part = piece.get(..bytes).unwrap_or(piece);
            bytes -= part.len();
            watch.outgoing.pass(part, &mut watch.turns.borrow_mut());
        }
    }

    /// Reads, and looks at what came.
    fn poll_take(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let has_many_heads = self.watch.as_ref().is_some_and(|watch| watch.frames.has_many_heads());
        if self.taken >= TURN_BYTES || has_many_heads {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        self.is_dry = self.watch.is_some() && read.is_pending();
        match ready!(read) {
            // TLS without close_notify: an end all the same, since every message has its own.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            read => read?,
        }
        let came = buf.filled().get(before..).unwrap_or_default();
        self.is_eof |= came.is_empty();
        let Some(watch) = &mut self.watch else {
            return Poll::Ready(Ok(()));
        };
        let inspected = watch.frames.inspect(came);
        self.taken += came.len();
        let Err(bad) = inspected else {
            return Poll::Ready(Ok(()));
        };
        self.violation = Some((bad.reason, bad.limit));
        self.is_mute = true;
        buf.set_filled(before + bad.at);
        if bad.at == 0 {
            Poll::Pending
        } else {
            Poll::Ready(Ok(()))
        }
    }

    fn poll_write_pieces(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let total: usize = pieces.iter().map(|piece| piece.len()).sum();
        loop {
            if self.out.len() + total <= CORK_BYTES {
                self.gather(pieces);
                self.pass_out(pieces, total);
                return Poll::Ready(Ok(total));
            }
            let io = Pin::new(&mut self.io);
            let waiting = self.out.get(self.out_at..).unwrap_or_default();
            let written = if waiting.is_empty() {
                ready!(io.poll_write_vectored(cx, pieces))?
            } else if io.is_write_vectored() {
                let mut slices = [IoSlice::new(&[]); 8];
                let gathered = std::iter::once(IoSlice::new(waiting)).chain(pieces.iter().copied());
                let mut count = 0;
                for (slice, piece) in slices.iter_mut().zip(gathered) {
                    *slice = piece;
                    count += 1;
                }
                ready!(io.poll_write_vectored(cx, slices.get(..count).unwrap_or_default()))?
            } else {
                ready!(io.poll_write(cx, waiting))?
            };
            let beyond = self.advance(written)?;
            if beyond > 0 {
                self.pass_out(pieces, beyond);
                return Poll::Ready(Ok(beyond));
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Cork<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut corked = self.0.borrow_mut();
        if let Some(watch) = &mut corked.watch {
            watch.hear();
        }
        if corked.is_mute || corked.is_dry {
            return Poll::Pending;
        }
        let Some(reader) = corked.reader.take() else {
            return corked.poll_take(cx, buf);
        };
        let taken = corked.poll_take(&mut Context::from_waker(&reader), buf);
        corked.reader = Some(reader);
        taken
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
        if corked.parting.is_empty() {
            let start = corked.out.len().saturating_sub(PARTING_BYTES).max(corked.out_at);
            corked.parting = corked.out.get(start..).unwrap_or_default().to_vec();
        }
        ready!(corked.poll_drain(cx))?;
        Pin::new(&mut corked.io).poll_shutdown(cx)
    }
}
