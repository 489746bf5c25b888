//! What is known of one address of an application: whether requests go there, and when they do again.
//!
//! Two judges, and both must agree: failures of requests in a row (passive) and failed checks in a row (active). An address
//! that failed is left out for a while, longer each time; then a single request may try it, and its answer brings the
//! address back. Plain numbers and an invented `now`, so that the tests need no sockets. Which address is asked is
//! [`super::choice`]'s.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use crate::spec::{BalanceSpec, HealthSpec};

/// How much of its share an address gets in the first moment after it came back, in a thousand.
const FIRST_SHARE: u32 = 100;
/// The whole share.
pub(crate) const WHOLE_SHARE: u32 = 1000;

/// What is known of one address.
#[derive(Debug)]
pub(crate) struct Health {
    rules: Rules,
    /// Failures since the last whole answer.
    failures: Cell<u32>,
    /// How often it was left out without a long good time in between; the pause grows with it.
    times_out: Cell<u32>,
    left_out: Cell<Option<LeftOut>>,
    checks: Cell<Checks>,
    /// Whether the last attempt did not even get a connection.
    is_unreachable: Cell<bool>,
    back_since: Cell<Option<Instant>>,
}

/// The part of the settings that decides about one address.
#[derive(Clone, Copy, Debug)]
struct Rules {
    failures: u32,
    pause: Duration,
    longest_pause: Duration,
    slow_start: Duration,
}

/// Left out because of failures.
#[derive(Clone, Copy, Debug)]
struct LeftOut {
    until: Instant,
    /// How long it is left out this time.
    pause: Duration,
    /// A request tries it; until then no other does.
    tried_until: Option<Instant>,
}

/// What the checks say.
#[derive(Clone, Copy, Debug)]
enum Checks {
    /// None has come to its end yet, or there are none.
    Unknown,
    /// Good, with so many bad ones in a row at last.
    Good { bad: u32 },
    /// Bad, with so many good ones in a row at last.
    Bad { good: u32 },
}

/// Whether an address may be asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// As any other.
    In,
    /// By one request that finds out whether it is well again.
    Trial {
        /// Whether a request that cannot be repeated may be the one, because no other has come for long.
        by_any: bool,
    },
    /// No, though it might answer.
    Out,
    /// No; not even a connection was to be had.
    Unreachable,
}

/// What a check found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// It answers as it should.
    Good,
    /// It answers otherwise, or not in time.
    Bad,
    /// Not even a connection was to be had.
    Unreachable,
}

/// What became of an address; only changes are told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    /// It is left out from now on.
    Out {
        /// Which judge said so.
        cause: Cause,
        /// For how long, when that is known.
        pause: Option<Duration>,
    },
    /// It is used again.
    Back,
}

/// Why an address is left out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// Requests failed.
    Requests,
    /// Checks failed.
    Checks,
}

impl Cause {
    /// A stable word for log lines and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Requests => "requests",
            Cause::Checks => "checks",
        }
    }
}

impl Health {
    /// An address that nothing is known of; `is_alone` when there is no other that could be asked instead.
    pub(crate) fn new(spec: &BalanceSpec, is_alone: bool) -> Self {
        Health {
            rules: Rules {
                failures: if is_alone { 0 } else { spec.failures },
                pause: spec.pause,
                longest_pause: spec.longest_pause.max(spec.pause),
                slow_start: spec.slow_start,
            },
            failures: Cell::new(0),
            times_out: Cell::new(0),
            left_out: Cell::new(None),
            checks: Cell::new(Checks::Unknown),
            is_unreachable: Cell::new(false),
            back_since: Cell::new(None),
        }
    }

    /// Whether it is left out, a trial or not.
    pub(crate) fn is_out(&self) -> bool {
        self.left_out.get().is_some() || matches!(self.checks.get(), Checks::Bad { .. })
    }

    /// Whether it may be asked.
    pub(crate) fn standing(&self, now: Instant) -> Standing {
        let out = if self.is_unreachable.get() {
            Standing::Unreachable
        } else {
            Standing::Out
        };
        if matches!(self.checks.get(), Checks::Bad { .. }) {
            return out;
        }
        match self.left_out.get() {
            None => Standing::In,
            Some(left) if now < left.until || left.tried_until.is_some_and(|until| now < until) => out,
            Some(left) => Standing::Trial {
                by_any: now >= left.until + left.pause,
            },
        }
    }

