//! Several addresses of one application: which is asked, which is left out, what is sent again, what waits.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;
use sc_http::{Kind, Limits};
use sc_net::UpstreamAddr;
use sc_site::upstreams::Cause;
use sc_site::{BalanceSpec, Disclosure, HealthSpec, UpstreamEvent, UpstreamProtocol, UpstreamSpec};
use sc_testkit::PhpFpm;

use crate::app::{App, Conn};
use crate::kit::{Ask, Served, folder, proxy, run, serve, spec};
use crate::tls::{h2c, h2c_within};

/// An application at all of these addresses; pauses are short.
fn over(apps: &[&App]) -> UpstreamSpec {
    let mut upstream = apps[0].spec();
    upstream.addrs = apps.iter().map(|app| app.at.clone()).collect();
    upstream.balance = BalanceSpec {
        pause: Duration::from_millis(80),
        longest_pause: Duration::from_millis(80),
        slow_start: Duration::ZERO,
        ..BalanceSpec::default()
    };
    upstream
}

/// Checks that follow each other fast.
fn checks() -> HealthSpec {
    HealthSpec {
        interval: Duration::from_millis(10),
        timeout: Duration::from_millis(500),
        ..HealthSpec::new("/health?deep")
    }
}

/// An application that says its name, as long as its switch is on; otherwise it closes without an answer.
async fn switched(name: &'static str) -> (App, Rc<Cell<bool>>) {
    let is_on = Rc::new(Cell::new(true));
    let switch = is_on.clone();
    let app = App::start(move |mut conn| {
        let switch = switch.clone();
        async move {
            while conn.request().await.is_some() && switch.get() {
                conn.ok(name).await;
            }
        }
    })
    .await;
    (app, is_on)
}

/// Reads one request and closes.
async fn dies(mut conn: Conn) {
    conn.request().await;
}

/// Waits for a condition; the test's own patience is the limit.
async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn state(site: &Served, app: &App) -> &'static str {
    let standings = site.sites.endpoints();
    let own = standings
        .iter()
        .find(|standing| *standing.address == app.at.to_string());
    own.expect("the address").state
}

fn outs(site: &Served, cause: Cause) -> usize {
    let told = site.told.borrow();
    let is_so = |event: &&UpstreamEvent| matches!(event, UpstreamEvent::Out { cause: told, .. } if *told == cause);
    told.iter().filter(is_so).count()
}

fn backs(site: &Served) -> usize {
    let told = site.told.borrow();
    told.iter()
        .filter(|event| matches!(event, UpstreamEvent::Back { .. }))
        .count()
}

#[test]
fn an_address_that_fails_is_left_out_tried_by_one_request_and_comes_back() {
    run(async {
        let ((good, _), (other, is_on)) = (switched("good").await, switched("other").await);
        let site = proxy(over(&[&good, &other]));
        let mut seen = [0, 0];
        for _ in 0..60 {
            match Ask::get("/").of(&site).await.text().as_str() {
                "good" => seen[0] += 1,
                "other" => seen[1] += 1,
                text => panic!("{text}"),
            }
        }
        assert!(seen[0] > 10 && seen[1] > 10, "{seen:?}");
        is_on.set(false);
        let mut retries = 0;
        for _ in 0..60 {
            let told = Ask::get("/").of(&site).await;
            assert_eq!((told.status.as_u16(), told.text().as_str()), (200, "good"));
            retries += told.notes.retries();
        }
        assert!(retries > 0 && outs(&site, Cause::Requests) == 1, "{retries} retries");
        assert_eq!((state(&site, &good), backs(&site)), ("in", 0));
        let UpstreamEvent::Out {
            fit,
            of,
            why,
            site: name,
            ..
        } = site
            .told
            .borrow()
            .iter()
            .find(|event| matches!(event, UpstreamEvent::Out { .. }))
            .cloned()
            .unwrap()
        else {
            panic!()
        };
        assert_eq!((fit, of, &*name), (1, 2, "www.shop.example"));
        assert!(why.contains("closed"), "{why}");
        // A request that cannot be repeated does not try it, one that can does, and loses nothing by it.
        until(|| state(&site, &other) == "trial").await;
        assert_eq!(Ask::post("/", "x").of(&site).await.text(), "good");
        let told = Ask::get("/").of(&site).await;
        assert_eq!((told.text().as_str(), told.notes.retries()), ("good", 1));
        assert_eq!(outs(&site, Cause::Requests), 1, "it is told once");
        is_on.set(true);
        until(|| state(&site, &other) == "trial").await;
        assert_eq!(Ask::get("/").of(&site).await.text(), "other");
        assert_eq!((state(&site, &other), backs(&site)), ("in", 1));
    });
}

