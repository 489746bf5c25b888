//! `shimmercat drill`: finds nothing where nothing is lost, names what is lost, repeats itself, and leaves nothing behind.
//!
//! `SHIMMERCAT_LONG=1` makes the first of these drills last for a minute.
#![expect(clippy::print_stdout, reason = "figures are for whoever runs the test")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sc_testkit::program::{Finished, Launch, Signal};
use sc_testkit::{HttpApp, eventually, pause};
use serde_json::Value;

use crate::kit::{SITE, Shop, run};
use crate::traffic::lasts;

/// The site of an application.
const APP: &str = "app.shop.example";

/// From the start of a drill to its end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(150);

/// A shop with some files, and an application at `app`.
fn shop_with(app: SocketAddr) -> Shop {
    let shop = Shop::with(&[
        &format!("{SITE}: {{ root-dir: site }}"),
        &format!("{APP}: {{ port: {} }}", app.port()),
    ]);
    files(&shop);
    shop
}

fn files(shop: &Shop) {
    shop.project.file("site/index.html", "<h1>hello</h1>\n");
    shop.project.file("site/über uns.txt", "we sell\n".repeat(4000));
    shop.project.file("site/css/shop.css", "p { color: red }\n");
}

/// A start of a drill with the shop's certificate.
fn launch(shop: &Shop, options: &[&str]) -> Launch {
    shop.shimmercat(["drill", "--workers", "2"])
        .arg("--cert")
        .arg(&shop.certificate.chain)
        .arg("--key")
        .arg(&shop.certificate.key)
        .args(options)
}

fn drill(shop: &Shop, options: &[&str]) -> Finished {
    launch(shop, options).run(PATIENCE)
}

fn json(done: &Finished) -> Value {
    serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {}\n{}", done.stdout, done.stderr))
}

/// Every file below a folder, with its length.
fn listing(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        // What is being removed may be gone by now.
        let Ok(about) = entry.metadata() else { continue };
        if about.is_dir() {
            found.extend(listing(&entry.path()));
        }
        found.insert(entry.path(), if about.is_file() { about.len() } else { 0 });
    }
    found
}

