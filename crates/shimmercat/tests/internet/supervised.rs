//! Under a service manager: what a master tells systemd, what it takes from it, and how supervisord drives it.
//!
//! The service manager of most tests is their own (`manager`); `systemd-socket-activate` and `supervisord` are real. What a
//! service manager keeps is in `kept`.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sc_testkit::client::tls::TlsClient;
use sc_testkit::{Http1, Program, Request, client, eventually, find_program, free_port, pause};

use crate::gate::{Download, Gate};
use crate::kit::{PATIENCE, SITE, Shop, run};
use crate::manager::{Manager, Told, inode, passing};
use crate::processes::{children, held, is_gone, signal};
use crate::visitors::visit;

fn micros(told: &Told) -> u64 {
    let text = told.get("MONOTONIC_USEC").expect("a reload is told with its time");
    text.parse().expect("a number of microseconds")
}

fn monotonic_micros() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000 + now.tv_nsec / 1_000).expect("after boot")
}

#[test]
fn ready_is_told_when_every_lane_serves_and_not_before() {
    // A worker is stopped while it starts. That takes some luck; a start that was quicker is tried again.
    for attempt in 1.. {
        assert!(attempt < 20, "no worker could be stopped while it started");
        let (shop, manager) = (Shop::new(), Manager::new());
        let mut program = manager
            .manage(shop.internet(&["--workers", "2", "--log-codes", "all"]))
            .start();
        let line = program.wait_for_text("\"worker_started\"", PATIENCE);
        let started: serde_json::Value = serde_json::from_str(&line.text).expect("a log line is JSON");
        let pid = started["pid"]
            .as_u64()
            .and_then(|pid| u32::try_from(pid).ok())
            .expect("a pid");
        signal(pid, Signal::STOP);
        let has = |name| manager.told().iter().any(|told| told.is(name));
        if has("READY") {
            continue;
        }
        // The other lane's worker becomes active in the meantime; nothing tells of that but time.
        pause(Duration::from_millis(700));
        if program.stdout().contains("\"worker_lost\"") {
            program.expect_errors();
            continue;
        }
        assert!(!has("READY"), "one lane does not serve yet: {:?}", manager.told());
        signal(pid, Signal::CONT);
        let (_, ready) = manager.wait("READY", 0, |told| told.is("READY"));
        let status = ready.get("STATUS").expect("a status comes along");
        assert!(status.starts_with("2 of 2 lanes serve"), "{status}");
        println!("READY with STATUS={status}");
        return;
    }
}

#[test]
fn a_reload_is_told_from_its_beginning_to_its_end_whatever_comes_of_it() {
    let (shop, manager) = (Shop::new(), Manager::new());
    let mut master = shop.launch(manager.manage(shop.internet(&["--workers", "2"])));
    let (mut at, _) = manager.wait("READY", 0, |told| told.is("READY"));
    let mut reloaded = |what: &str, before: u64| {
        let (began, told) = manager.wait(&format!("RELOADING of {what}"), at + 1, |told| told.is("RELOADING"));
        let (since, now) = (micros(&told), monotonic_micros());
        assert!((before..=now).contains(&since), "{what}: {before} <= {since} <= {now}");
        let (ended, told) = manager.wait(&format!("READY after {what}"), began + 1, |told| told.is("READY"));
        assert!(told.get("STATUS").is_some(), "{what}: {told:?}");
        at = ended;
    };

    let before = monotonic_micros();
    master.program.signal(Signal::HUP);
    reloaded("SIGHUP", before);

    // A change of the file is seen by itself, too; whoever comes second finds nothing changed.
    let before = monotonic_micros();
    shop.rewrite(
        &[],
        &[&format!("{SITE}: {{ root-dir: site, headers: {{ X-Here: once }} }}")],
    );
    reloaded("a change of the file", before);

    let before = monotonic_micros();
    let done = run(&shop, ["reload"]);
    assert_eq!(done.status.code(), Some(0), "{}{}", done.stdout, done.stderr);
    reloaded("shimmercat reload", before);

    master.program.expect_errors();
    let before = monotonic_micros();
    shop.rewrite(&["nonsense: 1"], &[]);
    reloaded("a change that is refused", before);
    let before = monotonic_micros();
    let refused = run(&shop, ["reload"]);
    assert_ne!(refused.status.code(), Some(0), "{}", refused.stdout);
    reloaded("a reload that is refused", before);
    assert_eq!(master.curl(&format!("https://{SITE}/")).run().status, 200);
}

