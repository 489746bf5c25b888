//! What happened, as events of the log.

use std::cell::Cell;

use sc_server::Event;

use super::log::Log;
use crate::bus::{Health, Heard, Offered, Told};
use crate::supervisor::{Cause, Fault, Hindrance, Note, State};

/// The event of a note of the policy.
pub(super) fn event(note: &Note) -> Event {
    match *note {
        Note::Renewed {
            lane,
            old,
            new,
            lived,
            cause,
        } => Event::WorkerRenewed {
            lane: lane as u64,
            old: old.0,
            new: new.0,
            lived_s: lived.as_secs(),
            cause: cause_word(cause),
        },
        Note::Lost {
            lane,
            worker,
            state,
            fault,
        } => Event::WorkerLost {
            lane: lane as u64,
            worker: worker.0,
            state: state_word(state),
            fault: fault_word(fault),
        },
        Note::Recovered { lane, worker } => Event::WorkerRecovered {
            lane: lane as u64,
            worker: worker.0,
        },
        Note::BackingOff { lane, faults, delay } => Event::LaneBacksOff {
            lane: lane as u64,
            faults: faults.into(),
            delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
        },
        Note::Storm { lanes, faults } => Event::RolledBack {
            lanes: lanes as u64,
            faults: faults.into(),
        },
        Note::Postponed {
            lane,
            worker,
            by,
            because,
        } => Event::RenewalPostponed {
            lane: lane as u64,
            worker: worker.0,
            by_s: by.as_secs(),
            because: hindrance_word(because),
        },
        Note::TooManyDraining { worker, draining } => Event::TooManyDraining {
            worker: worker.0,
            draining: draining as u64,
        },
        Note::Overdue { lane, worker } => Event::WorkerOverdue {
            lane: lane as u64,
            worker: worker.0,
        },
    }
}

/// What is known of the own Redis.
#[derive(Default)]
pub(super) struct OwnRedis {
    /// How often it was started.
    pub(super) starts: Cell<u64>,
    /// Whether its process runs and has answered.
    is_up: Cell<bool>,
}

/// What is said of the own Redis.
pub(super) fn redis(log: &Log, program: &str, seen: &OwnRedis, health: &Health) {
    seen.is_up.set(matches!(health, Health::Up { .. }));
    match health {
        Health::Starting => seen.starts.set(seen.starts.get() + 1),
        Health::Down { why, .. } => log.event(&Event::BusDown {
            redis: program.to_owned(),
            why: why.clone(),
        }),
        Health::Up { .. } | Health::Stopped => {}
    }
}

/// What is heard on the bus; `own` when the Redis is ours.
pub(super) fn bus(log: &Log, redis: &str, own: Option<&OwnRedis>, heard: Heard) {
    match heard {
        Heard::Line(line) => log.line(line),
        Heard::Lost { lines, .. } => log.lost(lines),
        Heard::Up => log.event(&Event::BusUp {
            redis: redis.to_owned(),
        }),
        // Why an own one ended is known better by the one who looks after it; that it is silent, only here.
        Heard::Down { .. } if own.is_some_and(|own| !own.is_up.get()) => {}
        Heard::Down { why } => log.event(&Event::BusDown {
            redis: redis.to_owned(),
            why,
        }),
    }
}

/// What came of sharing with other machines.
pub(super) fn roles(log: &Log, told: &Told) {
    let offered = match told {
        Told::Machines(machines) => {
            return log.event(&Event::Machines {
                others: machines.clone(),
            });
        }
        Told::Root(Offered::Adopted) => "adopted",
        Told::Root(Offered::Unreadable) => "unreadable",
        // That Redis comes and goes is said by the reader of the log.
        Told::Root(Offered::Same | Offered::Older) | Told::Up | Told::Down { .. } => return,
    };
    log.event(&Event::TicketKeys { offered });
}

pub(super) fn state_word(state: State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Warm => "warm",
        State::Active => "active",
        State::Draining => "draining",
        State::Gone => "gone",
    }
}

pub(super) fn fault_word(fault: Fault) -> &'static str {
    match fault {
        Fault::Refused => "refused",
        Fault::Silent => "silent",
        Fault::Deaf => "deaf",
        Fault::Crashed => "crashed",
        Fault::Left => "left",
        Fault::Stuck => "stuck",
    }
}

pub(super) fn hindrance_word(hindrance: Hindrance) -> &'static str {
    match hindrance {
        Hindrance::Reload => "reload",
        Hindrance::Overload => "overload",
        Hindrance::BackingOff { .. } => "backing_off",
        Hindrance::InChange => "in_change",
        Hindrance::Gap => "gap",
        Hindrance::Draining => "draining",
    }
}

fn cause_word(cause: Cause) -> &'static str {
    match cause {
        Cause::Age => "age",
        Cause::Asked => "asked",
        Cause::Stuck => "stuck",
    }
}
