//! Bounds, order, and the count of what was dropped.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

#[derive(Default)]
struct Seen {
    made: Cell<u64>,
    dropped: Cell<u64>,
}

impl Tally for Seen {
    fn made(&self, sequence: u64) {
        assert_eq!(sequence, self.made.get() + 1);
        self.made.set(sequence);
    }

    fn dropped(&self, lines: u64) {
        self.dropped.set(self.dropped.get() + lines);
    }
}

fn ring() -> (Ring, Rc<Seen>) {
    let seen = Rc::new(Seen::default());
    (Ring::new("w", seen.clone()), seen)
}

fn take(ring: &Ring, lines: usize) -> Vec<Line> {
    ring.take(lines, 1 << 20, Line::cost)
}

fn numbers(lines: &[Line]) -> Vec<u64> {
    lines.iter().map(|line| line.sequence).collect()
}

#[test]
fn lines_come_out_in_order_and_in_batches() {
    let (ring, seen) = ring();
    for number in 1..=5 {
        ring.push("M1", format!("{number}"));
    }
    assert_eq!(numbers(&take(&ring, 2)), [1, 2]);
    let rest = take(&ring, 100);
    assert_eq!(numbers(&rest), [3, 4, 5]);
    assert_eq!((&*rest[0].worker, &*rest[0].code, &*rest[0].json), ("w", "M1", "3"));
    assert!(ring.is_empty());
    assert_eq!((seen.made.get(), seen.dropped.get(), ring.last_sequence()), (5, 0, 5));
}

#[test]
fn a_batch_ends_before_it_is_too_long() {
    let (ring, _) = ring();
    for _ in 0..3 {
        ring.push("M1", "x".repeat(1000));
    }
    assert_eq!(ring.take(100, 2500, Line::cost).len(), 2);
    assert_eq!(ring.take(100, 2500, Line::cost).len(), 1);
}

#[test]
fn a_full_ring_drops_the_oldest_and_counts_them() {
    let (ring, seen) = ring();
    let made = RING_LINES as u64 + 100;
    for _ in 0..made {
        ring.push("M1", "{}");
    }
    assert_eq!((ring.len(), ring.dropped(), seen.dropped.get()), (RING_LINES, 100, 100));
    assert_eq!(numbers(&take(&ring, 1)), [101]);
}

#[test]
fn bytes_are_bounded_as_lines_are() {
    let (ring, seen) = ring();
    for _ in 0..1000 {
        ring.push("M1", "x".repeat(16 << 10));
    }
    assert_eq!(ring.fullness(), 99);
    let held = ring.inner.held.borrow();
    assert!(
        held.bytes <= RING_BYTES && held.bytes > RING_BYTES - (17 << 10),
        "{}",
        held.bytes
    );
    assert_eq!(held.lines.len() as u64 + seen.dropped.get(), 1000);
}

#[test]
fn a_line_that_no_message_could_hold_is_dropped_alone() {
    let (ring, seen) = ring();
    ring.push("M1", "{}");
    ring.push("M1", "x".repeat(LINE_BYTES));
    ring.push("M1", "{}");
    assert_eq!(numbers(&take(&ring, 9)), [1, 3]);
    assert_eq!(seen.dropped.get(), 1);
}

#[test]
fn a_line_that_a_batch_cannot_hold_is_dropped_when_its_turn_comes() {
    let (ring, seen) = ring();
    ring.push("M1", "x".repeat(5000));
    ring.push("M1", "{}");
    ring.push("M1", "x".repeat(5000));
    ring.push("M1", "{}");
    assert_eq!(numbers(&ring.take(9, 2500, Line::cost)), [2, 4]);
    assert_eq!((seen.dropped.get(), ring.dropped(), ring.len()), (2, 2, 0));
    assert_eq!(ring.inner.held.borrow().bytes, 0);
}

#[test]
fn lines_that_nobody_took_go_back_to_their_place() {
    let (ring, seen) = ring();
    for _ in 0..4 {
        ring.push("M1", "{}");
    }
    let taken = take(&ring, 2);
    ring.push("M1", "{}");
    ring.put_back(taken);
    assert_eq!(numbers(&take(&ring, 9)), [1, 2, 3, 4, 5]);
    assert_eq!(seen.dropped.get(), 0);
}

#[test]
fn what_is_put_back_into_a_full_ring_goes_first() {
    let (ring, seen) = ring();
    for _ in 0..10 {
        ring.push("M1", "{}");
    }
    let taken = take(&ring, 10);
    for _ in 0..RING_LINES - 4 {
        ring.push("M1", "{}");
    }
    ring.put_back(taken);
    assert_eq!((ring.len(), seen.dropped.get()), (RING_LINES, 6));
    assert_eq!(numbers(&take(&ring, 2)), [7, 8]);
}

#[test]
fn giving_up_counts_all_that_was_left() {
    let (ring, seen) = ring();
    for _ in 0..3 {
        ring.push("M1", "{}");
    }
    assert_eq!((ring.give_up(), seen.dropped.get(), ring.len()), (3, 3, 0));
    assert_eq!(ring.inner.held.borrow().bytes, 0);
}

/// `push` is no `async fn`, so it cannot wait; this shows that it does not work through the ring either. Two million
/// pushes into a full ring with a bound that ten microseconds each would break.
#[test]
fn a_push_into_a_full_ring_costs_no_more_than_into_an_empty_one() {
    let (ring, _) = ring();
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let started = Instant::now();
        for _ in 0..10_000 {
            ring.push("M30201", "{\"event\":\"exchange\"}");
        }
        slowest = slowest.max(started.elapsed());
    }
    // In an unoptimised build on a busy machine; one push that waited 200 ms for Redis would not be seen among 10,000, but
    // all of them would.
    assert!(slowest < Duration::from_secs(2), "10,000 pushes took {slowest:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is done, what was made is either still there, was taken, or was counted as dropped.
    #[test]
    fn nothing_disappears(steps in prop::collection::vec((0_u8..4, 1_usize..3000), 1..40)) {
        let (ring, seen) = ring();
        let mut taken = BTreeSet::new();
        let mut held = Vec::new();
        for (step, size) in steps {
            match step {
                0 => (0..size).for_each(|_| ring.push("M1", "x".repeat(size % 700))),
                1 => held.extend(ring.take(size, size * 50, Line::cost)),
                2 => {
                    held.sort_by_key(|line: &Line| line.sequence);
                    ring.put_back(std::mem::take(&mut held));
                }
                _ => taken.extend(held.drain(..).map(|line| line.sequence)),
            }
            let inside = ring.inner.held.borrow();
            prop_assert!(inside.lines.len() <= RING_LINES && inside.bytes <= RING_BYTES);
            prop_assert_eq!(inside.bytes, inside.lines.iter().map(Line::cost).sum::<usize>());
            let left = inside.lines.len() + held.len() + taken.len();
            prop_assert_eq!(left as u64 + inside.dropped, inside.last);
            prop_assert_eq!(seen.dropped.get(), inside.dropped);
        }
        prop_assert_eq!(seen.made.get(), ring.last_sequence());
    }
}

#[test]
fn whoever_waits_for_lines_is_woken() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (ring, _) = ring();
        let pushing = async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
                ring.push("M1", "{}");
            }
        };
        let both = async { tokio::join!(ring.filled(), ring.filled_to(3), pushing) };
        let waited = tokio::time::timeout(Duration::from_secs(10), async {
            tokio::select! {
                _ = both => {}
                () = async { ring.filled_to(3).await } => {}
            }
        });
        waited.await.unwrap();
    });
}
