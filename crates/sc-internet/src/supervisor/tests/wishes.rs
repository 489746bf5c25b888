//! A person's wish for new workers: what it overrides, what it waits for, and that it is answered once.

use super::super::{Action, Event, Fault, Hindrance, Outcome, Rules, State};
use super::stage::{Stage, bare, renewed, seconds, spawned};

fn recycle(ticket: u64, lanes: &[usize]) -> Event {
    Event::Recycle {
        ticket,
        lanes: lanes.to_vec(),
    }
}

fn answers(actions: &[Action]) -> Vec<(u64, Outcome)> {
    let answers = actions.iter().filter_map(|action| match action {
        Action::Recycled { ticket, outcome } => Some((*ticket, outcome.clone())),
        _ => None,
    });
    answers.collect()
}

#[test]
fn a_wish_does_not_wait_for_age_gap_settling_or_overload() {
    let mut stage = Stage::running(Rules::new(1));
    stage.play(Event::Hold);
    for ticket in 0..20 {
        let actions = stage.play(recycle(ticket, &[0]));
        assert_eq!(answers(&actions), [(ticket, Outcome::Renewed)]);
        assert_eq!(renewed(&actions), [0]);
        stage.finish_draining();
    }
}

#[test]
fn a_wish_is_answered_when_the_successor_accepts_and_not_before() {
    let mut stage = Stage::running(bare(1));
    let actions = stage.on(recycle(5, &[0]));
    assert_eq!(answers(&actions), []);
    let new = spawned(&actions)[0];
    assert_eq!(answers(&stage.on(Event::Ready(new))), []);
    assert_eq!(answers(&stage.on(Event::Accepting(new))), [(5, Outcome::Renewed)]);
    stage.finish_draining();
    assert_eq!(answers(&stage.play_on(seconds(3600))), [], "exactly once");
}

#[test]
fn an_empty_list_means_all_lanes() {
    let mut stage = Stage::running(Rules::new(3));
    let actions = stage.play(recycle(1, &[]));
    assert_eq!(renewed(&actions), [0, 1, 2]);
    assert_eq!(answers(&actions), [(1, Outcome::Renewed)]);
}

