//! How processes, settings and persons behave, as chances and mean times.

use std::time::Duration;

use super::seconds;

/// What is to be expected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// Of a thousand workers: how many refuse to start.
    pub(super) refuse: u64,
    /// How many end while they start.
    pub(super) die_early: u64,
    /// How many never say that they are ready.
    pub(super) silent: u64,
    /// How many never say that they accept.
    pub(super) deaf: u64,
    /// How many do not end when they have drained.
    pub(super) immortal: u64,
    /// How many die during their active life.
    pub(super) crash: u64,
    /// How many get stuck during it.
    pub(super) stick: u64,
    /// Mean time between two events of the world: a reload, a wish, overload, a massacre, words of the dead.
    pub(super) between: Duration,
}

impl Weather {
    /// Nothing goes wrong; persons still reload and recycle now and then.
    pub(super) fn calm() -> Weather {
        Weather {
            refuse: 0,
            die_early: 0,
            silent: 0,
            deaf: 0,
            immortal: 0,
            crash: 0,
            stick: 0,
            between: seconds(12 * 60 * 60),
        }
    }

    /// The same, with so many times less from outside.
    pub(super) fn every(self, times: u64) -> Weather {
        let times = u32::try_from(times).unwrap_or(u32::MAX);
        Weather {
            between: self.between * times,
            ..self
        }
    }

    /// A bad week.
    pub(super) fn rough() -> Weather {
        Weather {
            refuse: 20,
            die_early: 20,
            silent: 10,
            deaf: 10,
            immortal: 10,
            crash: 50,
            stick: 30,
            between: seconds(2 * 60 * 60),
        }
    }

    /// Hardly anything works.
    pub(super) fn storm() -> Weather {
        Weather {
            refuse: 150,
            die_early: 150,
            silent: 60,
            deaf: 60,
            immortal: 60,
            crash: 400,
            stick: 200,
            between: seconds(20 * 60),
        }
    }
}
