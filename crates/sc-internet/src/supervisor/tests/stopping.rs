//! The end of the service.

use super::super::{Action, Event, Note, Rules, State, Worker};
use super::stage::{Stage, bare, deeds, notes, seconds, spawned};

#[test]
fn stopping_drains_all_and_says_so_when_the_last_is_gone() {
    let mut stage = Stage::running(Rules::new(2));
    let within = Rules::new(2).stop_time;
    let actions = stage.on(Event::Stop);
    let expected: Vec<Action> = [1, 3, 2, 4].map(|number| drain(number, within)).to_vec();
    let mut sorted = actions.clone();
    sorted.sort_by_key(|action| expected.iter().position(|other| other == action));
    assert_eq!(sorted, expected, "two active and two warm workers");
    for number in 1..4 {
        assert_eq!(
            stage.on(Event::Exited {
                worker: Worker(number),
                clean: true
            }),
            []
        );
    }
    let last = Event::Exited {
        worker: Worker(4),
        clean: true,
    };
    assert_eq!(stage.on(last), [Action::Stopped]);
    assert_eq!(stage.policy.wake_at(), None);
    for event in [Event::Tick, Event::Stop, Event::Hurry, Event::ReloadBegan] {
        assert_eq!(stage.on(event), [], "nothing comes after the end");
    }
}

fn drain(number: u64, within: std::time::Duration) -> Action {
    Action::Drain {
        worker: Worker(number),
        within,
    }
}

#[test]
fn a_second_stop_hurries() {
    for hurry in [Event::Stop, Event::Hurry] {
        let mut stage = Stage::running(bare(2));
        let (first, second) = (stage.active(0), stage.active(1));
        stage.on(Event::Stop);
        let hurried = [Action::Hurry { worker: first }, Action::Hurry { worker: second }];
        assert_eq!(stage.on(hurry), hurried);
        assert_eq!(stage.on(Event::Hurry), [], "once");
    }
}

#[test]
fn hurry_does_nothing_unless_stopping() {
    let mut stage = Stage::running(bare(2));
    assert_eq!(stage.on(Event::Hurry), []);
}

#[test]
fn starting_workers_are_killed_when_all_stops() {
    let mut stage = Stage::running(bare(1));
    let new = spawned(&stage.on(Event::Recycle {
        ticket: 1,
        lanes: vec![],
    }))[0];
    let actions = stage.on(Event::Stop);
    assert!(actions.contains(&Action::Kill { worker: new }), "{actions:?}");
    assert_eq!(stage.on(Event::Ready(new)), [], "it is not called any more");
}

#[test]
fn workers_that_drain_already_get_the_shorter_time() {
    let mut stage = Stage::running(bare(1));
    let old = stage.active(0);
    stage.play(Event::Recycle {
        ticket: 1,
        lanes: vec![],
    });
    let actions = stage.on(Event::Stop);
    assert!(actions.contains(&drain(old.0, seconds(60))), "{actions:?}");
    assert_eq!(deeds(stage.pass(seconds(64))), []);
    let killed = stage.pass(seconds(1));
    assert!(killed.contains(&Action::Kill { worker: old }), "{killed:?}");
    assert!(notes(&killed).contains(&Note::Overdue { lane: 0, worker: old }));
}

#[test]
fn nobody_is_started_while_stopping() {
    let mut stage = Stage::running(Rules::new(2));
    stage.on(Event::Stop);
    for worker in [stage.worker(0, State::Draining), stage.worker(1, State::Draining)] {
        assert_eq!(deeds(stage.crash(worker)), []);
    }
    assert_eq!(spawned(&stage.pass(seconds(60))), []);
}

#[test]
fn a_service_that_never_began_stops_at_once() {
    let mut stage = Stage::new(Rules::new(2));
    assert_eq!(stage.on(Event::Stop), [Action::Stopped]);
}

#[test]
fn stopping_while_everything_crashes_ends_too() {
    let mut stage = Stage::new(bare(3));
    for worker in spawned(&stage.on(Event::Tick)) {
        stage.crash(worker);
    }
    let mut actions = stage.on(Event::Stop);
    let rest: Vec<Worker> = stage
        .policy
        .lanes()
        .iter()
        .flat_map(|lane| &lane.workers)
        .map(|member| member.worker)
        .collect();
    for worker in rest {
        actions.extend(stage.crash(worker));
    }
    assert_eq!(actions.last(), Some(&Action::Stopped));
}
