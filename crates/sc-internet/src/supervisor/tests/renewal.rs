//! Planned ends: how long a life is, and what postpones its end.

use std::time::Duration;

use super::super::{Action, Cause, Event, Hindrance, LEAST_LIFE, Note, Rules, State, Supervisor};
use super::stage::{Stage, bare, notes, renewed, seconds, spawned};

const MINUTE: u64 = 60;
/// No lane was renewed.
const NOBODY: [usize; 0] = [];

/// A service whose lives all last exactly as long as they must, so that all lanes are due at once.
fn in_step(lanes: usize) -> Rules {
    Rules {
        spread: Duration::ZERO,
        ..Rules::new(lanes)
    }
}

#[test]
fn no_setting_makes_a_life_shorter_than_fifteen_minutes() {
    let rules = Rules {
        life: seconds(1),
        spread: Duration::ZERO,
        ..Rules::new(1)
    };
    let mut stage = Stage::running(rules);
    assert_eq!(stage.lane(0).next_death, Some(LEAST_LIFE));
    assert_eq!(renewed(&stage.play_on(seconds(14 * MINUTE - 1))), NOBODY);
    assert_eq!(renewed(&stage.play_on(seconds(1))), [0]);
}

#[test]
fn a_life_can_be_made_longer() {
    let rules = Rules {
        life: seconds(120 * MINUTE),
        ..Rules::new(2)
    };
    let stage = Stage::running(rules);
    for lane in 0..2 {
        assert!(stage.lane(lane).next_death >= Some(seconds(120 * MINUTE)));
    }
}

#[test]
fn the_first_lives_are_dealt_so_that_lanes_do_not_begin_in_step() {
    for seed in 0..200 {
        let lanes = 8;
        let mut stage = Stage {
            policy: Supervisor::new(Rules::new(lanes), seed),
            now: seconds(0),
        };
        stage.play(Event::Tick);
        let mut ends: Vec<Duration> = stage.policy.lanes().iter().filter_map(|lane| lane.next_death).collect();
        ends.sort();
        let part = seconds(15 * MINUTE) / 8;
        for (at, end) in (0_u32..).zip(&ends) {
            let from = LEAST_LIFE + part * at;
            assert!((from..=from + part).contains(end), "seed {seed}: {ends:?}");
        }
    }
}

#[test]
fn later_lives_lie_anywhere_between_fifteen_and_thirty_minutes() {
    let mut stage = Stage::running(bare(1));
    let mut lives = Vec::new();
    for note in (0..200).flat_map(|_| {
        let actions = stage.play_on(seconds(20 * MINUTE));
        stage.finish_draining();
        notes(&actions)
    }) {
        if let Note::Renewed { lived, cause, .. } = note {
            assert_eq!(cause, Cause::Age);
            assert!((LEAST_LIFE..=LEAST_LIFE * 2).contains(&lived), "{lived:?}");
            lives.push(lived);
        }
    }
    let mean = lives.iter().sum::<Duration>() / u32::try_from(lives.len()).expect("few");
    assert!(
        (seconds(21 * MINUTE)..seconds(24 * MINUTE)).contains(&mean),
        "{mean:?} of {}",
        lives.len()
    );
}

#[test]
fn at_most_a_quarter_of_the_lanes_is_in_change() {
    let rules = Rules {
        standby: false,
        ready_within: seconds(10 * MINUTE),
        ..in_step(8)
    };
    let mut stage = Stage::running(rules);
    let starts = stage.pass(seconds(19 * MINUTE));
    assert_eq!(spawned(&starts).len(), 2, "nobody answers, so no further change begins");
    assert_eq!(stage.policy.hindrance(), Some(Hindrance::InChange));
}

#[test]
fn a_lane_counts_as_in_change_until_its_new_worker_has_settled() {
    let mut stage = Stage::running(in_step(1));
    assert_eq!(renewed(&stage.play_on(seconds(14 * MINUTE))), [0]);
    stage.play_on(seconds(9));
    assert_eq!(stage.policy.hindrance(), Some(Hindrance::InChange));
    stage.play_on(seconds(1));
    assert_eq!(stage.policy.hindrance(), Some(Hindrance::Gap));
    stage.play_on(seconds(10));
    assert_eq!(stage.policy.hindrance(), None);
}

#[test]
fn between_two_changes_there_is_a_gap() {
    let mut stage = Stage::running(in_step(4));
    stage.play_on(seconds(13 * MINUTE + 50));
    let mut times = Vec::new();
    for _ in 0..200 {
        let changed = renewed(&stage.play_on(seconds(1)));
        times.extend(changed.iter().map(|_| stage.now));
    }
    assert_eq!(times.len(), 4);
    for pair in times.windows(2) {
        assert!(pair[1] - pair[0] >= seconds(19), "{times:?}");
    }
}

#[test]
fn many_lanes_have_a_smaller_gap_so_that_each_gets_its_turn() {
    assert_eq!(Rules::new(1).gap(), seconds(20));
    assert_eq!(Rules::new(33).gap(), seconds(20));
    let rules = Rules::new(64);
    assert!(rules.gap() * 64 <= (rules.life + rules.spread / 2) / 2);
}

