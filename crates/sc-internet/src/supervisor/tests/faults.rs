//! Unplanned ends: who follows, how soon, and when a change of settings is to blame.

use std::time::Duration;

use super::super::{Action, Cause, Event, Fault, Note, Rules, State, Worker};
use super::stage::{Stage, bare, deeds, notes, seconds, spawned};

use State::{Active, Draining, Starting, Warm};

#[test]
fn after_a_crash_the_warm_successor_is_called_in_the_same_step() {
    let mut stage = Stage::running(Rules::new(2));
    let (old, warm) = (stage.active(1), stage.worker(1, Warm));
    let actions = stage.crash(old);
    assert_eq!(deeds(actions), [Action::Activate { worker: warm }]);
    let actions = stage.on(Event::Accepting(warm));
    assert_eq!(spawned(&actions).len(), 1, "the next standby");
}

#[test]
fn after_a_crash_without_a_successor_one_is_started_at_once() {
    let mut stage = Stage::running(bare(2));
    let old = stage.active(1);
    assert_eq!(spawned(&stage.crash(old)).len(), 1);
}

#[test]
fn a_successor_that_was_starting_serves_as_soon_as_it_is_ready() {
    let mut stage = Stage::running(bare(1));
    let old = stage.active(0);
    let new = spawned(&stage.on(Event::Recycle {
        ticket: 1,
        lanes: vec![],
    }))[0];
    assert_eq!(spawned(&stage.crash(old)), []);
    assert_eq!(stage.on(Event::Ready(new)), [Action::Activate { worker: new }]);
}

#[test]
fn the_delay_between_attempts_grows_with_full_jitter_up_to_its_cap() {
    let mut longest = [Duration::ZERO; 14];
    for seed in 0..300 {
        let mut stage = Stage {
            policy: super::super::Supervisor::new(bare(1), seed),
            now: seconds(0),
        };
        let mut worker = spawned(&stage.on(Event::Tick))[0];
        for longest in &mut longest {
            stage.on(Event::Failed(worker));
            let delay = stage
                .lane(0)
                .backing_off_until
                .map_or(Duration::ZERO, |at| at - stage.now);
            *longest = (*longest).max(delay);
            stage.crash(worker);
            worker = match stage.lane(0).workers.first() {
                Some(next) => next.worker,
                None => spawned(&stage.pass(delay))[0],
            };
        }
    }
    let ceilings = [
        0, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000, 30_000, 30_000,
    ];
    for (longest, ceiling) in longest.iter().zip(ceilings.map(Duration::from_millis)) {
        assert!(
            *longest <= ceiling && *longest >= ceiling * 9 / 10,
            "{longest:?} of {ceiling:?}"
        );
    }
}

#[test]
fn a_minute_of_health_ends_a_row_of_faults() {
    let mut stage = Stage::running(bare(1));
    for expected in [1, 2, 3] {
        let worker = stage.active(0);
        let actions = stage.crash(worker);
        stage.obey(actions);
        assert_eq!(stage.lane(0).faults, expected);
        stage.play_on(seconds(59));
    }
    stage.play_on(seconds(2));
    let worker = stage.active(0);
    stage.crash(worker);
    assert_eq!(stage.lane(0).faults, 1);
}

#[test]
fn a_healthy_active_worker_does_not_excuse_a_successor_that_always_fails() {
    let mut stage = Stage::running(Rules::new(1));
    stage.now += seconds(300);
    let mut worker = stage.worker(0, Warm);
    for expected in 1..6 {
        let mut actions = stage.crash(worker);
        assert_eq!(stage.lane(0).faults, expected);
        actions.extend(stage.pass(seconds(10)));
        worker = spawned(&actions)[0];
    }
}