#[test]
fn stopping_is_told_at_once_and_more_time_is_asked_for_while_a_download_goes_on() {
    let (gate, manager) = (Gate::start(), Manager::new());
    let shop = gate.shop();
    let mut master = shop.launch(manager.manage(shop.internet(&["--workers", "2"])));
    manager.wait("READY", 0, |told| told.is("READY"));
    let download = Download::begin(master.http1(SITE));
    master.program.signal(Signal::TERM);
    let (at, _) = manager.wait("STOPPING", 0, |told| told.is("STOPPING"));
    let (first, _) = manager.wait("more time", at + 1, |told| told.get("EXTEND_TIMEOUT_USEC").is_some());
    let (_, again) = manager.wait("more time again", first + 1, |told| {
        told.get("EXTEND_TIMEOUT_USEC").is_some()
    });
    let more: u64 = again.says["EXTEND_TIMEOUT_USEC"].parse().expect("a number");
    assert!((1_000_000..=60_000_000).contains(&more), "{more}");
    let gate_opened = Instant::now();
    gate.open();
    download.finish();
    assert_eq!(master.program.wait_exit(PATIENCE).code(), Some(0));
    println!("ended {:?} after the download", gate_opened.elapsed());
    assert!(
        manager.told().iter().skip(at + 1).all(|told| !told.is("READY")),
        "whoever stops is not ready"
    );
}

#[test]
fn the_watchdog_is_fed_while_a_quorum_answers_and_only_then() {
    let (shop, manager) = (Shop::new(), Manager::new());
    let launch = manager
        .manage(shop.internet(&["--workers", "2"]))
        .env("WATCHDOG_USEC", "1000000");
    let mut master = shop.launch(launch);
    master.wait_settled();
    let fed_since = |then: Instant| {
        let told = manager.told();
        told.iter().filter(|told| told.at > then && told.is("WATCHDOG")).count()
    };
    let then = Instant::now();
    eventually("it is fed", PATIENCE, || {
        if fed_since(then) >= 4 {
            Ok(())
        } else {
            Err(fed_since(then))
        }
    });

    // Everybody who could answer is stopped, newcomers too. After three seconds of silence that is noticed.
    master.program.expect_errors();
    let frost = Frost::begin(master.program.pid());
    let began = Instant::now();
    let last_fed = || {
        let told = manager.told();
        told.into_iter()
            .rfind(|told| told.is("WATCHDOG"))
            .map_or(began, |told| told.at)
    };
    eventually("it is not fed for four times the limit", PATIENCE, || {
        let silence = last_fed().elapsed();
        if silence >= Duration::from_secs(4) {
            Ok(())
        } else {
            Err(silence)
        }
    });
    let noticed = last_fed().duration_since(began);
    println!(
        "all workers stopped: fed for {noticed:?} more, then not for {:?}",
        last_fed().elapsed()
    );
    assert!(noticed < Duration::from_secs(10), "{noticed:?}");

    frost.end();
    let then = Instant::now();
    eventually("it is fed again", PATIENCE, || {
        if fed_since(then) >= 4 {
            Ok(())
        } else {
            Err(fed_since(then))
        }
    });
    assert_eq!(master.curl(&format!("https://{SITE}/")).run().status, 200);
}

/// Stops every worker of a master, and each that comes.
struct Frost {
    is_over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<BTreeSet<u32>>,
}

impl Frost {
    fn begin(master: u32) -> Frost {
        let is_over = Arc::<AtomicBool>::default();
        let thread = std::thread::spawn({
            let is_over = is_over.clone();
            move || {
                let mut stopped = BTreeSet::new();
                while !is_over.load(Ordering::Relaxed) {
                    for pid in children(master) {
                        // Not before it was executed: its master waits for that.
                        let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                        if title.starts_with(b"shimmercat: worker") && stopped.insert(pid) {
                            signal(pid, Signal::STOP);
                        }
                    }
                    pause(Duration::from_millis(1));
                }
                stopped
            }
        });
        Frost { is_over, thread }
    }

