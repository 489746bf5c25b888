//! Several real processes of one application: killed, stopped, started again, unwell, torn; and what clients and `status` see.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sc_testkit::program::{Launch, Program, Signal};
use sc_testkit::{Http1, Request, client, eventually, find_program, free_ports, tls_over};
use serde_json::Value;

use crate::kit::{Master, PATIENCE, SITE, Shop};

/// One of several equal applications.
struct App {
    name: &'static str,
    port: u16,
    program: Program,
}

impl App {
    fn start(name: &'static str, port: u16) -> App {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/apps/several/app.py");
        let mut program = Launch::new(find_program("python3"))
            .arg(script)
            .args([name, &port.to_string()])
            .expect_errors()
            .start();
        program.wait_for_text("ready ", PATIENCE);
        App { name, port, program }
    }

    fn all() -> Vec<App> {
        let ports: [u16; 3] = free_ports();
        let names = ["one", "two", "three"];
        names
            .into_iter()
            .zip(ports)
            .map(|(name, port)| App::start(name, port))
            .collect()
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Asks it directly.
    fn ask(&self, path: &str) -> u16 {
        let stream = client::tcp(([127, 0, 0, 1], self.port).into());
        Http1::new(stream).request(&Request::get("localhost", path)).status
    }
}

/// A site at all of them; pauses and time limits are short.
fn site(apps: &[App], more: &str) -> Shop {
    patient_site(apps, "2s", more)
}

/// A site that waits so long for the first byte of an answer.
fn patient_site(apps: &[App], first_byte: &str, more: &str) -> Shop {
    let to: Vec<_> = apps.iter().map(|app| format!("'{}'", app.address())).collect();
    let consultant = format!(
        "{{ connect-to: [{}], first-byte-timeout: {first_byte}, slow-start: 200ms, \
         ejection: {{ pause: 300ms, longest-pause: 300ms }}{more} }}",
        to.join(", ")
    );
    Shop::with(&[&format!("{SITE}: {{ consultant: {consultant} }}")])
}

const CHECKS: &str = ", health: { path: /health, interval: 100ms, timeout: 500ms, unhealthy-after: 2 }";

/// What clients got that asked all the while.
#[derive(Debug, Default)]
struct Account {
    answered: usize,
    /// Which applications answered.
    names: Vec<String>,
    /// Statuses of what was not answered.
    failed: Vec<u16>,
}

/// Clients that ask one thing after the other until they are told to stop.
struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Account>>,
}

impl Clients {
    fn start(master: &Master, number: usize) -> Clients {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let (stop, https, ca) = (stop.clone(), master.https, master.ca.clone());
            std::thread::spawn(move || {
                let connect = || {
                    let stream = tls_over(client::tcp(https), SITE, &ca, &["http/1.1"]);
                    Http1::new(stream.expect("TLS with the site"))
                };
                let mut connection = connect();
                let mut account = Account::default();
                while !stop.load(Ordering::SeqCst) {
                    let answer = connection.request(&Request::get(SITE, "/"));
                    if answer.header("connection") == Some("close") {
                        connection = connect();
                    }
                    if answer.status == 200 {
                        account.answered += 1;
                        account.names.push(answer.text());
                    } else {
                        account.failed.push(answer.status);
                    }
                }
                account
            })
        };
        Clients {
            threads: (0..number).map(client).collect(),
            stop,
        }
    }

    fn end(self) -> Account {
        self.stop.store(true, Ordering::SeqCst);
        let mut sum = Account::default();
        for thread in self.threads {
            let account = thread.join().expect("a client");
            sum.answered += account.answered;
            sum.names.extend(account.names);
            sum.failed.extend(account.failed);
        }
        sum
    }
}

fn out(master: &Master) -> Vec<Value> {
    let status = master.status();
    status["sites"][0]["left_out"].as_array().cloned().unwrap_or_default()
}

