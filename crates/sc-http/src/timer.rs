//! A time limit that is moved often and seldom reached.

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
