//! With nobody above it but a person or a shell: foreground, user, signals, terminal, low ports.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sc_testkit::program::{Finished, Signal};
use sc_testkit::{Program, eventually, find_program};
use serde_json::Value;

use crate::gate::{Download, Gate, ask};
use crate::kit::{PATIENCE, SITE, Shop};

/// A field of `/proc/PID/status`, its values apart.
fn status_of(pid: u32, field: &str) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process has a status");
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    let line = line.unwrap_or_else(|| panic!("no {field} in {status}"));
    line.split_whitespace().map(str::to_owned).collect()
}

/// Parent, process group and session of a process. Source: proc_pid_stat(5), fields 4 to 6.
fn family(pid: u32) -> [u32; 3] {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
    let mut fields = fields
        .split_whitespace()
        .skip(1)
        .map(|field| field.parse().expect("a number"));
    [(); 3].map(|()| fields.next().expect("a field"))
}

fn children(parent: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).expect("a running process");
    children
        .split_whitespace()
        .map(|pid| pid.parse().expect("a number"))
        .collect()
}

fn command_of(pid: u32) -> String {
    let command = fs::read_to_string(format!("/proc/{pid}/comm")).expect("a running process");
    command.trim().to_owned()
}

#[test]
fn it_stays_in_the_foreground_and_keeps_its_user_and_each_child_has_a_group_of_its_own() {
    let shop = Shop::new();
    let master = shop.serve();
    master.wait_settled();
    let (pid, us) = (master.program.pid(), std::process::id());
    assert_eq!(
        master.instance["pid"], pid,
        "who was started is the master: nothing was forked away"
    );
    let [_, our_group, our_session] = family(us);
    assert_eq!(
        family(pid),
        [us, our_group, our_session],
        "no new session, no new group"
    );
    let kept = ["Uid", "Gid", "Groups", "CapEff", "CapBnd"];
    let rights: Vec<_> = kept.iter().map(|field| status_of(us, field)).collect();
    let children = children(pid);
    let names: Vec<_> = children.iter().map(|child| command_of(*child)).collect();
    assert_eq!(
        names.iter().filter(|name| *name == "shimmercat").count(),
        4,
        "{names:?}"
    );
    assert_eq!(
        names.iter().filter(|name| *name == "redis-server").count(),
        1,
        "{names:?}"
    );
    for process in children.iter().chain([&pid]) {
        let theirs: Vec<_> = kept.iter().map(|field| status_of(*process, field)).collect();
        assert_eq!(theirs, rights, "{} keeps its user and its rights", command_of(*process));
    }
    let may_gain = |process| status_of(process, "NoNewPrivs");
    assert_eq!(may_gain(pid), may_gain(us), "only workers give up rights");
    for child in children {
        let [parent, group, session] = family(child);
        assert_eq!(
            (parent, group, session),
            (pid, child, our_session),
            "a terminal's Ctrl-C does not reach it"
        );
    }
    master.stop();
}

#[test]
fn a_stop_lets_a_download_finish_and_says_goodbye_to_the_rest() {
    let gate = Gate::start();
    let shop = gate.shop();
    let mut master = shop.serve();
    let download = Download::begin(master.http1(SITE));
    master.program.signal(Signal::TERM);
    master.wait_event("stopping", 1);
    assert_eq!(master.workers("active"), [], "nobody accepts any more");
    assert!(!master.program.has_ended());
    gate.open();
    let mut last = download.finish();
    assert!(last.is_closed(), "the connection ends with its download");
    assert_eq!(master.program.wait_exit(PATIENCE).code(), Some(0));
    let said = master.program.stderr();
    assert!(said.contains("stopped after 1 exchanges"), "{said}");
    assert!(!said.contains("were cut"), "{said}");
}