#[test]
fn workers_may_end_in_every_state() {
    let run = |state: State, clean: bool| {
        let mut stage = Stage::running(Rules::new(2));
        let lanes = vec![0];
        stage.play(Event::Recycle { ticket: 1, lanes });
        if state == Starting {
            let warm = stage.worker(0, Warm);
            stage.crash(warm);
            stage.now += seconds(100);
        }
        let worker = stage.worker(0, state);
        let actions = stage.on(Event::Exited { worker, clean });
        assert_eq!(stage.policy.state(worker), None);
        let fault = if clean { Fault::Left } else { Fault::Crashed };
        let lost = Note::Lost {
            lane: 0,
            worker,
            state,
            fault,
        };
        let is_told = notes(&actions).contains(&lost);
        stage.play_on(seconds(60));
        assert_eq!(stage.policy.serving(), 2);
        assert_eq!(stage.states(0).iter().filter(|state| **state == Warm).count(), 1);
        (is_told, deeds(actions).len())
    };
    for clean in [true, false] {
        assert_eq!(run(Active, clean), (true, 1), "the warm one is called");
        assert_eq!(run(Warm, clean), (true, 1), "the next one is started");
        assert!(run(Starting, clean).0);
    }
    assert_eq!(run(Draining, true), (false, 0), "that is how it should be");
    assert_eq!(run(Draining, false), (true, 0), "told, and of no consequence");
}

#[test]
fn a_stuck_worker_is_succeeded_at_once_and_killed_after_a_grace() {
    let mut stage = Stage::running(Rules::new(1));
    let (old, warm) = (stage.active(0), stage.worker(0, Warm));
    assert_eq!(deeds(stage.on(Event::Stuck(old))), [Action::Activate { worker: warm }]);
    assert_eq!(stage.on(Event::Stuck(old)), [], "said twice");
    let actions = stage.on(Event::Accepting(warm));
    assert!(matches!(deeds(actions.clone())[0], Action::Drain { worker, .. } if worker == old));
    let is_cause = |note: &Note| {
        matches!(
            note,
            Note::Renewed {
                cause: Cause::Stuck,
                ..
            }
        )
    };
    assert!(notes(&actions).iter().any(is_cause));
    stage.obey(actions);
    assert_eq!(deeds(stage.pass(seconds(9))), []);
    assert_eq!(deeds(stage.pass(seconds(1))), [Action::Kill { worker: old }]);
}

#[test]
fn a_stuck_worker_is_not_killed_while_nobody_follows_it() {
    let mut stage = Stage::running(bare(1));
    let old = stage.active(0);
    let new = spawned(&stage.on(Event::Stuck(old)))[0];
    assert_eq!(deeds(stage.pass(seconds(20))), []);
    stage.on(Event::Ready(new));
    stage.on(Event::Accepting(new));
    assert_eq!(deeds(stage.pass(seconds(10))), [Action::Kill { worker: old }]);
}

#[test]
fn a_stuck_worker_that_answers_again_may_finish() {
    let mut stage = Stage::running(Rules::new(1));
    let old = stage.active(0);
    stage.play(Event::Stuck(old));
    assert_eq!(
        notes(&stage.on(Event::Answers(old))),
        [Note::Recovered { lane: 0, worker: old }]
    );
    assert_eq!(deeds(stage.pass(seconds(60))), []);
    assert_eq!(stage.policy.state(old), Some((0, Draining)));
}

#[test]
fn a_stuck_worker_that_answers_before_its_successor_is_ready_goes_on() {
    let mut stage = Stage::running(bare(1));
    let old = stage.active(0);
    let new = spawned(&stage.on(Event::Stuck(old)))[0];
    assert_eq!(stage.policy.serving(), 0);
    let actions = stage.on(Event::Answers(old));
    assert_eq!(
        deeds(actions),
        [Action::Kill { worker: new }],
        "without a standby nobody idles"
    );
    assert_eq!(stage.policy.serving(), 1);
    assert_eq!(stage.active(0), old);
}

#[test]
fn a_stuck_worker_that_dies_is_one_fault_and_not_two() {
    let mut stage = Stage::running(Rules::new(1));
    let old = stage.active(0);
    stage.on(Event::Stuck(old));
    stage.crash(old);
    assert_eq!(stage.lane(0).faults, 1);
}

#[test]
fn a_stuck_warm_worker_is_replaced() {
    let mut stage = Stage::running(Rules::new(1));
    let warm = stage.worker(0, Warm);
    let actions = deeds(stage.on(Event::Stuck(warm)));
    assert_eq!(actions[0], Action::Kill { worker: warm });
    assert_eq!(stage.states(0), [Active, Starting]);
}

#[test]
fn a_stuck_draining_worker_is_killed_after_a_grace() {
    let mut stage = Stage::running(Rules::new(1));
    let old = stage.active(0);
    stage.play(Event::Recycle {
        ticket: 1,
        lanes: vec![],
    });
    stage.on(Event::Stuck(old));
    assert_eq!(deeds(stage.pass(seconds(9))), []);
    assert_eq!(deeds(stage.pass(seconds(1))), [Action::Kill { worker: old }]);
}

