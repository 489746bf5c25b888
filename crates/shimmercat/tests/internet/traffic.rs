//! Traffic from independent clients, with an account of what was lost; and what `/proc` says of a master.
//!
//! The clients are h2load, wrk, curl and `tests/traffic/traffic.py`. Each runs again and again until [`Mix::end`], ends what
//! it is at, and is asked what failed. `SHIMMERCAT_LONG=1` makes the tests that use this run for a minute each and longer;
//! run the test binary itself then, since the test runner ends what lasts too long.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, kill_process};
use sc_testkit::program::{Launch, Program, Signal};
use sc_testkit::{HttpApp, find_program, pause, python};
use serde_json::Value;

use crate::kit::{Master, PATIENCE, SITE, Shop, workers};

/// The site of the application behind the server.
pub(crate) const APP: &str = "app.shop.example";

/// Size of the file that is downloaded slowly: more than the kernel keeps for a connection (`net.ipv4.tcp_wmem`, 4 MiB), or
/// its worker would soon be done with it.
const BIG_BYTES: usize = 8 << 20;

/// How long a test of this folder lasts: shortly, unless somebody wants to know exactly.
pub(crate) fn lasts(shortly: u64, long: u64) -> Duration {
    Duration::from_secs(if is_long() { long } else { shortly })
}

/// Whether there is time for long runs.
pub(crate) fn is_long() -> bool {
    std::env::var_os("SHIMMERCAT_LONG").is_some_and(|wish| wish == "1")
}

/// Prints figures; a test runner shows them with `--no-capture`.
pub(crate) fn say(figures: std::fmt::Arguments<'_>) {
    println!("{figures}");
}

/// A shop with a page, a big file, and an application that takes uploads and websockets.
pub(crate) struct Market {
    pub(crate) shop: Shop,
    pub(crate) app: HttpApp,
}

impl Market {
    pub(crate) fn new(settings: &[&str]) -> Market {
        let app = HttpApp::start();
        let shop = Shop::with_settings(settings, &Market::domains(&app, &[]).each_ref());
        shop.project.file("site/index.html", "<h1>hello</h1>\n");
        let mut big = Vec::with_capacity(BIG_BYTES);
        let mut state = 1_u64;
        while big.len() < BIG_BYTES {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            big.extend_from_slice(&(state >> 8).to_le_bytes());
        }
        fs::write(shop.project.path_of("site/big.bin"), big).expect("a file can be written");
        Market { shop, app }
    }

    /// The lines below `domains:`, with more of them.
    fn domains(app: &HttpApp, more: &[&str]) -> Domains {
        let mut lines = vec![
            format!("{SITE}: {{ root-dir: site }}"),
            format!("{APP}: {{ consultant: {{ connect-to: {} }} }}", app.address()),
        ];
        lines.extend(more.iter().map(|line| (*line).to_owned()));
        Domains(lines)
    }

    /// Writes another file in place of the first: the same sites, and these.
    pub(crate) fn rewrite(&self, settings: &[&str], more: &[&str]) {
        self.shop
            .rewrite(settings, &Market::domains(&self.app, more).each_ref());
    }
}

struct Domains(Vec<String>);

