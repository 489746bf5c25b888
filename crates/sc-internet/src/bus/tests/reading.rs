//! What the master hears, whatever becomes of the stream.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::super::*;
use super::bench::*;

/// Puts a line into the stream by hand.
async fn put(place: &Place, id: &str, worker: &str, sequence: u64) {
    let sequence = sequence.to_string();
    let words = [
        "XADD",
        "sc:test:log",
        id,
        "code",
        "M1",
        "worker",
        worker,
        "sequence",
        &sequence,
        "line",
        "{}",
    ];
    ask::<redis::Value>(place, &words).await;
}

#[test]
fn after_redis_has_started_anew_its_empty_stream_is_read_from_the_beginning() {
    run(async {
        let bench = Bench::new();
        let own = bench.own("64mb").await;
        let ear = bench.ear(&own.place(), &instance());
        ear.is_up().await;
        let worker = instance().worker(1);
        ear.reader.expect(&worker);
        // Numbered by a clock that is far ahead.
        put(&own.place(), "99999999999999-5", &worker, 1).await;
        until("the first is heard", || ear.numbers(&worker) == [1]).await;
        let before = signal(&own, Signal::KILL);
        until(
            "another Redis is up",
            || matches!(own.health(), Health::Up { pid } if pid != before),
        )
        .await;
        put(&own.place(), "1-1", &worker, 2).await;
        until("the second is heard", || ear.numbers(&worker) == [1, 2]).await;
        put(&own.place(), "1-2", &worker, 3).await;
        until("the third is heard", || ear.numbers(&worker) == [1, 2, 3]).await;
        assert_eq!(ear.reader.lost(), 0);
    });
}

#[test]
fn a_break_loses_nothing_that_is_still_in_the_stream() {
    run(async {
        let bench = Bench::new();
        let (_outside, place) = Outside::on_socket(&bench.socket(), &[]).await;
        let ear = bench.ear(&place, &instance());
        ear.is_up().await;
        let worker = instance().worker(1);
        ear.reader.expect(&worker);
        for number in 1..=20 {
            put(&place, "*", &worker, number).await;
            if number % 5 == 0 {
                ask::<redis::Value>(&place, &["CLIENT", "KILL", "TYPE", "normal"]).await;
            }
        }
        until("all are heard", || ear.numbers(&worker) == (1..=20).collect::<Vec<_>>()).await;
        assert_eq!(ear.reader.lost(), 0);
        let breaks = ear
            .heard
            .borrow()
            .iter()
            .filter(|one| matches!(one, Heard::Down { .. }))
            .count();
        assert!(breaks >= 1, "{:?}", ear.heard.borrow());
    });
}

#[test]
fn lines_of_before_the_first_connection_are_heard_too() {
    run(async {
        let bench = Bench::new();
        let socket = bench.socket();
        let place = Place::Url(sc_config::Secret::new(format!("unix://{}", socket.display())));
        let ear = bench.ear(&place, &instance());
        let worker = instance().worker(1);
        ear.reader.expect(&worker);
        until("it is down", || {
            matches!(ear.heard.borrow().first(), Some(Heard::Down { .. }))
        })
        .await;
        let (_outside, place) = Outside::on_socket(&socket, &[]).await;
        put(&place, "*", &worker, 1).await;
        put(&place, "*", &worker, 2).await;
        until("both are heard", || ear.numbers(&worker) == [1, 2]).await;
    });
}

#[test]
fn in_a_shared_redis_each_machine_hears_its_own_workers() {
    run(async {
        let bench = Bench::new();
        let (_outside, place) = Outside::on_socket(&bench.socket(), &[]).await;
        // Two masters on one machine, too: their names differ by chance, which is drawn at each start.
        let machines = [1, 2].map(|nonce| Instance::new("test", "host", nonce));
        let ears = machines.clone().map(|machine| bench.ear(&place, &machine));
        let mut workers = Vec::new();
        for (machine, ear) in machines.iter().zip(&ears) {
            ear.is_up().await;
            let worker = bench.worker(&place, machine, 1, ear.fallback());
            ear.reader.expect(worker.ring.worker());
            workers.push(worker);
        }
        for worker in &workers {
            worker.work(500).await;
        }
        for (worker, ear) in workers.iter().zip(&ears) {
            assert_eq!(ear.reckon(worker).await, 0);
            let lines = ear
                .heard
                .borrow()
                .iter()
                .filter(|one| matches!(one, Heard::Line(_)))
                .count();
            assert_eq!(lines, 500);
        }
        assert_eq!(ask::<u64>(&place, &["XLEN", "sc:test:log"]).await, 1000);
    });
}

