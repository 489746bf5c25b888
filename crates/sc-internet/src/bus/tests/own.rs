//! A Redis of our own: how it is started, and that it comes back whatever is done to it.

use std::cell::RefCell;
use std::io::{BufRead as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpgid, kill_process, test_kill_process};

use super::super::*;
use super::bench::*;

fn process(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

#[test]
fn it_has_a_private_socket_and_no_port_and_no_disk() {
    run(async {
        let bench = Bench::new();
        let own = bench.own("64mb").await;
        let mode = std::fs::metadata(bench.socket()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for (name, expected) in [
            ("port", "0"),
            ("tls-port", "0"),
            ("save", ""),
            ("appendonly", "no"),
            ("maxmemory", "67108864"),
            ("maxmemory-policy", "noeviction"),
            ("daemonize", "no"),
            ("logfile", ""),
        ] {
            let found: (String, String) = ask(&own.place(), &["CONFIG", "GET", name]).await;
            assert_eq!(found, (name.to_owned(), expected.to_owned()));
        }
        let files: Vec<_> = std::fs::read_dir(bench.folder.path()).unwrap().collect();
        assert_eq!(files.len(), 1, "the socket only: {files:?}");
    });
}

#[test]
fn it_is_in_a_group_of_its_own_and_ends_when_told() {
    run(async {
        let bench = Bench::new();
        let own = bench.own("64mb").await;
        let Health::Up { pid } = own.health() else { panic!() };
        assert_eq!(
            getpgid(Some(process(pid))).unwrap(),
            process(pid),
            "Ctrl-C must not reach it"
        );
        own.stop().await;
        assert_eq!(own.health(), Health::Stopped);
        assert!(
            test_kill_process(process(pid)).is_err(),
            "it has ended and was waited for"
        );
        assert!(!bench.socket().exists());
        until("its task has ended", || bench.tasks.count() == 0).await;
    });
}

#[test]
fn killed_it_comes_back_and_says_what_happened() {
    run(async {
        let bench = Bench::new();
        let said = Rc::new(RefCell::new(Vec::new()));
        let sink = said.clone();
        let own = bench.own_with(
            "64mb",
            Duration::from_secs(600),
            Rc::new(move |health| sink.borrow_mut().push(health.clone())),
        );
        until("Redis is up", || matches!(own.health(), Health::Up { .. })).await;
        let first = signal(&own, Signal::KILL);
        until(
            "another is up",
            || matches!(own.health(), Health::Up { pid } if pid != first),
        )
        .await;
        let said = said.borrow();
        let [
            Health::Starting,
            Health::Up { .. },
            Health::Down { why, again_in },
            Health::Starting,
            Health::Up { .. },
        ] = said.as_slice()
        else {
            panic!("{said:?}");
        };
        assert!(why.contains("signal: 9") && !why.contains("last words"), "{why}");
        assert!(*again_in <= Duration::from_millis(100), "{again_in:?}");
    });
}

#[test]
fn frozen_it_is_replaced() {
    run(async {
        let bench = Bench::new();
        let said = Rc::new(RefCell::new(Vec::new()));
        let sink = said.clone();
        let own = bench.own_with(
            "64mb",
            Duration::from_millis(50),
            Rc::new(move |health| sink.borrow_mut().push(health.clone())),
        );
        until("Redis is up", || matches!(own.health(), Health::Up { .. })).await;
        let first = signal(&own, Signal::STOP);
        until(
            "another is up",
            || matches!(own.health(), Health::Up { pid } if pid != first),
        )
        .await;
        assert!(test_kill_process(process(first)).is_err(), "the frozen one is gone");
        let said = said.borrow();
        let stuck = said
            .iter()
            .any(|health| matches!(health, Health::Down { why, .. } if why.contains("stopped answering")));
        assert!(stuck, "{said:?}");
    });
}

#[test]
fn a_program_that_does_not_work_is_tried_ever_more_seldom() {
    run(async {
        let bench = Bench::new();
        let script = bench.folder.path().join("no-redis");
        std::fs::write(&script, "#!/bin/sh\necho starting\necho it is broken >&2\nexit 3\n").unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let said = Rc::new(RefCell::new(Vec::new()));
        let sink = said.clone();
        let owning = Owning {
            program: script,
            socket: bench.socket(),
            told: Rc::new(move |health| sink.borrow_mut().push(health.clone())),
            seed: 1,
        };
        let began = Instant::now();
        let own = Own::start(&bench.tasks.spawner(), owning);
        until("it failed five times", || {
            said.borrow()
                .iter()
                .filter(|health| matches!(health, Health::Down { .. }))
                .count()
                == 5
        })
        .await;
        own.stop().await;
        let said = said.borrow();
        let downs = said.iter().filter_map(|health| match health {
            Health::Down { why, again_in } => Some((why.as_str(), *again_in)),
            _ => None,
        });
        let mut waited = Duration::ZERO;
        for (number, (why, again_in)) in downs.enumerate() {
            assert!(why.contains("exit status: 3") && why.contains("it is broken"), "{why}");
            assert!(again_in <= Duration::from_millis(100 << number), "{again_in:?}");
            waited += if number < 4 { again_in } else { Duration::ZERO };
        }
        assert!(began.elapsed() >= waited);
    });
}

#[test]
fn a_program_that_is_missing_and_a_path_that_is_too_long_are_said() {
    run(async {
        for (program, folder, words) in [
            ("/nonexistent/redis", "x".to_owned(), "cannot be started"),
            ("/bin/true", "x".repeat(120), "longer than 107 bytes"),
        ] {
            let bench = Bench::new();
            let owning = Owning {
                program: program.into(),
                socket: bench.folder.path().join(folder),
                told: Rc::new(|_| {}),
                seed: 1,
            };
            let own = Own::start(&bench.tasks.spawner(), owning);
            until(
                "it says so",
                || matches!(own.health(), Health::Down { why, .. } if why.contains(words)),
            )
            .await;
            own.stop().await;
        }
    });
}

#[test]
fn a_path_with_anything_in_it_is_understood() {
    run(async {
        let bench = Bench::new();
        let folder = bench.folder.path().join("a \"b\" \\ 'c' ü #");
        std::fs::create_dir(&folder).unwrap();
        let owning = Owning {
            program: sc_testkit::find_program("redis-server"),
            socket: folder.join("s"),
            told: Rc::new(|_| {}),
            seed: 1,
        };
        let own = Own::start(&bench.tasks.spawner(), owning);
        until("Redis is up", || matches!(own.health(), Health::Up { .. })).await;
        own.stop().await;
    });
}

/// What is left behind by a master that was killed must not keep the next one from starting.
#[test]
fn a_socket_that_was_left_is_replaced() {
    run(async {
        let bench = Bench::new();
        drop(std::os::unix::net::UnixListener::bind(bench.socket()).unwrap());
        assert!(bench.socket().exists());
        bench.own("64mb").await.stop().await;
    });
}

/// The other half of the test below: a master that starts a Redis, says which, and is killed. Alone it has nothing to do.
#[test]
fn a_master_that_will_be_killed() {
    let Some(folder) = std::env::var_os("SHIMMERCAT_TEST_FOLDER") else {
        return;
    };
    run(async {
        let bench = Bench::new();
        let owning = Owning {
            program: sc_testkit::find_program("redis-server"),
            socket: PathBuf::from(folder).join("s"),
            told: Rc::new(|_| {}),
            seed: 1,
        };
        let own = Own::start(&bench.tasks.spawner(), owning);
        until("Redis is up", || matches!(own.health(), Health::Up { .. })).await;
        writeln!(std::io::stderr(), "{:?}", own.health()).unwrap();
        std::future::pending().await
    });
}

#[test]
fn the_redis_ends_with_its_master() {
    let folder = tempfile::tempdir().unwrap();
    let mut master = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "bus::tests::own::a_master_that_will_be_killed",
            "--nocapture",
        ])
        .env("SHIMMERCAT_TEST_FOLDER", folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(master.stderr.take().unwrap()).lines();
    let pid = lines.map_while(Result::ok).find_map(|line| {
        let rest = line.strip_prefix("Up { pid: ")?;
        rest.strip_suffix(" }")?.parse::<u32>().ok()
    });
    let redis = process(pid.unwrap());
    kill_process(process(master.id()), Signal::KILL).unwrap();
    master.wait().unwrap();
    // Its new parent may not have waited for it yet; then it is there, but as a zombie.
    let gone = || match std::fs::read_to_string(format!("/proc/{}/stat", redis.as_raw_nonzero())) {
        Ok(stat) if !stat.contains(") Z ") => Err(stat),
        _ => Ok(()),
    };
    sc_testkit::eventually("the Redis has ended", Duration::from_secs(10), gone);
}
