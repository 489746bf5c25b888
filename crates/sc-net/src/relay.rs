//! Carries bytes both ways between two streams until both directions have ended.
//!
//! A direction that ends is closed on the other side while its opposite goes on (half-close). Small exchanges are
//! copied through one buffer shared by the whole thread; when a direction between two plain sockets becomes a bulk
//! transfer, it goes through a pipe inside the kernel (splice(2)) until it becomes small again. So idle relays hold
//! neither buffers nor pipes. When a side fails, the other one gets a reset, so that it does not take a torn stream for a
//! whole one. A relay that is stopped ends both streams in order.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::scratch::with_scratch;
use crate::splice::Pipe;
use crate::stream::{Connection, Plain, Stream};

/// How long a relay may be silent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RelayLimits {
    /// With both directions open.
    pub idle: Duration,
    /// After one direction has ended.
    pub half_closed_idle: Duration,
}

impl Default for RelayLimits {
    /// Two hours, as RFC 5382 §5 asks of translators (at least 2 h 4 min); four minutes when half closed.
    fn default() -> Self {
        RelayLimits {
            idle: Duration::from_secs(2 * 3600 + 4 * 60),
            half_closed_idle: Duration::from_secs(4 * 60),
        }
    }
}

/// How long a stopped relay reads on, so that its last bytes are read rather than met by a reset.
const LINGER_TIME: Duration = Duration::from_secs(5);

/// What a relay did.
#[derive(Debug)]
pub struct Relayed {
    /// Bytes from the client (the first stream) to the upstream (the second).
    pub sent_bytes: u64,
    /// Bytes from the upstream to the client.
    pub received_bytes: u64,
    /// How many of both went through the kernel only.
    pub spliced_bytes: u64,
    /// How it ended.
    pub end: RelayEnd,
}

/// How a relay ended.
#[derive(Debug)]
pub enum RelayEnd {
    /// Both directions ended in order.
    Finished,
    /// Nothing moved for as long as [`RelayLimits`] allows.
    Idle,
    /// It was told to stop.
    Stopped,
    /// The client's stream failed.
    Client(io::Error),
    /// The upstream's stream failed.
    Upstream(io::Error),
}

/// Relays between an accepted connection and an upstream.
///
/// Shape: what is in `client.read_ahead` is sent first. Both streams are closed at the end, which `stop` brings about: both
/// are told the end, and given a while to end theirs.
/// Cancel: both streams are closed; bytes under way are lost.
pub async fn relay(client: Connection, upstream: Stream, limits: &RelayLimits, stop: &CancellationToken) -> Relayed {
    let Connection {
        stream,
        read_ahead,
        permit,
        ..
    } = client;
    let relayed = carry(stream, read_ahead, upstream, limits, stop).await;
    drop(permit);
    relayed
}

/// Relays between two streams of any kind, e.g. TLS or a tunnel through HTTP/2.
///
/// Shape: `ahead` is sent to `upstream` before what `client` yields. Both are shut down in order and dropped at the end.
/// Cancel: both are dropped; bytes under way are lost.
pub async fn copy_both<A, B>(client: A, ahead: BytesMut, upstream: B, limits: &RelayLimits) -> Relayed
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    carry(
        Opaque(client),
        ahead,
        Opaque(upstream),
        limits,
        &CancellationToken::new(),
    )
    .await
}

/// One side of a relay.
trait Side: Unpin {
    /// Where bytes are read and written.
    type Io: AsyncRead + AsyncWrite + Unpin;
    /// The stream.
    fn io(&mut self) -> &mut Self::Io;
    /// The socket, when nothing stands between it and us.
    fn plain(&self) -> Option<Plain<'_>>;
    /// Makes the coming close a reset, where that means something.
    fn reset_on_close(&self);
}

impl Side for Stream {
    type Io = Stream;

    fn io(&mut self) -> &mut Stream {
        self
    }

    fn plain(&self) -> Option<Plain<'_>> {
        Stream::plain(self)
    }

    fn reset_on_close(&self) {
        Stream::reset_on_close(self);
    }
}

/// A stream of which nothing is known.
struct Opaque<T>(T);

impl<T: AsyncRead + AsyncWrite + Unpin> Side for Opaque<T> {
    type Io = T;

    fn io(&mut self) -> &mut T {
        &mut self.0
    }

