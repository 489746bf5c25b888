//! The way of a request through the whole engine, to be counted: sockets, TLS, HTTP, sites, files or an application, record.
//!
//! `hot_path MODE REQUESTS` serves that many requests of a client that is a process of its own (`client.rs`), so that
//! whoever counts this one, such as callgrind, counts the server alone. `cargo xtask instructions` runs it twice for each
//! mode and takes the difference, in which the start does not show. There is one connection and everything happens in a
//! fixed order: counts are the same from run to run within a fraction of a percent. Times are for `cargo xtask bench`.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its modes and may fail loudly"
)]

mod client;
mod modes;

use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sc_http::{Answer, Body, Exchange, Head};
use sc_net::listen::{self, Place};
use sc_net::{Target, Tasks, UpstreamAddr};
use sc_server::journal::record_line;
use sc_server::{Around, Event, Journal, Kind, LocalFuture, Network, Policy, Record, Refusal, Route, Server};
use sc_site::{Disclosure, Environment, FilesSpec, NamePattern, SiteSpec, Sites, UpstreamSpec};
use sc_tls::{Ca, Minter, Uncovered};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::ChildStdout;
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use crate::modes::{APP, FILES, MODES, Mode};

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match *args {
        ["client", mode, requests] => client::run(modes::find(mode), requests.parse().unwrap()),
        [mode, requests] => serve(modes::find(mode), requests.parse().unwrap()),
        _ => {
            println!("usage: hot_path MODE REQUESTS, where MODE is");
            for mode in MODES {
                println!("  {:14} {}", mode.name, mode.about);
            }
        }
    }
}

fn serve(mode: &Mode, requests: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = LocalSet::new();
    let mut running = local.block_on(&runtime, Box::pin(Running::start(mode, requests)));
    counted_part(&runtime, &local, &mut running);
    local.block_on(&runtime, Box::pin(running.server.stop(Duration::from_secs(1))));
    assert_eq!(running.book.records.get(), requests, "a record for each request");
}

/// What is counted: `cargo xtask instructions` knows it by its name.
#[inline(never)]
fn counted_part(runtime: &Runtime, local: &LocalSet, running: &mut Running) {
    local.block_on(runtime, running.go());
}

/// A server, and its client that waits to begin.
struct Running {
    server: Server,
    addr: SocketAddr,
    book: Rc<Book>,
    client: Child,
    /// What the client says; it ends with it.
    heard: Lines<BufReader<ChildStdout>>,
    _tasks: Rc<Tasks>,
    _place: TempDir,
}

impl Running {
    async fn start(mode: &Mode, requests: u64) -> Self {
        let mut client = Command::new(std::env::current_exe().unwrap())
            .args(["client", mode.name, &requests.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let heard = ChildStdout::from_std(client.stdout.take().unwrap()).unwrap();
        let mut heard = BufReader::new(heard).lines();
        let app: SocketAddr = heard.next_line().await.unwrap().unwrap().parse().unwrap();

        let place = tempfile::tempdir().unwrap();
        for name in ["1k.txt", "1k.png"] {
            std::fs::write(place.path().join(name), vec![b'k'; 1 << 10]).unwrap();
        }
        std::fs::write(place.path().join("1m.bin"), vec![b'm'; 1 << 20]).unwrap();
        let (ca, _) = Ca::open_or_create(&place.path().join("ca"), "bench", SystemTime::now()).unwrap();
        let minter = Minter::new(Arc::new(ca), |name| name.ends_with(".example"), Uncovered::Refuse).unwrap();
        let tls = sc_tls::server_config(Arc::new(minter), sc_tls::H2_AND_HTTP11).unwrap();
        let tasks = Rc::new(Tasks::new(|panicked| panic!("{panicked:?}")));
        let book = Rc::new(Book {
            keeps_lines: mode.is_logged,
            ..Book::default()
        });
        let sites = sites(place.path(), app, &tasks);
        let server = Server::new(Policy::new(SystemTime::now), book.clone(), Rc::new(Nothing), sites, tls);
        // Leaves are made and random numbers are seeded here, which takes as long as it takes.
        for name in [FILES, APP] {
            server.self_test(name).await.unwrap();
        }
        let listener = listen::bind(&Place::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
        let addr = listener.local().socket().unwrap();
        server.listen(listener, Kind::Tls);
        Running {
            server,
            addr,
            book,
            client,
            heard,
            _tasks: tasks,
            _place: place,
        }
    }

    async fn go(&mut self) {
        let mut to_client = self.client.stdin.take().unwrap();
        writeln!(to_client, "{}", self.addr).unwrap();
        assert_eq!(self.heard.next_line().await.unwrap(), None, "nothing more to say");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.client.kill();
        }
        let ended = self.client.wait().unwrap();
        assert!(ended.success() || std::thread::panicking(), "the client failed");
    }
}

fn sites(folder: &std::path::Path, app: SocketAddr, tasks: &Rc<Tasks>) -> Sites {
    let name = |name| NamePattern::parse(name).unwrap();
    let mut files = SiteSpec::new(name(FILES));
    files.root = Some(FilesSpec {
        // Counting makes time run fast: no second look at a file may fall into the count, or it varies.
        window: Some(Duration::from_secs(3600)),
        ..FilesSpec::new(folder)
    });
    let mut proxied = SiteSpec::new(name(APP));
    // As `{ port: N }` has it: the application listens on one of the two addresses of that name.
    proxied.upstream = Some(UpstreamSpec::new(UpstreamAddr::Name {
        host: "localhost".to_owned(),
        port: app.port(),
    }));
    let tasks = tasks.clone();
    let environment = Environment {
        disclosure: Disclosure::Public,
        marker: "bench".into(),
        spawn: Rc::new(move |name, task| tasks.spawn(name, task)),
        told: Rc::new(|_| {}),
    };
    Sites::compile(vec![files, proxied], environment).unwrap()
}

/// Counts records and, where the mode wants it, writes their lines into memory.
#[derive(Default)]
struct Book {
    records: Cell<u64>,
    keeps_lines: bool,
    lines: RefCell<String>,
}

impl Journal for Book {
    fn event(&self, _: Event) {}

    fn record(&self, record: Record) {
        self.records.set(self.records.get() + 1);
        if self.keeps_lines {
            let mut lines = self.lines.borrow_mut();
            if lines.len() > 64 << 10 {
                lines.clear();
            }
            lines.push_str(&record_line(&record));
            lines.push('\n');
        }
    }
}

/// A little network that nobody is in.
struct Nothing;

impl Network for Nothing {
    fn route(&self, _: &Target) -> Route {
        Route::Refuse(Refusal::NotForwarded)
    }

    fn udp_route(&self, _: &Target) -> Route {
        Route::Refuse(Refusal::NotForwarded)
    }

    fn refused(&self, _: &Target, _: &Refusal) {}

    fn page<'a>(&'a self, _: Box<Exchange>, _: &'a Around) -> LocalFuture<'a, Answer> {
        Box::pin(async { Answer::new(Head::new(http::StatusCode::NOT_FOUND), Body::empty()) })
    }

    fn refusal_page(&self, _: &Exchange, _: &Refusal) -> Answer {
        Answer::new(Head::new(http::StatusCode::FORBIDDEN), Body::empty())
    }
}
