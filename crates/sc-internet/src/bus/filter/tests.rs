//! Every line once or lost, whichever way and in whatever order it comes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn line(worker: &str, sequence: u64) -> Line {
    Line {
        sequence,
        worker: worker.into(),
        code: "M1".into(),
        json: "{}".into(),
    }
}

fn take(filter: &mut Filter, line: Line, may_be_new: bool, now: Instant) -> Vec<Sorted> {
    let mut out = Vec::new();
    filter.take(line, may_be_new, now, &mut out);
    out
}

struct Ear {
    filter: Filter,
    now: Instant,
    heard: Vec<u64>,
    lost: u64,
}

impl Ear {
    fn new() -> Self {
        let mut filter = Filter::default();
        filter.expect("w");
        Ear {
            filter,
            now: Instant::now(),
            heard: Vec::new(),
            lost: 0,
        }
    }

    fn hear(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            let sorted = take(&mut self.filter, line("w", number), false, self.now);
            self.note(sorted);
        }
    }

    fn settle_after(&mut self, time: Duration, is_read_up: bool) {
        self.now += time;
        let sorted = self.filter.settle(self.now, is_read_up.then_some(self.now));
        self.note(sorted);
    }

    fn end(&mut self, last: Option<u64>) {
        let sorted = self.filter.end("w", last, self.now);
        self.note(sorted);
    }

    fn note(&mut self, sorted: Vec<Sorted>) {
        for one in sorted {
            match one {
                Sorted::Line(line) => self.heard.push(line.sequence),
                Sorted::Lost { lines, .. } => self.lost += lines,
            }
        }
    }
}

#[test]
fn a_line_that_comes_both_ways_is_heard_once() {
    let mut ear = Ear::new();
    ear.hear([1, 2, 3, 2, 3, 4, 1]);
    assert_eq!((ear.heard, ear.lost), (vec![1, 2, 3, 4], 0));
}

#[test]
fn what_the_channel_brings_first_the_stream_may_still_bring() {
    let mut ear = Ear::new();
    ear.hear([1, 4, 5]);
    assert!(ear.filter.is_waiting());
    ear.hear([2, 3]);
    assert!(!ear.filter.is_waiting());
    ear.settle_after(LONGEST_TIME, true);
    assert_eq!((ear.heard, ear.lost), (vec![1, 4, 5, 2, 3], 0));
}

#[test]
fn a_gap_is_a_loss_once_the_stream_was_read_up_long_enough_after_it() {
    let mut ear = Ear::new();
    ear.hear([1, 5]);
    ear.settle_after(SETTLE_TIME / 2, true);
    assert_eq!(ear.lost, 0);
    ear.settle_after(SETTLE_TIME / 2, true);
    assert_eq!(ear.lost, 3);
    ear.hear([2, 3, 4]);
    assert_eq!(
        (ear.heard, ear.lost),
        (vec![1, 5], 3),
        "what was given up is not heard after all"
    );
}

#[test]
fn while_the_stream_cannot_be_read_gaps_stay_open_for_longer() {
    let mut ear = Ear::new();
    ear.hear([2]);
    ear.settle_after(LONGEST_TIME / 2, false);
    assert_eq!(ear.lost, 0);
    ear.settle_after(LONGEST_TIME / 2, false);
    assert_eq!(ear.lost, 1);
}

#[test]
fn what_was_never_sent_is_known_at_the_end() {
    let mut ear = Ear::new();
    ear.hear([1, 2]);
    ear.end(Some(10));
    ear.hear([9]);
    ear.settle_after(SETTLE_TIME, true);
    assert_eq!((ear.heard.clone(), ear.lost), (vec![1, 2, 9], 7));
    ear.hear([2, 9, 10, 11]);
    assert_eq!(ear.heard.len(), 4, "11 cannot be, but costs nothing");
}

#[test]
fn gaps_are_bounded_and_the_oldest_is_given_up() {
    let mut ear = Ear::new();
    ear.hear((1..=GAPS as u64 + 3).map(|number| number * 2));
    assert_eq!(ear.lost, 3);
    ear.settle_after(LONGEST_TIME, true);
    assert_eq!(ear.lost, GAPS as u64 + 3);
}

#[test]
fn workers_of_ours_that_were_forgotten_are_not_taken_for_new_ones() {
    let mut ear = Ear::new();
    ear.hear([1]);
    ear.end(Some(1));
    for other in 0..ENDED {
        let name = format!("other {other}");
        ear.filter.expect(&name);
        let sorted = ear.filter.end(&name, None, ear.now);
        ear.note(sorted);
    }
    assert_eq!(ear.filter.workers.len(), ENDED);
    ear.hear([1, 2]);
    assert_eq!((ear.heard, ear.lost), (vec![1], 0));
}

