//! Workers that are killed, stopped or stuck: others do not notice, and the lane's queue is served by the successor.
//!
//! What a killed worker had accepted is lost, and nothing else: before it is killed it is stopped, and the kernel is asked
//! which connections it holds.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use sc_testkit::program::Signal;
use sc_testkit::{Request, eventually, pause};

use crate::kit::{Master, PATIENCE, SITE, Shop, address, run};
use crate::traffic::{
    Market, Mix, accepted, assert_well, disturb, is_long, lasts, listening_sockets, quantile, say, signal,
};

#[test]
fn of_a_killed_worker_only_what_it_had_accepted_is_lost() {
    let market = Market::new(&[]);
    let master = market.shop.serve();
    master.wait_settled();
    let sockets = listening_sockets(master.program.pid());
    let kinds = ["keep=4", "think=4", "close=4", "download=2", "upload=2", "websocket=2"];
    let mix = Mix::clients(&market, &master, &kinds);
    let (mut killed, mut held) = (0, BTreeSet::new());
    disturb(lasts(8, 60), Duration::from_secs(2), |turn| {
        let status = master.wait_served();
        let victims = crate::kit::workers(&status, "active");
        let victim = victims[turn as usize % victims.len()];
        // While it is stopped it accepts nothing more, so this is exactly what it had accepted.
        signal(victim.pid, Signal::STOP);
        held.extend(accepted(victim.pid, master.https.port()));
        if turn % 2 == 0 {
            signal(victim.pid, Signal::KILL);
        } else {
            // As after an abort of its own; it does nothing more before it ends.
            signal(victim.pid, Signal::ABORT);
            signal(victim.pid, Signal::CONT);
        }
        killed += 1;
    });
    let account = mix.end();
    account.print("killing workers");
    let lost = account.lost();
    let strangers: Vec<_> = lost
        .iter()
        .filter(|lost| lost.port.is_none_or(|port| !held.contains(&port)))
        .collect();
    let repeated = lost.iter().filter(|lost| lost.is_repeated).count();
    say(format_args!(
        "{killed} workers killed, which held {} connections; {} requests lost with them, {repeated} of them asked again",
        held.len(),
        lost.len(),
    ));
    assert!(
        strangers.is_empty(),
        "lost, and not accepted by a killed worker: {strangers:?}"
    );
    assert!(killed > 2 && !held.is_empty());
    let lost_workers = master.events_named("worker_lost").len();
    assert_eq!(lost_workers, killed, "each is told");
    assert_well(&master);
    assert_eq!(
        listening_sockets(master.program.pid()),
        sockets,
        "no lane's socket is ever closed"
    );
    master.stop();
}

impl Master {
    /// Waits until every lane has a worker that accepts and one that is warm, others draining or not.
    fn wait_served(&self) -> serde_json::Value {
        eventually("every lane has an active worker and a warm one", PATIENCE, || {
            let status = self.status();
            let lanes = status["lanes"].as_array().map_or(0, Vec::len);
            let count = |state| crate::kit::workers(&status, state).len();
            if count("active") == lanes && count("warm") == lanes {
                Ok(status)
            } else {
                Err(status)
            }
        })
    }
}