impl Domains {
    fn each_ref(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

/// What came of one program that was run again and again.
#[derive(Debug, Default)]
struct Tally {
    runs: u64,
    done: u64,
    failed: Vec<String>,
}

/// What came of all of them.
#[derive(Debug)]
pub(crate) struct Account {
    /// Of `traffic.py`, by kind of client.
    clients: Value,
    programs: BTreeMap<&'static str, Tally>,
    lasted: Duration,
}

impl Account {
    /// How many requests of one kind were answered.
    pub(crate) fn done(&self, kind: &str) -> u64 {
        self.clients[kind]["done"].as_u64().unwrap_or(0)
    }

    /// The time within which so many percent (50 or 99) of one kind's requests were answered, in milliseconds.
    pub(crate) fn milliseconds(&self, kind: &str, percent: u8) -> f64 {
        let time = &self.clients[kind][format!("p{percent}_ms")];
        time.as_f64().unwrap_or_else(|| panic!("no answer: {}", self.clients))
    }

    /// Prints who did how much, and asserts that nothing failed, was reset or crossed.
    pub(crate) fn assert_nothing_lost(&self, what: &str) {
        self.print(what);
        for (kind, tally) in self.clients.as_object().expect("an object") {
            assert_eq!(tally["failed"], serde_json::json!([]), "{what}: {kind}");
            assert_eq!(tally["crossed"], serde_json::json!([]), "{what}: {kind}");
            assert!(tally["done"].as_u64() > Some(0), "{what}: {kind} did nothing");
        }
        for (name, tally) in &self.programs {
            assert!(tally.failed.is_empty(), "{what}: {name}: {:?}", tally.failed);
            assert!(tally.done > 0, "{what}: {name} did nothing");
        }
    }

    pub(crate) fn print(&self, what: &str) {
        say(format_args!("{what}, {:.1} s:", self.lasted.as_secs_f64()));
        for (kind, tally) in self.clients.as_object().expect("an object") {
            let count = |what: &str| tally[what].as_array().map_or(0, Vec::len);
            say(format_args!(
                "  {kind:10} {:>7} done, {} failed, {} crossed, {} told to leave, {} connections, p50 {} ms, p99 {} ms",
                tally["done"],
                count("failed"),
                count("crossed"),
                tally["told_to_leave"],
                tally["connections"],
                tally["p50_ms"],
                tally["p99_ms"],
            ));
        }
        for (name, tally) in &self.programs {
            say(format_args!(
                "  {name:10} {:>7} done, {} failed, {} runs",
                tally.done,
                tally.failed.len(),
                tally.runs
            ));
        }
    }

    /// What `traffic.py` lost, and what it had to ask for again.
    pub(crate) fn lost(&self) -> Vec<Lost> {
        let kinds = self.clients.as_object().expect("an object");
        let of_kind = |(kind, tally): (&String, &Value)| {
            let each = ["failed", "crossed"].map(|what| tally[what].as_array().cloned().unwrap_or_default());
            let lost = each.concat().into_iter().map(|lost| Lost {
                kind: kind.clone(),
                port: lost["port"].as_u64(),
                is_repeated: lost["doing"].is_null(),
                how: lost.to_string(),
            });
            lost.collect::<Vec<_>>()
        };
        kinds.iter().flat_map(of_kind).collect()
    }
}

/// A request that was lost.
#[derive(Debug)]
#[expect(dead_code, reason = "shown when a test fails")]
pub(crate) struct Lost {
    kind: String,
    /// The client's port.
    pub(crate) port: Option<u64>,
    /// Whether the client could ask again by the rules of HTTP.
    pub(crate) is_repeated: bool,
    how: String,
}

/// Clients that run.
pub(crate) struct Mix {
    stop: Arc<AtomicBool>,
    clients: Program,
    programs: Vec<(&'static str, JoinHandle<Tally>)>,
    began: Instant,
}

impl Mix {
    /// All kinds of clients. Together they leave some of two processors to those who renew and change things.
    pub(crate) fn all(market: &Market, master: &Master) -> Mix {
        let kinds = ["paced=4", "think=6", "close=2", "download=2", "upload=2", "websocket=3"];
        let mut mix = Mix::paced(market, master, &kinds, 8.0);
        mix.repeat(
            "h2load",
            h2load(master, &["-n", "300", "-c", "3", "-m", "4", "--rps", "20"]),
        );
        let h1 = h2load(master, &["-n", "100", "-c", "2", "--h1"]);
        mix.repeat("h2load h1", rested(h1));
        mix.repeat("wrk", rested(wrk(master)));
        let down = ["--limit-rate", "4M", "--output", "/dev/null"];
        mix.repeat("curl down", curl(master, &down, SITE, "/big.bin"));
        let body = format!("@{}", market.shop.project.path_of("site/big.bin").display());
        let up = ["--limit-rate", "4M", "--data-binary", &body];
        mix.repeat("curl up", curl(master, &up, APP, "/upload"));
        mix
    }

    /// Clients of `traffic.py` only.
    pub(crate) fn clients(market: &Market, master: &Master, kinds: &[&str]) -> Mix {
        Mix::paced(market, master, kinds, 1.0)
    }

    /// The same; those of kind `paced` send so many requests in a second.
    pub(crate) fn paced(market: &Market, master: &Master, kinds: &[&str], rate: f64) -> Mix {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/traffic/traffic.py");
        let port = master.https.port().to_string();
        let big = market.shop.project.path_of("site/big.bin");
        let mut clients = Launch::new(python())
            .args([
                script, "--port", &port, "--seed", "7", "--site", SITE, "--app", APP, "--ca",
            ])
            .arg(&master.ca)
            .args(["--rate", &rate.to_string(), "--big"])
            .arg(big)
            .args(kinds)
            .start();
        clients.wait_for_text("running", PATIENCE);
        Mix {
            stop: Arc::new(AtomicBool::new(false)),
            clients,
            programs: Vec::new(),
            began: Instant::now(),
        }
    }

    /// Runs a program again and again; `run` says how many requests were done, or what failed.
    pub(crate) fn repeat(&mut self, name: &'static str, run: impl Fn() -> Result<u64, String> + Send + 'static) {
        let stop = self.stop.clone();
        let thread = std::thread::spawn(move || {
            let mut tally = Tally::default();
            while !stop.load(Ordering::SeqCst) {
                tally.runs += 1;
                match run() {
                    Ok(done) => tally.done += done,
                    Err(how) => tally.failed.push(how),
                }
            }
            tally
        });
        self.programs.push((name, thread));
    }

    /// Has everybody end what they are at, and counts.
    pub(crate) fn end(mut self) -> Account {
        let lasted = self.began.elapsed();
        self.stop.store(true, Ordering::SeqCst);
        self.clients.signal(Signal::TERM);
        let status = self.clients.wait_exit(PATIENCE * 3);
        assert!(status.success(), "{}", self.clients.stderr());
        let text = self.clients.stdout();
        let last = text.lines().last().expect("a line");
        Account {
            clients: serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {text}")),
            programs: self
                .programs
                .into_iter()
                .map(|(name, thread)| (name, thread.join().expect("no panic")))
                .collect(),
            lasted,
        }
    }
}

/// Runs a program to its end; its stdout, or everything it said when it failed.
fn output(program: &str, arguments: &[String]) -> Result<String, String> {
    let done = Command::new(find_program(program)).args(arguments).output();
    let done = done.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let said = String::from_utf8_lossy(&done.stderr);
    if done.status.success() {
        Ok(text)
    } else {
        Err(format!("{program}: {}: {text}{said}", done.status))
    }
}

/// A run of h2load; it counts what failed itself.
pub(crate) fn h2load(master: &Master, options: &[&str]) -> impl Fn() -> Result<u64, String> + Send + use<> {
    let mut arguments: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    arguments.push(format!("--connect-to={}", master.https));
    arguments.push(format!("https://{SITE}/"));
    move || {
        let text = output("h2load", &arguments)?;
        let numbers = |line: &str| -> Vec<u64> {
            let words = line.split([' ', ',']).filter_map(|word| word.parse().ok());
            words.collect()
        };
        let line = text
            .lines()
            .find(|line| line.starts_with("requests:"))
            .unwrap_or_default();
        // total, started, done, succeeded, failed, errored, timeout
        match numbers(line)[..] {
            [total, _, done, succeeded, 0, 0, 0] if done == total && succeeded == total => Ok(done),
            _ => Err(text),
        }
    }
}

/// The same with a rest afterwards.
fn rested(run: impl Fn() -> Result<u64, String> + Send) -> impl Fn() -> Result<u64, String> + Send {
    move || {
        let done = run();
        pause(Duration::from_secs(1));
        done
    }
}

/// A second of wrk over kept connections; it counts what failed itself, and says so only if there was any.
fn wrk(master: &Master) -> impl Fn() -> Result<u64, String> + Send + use<> {
    let host = format!("Host: {SITE}");
    let url = format!("https://{}/", master.https);
    let arguments = ["-t1", "-c2", "-d1s", "--timeout", "30s", "-H", &host, &url].map(str::to_owned);
    move || {
        let text = output("wrk", &arguments)?;
        if text.contains("Socket errors") || text.contains("Non-2xx") {
            return Err(text);
        }
        let line = text
            .lines()
            .find(|line| line.contains(" requests in "))
            .unwrap_or_default();
        let count = line.split_whitespace().next().and_then(|word| word.parse().ok());
        count.ok_or(text)
    }
}

/// A transfer with curl.
fn curl(master: &Master, options: &[&str], name: &str, path: &str) -> impl Fn() -> Result<u64, String> + Send + use<> {
    let connect_to = format!("::{}", master.https);
    let ca = master.ca.display().to_string();
    let fixed = [
        "--silent",
        "--show-error",
        "--fail",
        "--max-time",
        "60",
        "--cacert",
        &ca,
        "--connect-to",
        &connect_to,
    ];
    let url = format!("https://{name}{path}");
    let all = fixed.iter().chain(options).copied().chain([url.as_str()]);
    let arguments: Vec<String> = all.map(str::to_owned).collect();
    move || output("curl", &arguments).map(|_| 1)
}

/// Waits for `time`, disturbing every so often; how long each disturbance took.
pub(crate) fn disturb(time: Duration, every: Duration, mut disturb: impl FnMut(u64)) -> Vec<Duration> {
    let (began, mut times) = (Instant::now(), Vec::new());
    while began.elapsed() < time {
        let at = Instant::now();
        disturb(times.len() as u64);
        times.push(at.elapsed());
        pause(every.saturating_sub(at.elapsed()));
    }
    times
}

/// Mean and longest, in milliseconds.
pub(crate) fn summary(times: &[Duration]) -> String {
    let mean = times.iter().sum::<Duration>() / u32::try_from(times.len()).unwrap_or(1).max(1);
    let longest = times.iter().max().copied().unwrap_or_default();
    format!(
        "{} times, {:.0} ms each, {:.0} ms at most",
        times.len(),
        mean.as_secs_f64() * 1e3,
        longest.as_secs_f64() * 1e3
    )
}

/// The value below which this part of the times lies.
pub(crate) fn quantile(times: &mut [Duration], part: f64) -> Duration {
    times.sort_unstable();
    let at = (times.len() as f64 * part) as usize;
    times[at.min(times.len() - 1)]
}

/// The sockets at which a process listens, or gets datagrams: their inodes.
pub(crate) fn listening_sockets(pid: u32) -> BTreeSet<u64> {
    let held = sockets_of(pid);
    let listens = table("tcp").into_iter().filter(|row| row.state == LISTEN);
    let all = listens.chain(table("udp")).map(|row| row.inode);
    all.filter(|inode| held.contains(inode)).collect()
}

/// The clients' ports of the connections that a process has accepted at this port.
pub(crate) fn accepted(pid: u32, port: u16) -> BTreeSet<u64> {
    let held = sockets_of(pid);
    let rows = table("tcp")
        .into_iter()
        .filter(|row| row.state != LISTEN && row.local == port);
    rows.filter(|row| held.contains(&row.inode))
        .map(|row| row.remote.into())
        .collect()
}

/// `TCP_LISTEN`. Source: the kernel's `include/net/tcp_states.h`.
const LISTEN: u32 = 10;

struct Row {
    local: u16,
    remote: u16,
    state: u32,
    inode: u64,
}

/// The rows of `/proc/net/tcp` or `/proc/net/udp`.
fn table(protocol: &str) -> Vec<Row> {
    let text = fs::read_to_string(format!("/proc/net/{protocol}")).expect("the kernel tells its sockets");
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port = |field: &str| u16::from_str_radix(field.split_once(':')?.1, 16).ok();
        Some(Row {
            local: port(fields.get(1)?)?,
            remote: port(fields.get(2)?)?,
            state: u32::from_str_radix(fields.get(3)?, 16).ok()?,
            inode: fields.get(9)?.parse().ok()?,
        })
    };
    text.lines().skip(1).filter_map(row).collect()
}

fn sockets_of(pid: u32) -> BTreeSet<u64> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("a running process has descriptors");
    let inode = |entry: std::io::Result<fs::DirEntry>| {
        let target = fs::read_link(entry.ok()?.path()).ok()?;
        let text = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        text.parse().ok()
    };
    descriptors.filter_map(inode).collect()
}

/// How many descriptors of each kind a process holds: sockets, pipes, files by name.
pub(crate) fn descriptors(pid: u32) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).expect("a running process has descriptors") {
        let target = entry.and_then(|entry| fs::read_link(entry.path()));
        // One that was just closed is none.
        let Ok(target) = target else { continue };
        let target = target.to_string_lossy().into_owned();
        let kind = target
            .split_once(":[")
            .map_or(target.clone(), |(kind, _)| kind.to_owned());
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

/// The processes whose parent this is.
pub(crate) fn children(pid: u32) -> BTreeSet<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("the kernel tells children");
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// Sends a signal to a process of a master.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("the process is there");
}

/// Kills its Redis, if it runs just now.
pub(crate) fn kill_redis(master: &Master) {
    let status = master.status();
    if let Some(pid) = status["redis"]["pid"]
        .as_u64()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw)
    {
        // It may have ended meanwhile.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Asserts that nothing was cut, that no exchange panicked, and that every lane is served.
pub(crate) fn assert_well(master: &Master) {
    let status = master.status();
    assert_eq!(status["forced_closes"], 0, "{status}");
    assert_eq!(status["panics"], 0, "{status}");
    let lanes = status["lanes"].as_array().map_or(0, Vec::len);
    assert_eq!(workers(&status, "active").len(), lanes, "{status}");
}