#[test]
fn workers_that_a_former_master_left_are_heard_in_a_redis_of_ours() {
    run(async {
        let bench = Bench::new();
        let own = bench.own("64mb").await;
        let ear = bench.ear(&own.place(), &instance());
        ear.is_up().await;
        let orphan = Instance::new("test", "host", 999).worker(4);
        put(&own.place(), "*", &orphan, 700).await;
        put(&own.place(), "*", &orphan, 701).await;
        until("both are heard", || ear.numbers(&orphan) == [700, 701]).await;
        assert_eq!(ear.reader.lost(), 0);
    });
}

#[test]
fn what_is_no_line_is_passed_over() {
    run(async {
        let bench = Bench::new();
        let own = bench.own("64mb").await;
        let ear = bench.ear(&own.place(), &instance());
        ear.is_up().await;
        let worker = instance().worker(1);
        ear.reader.expect(&worker);
        let odd: [&[&str]; 3] = [
            &["XADD", "sc:test:log", "*", "who", "cares"],
            &[
                "XADD",
                "sc:test:log",
                "*",
                "code",
                "M1",
                "worker",
                &worker,
                "sequence",
                "minus one",
                "line",
                "{}",
            ],
            &[
                "XADD",
                "sc:test:log",
                "*",
                "code",
                "M1",
                "worker",
                &worker,
                "sequence",
                "-1",
                "line",
                "{}",
            ],
        ];
        for words in odd {
            ask::<redis::Value>(&own.place(), words).await;
        }
        put(&own.place(), "*", &worker, 1).await;
        until("the line is heard", || ear.numbers(&worker) == [1]).await;
        assert!(ear.reader.is_up());
    });
}

#[test]
fn a_key_that_is_no_stream_is_said_once() {
    run(async {
        let bench = Bench::new();
        let own = bench.own("64mb").await;
        ask::<redis::Value>(&own.place(), &["SET", "sc:test:log", "mine"]).await;
        let ear = bench.ear(&own.place(), &instance());
        let worker = bench.worker(&own.place(), &instance(), 1, ear.fallback());
        ear.reader.expect(worker.ring.worker());
        worker.work(500).await;
        assert_eq!(worker.shipper.flush(Duration::from_secs(20)).await, 0);
        let heard = ear.heard.borrow();
        let [Heard::Down { why }, rest @ ..] = heard.as_slice() else {
            panic!("{heard:?}");
        };
        assert!(why.contains("WRONGTYPE"), "{why}");
        assert!(rest.iter().all(|one| matches!(one, Heard::Line(_))));
        assert_eq!(rest.len(), 500);
    });
}

/// Runs `redis-cli` on the socket of a test.
fn cli(bench: &Bench, words: &[&str]) -> String {
    let mut command = Command::new(sc_testkit::find_program("redis-cli"));
    let asked = command.arg("-s").arg(bench.socket()).args(words).output().unwrap();
    assert!(asked.status.success(), "{asked:?}");
    String::from_utf8(asked.stdout).unwrap()
}

/// The example of `docs/redis.md`, as a person types it.
#[test]
fn any_agent_can_read_the_log_with_a_consumer_group() {
    run(async {
        let bench = Bench::new();
        let own = bench.own("64mb").await;
        let ear = bench.ear(&own.place(), &instance());
        ear.is_up().await;
        let worker = bench.worker(&own.place(), &instance(), 1, ear.fallback());
        ear.reader.expect(worker.ring.worker());
        worker.push(3);
        assert_eq!(ear.reckon(&worker).await, 0);

        assert_eq!(
            cli(&bench, &["XGROUP", "CREATE", "sc:test:log", "agents", "0", "MKSTREAM"]),
            "OK\n"
        );
        let read = [
            "XREADGROUP",
            "GROUP",
            "agents",
            "me",
            "COUNT",
            "2",
            "STREAMS",
            "sc:test:log",
            ">",
        ];
        let first = cli(&bench, &read);
        assert_eq!(first.matches(LINE).count(), 2, "{first}");
        let second = cli(&bench, &read);
        assert_eq!(second.matches(LINE).count(), 1, "{second}");
        assert_eq!(cli(&bench, &read).trim(), "");
        let id = first
            .lines()
            .find(|line| line.contains('-') && line.len() < 25)
            .unwrap()
            .to_owned();
        assert_eq!(cli(&bench, &["XACK", "sc:test:log", "agents", &id]), "1\n");
        let pending = cli(&bench, &["XPENDING", "sc:test:log", "agents"]);
        assert!(pending.starts_with("2\n"), "{pending}");
        assert_eq!(
            ear.numbers(worker.ring.worker()),
            [1, 2, 3],
            "the master has heard them as well"
        );
    });
}