#[test]
fn a_stop_closes_idle_connections_and_a_second_one_gives_downloads_seconds() {
    let gate = Gate::start();
    let shop = gate.shop();
    let mut master = shop.serve();
    let mut idle = master.http1(SITE);
    assert_eq!(ask(&mut idle), 200);
    let download = Download::begin(master.http1(SITE));
    let began = Instant::now();
    master.program.signal(Signal::TERM);
    master.wait_event("stopping", 1);
    assert!(idle.is_closed());
    println!(
        "the idle connection was closed {:?} after the first signal",
        began.elapsed()
    );
    assert!(!master.program.has_ended());

    // The gate stays closed: the download cannot end by itself.
    let began = Instant::now();
    master.program.signal(Signal::INT);
    assert!(download.was_cut());
    let took = began.elapsed();
    println!("the download was cut {took:?} after the second signal");
    assert!(took >= Duration::from_secs(2), "it has seconds to finish: {took:?}");
    assert_eq!(master.program.wait_exit(PATIENCE).code(), Some(0));
    let said = master.program.stderr();
    assert!(said.contains("attention: 1 exchanges or tunnels were cut"), "{said}");
}

#[test]
fn a_third_stop_cuts_and_says_what() {
    let gate = Gate::start();
    let shop = gate.shop();
    let mut master = shop.serve();
    let download = Download::begin(master.http1(SITE));
    for _ in 0..3 {
        // Signals of one kind that wait together are one.
        master.program.signal(Signal::TERM);
        sc_testkit::pause(Duration::from_millis(300));
    }
    assert!(download.was_cut());
    assert_eq!(master.program.wait_exit(PATIENCE).code(), Some(0));
    let said = master.program.stderr();
    assert!(said.contains("attention: 1 exchanges or tunnels were cut"), "{said}");
}

/// Starts a program on a terminal of its own; what is written to its stdin is typed there.
const TERMINAL: &str = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";

/// A master on a terminal.
struct OnTerminal {
    program: Program,
    keys: std::io::PipeWriter,
    instance: Value,
}

fn on_terminal(shop: &Shop, options: &[&str], variables: &[(&str, &str)]) -> OnTerminal {
    let (typed, keys) = std::io::pipe().expect("a pipe");
    let python = find_program("python3");
    let python = python.to_str().expect("a path of letters");
    let mut launch = shop
        .internet(&[&["--workers", "2"], options].concat())
        .through([python, "-c", TERMINAL])
        .env("TERM", "xterm")
        .stdin(typed);
    for (name, value) in variables {
        launch = launch.env(name, value);
    }
    let mut program = launch.start();
    program.wait_for_text("next: shimmercat status", PATIENCE);
    let file = shop.project.path_of(".shimmercat.loves.devs/instance.json");
    let instance = serde_json::from_str(&fs::read_to_string(file).expect("instance.json")).expect("JSON");
    OnTerminal {
        program,
        keys,
        instance,
    }
}

#[test]
fn ctrl_c_on_a_terminal_reaches_only_the_master_which_lets_a_download_finish() {
    let gate = Gate::start();
    let shop = gate.shop();
    let OnTerminal {
        mut program,
        mut keys,
        instance,
    } = on_terminal(&shop, &[], &[]);
    let master = instance["pid"]
        .as_u64()
        .and_then(|pid| u32::try_from(pid).ok())
        .expect("a pid");
    let [_, group, session] = family(master);
    assert_eq!(
        (group, session),
        (master, master),
        "it is in the foreground of a terminal"
    );
    let address = crate::kit::address(&instance["https"][0]);
    let stream = sc_testkit::client::tcp(address);
    let tls = sc_testkit::tls_over(stream, SITE, &shop.certificate.ca, &["http/1.1"]).expect("TLS");
    let download = Download::begin(sc_testkit::Http1::new(tls));
    let workers: Vec<u32> = children(master);
    assert!(
        workers.iter().all(|pid| family(*pid)[1] == *pid),
        "none is in the terminal's group"
    );

    keys.write_all(b"\x03").expect("a key can be typed");
    program.wait_for_text("stopping", PATIENCE);
    gate.open();
    download.finish();
    assert_eq!(program.wait_exit(PATIENCE).code(), Some(0));
    assert!(
        program.stdout().contains("stopped after 1 exchanges"),
        "{}",
        program.stdout()
    );
}