/// A process and all that it started, and these, and so on.
fn family(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    [pid].into_iter().chain(children.flat_map(family)).collect()
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

fn assert_gone(family: &[u32], temporary: &Path) {
    eventually("nothing of the drill is left", PATIENCE, || {
        let alive: Vec<_> = family.iter().filter(|pid| is_alive(**pid)).collect();
        let left = listing(temporary);
        if alive.is_empty() && left.is_empty() {
            Ok(())
        } else {
            Err((format!("{alive:?}"), left))
        }
    });
}

#[test]
fn a_healthy_project_loses_nothing_and_the_table_says_so() {
    let app = HttpApp::start();
    let shop = shop_with(app.address());
    let seconds = lasts(5, 60).as_secs().to_string();
    let done = drill(&shop, &["--seed", "7", "--seconds", &seconds]);
    println!("{}{}", done.stderr, done.stdout);
    assert_eq!(done.status.code(), Some(0), "{}{}", done.stderr, done.stdout);
    assert_eq!(done.stdout.lines().last(), Some("lost=0"), "{}", done.stdout);
    let wide = done.stdout.lines().find(|line| line.chars().count() > 80);
    assert_eq!(wide, None, "the table fits 80 columns");
    for part in [
        "requests",
        "HTTP/1.1 kept alive",
        "HTTP/2",
        "p99",
        "reconnected",
        "killed",
        "recycles",
    ] {
        assert!(done.stdout.contains(part), "{part} in\n{}", done.stdout);
    }
    for part in ["drill --seed 7", SITE, APP, "first"] {
        assert!(done.stderr.contains(part), "{part} in\n{}", done.stderr);
    }
    assert!(
        app.requests() > 10,
        "the application was asked {} times",
        app.requests()
    );
}

#[test]
fn the_report_counts_everything_and_applications_can_be_left_alone() {
    let app = HttpApp::start();
    let shop = shop_with(app.address());
    let done = drill(&shop, &["--seed", "3", "--seconds", "6", "--no-apps", "--json"]);
    let report = json(&done);
    assert_eq!(done.status.code(), Some(0), "{}{report:#}", done.stderr);
    assert_eq!((&report["lost"], &report["seed"]), (&0.into(), &3.into()), "{report:#}");
    assert_eq!(
        (&report["panics"], &report["forced_closes"]),
        (&0.into(), &0.into()),
        "{report:#}"
    );
    for count in ["requests", "recycles", "reloads", "kills"] {
        assert!(report[count].as_u64() > Some(0), "{count} in {report:#}");
    }
    for protocol in ["h1_kept_alive", "h1_single", "h2"] {
        assert!(
            report["by_protocol"][protocol].as_u64() > Some(0),
            "{protocol} in {report:#}"
        );
    }
    // GET and HEAD of the front page, and three files; nothing of the application.
    assert_eq!(
        (&report["urls"], &report["sites"]),
        (&5.into(), &vec![SITE].into()),
        "{report:#}"
    );
    assert_eq!(app.requests(), 0);
}

#[test]
fn an_application_that_breaks_every_tenth_answer_is_found_and_named() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    let address = listener.local_addr().expect("a bound socket has an address");
    std::thread::spawn(move || {
        for (count, stream) in listener.incoming().flatten().enumerate() {
            // A client that went away is no matter.
            let _ = answer(stream, count % 10 == 9);
        }
    });
    let done = drill(&shop_with(address), &["--seed", "11", "--seconds", "4"]);
    assert_eq!(done.status.code(), Some(1), "{}{}", done.stderr, done.stdout);
    for part in [
        &format!("https://{APP}/") as &str,
        "application: answered 502 Bad Gateway, and 200 in the quiet round",
        "are errors of an application)",
        "client port",
    ] {
        assert!(done.stdout.contains(part), "{part} in\n{}", done.stdout);
    }
    assert!(!done.stdout.contains("lost=0"), "{}", done.stdout);
    assert!(done.stderr.contains("--seed 11"), "{}", done.stderr);
}

#[test]
fn a_worker_that_dies_though_nobody_planned_it_is_found() {
    let shop = Shop::new();
    files(&shop);
    let start = launch(&shop, &["--seed", "2", "--seconds", "8", "--json"]);
    let mut program = start.expect_errors().start();
    program.wait_for_text("first", PATIENCE);
    let name = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let is_worker = |pid: &u32| name(pid).starts_with("shimmercat: worker");
    let mut killed = 0;
    while !program.has_ended() && killed < 12 {
        for pid in family(program.pid()).iter().filter(|pid| is_worker(pid)) {
            // It may have ended by itself just now.
            let pid = rustix::process::Pid::from_raw(i32::try_from(*pid).expect("a process id"));
            killed += u32::from(rustix::process::kill_process(pid.expect("not 0"), Signal::KILL).is_ok());
        }
        pause(Duration::from_millis(700));
    }
    assert_eq!(program.wait_exit(PATIENCE).code(), Some(1), "{}", program.stderr());
    let report: Value = serde_json::from_str(&program.stdout()).expect("JSON");
    println!("{report:#}");
    assert!(report["lost"].as_u64() > Some(0), "{report:#}");
    let loss = &report["losses"][0];
    assert!(loss["url"].as_str().is_some_and(|url| url.contains(SITE)), "{loss:#}");
    assert_eq!(loss["by_application"], false, "{loss:#}");
}

/// One answer on a connection; a broken one ends in the middle of its head.
fn answer(mut stream: TcpStream, is_broken: bool) -> std::io::Result<()> {
    for line in BufReader::new(stream.try_clone()?).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n";
    match whole.get(..20).filter(|_| is_broken) {
        Some(part) => stream.write_all(part.as_bytes()),
        None => writeln!(stream, "{whole}hi"),
    }
}

