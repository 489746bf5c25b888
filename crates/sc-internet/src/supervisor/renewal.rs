//! Planned ends: lives that are over, and persons who want new workers. Both wait until nothing hinders them.

use std::time::Duration;

use super::event::{Action, Cause, Fault, Hindrance, Moment, Note, Outcome};
use super::policy::{Phase, Supervisor};

/// A postponed death is looked at again after this time, and up to twice as much on top, so that lanes do not fall into step.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A person's wish for new workers that is not fulfilled yet.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) ticket: u64,
    /// Lanes on which no worker began to accept since.
    lanes: Vec<usize>,
    /// It is given up then.
    pub(super) until: Moment,
}

impl Supervisor {
    pub(super) fn wish(&mut self, ticket: u64, mut lanes: Vec<usize>) {
        if self.phase != Phase::Running {
            return self.answer(ticket, Outcome::Stopping);
        }
        if let Some(lane) = lanes.iter().copied().find(|lane| *lane >= self.lanes.len()) {
            return self.answer(ticket, Outcome::NoSuchLane { lane });
        }
        if lanes.is_empty() {
            lanes.extend(0..self.lanes.len());
        }
        lanes.sort_unstable();
        lanes.dedup();
        let until = self.now + self.rules.recycle_within;
        self.wishes.push(Wish { ticket, lanes, until });
    }

    /// Begins what was wished as far as nothing hinders it, and gives up what waited for too long.
    pub(super) fn grant_wishes(&mut self) {
        let mut at = 0;
        while at < self.wishes.len() {
            for lane in self.wishes[at].lanes.clone() {
                let is_open = self.lanes[lane].change.is_none() && self.lanes[lane].serving().is_some();
                if is_open && self.hindrance_to_wish().is_none() {
                    self.begin(lane, Cause::Asked);
                }
            }
            if self.wishes[at].until <= self.now {
                let wish = self.wishes.remove(at);
                let lane = wish.lanes.first().copied().unwrap_or(0);
                let because = self.hindrance_to_wish().unwrap_or(Hindrance::InChange);
                self.answer(wish.ticket, Outcome::Postponed { lane, because });
            } else {
                at += 1;
            }
        }
    }

    /// A worker began to accept on this lane.
    pub(super) fn fulfil(&mut self, lane: usize) {
        let until = self.now + self.rules.recycle_within;
        for wish in &mut self.wishes {
            let before = wish.lanes.len();
            wish.lanes.retain(|other| *other != lane);
            if wish.lanes.len() < before {
                wish.until = until;
            }
        }
        for wish in self.wishes.extract_if(.., |wish| wish.lanes.is_empty()) {
            self.actions.push(Action::Recycled {
                ticket: wish.ticket,
                outcome: Outcome::Renewed,
            });
        }
    }

    /// A worker that was to take over on this lane never will.
    pub(super) fn disappoint(&mut self, lane: usize, fault: Fault) {
        for wish in self.wishes.extract_if(.., |wish| wish.lanes.contains(&lane)) {
            self.actions.push(Action::Recycled {
                ticket: wish.ticket,
                outcome: Outcome::Failed { lane, fault },
            });
        }
    }

    pub(super) fn answer(&mut self, ticket: u64, outcome: Outcome) {
        self.actions.push(Action::Recycled { ticket, outcome });
    }

    /// Begins to replace workers whose time has come, the longest overdue first.
    pub(super) fn end_lives(&mut self) {
        while let Some((lane, at)) = self.overdue() {
            match self.hindrance_to_age() {
                None => self.begin(lane, Cause::Age),
                Some(because) => self.postpone(lane, at, because),
            }
        }
    }

    fn overdue(&self) -> Option<(usize, usize)> {
        let lanes = self.lanes.iter().enumerate().filter(|(_, lane)| lane.change.is_none());
        let serving = lanes.filter_map(|(number, lane)| Some((number, lane.serving()?, lane)));
        let due = serving.filter(|(_, at, lane)| lane.members[*at].look <= self.now);
        let first = due.min_by_key(|(_, at, lane)| lane.members[*at].due);
        first.map(|(number, at, _)| (number, at))
    }

    fn postpone(&mut self, lane: usize, at: usize, because: Hindrance) {
        let look = self.look_again();
        let (now, again) = (self.now, self.rules.postponed_after);
        let member = &mut self.lanes[lane].members[at];
        member.look = look;
        if member.tell <= now {
            member.tell = now + again;
            let (worker, by) = (member.worker, now.saturating_sub(member.due));
            self.actions.push(Action::Note(Note::Postponed {
                lane,
                worker,
                by,
                because,
            }));
        }
    }

    pub(super) fn look_again(&mut self) -> Moment {
        self.now + LOOK_AGAIN + self.random.within(LOOK_AGAIN * 2)
    }

    fn begin(&mut self, lane: usize, cause: Cause) {
        self.last_change = Some(self.now);
        self.lanes[lane].change = Some(cause);
        self.supply(lane);
    }

    pub(super) fn hindrance_to_age(&self) -> Option<Hindrance> {
        let settling = self.lanes.iter().filter(|lane| {
            let has_settled = !lane.is_settling(self.rules.settle, self.now);
            lane.is_changing() || !has_settled
        });
        let gap = self.rules.gap();
        if self.is_reloading {
            Some(Hindrance::Reload)
        } else if self.is_held {
            Some(Hindrance::Overload)
        } else if let Some(lane) = self.backing_off() {
            Some(Hindrance::BackingOff { lane })
        } else if settling.count() >= self.rules.most_in_change() {
            Some(Hindrance::InChange)
        } else if self.last_change.is_some_and(|at| self.now < at + gap) {
            Some(Hindrance::Gap)
        } else {
            self.is_draining_too_many().then_some(Hindrance::Draining)
        }
    }

    fn hindrance_to_wish(&self) -> Option<Hindrance> {
        let changing = self.lanes.iter().filter(|lane| lane.is_changing()).count();
        if self.is_reloading {
            Some(Hindrance::Reload)
        } else if let Some(lane) = self.backing_off() {
            Some(Hindrance::BackingOff { lane })
        } else if changing >= self.rules.most_in_change() {
            Some(Hindrance::InChange)
        } else {
            self.is_draining_too_many().then_some(Hindrance::Draining)
        }
    }

    fn backing_off(&self) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.is_backing_off(self.now))
    }

    fn is_draining_too_many(&self) -> bool {
        self.draining() >= self.rules.most_draining * 2
    }
}
