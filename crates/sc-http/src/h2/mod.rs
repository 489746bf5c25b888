//! HTTP/2, server role (RFC 9113), over the `h2` crate with a driver of our own.
//!
//! One task serves one connection: it accepts streams, polls their exchanges in the order in which they are woken, and
//! writes all that came of it at once (the [`cork`]). Which response comes first is settled by [`turns`], before `h2` has
//! anything of it.
//!
//! What defends a connection: header lists (`max_header_list_size`, field count with cookie crumbs, CVE-2026-49975;
//! CONTINUATION is bounded by `h2`, CVE-2024-27316), streams (`max_concurrent_streams`), resets of either side (a budget in
//! [`frames`], `max_pending_accept_reset_streams`, CVE-2023-44487; `max_local_error_reset_streams`, CVE-2025-8671), empty
//! frames (a budget in [`frames`]; `h2`'s `data_frame_budget`; CVE-2019-9511 to 9518), small windows and slow readers
//! (`max_send_buffer_size`, a time limit for each stalled stream and for the connection), and time limits for the preface,
//! header blocks, bodies and idleness.

mod bell;
mod block;
pub(crate) mod channel;
pub(crate) mod cork;
mod frames;
pub(crate) mod growth;
mod outgoing;
mod request;
mod stream;
pub(crate) mod turns;
pub(crate) mod upload;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use self::bell::Bell;
use self::cork::{Cork, Corked, Watch};
use self::frames::Frames;
use self::growth::Growth;
use self::stream::Begun;
use self::turns::Turns;
use crate::drain::{Delay, QUIET, QUIET_IN_A_HURRY};
use crate::timer::{Alarm, Pace};
use crate::{Drain, Fault, Kind, Limit, Limits, Service, Side};

/// Reset streams that are remembered, so that frames still under way for them are no errors.
const REMEMBERED_RESETS: usize = 50;

/// Rounds of accepting and answering in one poll, before others have their turn.
const ROUNDS: usize = 8;

/// How long streams are taken from a client that was told to end and does not answer the PING behind that: more than a round
/// trip of any client that answers at all.
const GOAWAY_TIME: Duration = Duration::from_secs(5);

/// How long a connection that is done with may take to end, and what it may still send.
const LINGER_TIME: Duration = Duration::from_secs(5);
const LINGER_BYTES: usize = 1 << 20;

/// Serves one connection until it ends; the fault, if any, is for the log.
///
/// Shape: `io` is fresh, before the client's preface. When `drain` has begun, its delay has passed and the client opens no
/// streams just then, it is told in two steps (GOAWAY for no stream in particular, then, once it has surely read that, GOAWAY
/// for those that came until then), and the connection ends with its last exchange. Streams that stay open hinder nothing.
/// Cancel: the connection breaks off, and the exchanges on it count as cancelled.
pub async fn serve<IO, S>(io: IO, service: Rc<S>, limits: &Limits, drain: Drain) -> Option<Fault>
where
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service,
{
    let turns = Rc::new(RefCell::new(Turns::default()));
    let (stream, corked) = cork::cork(io, Some(Watch::new(Frames::new(limits), turns.clone())));
    let connection = match handshake(stream, &corked, limits).await {
        Ok(connection) => connection,
        Err(fault) => return fault,
    };
    let limits = Rc::new(limits.clone());
    let terms = Rc::new(stream::Terms {
        limits: limits.clone(),
        drain: drain.clone(),
        turns,
        growth: Rc::new(Growth::new(limits.as_ref())),
    });
    let growth = terms.growth.clone();
    let begin: &Begin<'_, _> = &|request, mut respond, open, cx| {
        if !service.admits(open) {
            respond.send_reset(Reason::REFUSED_STREAM);
            return Begun::Over(false);
        }
        match stream::begin(&*service, request, respond, &terms, cx) {
            Begun::Over(is_whole) => Begun::Over(is_whole),
            // Boxed, so that the list of exchanges moves pointers and not whole futures.
            Begun::Goes(open) => Begun::Goes(Box::pin(stream::run(service.clone(), open))),
        }
    };
    let stall = Pace::new(limits.write_stall_time, Some(limits.write_rate));
    let mut driver = Driver {
        connection,
        corked: corked.clone(),
        growth,
        streams: FuturesUnordered::new(),
        limits,
        idle: Alarm::default(),
        block: Alarm::default(),
        stall,
        stalled_at: 0,
        now: None,
        opened: Instant::now(),
        pause: Alarm::default(),
        ending: None,
        limit: None,
    };
    let (begun, called) = (pin!(drain.begin.cancelled()), pin!(drain.last_call.cancelled()));
    let mut end = Ending {
        drain: &drain,
        begun: Delay::new(&drain, begun, drain.goaway_after),
        called: Delay::new(&drain, called, drain.goaway_after),
    };
    let bells = Bells {
        input: Bell::new(),
        engine: Bell::new(),
        exchanges: Bell::new(),
    };
    corked.borrow_mut().wake_instead(bells.input.waker());
    let fault = poll_fn(|cx| {
        bells.input.enter(cx);
        bells.engine.enter(cx);
        bells.exchanges.enter(cx);
        let over = driver.poll(begin, &mut end, &bells, cx);
        bells.input.leave();
        bells.engine.leave();
        bells.exchanges.leave();
        over
    })
    .await;
    let limit = driver.limit.or_else(|| fault.as_ref().and_then(Fault::limit));
    let limit = limit.or_else(|| fault.as_ref().and_then(|_| bound(&corked.borrow())));
    let fault = match limit {
        Some(limit) => {
            service.limited(limit);
            fault.map(|fault| fault.at(limit))
        }
        None => fault,
    };
    drop(driver);
    linger(&corked).await;
    fault
}

