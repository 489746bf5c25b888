//! A running `shimmercat internet`, as the tests beside this file start it, and the ways to ask it.
//!
//! Every master has ports of its own, a project folder made by the test, a CA made by the test and a fresh `HOME`. What is
//! said on stderr is the start block; what is said on stdout are log lines, which [`Master::events`] reads.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use sc_testkit::program::{Finished, Launch, Program, Signal};
use sc_testkit::{CertificateFiles, Curl, Http1, Request, TempProject, TestCa, client, eventually, tls_over};
use serde_json::Value;

/// No answer takes as long, also not on a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// The public site of most tests.
pub(crate) const SITE: &str = "www.shop.example";

/// A TLS connection to a site.
pub(crate) type SiteStream = client::tls::TlsStream<TcpStream>;

/// A project with a certificate: what a master is started in.
pub(crate) struct Shop {
    pub(crate) project: TempProject,
    pub(crate) authority: TestCa,
    pub(crate) certificate: CertificateFiles,
}

impl Shop {
    /// One static site, whose page says `hello`, and a certificate for it.
    pub(crate) fn new() -> Shop {
        let shop = Shop::with(&[&format!("{SITE}: {{ root-dir: site }}")]);
        shop.project.file("site/index.html", "<h1>hello</h1>\n");
        shop
    }

    /// A project with these lines below `domains:`, and a certificate for every name of `shop.example`.
    pub(crate) fn with(domains: &[&str]) -> Shop {
        Shop::with_settings(&[], domains)
    }

    /// The same with these lines above `domains:`.
    pub(crate) fn with_settings(settings: &[&str], domains: &[&str]) -> Shop {
        let project = TempProject::with_yaml(&yaml(settings, domains));
        let authority = TestCa::new();
        let certificate = authority.write(&project.path_of("tls"), &["*.shop.example", "shop.example"]);
        Shop {
            project,
            authority,
            certificate,
        }
    }

    /// Writes another file in place of the first.
    pub(crate) fn rewrite(&self, settings: &[&str], domains: &[&str]) {
        sc_testkit::replace(&self.project.path_of("devlove.yaml"), &yaml(settings, domains));
    }

    /// A start of the program in the project's folder.
    pub(crate) fn shimmercat<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Launch {
        Launch::new(env!("CARGO_BIN_EXE_shimmercat"))
            .current_dir(self.project.path())
            .args(arguments)
    }

    /// A start of `internet` at free ports, with more options.
    pub(crate) fn internet(&self, options: &[&str]) -> Launch {
        self.shimmercat(["internet", "--listen", "127.0.0.1:0"])
            .arg("--cert")
            .arg(&self.certificate.chain)
            .arg("--key")
            .arg(&self.certificate.key)
            .args(options)
    }

    /// Serves with two lanes.
    pub(crate) fn serve(&self) -> Master {
        self.serve_with(&["--workers", "2"])
    }

    /// Serves with these options.
    pub(crate) fn serve_with(&self, options: &[&str]) -> Master {
        self.launch(self.internet(options))
    }

    /// Waits until a start of `internet` is ready.
    pub(crate) fn launch(&self, launch: Launch) -> Master {
        let mut program = launch.start();
        program.wait_for_text("next: shimmercat status", PATIENCE);
        let file = self.project.path_of(".shimmercat.loves.devs/instance.json");
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let instance: Value = serde_json::from_str(&text).expect("instance.json is JSON");
        Master {
            https: address(&instance["https"][0]),
            ca: self.certificate.ca.clone(),
            program,
            instance,
        }
    }
}

fn yaml(settings: &[&str], domains: &[&str]) -> String {
    let settings: String = settings.iter().map(|line| format!("  {line}\n")).collect();
    let domains: String = domains.iter().map(|line| format!("    {line}\n")).collect();
    format!("shimmercat-devlove:\n{settings}  domains:\n{domains}")
}

/// An address in JSON.
pub(crate) fn address(value: &Value) -> SocketAddr {
    let text = value.as_str().unwrap_or_else(|| panic!("no address: {value}"));
    text.parse().unwrap_or_else(|_| panic!("no address: {text}"))
}

/// A running master; it is killed when dropped, and a log line of severity `error` fails the test then.
pub(crate) struct Master {
    pub(crate) program: Program,
    /// Where HTTPS is.
    pub(crate) https: SocketAddr,
    /// The CA that clients trust.
    pub(crate) ca: PathBuf,
    /// What `instance.json` says.
    pub(crate) instance: Value,
}

