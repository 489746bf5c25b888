//! Whose turn it is to hand DATA to the engine: the order of responses on one connection (RFC 9218 §10).
//!
//! `h2` sends what it was given in the order in which it was given. So streams give it little at a time, [`ROOM_BYTES`] in
//! all and never more than the connection's window, and wait here for their turn when there is no room. Lower urgency goes
//! first. Within one, streams that are not incremental go one after the other in the order of their ids; those that are,
//! and those of clients that say nothing of priorities, share; and where there are both, the sequence counts as one more
//! stream that shares. A stream whose own window is empty hinders nobody: it is not in the queue.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::priority::{LAST_URGENCY, Priority};

/// DATA that waits inside the engine, of all streams: enough for one write, and little enough that an urgent response is
/// not behind much that is less so.
pub(crate) const ROOM_BYTES: usize = 64 << 10;

/// What may wait outside the engine, of all streams, for clients that give streams no window: a few pieces of files.
const HELD_BYTES: usize = 256 << 10;

/// The connection's window at first (RFC 9113 §6.9.2).
const FIRST_WINDOW: i64 = 65_535;

/// What a stream has that nobody said anything of (RFC 9218 §4.1).
const USUAL_URGENCY: u8 = 3;

/// Streams whose priority was changed, that are remembered: as many as may be open, and some that have not begun.
const REMEMBERED: usize = 256;

/// A stream's place in the order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    urgency: u8,
    /// Whether it shares; it follows others of its urgency otherwise.
    shares: bool,
}

impl Place {
    /// What a party said, if it did.
    pub(crate) fn of(said: Option<Priority>) -> Self {
        Place {
            urgency: said.and_then(|said| said.urgency).unwrap_or(USUAL_URGENCY),
            shares: said.is_none_or(|said| said.is_incremental.unwrap_or(false)),
        }
    }
}

/// One stream's part in the order, from its response head to its end.
pub(crate) struct Turn {
    turns: Rc<RefCell<Turns>>,
    id: u32,
    place: Place,
    /// Bytes that were taken out of its body and wait.
    held: usize,
    /// Whether all was handed over.
    is_complete: bool,
}

impl Turn {
    pub(crate) fn new(turns: Rc<RefCell<Turns>>, id: u32, place: Place) -> Self {
        Turn {
            turns,
            id,
            place,
            held: 0,
            is_complete: false,
        }
    }

    /// Whether so much waits already in streams of this connection that nothing more is taken out of a body before there is
    /// a window for it.
    pub(crate) fn is_full(&self) -> bool {
        self.turns.borrow().held_bytes >= HELD_BYTES
    }

    /// Notes how many bytes of this stream wait.
    pub(crate) fn hold(&mut self, bytes: usize) {
        let mut turns = self.turns.borrow_mut();
        turns.held_bytes = turns.held_bytes + bytes - self.held;
        self.held = bytes;
    }

    /// How many bytes may be handed over now; otherwise `cx` is woken when the turn has come.
    ///
    /// Shape: whoever was given a turn hands something over or gives the turn back. With `goes_on` it is the rest of a turn
    /// that found too little room.
    pub(crate) fn poll(&self, goes_on: bool, cx: &mut Context<'_>) -> Poll<usize> {
        self.turns.borrow_mut().poll_turn(self.id, self.place, goes_on, cx)
    }

    /// Whether others that are ready as well go first after each piece.
    pub(crate) fn shares(&self) -> bool {
        let turns = self.turns.borrow();
        turns.placed(self.id, self.place).shares
    }

    /// How much of all responses of the connection has left.
    pub(crate) fn left_bytes(&self) -> u64 {
        self.turns.borrow().left_bytes
    }

    /// Notes that nothing more is handed over: all was.
    pub(crate) fn complete(&mut self) {
        self.is_complete = true;
    }

    /// Gives the turn back.
    pub(crate) fn pass(&self) {
        self.turns.borrow_mut().call();
    }