/// Settles the connection: settings and preface.
async fn handshake<IO>(
    stream: Cork<IO>,
    corked: &RefCell<Corked<IO>>,
    limits: &Limits,
) -> Result<Connection<Cork<IO>, Bytes>, Option<Fault>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.streams)
        .initial_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_send_buffer_size(limits.send_buffer_bytes)
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        .max_pending_accept_reset_streams(REMEMBERED_RESETS)
        .max_local_error_reset_streams(Some(limits.forced_resets as usize))
        .header_table_size(limits.header_table_bytes)
        .enable_connect_protocol();
    let mut handshake = pin!(builder.handshake(stream));
    let mut alarm = Alarm::default();
    alarm.set(limits.head_time);
    poll_fn(|cx| {
        corked.borrow_mut().begin_turn();
        let settled = handshake.as_mut().poll(cx);
        corked.borrow_mut().settle();
        if let Poll::Ready(settled) = settled {
            return Poll::Ready(settled.map_err(ended));
        }
        if let Poll::Ready(Err(_)) = corked.borrow_mut().poll_drain(cx) {
            return Poll::Ready(Err(None));
        }
        if alarm.poll_is_due(cx) {
            Poll::Ready(Err(None))
        } else {
            Poll::Pending
        }
    })
    .await
}

/// What ends a connection from outside.
struct Ending<'p, 'a> {
    drain: &'a Drain,
    /// Since the drain began.
    begun: Delay<'p, 'a>,
    /// Since the last call.
    called: Delay<'p, 'a>,
}

/// Begins an exchange, as one beside so many.
type Begin<'a, F> = dyn Fn(http::Request<RecvStream>, SendResponse<Bytes>, usize, &mut Context<'_>) -> Begun<F> + 'a;

/// Who may want the driver.
struct Bells {
    /// The stream that is read: looked at once in a turn, before it is read.
    input: Bell,
    /// The engine, and the stream that it writes.
    engine: Bell,
    /// The exchanges.
    exchanges: Bell,
}

/// A connection that is being served; `F` is the future of one exchange.
struct Driver<IO, F> {
    connection: Connection<Cork<IO>, Bytes>,
    corked: Rc<RefCell<Corked<IO>>>,
    growth: Rc<Growth>,
    streams: FuturesUnordered<F>,
    limits: Rc<Limits>,
    idle: Alarm,
    /// A header block that has begun.
    block: Alarm,
    /// Patience with a client that does not read.
    stall: Pace,
    stalled_at: u64,
    /// When this turn began to ask for the time.
    now: Option<Instant>,
    /// When the client last opened a stream, or the connection: its first request may be under way.
    opened: Instant,
    /// Until the client has opened none for a while.
    pause: Alarm,
    /// When GOAWAY was sent because of idleness or drain.
    ending: Option<Instant>,
    /// The bound that a frame ran into, because of which the connection ends.
    limit: Option<Limit>,
}

