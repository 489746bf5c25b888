//! The files of `dist/`, as far as they can be tried without installing them: the unit with systemd's own checks and against
//! what the program really asks of the kernel, every command line in them against the program.
//!
//! The example for supervisord is run for real in `supervised`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use sc_testkit::{Launch, TempProject, find_program};

use crate::kit::{PATIENCE, SITE, Shop, run};

fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The values of a name in a unit file.
fn values(unit: &str, name: &str) -> Vec<String> {
    let of_name = |line: &str| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
    unit.lines().filter_map(of_name).collect()
}

/// systemd's own tool; what it printed, both streams.
fn analyze(arguments: &[&str]) -> String {
    let done = Command::new(find_program("systemd-analyze"))
        .args(arguments)
        .output()
        .expect("systemd-analyze can be started");
    format!(
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    )
}

/// The unit with a program that is there, in a folder of its own.
fn installed(folder: &TempProject) -> PathBuf {
    let unit = shipped("shimmercat.service").replace("/usr/local/bin/shimmercat", env!("CARGO_BIN_EXE_shimmercat"));
    folder.file("shimmercat.service", unit);
    folder.path_of("shimmercat.service")
}

#[test]
fn systemd_understands_the_unit_and_finds_it_closed() {
    let folder = TempProject::new();
    let path = installed(&folder);
    let path = path.to_str().expect("a path of letters");
    let version = analyze(&["--version"]);
    let version = version
        .split_whitespace()
        .nth(1)
        .and_then(|number| number.parse::<u32>().ok());
    let version = version.expect("systemd tells its version");

    let said = analyze(&["verify", "--man=no", path]);
    // Before 253 it knows no `notify-reload`; the unit's head says what to write then.
    let unknown: Vec<_> = said
        .lines()
        .filter(|line| version >= 253 || !line.ends_with("Failed to parse service type, ignoring: notify-reload"))
        .collect();
    assert_eq!(unknown, Vec::<&str>::new(), "systemd {version}");

    let said = analyze(&["security", "--offline=true", "--no-pager", path]);
    let verdict = said
        .lines()
        .find(|line| line.contains("Overall exposure level"))
        .expect("a verdict");
    println!("systemd {version}: {verdict}");
    let level = verdict
        .split_whitespace()
        .filter_map(|word| word.parse::<f64>().ok())
        .next_back();
    assert!(level.is_some_and(|level| level <= 1.5), "{verdict}");
}

#[test]
fn the_unit_keeps_the_promises_that_only_a_unit_can_keep() {
    let unit = shipped("shimmercat.service");
    for (name, value) in [
        ("Type", "notify-reload"),
        // Workers of a dead master serve on.
        ("KillMode", "process"),
        ("Restart", "always"),
        ("AmbientCapabilities", "CAP_NET_BIND_SERVICE"),
        ("CapabilityBoundingSet", "CAP_NET_BIND_SERVICE"),
        ("ProtectSystem", "strict"),
        ("NoNewPrivileges", "yes"),
    ] {
        assert_eq!(values(&unit, name), [value], "{name}");
    }
    for name in ["FileDescriptorStoreMax", "WatchdogSec", "TimeoutStopSec"] {
        let number = values(&unit, name).pop().and_then(|value| value.parse::<u32>().ok());
        assert!(number.is_some_and(|number| number > 0), "{name}");
    }
    // More than `stop-time`, which is 60 s.
    assert_eq!(values(&unit, "TimeoutStopSec"), ["75"]);
}

/// The system calls of a set, those of the sets in it included, or the one of this name. Source: systemd-analyze(1),
/// syscall-filter.
fn calls(set: &str) -> BTreeSet<String> {
    if !set.starts_with('@') {
        return BTreeSet::from([set.to_owned()]);
    }
    let mut found = BTreeSet::new();
    for line in analyze(&["syscall-filter", set])
        .lines()
        .filter(|line| line.starts_with(' '))
    {
        match line.trim() {
            comment if comment.starts_with('#') => {}
            inner if inner.starts_with('@') => found.extend(calls(inner)),
            call => drop(found.insert(call.to_owned())),
        }
    }
    assert!(!found.is_empty(), "systemd knows the set {set}");
    found
}