/// Waits until exactly these are left out.
fn wait_out(master: &Master, apps: &[&App]) {
    eventually("the addresses that are left out", PATIENCE, || {
        let now = out(master);
        let addresses: Vec<_> = now
            .iter()
            .map(|out| out["address"].as_str().unwrap_or_default())
            .collect();
        let is_so = apps.len() == now.len() && apps.iter().all(|app| addresses.contains(&app.address().as_str()));
        if is_so { Ok(()) } else { Err(now) }
    });
}

/// Waits until this one answers.
fn wait_answer(master: &Master, name: &str) {
    eventually("an answer of the application", PATIENCE, || {
        let answer = master.http1(SITE).request(&Request::get(SITE, "/"));
        let text = answer.text();
        if text == name { Ok(()) } else { Err(text) }
    });
}

#[test]
fn an_application_that_is_killed_is_not_missed_and_joins_again() {
    let mut apps = App::all();
    let shop = site(&apps, "");
    let master = shop.serve_with(&["--workers", "1"]);
    let clients = Clients::start(&master, 4);
    for name in ["one", "two", "three"] {
        wait_answer(&master, name);
    }
    let victim = apps.remove(1);
    victim.program.signal(Signal::KILL);
    wait_out(&master, &[&victim]);
    let told = master.wait_event("upstream_out", 1);
    assert_eq!(
        (&told["address"], &told["cause"]),
        (&victim.address().into(), &"requests".into())
    );
    assert_eq!(
        (&told["fit"], &told["of"], &told["site"]),
        (&2.into(), &3.into(), &SITE.into())
    );
    let port = victim.port;
    drop(victim);
    apps.push(App::start("two", port));
    wait_answer(&master, "two");
    wait_out(&master, &[]);
    master.wait_event("upstream_back", 1);
    let account = clients.end();
    println!(
        "killed one of three: answered={} failed={:?}",
        account.answered, account.failed
    );
    assert!(account.failed.is_empty(), "{:?}", account.failed);
    let metrics = master.ask("GET", "/metrics").text();
    for line in [
        "shimmercat_upstream_out_total{cause=\"requests\"} 1",
        "shimmercat_upstream_back_total 1",
        "shimmercat_upstream_attempts_total{outcome=\"connect\"}",
        "shimmercat_upstream_retries_total{result=\"over_budget\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    master.stop();
}

#[test]
fn an_application_that_hangs_is_found_by_checks() {
    let apps = App::all();
    // Checks find it long before any request has waited in vain: such a one would leave it out for a while, and then another
    // would be sent there to try.
    let shop = patient_site(&apps, "5s", CHECKS);
    let master = shop.serve_with(&["--workers", "1"]);
    let clients = Clients::start(&master, 4);
    for name in ["one", "two", "three"] {
        wait_answer(&master, name);
    }
    // It accepts on, or rather its kernel does; nothing answers.
    apps[0].program.signal(Signal::STOP);
    wait_out(&master, &[&apps[0]]);
    let told = master.wait_event("upstream_out", 1);
    assert!(
        told["why"]
            .as_str()
            .is_some_and(|why| why.contains("no answer") || why.contains("in time")),
        "{told}"
    );
    // Nobody is sent there any more.
    let (calm, began) = (Clients::start(&master, 4), Instant::now());
    while began.elapsed() < Duration::from_secs(1) {
        wait_answer(&master, "two");
    }
    let calm = calm.end();
    assert!(calm.failed.is_empty() && calm.answered > 20, "{calm:?}");
    assert!(!calm.names.iter().any(|name| name == "one"));
    apps[0].program.signal(Signal::CONT);
    wait_out(&master, &[]);
    wait_answer(&master, "one");
    let account = clients.end();
    println!(
        "stopped one of three: answered={} failed={:?}",
        account.answered, account.failed
    );
    // Each of the clients can hang there once: then it is out.
    assert!(
        account.failed.len() <= 4 && account.failed.iter().all(|status| *status == 504),
        "{account:?}"
    );
    master.stop();
}

#[test]
fn an_application_that_says_it_is_unwell_is_left_alone() {
    let apps = App::all();
    let shop = site(&apps, CHECKS);
    let master = shop.serve_with(&["--workers", "2"]);
    let clients = Clients::start(&master, 4);
    assert_eq!(apps[2].ask("/ill"), 200);
    wait_out(&master, &[&apps[2]]);
    let workers = out(&master)[0]["workers"].as_array().map_or(0, Vec::len);
    assert!(workers >= 1, "which workers leave it out is told");
    let text = crate::kit::run(&shop, ["status"]).stdout;
    assert!(
        text.contains(&format!("{} is left out by ", apps[2].address())),
        "{text}"
    );
    // Workers that follow find out before they take over, or soon afterwards; nothing is lost.
    master.recycle();
    assert_eq!(apps[2].ask("/well"), 200);
    wait_out(&master, &[]);
    wait_answer(&master, apps[2].name);
    let account = clients.end();
    println!(
        "one of three unwell: answered={} failed={:?}",
        account.answered, account.failed
    );
    assert!(account.failed.is_empty(), "{account:?}");
    master.stop();
}

#[test]
fn what_goes_wrong_is_told_apart() {
    let mut apps = App::all();
    apps.truncate(1);
    let shop = site(&apps, ", connections: 1, queue-timeout: 300ms");
    let master = shop.serve_with(&["--workers", "1"]);
    let record = |path: &str| {
        eventually("the record", PATIENCE, || {
            let url = format!("https://{SITE}{path}");
            let records = master.events_named("exchange");
            records
                .into_iter()
                .find(|record| record["url"] == url.as_str())
                .ok_or(url)
        })
    };
    // Too slow.
    let answer = master.http1(SITE).request(&Request::get(SITE, "/slow?60000"));
    assert_eq!((answer.status, answer.header("retry-after")), (504, None));
    assert_eq!(record("/slow?60000")["fault_kind"], "upstream_timeout");
    // All places taken.
    let mut busy = master.http1(SITE);
    busy.send_raw(format!("GET /slow?1500 HTTP/1.1\r\nHost: {SITE}\r\n\r\n").as_bytes());
    let refused = eventually("the only place is taken", PATIENCE, || {
        let answer = master.http1(SITE).request(&Request::get(SITE, "/busy"));
        if answer.status == 503 {
            Ok(answer)
        } else {
            Err(answer.status)
        }
    });
    assert_eq!(refused.header("retry-after"), Some("2"));
    let is_busy = |record: &Value| record["status"] == 503 && record["fault_kind"] == "upstream_busy";
    eventually("the record of it", PATIENCE, || {
        let records = master.events_named("exchange");
        if records.iter().any(is_busy) {
            Ok(())
        } else {
            Err(records)
        }
    });
    assert_eq!(busy.read_response("GET").map(|answer| answer.status), Some(200));
    // Reset in the middle of an answer: the client sees that it is not whole.
    let mut torn = master.http1(SITE);
    torn.send_raw(format!("GET /torn HTTP/1.1\r\nHost: {SITE}\r\n\r\n").as_bytes());
    assert_eq!(torn.read_head().map(|head| head.status), Some(200));
    let told = record("/torn");
    assert_eq!(
        (&told["status"], &told["end"]),
        (&200.into(), &"upstream_closed".into())
    );
    // Not there at all.
    apps[0].program.signal(Signal::KILL);
    apps[0].program.wait_exit(PATIENCE);
    let answer = master.http1(SITE).request(&Request::get(SITE, "/gone"));
    assert_eq!((answer.status, answer.header("retry-after")), (502, None));
    assert_eq!(record("/gone")["fault_kind"], "upstream_connect");
    assert!(
        answer.text().starts_with("502 Bad Gateway"),
        "strangers see no more: {}",
        answer.text()
    );
    master.stop();
}