    /// Lets all of them go on.
    fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for pid in self.thread.join().expect("stopping does not panic") {
            signal(pid, Signal::CONT);
        }
    }
}

#[test]
fn systemd_socket_activation_hands_sockets_over_by_name() {
    let shop = Shop::new();
    let [https, second, redirect] = [free_port(), free_port(), free_port()];
    let program = find_program("systemd-socket-activate");
    let activator = [
        program.to_str().expect("a path of letters"),
        "-l",
        &format!("127.0.0.1:{https}"),
        "-l",
        &format!("127.0.0.1:{second}"),
        "-l",
        &format!("127.0.0.1:{redirect}"),
        "--fdname=web:web:plain",
    ];
    let launch = shop
        .shimmercat([
            "internet",
            "--workers",
            "3",
            "--listen",
            "socket-name://web",
            "-t",
            "socket-name://plain",
        ])
        .arg("--cert")
        .arg(&shop.certificate.chain)
        .arg("--key")
        .arg(&shop.certificate.key)
        .through(activator);
    let address: SocketAddr = (Ipv4Addr::LOCALHOST, https).into();
    let mut program = launch.start();
    program.wait_for_text("Listening on", PATIENCE);
    // It begins with the first connection, which waits and is served.
    let visitor = std::thread::spawn({
        let client = TlsClient::new(&shop.certificate.ca, &["http/1.1"]);
        move || visit(address, &client)
    });
    program.wait_for_text(&format!("https    127.0.0.1:{https}, 127.0.0.1:{second}"), PATIENCE);
    program.wait_for_text("next: shimmercat status", PATIENCE);
    assert_eq!(visitor.join().expect("a visitor does not panic"), Ok(()));
    let client = TlsClient::new(&shop.certificate.ca, &["http/1.1"]);
    for address in [address, (Ipv4Addr::LOCALHOST, second).into()] {
        for _ in 0..10 {
            assert_eq!(
                visit(address, &client),
                Ok(()),
                "every socket of the name is accepted from"
            );
        }
    }
    let mut plain = Http1::new(client::tcp((Ipv4Addr::LOCALHOST, redirect).into()));
    let moved = plain.request(&Request::get(SITE, "/"));
    assert_eq!(moved.status, 301, "{:?}", moved.headers);
    let location = moved.header("location").expect("a place to go to");
    assert_eq!(location, format!("https://{SITE}:{https}/"));
    assert_eq!(program.stop().code(), Some(0), "{}", program.stderr());
}

#[test]
fn a_descriptor_by_number_needs_no_service_manager() {
    let shop = Shop::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("an address");
    let own = inode(&listener);
    let through = passing(&[listener.as_fd()], None);
    let launch = shop
        .shimmercat(["internet", "--workers", "2", "--listen", "socket-fd://3"])
        .arg("--cert")
        .arg(&shop.certificate.chain)
        .arg("--key")
        .arg(&shop.certificate.key)
        .through(through);
    let master = shop.launch(launch);
    assert_eq!(master.https, address);
    drop(listener);
    assert_eq!(held(master.program.pid(), &[own]), [own]);
    let client = TlsClient::new(&shop.certificate.ca, &["http/1.1"]);
    for _ in 0..10 {
        assert_eq!(visit(address, &client), Ok(()));
    }
    master.recycle();
    assert_eq!(visit(address, &client), Ok(()), "it stays the master's over a renewal");
    master.stop();
}

/// The example that is shipped, with the program and places of a test.
fn supervisord_conf(shop: &Shop, listen: &str) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../dist/supervisord.conf");
    let shipped = fs::read_to_string(root).expect("dist/supervisord.conf is shipped");
    let command = format!(
        "command={} internet --workers 2 --listen {listen} --cert {} --key {}",
        env!("CARGO_BIN_EXE_shimmercat"),
        shop.certificate.chain.display(),
        shop.certificate.key.display(),
    );
    let home = shop.project.path().display();
    let mut text = String::new();
    for line in shipped.lines() {
        let name = line.split('=').next().unwrap_or_default();
        text.push_str(&match name {
            "command" => command.clone(),
            "directory" => format!("directory={home}"),
            "environment" => format!("environment=HOME=\"{home}\""),
            // The test has no such user.
            "user" => continue,
            "startsecs" => "startsecs=1".to_owned(),
            "stdout_logfile" => format!("stdout_logfile={home}/out.log"),
            "stderr_logfile" => format!("stderr_logfile={home}/err.log"),
            _ => line.to_owned(),
        });
        text.push('\n');
    }
    format!(
        "[supervisord]\nnodaemon=true\nlogfile={home}/supervisord.log\npidfile={home}/supervisord.pid\n\
         [unix_http_server]\nfile={home}/supervisor.sock\n\
         [rpcinterface:supervisor]\n\
         supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n\
         [supervisorctl]\nserverurl=unix://{home}/supervisor.sock\n{text}"
    )
}

