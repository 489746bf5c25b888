//! How one worker follows another, and what keeps a bad successor from disturbing anybody.

use super::super::{Action, Event, Fault, Note, Rules, State, Worker};
use super::stage::{Stage, bare, deeds, notes, seconds, spawned};

use State::{Active, Draining, Starting, Warm};

#[test]
fn the_first_tick_starts_one_worker_on_each_lane() {
    let mut stage = Stage::new(Rules::new(3));
    assert_eq!(stage.policy.wake_at(), Some(seconds(0)));
    let lanes: Vec<usize> = stage
        .on(Event::Tick)
        .iter()
        .map(|action| match action {
            Action::Spawn {
                lane, generation: 1, ..
            } => *lane,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lanes, [0, 1, 2]);
}

#[test]
fn a_ready_worker_is_told_to_accept_when_its_lane_has_none() {
    let mut stage = Stage::new(bare(1));
    let worker = spawned(&stage.on(Event::Tick))[0];
    assert_eq!(stage.on(Event::Ready(worker)), [Action::Activate { worker }]);
    assert_eq!(stage.policy.serving(), 0);
    assert_eq!(stage.on(Event::Accepting(worker)), []);
    assert_eq!(stage.policy.serving(), 1);
}

#[test]
fn the_old_worker_drains_only_when_its_successor_accepts() {
    let mut stage = Stage::running(bare(1));
    let old = stage.active(0);
    let new = spawned(&stage.on(Event::Recycle {
        ticket: 1,
        lanes: vec![],
    }))[0];
    assert_eq!(stage.states(0), [Active, Starting]);
    assert_eq!(stage.on(Event::Ready(new)), [Action::Activate { worker: new }]);
    assert_eq!(stage.states(0), [Active, Warm]);
    let actions = deeds(stage.on(Event::Accepting(new)));
    let within = Rules::new(1).drain_time;
    assert_eq!(actions.first(), Some(&Action::Drain { worker: old, within }));
    assert_eq!(stage.states(0), [Draining, Active]);
}

#[test]
fn a_warm_worker_is_started_for_every_lane_but_not_for_all_at_once() {
    let mut stage = Stage::new(Rules::new(8));
    let mut first = Vec::new();
    for worker in spawned(&stage.on(Event::Tick)) {
        stage.on(Event::Ready(worker));
        first.extend(spawned(&stage.on(Event::Accepting(worker))));
    }
    assert_eq!(first.len(), 2, "a quarter of eight lanes");
    let next = spawned(&stage.on(Event::Ready(first[0])));
    assert_eq!(next.len(), 1, "one is ready, one more may start");
    let rest = stage.on(Event::Ready(first[1]));
    stage.obey(rest);
    stage.play(Event::Ready(next[0]));
    let all: Vec<_> = (0..8).map(|lane| stage.states(lane)).collect();
    assert_eq!(all, vec![vec![Active, Warm]; 8]);
}

#[test]
fn without_standby_a_successor_is_started_only_for_a_change() {
    let mut stage = Stage::running(bare(4));
    for lane in 0..4 {
        assert_eq!(stage.states(lane), [Active]);
    }
    let actions = stage.play(Event::Recycle {
        ticket: 1,
        lanes: vec![2],
    });
    assert_eq!(spawned(&actions).len(), 1);
    assert_eq!(stage.states(2), [Draining, Active]);
}

#[test]
fn a_successor_silent_for_thirty_seconds_is_killed_and_the_lane_goes_on() {
    let mut stage = Stage::running(bare(1));
    let old = stage.active(0);
    let new = spawned(&stage.on(Event::Recycle {
        ticket: 1,
        lanes: vec![],
    }))[0];
    assert_eq!(deeds(stage.pass(seconds(29))), []);
    let actions = stage.pass(seconds(1));
    assert!(actions.contains(&Action::Kill { worker: new }), "{actions:?}");
    let lost = Note::Lost {
        lane: 0,
        worker: new,
        state: Starting,
        fault: Fault::Silent,
    };
    assert!(notes(&actions).contains(&lost), "{actions:?}");
    assert_eq!(stage.on(Event::Ready(new)), [], "too late");
    assert_eq!(stage.active(0), old);
    assert_eq!(stage.states(0), [Active]);
}

#[test]
fn a_successor_that_refuses_is_killed_and_the_lane_goes_on() {
    let mut stage = Stage::running(bare(1));
    let old = stage.active(0);
    let new = spawned(&stage.on(Event::Recycle {
        ticket: 1,
        lanes: vec![],
    }))[0];
    let actions = deeds(stage.on(Event::Failed(new)));
    assert!(actions.contains(&Action::Kill { worker: new }), "{actions:?}");
    assert_eq!(stage.active(0), old);
}

#[test]
fn a_successor_that_does_not_come_to_accept_is_killed_and_the_lane_goes_on() {
    let mut stage = Stage::running(Rules::new(1));
    let (old, new) = (stage.active(0), stage.worker(0, Warm));
    stage.on(Event::Recycle {
        ticket: 1,
        lanes: vec![],
    });
    assert_eq!(stage.states(0), [Active, Warm]);
    let actions = stage.pass(seconds(10));
    assert!(actions.contains(&Action::Kill { worker: new }), "{actions:?}");
    assert_eq!(stage.on(Event::Accepting(new)), [], "too late");
    assert_eq!(stage.active(0), old);
}

#[test]
fn a_successor_that_dies_while_it_is_called_disturbs_nobody() {
    let mut stage = Stage::running(Rules::new(1));
    let (old, new) = (stage.active(0), stage.worker(0, Warm));
    stage.on(Event::Recycle {
        ticket: 1,
        lanes: vec![],
    });
    stage.crash(new);
    assert_eq!(stage.active(0), old);
    assert_eq!(stage.states(0), [Active, Starting], "the next standby");
}

#[test]
fn a_worker_that_drains_beyond_its_time_is_killed() {
    let mut stage = Stage::running(bare(1));
    let old = stage.active(0);
    stage.play(Event::Recycle {
        ticket: 1,
        lanes: vec![],
    });
    let allowed = Rules::new(1).drain_time + Rules::new(1).drain_grace;
    let early = stage.play_on(allowed - seconds(1));
    assert!(!early.contains(&Action::Kill { worker: old }), "{early:?}");
    let late = stage.pass(seconds(1));
    assert!(late.contains(&Action::Kill { worker: old }), "{late:?}");
    assert!(notes(&late).contains(&Note::Overdue { lane: 0, worker: old }));
}

#[test]
fn a_drained_worker_that_does_not_end_is_killed() {
    let mut stage = Stage::running(bare(1));
    let old = stage.active(0);
    stage.play(Event::Recycle {
        ticket: 1,
        lanes: vec![],
    });
    stage.on(Event::Drained(old));
    assert_eq!(deeds(stage.pass(seconds(4))), []);
    assert_eq!(deeds(stage.pass(seconds(1))), [Action::Kill { worker: old }]);
    assert_eq!(deeds(stage.pass(seconds(60))), [], "once");
}

#[test]
fn a_drained_worker_that_ends_is_gone() {
    let mut stage = Stage::running(bare(1));
    let old = stage.active(0);
    stage.play(Event::Recycle {
        ticket: 1,
        lanes: vec![],
    });
    assert_eq!(stage.policy.state(old), Some((0, Draining)));
    stage.on(Event::Drained(old));
    assert_eq!(
        stage.on(Event::Exited {
            worker: old,
            clean: true
        }),
        []
    );
    assert_eq!(stage.policy.state(old), None);
}

#[test]
fn numbers_of_workers_are_never_used_again() {
    let mut stage = Stage::running(Rules::new(4));
    let mut last = 8;
    for ticket in 0..50 {
        let actions = stage.play(Event::Recycle { ticket, lanes: vec![] });
        for worker in spawned(&actions) {
            assert_eq!(worker, Worker(last + 1));
            last += 1;
        }
        stage.finish_draining();
    }
    assert_eq!(last, 8 + 50 * 4);
}

#[test]
fn generations_count_the_workers_of_a_lane() {
    let mut stage = Stage::running(bare(2));
    stage.play(Event::Recycle {
        ticket: 1,
        lanes: vec![1],
    });
    let generations: Vec<u64> = stage.lane(1).workers.iter().map(|member| member.generation).collect();
    assert_eq!(generations, [1, 2]);
    assert_eq!(stage.lane(0).workers[0].generation, 1);
}

#[test]
fn events_about_workers_that_are_gone_or_were_never_there_change_nothing() {
    let mut stage = Stage::running(Rules::new(2));
    let old = stage.active(0);
    stage.play(Event::Recycle {
        ticket: 1,
        lanes: vec![0],
    });
    stage.on(Event::Exited {
        worker: old,
        clean: true,
    });
    let before = stage.policy.lanes();
    for worker in [old, Worker(0), Worker(999)] {
        for event in every_event_of(worker) {
            assert_eq!(stage.on(event.clone()), [], "{event:?}");
        }
    }
    assert_eq!(stage.policy.lanes(), before);
}

#[test]
fn events_that_do_not_fit_a_workers_state_change_nothing() {
    let mut stage = Stage::running(Rules::new(1));
    stage.play(Event::Recycle {
        ticket: 1,
        lanes: vec![0],
    });
    let before = stage.policy.lanes();
    let (old, active, warm) = (stage.worker(0, Draining), stage.active(0), stage.worker(0, Warm));
    let idle = [
        Event::Ready(old),
        Event::Accepting(old),
        Event::Failed(old),
        Event::Answers(old),
        Event::Ready(active),
        Event::Accepting(active),
        Event::Failed(active),
        Event::Drained(active),
        Event::Answers(active),
        Event::Ready(warm),
        Event::Accepting(warm),
        Event::Drained(warm),
        Event::Answers(warm),
    ];
    for event in idle {
        assert_eq!(stage.on(event.clone()), [], "{event:?}");
    }
    assert_eq!(stage.policy.lanes(), before);
}

#[test]
fn time_that_runs_backwards_stands_still() {
    let mut stage = Stage::running(bare(1));
    stage.now = seconds(5);
    stage.play(Event::Recycle {
        ticket: 1,
        lanes: vec![],
    });
    assert_eq!(stage.lane(0).workers[1].started, seconds(60));
}

fn every_event_of(worker: Worker) -> [Event; 8] {
    [
        Event::Ready(worker),
        Event::Accepting(worker),
        Event::Failed(worker),
        Event::Drained(worker),
        Event::Exited { worker, clean: true },
        Event::Exited { worker, clean: false },
        Event::Stuck(worker),
        Event::Answers(worker),
    ]
}
