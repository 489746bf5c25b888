//! Moves a body into a stream of DATA frames, as fast as windows allow, for both roles.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;

use super::channel::{PIECE_BYTES, poll_capacity};
use super::turns::Turn;
use crate::timer::Pace;
use crate::{Body, Fault, Kind, Limit, Side};

/// A body on its way.
pub(crate) struct Upload {
    body: Body,
    stream: SendStream<Bytes>,
    /// What was taken out of the body and waits for a window.
    piece: Bytes,
    /// What the length was declared to be, less what was taken.
    declared: Option<u64>,
    is_done: bool,
    is_touched: bool,
    sent: u64,
    /// Patience with a side that gives no window.
    stall: Pace,
    /// The side that takes the body.
    side: Side,
    /// Its part in the order of responses; what we send to an application is in the order in which it comes.
    turn: Option<Turn>,
    /// Handed over since others went first.
    in_turn: usize,
    /// What had left of all responses when this one was waiting last.
    seen_bytes: u64,
}

impl Upload {
    pub(crate) fn new(
        body: Body,
        stream: SendStream<Bytes>,
        declared: Option<u64>,
        stall: Pace,
        side: Side,
        turn: Option<Turn>,
    ) -> Self {
        Upload {
            body,
            stream,
            piece: Bytes::new(),
            declared,
            is_done: false,
            is_touched: false,
            sent: 0,
            stall,
            side,
            turn,
            in_turn: 0,
            seen_bytes: 0,
        }
    }

    /// Whether all was handed over.
    pub(crate) fn is_done(&self) -> bool {
        self.is_done
    }

    /// How many bytes were handed over.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// The stream, e.g. to reset it.
    pub(crate) fn stream(&mut self) -> &mut SendStream<Bytes> {
        &mut self.stream
    }

    /// Gives the body back when nothing was taken out of it.
    pub(crate) fn into_untouched(self) -> Option<Body> {
        (!self.is_touched).then_some(self.body)
    }