    fn plain(&self) -> Option<Plain<'_>> {
        None
    }

    fn reset_on_close(&self) {}
}

async fn carry<A: Side, B: Side>(
    mut a: A,
    ahead: BytesMut,
    mut b: B,
    limits: &RelayLimits,
    stop: &CancellationToken,
) -> Relayed {
    let mut forth = Direction::new(ahead);
    let mut back = Direction::new(BytesMut::new());
    let mut silence = Silence::new(limits);
    let end = {
        let mut timer = std::pin::pin!(sleep_until(silence.next_look()));
        let mut stopped = std::pin::pin!(stop.cancelled());
        std::future::poll_fn(|cx| {
            let before = (forth.progress(), back.progress());
            let there = forth.poll(cx, &mut a, &mut b, back.is_done);
            let here = back.poll(cx, &mut b, &mut a, forth.is_done);
            if let Some(end) = outcome(there, here) {
                return Poll::Ready(end);
            }
            if stopped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(RelayEnd::Stopped);
            }
            if (forth.progress(), back.progress()) != before {
                silence.broken();
            }
            ready!(silence.poll(cx, timer.as_mut(), forth.is_done || back.is_done));
            Poll::Ready(RelayEnd::Idle)
        })
        .await
    };
    if matches!(end, RelayEnd::Stopped) {
        // Boxed: it is needed once, at the end.
        Box::pin(stop_both(&mut a, &mut b, &mut forth, &mut back)).await;
    }
    match end {
        RelayEnd::Client(_) => b.reset_on_close(),
        RelayEnd::Upstream(_) => a.reset_on_close(),
        RelayEnd::Finished | RelayEnd::Idle | RelayEnd::Stopped => {}
    }
    Relayed {
        sent_bytes: forth.moved_bytes,
        received_bytes: back.moved_bytes,
        spliced_bytes: forth.spliced_bytes + back.spliced_bytes,
        end,
    }
}

/// Ends both streams, and throws away what still comes until both have ended, within bounds.
async fn stop_both<A: Side, B: Side>(a: &mut A, b: &mut B, forth: &mut Direction, back: &mut Direction) {
    let ending = std::future::poll_fn(|cx| {
        let there = forth.poll_stop(cx, a, b);
        let here = back.poll_stop(cx, b, a);
        ready!(there);
        here
    });
    // Whoever has not ended by then is not waited for.
    let _ = tokio::time::timeout(LINGER_TIME, ending).await;
}

/// What two directions, client to upstream and back, come to.
fn outcome(there: Poll<Result<(), Broken>>, here: Poll<Result<(), Broken>>) -> Option<RelayEnd> {
    match (there, here) {
        (Poll::Ready(Err(Broken::Source(fault))), _) | (_, Poll::Ready(Err(Broken::Sink(fault)))) => {
            Some(RelayEnd::Client(fault))
        }
        (Poll::Ready(Err(Broken::Sink(fault))), _) | (_, Poll::Ready(Err(Broken::Source(fault)))) => {
            Some(RelayEnd::Upstream(fault))
        }
        (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Some(RelayEnd::Finished),
        _ => None,
    }
}

/// Measures how long nothing moved. Its timer is looked at now and then instead of being moved with every byte.
struct Silence<'a> {
    limits: &'a RelayLimits,
    since: Instant,
}

impl<'a> Silence<'a> {
    fn new(limits: &'a RelayLimits) -> Self {
        Silence {
            limits,
            since: Instant::now(),
        }
    }

    fn broken(&mut self) {
        self.since = Instant::now();
    }

    /// No bound can pass unseen before this.
    fn next_look(&self) -> Instant {
        Instant::now() + self.limits.idle.min(self.limits.half_closed_idle)
    }

    /// Ready once it has lasted too long.
    fn poll(&self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>, half_closed: bool) -> Poll<()> {
        let most = if half_closed {
            self.limits.half_closed_idle
        } else {
            self.limits.idle
        };
        let end = self.since + most;
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= end {
                return Poll::Ready(());
            }
            timer.as_mut().reset(self.next_look().min(end));
        }
        Poll::Pending
    }
}

/// Which side of a direction failed.
enum Broken {
    Source(io::Error),
    Sink(io::Error),
}

