//! What all attacks share: a server with one worker, an attacker and a bystander with addresses of their own, and the
//! judgement.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sc_testkit::client::raw_h2::RawH2;
use sc_testkit::client::tcp_from;
use sc_testkit::program::memory_of;
use sc_testkit::{Http1, Request, TlsClient, eventually, tls_over};

use crate::kit::{Master, PATIENCE, SITE, Shop, SiteStream};

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
const BYSTANDER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);

/// Requests of the bystander by which it is judged.
const SAMPLES: usize = 200;

/// A wait below this is the machine's, which runs other tests beside a server that was not optimised.
const FLOOR: Duration = Duration::from_millis(20);

/// How often an attack is begun again when the bystander had to wait: a busy machine makes it wait, too, but not each time.
const ROUNDS: usize = 4;

/// An attack, and what is expected of the server.
pub(crate) struct Attack {
    /// Its name, for the figures.
    pub(crate) name: &'static str,
    /// The limit that acts, by its name in metrics and events.
    pub(crate) limit: &'static str,
    /// Lines of the file below `limits`.
    pub(crate) limits: &'static [&'static str],
    /// Further lines below `domains`.
    pub(crate) domains: Vec<String>,
    /// What the worker may take at most, resident, in MiB.
    pub(crate) budget_mib: u64,
    /// How many attack at once.
    pub(crate) attackers: usize,
}

impl Default for Attack {
    fn default() -> Self {
        Attack {
            name: "",
            limit: "",
            limits: &[],
            domains: Vec::new(),
            budget_mib: 160,
            attackers: 1,
        }
    }
}

/// What an attacker knows.
pub(crate) struct Target<'a> {
    master: &'a Master,
    is_over: &'a AtomicBool,
}

impl Target<'_> {
    /// Whether the bystander has seen enough.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// A TCP connection; an error when it is not taken.
    pub(crate) fn tcp(&self) -> std::io::Result<TcpStream> {
        tcp_from(ATTACKER, self.master.https)
    }

    /// A TLS connection.
    pub(crate) fn tls(&self, alpn: &str) -> Option<SiteStream> {
        tls_over(self.tcp().ok()?, SITE, &self.master.ca, &[alpn]).ok()
    }

    /// A client for full handshakes.
    pub(crate) fn tls_client(&self) -> TlsClient {
        TlsClient::new(&self.master.ca, &["h2"])
    }

    /// An HTTP/2 connection with these settings.
    pub(crate) fn h2(&self, settings: &[(u16, u32)]) -> Option<RawH2> {
        RawH2::new(self.tls("h2")?, settings).ok()
    }
}