#[test]
fn what_may_have_been_processed_is_sent_again_once_and_only_if_idempotent() {
    run(async {
        let apps = [App::start(dies).await, App::start(dies).await, App::start(dies).await];
        let all = [&apps[0], &apps[1], &apps[2]];
        let asked = || all.iter().map(|app| app.connections.get()).sum::<usize>();
        // What brings one address down must not visit all of them.
        let told = Ask::get("/").of(&proxy(over(&all))).await;
        assert_eq!((told.status.as_u16(), told.notes.retries(), asked()), (502, 1, 2));
        let told = Ask::post("/", "x").of(&proxy(over(&all))).await;
        assert_eq!((told.status.as_u16(), told.notes.retries(), asked()), (502, 0, 3));
        let mut upstream = over(&all);
        upstream.retries.most = 0;
        let told = Ask::get("/").of(&proxy(upstream)).await;
        assert_eq!((told.status.as_u16(), told.notes.retries(), asked()), (502, 0, 4));
    });
}

#[test]
fn an_outage_is_not_made_worse_by_sending_again() {
    run(async {
        let (one, other) = (App::start(dies).await, App::start(dies).await);
        let mut upstream = over(&[&one, &other]);
        upstream.balance.failures = 0;
        let site = proxy(upstream);
        let mut words = Vec::new();
        for _ in 0..100 {
            let told = Ask::get("/").of(&site).await;
            assert_eq!(told.status.as_u16(), 502);
            words.extend(told.notes.tried());
        }
        // A fifth of what came, and ten.
        assert_eq!(one.connections.get() + other.connections.get(), 130);
        assert!(words.iter().any(|step| step.contains("not sent again")), "{words:?}");
        let told = site.told.borrow();
        let refused = |event: &&UpstreamEvent| matches!(event, UpstreamEvent::Again { is_sent: false });
        assert_eq!(told.iter().filter(refused).count(), 70);
        let closed = Some(Kind::UpstreamClosed);
        let attempts = |event: &&UpstreamEvent| matches!(event, UpstreamEvent::Attempt { fault } if *fault == closed);
        assert_eq!(told.iter().filter(attempts).count(), 130);
    });
}

#[test]
fn answers_that_break_off_leave_an_address_out() {
    run(async {
        let torn = App::start(|mut conn| async move {
            conn.request().await;
            conn.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
        })
        .await;
        let (good, _) = switched("good").await;
        let mut upstream = over(&[&torn, &good]);
        upstream.balance.pause = Duration::from_secs(60);
        let site = proxy(upstream);
        let mut broken = 0;
        for _ in 0..100 {
            let told = Ask::get("/").of(&site).await;
            assert_eq!(told.status.as_u16(), 200);
            broken += usize::from(told.fault.is_some());
        }
        assert_eq!((broken, outs(&site, Cause::Requests)), (3, 1));
    });
}

