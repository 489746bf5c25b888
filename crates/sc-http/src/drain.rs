//! How a connection comes to its end when its server does: what is told at once, and what only after a while.
//!
//! The tokens and delays come from outside; drivers ask a [`Delay`] whether its time has come. Delays that differ from
//! connection to connection keep the clients of one server from coming back all in the same moment.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use crate::timer::Alarm;

/// An HTTP/2 client that has opened no stream for so long is told to open no more. Source: a page's requests follow each
/// other within it; a client in the middle of them would have to repeat those that cross our GOAWAY, and not all can.
pub(crate) const QUIET: Duration = Duration::from_secs(1);

/// The same in a hurry.
pub(crate) const QUIET_IN_A_HURRY: Duration = Duration::from_millis(100);

/// The end of one connection.
///
/// Shape: nothing happens before `begin` is cancelled. From then on every response over HTTP/1.1 says
/// `Connection: close`; idle connections, HTTP/2 connections and tunnels are left alone until their delay has passed, and
/// HTTP/2 clients that open stream after stream until they pause, or until the last call.
/// Once `hurry` is cancelled too, no delay is waited for; exchanges under way still finish.
/// Units: the delays count from the moment in which `begin` was noticed, which is at once.
#[derive(Clone, Debug)]
pub struct Drain {
    /// Cancelled when the server begins to drain.
    pub begin: CancellationToken,
    /// Cancelled when there is no time for delays any more.
    pub hurry: CancellationToken,
    /// HTTP/1.1: how long an idle connection is still kept for a next request; its own idle time may be shorter.
    pub idle_after: Duration,
    /// HTTP/2: how long until the first GOAWAY at the soonest.
    pub goaway_after: Duration,
    /// HTTP/2: cancelled when clients that are still busy must be told too; `goaway_after` later they are.
    pub last_call: CancellationToken,
    /// How long a tunnel may go on.
    pub tunnel_after: Duration,
}

impl Drain {
    /// A drain without delays: one token begins it and hurries it.
    pub fn at_once(token: CancellationToken) -> Self {
        Drain {
            begin: token.clone(),
            hurry: token.clone(),
            idle_after: Duration::ZERO,
            goaway_after: Duration::ZERO,
            last_call: token,
            tunnel_after: Duration::ZERO,
        }
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.begin.is_cancelled()
    }

    /// Waits until a tunnel's time is up.
    ///
    /// Cancel: changes nothing, except that the delay begins anew when it is asked for again.
    pub async fn tunnel_is_due(&self) {
        self.begin.cancelled().await;
        // Either way it is over.
        let _ = tokio::time::timeout(self.tunnel_after, self.hurry.cancelled()).await;
    }
}

/// One of the delays of a [`Drain`], from the cancellation of a token on.
pub(crate) struct Delay<'p, 'a> {
    drain: &'a Drain,
    /// What it begins with, then `hurry`: only one of them is waited for at a time.
    token: Pin<&'p mut WaitForCancellationFuture<'a>>,
    has_begun: bool,
    after: Duration,
    alarm: Alarm,
}

impl<'p, 'a> Delay<'p, 'a> {
    /// A delay of `after`; `token` is the drain's `begin` or `last_call`.
    pub(crate) fn new(drain: &'a Drain, token: Pin<&'p mut WaitForCancellationFuture<'a>>, after: Duration) -> Self {
        Delay {
            drain,
            token,
            has_begun: false,
            after,
            alarm: Alarm::default(),
        }
    }

    /// Whether the token is cancelled and the delay passed; otherwise `cx` is woken when it has.
    pub(crate) fn poll_is_over(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.has_begun {
            if self.token.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.has_begun = true;
            self.token.set(self.drain.hurry.cancelled());
            self.alarm.set(self.after);
        }
        self.after.is_zero() || self.token.as_mut().poll(cx).is_ready() || self.alarm.poll_is_due(cx)
    }
}
