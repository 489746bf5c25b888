//! Nothing is lost: while workers are renewed, while settings and certificates change, while Redis dies again and again.
//!
//! The numbers are printed; `SHIMMERCAT_LONG=1` gives each test a minute, and thousands of renewals.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use sc_testkit::{Request, eventually, pause};

use crate::kit::{Master, PATIENCE, SITE, Shop};
use crate::traffic::{
    Market, Mix, assert_well, children, descriptors, disturb, h2load, is_long, kill_redis, lasts, listening_sockets,
    say, summary,
};

/// How often workers are renewed and settings change.
const OFTEN: Duration = Duration::from_millis(200);

/// Renews the lanes in turn.
fn recycle(master: &Master, turn: u64, lanes: u64) {
    let answer = master.ask("POST", &format!("/recycle?lane={}", turn % lanes));
    assert_eq!(
        answer.status,
        200,
        "renewal {turn}: {}\n{}",
        answer.text(),
        last_words(master)
    );
}

/// What a master said last.
fn last_words(master: &Master) -> String {
    let lines = master.program.lines();
    let last = &lines[lines.len().saturating_sub(30)..];
    last.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn nothing_is_lost_while_workers_are_renewed_as_fast_as_the_master_allows() {
    let market = Market::new(&[]);
    let master = market.shop.serve();
    master.wait_settled();
    let sockets = listening_sockets(master.program.pid());
    let mix = Mix::all(&market, &master);
    let times = disturb(lasts(8, 60), OFTEN, |turn| recycle(&master, turn, 2));
    let account = mix.end();
    say(format_args!("renewed: {}", summary(&times)));
    account.assert_nothing_lost("renewing workers");
    assert_well(&master);
    assert_eq!(
        listening_sockets(master.program.pid()),
        sockets,
        "no lane's socket is ever closed"
    );
    master.stop();
}

#[test]
fn nothing_is_lost_while_settings_and_certificates_change_and_redis_is_killed() {
    let market = Market::new(&[]);
    let master = market.shop.serve();
    master.wait_settled();
    let before: BTreeSet<u32> = master.workers("active").iter().map(|worker| worker.pid).collect();
    let sockets = listening_sockets(master.program.pid());
    let mix = Mix::all(&market, &master);
    let times = disturb(lasts(8, 60), OFTEN, |turn| {
        if turn % 5 == 4 {
            write_certificate(&market.shop);
        }
        if turn % 10 == 9 {
            kill_redis(&master);
        }
        let more = format!("more{turn}.shop.example: {{ root-dir: site }}");
        market.rewrite(&[], &[&more]);
        let answer = master.ask("POST", "/reload");
        assert_eq!(answer.status, 200, "{}", answer.text());
    });
    let account = mix.end();
    say(format_args!("reloaded: {}", summary(&times)));
    account.assert_nothing_lost("changing settings");
    assert_well(&master);
    let after: BTreeSet<u32> = master.workers("active").iter().map(|worker| worker.pid).collect();
    assert_eq!(after, before, "nobody was renewed for it");
    assert_eq!(
        listening_sockets(master.program.pid()),
        sockets,
        "no lane's socket is ever closed"
    );
    let replaced = master.events_named("certificate_replaced").len();
    let status = master.status();
    say(format_args!(
        "certificates: {replaced}; log lines: {}; {}",
        status["log"], status["redis"]["what"]
    ));
    assert!(replaced > 0);
    master.stop();
}

/// Writes another certificate of the same CA in place of the first, chain and key one after the other.
fn write_certificate(shop: &Shop) {
    let folder = shop.certificate.chain.parent().unwrap_or(Path::new("/"));
    shop.authority.write(folder, &["*.shop.example", "shop.example"]);
}

#[test]
fn a_busy_http2_client_finishes_its_burst_on_the_worker_that_it_began_with() {
    let shop = Shop::new();
    let master = shop.serve();
    master.wait_settled();
    let count = if is_long() { "20000" } else { "2000" };
    let load = h2load(&master, &["-n", count, "-c", "20", "-m", "4"]);
    let loading = std::thread::spawn(load);
    let mut turn = 0;
    while !loading.is_finished() {
        recycle(&master, turn, 2);
        turn += 1;
    }
    say(format_args!("{turn} renewals under h2load"));
    assert_eq!(
        loading.join().expect("no panic"),
        count.parse().map_err(|_| String::new())
    );
    assert_well(&master);
    master.stop();
}

#[test]
fn a_connection_ends_at_once_after_connection_close() {
    let shop = Shop::new();
    let master = shop.serve();
    master.wait_settled();
    let mut kept: Vec<_> = (0..8).map(|_| master.http1(SITE)).collect();
    let get = Request::get(SITE, "/");
    for connection in &mut kept {
        assert_eq!(connection.request(&get).header("connection"), None);
    }
    master.recycle();
    let mut slowest = Duration::ZERO;
    for connection in &mut kept {
        assert_eq!(connection.request(&get).header("connection"), Some("close"));
        let answered = Instant::now();
        assert!(connection.is_closed());
        slowest = slowest.max(answered.elapsed());
    }
    say(format_args!("from the answer to the end: {slowest:?} at most"));
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    master.stop();
}

#[test]
fn a_master_stays_as_it_is_however_often_workers_are_renewed() {
    let shop = Shop::new();
    let master = shop.serve();
    master.wait_settled();
    let pid = master.program.pid();
    let rounds = if is_long() { 3200 } else { 24 };
    let sockets = listening_sockets(pid);
    let mut turn = 0;
    let mut renew = |times: u64| {
        for _ in 0..times {
            recycle(&master, turn, 2);
            turn += 1;
        }
        master.wait_settled();
        (children(pid).len(), master.program.memory().resident_kib)
    };
    // The first thousand fill what is kept of the past: log lines, and the names of workers that have ended.
    let mut seen = vec![renew(rounds / 4)];
    let first = descriptors(pid);
    for _ in 0..3 {
        seen.push(renew(rounds / 4));
    }
    let per_renewal = (seen[3].1 as f64 - seen[1].1 as f64) / (rounds as f64 / 2.0);
    say(format_args!(
        "processes and KiB after each quarter of {rounds} renewals: {seen:?}; in the second half {per_renewal:.3} KiB each"
    ));
    say(format_args!("descriptors: {first:?}"));
    assert_eq!(seen[3].0, seen[0].0, "processes");
    // A connection to the control socket or to Redis may just be ending, now or when they were counted first.
    eventually("no more descriptors than before", PATIENCE, || {
        let last = descriptors(pid);
        let is_more = |(kind, count): (&String, &usize)| first.get(kind).is_none_or(|before| count > before);
        if last.iter().any(is_more) { Err(last) } else { Ok(()) }
    });
    assert_eq!(listening_sockets(pid), sockets, "no lane's socket is ever closed");
    if is_long() {
        assert!(
            per_renewal < 0.1,
            "the master grows by {per_renewal} KiB with each renewal"
        );
    }
    assert_eq!(master.program.threads(), 1);
    master.stop();
}

#[test]
fn connections_are_spread_evenly_over_lanes() {
    let shop = Shop::new();
    let master = shop.serve_with(&["--workers", "4"]);
    master.wait_settled();
    // They shake hands and then say half a request.
    let slow: Vec<_> = (0..400)
        .map(|_| {
            let mut stream = master.tls(SITE, &["http/1.1"]);
            stream.write_all(b"GET / HTTP/1.1\r\n").expect("it is open");
            stream
        })
        .collect();
    let counts = eventually("400 connections", PATIENCE, || {
        let status = master.status();
        let counts: Vec<u64> = status["lanes"].as_array().into_iter().flatten().map(open_on).collect();
        if counts.iter().sum::<u64>() == 400 {
            Ok(counts)
        } else {
            Err(counts)
        }
    });
    say(format_args!("400 connections over four lanes: {counts:?}"));
    // 100 each, with a standard deviation of 8.7: not in a lifetime of test runs are there five of them on one side.
    assert!(counts.iter().all(|count| (57..=143).contains(count)), "{counts:?}");
    drop(slow);
    master.stop();
}

fn open_on(lane: &serde_json::Value) -> u64 {
    let workers = lane["workers"].as_array().into_iter().flatten();
    workers.filter_map(|worker| worker["connections"].as_u64()).sum()
}

#[test]
fn latency_at_half_load_is_told_with_and_without_renewal() {
    let market = Market::new(&[]);
    let master = market.shop.serve();
    master.wait_settled();
    let (time, rounds) = (lasts(2, 6), if is_long() { 5 } else { 3 });
    let clients = 8;
    let full = {
        let mix = Mix::clients(&market, &master, &[&format!("keep={clients}")]);
        pause(time);
        let account = mix.end();
        account.assert_nothing_lost("full load");
        account.done("keep") as f64 / time.as_secs_f64()
    };
    let half = full / 2.0 / f64::from(clients);
    let paced = format!("paced={clients}");
    let measure = |is_renewed: bool| {
        let mix = Mix::paced(&market, &master, &[&paced], half);
        disturb(time, Duration::from_secs(1), |turn| {
            if is_renewed {
                recycle(&master, turn, 2);
            }
        });
        let account = mix.end();
        account.assert_nothing_lost(if is_renewed {
            "half load, renewed every second"
        } else {
            "half load"
        });
        account.milliseconds("paced", 99)
    };
    // In turns, so that what else the machine does falls on both.
    let (mut calm, mut renewed) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        calm.push(measure(false));
        renewed.push(measure(true));
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let (calm, renewed) = (median(&mut calm), median(&mut renewed));
    say(format_args!(
        "p99 at half load: {calm} ms, with a lane renewed every second {renewed} ms: {:.2} times",
        renewed / calm
    ));
    assert_well(&master);
    master.stop();
}