#[test]
fn statuses_count_as_failures_where_that_was_asked_for() {
    run(async {
        let busy = App::start(|mut conn| async move {
            while conn.request().await.is_some() {
                conn.write("HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy").await;
            }
        })
        .await;
        let (good, _) = switched("good").await;
        let mut upstream = over(&[&busy, &good]);
        upstream.balance.pause = Duration::from_secs(60);
        let site = proxy(upstream.clone());
        for _ in 0..50 {
            Ask::get("/").of(&site).await;
        }
        assert_eq!(outs(&site, Cause::Requests), 0);
        upstream.balance.failing_statuses = vec![502..=504];
        let site = proxy(upstream);
        let mut statuses = Vec::new();
        for _ in 0..50 {
            let told = Ask::get("/").of(&site).await;
            assert_eq!(told.notes.retries(), 0, "an answer is an answer");
            statuses.push(told.status.as_u16());
        }
        assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 3);
        assert_eq!(outs(&site, Cause::Requests), 1);
    });
}

#[test]
fn failures_with_whole_answers_between_them_leave_nobody_out() {
    run(async {
        let moody = || {
            App::start(|mut conn| async move {
                for at in 1.. {
                    if conn.request().await.is_none() {
                        return;
                    }
                    let status = if at % 3 == 0 { "503 Busy" } else { "200 OK" };
                    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 4\r\n\r\nmood");
                    conn.write(&answer).await;
                }
            })
        };
        let (one, other) = (moody().await, moody().await);
        let mut upstream = over(&[&one, &other]);
        upstream.balance.failing_statuses = vec![503..=503];
        let site = proxy(upstream);
        let mut failures = 0;
        for _ in 0..100 {
            let told = Ask::get("/").of(&site).await;
            failures += usize::from(told.status == StatusCode::SERVICE_UNAVAILABLE);
        }
        assert!(failures > 20, "{failures}");
        assert_eq!(outs(&site, Cause::Requests), 0, "never two in a row");
    });
}

#[test]
fn a_silent_address_is_a_504_that_is_not_sent_again() {
    run(async {
        let silent = App::start(|mut conn| async move { conn.closed().await }).await;
        let (good, _) = switched("good").await;
        let mut upstream = over(&[&silent, &good]);
        upstream.timeouts.first_byte = Duration::from_millis(20);
        upstream.balance.pause = Duration::from_secs(60);
        let site = proxy(upstream);
        let mut late = 0;
        for _ in 0..50 {
            let told = Ask::get("/").of(&site).await;
            if told.status.as_u16() == 504 {
                assert_eq!(
                    (told.notes.retries(), told.notes.fault_label()),
                    (0, Some("upstream_timeout"))
                );
                late += 1;
            }
        }
        assert_eq!((late, outs(&site, Cause::Requests)), (3, 1));
    });
}

/// An application whose checks are good as long as its switch is on, and that answers requests in any case.
async fn ailing(name: &'static str) -> (App, Rc<Cell<bool>>) {
    let is_well = Rc::new(Cell::new(true));
    let switch = is_well.clone();
    let app = App::start(move |mut conn| {
        let switch = switch.clone();
        async move {
            while let Some(request) = conn.request().await {
                if request.line.starts_with("GET /health?deep ") && !switch.get() {
                    conn.write("HTTP/1.1 500 Ill\r\ncontent-length: 3\r\n\r\nill").await;
                } else {
                    conn.ok(name).await;
                }
            }
        }
    })
    .await;
    (app, is_well)
}

#[test]
fn checks_leave_an_address_out_and_bring_it_back() {
    run(async {
        let ((well, _), (ill, is_well)) = (ailing("well").await, ailing("ill").await);
        is_well.set(false);
        let mut upstream = over(&[&well, &ill]);
        upstream.health = Some(checks());
        let site = proxy(upstream);
        until(|| outs(&site, Cause::Checks) == 1).await;
        for _ in 0..20 {
            assert_eq!(Ask::get("/").of(&site).await.text(), "well");
        }
        assert_eq!(state(&site, &ill), "out");
        let check = ill.last();
        assert_eq!(check.line, "GET /health?deep HTTP/1.1");
        assert_eq!(check.field("host"), Some("www.shop.example"));
        assert_eq!(check.field("user-agent"), Some("shimmercat-health"));
        assert_eq!(check.field("shimmercat-loop"), Some("test-instance"));
        is_well.set(true);
        until(|| backs(&site) == 1).await;
        let mut texts = Vec::new();
        for _ in 0..20 {
            texts.push(Ask::get("/").of(&site).await.text());
        }
        assert!(texts.contains(&"ill".to_owned()), "{texts:?}");
        // Two bad checks are not enough, and checks end with the sites.
        let tasks = site.tasks.clone();
        drop(site);
        tasks.wait().await;
    });
}

