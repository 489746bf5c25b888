//! The SOCKS5 port beside microsocks and dante, on the same core, in turns within one run.
//!
//! `cargo bench -p shimmercat --bench socks` prints, for each server: connections a second (SOCKS5 greeting, CONNECT, one
//! request of 64 bytes, an answer of 1 KiB), bulk throughput of one download, and the server's CPU time for both from
//! `/proc`, which is the steadier figure on a shared machine. The server has core 0, the load and the target core 1.
//! Nothing logs. Needs `microsocks`, `danted` and `taskset` (Debian: microsocks, dante-server, util-linux).

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its table and may fail loudly"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const ROUND_TIME: Duration = Duration::from_millis(1500);
const CLIENTS: usize = 16;
const REQUEST: [u8; 64] = [b'q'; 64];
const BULK: [u8; 64] = [b'b'; 64];
const ANSWER_BYTES: usize = 1024;
const BULK_BYTES: u64 = 1 << 30;

fn main() {
    if std::env::args().nth(1).as_deref() == Some("load") {
        return load();
    }
    let folder = std::env::temp_dir().join(format!("shimmercat-bench-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let servers = [shimmercat(&folder), microsocks(), dante(&folder)];
    let mut rows: Vec<Vec<Sample>> = vec![Vec::new(); servers.len()];
    for _ in 0..ROUNDS {
        for (server, row) in servers.iter().zip(&mut rows) {
            row.push(server.measure());
        }
    }
    println!(
        "{:12} {:>12} {:>14} {:>12} {:>14}",
        "server", "connects/s", "CPU us/connect", "MB/s", "CPU ms/GB"
    );
    for (server, row) in servers.iter().zip(&rows) {
        let of = |value: fn(&Sample) -> f64| median(row.iter().map(value).collect());
        println!(
            "{:12} {:>12.0} {:>14.1} {:>12.0} {:>14.0}",
            server.name,
            of(|s| s.connects),
            of(|s| s.connect_cpu_us),
            of(|s| s.megabytes),
            of(|s| s.gigabyte_cpu_ms)
        );
    }
    drop(servers);
    fs::remove_dir_all(&folder).unwrap();
}

#[derive(Clone, Debug)]
struct Sample {
    connects: f64,
    connect_cpu_us: f64,
    megabytes: f64,
    gigabyte_cpu_ms: f64,
}

struct Server {
    name: &'static str,
    port: u16,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        for pid in tree(self.child.id()).into_iter().rev() {
            let _ = Command::new("kill").arg(pid.to_string()).stderr(Stdio::null()).status();
        }
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(name: &'static str, port: u16, program: &str, args: &[&str], folder: Option<&Path>) -> Self {
        let mut command = Command::new("taskset");
        command
            .args(["-c", "0", program])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(folder) = folder {
            command
                .env("HOME", folder)
                .env_remove("XDG_RUNTIME_DIR")
                .env_remove("XDG_STATE_HOME")
                .current_dir(folder);
        }
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
        let server = Server { name, port, child };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(Instant::now() < deadline, "{name} does not listen on port {port}");
            std::thread::yield_now();
        }
        server
    }

    /// One round: connections, then a download, each with the CPU time that the server took.
    fn measure(&self) -> Sample {
        let before = self.cpu_us();
        let (count, seconds) = self.load("connects");
        let between = self.cpu_us();
        let (bytes, bulk_seconds) = self.load("bulk");
        let after = self.cpu_us();
        let gigabytes = bytes / 1e9;
        Sample {
            connects: count / seconds,
            connect_cpu_us: (between - before) / count,
            megabytes: bytes / 1e6 / bulk_seconds,
            gigabyte_cpu_ms: (after - between) / 1e3 / gigabytes,
        }
    }

    /// Runs the load as a process of its own on core 1, with the target in it.
    fn load(&self, kind: &str) -> (f64, f64) {
        let this = std::env::current_exe().unwrap();
        let output = Command::new("taskset")
            .args(["-c", "1"])
            .arg(this)
            .args(["load", kind, &self.port.to_string()])
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "the load on {} failed", self.name);
        let text = String::from_utf8(output.stdout).unwrap();
        let (amount, seconds) = text.trim().split_once(' ').unwrap();
        (amount.parse().unwrap(), seconds.parse().unwrap())
    }

    /// CPU time of the server and of all processes below it, in microseconds; those that ended count with their parent.
    fn cpu_us(&self) -> f64 {
        let ticks: u64 = tree(self.child.id())
            .iter()
            .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok())
            .map(|stat| {
                let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
                let fields: Vec<_> = after_name.split_whitespace().collect();
                (11..15)
                    .filter_map(|at| fields.get(at)?.parse::<u64>().ok())
                    .sum::<u64>()
            })
            .sum();
        ticks as f64 * 10_000.0
    }
}