#[test]
fn others_do_not_notice_a_stuck_worker_and_its_lane_is_served() {
    let shop = Shop::new();
    let mut master = shop.serve();
    master.program.expect_errors();
    master.wait_settled();
    let [stuck, other] = master.workers("active")[..] else {
        panic!("two lanes")
    };
    // Connections that are open to the other worker; a request on each tells whose it is.
    let mut kept: Vec<_> = (0..12).map(|_| master.http1(SITE)).collect();
    let get = Request::get(SITE, "/");
    for connection in &mut kept {
        assert_eq!(connection.request(&get).status, 200);
    }
    let of_other = accepted(other.pid, master.https.port());
    let port = |connection: &mut sc_testkit::Http1<crate::kit::SiteStream>| {
        let local = connection.stream().sock.local_addr().expect("an address");
        u64::from(local.port())
    };
    let mut kept: Vec<_> = kept
        .into_iter()
        .filter_map(|mut connection| of_other.contains(&port(&mut connection)).then_some(connection))
        .collect();
    assert!(!kept.is_empty());
    signal(stuck.pid, Signal::STOP);
    let began = Instant::now();
    // New connections: those of the stuck worker's lane wait for its successor, and none is refused or lost.
    let fresh: Vec<_> = (0..24)
        .map(|_| {
            let (to, ca) = (master.https, master.ca.clone());
            std::thread::spawn(move || {
                let began = Instant::now();
                let stream = sc_testkit::client::tcp(to);
                let stream = sc_testkit::tls_over(stream, SITE, &ca, &["http/1.1"]).expect("TLS");
                let status = sc_testkit::Http1::new(stream).request(&Request::get(SITE, "/")).status;
                (status, began.elapsed())
            })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    while !fresh.iter().all(std::thread::JoinHandle::is_finished) {
        for connection in &mut kept {
            let asked = Instant::now();
            assert_eq!(connection.request(&get).status, 200);
            slowest = slowest.max(asked.elapsed());
        }
        pause(Duration::from_millis(20));
    }
    let answers: Vec<_> = fresh
        .into_iter()
        .map(|thread| thread.join().expect("no panic"))
        .collect();
    let waited = answers.iter().map(|(_, time)| *time).max().unwrap_or_default();
    say(format_args!(
        "the other worker's clients waited {slowest:?} at most, the stuck lane's new ones {waited:?}"
    ));
    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    assert!(slowest < Duration::from_secs(2), "others do not notice: {slowest:?}");
    assert!(waited < Duration::from_secs(20), "{waited:?}");
    let lost = master.wait_event("worker_lost", 1);
    assert_eq!(lost["worker"], stuck.worker, "{lost}");
    eventually("the stuck worker is killed", PATIENCE, || {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", stuck.pid));
        if status.is_err() { Ok(()) } else { Err(status) }
    });
    say(format_args!("it was gone after {:?}", began.elapsed()));
    master.stop();
}

#[test]
fn a_killed_workers_lane_accepts_again_within_milliseconds() {
    let shop = Shop::new();
    let master = shop.serve_with(&["--workers", "1", "-t", "127.0.0.1:0"]);
    let redirect = address(&master.status()["redirect"][0]);
    let (mut times, mut usual) = (Vec::new(), Vec::new());
    for turn in 0..if is_long() { 100 } else { 12 } {
        // Faults in a row make a lane wait before it starts the next worker; a change of settings forgives them.
        let site = format!("{SITE}: {{ root-dir: site }}");
        shop.rewrite(&[], &[&site, &format!("more{turn}.shop.example: {{ root-dir: site }}")]);
        assert_eq!(master.ask("POST", "/reload").status, 200);
        let status = master.wait_settled();
        usual.push(answered(redirect));
        let victim = crate::kit::workers(&status, "active")[0];
        signal(victim.pid, Signal::KILL);
        times.push(answered(redirect));
    }
    let (p50, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
    let usual = quantile(&mut usual, 0.5);
    say(format_args!(
        "from SIGKILL to an answer of the successor, {} times: p50 {p50:?}, p99 {p99:?}; an answer usually takes {usual:?}",
        times.len()
    ));
    assert!(p50 < Duration::from_millis(500), "{times:?}");
    master.stop();
}

/// How long the redirect port takes to answer. It does so without TLS: what is measured is the time to be accepted, and a
/// little more.
fn answered(redirect: SocketAddr) -> Duration {
    let began = Instant::now();
    let mut stream = TcpStream::connect(redirect).expect("the lane's queue takes it");
    let request = format!("GET / HTTP/1.1\r\nHost: {SITE}\r\n\r\n");
    let mut answer = [0; 12];
    let answered = stream
        .write_all(request.as_bytes())
        .and_then(|()| stream.read_exact(&mut answer));
    answered.expect("a connection made after the end of a worker is not lost");
    assert_eq!(&answer, b"HTTP/1.1 301");
    began.elapsed()
}

#[test]
fn workers_lost_after_a_change_roll_it_back_until_a_person_asks_again() {
    let site = |header: &str| format!("{SITE}: {{ root-dir: site, headers: {{ x-made: {header} }} }}");
    let shop = Shop::with(&[&site("before")]);
    shop.project.file("site/index.html", "hello");
    let mut master = shop.serve();
    master.program.expect_errors();
    master.wait_settled();
    let made = |master: &Master| {
        let answer = master.curl(&format!("https://{SITE}/")).run();
        answer.header("x-made").map(str::to_owned)
    };
    shop.rewrite(&[], &[&site("after")]);
    let reload = run(&shop, ["reload"]);
    assert_eq!(reload.status.code(), Some(0), "{}", reload.stderr);
    assert_eq!(made(&master).as_deref(), Some("after"));
    master.wait_settled();
    // What a change that kills workers does, done to them from outside: the master cannot tell the difference.
    for worker in master.workers("active") {
        signal(worker.pid, Signal::KILL);
    }
    master.wait_event("rolled_back", 1);
    eventually("the former settings are served", PATIENCE, || match made(&master) {
        Some(header) if header == "before" => Ok(()),
        other => Err(other),
    });
    // The file on the disk is still the one that was rolled back; a change seen beside it does not bring it back.
    shop.authority.write(&shop.project.path_of("tls"), &["*.shop.example"]);
    master.wait_event("reload_refused", 1);
    master.wait_event("certificate_replaced", 1);
    assert_eq!(
        made(&master).as_deref(),
        Some("before"),
        "the new certificate is shown, the settings stay"
    );
    let reload = run(&shop, ["reload"]);
    assert_eq!(
        reload.status.code(),
        Some(0),
        "a person may try again: {}",
        reload.stderr
    );
    assert_eq!(made(&master).as_deref(), Some("after"));
}