    /// How it stands, in a word for people.
    pub(crate) fn word(&self, now: Instant) -> &'static str {
        match self.standing(now) {
            Standing::In if self.share(now) < WHOLE_SHARE => "slow",
            Standing::In => "in",
            Standing::Trial { .. } => "trial",
            Standing::Out => "out",
            Standing::Unreachable => "unreachable",
        }
    }

    /// How much of its share it gets, in a thousand: all of it, or less when it came back just now.
    pub(crate) fn share(&self, now: Instant) -> u32 {
        let Some(since) = self.back_since.get() else {
            return WHOLE_SHARE;
        };
        let age = now.saturating_duration_since(since);
        if age >= self.rules.slow_start {
            return WHOLE_SHARE;
        }
        let part = age.as_millis() * u128::from(WHOLE_SHARE) / self.rules.slow_start.as_millis().max(1);
        u32::try_from(part)
            .unwrap_or(WHOLE_SHARE)
            .clamp(FIRST_SHARE, WHOLE_SHARE)
    }

    /// Notes that a request goes there, which is a trial once the pause is over: one that goes there before, for want of
    /// better, tries nothing.
    pub(crate) fn begin_trial(&self, now: Instant) {
        if let Some(mut left) = self.left_out.get().filter(|left| now >= left.until) {
            // A trial that is given up without an answer says nothing; after this, the next one may try.
            left.tried_until = now.checked_add(left.pause);
            self.left_out.set(Some(left));
        }
    }

    /// Notes that it began to answer.
    pub(crate) fn answered(&self, now: Instant) -> Option<Change> {
        let was_out = self.is_out();
        self.is_unreachable.set(false);
        if self.left_out.take().is_some() && !self.is_out() {
            return self.back(was_out, now);
        }
        None
    }

    /// Notes that an answer came to its end.
    pub(crate) fn completed(&self) {
        self.failures.set(0);
    }

    /// Notes that it could not be reached (`is_unreachable`), or did not answer as it should.
    pub(crate) fn failed(&self, is_unreachable: bool, now: Instant) -> Option<Change> {
        self.is_unreachable.set(is_unreachable);
        let failures = self.failures.get().saturating_add(1);
        self.failures.set(failures);
        if self.rules.failures == 0 || failures < self.rules.failures {
            return None;
        }
        let was_out = self.is_out();
        let is_told_anew = match self.left_out.get() {
            // Requests that were under way when it was left out tell nothing new.
            Some(left) => left.tried_until.is_some(),
            None => true,
        };
        if !is_told_anew {
            return None;
        }
        let has_been_well = self
            .back_since
            .get()
            .is_none_or(|since| now.saturating_duration_since(since) > self.rules.longest_pause);
        let times = if has_been_well && self.left_out.get().is_none() {
            1
        } else {
            self.times_out.get().saturating_add(1)
        };
        self.times_out.set(times);
        let pause = self.rules.pause.saturating_mul(times).min(self.rules.longest_pause);
        self.left_out.set(now.checked_add(pause).map(|until| LeftOut {
            until,
            pause,
            tried_until: None,
        }));
        (!was_out).then_some(Change::Out {
            cause: Cause::Requests,
            pause: Some(pause),
        })
    }

    /// Notes what a check found.
    pub(crate) fn checked(&self, verdict: Verdict, spec: &HealthSpec, now: Instant) -> Option<Change> {
        let (was_out, is_good) = (self.is_out(), verdict == Verdict::Good);
        self.is_unreachable.set(verdict == Verdict::Unreachable);
        let next = match (self.checks.get(), is_good) {
            (Checks::Unknown | Checks::Good { .. }, true) => Checks::Good { bad: 0 },
            (Checks::Unknown, false) => Checks::Bad { good: 0 },
            (Checks::Good { bad }, false) if bad + 1 >= spec.unhealthy_after => Checks::Bad { good: 0 },
            (Checks::Good { bad }, false) => Checks::Good { bad: bad + 1 },
            (Checks::Bad { good }, true) if good + 1 >= spec.healthy_after => Checks::Good { bad: 0 },
            (Checks::Bad { good }, true) => Checks::Bad { good: good + 1 },
            (Checks::Bad { .. }, false) => Checks::Bad { good: 0 },
        };
        self.checks.set(next);
        match (was_out, self.is_out()) {
            (false, true) => Some(Change::Out {
                cause: Cause::Checks,
                pause: None,
            }),
            (true, false) => self.back(was_out, now),
            _ => None,
        }
    }

    fn back(&self, was_out: bool, now: Instant) -> Option<Change> {
        self.back_since.set(Some(now));
        was_out.then_some(Change::Back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(5);

    fn health() -> Health {
        Health::new(&BalanceSpec::default(), false)
    }

    /// Fails so often that it is left out; `now` is when.
    fn eject(health: &Health, now: Instant) -> Option<Change> {
        (0..3).filter_map(|_| health.failed(false, now)).last()
    }

    fn is_trial(standing: Standing) -> bool {
        matches!(standing, Standing::Trial { .. })
    }

    #[test]
    fn three_failures_in_a_row_leave_it_out_and_one_answer_brings_it_back() {
        let (health, now) = (health(), Instant::now());
        assert_eq!(health.failed(false, now), None);
        assert_eq!(health.failed(false, now), None);
        assert_eq!(health.standing(now), Standing::In);
        let out = Change::Out {
            cause: Cause::Requests,
            pause: Some(PAUSE),
        };
        assert_eq!(health.failed(false, now), Some(out));
        assert_eq!(health.standing(now), Standing::Out);
        assert_eq!(health.failed(false, now), None, "told once");
        let later = now + PAUSE;
        assert_eq!(health.standing(later), Standing::Trial { by_any: false });
        health.begin_trial(later);
        assert_eq!(health.standing(later), Standing::Out, "one at a time");
        assert!(is_trial(health.standing(later + PAUSE)), "the first was given up");
        assert_eq!(health.answered(later), Some(Change::Back));
        assert_eq!(health.standing(later), Standing::In);
    }

    #[test]
    fn whole_answers_in_between_forgive_and_mere_heads_do_not() {
        let (health, now) = (health(), Instant::now());
        for _ in 0..20 {
            health.failed(false, now);
            health.failed(false, now);
            health.answered(now);
            health.completed();
        }
        assert!(!health.is_out());
        for _ in 0..3 {
            health.answered(now);
            health.failed(false, now);
        }
        assert!(health.is_out(), "every answer broke off");
    }

    #[test]
    fn the_pause_grows_only_with_trials_that_fail() {
        let (health, mut now) = (health(), Instant::now());
        for _ in 0..50 {
            health.failed(false, now);
        }
        for times in 1..=20 {
            let pause = (PAUSE * times).min(Duration::from_secs(60));
            assert_eq!(health.standing(now + pause - Duration::from_millis(1)), Standing::Out);
            now += pause;
            assert!(is_trial(health.standing(now)), "after pause {times}");
            health.begin_trial(now);
            assert_eq!(health.failed(false, now), None);
        }
        // Requests that went there during the pause, for want of better, were no trials.
        now += PAUSE;
        for _ in 0..50 {
            health.begin_trial(now);
            assert_eq!(health.failed(false, now), None);
        }
        now += Duration::from_secs(60);
        assert!(is_trial(health.standing(now)));
        health.answered(now);
        health.completed();
        // Soon after it came back the pause is as long as it was, a good while later as at first.
        assert!(eject(&health, now + PAUSE).is_some());
        assert_eq!(health.standing(now + PAUSE * 3), Standing::Out);
        now += Duration::from_secs(120);
        health.answered(now);
        health.completed();
        now += Duration::from_secs(61);
        let out = eject(&health, now);
        assert!(matches!(out, Some(Change::Out { pause: Some(PAUSE), .. })), "{out:?}");
    }

    #[test]
    fn any_request_may_try_when_no_repeatable_one_comes() {
        let (health, now) = (health(), Instant::now());
        eject(&health, now);
        assert_eq!(health.standing(now + PAUSE), Standing::Trial { by_any: false });
        assert_eq!(health.standing(now + PAUSE * 2), Standing::Trial { by_any: true });
    }

    #[test]
    fn what_cannot_be_reached_is_told_apart() {
        let (health, now) = (health(), Instant::now());
        for _ in 0..3 {
            health.failed(true, now);
        }
        assert_eq!(health.standing(now), Standing::Unreachable);
    }

    #[test]
    fn the_only_address_is_never_left_out_for_failures() {
        let (health, now) = (Health::new(&BalanceSpec::default(), true), Instant::now());
        for _ in 0..100 {
            assert_eq!(health.failed(true, now), None);
        }
        assert_eq!(health.standing(now), Standing::In);
    }

    #[test]
    fn the_first_check_decides_and_later_ones_in_a_row() {
        let (health, now, spec) = (health(), Instant::now(), HealthSpec::new("/"));
        let out = Some(Change::Out {
            cause: Cause::Checks,
            pause: None,
        });
        assert_eq!(health.checked(Verdict::Bad, &spec, now), out);
        assert_eq!(health.checked(Verdict::Good, &spec, now), None);
        assert_eq!(health.checked(Verdict::Bad, &spec, now), None, "not two in a row");
        assert_eq!(health.checked(Verdict::Good, &spec, now), None);
        assert_eq!(health.checked(Verdict::Good, &spec, now), Some(Change::Back));
        assert_eq!(health.checked(Verdict::Bad, &spec, now), None);
        assert_eq!(health.checked(Verdict::Bad, &spec, now), None);
        assert_eq!(health.checked(Verdict::Good, &spec, now), None);
        assert_eq!(health.checked(Verdict::Bad, &spec, now), None);
        assert_eq!(health.checked(Verdict::Bad, &spec, now), None);
        assert_eq!(health.checked(Verdict::Bad, &spec, now), out);
    }

    #[test]
    fn both_judges_must_agree_before_it_comes_back() {
        let (health, now, spec) = (health(), Instant::now(), HealthSpec::new("/"));
        eject(&health, now);
        assert_eq!(health.checked(Verdict::Bad, &spec, now), None, "it is out already");
        assert_eq!(health.answered(now), None, "the checks still say no");
        assert_eq!(health.standing(now + PAUSE), Standing::Out);
        health.checked(Verdict::Good, &spec, now);
        assert_eq!(health.checked(Verdict::Good, &spec, now), Some(Change::Back));
    }

    #[test]
    fn it_starts_slowly_after_it_came_back() {
        let (health, now) = (health(), Instant::now());
        assert_eq!(health.share(now), WHOLE_SHARE);
        eject(&health, now);
        health.answered(now);
        assert_eq!(health.share(now), FIRST_SHARE);
        assert_eq!(health.share(now + Duration::from_secs(5)), WHOLE_SHARE / 2);
        assert_eq!(health.share(now + Duration::from_secs(10)), WHOLE_SHARE);
    }
}