impl Attack {
    /// Carries it out: `attack` is called again and again by each attacker until the bystander has seen enough.
    pub(crate) fn run(self, attack: impl Fn(&Target<'_>) + Sync) {
        let shop = self.shop();
        let master = shop.serve_with(&["--workers", "1", "--redis", "off"]);
        let pid = eventually("the worker accepts", PATIENCE, || {
            let workers = master.workers("active");
            workers.first().map(|worker| worker.pid).ok_or(workers)
        });
        assert_confined(&master, pid);
        let mut seen = Vec::new();
        let mut is_calm = false;
        while !is_calm && seen.len() < ROUNDS {
            let before = bystander(&master);
            let during = self.during(&master, &attack);
            let quiet = before.max(bystander(&master));
            is_calm = during <= FLOOR.max(quiet * 3);
            seen.push((during, quiet));
        }
        let times = eventually("the limit acts", PATIENCE, || match reached(&master, self.limit) {
            0 => Err(master.ask("GET", "/metrics").text()),
            times => Ok(times),
        });
        let peak_mib = memory_of(pid).peak_kib >> 10;
        let (during, quiet) = seen.last().copied().unwrap_or_default();
        println!(
            "attack={} limit={} reached={times} peak_rss={peak_mib}MiB bystander_p99={during:.1?} quiet_p99={quiet:.1?} rounds={}",
            self.name,
            self.limit,
            seen.len()
        );
        let event = master.wait_event("limited", 1);
        assert!(
            event["client"]
                .as_str()
                .is_some_and(|client| client.starts_with("127.0.0.66")),
            "{event}"
        );
        let told: Vec<_> = master.events_named("limited");
        assert!(told.iter().any(|event| event["limit"] == self.limit), "{told:?}");
        assert!(told.len() < 100, "the log is not flooded: {}", told.len());
        assert!(peak_mib <= self.budget_mib, "{peak_mib} MiB of {}", self.budget_mib);
        assert!(is_calm, "the bystander had to wait: {seen:?}");
        assert!(workers_live(&master, pid), "the worker was lost");
        master.stop();
    }

    fn shop(&self) -> Shop {
        let limits: Vec<_> = self.limits.iter().map(|line| format!("  {line}")).collect();
        let mut settings = vec!["limits:"];
        settings.extend(limits.iter().map(String::as_str));
        let site = format!("{SITE}: {{ root-dir: site }}");
        let mut domains = vec![site.as_str()];
        domains.extend(self.domains.iter().map(String::as_str));
        let settings = if self.limits.is_empty() { &[][..] } else { &settings[..] };
        let shop = Shop::with_settings(settings, &domains);
        shop.project.file("site/index.html", "<h1>hello</h1>\n");
        shop.project.file("site/big.bin", "x".repeat(32 << 20));
        shop
    }

    fn during(&self, master: &Master, attack: &(impl Fn(&Target<'_>) + Sync)) -> Duration {
        let is_over = Arc::new(AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..self.attackers {
                let is_over = is_over.clone();
                scope.spawn(move || {
                    // It stands for other machines, whose processors are not the bystander's.
                    let _ = rustix::process::nice(15);
                    let target = Target {
                        master,
                        is_over: &is_over,
                    };
                    while !target.is_over() {
                        attack(&target);
                    }
                });
            }
            let _end = End(&is_over);
            // What is measured is the attack, not its beginning.
            eventually("the attack is under way", PATIENCE, || {
                match reached(master, self.limit) {
                    0 => Err("not yet"),
                    _ => Ok(()),
                }
            });
            bystander(master)
        })
    }
}

/// Tells the attackers to end, also when the test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How often a limit was reached.
pub(crate) fn reached(master: &Master, limit: &str) -> u64 {
    let metrics = master.ask("GET", "/metrics").text();
    let label = format!("limit=\"{limit}\"");
    let line = metrics
        .lines()
        .find(|line| line.contains("limits_reached_total") && line.contains(&label));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

/// Asserts that a worker has given up what it does not need, by the word of the kernel and by its own.
fn assert_confined(master: &Master, pid: u32) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the worker is there");
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let told = master.status();
    let confined = &told["lanes"][0]["workers"][0]["confined"];
    assert_eq!(
        confined,
        &serde_json::json!(["no-new-privs", "landlock", "seccomp"]),
        "{told}"
    );
}

fn workers_live(master: &Master, pid: u32) -> bool {
    master.workers("active").iter().any(|worker| worker.pid == pid)
}

/// The 99th percentile of what a client waits for a page, over one connection that it keeps.
fn bystander(master: &Master) -> Duration {
    let stream = tcp_from(BYSTANDER, master.https).expect("the bystander is taken");
    let stream = tls_over(stream, SITE, &master.ca, &["http/1.1"]).expect("the bystander shakes hands");
    let mut client = Http1::new(stream);
    let mut waits: Vec<_> = (0..SAMPLES)
        .map(|_| {
            let began = Instant::now();
            let answer = client.request(&Request::get(SITE, "/"));
            assert_eq!(answer.status, 200, "{}", answer.text());
            began.elapsed()
        })
        .collect();
    waits.sort();
    waits[SAMPLES * 99 / 100 - 1]
}

/// Sends a part and leaves it at that.
pub(crate) fn begin(stream: &mut SiteStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).and_then(|()| stream.flush()).is_ok()
}