fn rollbacks(actions: &[Action]) -> usize {
    actions.iter().filter(|action| **action == Action::RollBack).count()
}

/// Ends the active workers of some lanes, one after another.
fn crash_lanes(stage: &mut Stage, lanes: &[usize]) -> Vec<Action> {
    let mut actions = Vec::new();
    for lane in lanes {
        let worker = stage.active(*lane);
        let first = stage.crash(worker);
        actions.extend(stage.obey(first));
    }
    actions
}

#[test]
fn a_storm_after_a_change_rolls_it_back_once() {
    let mut stage = Stage::running(Rules::new(4));
    stage.play(Event::ReloadBegan);
    stage.play(Event::ReloadEnded { changed: true });
    assert_eq!(rollbacks(&crash_lanes(&mut stage, &[0])), 0, "one lane of four");
    let actions = crash_lanes(&mut stage, &[1]);
    assert_eq!(rollbacks(&actions), 1);
    assert!(notes(&actions).contains(&Note::Storm { lanes: 2, faults: 2 }));
    assert_eq!(rollbacks(&crash_lanes(&mut stage, &[2, 3])), 0, "once");
}

#[test]
fn rolling_back_is_never_rolled_back() {
    let mut stage = Stage::running(Rules::new(2));
    stage.play(Event::ReloadEnded { changed: true });
    assert_eq!(rollbacks(&crash_lanes(&mut stage, &[0, 1])), 1);
    stage.play(Event::ReloadBegan);
    stage.play(Event::RolledBack);
    assert_eq!(rollbacks(&crash_lanes(&mut stage, &[0, 1])), 0);
    assert_eq!(
        stage.policy.hindrance(),
        Some(super::super::Hindrance::InChange),
        "the reload is over"
    );
}

#[test]
fn a_storm_needs_a_change_shortly_before() {
    let mut stage = Stage::running(Rules::new(2));
    assert_eq!(rollbacks(&crash_lanes(&mut stage, &[0, 1])), 0, "no change at all");
    stage.play(Event::ReloadEnded { changed: false });
    assert_eq!(rollbacks(&crash_lanes(&mut stage, &[0, 1])), 0, "nothing changed");
    stage.play(Event::ReloadEnded { changed: true });
    stage.play_on(seconds(61));
    assert_eq!(rollbacks(&crash_lanes(&mut stage, &[0, 1])), 0, "too late");
}

#[test]
fn a_storm_on_a_single_lane_needs_two_faults() {
    let mut stage = Stage::running(Rules::new(1));
    stage.play(Event::ReloadEnded { changed: true });
    assert_eq!(rollbacks(&crash_lanes(&mut stage, &[0])), 0);
    assert_eq!(rollbacks(&crash_lanes(&mut stage, &[0])), 1);
}

#[test]
fn workers_that_leave_without_an_error_are_no_storm() {
    let mut stage = Stage::running(Rules::new(1));
    stage.play(Event::ReloadEnded { changed: true });
    for _ in 0..4 {
        let worker = stage.active(0);
        let actions = stage.play(Event::Exited { worker, clean: true });
        assert_eq!(rollbacks(&actions), 0);
        stage.play_on(seconds(5));
    }
}

#[test]
fn new_settings_end_every_wait() {
    for end in [Event::ReloadEnded { changed: true }, Event::RolledBack] {
        let mut stage = Stage::new(bare(1));
        let mut worker: Worker = spawned(&stage.on(Event::Tick))[0];
        while stage.lane(0).backing_off_until.is_none() {
            stage.on(Event::Failed(worker));
            worker = stage.lane(0).workers.last().expect("one").worker;
        }
        assert_eq!(spawned(&stage.on(end)).len(), 1);
        assert_eq!(stage.lane(0).faults, 0);
    }
}

#[test]
fn no_standby_is_started_while_a_reload_runs_but_a_lost_worker_is_replaced() {
    let mut stage = Stage::running(Rules::new(1));
    stage.on(Event::ReloadBegan);
    let warm = stage.worker(0, Warm);
    assert_eq!(spawned(&stage.crash(warm)), []);
    let active = stage.active(0);
    stage.crash(active);
    assert_eq!(spawned(&stage.pass(seconds(30))).len(), 1);
}