/// A worker as `status` tells it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct WorkerSeen {
    pub(crate) worker: u64,
    pub(crate) lane: u64,
    pub(crate) pid: u32,
}

impl Master {
    /// A transfer from a site at the HTTPS port.
    pub(crate) fn curl(&self, url: &str) -> Curl {
        let connect_to = format!("::{}", self.https);
        Curl::new(url)
            .arg("--cacert")
            .arg(&self.ca)
            .args(["--connect-to", &connect_to])
    }

    /// A TLS connection to a site.
    pub(crate) fn tls(&self, name: &str, alpn: &[&str]) -> SiteStream {
        let stream = client::tcp(self.https);
        tls_over(stream, name, &self.ca, alpn).unwrap_or_else(|error| panic!("TLS with {name}: {error}"))
    }

    /// An HTTP/1.1 connection to a site.
    pub(crate) fn http1(&self, name: &str) -> Http1<SiteStream> {
        Http1::new(self.tls(name, &["http/1.1"]))
    }

    /// Asks at the control socket.
    pub(crate) fn ask(&self, method: &str, path: &str) -> sc_testkit::Response {
        let control = self.instance["control"]
            .as_str()
            .expect("the path of the control socket");
        let stream = UnixStream::connect(control).expect("the control socket is open");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a time limit can be set");
        let request = Request::new(method, path)
            .header("Host", "localhost")
            .header("Connection", "close");
        Http1::new(stream).request(&request)
    }

    /// What `shimmercat status --json` prints.
    pub(crate) fn status(&self) -> Value {
        self.ask("GET", "/status").json()
    }

    /// Renews all workers, and waits until that is done.
    pub(crate) fn recycle(&self) {
        let answer = self.ask("POST", "/recycle");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// The workers in a state, by lane.
    pub(crate) fn workers(&self, state: &str) -> Vec<WorkerSeen> {
        workers(&self.status(), state)
    }

    /// Waits until every lane has a worker that accepts and one that is warm.
    pub(crate) fn wait_settled(&self) -> Value {
        eventually("every lane has an active worker and a warm one", PATIENCE, || {
            let status = self.status();
            let lanes = status["lanes"].as_array().map_or(0, Vec::len);
            let count = |state| workers(&status, state).len();
            if count("active") == lanes && count("warm") == lanes && count("draining") == 0 {
                Ok(status)
            } else {
                Err(status)
            }
        })
    }

    /// All log lines so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.program.stdout().lines().map(parse).collect()
    }

    /// All log lines so far with this event name.
    pub(crate) fn events_named(&self, name: &str) -> Vec<Value> {
        self.events()
            .into_iter()
            .filter(|event| event["event"] == name)
            .collect()
    }

    /// Waits for the log line number `count` (from 1) with this event name.
    pub(crate) fn wait_event(&self, name: &str, count: usize) -> Value {
        eventually(&format!("{name} number {count}"), PATIENCE, || {
            let mut events = self.events_named(name);
            if events.len() < count {
                Err(self.program.stdout())
            } else {
                Ok(events.swap_remove(count - 1))
            }
        })
    }

    /// Stops it as Ctrl-C does, and asserts that it ends well; what it said on stderr.
    pub(crate) fn stop(mut self) -> String {
        self.program.signal(Signal::INT);
        let status = self.program.wait_exit(PATIENCE);
        assert_eq!(status.code(), Some(0), "{}", self.program.stderr());
        self.program.assert_no_errors();
        self.program.stderr()
    }
}

/// The workers in a state, by lane, as `status` told them.
pub(crate) fn workers(status: &Value, state: &str) -> Vec<WorkerSeen> {
    let mut seen = Vec::new();
    for lane in status["lanes"].as_array().into_iter().flatten() {
        for worker in lane["workers"].as_array().into_iter().flatten() {
            if worker["state"] == state {
                let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("no number: {value}"));
                seen.push(WorkerSeen {
                    worker: number(&worker["worker"]),
                    lane: number(&lane["lane"]),
                    pid: u32::try_from(number(&worker["pid"])).expect("a process id"),
                });
            }
        }
    }
    seen
}

/// Runs a command of the program to its end.
pub(crate) fn run<'a>(shop: &Shop, arguments: impl IntoIterator<Item = &'a str>) -> Finished {
    shop.shimmercat(arguments).run(PATIENCE)
}
