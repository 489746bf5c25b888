//! A time limit that is moved often and seldom reached, and patience with a peer that must keep up a rate.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A deadline; moving it later costs no timer operation, because the timer is looked at only when it fires.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    due: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Goes off this long from now, whatever was set before.
    pub(crate) fn set(&mut self, after: Duration) {
        self.due = Instant::now().checked_add(after);
    }

    /// Whether it is to go off.
    pub(crate) fn is_set(&self) -> bool {
        self.due.is_some()
    }

    /// Goes off this long after that moment, whatever was set before.
    pub(crate) fn set_from(&mut self, begin: Instant, after: Duration) {
        self.due = begin.checked_add(after);
    }

    /// Goes off at this moment, whatever was set before.
    pub(crate) fn set_at(&mut self, due: Instant) {
        self.due = Some(due);
    }

    /// Goes off this long from now, unless it is set already.
    pub(crate) fn set_once(&mut self, after: Duration) {
        if self.due.is_none() {
            self.set(after);
        }
    }

    /// Never goes off.
    pub(crate) fn clear(&mut self) {
        self.due = None;
    }

    /// Whether it has gone off; otherwise `cx` is woken when it does.
    pub(crate) fn poll_is_due(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(due) = self.due else { return false };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= due {
                return true;
            }
            sleep.as_mut().reset(due);
        }
        false
    }
}

/// Patience with a peer that has to keep up a rate. It is used up while the peer is waited for, whatever else the peer does
/// meanwhile, and what the peer moves on brings it back, up to where it began.
#[derive(Debug)]
pub(crate) struct Pace {
    grace: Duration,
    /// Bytes per second; `None` when any progress brings all of it back.
    rate: Option<u64>,
    left: Duration,
    since: Option<Instant>,
    alarm: Alarm,
}

impl Pace {
    /// A peer that may be waited for this long beyond what its rate grants.
    pub(crate) fn new(grace: Duration, rate: Option<u64>) -> Self {
        Pace {
            grace,
            rate,
            left: grace,
            since: None,
            alarm: Alarm::default(),
        }
    }

    /// The peer is waited for: whether patience is at its end; otherwise `cx` is woken when it is.
    pub(crate) fn poll_is_out(&mut self, cx: &mut Context<'_>) -> bool {
        if self.since.is_none() {
            self.since = Some(Instant::now());
            self.alarm.set(self.left);
        }
        self.alarm.poll_is_due(cx)
    }

    /// The peer has moved so many bytes on; it is not waited for until it is again.
    pub(crate) fn moved(&mut self, bytes: u64) {
        self.rest();
        if bytes > 0 && self.left < self.grace {
            let earned = self
                .rate
                .map(|rate| Duration::from_secs(bytes) / u32::try_from(rate.max(1)).unwrap_or(u32::MAX));
            self.left = earned.map_or(self.grace, |earned| self.left.saturating_add(earned).min(self.grace));
        }
    }

    /// Something else is waited for than the peer, which may take as long again.
    pub(crate) fn forgive(&mut self) {
        self.rest();
        self.left = self.grace;
    }

    /// The peer is not waited for.
    pub(crate) fn rest(&mut self) {
        if let Some(since) = self.since.take() {
            self.left = self.left.saturating_sub(since.elapsed());
            self.alarm.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Whether patience lasts when a peer moves so many bytes every so often, for an hour.
    async fn lasts(rate: Option<u64>, bytes: u64, every: Duration) -> bool {
        let mut pace = Pace::new(Duration::from_secs(60), rate);
        let mut cx = Context::from_waker(Waker::noop());
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(3600) {
            if pace.poll_is_out(&mut cx) {
                return false;
            }
            tokio::time::advance(every).await;
            if pace.poll_is_out(&mut cx) {
                return false;
            }
            pace.moved(bytes);
        }
        true
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_must_keep_up_its_rate_and_must_not_be_silent_for_long() {
        let seconds = Duration::from_secs;
        for (rate, bytes, every, expected) in [
            (Some(256), 256, seconds(1), true),
            (Some(256), 2560, seconds(10), true),
            (Some(256), 200, seconds(1), false),
            (Some(256), 1, seconds(1), false),
            (Some(256), 1 << 40, seconds(59), true),
            (Some(256), 1 << 40, seconds(61), false),
            (Some(256), 0, seconds(1), false),
            (None, 1, seconds(59), true),
            (None, 1, seconds(61), false),
        ] {
            assert_eq!(
                lasts(rate, bytes, every).await,
                expected,
                "{bytes} bytes every {every:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_waits_is_not_counted() {
        let mut pace = Pace::new(Duration::from_secs(60), Some(256));
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..59 {
            assert!(!pace.poll_is_out(&mut cx));
            tokio::time::advance(Duration::from_secs(1)).await;
            pace.rest();
            tokio::time::advance(Duration::from_secs(100)).await;
        }
        assert!(!pace.poll_is_out(&mut cx));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(pace.poll_is_out(&mut cx));
    }
}
