//! A connection with a request on its way.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::{H1, Reuse};
use crate::h1::send::Sender;
use crate::h1::wire::{Outbox, Wire};
use crate::timer::Alarm;
use crate::{ClientLimits, Fault, Kind, Side};

/// Request bytes that may wait for the application; a body is asked for more only below this.
const HIGH_WATER_BYTES: usize = 64 << 10;

/// A connection with a request on its way.
#[derive(Debug)]
pub(super) struct Transfer<IO> {
    pub(super) wire: Wire<IO>,
    /// For the head of the answer; then free for another exchange.
    pub(super) alarm: Alarm,
    pub(super) upload: Sender,
    outbox: Outbox,
    /// The application takes no more; it may still answer.
    pub(super) write_error: Option<io::Error>,
    is_broken: bool,
    stall: Alarm,
    stalled_at: u64,
    stall_time: Duration,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Transfer<IO> {
    pub(super) fn new(connection: H1<IO>, outbox: Outbox, upload: Sender, limits: &ClientLimits) -> Self {
        Transfer {
            wire: connection.wire,
            alarm: connection.alarm,
            upload,
            outbox,
            write_error: None,
            is_broken: false,
            stall: Alarm::default(),
            stalled_at: 0,
            stall_time: limits.write_stall_time,
        }
    }

    /// How many bytes were written.
    pub(super) fn written(&self) -> u64 {
        self.outbox.written()
    }

    /// Whether the whole request was written.
    pub(super) fn is_sent(&self) -> bool {
        self.upload.is_done() && self.outbox.is_empty() && !self.is_broken
    }

    /// Writes as much of the request as can be; an application that takes no more is no fault yet.
    ///
    /// Errors: the fault of the request body, or `UpstreamTimeout`.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        loop {
            if self.is_broken || self.is_sent() {
                return Poll::Ready(Ok(()));
            }
            let mut is_waiting = false;
            while !self.upload.is_done() && !is_waiting && self.outbox.waiting() < HIGH_WATER_BYTES {
                is_waiting = self.upload.poll_fill(&mut self.outbox, cx)?.is_pending();
            }
            match self.outbox.poll_flush(&mut self.wire.io, cx) {
                Poll::Ready(Ok(())) => self.stall.clear(),
                Poll::Ready(Err(error)) => {
                    self.write_error = Some(error);
                    self.is_broken = true;
                    self.upload.stop();
                }
                Poll::Pending => {
                    if self.stalled_at != self.written() {
                        self.stalled_at = self.written();
                        self.stall.clear();
                    }
                    self.stall.set_once(self.stall_time);
                    if self.stall.poll_is_due(cx) {
                        let fault = Fault::new(
                            Side::Upstream,
                            Kind::UpstreamTimeout,
                            "the application does not read the request",
                        );
                        return Poll::Ready(Err(fault));
                    }
                    return Poll::Pending;
                }
            }
            if is_waiting {
                return Poll::Pending;
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin + 'static> Transfer<IO> {
    /// Gives the connection back after a whole response, if it can carry another exchange.
    pub(super) fn release(mut self, reuse: Option<Reuse<IO>>) {
        let is_clean = self.is_sent() && self.wire.buf.is_empty() && !self.wire.is_eof;
        if let Some(reuse) = reuse.filter(|_| is_clean) {
            self.wire.rest();
            self.alarm.clear();
            reuse(H1 {
                wire: self.wire,
                alarm: self.alarm,
            });
        }
    }
}
