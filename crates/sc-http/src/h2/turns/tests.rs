//! The order of responses, played with streams that are only numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use proptest::prelude::*;

use super::*;

/// What a stream hands over at a time.
const PIECE_BYTES: usize = 16 << 10;

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A stream that wants to send so many bytes.
struct Sender {
    id: u32,
    place: Place,
    left: usize,
    flag: Arc<Flag>,
}

/// A connection whose engine sends what it was given in that order, some bytes at a time.
#[derive(Default)]
struct Line {
    turns: Turns,
    senders: Vec<Sender>,
    /// What was handed over and has not left.
    engine: VecDeque<(u32, usize)>,
    /// Which stream sent how much, in order.
    sent: Vec<(u32, usize)>,
}

fn place(field: &str) -> Place {
    Place::of(Some(Priority::parse(field.as_bytes()).expect("a field")))
}

impl Line {
    fn open(&mut self, id: u32, place: Place, bytes: usize) {
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        self.senders.push(Sender {
            id,
            place,
            left: bytes,
            flag,
        });
    }

    fn close(&mut self, id: u32) {
        self.senders.retain(|sender| sender.id != id);
        self.turns.forget(id);
        self.engine.retain(|(other, _)| *other != id);
        self.turns.thrown_away(id);
    }

    /// Polls those that were woken, until nobody is.
    fn poll(&mut self) {
        while let Some(sender) = self
            .senders
            .iter_mut()
            .find(|sender| sender.left > 0 && sender.flag.0.swap(false, Ordering::Relaxed))
        {
            let waker = Waker::from(sender.flag.clone());
            while sender.left > 0
                && let Poll::Ready(allowed) =
                    self.turns
                        .poll_turn(sender.id, sender.place, false, &mut Context::from_waker(&waker))
            {
                assert!(allowed > 0, "a turn is for something");
                let bytes = sender.left.min(PIECE_BYTES).min(allowed);
                sender.left -= bytes;
                self.engine.push_back((sender.id, bytes));
                self.turns.hand_over(sender.id, bytes);
            }
        }
    }

    /// Sends some of what is in the engine.
    fn send(&mut self, bytes: usize) {
        let mut room = bytes;
        while room > 0
            && let Some((id, inside)) = self.engine.front_mut()
        {
            let (id, part) = (*id, room.min(*inside));
            *inside -= part;
            room -= part;
            if *inside == 0 {
                self.engine.pop_front();
            }
            self.turns.left(id, part);
            match self.sent.last_mut() {
                Some((last, sent)) if *last == id => *sent += part,
                _ => self.sent.push((id, part)),
            }
        }
    }

    fn run(&mut self) {
        self.turns.widen(1 << 30);
        self.poll();
        while !self.engine.is_empty() {
            self.send(PIECE_BYTES);
            self.poll();
        }
    }

    fn has_all_sent(&self) -> bool {
        self.senders.iter().all(|sender| sender.left == 0)
    }
}

/// The order in which streams end, when all of them want to send this many bytes.
fn ends(fields: &[&str]) -> Vec<u32> {
    let mut line = Line::default();
    // Holds the room until all are there.
    line.open(1, place("u=7, i"), ROOM_BYTES);
    line.turns.widen(1 << 20);
    line.poll();
    for (id, field) in (3..).step_by(2).zip(fields) {
        line.open(id, place(field), 20 * PIECE_BYTES);
    }
    line.run();
    assert!(line.has_all_sent());
    let mut ends: Vec<u32> = line.sent.iter().rev().map(|(id, _)| *id).collect();
    let mut seen = Vec::new();
    ends.retain(|id| {
        !seen.contains(id) && {
            seen.push(*id);
            *id > 1
        }
    });
    ends.reverse();
    ends
}

#[test]
fn urgent_ones_come_first() {
    assert_eq!(ends(&["u=5", "u=3", "u=0", "u=7"]), [7, 5, 3, 9]);
    assert_eq!(ends(&["u=2, i", "u=1, i"]), [5, 3]);
}

#[test]
fn one_follows_the_other_unless_they_are_incremental() {
    let mut line = Line::default();
    for id in [1, 3] {
        line.open(id, place("u=3"), 20 * PIECE_BYTES);
    }
    line.run();
    assert_eq!(line.sent.len(), 2, "{:?}", line.sent);

    let mut line = Line::default();
    for id in [1, 3, 5] {
        line.open(id, Place::of(None), 20 * PIECE_BYTES);
    }
    line.run();
    let half = line.sent.iter().take(30);
    let of = |id| -> usize {
        half.clone()
            .filter(|(other, _)| *other == id)
            .map(|(_, bytes)| bytes)
            .sum()
    };
    for (one, other) in [(1, 3), (3, 5)] {
        assert!(of(one).abs_diff(of(other)) <= ROOM_BYTES, "they share: {:?}", line.sent);
    }
}