/// A read of this many bytes or more is a sign of a bulk transfer; two in a row are taken for one.
const BULK_BYTES: usize = 16 * 1024;
/// A splice of fewer bytes is a sign that a bulk transfer is over.
const LEAN_BYTES: usize = 4 * 1024;
/// So many lean splices in a row end it.
const LEAN_SPLICES: u8 = 8;
/// How many steps one direction may take before others get a turn.
const STEPS: usize = 32;

/// One direction of a relay.
struct Direction {
    /// Read already and not yet written.
    pending: BytesMut,
    /// Set in a bulk transfer.
    pipe: Option<Pipe>,
    may_splice: bool,
    /// Large reads in a row while copying; lean ones in a row while splicing.
    in_a_row: u8,
    unflushed: bool,
    source_ended: bool,
    is_done: bool,
    moved_bytes: u64,
    spliced_bytes: u64,
}

impl Direction {
    fn new(pending: BytesMut) -> Self {
        Direction {
            pending,
            pipe: None,
            may_splice: true,
            in_a_row: 0,
            unflushed: false,
            source_ended: false,
            is_done: false,
            moved_bytes: 0,
            spliced_bytes: 0,
        }
    }

    /// Changes whenever something moved or ended.
    fn progress(&self) -> (u64, bool) {
        (self.moved_bytes, self.source_ended)
    }