    /// Notes that so many bytes were handed to the engine.
    pub(crate) fn hand_over(&self, bytes: usize) {
        self.turns.borrow_mut().hand_over(self.id, bytes);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.hold(0);
        let mut turns = self.turns.borrow_mut();
        turns.forget(self.id);
        if !self.is_complete {
            // The engine is told next that nobody wants what it has of it.
            turns.thrown_away(self.id);
        }
    }
}

/// The order on one connection.
#[derive(Debug)]
pub(crate) struct Turns {
    levels: [Level; LAST_URGENCY as usize + 1],
    /// Streams that wait.
    waiting: usize,
    /// What was taken out of bodies and waits.
    held_bytes: usize,
    /// DATA in the engine, by stream, the oldest first.
    inside: VecDeque<(u32, usize)>,
    inside_bytes: usize,
    /// All DATA that has left.
    left_bytes: u64,
    /// The client's window for the connection, of which what is inside will take its part.
    window: i64,
    /// What PRIORITY_UPDATE frames said, also of streams to come.
    updates: VecDeque<(u32, Priority)>,
}

/// Those that wait at one level of urgency.
#[derive(Debug, Default)]
struct Level {
    following: BTreeMap<u32, Waker>,
    sharing: VecDeque<(u32, Waker)>,
    /// Whether the sequence had its turn since a stream that shares had one.
    was_sequence: bool,
}

impl Level {
    fn next(&self) -> Option<(u32, &Waker)> {
        let following = self.following.first_key_value().map(|(id, waker)| (*id, waker));
        let sharing = self.sharing.front().map(|(id, waker)| (*id, waker));
        if self.was_sequence {
            sharing.or(following)
        } else {
            following.or(sharing)
        }
    }

    /// Keeps the waker of a stream; whether it is new here.
    fn wait(&mut self, id: u32, shares: bool, goes_on: bool, waker: &Waker) -> bool {
        let slot = if shares {
            self.sharing
                .iter_mut()
                .find(|(other, _)| *other == id)
                .map(|(_, waker)| waker)
        } else {
            self.following.get_mut(&id)
        };
        match slot {
            Some(slot) => {
                slot.clone_from(waker);
                false
            }
            None if shares => {
                let waiting = (id, waker.clone());
                if goes_on {
                    self.sharing.push_front(waiting);
                } else {
                    self.sharing.push_back(waiting);
                }
                true
            }
            None => {
                self.following.insert(id, waker.clone());
                true
            }
        }
    }

    fn leave(&mut self, id: u32) -> Option<Waker> {
        if let Some(waker) = self.following.remove(&id) {
            return Some(waker);
        }
        let at = self.sharing.iter().position(|(other, _)| *other == id)?;
        self.sharing.remove(at).map(|(_, waker)| waker)
    }
}

impl Default for Turns {
    fn default() -> Self {
        Turns {
            levels: Default::default(),
            waiting: 0,
            held_bytes: 0,
            inside: VecDeque::new(),
            inside_bytes: 0,
            left_bytes: 0,
            window: FIRST_WINDOW,
            updates: VecDeque::new(),
        }
    }
}

impl Turns {
    fn poll_turn(&mut self, id: u32, place: Place, goes_on: bool, cx: &mut Context<'_>) -> Poll<usize> {
        let allowed = self.allowed();
        if self.waiting == 0 && allowed > 0 {
            return Poll::Ready(allowed);
        }
        let place = self.placed(id, place);
        let level = self.level(place.urgency);
        if level.wait(id, place.shares, goes_on, cx.waker()) {
            self.waiting += 1;
        }
        if allowed == 0 {
            return Poll::Pending;
        }
        match self.next() {
            Some((next, _)) if next == id => {
                let level = self.level(place.urgency);
                level.was_sequence = !place.shares;
                level.leave(id);
                self.waiting -= 1;
                Poll::Ready(allowed)
            }
            // It was woken, or is about to be.
            Some((_, waker)) => {
                waker.wake_by_ref();
                Poll::Pending
            }
            None => Poll::Pending,
        }
    }