#[test]
fn supervisord_starts_restarts_reloads_and_stops_it_by_the_example_that_is_shipped() {
    let gate = Gate::start();
    let shop = gate.shop();
    let listen = format!("127.0.0.1:{}", free_port());
    shop.project.file("supervisord.conf", supervisord_conf(&shop, &listen));
    let conf = shop.project.path_of("supervisord.conf");
    let python = sc_testkit::python();
    let python = python.to_str().expect("a path of letters");
    let launch = |module: &str| {
        sc_testkit::Launch::new(python)
            .current_dir(shop.project.path())
            .args(["-m", module, "-c"])
            .arg(&conf)
    };
    let mut daemon = launch("supervisor.supervisord").start();
    let control = |arguments: &[&str]| {
        let done = launch("supervisor.supervisorctl").args(arguments).run(PATIENCE);
        format!("{}{}", done.stdout, done.stderr)
    };
    let running = |what: &str| {
        let said = eventually(what, PATIENCE, || {
            let said = control(&["status", "shimmercat"]);
            if said.contains("RUNNING") { Ok(said) } else { Err(said) }
        });
        let pid = said.split("pid ").nth(1).and_then(|rest| rest.split(',').next());
        pid.and_then(|pid| pid.parse::<u32>().ok())
            .unwrap_or_else(|| panic!("no pid: {said}"))
    };
    let address: SocketAddr = listen.parse().expect("an address");
    let tls = TlsClient::new(&shop.certificate.ca, &["http/1.1"]);
    let served = |what: &str| eventually(what, PATIENCE, || visit(address, &tls));

    let first = running("it is started");
    served("it serves");
    assert_eq!(
        fs::read_to_string(format!("/proc/{first}/comm"))
            .expect("a process")
            .trim(),
        "shimmercat"
    );

    let said = control(&["signal", "HUP", "shimmercat"]);
    assert!(said.contains("signalled"), "{said}");
    served("it serves after SIGHUP");
    assert_eq!(running("the process is the same"), first);

    // A crash: supervisord starts another, which begins beside the workers of the first.
    signal(first, Signal::KILL);
    let second = eventually("it is started again", PATIENCE, || {
        let pid = running("it runs");
        if pid == first { Err(pid) } else { Ok(pid) }
    });
    served("it serves after a crash");

    let said = control(&["restart", "shimmercat"]);
    assert!(said.contains("started"), "{said}");
    let third = running("it runs after a restart");
    assert!(third != first && third != second);
    served("it serves after a restart");

    let said = control(&["stop", "shimmercat"]);
    assert!(said.contains("stopped"), "{said}");
    assert!(is_gone(third), "a stop waits for the end");
    let log = fs::read_to_string(shop.project.path_of("out.log")).expect("the log");
    assert!(
        log.lines().all(|line| line.starts_with('{')),
        "one JSON object a line:\n{log}"
    );
    assert!(!log.contains('\x1b'));
    println!("pids {first}, {second} after SIGKILL, {third} after restart");
    end(&mut daemon);
    orphans_of(&shop).into_iter().for_each(|pid| signal(pid, Signal::KILL));
}

fn end(daemon: &mut Program) {
    daemon.expect_errors();
    daemon.stop();
}

/// Workers whose master was killed, of this test: they stand in its folder.
fn orphans_of(shop: &Shop) -> Vec<u32> {
    let pids = fs::read_dir("/proc").expect("the kernel tells its processes").flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let folder = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            title.starts_with(b"shimmercat: worker") && folder == shop.project.path()
        })
        .collect()
}