    /// Moves what can be moved; ready once the source has ended and the sink was told.
    ///
    /// Shape: with `is_last`, the opposite direction has ended, and closing a socket says all there is to say.
    fn poll<S: Side, D: Side>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut D,
        is_last: bool,
    ) -> Poll<Result<(), Broken>> {
        for _ in 0..STEPS {
            if self.is_done {
                return Poll::Ready(Ok(()));
            }
            if !self.pending.is_empty() {
                ready!(self.poll_write_pending(cx, sink.io()))?;
                continue;
            }
            if let (Some(pipe), Some(from), Some(to)) = (&mut self.pipe, source.plain(), sink.plain()) {
                if pipe.held_bytes() > 0 {
                    let result = ready!(poll_drain(cx, pipe, to));
                    self.after_drain(result)?;
                    continue;
                }
                if !self.source_ended {
                    let result = ready!(poll_fill(cx, pipe, from));
                    self.after_fill(result)?;
                    continue;
                }
            }
            if self.source_ended {
                if !is_last || sink.plain().is_none() {
                    ready!(Pin::new(sink.io()).poll_shutdown(cx)).map_err(Broken::Sink)?;
                }
                self.pipe = None;
                self.is_done = true;
                continue;
            }
            if self.should_splice() && source.plain().is_some() && sink.plain().is_some() {
                self.pipe = Pipe::new().ok();
                self.may_splice = self.pipe.is_some();
                self.in_a_row = 0;
                continue;
            }
            ready!(self.poll_copy(cx, source.io(), sink.io()))?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what was read already, tells the sink the end, and throws away what else comes; ready when the source has ended
    /// too. A side that fails has ended.
    fn poll_stop<S: Side, D: Side>(&mut self, cx: &mut Context<'_>, source: &mut S, sink: &mut D) -> Poll<()> {
        while !self.is_done {
            let went_on = if self.pipe.is_some() {
                Poll::Ready(self.stop_splicing())
            } else if !self.pending.is_empty() {
                self.poll_write_pending(cx, sink.io())
            } else {
                let shut = Pin::new(sink.io()).poll_shutdown(cx);
                self.is_done = shut.is_ready();
                shut.map_err(Broken::Sink)
            };
            match went_on {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => self.is_done = true,
                Poll::Pending => break,
            }
        }
        while !self.source_ended {
            let read = with_scratch(|scratch| {
                let mut buf = ReadBuf::new(scratch);
                let read = Pin::new(source.io()).poll_read(cx, &mut buf);
                read.map_ok(|()| buf.filled().len())
            });
            self.source_ended = matches!(ready!(read), Ok(0) | Err(_));
        }
        if self.is_done { Poll::Ready(()) } else { Poll::Pending }
    }

    fn should_splice(&self) -> bool {
        self.may_splice && self.in_a_row >= 2
    }

    fn poll_write_pending(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<Result<(), Broken>> {
        match ready!(Pin::new(sink).poll_write(cx, &self.pending)) {
            Ok(0) => return Poll::Ready(Err(Broken::Sink(io::ErrorKind::WriteZero.into()))),
            Ok(count) => {
                self.wrote(count);
                self.pending.advance(count);
            }
            Err(fault) => return Poll::Ready(Err(Broken::Sink(fault))),
        }
        if self.pending.is_empty() {
            // An idle relay keeps no memory.
            self.pending = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, count: usize) -> usize {
        self.moved_bytes += count as u64;
        self.unflushed = true;
        count
    }

    /// Reads once and writes what came at once; what the sink does not take is kept.
    fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut (impl AsyncRead + Unpin),
        sink: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<Result<(), Broken>> {
        with_scratch(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            match Pin::new(source).poll_read(cx, &mut buf) {
                Poll::Pending => return self.poll_flush(cx, sink),
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(Broken::Source(fault))),
                Poll::Ready(Ok(())) => {}
            }
            let bytes = buf.filled();
            self.source_ended = bytes.is_empty();
            self.in_a_row = if bytes.len() >= BULK_BYTES {
                self.in_a_row.saturating_add(1)
            } else {
                0
            };
            if bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let taken = match Pin::new(sink).poll_write(cx, bytes) {
                Poll::Pending => 0,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Broken::Sink(io::ErrorKind::WriteZero.into()))),
                Poll::Ready(Ok(count)) => self.wrote(count),
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(Broken::Sink(fault))),
            };
            self.pending.extend_from_slice(bytes.get(taken..).unwrap_or_default());
            Poll::Ready(Ok(()))
        })
    }

    /// Pushes out what the sink may hold back while the source is silent; always pending unless that fails.
    fn poll_flush(&mut self, cx: &mut Context<'_>, sink: &mut (impl AsyncWrite + Unpin)) -> Poll<Result<(), Broken>> {
        if self.unflushed {
            ready!(Pin::new(sink).poll_flush(cx)).map_err(Broken::Sink)?;
            self.unflushed = false;
        }
        Poll::Pending
    }

    fn after_fill(&mut self, result: io::Result<usize>) -> Result<(), Broken> {
        match result {
            Ok(0) => self.source_ended = true,
            Ok(LEAN_BYTES..) => self.in_a_row = 0,
            Ok(_) => {
                self.in_a_row += 1;
                if self.in_a_row >= LEAN_SPLICES {
                    self.stop_splicing()?;
                }
            }
            Err(fault) if fault.kind() == io::ErrorKind::InvalidInput => {
                self.may_splice = false;
                self.stop_splicing()?;
            }
            Err(fault) => return Err(Broken::Source(fault)),
        }
        Ok(())
    }

    fn after_drain(&mut self, result: io::Result<usize>) -> Result<(), Broken> {
        match result {
            Ok(0) => Err(Broken::Sink(io::ErrorKind::WriteZero.into())),
            Ok(count) => {
                self.wrote(count);
                self.spliced_bytes += count as u64;
                Ok(())
            }
            Err(fault) if fault.kind() == io::ErrorKind::InvalidInput => {
                self.may_splice = false;
                self.stop_splicing()
            }
            Err(fault) => Err(Broken::Sink(fault)),
        }
    }

    /// Goes back to copying; what the pipe holds is written first.
    fn stop_splicing(&mut self) -> Result<(), Broken> {
        self.in_a_row = 0;
        if let Some(pipe) = self.pipe.take() {
            let held = pipe.into_bytes().map_err(Broken::Source)?;
            self.pending.extend_from_slice(&held);
        }
        Ok(())
    }
}

fn poll_fill(cx: &mut Context<'_>, pipe: &mut Pipe, from: Plain<'_>) -> Poll<io::Result<usize>> {
    loop {
        ready!(from.poll_read_ready(cx))?;
        match from.try_io(Interest::READABLE, || pipe.fill(from)) {
            Err(fault) if is_again(&fault) => {}
            result => return Poll::Ready(result),
        }
    }
}

fn poll_drain(cx: &mut Context<'_>, pipe: &mut Pipe, to: Plain<'_>) -> Poll<io::Result<usize>> {
    loop {
        ready!(to.poll_write_ready(cx))?;
        match to.try_io(Interest::WRITABLE, || pipe.drain(to)) {
            Err(fault) if is_again(&fault) => {}
            result => return Poll::Ready(result),
        }
    }
}

fn is_again(fault: &io::Error) -> bool {
    matches!(fault.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