#[test]
fn when_most_are_unwell_all_that_can_be_reached_are_asked() {
    run(async {
        let apps = [ailing("a").await, ailing("b").await, ailing("c").await];
        apps[0].1.set(false);
        apps[1].1.set(false);
        let mut upstream = over(&[&apps[0].0, &apps[1].0, &apps[2].0]);
        upstream.health = Some(checks());
        // One that cannot be reached is of no help.
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        upstream.addrs.push(UpstreamAddr::Tcp(gone.local_addr().unwrap()));
        drop(gone);
        let site = proxy(upstream.clone());
        until(|| outs(&site, Cause::Checks) == 3).await;
        let mut texts = Vec::new();
        for _ in 0..60 {
            let told = Ask::get("/").of(&site).await;
            assert_eq!(told.notes.retries(), 0);
            texts.push(told.text());
        }
        for name in ["a", "b", "c"] {
            assert!(texts.iter().filter(|text| *text == name).count() > 5, "{texts:?}");
        }
        upstream.balance.panic_percent = 20;
        let site = proxy(upstream);
        until(|| outs(&site, Cause::Checks) == 3).await;
        for _ in 0..20 {
            assert_eq!(Ask::get("/").of(&site).await.text(), "c");
        }
    });
}

#[test]
fn checks_speak_http2_too() {
    run(async {
        let (app, seen) = h2c().await;
        let mut upstream = app.spec();
        upstream.protocol = UpstreamProtocol::H2c;
        upstream.health = Some(checks());
        let site = proxy(upstream);
        let good = |event: &UpstreamEvent| matches!(event, UpstreamEvent::Checked { is_good: true });
        until(|| site.told.borrow().iter().filter(|event| good(event)).count() > 2).await;
        assert_eq!(seen.borrow()[0].headers["user-agent"], "shimmercat-health");
        assert!(
            !site
                .told
                .borrow()
                .iter()
                .any(|event| matches!(event, UpstreamEvent::Out { .. }))
        );
    });
}

#[test]
fn a_burst_at_first_is_no_more_than_an_application_takes() {
    run(async {
        let limits = Limits {
            streams: 8,
            ..Limits::default()
        };
        let (app, seen) = h2c_within(limits).await;
        let mut upstream = app.spec();
        upstream.protocol = UpstreamProtocol::H2c;
        let site = proxy(upstream);
        let all = futures_util::future::join_all((0..60).map(|_| Ask::get("/").of(&site))).await;
        for told in &all {
            assert_eq!((told.status, told.notes.retries()), (StatusCode::OK, 0));
        }
        assert_eq!(seen.borrow().len(), 60, "none was sent twice");
        assert!(app.connections() <= 60 / 8 + 1, "{}", app.connections());
    });
}

#[test]
fn php_is_checked_by_its_ping_or_by_a_program() {
    let php = PhpFpm::start(2);
    let site = folder(&[("health.php", b"<?php echo $_SERVER['QUERY_STRING'];")]);
    run(async {
        for (path, is_well) in [("/ping", true), ("/health.php?deep", true), ("/missing.php", false)] {
            let mut upstream = UpstreamSpec::new(UpstreamAddr::Unix(php.socket()));
            upstream.protocol = UpstreamProtocol::FastCgi;
            upstream.health = Some(HealthSpec {
                timeout: Duration::from_secs(10),
                ..HealthSpec::new(path)
            });
            let served = serve(vec![spec(Some(site.path()), Some(upstream))], Disclosure::Developer);
            let checked = || {
                served.told.borrow().iter().find_map(|event| match event {
                    UpstreamEvent::Checked { is_good } => Some(*is_good),
                    _ => None,
                })
            };
            until(|| checked().is_some()).await;
            assert_eq!(checked(), Some(is_well), "{path}: {:?}", served.told.borrow());
        }
    });
}

