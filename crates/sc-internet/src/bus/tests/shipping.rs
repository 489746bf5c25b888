//! Lines on their way, with everything that can happen to Redis meanwhile.

use super::bench::*;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{pending, ready};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use super::super::*;

fn nowhere() -> Fallback {
    Rc::new(|_| Box::pin(pending()))
}

#[test]
fn lines_go_by_the_stream_in_order_and_as_documented() {
    run(async {
        let bench = Bench::new();
        let own = bench.own("64mb").await;
        let ear = bench.ear(&own.place(), &instance());
        ear.is_up().await;
        let worker = bench.worker(&own.place(), &instance(), 1, nowhere());
        ear.reader.expect(worker.ring.worker());
        worker.work(5000).await;
        assert_eq!(ear.reckon(&worker).await, 0);
        assert_eq!(ear.numbers(worker.ring.worker()), (1..=5000).collect::<Vec<_>>());
        assert_eq!(
            worker.shipper.shipped(),
            Shipped {
                stream: 5000,
                fallback: 0
            }
        );
        assert_eq!(*worker.states.borrow(), [BusState::Up]);

        assert_eq!(ask::<u64>(&own.place(), &["XLEN", "sc:test:log"]).await, 5000);
        let first: Vec<(String, Vec<String>)> =
            ask(&own.place(), &["XRANGE", "sc:test:log", "-", "+", "COUNT", "1"]).await;
        let name = worker.ring.worker();
        assert_eq!(
            first[0].1,
            ["code", "M30201", "worker", name, "sequence", "1", "line", LINE]
        );
    });
}

#[test]
fn a_worker_says_that_it_lives() {
    run(async {
        let bench = Bench::new();
        let own = bench.own("64mb").await;
        let worker = bench.worker(&own.place(), &instance(), 1, nowhere());
        worker.is_up().await;
        let key = instance().worker_key(worker.ring.worker());
        let beat: BTreeMap<String, String> = ask(&own.place(), &["HGETALL", &key]).await;
        let beat: Vec<(&str, &str)> = beat
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            beat,
            [
                ("connections", "6"),
                ("exchanges", "7"),
                ("generation", "4"),
                ("lane", "3"),
                ("pid", "5"),
                ("state", "active")
            ]
        );
        let life: i64 = ask(&own.place(), &["TTL", &key]).await;
        assert!((1..=15).contains(&life), "{life}");
    });
}

#[test]
fn without_a_redis_every_line_goes_to_the_master() {
    run(async {
        let bench = Bench::new();
        let ear = bench.ear(&Place::Off, &instance());
        let worker = bench.worker(&Place::Off, &instance(), 1, ear.fallback());
        ear.reader.expect(worker.ring.worker());
        worker.work(2000).await;
        assert_eq!(ear.reckon(&worker).await, 0);
        assert_eq!(ear.numbers(worker.ring.worker()), (1..=2000).collect::<Vec<_>>());
        assert_eq!(
            worker.shipper.shipped(),
            Shipped {
                stream: 0,
                fallback: 2000
            }
        );
        assert_eq!(worker.shipper.state(), BusState::Off);
    });
}

#[test]
fn killed_again_and_again_redis_costs_no_line_that_is_not_counted() {
    run(async {
        let bench = Bench::new();
        let own = bench.own("64mb").await;
        let ear = bench.ear(&own.place(), &instance());
        ear.is_up().await;
        let worker = bench.worker(&own.place(), &instance(), 1, ear.fallback());
        ear.reader.expect(worker.ring.worker());
        let pulse = Pulse::start(&bench);
        for _ in 0..4 {
            worker.is_up().await;
            worker.work(1000).await;
            let before = signal(&own, Signal::KILL);
            worker.work(1000).await;
            until(
                "another Redis is up",
                || matches!(own.health(), Health::Up { pid } if pid != before),
            )
            .await;
        }
        worker.is_up().await;
        ear.is_up().await;
        worker.work(1000).await;
        let lost = ear.reckon(&worker).await;
        pulse.check();
        let shipped = worker.shipper.shipped();
        assert!(shipped.stream >= 4000 && shipped.fallback > 0, "{shipped:?}");
        assert_eq!(worker.ring.dropped(), 0);
        // What Redis had taken and not handed on when it was killed: a few batches at most.
        assert!(lost < 2000, "{lost} lines lost");
    });
}

