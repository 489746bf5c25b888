//! The waker that the driver of a connection gives to the engine or to the exchanges, instead of its task's own.
//!
//! Most wakes come while the driver is at work: the engine wants to be polled for each frame that is queued, though that is
//! what the driver does next anyway. Such a ring is only noted, for the driver to look at; the task is woken by those that
//! come from elsewhere, and by what is left of the others when the driver leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Wake, Waker};

use futures_util::task::AtomicWaker;

/// The driver is not at work.
const AWAY: u8 = 0;
/// It is, and nothing was heard since it last looked.
const AT_WORK: u8 = 1;
/// It was wanted, and has not looked since.
const RUNG: u8 = 2;

/// A bell at the door of a driver.
pub(super) struct Bell {
    state: Arc<State>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct State {
    now: AtomicU8,
    task: AtomicWaker,
}

impl Bell {
    pub(super) fn new() -> Self {
        let state = Arc::<State>::default();
        Bell {
            waker: state.clone().into(),
            state,
        }
    }

    /// The driver begins to work, as a part of the task of `cx`, and is going to look.
    pub(super) fn enter(&self, cx: &Context<'_>) {
        self.state.task.register(cx.waker());
    }

    /// The driver looks: whether the bell was rung since it last did.
    pub(super) fn take(&self) -> bool {
        self.state.now.swap(AT_WORK, Ordering::AcqRel) == RUNG
    }

    /// The driver leaves; what it has not looked at brings it back.
    pub(super) fn leave(&self) {
        let now = &self.state.now;
        let left = now.compare_exchange(AT_WORK, AWAY, Ordering::AcqRel, Ordering::Acquire);
        if left == Err(RUNG) {
            self.state.task.wake();
        }
    }

    /// For somebody who may ring.
    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// For those who may ring.
    pub(super) fn cx(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }
}

impl Wake for State {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.now.swap(RUNG, Ordering::AcqRel) == AWAY {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn only_what_was_not_looked_at_wakes_the_task() {
        let count = Arc::<Count>::default();
        let task = count.clone().into();
        let woken = || count.0.load(Ordering::Relaxed);
        let bell = Bell::new();
        let ring = || bell.cx().waker().wake_by_ref();

        bell.enter(&Context::from_waker(&task));
        assert!(!bell.take());
        ring();
        assert!(bell.take() && !bell.take());
        bell.leave();
        assert_eq!(woken(), 0, "it was at work and has looked");

        ring();
        ring();
        assert_eq!(woken(), 1, "from elsewhere, once until it comes");
        bell.enter(&Context::from_waker(&task));
        assert!(bell.take());
        ring();
        bell.leave();
        assert_eq!(woken(), 2, "rung and not looked at");
        ring();
        assert_eq!(woken(), 2, "it is on its way");
    }
}
