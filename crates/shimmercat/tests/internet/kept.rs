//! Sockets that a service manager keeps: what is given to it, and what a master makes of it that follows one that stopped or
//! was killed. Also what becomes of the workers of a dead master.
//!
//! With `SHIMMERCAT_LONG` in the environment, workers of a dead master are waited for until they end by themselves (a minute).

use std::time::{Duration, Instant};

use rustix::process::Signal;
use sc_testkit::client::tls::TlsClient;
use sc_testkit::{eventually, free_port};

use crate::gate::{Download, Gate, ask};
use crate::kit::{Master, PATIENCE, SITE, Shop};
use crate::manager::Manager;
use crate::processes::{children_named, held, is_gone, signal, wait_gone};
use crate::visitors::{Visitors, visit};

/// Tells workers without a master to end until they have: asked twice, they do not wait for those who idle. Signals that
/// come close together count as one.
fn hurry(pids: &[u32]) {
    eventually("workers without a master end", Duration::from_secs(9), || {
        pids.iter().for_each(|pid| signal(*pid, Signal::TERM));
        let left: Vec<_> = pids.iter().filter(|pid| !is_gone(**pid)).collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
}

/// All workers of a master, whatever their state.
fn all_workers(master: &Master) -> Vec<u32> {
    ["starting", "warm", "active", "draining"]
        .iter()
        .flat_map(|state| master.workers(state))
        .map(|worker| worker.pid)
        .collect()
}

#[test]
fn every_socket_of_every_lane_is_given_to_be_kept_under_a_name_that_says_which() {
    let (shop, manager) = (Shop::new(), Manager::new());
    let port = free_port();
    let unix = shop.project.path_of("page.sock");
    let listen = format!("127.0.0.1:{port},unix://{}", unix.display());
    let redirect = free_port();
    let options = [
        "--workers",
        "2",
        "--listen",
        &listen,
        "-t",
        &format!("127.0.0.1:{redirect}"),
    ];
    let launch = shop
        .shimmercat(["internet"])
        .arg("--cert")
        .arg(&shop.certificate.chain)
        .arg("--key")
        .arg(&shop.certificate.key)
        .args(options);
    let master = shop.launch(manager.manage(launch));
    manager.wait("READY", 0, |told| told.is("READY"));

    let mut wanted = Vec::new();
    for lane in 0..2 {
        wanted.push(format!("shimmercat/https/{lane}/tcp/127.0.0.1%3A{port}"));
        // Two UDP sockets for each lane: of this generation of workers and of the next.
        wanted.extend(vec![format!("shimmercat/https/{lane}/udp/127.0.0.1%3A{port}"); 2]);
        wanted.push(format!("shimmercat/redirect/{lane}/tcp/127.0.0.1%3A{redirect}"));
    }
    wanted.push(format!("shimmercat/https/0/unix/unix%3A//{}", unix.display()));
    wanted.sort();
    let names = eventually("all are given", PATIENCE, || {
        let names = manager.names();
        if names.len() >= wanted.len() {
            Ok(names)
        } else {
            Err(names)
        }
    });
    assert_eq!(names, wanted);
    assert!(
        names.iter().all(|name| name.len() <= 255 && name.is_ascii()),
        "{names:?}"
    );

    let sockets = manager.sockets();
    assert_eq!(
        held(master.program.pid(), &sockets),
        sockets,
        "they are the master's own"
    );
    println!("kept: {names:#?}");
    master.stop();
    assert_eq!(manager.names(), wanted, "a restart finds them after a stop, too");
}

#[test]
fn a_master_that_was_killed_gets_its_sockets_back_and_no_connection_is_lost() {
    let (gate, manager) = (Gate::start(), Manager::new());
    let shop = gate.shop();
    let mut first = shop.launch(manager.manage(shop.internet(&["--workers", "2"])));
    manager.wait("READY", 0, |told| told.is("READY"));
    first.wait_settled();
    let (sockets, address) = (manager.sockets(), first.https);
    let orphans = all_workers(&first);
    let download = Download::begin(first.http1(SITE));
    let visitors: Vec<_> = (0..3).map(|_| Visitors::start(address, &shop.certificate.ca)).collect();

    first.program.signal(Signal::KILL);
    first.program.wait_exit(PATIENCE);
    let began = Instant::now();
    let told = manager.told().len();
    let second = shop.launch(manager.give_back(shop.internet(&["--workers", "2"])));
    manager.wait("READY of the second", told, |told| told.is("READY"));
    let away = began.elapsed();
    assert_eq!(
        second.https, address,
        "the same port, though it was chosen by the system"
    );
    assert_eq!(manager.sockets(), sockets, "the same sockets, and no other");
    assert_eq!(held(second.program.pid(), &sockets), sockets);
    assert!(orphans.iter().all(|pid| !is_gone(*pid)), "former workers serve on");

    for pid in &orphans {
        signal(*pid, Signal::TERM);
    }
    gate.open();
    // They were told to end, and still let go of nothing that they have begun.
    let mut kept = download.finish();
    hurry(&orphans);
    assert!(kept.is_closed());
    let (mut served, mut slowest) = (0, Duration::ZERO);
    for visitor in visitors {
        let (count, failed, time) = visitor.end();
        assert_eq!(failed, Vec::<String>::new(), "after {count} good ones");
        assert!(count > 0);
        (served, slowest) = (served + count, slowest.max(time));
    }
    println!("{served} connections, 0 failed; slowest {slowest:?}; the master was away for {away:?}");
    second.stop();
}

#[test]
fn restarts_refuse_nobody_because_the_sockets_stay_open_in_between() {
    let (shop, manager) = (Shop::new(), Manager::new());
    let launch = || shop.internet(&["--workers", "2"]);
    let mut master = shop.launch(manager.manage(launch()));
    manager.wait("READY", 0, |told| told.is("READY"));
    let address = master.https;
    let visitors: Vec<_> = (0..6).map(|_| Visitors::start(address, &shop.certificate.ca)).collect();
    let served = || visitors.iter().map(Visitors::served).sum::<usize>();
    let mut away = Vec::new();
    for _ in 0..3 {
        let wanted = served() + 30;
        eventually("visitors are served", PATIENCE, || {
            if served() >= wanted { Ok(()) } else { Err(served()) }
        });
        let (began, told) = (Instant::now(), manager.told().len());
        master.program.signal(Signal::TERM);
        assert_eq!(master.program.wait_exit(PATIENCE).code(), Some(0));
        master = shop.launch(manager.give_back(launch()));
        manager.wait("READY again", told, |told| told.is("READY"));
        away.push(began.elapsed());
        assert_eq!(master.https, address);
    }
    let (mut served, mut slowest) = (0, Duration::ZERO);
    for visitor in visitors {
        let (count, failed, time) = visitor.end();
        assert_eq!(failed, Vec::<String>::new(), "after {count} good ones");
        (served, slowest) = (served + count, slowest.max(time));
    }
    println!("{served} connections, 0 failed; slowest {slowest:?}; restarts of {away:?}");
    master.stop();
}

#[test]
fn a_restart_with_fewer_lanes_or_elsewhere_takes_what_fits_and_gives_the_rest_back() {
    let (shop, manager) = (Shop::new(), Manager::new());
    let [port, other] = [free_port(), free_port()];
    let start = |port: u16, lanes: &str| {
        let listen = format!("127.0.0.1:{port}");
        let launch = shop
            .shimmercat(["internet", "--workers", lanes, "--listen", &listen])
            .arg("--cert")
            .arg(&shop.certificate.chain)
            .arg("--key")
            .arg(&shop.certificate.key);
        shop.launch(manager.give_back(launch))
    };
    let tls = TlsClient::new(&shop.certificate.ca, &["http/1.1"]);
    start(port, "3").stop();
    let (names, sockets) = (manager.names(), manager.sockets());
    assert_eq!(
        names.len(),
        9,
        "one of TCP and two of UDP for each of three lanes: {names:?}"
    );

    // The one lane that is left accepts from all of them: a queue that nobody accepts from would swallow connections.
    let fewer = start(port, "1");
    assert_eq!(held(fewer.program.pid(), &sockets), sockets);
    for _ in 0..30 {
        assert_eq!(visit(fewer.https, &tls), Ok(()));
    }
    assert_eq!(manager.names(), names);
    fewer.stop();

    let elsewhere = start(other, "1");
    eventually("what is of no use is given back", PATIENCE, || {
        let names = manager.names();
        let is_new = |name: &String| name.ends_with(&format!("%3A{other}"));
        if names.len() == 3 && names.iter().all(is_new) {
            Ok(())
        } else {
            Err(names)
        }
    });
    assert_eq!(visit(elsewhere.https, &tls), Ok(()));
    elsewhere.stop();
}

#[test]
fn without_a_store_workers_of_a_dead_master_serve_on_and_another_master_begins_beside_them() {
    let gate = Gate::start();
    let shop = gate.shop();
    let listen = format!("127.0.0.1:{}", free_port());
    let launch = || {
        shop.shimmercat(["internet", "--workers", "2", "--listen", &listen])
            .arg("--cert")
            .arg(&shop.certificate.chain)
            .arg("--key")
            .arg(&shop.certificate.key)
    };
    let mut first = shop.launch(launch());
    first.wait_settled();
    let (orphans, redis) = (all_workers(&first), children_named(first.program.pid(), "redis-server"));
    let mut idle = first.http1(SITE);
    assert_eq!(ask(&mut idle), 200);
    let download = Download::begin(first.http1(SITE));

    let died = Instant::now();
    first.program.signal(Signal::KILL);
    first.program.wait_exit(PATIENCE);
    assert_eq!(
        first.curl(&format!("https://{SITE}/")).run().status,
        200,
        "new connections are served"
    );
    assert_eq!(ask(&mut idle), 200, "and open ones");
    assert_eq!(redis.len(), 1, "Redis was the master's child");
    wait_gone(&redis);

    let second = shop.launch(launch());
    assert_eq!(second.https, first.https);
    assert!(orphans.iter().all(|pid| !is_gone(*pid)), "former workers serve on");
    assert_eq!(second.curl(&format!("https://{SITE}/")).run().status, 200);
    if std::env::var_os("SHIMMERCAT_LONG").is_none() {
        for pid in &orphans {
            signal(*pid, Signal::TERM);
        }
        gate.open();
        download.finish();
        assert_eq!(ask(&mut idle), 200, "an idle connection is served once more");
        hurry(&orphans);
    } else {
        gate.open();
        download.finish();
        eventually("they end by themselves", Duration::from_secs(120), || {
            let left: Vec<_> = orphans.iter().filter(|pid| !is_gone(**pid)).collect();
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            }
        });
        println!(
            "former workers ended by themselves {:?} after their master",
            died.elapsed()
        );
    }
    for _ in 0..20 {
        assert_eq!(second.curl(&format!("https://{SITE}/")).run().status, 200);
    }
    second.stop();
}