#[test]
fn a_stranger_is_heard_from_where_it_is() {
    let mut filter = Filter::default();
    let now = Instant::now();
    assert_eq!(
        take(&mut filter, line("s", 100), true, now),
        [Sorted::Line(line("s", 100))]
    );
    assert_eq!(
        take(&mut filter, line("s", 101), true, now),
        [Sorted::Line(line("s", 101))]
    );
    assert_eq!(take(&mut filter, line("s", 100), true, now), []);
    for other in 0..STRANGERS * 3 {
        take(&mut filter, line(&format!("other {other}"), 1), true, now);
    }
    assert_eq!(filter.workers.len(), STRANGERS);
    assert_eq!(filter.strangers.len(), STRANGERS);
}

/// Which way a line goes.
#[derive(Clone, Copy, Debug)]
enum Way {
    Stream,
    Channel,
    Both,
    Nowhere,
}

fn ways() -> impl Strategy<Value = Vec<Way>> {
    let way = prop_oneof![
        4 => Just(Way::Stream),
        4 => Just(Way::Channel),
        1 => Just(Way::Both),
        1 => Just(Way::Nowhere),
    ];
    prop::collection::vec(way, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Lines go one way, the other, both or none; the two ways keep their own order and are mixed in any way; time passes
    /// at any time. Each line is heard once, or counted as lost, and never both.
    #[test]
    fn every_line_is_heard_once_or_lost(
        ways in ways(),
        mixed in prop::collection::vec((any::<bool>(), 0_u64..4), 400),
        read_up in any::<bool>(),
        is_known in any::<bool>(),
    ) {
        let numbered = || (1_u64..).zip(&ways);
        let mut stream: VecDeque<u64> = numbered()
            .filter(|(_, way)| matches!(way, Way::Stream | Way::Both)).map(|(number, _)| number).collect();
        let mut channel: VecDeque<u64> = numbered()
            .filter(|(_, way)| matches!(way, Way::Channel | Way::Both)).map(|(number, _)| number).collect();
        let mut ear = Ear::new();
        for (is_stream, seconds) in mixed {
            let next = match is_stream {
                true => stream.pop_front().or_else(|| channel.pop_front()),
                false => channel.pop_front().or_else(|| stream.pop_front()),
            };
            ear.hear(next);
            if seconds == 3 {
                ear.settle_after(Duration::from_secs(2), read_up);
            }
        }
        prop_assert!(stream.is_empty() && channel.is_empty());
        let last = match is_known {
            true => ways.len() as u64,
            false => ear.heard.iter().copied().max().unwrap_or(0),
        };
        ear.end(is_known.then_some(last));
        ear.settle_after(LONGEST_TIME, true);

        let mut times = BTreeMap::new();
        for number in &ear.heard {
            *times.entry(*number).or_insert(0) += 1;
        }
        prop_assert!(times.values().all(|times| *times == 1), "heard twice: {times:?}");
        prop_assert_eq!(ear.heard.len() as u64 + ear.lost, last);
        prop_assert!(!ear.filter.is_waiting());
    }

    /// With time enough, only what was sent nowhere is lost.
    #[test]
    fn in_time_everything_that_was_sent_is_heard(ways in ways(), mixed in prop::collection::vec(any::<bool>(), 400)) {
        let numbered = || (1_u64..).zip(&ways);
        let gaps = ways.len() > GAPS;
        prop_assume!(!gaps);
        let mut stream: VecDeque<u64> = numbered()
            .filter(|(_, way)| matches!(way, Way::Stream | Way::Both)).map(|(number, _)| number).collect();
        let mut channel: VecDeque<u64> = numbered()
            .filter(|(_, way)| matches!(way, Way::Channel | Way::Both)).map(|(number, _)| number).collect();
        let mut ear = Ear::new();
        for is_stream in mixed {
            ear.hear(match is_stream {
                true => stream.pop_front().or_else(|| channel.pop_front()),
                false => channel.pop_front().or_else(|| stream.pop_front()),
            });
        }
        ear.end(Some(ways.len() as u64));
        ear.settle_after(LONGEST_TIME, true);
        let nowhere = ways.iter().filter(|way| matches!(way, Way::Nowhere)).count();
        prop_assert_eq!(ear.lost, nowhere as u64);
    }
}