impl<IO, F> Driver<IO, F>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = bool>,
{
    /// One turn; the end of the connection, with its fault, when there is nothing more to do.
    fn poll(
        &mut self,
        begin: &Begin<'_, F>,
        end: &mut Ending<'_, '_>,
        bells: &Bells,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Fault>> {
        self.now = None;
        if self.ending.is_none() && self.poll_is_drained(end, cx) {
            self.end();
        }
        bells.input.take();
        self.corked.borrow_mut().begin_turn();
        for round in 0..=ROUNDS {
            let has_new = match self.accept(begin, bells) {
                Ok(has_new) => has_new,
                Err(fault) => return Poll::Ready(fault),
            };
            // What the exchanges of the last round have queued was moved on by accepting, and gave others their turn.
            let goes_on = bells.exchanges.take() || has_new;
            if (round > 0 && !goes_on) || self.streams.is_empty() {
                break;
            }
            if round == ROUNDS {
                cx.waker().wake_by_ref();
                break;
            }
            self.answer(bells);
        }
        self.drain(cx)
    }

    /// Whether it is time for GOAWAY: the client pauses, or was waited for long enough.
    fn poll_is_drained(&mut self, end: &mut Ending<'_, '_>, cx: &mut Context<'_>) -> bool {
        if !end.begun.poll_is_over(cx) {
            return false;
        }
        let is_hurried = end.drain.hurry.is_cancelled();
        self.pause
            .set_at(self.opened + if is_hurried { QUIET_IN_A_HURRY } else { QUIET });
        self.pause.poll_is_due(cx) || end.called.poll_is_over(cx)
    }

    /// The time, read once in a turn.
    fn now(&mut self) -> Instant {
        *self.now.get_or_insert_with(Instant::now)
    }

    /// Moves the engine on and takes new streams; whether there were any.
    fn accept(&mut self, begin: &Begin<'_, F>, bells: &Bells) -> Result<bool, Option<Fault>> {
        let mut has_new = false;
        loop {
            // Whatever it is wanted for, it is done here.
            bells.engine.take();
            match self.connection.poll_accept(&mut bells.engine.cx()) {
                // Nothing of it was processed: the client may send it again elsewhere (RFC 9113 §8.7).
                Poll::Ready(Some(Ok((_, mut respond)))) if self.was_told_long_ago() => {
                    respond.send_reset(Reason::REFUSED_STREAM);
                }
                Poll::Ready(Some(Ok((request, respond)))) => {
                    match begin(request, respond, self.streams.len(), &mut bells.exchanges.cx()) {
                        Begun::Over(is_whole) => self.over(is_whole),
                        Begun::Goes(exchange) => self.streams.push(exchange),
                    }
                    self.opened = self.now();
                    // Also for an exchange that is over before anybody looks.
                    self.idle.clear();
                    has_new = true;
                }
                Poll::Ready(Some(Err(error))) => return Err(ended(error)),
                Poll::Ready(None) => {
                    // All streams have ended; their exchanges have yet to see it.
                    self.answer(bells);
                    return Err(None);
                }
                Poll::Pending => {
                    let violation = self.corked.borrow_mut().take_violation();
                    match violation {
                        Some((reason, limit)) => {
                            self.limit = limit;
                            self.connection.abrupt_shutdown(reason);
                        }
                        None => return Ok(has_new),
                    }
                }
            }
        }
    }

    /// Tells the client to end: GOAWAY for no stream in particular, and a PING whose answer brings the second one.
    fn end(&mut self) {
        self.ending = Some(Instant::now());
        self.connection.graceful_shutdown();
    }

    /// Whether the client goes on though it must have heard.
    fn was_told_long_ago(&self) -> bool {
        self.ending.is_some_and(|told| told.elapsed() >= GOAWAY_TIME)
    }

    /// Polls the exchanges that were woken.
    fn answer(&mut self, bells: &Bells) {
        while let Poll::Ready(Some(is_whole)) = self.streams.poll_next_unpin(&mut bells.exchanges.cx()) {
            self.over(is_whole);
        }
        // While our last change of settings is not acknowledged, there is another time.
        if let Some((stream, window)) = self.growth.wanted()
            && self.connection.set_initial_window_size(stream).is_ok()
        {
            self.connection.set_target_window_size(window);
            self.growth.grown((stream, window));
        }
    }

    /// An exchange is over.
    fn over(&mut self, is_whole: bool) {
        if is_whole && let Some(watch) = &mut self.corked.borrow_mut().watch {
            watch.frames.forgive();
        }
    }

    /// Writes what has gathered and looks after the time limits.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<Option<Fault>> {
        let mut corked = self.corked.borrow_mut();
        match corked.poll_drain(cx) {
            Poll::Ready(Err(error)) => return Poll::Ready(Some(gone("writing to the client").caused_by(error))),
            Poll::Ready(Ok(())) => {
                self.stall.moved(corked.written() - self.stalled_at);
                self.stalled_at = corked.written();
            }
            Poll::Pending => {
                if self.stalled_at != corked.written() {
                    self.stall.moved(corked.written() - self.stalled_at);
                    self.stalled_at = corked.written();
                }
                if self.stall.poll_is_out(cx) {
                    return Poll::Ready(Some(gone("the client does not read").at(Limit::WriteRate)));
                }
            }
        }
        let is_in_block = corked.watch.as_ref().is_some_and(|watch| watch.frames.is_in_block());
        drop(corked);
        if is_in_block {
            self.block.set_once(self.limits.head_time);
        } else {
            self.block.clear();
        }
        if self.block.poll_is_due(cx) {
            self.limit = Some(Limit::HeadTime);
            self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            cx.waker().wake_by_ref();
            self.block.clear();
            return Poll::Pending;
        }
        if !self.streams.is_empty() {
            self.idle.clear();
            return Poll::Pending;
        }
        // The last frames of an exchange may still wait inside the engine for a client that reads slowly.
        let is_quiet = self.ending.is_some() && !self.connection.has_streams();
        if !self.idle.is_set() {
            let after = if is_quiet { LINGER_TIME } else { self.limits.idle_time };
            let now = self.now();
            self.idle.set_from(now, after);
        }
        if !self.idle.poll_is_due(cx) {
            return Poll::Pending;
        }
        if self.ending.is_some() {
            return Poll::Ready(None);
        }
        self.idle.clear();
        self.end();
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Lets the client read our last frames rather than meet a reset.
async fn linger<IO: AsyncRead + AsyncWrite + Unpin>(corked: &RefCell<Corked<IO>>) {
    let (mut left, mut is_shut, mut alarm) = (LINGER_BYTES, false, Alarm::default());
    alarm.set(LINGER_TIME);
    poll_fn(|cx| {
        let closed = corked.borrow_mut().poll_close(&mut left, &mut is_shut, cx);
        if closed.is_ready() || alarm.poll_is_due(cx) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// The fault that the end of a connection is, if it is one.
fn ended(error: h2::Error) -> Option<Fault> {
    if error.is_io() || error.is_remote() {
        return None;
    }
    let fault = Fault::new(
        Side::Downstream,
        Kind::BadRequest,
        "the client broke the rules of HTTP/2",
    );
    Some(fault.caused_by(error))
}

/// The bound of the `h2` crate that a client ran into, by the word that it puts into GOAWAY.
fn bound<IO: AsyncRead + AsyncWrite + Unpin>(corked: &Corked<IO>) -> Option<Limit> {
    [
        ("too_many_resets", Limit::Resets),
        ("too_many_internal_resets", Limit::ForcedResets),
        ("too_many_continuations", Limit::Continuations),
        ("header_list_way_too_large", Limit::Headers),
        ("too_many_data_frames", Limit::ControlFrames),
    ]
    .into_iter()
    .find_map(|(word, limit)| corked.parted_with(word).then_some(limit))
}

/// Size of fields as RFC 9113 §6.5.2 counts it.
pub(crate) fn field_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 32)
        .sum()
}

fn gone(detail: &str) -> Fault {
    Fault::new(Side::Downstream, Kind::DownstreamClosed, detail)
}

/// Runs the inspection of frames on any bytes, for fuzzing.
pub fn fuzz_frames(input: &[u8]) {
    frames::fuzz(input);
}