    fn hand_over(&mut self, id: u32, bytes: usize) {
        self.inside_bytes += bytes;
        match self.inside.back_mut() {
            Some((last, inside)) if *last == id => *inside += bytes,
            _ => self.inside.push_back((id, bytes)),
        }
        self.call();
    }

    /// DATA has left the engine, also that of tunnels, which do not wait here.
    pub(crate) fn left(&mut self, id: u32, bytes: usize) {
        self.window -= bytes as i64;
        self.left_bytes += bytes as u64;
        let mut left = bytes;
        while left > 0
            && let Some(at) = self.inside.iter().position(|(other, _)| *other == id)
            && let Some((_, inside)) = self.inside.get_mut(at)
        {
            let out = left.min(*inside);
            *inside -= out;
            left -= out;
            self.inside_bytes -= out;
            if *inside == 0 {
                self.inside.remove(at);
            }
        }
        self.call();
    }

    /// A stream was reset: the engine has thrown away what it had of it.
    pub(crate) fn thrown_away(&mut self, id: u32) {
        let mut bytes = 0;
        self.inside.retain(|(other, inside)| {
            bytes += if *other == id { *inside } else { 0 };
            *other != id
        });
        if bytes > 0 {
            self.inside_bytes -= bytes;
            self.call();
        }
    }

    /// The client has widened the connection's window.
    pub(crate) fn widen(&mut self, bytes: u32) {
        self.window = self.window.saturating_add(i64::from(bytes));
        self.call();
    }

    /// The client has changed the priority of a stream, perhaps before it opens it (RFC 9218 §7.1).
    pub(crate) fn update(&mut self, id: u32, priority: Priority) {
        self.updates.retain(|(other, _)| *other != id);
        if self.updates.len() == REMEMBERED
            && let Some((forgotten, _)) = self.updates.pop_front()
            && let Some(waker) = self.levels.iter_mut().find_map(|level| level.leave(forgotten))
        {
            // Its place is another one now, where it queues anew.
            self.waiting -= 1;
            waker.wake();
        }
        self.updates.push_back((id, priority));
        let place = Place::of(Some(priority));
        if let Some(waker) = self.levels.iter_mut().find_map(|level| level.leave(id)) {
            self.level(place.urgency).wait(id, place.shares, false, &waker);
            self.call();
        }
    }

    /// A stream has ended: nothing of it is remembered.
    fn forget(&mut self, id: u32) {
        self.leave(id);
        if !self.updates.is_empty() {
            self.updates.retain(|(other, _)| *other != id);
        }
    }

    /// Forgets a stream that waits no more.
    fn leave(&mut self, id: u32) {
        if self.waiting > 0 && self.levels.iter_mut().any(|level| level.leave(id).is_some()) {
            self.waiting -= 1;
            self.call();
        }
    }

    /// The place that holds: what a frame said goes before what the request said.
    fn placed(&self, id: u32, place: Place) -> Place {
        let update = self.updates.iter().find(|(other, _)| *other == id);
        update.map_or(place, |(_, priority)| Place::of(Some(*priority)))
    }

    fn level(&mut self, urgency: u8) -> &mut Level {
        let [first @ .., last] = &mut self.levels;
        first.get_mut(usize::from(urgency)).unwrap_or(last)
    }

    /// Window or room, whichever is less, beyond what is inside.
    fn allowed(&self) -> usize {
        let window = usize::try_from(self.window).unwrap_or(0).min(ROOM_BYTES);
        window.saturating_sub(self.inside_bytes)
    }

    fn next(&self) -> Option<(u32, &Waker)> {
        self.levels.iter().find_map(Level::next)
    }

    /// Wakes whose turn it is, if there is room.
    fn call(&mut self) {
        if self.waiting > 0
            && self.allowed() > 0
            && let Some((_, waker)) = self.next()
        {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests;