#[test]
fn checks_that_hang_are_bad() {
    run(async {
        let silent = App::start(|mut conn| async move { conn.closed().await }).await;
        let mut upstream = silent.spec();
        upstream.health = Some(HealthSpec {
            timeout: Duration::from_millis(20),
            ..checks()
        });
        let site = proxy(upstream);
        until(|| outs(&site, Cause::Checks) == 1).await;
        let told = site.told.borrow();
        let why = told.iter().find_map(|event| match event {
            UpstreamEvent::Out { why, .. } => Some(why.clone()),
            _ => None,
        });
        assert!(why.unwrap().contains("no answer"));
    });
}

#[test]
fn only_so_many_wait_and_the_rest_is_told_to_come_back() {
    run(async {
        let (go, wait) = tokio::sync::watch::channel(false);
        let app = App::start(move |mut conn| {
            let mut wait = wait.clone();
            async move {
                while conn.request().await.is_some() {
                    wait.wait_for(|go| *go).await.unwrap();
                    conn.ok("done").await;
                }
            }
        })
        .await;
        let mut upstream = app.spec();
        upstream.pool.busy = 1;
        upstream.pool.waiting = 2;
        let site = serve(vec![spec(None, Some(upstream))], Disclosure::Public);
        let count = async || {
            until(|| site.sites.endpoints()[0].waiting == 2).await;
            assert_eq!(site.sites.endpoints()[0].busy, 1);
            let told = Ask::get("/4").of(&site).await;
            assert_eq!((told.status.as_u16(), told.field("retry-after")), (503, "2"));
            assert_eq!(told.notes.fault_label(), Some("upstream_busy"));
            assert!(told.notes.fault().unwrap().contains("2 requests wait already"));
            go.send(true).unwrap();
        };
        let (one, two, three, ()) = tokio::join!(
            Ask::get("/1").of(&site),
            Ask::get("/2").of(&site),
            Ask::get("/3").of(&site),
            count()
        );
        for told in [one, two, three] {
            assert_eq!((told.status.as_u16(), told.text().as_str()), (200, "done"));
        }
        assert_eq!(site.sites.endpoints()[0].waiting, 0);
    });
}

#[test]
fn the_time_to_wait_is_one_for_all_addresses() {
    run(async {
        let hold = async |mut conn: Conn| {
            conn.request().await;
            conn.closed().await;
        };
        let (one, other) = (App::start(hold).await, App::start(hold).await);
        let mut upstream = over(&[&one, &other]);
        upstream.pool.busy = 1;
        upstream.timeouts.queue = Duration::from_millis(200);
        let site = Rc::new(proxy(upstream));
        for _ in 0..2 {
            let site = site.clone();
            tokio::task::spawn_local(async move { Ask::get("/").raw(&site).await });
        }
        until(|| site.sites.endpoints().iter().all(|endpoint| endpoint.busy == 1)).await;
        let began = tokio::time::Instant::now();
        let told = Ask::get("/").of(&site).await;
        let took = began.elapsed();
        assert_eq!((told.status.as_u16(), told.notes.retries()), (503, 1));
        assert!(
            took >= Duration::from_millis(200) && took < Duration::from_millis(390),
            "{took:?}"
        );
    });
}

#[test]
fn an_only_address_is_asked_however_often_it_failed() {
    run(async {
        let (app, is_on) = switched("here").await;
        is_on.set(false);
        let site = proxy(app.spec());
        for _ in 0..20 {
            assert_eq!(Ask::get("/").of(&site).await.status.as_u16(), 502);
        }
        is_on.set(true);
        assert_eq!(Ask::get("/").of(&site).await.text(), "here");
        assert_eq!(outs(&site, Cause::Requests), 0);
    });
}