#[test]
fn a_sequence_shares_with_those_that_share() {
    let mut line = Line::default();
    line.open(1, place("u=3, i"), 20 * PIECE_BYTES);
    line.open(3, place("u=3"), 10 * PIECE_BYTES);
    line.open(5, place("u=3"), 10 * PIECE_BYTES);
    line.run();
    let of = |wanted: &[u32], upto: usize| -> usize {
        let mut passed = 0;
        let parts = line.sent.iter().take_while(|(_, bytes)| {
            passed += bytes;
            passed <= upto
        });
        parts
            .filter(|(id, _)| wanted.contains(id))
            .map(|(_, bytes)| bytes)
            .sum()
    };
    let half = 20 * PIECE_BYTES;
    assert!(of(&[1], half).abs_diff(half / 2) <= ROOM_BYTES, "{:?}", line.sent);
    assert!(of(&[5], half) <= PIECE_BYTES, "{:?}", line.sent);
}

#[test]
fn a_frame_changes_the_order_also_of_streams_to_come() {
    let mut line = Line::default();
    line.open(1, place("u=3"), 20 * PIECE_BYTES);
    line.open(3, place("u=3"), 20 * PIECE_BYTES);
    line.turns.update(5, Priority::parse(b"u=0").expect("a field"));
    line.turns.widen(1 << 20);
    line.poll();
    line.turns.update(3, Priority::parse(b"u=1").expect("a field"));
    line.open(5, place("u=7"), 20 * PIECE_BYTES);
    line.run();
    let mut order: Vec<u32> = line.sent.iter().map(|(id, _)| *id).collect();
    order.dedup();
    assert_eq!(order, [1, 5, 3, 1]);
    line.close(5);
    assert!(
        line.turns.updates.iter().all(|(id, _)| *id != 5),
        "nothing is remembered of it"
    );
}

#[test]
fn updates_that_are_remembered_are_bounded() {
    let mut turns = Turns::default();
    for id in 0..10_000 {
        turns.update(2 * id + 1, Priority::default());
    }
    assert_eq!(turns.updates.len(), REMEMBERED);
}

#[test]
fn a_stream_waits_in_one_place_only() {
    let mut line = Line::default();
    line.turns.widen(1 << 20);
    line.open(1, place("u=3"), 4 * ROOM_BYTES);
    line.poll();
    // Its update is forgotten over many others, and it waits where it would have without.
    line.turns.update(1, Priority::parse(b"u=0").expect("a field"));
    for id in 0..REMEMBERED as u32 {
        line.turns.update(2 * id + 1001, Priority::default());
    }
    line.poll();
    let waiting = |line: &Line| line.turns.levels.iter().filter(|level| level.next().is_some()).count();
    assert_eq!((line.turns.waiting, waiting(&line)), (1, 1));
    line.close(1);
    assert_eq!(
        (line.turns.waiting, waiting(&line)),
        (0, 0),
        "nobody is behind one that is gone"
    );
}

proptest! {
    /// Whatever comes, in whatever order: nobody waits while there is room, and nothing is lost.
    #[test]
    fn nobody_is_forgotten(steps in proptest::collection::vec((0u8..7, 0u32..8, 1usize..100_000), 1..200)) {
        let mut line = Line::default();
        let mut next = 1;
        for (step, which, bytes) in steps {
            let id = line.senders.get(which as usize % line.senders.len().max(1)).map_or(1, |sender| sender.id);
            match step {
                0 | 1 => {
                    let field = if which % 2 == 0 { format!("u={which}") } else { format!("u={which}, i") };
                    line.open(next, place(&field), bytes);
                    next += 2;
                }
                2 => line.close(id),
                3 => line.send(bytes),
                4 => line.turns.widen(bytes as u32),
                5 => line.turns.update(id, Priority::parse(format!("u={which}").as_bytes()).expect("a field")),
                _ => line.turns.left(999, bytes % 100),
            }
            line.poll();
            let inside: usize = line.engine.iter().map(|(_, bytes)| bytes).sum();
            prop_assert_eq!(line.turns.inside_bytes, inside);
            prop_assert!(inside <= ROOM_BYTES);
            let waits = line.senders.iter().any(|sender| sender.left > 0);
            prop_assert!(!waits || line.turns.allowed() == 0, "somebody waits though there is room");
        }
        line.run();
        prop_assert!(line.has_all_sent());
    }
}