/// What comes out of a short life on a terminal, with a line of each kind of colour.
fn colours(options: &[&str], variables: &[(&str, &str)]) -> String {
    let shop = Shop::new();
    let mut on = on_terminal(&shop, options, variables);
    let address = crate::kit::address(&on.instance["https"][0]);
    let url = format!("https://{SITE}/");
    let to = format!("::{address}");
    let page = sc_testkit::Curl::new(&url).arg("--cacert").arg(&shop.certificate.ca);
    assert_eq!(page.args(["--connect-to", &to]).run().status, 200);
    on.program.wait_for_text(&url, PATIENCE);
    on.program.wait_for_text("/ 15 B ", PATIENCE);
    on.keys.write_all(b"\x03").expect("a key can be typed");
    assert_eq!(on.program.wait_exit(PATIENCE).code(), Some(0));
    on.program.stdout()
}

#[test]
fn colours_are_for_terminals_and_for_those_who_want_them() {
    let coloured = colours(&[], &[]);
    assert!(coloured.contains("\x1b[32m200\x1b[0m GET https://"), "{coloured:?}");
    for (options, variables) in [(&[][..], &[("NO_COLOR", "1")][..]), (&[], &[("TERM", "dumb")])] {
        let plain = colours(options, variables);
        assert!(!plain.contains('\x1b'), "{variables:?}: {plain:?}");
        assert!(plain.contains("200 GET https://"), "still for a person: {plain:?}");
    }

    // stdout is no terminal: neither the log nor the words have colours, whatever the format.
    for format in ["auto", "pretty", "json"] {
        let shop = Shop::new();
        let mut master = shop.launch(shop.internet(&["--workers", "1", "--log-format", format]));
        assert_eq!(master.curl(&format!("https://{SITE}/")).run().status, 200);
        master.program.wait_for_text("/", PATIENCE);
        let line = master.program.wait_for("the exchange", PATIENCE, |line| {
            line.text.contains(SITE) && line.text.contains("GET")
        });
        assert_eq!(
            line.text.starts_with('{'),
            format != "pretty",
            "{format}: {}",
            line.text
        );
        master.program.signal(Signal::TERM);
        assert_eq!(master.program.wait_exit(PATIENCE).code(), Some(0));
        let all = format!("{}{}", master.program.stdout(), master.program.stderr());
        assert!(!all.contains('\x1b'), "{format}: {all:?}");
    }
}

/// The number of the user `nobody`.
const NOBODY: u32 = 65534;

/// A copy of the program and a project, all of it the user's; the folder is open to that user.
struct Foreign {
    shop: Shop,
    program: PathBuf,
}

impl Foreign {
    fn new() -> Foreign {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test makes a network namespace and a file with a capability: it has to be run as root"
        );
        let shop = Shop::new();
        let program = shop.project.path_of("bin/shimmercat");
        fs::create_dir(program.parent().expect("a folder")).expect("a folder can be made");
        fs::copy(env!("CARGO_BIN_EXE_shimmercat"), &program).expect("the program can be copied");
        fs::create_dir(shop.project.path_of("home")).expect("a folder can be made");
        give(shop.project.path());
        // The user may execute the program and not change it.
        chown(&program, Some(0), Some(0)).expect("root may give files away");
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("a mode can be set");
        Foreign { shop, program }
    }

    fn allow_low_ports(&self) {
        let done = Command::new(find_program("setcap"))
            .arg("cap_net_bind_service=+ep")
            .arg(&self.program)
            .status();
        assert!(
            done.expect("setcap can be started").success(),
            "the file system has no capabilities"
        );
    }

    /// Starts it in a network of its own, as the user.
    fn launch(&self) -> sc_testkit::Launch {
        let words = "ip link set lo up && exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"";
        let certificate = &self.shop.certificate;
        sc_testkit::Launch::new(&self.program)
            .current_dir(self.shop.project.path())
            .args([
                "internet",
                "--workers",
                "2",
                "--listen",
                "127.0.0.1:443,[::1]:443",
                "-t",
                "127.0.0.1:80",
            ])
            .arg("--cert")
            .arg(&certificate.chain)
            .arg("--key")
            .arg(&certificate.key)
            .env("HOME", self.shop.project.path_of("home"))
            .env("TMPDIR", self.shop.project.path_of("home"))
            .through(["unshare", "--net", "--", "sh", "-c", words, "sh"])
    }
}

/// Gives a folder and all in it to `nobody`.
fn give(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).expect("root may give files away");
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder").flatten() {
            give(&entry.path());
        }
    }
}