#[test]
fn a_frozen_redis_holds_nobody_up_and_what_it_took_late_is_heard_once() {
    run(async {
        let bench = Bench::new();
        let own = bench.own("64mb").await;
        let ear = bench.ear(&own.place(), &instance());
        ear.is_up().await;
        let worker = bench.worker(&own.place(), &instance(), 1, ear.fallback());
        ear.reader.expect(worker.ring.worker());
        worker.is_up().await;
        worker.work(1000).await;

        signal(&own, Signal::STOP);
        let pulse = Pulse::start(&bench);
        let mut pushing = Duration::ZERO;
        for _ in 0..300 {
            let began = Instant::now();
            worker.push(50);
            pushing += began.elapsed();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        worker.is_down().await;
        assert_eq!(
            worker.shipper.flush(Duration::from_secs(20)).await,
            0,
            "the fallback has them all"
        );
        pulse.check();
        // 15,000 pushes; had one in a hundred waited for Redis, this were 30 s.
        assert!(pushing < Duration::from_secs(3), "{pushing:?}");
        assert_eq!(worker.ring.dropped(), 0);

        signal(&own, Signal::CONT);
        worker.is_up().await;
        ear.is_up().await;
        worker.work(1000).await;
        assert_eq!(ear.reckon(&worker).await, 0, "nothing was lost");
        let shipped = worker.shipper.shipped();
        assert!(shipped.fallback >= 14_000, "{shipped:?}");
        // The batch that was given up when it took too long is in the stream as well as in the fallback.
        let length: u64 = ask(&own.place(), &["XLEN", "sc:test:log"]).await;
        assert!(length > shipped.stream, "{length} in the stream, {shipped:?}");
    });
}

#[test]
fn a_slow_redis_is_left_alone_until_it_is_quick_again() {
    run(async {
        let bench = Bench::new();
        let own = bench.own("64mb").await;
        let ear = bench.ear(&own.place(), &instance());
        ear.is_up().await;
        let worker = bench.worker(&own.place(), &instance(), 1, ear.fallback());
        ear.reader.expect(worker.ring.worker());
        let pulse = Pulse::start(&bench);
        for _ in 0..3 {
            worker.is_up().await;
            ask::<String>(&own.place(), &["CLIENT", "PAUSE", "700", "ALL"]).await;
            worker.work(500).await;
            worker.is_down().await;
            worker.work(500).await;
        }
        worker.is_up().await;
        ear.is_up().await;
        worker.work(500).await;
        assert_eq!(ear.reckon(&worker).await, 0);
        pulse.check();
        let states = worker.states.borrow();
        let slow = states
            .iter()
            .any(|state| matches!(state, BusState::Down { why } if why.contains("200 ms")));
        assert!(slow, "{states:?}");
    });
}

/// Passes a connection on; the answers come late.
async fn delay(client: UnixStream, server: PathBuf, by: Duration) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = UnixStream::connect(server).await.unwrap().into_split();
    let answers = async {
        let mut buffer = vec![0; 1 << 20];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            tokio::time::sleep(by).await;
            if to_client.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        () = answers => {}
    }
}

#[test]
fn a_redis_that_answers_but_is_too_slow_for_all_lines_costs_none() {
    run(async {
        let bench = Bench::new();
        let own = bench.own("64mb").await;
        let ear = bench.ear(&own.place(), &instance());
        ear.is_up().await;
        let slow = bench.folder.path().join("slow.sock");
        let listener = UnixListener::bind(&slow).unwrap();
        let (spawner, behind) = (bench.tasks.spawner(), bench.socket());
        bench.tasks.spawn("a slow way", async move {
            while let Ok((client, _)) = listener.accept().await {
                spawner.spawn(
                    "a slow connection",
                    delay(client, behind.clone(), Duration::from_millis(90)),
                );
            }
        });
        let worker = bench.worker(&Place::Own { socket: slow }, &instance(), 1, ear.fallback());
        ear.reader.expect(worker.ring.worker());
        worker.is_up().await;
        let too_slow = |state: &BusState| matches!(state, BusState::Down { why } if why.contains("too slow"));
        let pulse = Pulse::start(&bench);
        until("it is left", || {
            worker.push(100);
            worker.states.borrow().iter().any(too_slow)
        })
        .await;
        assert_eq!(ear.reckon(&worker).await, 0);
        pulse.check();
        assert_eq!(worker.ring.dropped(), 0);
        let shipped = worker.shipper.shipped();
        assert!(shipped.stream > 0 && shipped.fallback > 0, "{shipped:?}");
    });
}