fn tree(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(pid) = all.get(at).copied() {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten();
        for task in tasks {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(
                children
                    .split_whitespace()
                    .filter_map(|child| child.parse::<u32>().ok()),
            );
        }
        at += 1;
    }
    all
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn shimmercat(folder: &Path) -> Server {
    let yaml =
        "shimmercat-devlove:\n  allow-private: [127.0.0.1]\n  domains:\n    www.example.com:\n      root-dir: .\n";
    fs::write(folder.join("devlove.yaml"), yaml).unwrap();
    let port = free_port();
    let program = env!("CARGO_BIN_EXE_shimmercat");
    let socks = port.to_string();
    let args = ["devlove", "--listen", "0", "-5", &socks, "-w", "--log-codes", "empty"];
    Server::start("shimmercat", port, program, &args, Some(folder))
}

fn microsocks() -> Server {
    let port = free_port();
    let text = port.to_string();
    Server::start(
        "microsocks",
        port,
        "microsocks",
        &["-i", "127.0.0.1", "-p", &text],
        None,
    )
}

fn dante(folder: &Path) -> Server {
    let port = free_port();
    let config = folder.join("danted.conf");
    let text = format!(
        "logoutput: /dev/null\ninternal: 127.0.0.1 port = {port}\nexternal: lo\nsocksmethod: none\nclientmethod: none\n\
         user.unprivileged: nobody\nclient pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}\nsocks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}\n"
    );
    fs::write(&config, text).unwrap();
    let pid_file = folder.join("danted.pid");
    let args = ["-f", config.to_str().unwrap(), "-p", pid_file.to_str().unwrap()];
    Server::start("dante", port, "danted", &args, None)
}

/// The load: prints what was done and how long it took.
fn load() {
    let args: Vec<_> = std::env::args().collect();
    let proxy = SocketAddr::from((Ipv4Addr::LOCALHOST, args[3].parse().unwrap()));
    let target = target();
    let began = Instant::now();
    let amount = match args[2].as_str() {
        "connects" => connects(proxy, target),
        _ => bulk(proxy, target),
    };
    println!("{amount} {}", began.elapsed().as_secs_f64());
}

fn connects(proxy: SocketAddr, target: SocketAddr) -> u64 {
    let done = Arc::new(AtomicU64::new(0));
    let deadline = Instant::now() + ROUND_TIME;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let done = done.clone();
            std::thread::spawn(move || {
                let mut answer = [0; ANSWER_BYTES];
                while Instant::now() < deadline {
                    let mut stream = connect(proxy, target);
                    stream.write_all(&REQUEST).unwrap();
                    stream.read_exact(&mut answer).unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    done.load(Ordering::Relaxed)
}

fn bulk(proxy: SocketAddr, target: SocketAddr) -> u64 {
    let mut stream = connect(proxy, target);
    stream.write_all(&BULK).unwrap();
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            n => total += n as u64,
        }
    }
    assert_eq!(total, BULK_BYTES);
    total
}

fn connect(proxy: SocketAddr, target: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(&[5, 1, 0]).unwrap();
    let mut method = [0; 2];
    stream.read_exact(&mut method).unwrap();
    let mut ask = vec![5, 1, 0, 1, 127, 0, 0, 1];
    ask.extend(target.port().to_be_bytes());
    stream.write_all(&ask).unwrap();
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(reply[1], 0, "the proxy refused");
    stream
}

/// Answers requests: 1 KiB, or the bulk.
fn target() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    for _ in 0..CLIENTS {
        let listener = listener.try_clone().unwrap();
        std::thread::spawn(move || {
            let piece = vec![b'x'; 256 << 10];
            while let Ok((mut stream, _)) = listener.accept() {
                let mut request = [0; REQUEST.len()];
                if stream.read_exact(&mut request).is_err() {
                    continue;
                }
                if request == REQUEST {
                    let _ = stream.write_all(&piece[..ANSWER_BYTES]);
                    continue;
                }
                let mut left = BULK_BYTES;
                while left > 0 {
                    let now = left.min(piece.len() as u64);
                    if stream.write_all(&piece[..usize::try_from(now).unwrap()]).is_err() {
                        break;
                    }
                    left -= now;
                }
            }
        });
    }
    address
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