#[test]
fn a_wish_for_all_lanes_keeps_to_the_lanes_that_may_be_in_change() {
    let mut stage = Stage::running(bare(8));
    let mut starting = spawned(&stage.on(recycle(1, &[])));
    let mut lanes = Vec::new();
    while !starting.is_empty() {
        assert!(starting.len() <= 2, "{starting:?}");
        let worker = starting.remove(0);
        stage.on(Event::Ready(worker));
        let actions = stage.on(Event::Accepting(worker));
        lanes.extend(renewed(&actions));
        starting.extend(spawned(&actions));
        let is_last = lanes.len() == 8;
        assert_eq!(answers(&actions).len(), usize::from(is_last));
    }
    lanes.sort_unstable();
    assert_eq!(lanes, [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_wish_waits_for_a_reload() {
    let mut stage = Stage::running(Rules::new(2));
    stage.play(Event::ReloadBegan);
    assert_eq!(answers(&stage.play(recycle(1, &[0]))), []);
    assert_eq!(
        answers(&stage.play(Event::ReloadEnded { changed: true })),
        [(1, Outcome::Renewed)]
    );
}

#[test]
fn a_wish_waits_for_draining_workers_and_never_cuts_them() {
    let rules = Rules {
        most_draining: 1,
        ..bare(1)
    };
    let mut stage = Stage::running(rules);
    stage.play(recycle(1, &[0]));
    stage.play(recycle(2, &[0]));
    let third = stage.play(recycle(3, &[0]));
    assert_eq!(answers(&third), []);
    assert!(
        !third.iter().any(|action| matches!(action, Action::Kill { .. })),
        "{third:?}"
    );
    let finish = stage.finish_draining();
    assert_eq!(answers(&stage.obey(finish)), [(3, Outcome::Renewed)]);
}

#[test]
fn a_wish_that_cannot_begin_is_given_up_with_the_reason() {
    let mut stage = Stage::running(Rules::new(2));
    stage.play(Event::ReloadBegan);
    stage.play(recycle(1, &[1]));
    assert_eq!(answers(&stage.play_on(seconds(599))), []);
    let reason = Outcome::Postponed {
        lane: 1,
        because: Hindrance::Reload,
    };
    assert_eq!(answers(&stage.play_on(seconds(1))), [(1, reason)]);
    assert_eq!(answers(&stage.play(Event::ReloadEnded { changed: false })), []);
}

#[test]
fn a_failed_successor_is_the_answer_and_further_lanes_are_left_alone() {
    let mut stage = Stage::running(bare(4));
    let old = stage.active(0);
    let new = spawned(&stage.on(recycle(9, &[])))[0];
    let actions = stage.on(Event::Failed(new));
    let failed = Outcome::Failed {
        lane: 0,
        fault: Fault::Refused,
    };
    assert_eq!(answers(&actions), [(9, failed)]);
    assert_eq!(stage.active(0), old);
    let rest = stage.play_on(seconds(60));
    assert_eq!((answers(&rest), spawned(&rest)), (vec![], vec![]));
}

#[test]
fn every_way_to_fail_is_an_answer() {
    type Way = (fn(&mut Stage, super::super::Worker) -> Vec<Action>, Fault);
    let ways: [Way; 4] = [
        (|stage, new| stage.on(Event::Failed(new)), Fault::Refused),
        (|stage, new| stage.crash(new), Fault::Crashed),
        (|stage, _| stage.pass(seconds(30)), Fault::Silent),
        (
            |stage, new| {
                stage.on(Event::Ready(new));
                stage.pass(seconds(10))
            },
            Fault::Deaf,
        ),
    ];
    for (way, fault) in ways {
        let mut stage = Stage::running(bare(1));
        let new = spawned(&stage.on(recycle(1, &[0])))[0];
        let actions = way(&mut stage, new);
        assert_eq!(answers(&actions), [(1, Outcome::Failed { lane: 0, fault })]);
        assert_eq!(answers(&stage.play_on(seconds(900))), [], "exactly once");
    }
}

#[test]
fn a_standby_that_cannot_start_is_the_answer_too() {
    let mut stage = Stage::running(Rules::new(1));
    let warm = stage.worker(0, State::Warm);
    let next = spawned(&stage.crash(warm))[0];
    assert_eq!(answers(&stage.on(recycle(1, &[0]))), [], "it waits for the standby");
    let failed = Outcome::Failed {
        lane: 0,
        fault: Fault::Refused,
    };
    assert_eq!(answers(&stage.on(Event::Failed(next))), [(1, failed)]);
}

#[test]
fn a_crash_in_between_fulfils_the_wish() {
    let mut stage = Stage::running(bare(1));
    let old = stage.active(0);
    let new = spawned(&stage.on(recycle(1, &[0])))[0];
    stage.crash(old);
    stage.on(Event::Ready(new));
    assert_eq!(answers(&stage.on(Event::Accepting(new))), [(1, Outcome::Renewed)]);
}

#[test]
fn two_wishes_for_one_lane_share_a_hand_over() {
    let mut stage = Stage::running(bare(1));
    let new = spawned(&stage.on(recycle(1, &[0])))[0];
    assert_eq!(stage.on(recycle(2, &[0])), []);
    stage.on(Event::Ready(new));
    let actions = stage.on(Event::Accepting(new));
    assert_eq!(answers(&actions), [(1, Outcome::Renewed), (2, Outcome::Renewed)]);
    assert_eq!(spawned(&actions), []);
}

#[test]
fn a_lane_that_is_not_there_is_said_so() {
    let mut stage = Stage::running(Rules::new(2));
    let actions = stage.on(recycle(1, &[0, 2]));
    assert_eq!(
        actions,
        [Action::Recycled {
            ticket: 1,
            outcome: Outcome::NoSuchLane { lane: 2 }
        }]
    );
}

#[test]
fn stopping_answers_all_wishes() {
    let mut stage = Stage::running(bare(2));
    stage.on(recycle(1, &[0]));
    stage.on(recycle(2, &[]));
    let actions = stage.on(Event::Stop);
    assert_eq!(answers(&actions), [(1, Outcome::Stopping), (2, Outcome::Stopping)]);
    assert_eq!(answers(&stage.on(recycle(3, &[1]))), [(3, Outcome::Stopping)]);
}