#[test]
fn a_full_redis_takes_no_line_and_is_used_again_when_there_is_room() {
    run(async {
        let bench = Bench::new();
        let (_outside, place) = Outside::on_socket(&bench.socket(), &[]).await;
        let ear = bench.ear(&place, &instance());
        ear.is_up().await;
        let worker = bench.worker(&place, &instance(), 1, ear.fallback());
        ear.reader.expect(worker.ring.worker());
        worker.is_up().await;
        ask::<String>(&place, &["CONFIG", "SET", "maxmemory", "100kb"]).await;

        let pulse = Pulse::start(&bench);
        worker.work(5000).await;
        worker.is_down().await;
        assert_eq!(worker.shipper.flush(Duration::from_secs(20)).await, 0);
        assert!(
            worker.shipper.shipped().fallback >= 4900,
            "{:?}",
            worker.shipper.shipped()
        );
        {
            let states = worker.states.borrow();
            let full = states
                .iter()
                .any(|state| matches!(state, BusState::Down { why } if why.contains("OOM")));
            assert!(full, "{states:?}");
            assert!(
                states.len() < 10,
                "it is said when it changes, not at each attempt: {states:?}"
            );
        }
        ask::<String>(&place, &["CONFIG", "SET", "maxmemory", "0"]).await;
        worker.is_up().await;
        let before = worker.shipper.shipped().stream;
        worker.work(1000).await;
        assert_eq!(ear.reckon(&worker).await, 0);
        assert_eq!(worker.shipper.shipped().stream, before + 1000);
        pulse.check();
    });
}

#[test]
fn the_lines_that_a_redis_of_ours_keeps_for_others_do_not_fill_it() {
    run(async {
        let bench = Bench::new();
        let own = bench.own("8mb").await;
        let ear = bench.ear(&own.place(), &instance());
        ear.is_up().await;
        let worker = bench.worker(&own.place(), &instance(), 1, ear.fallback());
        ear.reader.expect(worker.ring.worker());
        worker.is_up().await;
        // Twice what it can hold.
        for _ in 0..50 {
            worker.push(1000);
            until("there is room in the ring", || worker.ring.len() < 2000).await;
        }
        assert_eq!(ear.reckon(&worker).await, 0);
        let shipped = worker.shipper.shipped();
        assert!(shipped.stream > 25_000, "{shipped:?}");
        let length: u64 = ask(&own.place(), &["XLEN", "sc:test:log"]).await;
        assert!((1000..40_000).contains(&length), "{length}");
        worker.is_up().await;
    });
}

#[test]
fn when_nobody_takes_lines_the_ring_is_all_that_is_kept() {
    run(async {
        let bench = Bench::new();
        let worker = bench.worker(&Place::Off, &instance(), 1, nowhere());
        let pulse = Pulse::start(&bench);
        worker.work(20_000).await;
        pulse.check();
        let (waiting, dropped) = (worker.ring.len() as u64, worker.ring.dropped());
        let under_way = 20_000 - waiting - dropped;
        assert!(
            waiting == 8192 && under_way <= 256,
            "{waiting} wait, {under_way} under way"
        );
        assert_eq!(worker.counted.dropped.get(), dropped);
        assert_eq!(worker.counted.made.get(), 20_000);
        assert_eq!(
            worker.shipper.flush(Duration::from_millis(50)).await,
            waiting + under_way
        );
        assert_eq!(worker.ring.len(), 0);
    });
}