    /// Moves as much as can be.
    ///
    /// Errors: the fault of the body; `Internal` when it is not as long as was declared; the other side's end.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        while !self.is_done {
            // Without windows little is taken out of responses: what waits would wait in memory, once for each stream.
            if self.piece.is_empty()
                && self.turn.as_ref().is_some_and(Turn::is_full)
                && !http_body::Body::is_end_stream(&self.body)
            {
                match poll_capacity(&mut self.stream, 1, cx) {
                    Poll::Pending => return self.poll_stall(cx),
                    Poll::Ready(Some(Ok(_))) => self.stall.rest(),
                    Poll::Ready(Some(Err(error))) => {
                        return Poll::Ready(Err(super::channel::fault(self.side, "while sending a body", error)));
                    }
                    Poll::Ready(None) => return Poll::Ready(Err(self.gone())),
                }
            }
            if self.piece.is_empty() && !self.poll_take(cx)?.is_ready() {
                return self.poll_wanted(cx);
            }
            if self.piece.is_empty() {
                continue;
            }
            if let Some(turn) = &mut self.turn {
                turn.hold(self.piece.len());
            }
            let allowed = match self.turn.as_ref().map(|turn| turn.poll(self.in_turn > 0, cx)) {
                None => usize::MAX,
                Some(Poll::Ready(allowed)) => allowed,
                Some(Poll::Pending) => {
                    // Waiting for other streams is no fault of the client, as long as these get on.
                    let left_bytes = self.turn.as_ref().map_or(0, Turn::left_bytes);
                    if std::mem::replace(&mut self.seen_bytes, left_bytes) != left_bytes {
                        self.stall.forgive();
                    }
                    if let Poll::Ready(stalled) = self.poll_stall(cx) {
                        return Poll::Ready(stalled);
                    }
                    return self.poll_wanted(cx);
                }
            };
            let capacity = match poll_capacity(&mut self.stream, self.piece.len().min(allowed), cx) {
                Poll::Pending => {
                    if let Some(turn) = &self.turn {
                        turn.pass();
                    }
                    return self.poll_stall(cx);
                }
                Poll::Ready(Some(Ok(capacity))) => capacity.min(allowed),
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(super::channel::fault(self.side, "while sending a body", error)));
                }
                Poll::Ready(None) => return Poll::Ready(Err(self.gone())),
            };
            let part = self.piece.split_to(capacity.min(self.piece.len()));
            self.stall.moved(part.len() as u64);
            self.sent += part.len() as u64;
            self.in_turn += part.len();
            if let Some(turn) = &mut self.turn {
                turn.hand_over(part.len());
                turn.hold(self.piece.len());
            }
            let is_last = self.piece.is_empty()
                && http_body::Body::is_end_stream(&self.body)
                && self.declared.is_none_or(|left| left == 0);
            self.send(part, is_last)?;
            if self.in_turn >= PIECE_BYTES && !is_last && self.turn.as_ref().is_some_and(Turn::shares) {
                // Others that are ready go first, also those that have not asked yet.
                self.in_turn = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// While nothing can be sent: what is left to notice is that nobody wants it any more.
    fn poll_wanted(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        match ready!(self.stream.poll_reset(cx)) {
            Ok(reason) => Poll::Ready(Err(self.reset(reason))),
            Err(error) => Poll::Ready(Err(super::channel::fault(self.side, "while sending a body", error))),
        }
    }

    /// While a window is waited for: the other side has a while to give one.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if self.stall.poll_is_out(cx) {
            Poll::Ready(Err(self.stalled()))
        } else {
            Poll::Pending
        }
    }

    /// Takes the next piece out of the body, or ends the stream.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.is_touched = true;
        let frame = ready!(http_body::Body::poll_frame(Pin::new(&mut self.body), cx)).transpose()?;
        let trailers = match frame.map(http_body::Frame::into_data) {
            Some(Ok(data)) => {
                if let Some(left) = &mut self.declared {
                    *left = left.checked_sub(data.len() as u64).ok_or_else(|| unequal("longer"))?;
                }
                self.piece = data;
                return Poll::Ready(Ok(()));
            }
            Some(Err(frame)) => frame.into_trailers().ok(),
            None => None,
        };
        if self.declared.is_some_and(|left| left > 0) {
            return Poll::Ready(Err(unequal("shorter")));
        }
        Poll::Ready(self.end(trailers))
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Fault> {
        let trailers = trailers.map(|mut trailers| {
            crate::h1::head::keep_trailers(&mut trailers);
            trailers
        });
        match trailers.filter(|trailers| !trailers.is_empty()) {
            None => self.send(Bytes::new(), true),
            Some(trailers) => {
                let sent = self.stream.send_trailers(trailers);
                self.finish();
                sent.map_err(|error| super::channel::fault(self.side, "while sending trailers", error))
            }
        }
    }

    fn send(&mut self, part: Bytes, is_last: bool) -> Result<(), Fault> {
        let sent = self.stream.send_data(part, is_last);
        if is_last {
            self.finish();
        }
        sent.map_err(|error| super::channel::fault(self.side, "while sending a body", error))
    }

    /// All was handed over.
    fn finish(&mut self) {
        self.is_done = true;
        if let Some(turn) = &mut self.turn {
            turn.complete();
        }
    }

    fn reset(&self, reason: h2::Reason) -> Fault {
        self.gone().caused_by(h2::Error::from(reason))
    }

    fn gone(&self) -> Fault {
        let kind = if self.side == Side::Upstream {
            Kind::UpstreamClosed
        } else {
            Kind::DownstreamClosed
        };
        Fault::new(self.side, kind, "the stream was closed while a body was being sent")
    }

    fn stalled(&self) -> Fault {
        let kind = if self.side == Side::Upstream {
            Kind::UpstreamTimeout
        } else {
            Kind::DownstreamClosed
        };
        let fault = Fault::new(self.side, kind, "no window was given for a body");
        if self.side == Side::Downstream {
            fault.at(Limit::WriteRate)
        } else {
            fault
        }
    }
}

fn unequal(how: &str) -> Fault {
    Fault::new(
        Side::Local,
        Kind::Internal,
        format!("a body is {how} than was declared"),
    )
}
