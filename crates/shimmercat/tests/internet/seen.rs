//! Seeing it: status, logs, metrics. What is counted survives the worker that counted it.

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;

use sc_testkit::program::Signal;
use sc_testkit::{Http1, Request, client, eventually};

use crate::kit::{Master, PATIENCE, SITE, Shop, run};

/// One number of the metrics, by its name with labels.
fn number(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = line.unwrap_or_else(|| panic!("{name} in\n{text}"));
    value.trim().parse().unwrap_or_else(|_| panic!("{value} is no number"))
}

fn metrics(master: &Master) -> String {
    let answer = master.ask("GET", "/metrics");
    assert_eq!(answer.status, 200);
    answer.text()
}

const SERVED: &str = "shimmercat_exchanges_total{protocol=\"HTTP/1.1\",status=\"2xx\"}";

fn visit(master: &Master) {
    let request = Request::get(SITE, "/").header("Connection", "close");
    assert_eq!(master.http1(SITE).request(&request).status, 200);
}

fn wait_served(master: &Master, count: f64) {
    eventually(&format!("{count} exchanges are counted"), PATIENCE, || {
        let text = metrics(master);
        if number(&text, SERVED) == count {
            Ok(())
        } else {
            Err(text)
        }
    });
}

#[test]
fn counters_survive_recycling_and_a_worker_that_is_killed() {
    let shop = Shop::new();
    let mut master = shop.serve();
    for _ in 0..5 {
        visit(&master);
    }
    wait_served(&master, 5.0);
    master.recycle();
    eventually("the former workers are gone", PATIENCE, || {
        let status = master.status();
        if status["draining"] == 0 { Ok(()) } else { Err(status) }
    });
    visit(&master);
    wait_served(&master, 6.0);
    master.program.expect_errors();
    master.wait_settled();
    for worker in master.workers("active") {
        let pid = rustix::process::Pid::from_raw(i32::try_from(worker.pid).expect("a process id")).expect("not 0");
        rustix::process::kill_process(pid, Signal::KILL).expect("it is there");
    }
    master.wait_event("worker_lost", 2);
    visit(&master);
    wait_served(&master, 7.0);
    let text = metrics(&master);
    assert_eq!(number(&text, "shimmercat_forced_closes_total"), 0.0);
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn prometheus_reads_at_a_loopback_address_and_nothing_else_is_there() {
    let site = format!("{SITE}: {{ root-dir: site }}");
    let port = sc_testkit::free_port();
    let shop = Shop::with_settings(&[&format!("metrics: 127.0.0.1:{port}")], &[&site]);
    shop.project.file("site/index.html", "hello");
    let master = shop.serve();
    let place = (std::net::Ipv4Addr::LOCALHOST, port).into();
    let ask = |path: &str| Http1::new(client::tcp(place)).request(&Request::get("localhost", path));
    let answer = ask("/metrics");
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/openmetrics-text"))
    );
    assert!(answer.text().contains("shimmercat_"), "{}", answer.text());
    for path in ["/status", "/logs", "/"] {
        assert_eq!(ask(path).status, 404, "{path}");
    }
    master.stop();

    let open = Shop::with_settings(&["metrics: 0.0.0.0:9100"], &[&site]);
    open.project.file("site/index.html", "hello");
    let refused = open.internet(&[]).run(PATIENCE);
    assert_eq!(refused.status.code(), Some(3), "only loopback: {}", refused.stderr);
}

#[test]
fn status_tells_lanes_workers_and_their_next_renewal() {
    let shop = Shop::new();
    let master = shop.serve();
    master.wait_settled();
    master.wait_event("bus_up", 1);
    let told = run(&shop, ["status"]);
    assert_eq!(told.status.code(), Some(0), "{}", told.stderr);
    for part in [
        "shimmercat internet",
        "cert ",
        "redis    up",
        "lane 0",
        "lane 1",
        "active",
        "warm",
        "renewed in",
        "0 forced closes",
    ] {
        assert!(told.stdout.contains(part), "{part} in\n{}", told.stdout);
    }
    let too_long: Vec<_> = told.stdout.lines().filter(|line| line.len() > 160).collect();
    assert!(too_long.is_empty(), "{too_long:?}");
    let json = run(&shop, ["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(status["lanes"].as_array().map(Vec::len), Some(2), "{status}");
    master.stop();
}

#[test]
fn logs_are_printed_and_followed() {
    let shop = Shop::new();
    let master = shop.serve();
    visit(&master);
    master.wait_event("exchange", 1);
    let told = run(&shop, ["logs", "--json"]);
    assert_eq!(told.status.code(), Some(0), "{}", told.stderr);
    assert!(
        told.stdout
            .lines()
            .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
        "{}",
        told.stdout
    );
    assert!(told.stdout.contains("\"event\":\"exchange\""), "{}", told.stdout);

    let mut following = shop.shimmercat(["logs", "--follow", "--json"]).start();
    following.wait_for_text("\"event\":\"exchange\"", PATIENCE);
    let before = following.lines().len();
    visit(&master);
    eventually("the new line is followed", PATIENCE, || {
        let lines = following.lines();
        if lines.len() > before { Ok(()) } else { Err(lines.len()) }
    });
    following.signal(Signal::INT);
    drop(following);

    // Whoever follows and goes away leaves nothing behind.
    let control = master.instance["control"].as_str().expect("a path");
    let stream = UnixStream::connect(control).expect("the control socket is open");
    std::io::Write::write_all(&mut &stream, b"GET /logs?follow HTTP/1.0\r\nHost: x\r\n\r\n").expect("it is taken");
    let mut first = String::new();
    BufReader::new(&stream).read_line(&mut first).expect("an answer");
    assert!(first.contains("200"), "{first}");
    drop(stream);
    master.stop();
}