#[test]
fn no_planned_change_begins_while_a_reload_runs() {
    waits_for(
        Event::ReloadBegan,
        Hindrance::Reload,
        Event::ReloadEnded { changed: true },
    );
}

#[test]
fn no_planned_change_begins_while_the_machine_is_overloaded() {
    waits_for(Event::Hold, Hindrance::Overload, Event::Release);
}

/// Deaths wait from one event to the other, and come soon after it.
fn waits_for(begin: Event, hindrance: Hindrance, end: Event) {
    let mut stage = Stage::running(Rules::new(2));
    stage.play(begin);
    assert_eq!(stage.policy.hindrance(), Some(hindrance));
    assert_eq!(renewed(&stage.play_on(seconds(120 * MINUTE))), NOBODY);
    stage.play(end);
    let mut changed = renewed(&stage.play_on(seconds(60)));
    changed.sort_unstable();
    assert_eq!(changed, [0, 1]);
}

#[test]
fn no_planned_change_begins_while_a_lane_backs_off() {
    let mut stage = Stage::running(Rules {
        backoff_base: seconds(60 * MINUTE),
        backoff_cap: seconds(100 * MINUTE),
        ..Rules::new(4)
    });
    let mut actions = Vec::new();
    while stage.lane(0).backing_off_until.is_none() {
        let worker = stage.worker(0, State::Warm);
        actions = stage.crash(worker);
        actions = stage.obey(actions);
    }
    assert!(
        matches!(actions.last(), Some(Action::Note(Note::BackingOff { .. }))),
        "{actions:?}"
    );
    assert_eq!(stage.policy.hindrance(), Some(Hindrance::BackingOff { lane: 0 }));
    let wait = stage.lane(0).backing_off_until.expect("backs off") - stage.now;
    assert_eq!(renewed(&stage.play_on(wait - Duration::from_millis(1))), NOBODY);
    assert_ne!(renewed(&stage.play_on(seconds(60 * MINUTE))), NOBODY);
}

#[test]
fn no_change_begins_while_twice_the_cap_of_workers_drains() {
    let rules = Rules {
        most_draining: 2,
        drain_time: seconds(100 * MINUTE),
        ..Rules::new(8)
    };
    let mut stage = Stage::running(rules);
    let changed = renewed(&stage.play_on(seconds(60 * MINUTE)));
    assert_eq!(changed.len(), 4);
    assert_eq!(stage.policy.hindrance(), Some(Hindrance::Draining));
    stage.finish_draining();
    let changed = renewed(&stage.play_on(seconds(5 * MINUTE)));
    assert_eq!(changed.len(), 4);
}

#[test]
fn above_the_cap_the_oldest_draining_worker_is_hurried() {
    let rules = Rules {
        most_draining: 1,
        ..bare(4)
    };
    let mut stage = Stage::running(rules);
    let oldest = stage.active(0);
    let first = stage.play(Event::Recycle {
        ticket: 1,
        lanes: vec![0],
    });
    assert!(
        !first.iter().any(|action| matches!(action, Action::Hurry { .. })),
        "{first:?}"
    );
    stage.now += seconds(1);
    let second = stage.play(Event::Recycle {
        ticket: 2,
        lanes: vec![1],
    });
    let hurried: Vec<&Action> = second
        .iter()
        .filter(|action| matches!(action, Action::Hurry { .. }))
        .collect();
    assert_eq!(hurried, [&Action::Hurry { worker: oldest }]);
    let told = Note::TooManyDraining {
        worker: oldest,
        draining: 2,
    };
    assert!(notes(&second).contains(&told));
    assert_eq!(stage.on(Event::Tick), [], "once");
}

#[test]
fn a_death_that_is_postponed_for_very_long_is_told() {
    let mut stage = Stage::running(bare(1));
    stage.play(Event::Hold);
    let due = stage.lane(0).next_death.expect("a death") - stage.now;
    let told = |actions: &[Action]| {
        let notes = notes(actions).into_iter();
        notes
            .filter(|note| {
                matches!(
                    note,
                    Note::Postponed {
                        because: Hindrance::Overload,
                        ..
                    }
                )
            })
            .count()
    };
    assert_eq!(told(&stage.play_on(due + seconds(240 * MINUTE) - seconds(1))), 0);
    assert_eq!(told(&stage.play_on(seconds(20))), 1);
    assert_eq!(told(&stage.play_on(seconds(239 * MINUTE))), 0);
    assert_eq!(told(&stage.play_on(seconds(2 * MINUTE))), 1);
}

#[test]
fn the_longest_overdue_dies_first() {
    let mut stage = Stage::running(Rules::new(4));
    let mut order: Vec<(Duration, usize)> = stage
        .policy
        .lanes()
        .iter()
        .filter_map(|lane| Some((lane.next_death?, lane.lane)))
        .collect();
    order.sort();
    stage.now = seconds(60 * MINUTE);
    let first = renewed(&stage.play(Event::Tick));
    assert_eq!(first, [order[0].1]);
}