/// What the unit's filters leave: the first line says what is allowed, lines with `~` take away.
fn allowed() -> BTreeSet<String> {
    let mut allowed = BTreeSet::new();
    for filter in values(&shipped("shimmercat.service"), "SystemCallFilter") {
        match filter.strip_prefix('~') {
            Some(sets) => {
                for set in sets.split_whitespace() {
                    let taken = calls(set);
                    allowed.retain(|call| !taken.contains(call));
                }
            }
            None => filter.split_whitespace().for_each(|set| allowed.extend(calls(set))),
        }
    }
    // What every filter allows. Source: systemd.exec(5), SystemCallFilter.
    allowed.extend(calls("@default"));
    allowed
}

#[test]
fn the_unit_allows_every_system_call_that_master_workers_and_redis_make() {
    let shop = Shop::new();
    let counted = shop.project.path_of("calls");
    let strace = find_program("strace");
    let tracer = [
        strace.as_os_str(),
        "-f".as_ref(),
        "-c".as_ref(),
        "-S".as_ref(),
        "name".as_ref(),
        "-o".as_ref(),
        counted.as_os_str(),
    ];
    let unix = format!("unix://{}", shop.project.path_of("page.sock").display());
    let options = [
        "--workers",
        "1",
        "-t",
        "127.0.0.1:0,[::1]:0",
        "--listen",
        &unix,
        "--enable-socks-5",
    ];
    let launch = shop
        .internet(&[&options[..], &["--socks-5", "127.0.0.1:0"]].concat())
        .through(tracer);
    let mut master = shop.launch(launch);
    assert_eq!(master.curl(&format!("https://{SITE}/")).run().status, 200);
    assert_eq!(run(&shop, ["recycle"]).stdout, "renewed\n");
    shop.rewrite(
        &[],
        &[&format!("{SITE}: {{ root-dir: site, headers: {{ X-Here: once }} }}")],
    );
    assert_eq!(run(&shop, ["reload"]).status.code(), Some(0));
    assert_eq!(master.curl(&format!("https://{SITE}/")).run().status, 200);
    let pid = master.instance["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    let pid = pid.and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, Signal::TERM).expect("a running process can be signalled");
    master.program.wait_exit(PATIENCE);

    let table = fs::read_to_string(&counted).expect("what was counted");
    let used: BTreeSet<String> = table
        .lines()
        .filter(|line| line.starts_with(|letter: char| letter == ' ' || letter.is_ascii_digit()))
        .filter_map(|line| line.split_whitespace().next_back())
        .filter(|name| *name != "total")
        .map(str::to_owned)
        .collect();
    for expected in ["accept4", "memfd_create", "pidfd_open", "inotify_add_watch"] {
        assert!(used.contains(expected), "{expected} was seen:\n{table}");
    }
    let allowed = allowed();
    let refused: Vec<_> = used.difference(&allowed).collect();
    println!("{} kinds of calls made, {} allowed", used.len(), allowed.len());
    assert_eq!(refused, Vec::<&String>::new(), "the unit would refuse these");
}

/// Asserts that the program understands a command line of a file that is shipped: in a folder without a site it gets as far
/// as asking for one.
fn understood(file: &str, command: &str) {
    let empty = TempProject::new();
    let mut words = command
        .split_whitespace()
        .filter(|word| !word.starts_with("--cert") && !word.starts_with("--key"));
    let program = words.next().expect("a program");
    assert!(program.ends_with("shimmercat"), "{file}: {command}");
    let done = Launch::new(env!("CARGO_BIN_EXE_shimmercat"))
        .current_dir(empty.path())
        .args(words)
        .run(PATIENCE);
    assert_eq!(done.status.code(), Some(3), "{file}: {command}: {}", done.stderr);
    assert!(
        done.stderr.contains("there is no devlove.yaml"),
        "{file}: {}",
        done.stderr
    );
}

#[test]
fn every_command_line_that_is_shipped_is_understood() {
    for command in values(&shipped("shimmercat.service"), "ExecStart") {
        understood("shimmercat.service", &command);
    }
    for command in values(&shipped("supervisord.conf"), "command") {
        understood("supervisord.conf", &command);
    }
    let file = shipped("Containerfile");
    let entry = file
        .lines()
        .find_map(|line| line.strip_prefix("ENTRYPOINT "))
        .expect("an entry point");
    let words: Vec<String> = serde_json::from_str(entry).expect("in the form of exec");
    understood("Containerfile", &words.join(" "));

    // What it copies is there.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for line in file
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.starts_with("--from"))
    {
        let mut places: Vec<_> = line.split_whitespace().collect();
        places.pop();
        for place in places {
            assert!(root.join(place).exists(), "{place} is there to be copied");
        }
    }
}