#[test]
fn what_the_fallback_gives_back_is_tried_again_in_order() {
    run(async {
        let bench = Bench::new();
        let ear = bench.ear(&Place::Off, &instance());
        let reader = ear.reader.clone();
        let refusals = Rc::new(Cell::new(0));
        let refused = refusals.clone();
        let fallback: Fallback = Rc::new(move |mut lines| {
            refused.set(refused.get() + 1);
            let rest = match refused.get() {
                1 | 3 => lines.split_off(0),
                2 => lines.split_off(lines.len() / 2),
                _ => Vec::new(),
            };
            reader.fallback(lines);
            Box::pin(ready(if rest.is_empty() { Ok(()) } else { Err(rest) }))
        });
        let worker = bench.worker(&Place::Off, &instance(), 1, fallback);
        ear.reader.expect(worker.ring.worker());
        worker.push(500);
        assert_eq!(ear.reckon(&worker).await, 0);
        assert_eq!(ear.numbers(worker.ring.worker()), (1..=500).collect::<Vec<_>>());
        assert_eq!(
            worker.shipper.shipped(),
            Shipped {
                stream: 0,
                fallback: 500
            }
        );
        assert!(refusals.get() > 3);
    });
}

#[test]
fn a_fallback_that_hangs_is_left_when_redis_is_back() {
    run(async {
        let bench = Bench::new();
        let own = bench.own("64mb").await;
        let ear = bench.ear(&own.place(), &instance());
        ear.is_up().await;
        let worker = bench.worker(&own.place(), &instance(), 1, nowhere());
        ear.reader.expect(worker.ring.worker());
        worker.is_up().await;
        let before = signal(&own, Signal::KILL);
        until(
            "another Redis is up",
            || matches!(own.health(), Health::Up { pid } if pid != before),
        )
        .await;
        worker.work(1000).await;
        worker.is_up().await;
        assert_eq!(ear.reckon(&worker).await, 0);
        assert_eq!(
            worker.shipper.shipped(),
            Shipped {
                stream: 1000,
                fallback: 0
            }
        );
    });
}

#[test]
fn many_workers_that_lost_redis_do_not_come_back_together() {
    const WORKERS: u64 = 30;
    run(async {
        let bench = Bench::new();
        let listener = UnixListener::bind(bench.socket()).unwrap();
        let came = Rc::new(RefCell::new(Vec::new()));
        let (sink, began) = (came.clone(), Instant::now());
        bench.tasks.spawn("a Redis that ends at once", async move {
            while let Ok((connection, _)) = listener.accept().await {
                drop(connection);
                sink.borrow_mut().push(began.elapsed());
            }
        });
        let place = Place::Own { socket: bench.socket() };
        let _workers: Vec<_> = (0..WORKERS)
            .map(|number| bench.worker(&place, &instance(), number, nowhere()))
            .collect();
        tokio::time::sleep(Duration::from_secs(4)).await;
        let came = came.borrow();
        let late: Vec<_> = came.iter().filter(|at| **at > Duration::from_secs(1)).collect();
        // Each has tried some four times with waits of up to 0.1, 0.2, 0.4 and 0.8 s; the next are up to 1.6, 3.2 and 5 s.
        assert!(
            (WORKERS..WORKERS * 8).contains(&(late.len() as u64)),
            "{} attempts",
            late.len()
        );
        let together = |at: &Duration| {
            late.iter()
                .filter(|other| other.abs_diff(*at) < Duration::from_millis(25))
                .count()
        };
        let most = late.iter().map(|at| together(at)).max().unwrap_or(0);
        assert!(most <= 12, "{most} of {WORKERS} came within 50 ms: {late:?}");
    });
}

/// The master must have one thread; tokio would start more for whatever blocks.
#[test]
fn no_thread_is_started_for_a_socket_or_an_address() {
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    run(async {
        let before = threads();
        let bench = Bench::new();
        let own = bench.own("64mb").await;
        let [port] = sc_testkit::free_ports::<1>();
        let tcp = Place::Url(sc_config::Secret::new(format!("redis://127.0.0.1:{port}")));
        let port = port.to_string();
        let _outside = Outside::start(&["--port", &port, "--bind", "127.0.0.1"], &tcp).await;
        for place in [own.place(), tcp] {
            let ear = bench.ear(&place, &instance());
            ear.is_up().await;
            let worker = bench.worker(&place, &instance(), 1, nowhere());
            ear.reader.expect(worker.ring.worker());
            worker.work(500).await;
            assert_eq!(ear.reckon(&worker).await, 0);
        }
        own.stop().await;
        assert_eq!(threads(), before);
    });
}