#[test]
fn a_seed_has_one_plan() {
    let shop = Shop::new();
    let plan = |seed: &str| {
        let report = json(&drill(&shop, &["--seed", seed, "--seconds", "1", "--json"]));
        assert!(
            report["plan"].as_array().is_some_and(|plan| plan.len() > 1),
            "{report:#}"
        );
        report["plan"].clone()
    };
    let first = plan("5");
    assert_eq!(first, plan("5"));
    assert_ne!(first, plan("6"));
}

#[test]
fn a_running_instance_and_its_files_are_not_touched() {
    let shop = Shop::new();
    let master = shop.serve();
    master.wait_settled();
    let home = master.program.home().to_owned();
    let seen = || {
        (
            listing(&home),
            listing(shop.project.path()),
            master.workers("active"),
            master.workers("warm"),
        )
    };
    let before = seen();
    let done = launch(&shop, &["--seconds", "2"]).env("HOME", &home).run(PATIENCE);
    assert_eq!(done.status.code(), Some(0), "{}{}", done.stderr, done.stdout);
    assert_eq!(seen(), before);
    assert_eq!(master.status()["exchanges"], 0);
    master.stop();
}

#[test]
fn a_certificate_is_made_where_none_covers_the_sites() {
    let shop = Shop::with(&[
        "www.other.example: { root-dir: site }",
        "'*.shop.example': { root-dir: site }",
    ]);
    files(&shop);
    let done = drill(&shop, &["--seconds", "2"]);
    assert_eq!(done.status.code(), Some(0), "{}{}", done.stderr, done.stdout);
    let why = "cert    made for the drill: it does not cover www.other.example";
    assert!(done.stderr.contains(why), "{}", done.stderr);
    assert!(done.stderr.contains("drill.shop.example"), "{}", done.stderr);
}

#[test]
fn nothing_is_left_behind_by_a_drill_that_is_stopped_or_killed() {
    let shop = Shop::new();
    for (signal, code) in [(Signal::INT, Some(1)), (Signal::KILL, None)] {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let start = launch(&shop, &["--seconds", "600"]).env("TMPDIR", temporary.path());
        let mut program = start.expect_errors().start();
        program.wait_for_text("first", PATIENCE);
        let family = family(program.pid());
        assert!(family.len() > 4, "a drill, a master, and workers: {family:?}");
        assert!(!listing(temporary.path()).is_empty());
        program.signal(signal);
        let status = program.wait_exit(PATIENCE);
        assert_eq!(status.code(), code, "{}", program.stderr());
        assert_gone(&family, temporary.path());
        if signal == Signal::INT {
            assert!(program.stdout().contains("lost=0"), "{}", program.stdout());
            assert!(
                program.stderr().contains("stopped before its end"),
                "{}",
                program.stderr()
            );
        }
    }
}

#[test]
fn mistakes_of_the_configuration_are_exit_code_3_and_the_command_line_2() {
    let shop = Shop::with(&["phpmyadmin: { port: 9, audience: network }"]);
    let hidden = run(&shop, ["drill"]);
    assert_eq!(hidden.status.code(), Some(3), "{}", hidden.stderr);
    assert!(hidden.stderr.contains("there is no public site"), "{}", hidden.stderr);
    shop.rewrite(&[], &["www.shop.example: { rot-dir: site }"]);
    assert_eq!(run(&shop, ["drill"]).status.code(), Some(3));
    fs::remove_file(shop.project.path_of("devlove.yaml")).expect("the file is there");
    assert_eq!(run(&shop, ["drill"]).status.code(), Some(3));
    assert_eq!(run(&shop, ["drill", "--seconds", "0"]).status.code(), Some(2));
    assert_eq!(
        run(&shop, ["drilled"]).status.code(),
        Some(1),
        "it is for the program itself"
    );
}
