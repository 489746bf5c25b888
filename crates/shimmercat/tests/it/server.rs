//! A running `shimmercat devlove`, as the tests beside this file start it, and the ways to ask it.
//!
//! Every server has ports of its own, a project folder made by the test and a fresh `HOME`. What is said on stderr is the
//! start block; what is said on stdout are log lines, which [`Server::events`] reads.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use sc_testkit::program::{Finished, Launch, Program, Signal};
use sc_testkit::{Curl, Http1, TempProject, client, socks5, tls_over};
use serde_json::Value;

/// No answer takes as long, also not on a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to a site: TLS through SOCKS5.
pub(crate) type SiteStream = client::tls::TlsStream<TcpStream>;

/// A start of the program in the folder of a project.
pub(crate) fn shimmercat<'a>(project: &TempProject, arguments: impl IntoIterator<Item = &'a str>) -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_shimmercat"))
        .current_dir(project.path())
        .args(arguments)
}

/// Runs a command of the program to its end.
pub(crate) fn run<'a>(project: &TempProject, arguments: impl IntoIterator<Item = &'a str>) -> Finished {
    shimmercat(project, arguments).run(PATIENCE)
}

/// A running server; it is killed when dropped, and a log line of severity `error` fails the test then.
pub(crate) struct Server {
    pub(crate) program: Program,
    /// Where HTTPS is.
    pub(crate) https: SocketAddr,
    /// The little network's port.
    pub(crate) proxy: SocketAddr,
    /// The certificate of the project's CA.
    pub(crate) ca: PathBuf,
    /// What `instance.json` says.
    pub(crate) instance: Value,
}

impl Server {
    /// Serves the project at free ports.
    pub(crate) fn start(project: &TempProject) -> Server {
        Server::start_with(project, &[])
    }

    /// Serves the project at free ports, with more options.
    pub(crate) fn start_with(project: &TempProject, options: &[&str]) -> Server {
        let ports = ["devlove", "--listen", "127.0.0.1:0", "-5", "127.0.0.1:0"];
        Server::launch(
            project,
            shimmercat(project, ports.into_iter().chain(options.iter().copied())),
        )
    }

    /// Waits until a start of `devlove` in the project's folder is ready.
    pub(crate) fn launch(project: &TempProject, launch: Launch) -> Server {
        let mut program = launch.start();
        program.wait_for_text("next: sc-tool chrome", PATIENCE);
        Server::of(program, project, ".shimmercat.loves.devs")
    }

    /// A server that is ready, by the file it wrote into its scratch folder.
    pub(crate) fn of(program: Program, project: &TempProject, scratch: &str) -> Server {
        let file = project.path_of(scratch).join("instance.json");
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let instance: Value = serde_json::from_str(&text).expect("instance.json is JSON");
        let address = |value: &Value| -> SocketAddr {
            let text = value.as_str().unwrap_or_else(|| panic!("no address in {instance}"));
            text.parse().unwrap_or_else(|_| panic!("no address: {text}"))
        };
        let (https, proxy) = (address(&instance["https"][0]), address(&instance["socks"]));
        let ca = PathBuf::from(instance["ca_pem"].as_str().expect("the path of the CA"));
        Server {
            program,
            https,
            proxy,
            ca,
            instance,
        }
    }

    /// A transfer that trusts the project's CA; how it gets here is left to the test.
    pub(crate) fn direct(&self, url: &str) -> Curl {
        Curl::new(url).arg("--cacert").arg(&self.ca)
    }

    /// A transfer through the little network, by SOCKS5 with names.
    pub(crate) fn curl(&self, url: &str) -> Curl {
        self.direct(url).args(["--socks5-hostname", &self.proxy.to_string()])
    }

    /// A TLS connection to a site through the little network.
    pub(crate) fn tls(&self, name: &str, alpn: &[&str]) -> SiteStream {
        let answer = socks5(self.proxy, name, 443);
        assert_eq!(answer.reply, 0, "the little network lets {name}:443 through");
        tls_over(answer.stream, name, &self.ca, alpn).unwrap_or_else(|error| panic!("TLS with {name}: {error}"))
    }

    /// An HTTP/1.1 connection to a site through the little network.
    pub(crate) fn http1(&self, name: &str) -> Http1<SiteStream> {
        Http1::new(self.tls(name, &["http/1.1"]))
    }

    /// What `shimmercat status --json` prints, asked at the control socket.
    pub(crate) fn status(&self) -> Value {
        let control = self.instance["control"]
            .as_str()
            .expect("the path of the control socket");
        let stream = std::os::unix::net::UnixStream::connect(control).expect("the control socket is open");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a time limit can be set");
        let request = sc_testkit::Request::get("localhost", "/status");
        Http1::new(stream).request(&request).json()
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
        sc_testkit::eventually(&format!("{name} number {count}"), PATIENCE, || {
            let mut events = self.events_named(name);
            if events.len() < count {
                Err(self.program.stdout())
            } else {
                Ok(events.swap_remove(count - 1))
            }
        })
    }

    /// Stops it as Ctrl-C does, and asserts that it ends well.
    pub(crate) fn stop(mut self) -> String {
        self.program.signal(Signal::INT);
        let status = self.program.wait_exit(PATIENCE);
        assert_eq!(status.code(), Some(0), "{}", self.program.stderr());
        self.program.assert_no_errors();
        self.program.stderr()
    }
}

/// A project with one static site, `www.shop.example`, whose page says `hello from NAME`.
pub(crate) fn static_site(words: &str) -> TempProject {
    let project = TempProject::with_yaml("shimmercat-devlove:\n  domains:\n    www.shop.example: { root-dir: site }\n");
    project.file("site/index.html", format!("<h1>{words}</h1>\n"));
    project
}

/// A project with this text below `domains:`, written without its indentation of four.
pub(crate) fn domains(lines: &[&str]) -> TempProject {
    TempProject::with_yaml(&domains_yaml(lines))
}

/// The text of such a file.
pub(crate) fn domains_yaml(lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("    {line}\n")).collect();
    format!("shimmercat-devlove:\n  domains:\n{lines}")
}