/// curl in the network of a process.
fn curl_beside(pid: u32, arguments: &[&str]) -> Finished {
    sc_testkit::Launch::new(find_program("nsenter"))
        .arg(format!("--net=/proc/{pid}/ns/net"))
        .args(["curl", "-q", "-sS", "--max-time", "30"])
        .args(arguments)
        .run(PATIENCE)
}

#[test]
fn an_ordinary_user_binds_443_and_80_after_setcap() {
    let foreign = Foreign::new();
    foreign.allow_low_ports();
    let mut program = foreign.launch().start();
    program.wait_for_text("next: shimmercat status", PATIENCE);
    let pid = program.pid();
    let processes = eventually("two workers for each lane, and Redis", PATIENCE, || {
        let processes: Vec<u32> = children(pid).into_iter().chain([pid]).collect();
        let names: Vec<String> = processes.iter().map(|process| command_of(*process)).collect();
        let count = |wanted: &str| names.iter().filter(|name| *name == wanted).count();
        let is_complete = (names.len(), count("shimmercat"), count("redis-server")) == (6, 5, 1);
        if is_complete { Ok(processes) } else { Err(names) }
    });
    for process in &processes {
        let nobody = vec![NOBODY.to_string(); 4];
        assert_eq!(status_of(*process, "Uid"), nobody, "{}", command_of(*process));
        assert_eq!(status_of(*process, "Gid"), nobody, "{}", command_of(*process));
    }
    // The kernel's bit 10 is CAP_NET_BIND_SERVICE; Redis has no part in it. Source: capabilities(7), linux/capability.h.
    for process in &processes {
        let rights = u64::from_str_radix(&status_of(*process, "CapEff")[0], 16).expect("a hexadecimal number");
        // A worker that was only just started is still called after its file; Redis is known to be itself by now.
        let is_redis = command_of(*process) == "redis-server";
        let wanted = if is_redis { 0 } else { 1 << 10 };
        assert_eq!(rights, wanted, "{}", command_of(*process));
    }

    let ca = foreign.shop.certificate.ca.to_str().expect("a path of letters");
    for address in ["127.0.0.1", "[::1]"] {
        let to = format!("{SITE}:443:{address}:443");
        let page = curl_beside(pid, &["--cacert", ca, "--connect-to", &to, &format!("https://{SITE}/")]);
        assert_eq!(page.stdout, "<h1>hello</h1>\n", "{address}: {}", page.stderr);
    }
    let to = format!("{SITE}:80:127.0.0.1:80");
    let moved = curl_beside(
        pid,
        &[
            "--connect-to",
            &to,
            "-w",
            "%{http_code} %{redirect_url}\n",
            "-o",
            "/dev/null",
            &format!("http://{SITE}/a?b"),
        ],
    );
    assert_eq!(moved.stdout, format!("301 https://{SITE}/a?b\n"), "{}", moved.stderr);

    // Workers that come later bind nothing, and need nothing.
    let before = children(pid);
    let worker = before
        .iter()
        .find(|child| command_of(**child) == "shimmercat")
        .expect("a worker");
    program.expect_errors();
    Command::new("kill")
        .args(["-9", &worker.to_string()])
        .status()
        .expect("kill can be started");
    eventually("a new worker", PATIENCE, || {
        let now = children(pid);
        let has_new = now.iter().any(|child| !before.contains(child)) && !now.contains(worker);
        if has_new { Ok(()) } else { Err(now) }
    });
    let to = format!("{SITE}:443:127.0.0.1:443");
    let page = curl_beside(pid, &["--cacert", ca, "--connect-to", &to, &format!("https://{SITE}/")]);
    assert_eq!(page.stdout, "<h1>hello</h1>\n", "{}", page.stderr);
    assert_eq!(program.stop().code(), Some(0), "{}", program.stderr());
}

#[test]
fn an_ordinary_user_without_the_capability_is_told_what_to_do() {
    let foreign = Foreign::new();
    let done = foreign.launch().run(PATIENCE);
    assert_eq!(done.status.code(), Some(1), "{}", done.stderr);
    assert!(done.stderr.contains("127.0.0.1:443"), "{}", done.stderr);
    assert!(
        done.stderr.contains("setcap cap_net_bind_service=+ep"),
        "{}",
        done.stderr
    );
}
