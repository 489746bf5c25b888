//! A project, a home and a proxy of one test's own.
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use sc_config::{Homes, Instance, Places};

/// What `ca_spki` of the instance file says.
pub(crate) const SPKI: &str = "c3BraSBvZiB0aGUgdGVzdCBjYQ==";

/// A fake browser: writes its arguments and what matters of its environment beside itself.
const BROWSER: &str = r#"#!/bin/sh
here=$(dirname "$0")
for arg in "$@"; do printf '%s\n' "$arg"; done > "$here/args"
printf '%s\n' "${SSLKEYLOGFILE-}" > "$here/keylog"
cut -d' ' -f6 /proc/$$/stat > "$here/session"
echo said by the browser
exit "${BROWSER_EXIT-0}"
"#;

pub(crate) struct World {
    root: tempfile::TempDir,
    pub(crate) project: PathBuf,
    pub(crate) home: PathBuf,
}

pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    /// A project without a running instance.
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| {
            let path = root.path().join(name);
            fs::create_dir(&path).expect("a folder");
            path.canonicalize().expect("a folder that was made just now")
        };
        let (project, home, bin) = (at("shop"), at("home"), at("bin"));
        let browser = bin.join("browser");
        fs::write(&browser, BROWSER).expect("the fake browser");
        fs::set_permissions(&browser, fs::Permissions::from_mode(0o755)).expect("the fake browser");
        Self { root, project, home }
    }

    /// A project whose instance runs (it is this test's process) with its proxy at this address.
    pub(crate) fn with_instance(socks: SocketAddr) -> Self {
        let world = Self::new();
        world.put_ca("ca");
        world.write_instance(&world.instance(socks));
        world
    }

    /// A project with a proxy that answers.
    pub(crate) fn running() -> (Self, Proxy) {
        let proxy = Proxy::start();
        (Self::with_instance(proxy.address), proxy)
    }

    pub(crate) fn places(&self) -> Places {
        let homes = Homes {
            home: self.home.clone(),
            xdg_state_home: None,
            xdg_runtime_dir: None,
        };
        Places::of(&self.project, ".shimmercat.loves.devs", &homes).expect("places of the project")
    }

    pub(crate) fn instance(&self, socks: SocketAddr) -> Instance {
        let (pid, pid_started) = Instance::this_process();
        let names = ["www.example.com", "mysql", "*.tenants.example.com"]
            .map(str::to_owned)
            .to_vec();
        Instance {
            pid,
            pid_started,
            mode: "devlove".to_owned(),
            version: "0.0.0".to_owned(),
            folder: self.project.clone(),
            config: None,
            https: vec!["127.0.0.1:4043".to_owned()],
            socks: Some(socks.to_string()),
            ca_pem: self.places().ca_dir.join("ca.pem"),
            ca_spki: SPKI.to_owned(),
            control: self.places().control,
            names,
            started_unix: 1,
        }
    }

    pub(crate) fn write_instance(&self, instance: &Instance) {
        self.places().create().expect("the places of the project");
        instance.write(&self.places().scratch).expect("the instance file");
    }

    /// Makes one of `tests/data` the project's CA.
    pub(crate) fn put_ca(&self, name: &str) {
        self.places().create().expect("the places of the project");
        fs::copy(data(name), self.places().ca_dir.join("ca.pem")).expect("the CA's certificate");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root
            .path()
            .canonicalize()
            .expect("the temporary folder")
            .join(name)
    }

    pub(crate) fn browser(&self) -> PathBuf {
        self.path("bin/browser")
    }

    /// What the fake browser wrote down.
    pub(crate) fn told(&self, what: &str) -> String {
        fs::read_to_string(self.path("bin").join(what)).unwrap_or_default()
    }

    /// The program, with a clean environment, in the project's folder.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sc-tool"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .env("HOME", &self.home)
            .env("TMPDIR", self.root.path())
            .env("COLUMNS", "80")
            .env("TZ", "UTC");
        command.current_dir(&self.project).stdin(Stdio::null());
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Done {
        done(self.command().args(args).output())
    }

    /// `sc-tool chrome` with the fake browser.
    pub(crate) fn chrome(&self, args: &[&str]) -> Done {
        self.run(
            ["chrome", "-x", &self.browser().display().to_string()]
                .iter()
                .chain(args),
        )
    }

    /// Replaces what differs from test to test.
    pub(crate) fn plain(&self, text: &str) -> String {
        let state = self.places().state.display().to_string();
        text.replace(&state, "STATE")
            .replace(&self.path("").display().to_string(), "ROOT/")
    }
}

pub(crate) fn done(output: std::io::Result<Output>) -> Done {
    let output = output.expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Done {
        code: output.status.code().unwrap_or(-1),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

/// A file of `tests/data`.
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(format!("{name}.pem"))
}

/// An address where nothing listens.
pub(crate) fn silent() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
}

/// A SOCKS5 server that answers one name by echoing in capitals, and refuses the others with code 2.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    http_asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let http_asked = Arc::new(Mutex::new(Vec::new()));
        let logs = (Arc::clone(&asked), Arc::clone(&http_asked));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let logs = logs.clone();
                thread::spawn(move || drop(serve(client, &logs.0, &logs.1)));
            }
        });
        Self {
            address,
            asked,
            http_asked,
        }
    }

    /// Every `name:port` that was asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no test thread panics").clone()
    }

    /// The first line of every HTTP request.
    pub(crate) fn http_asked(&self) -> Vec<String> {
        self.http_asked.lock().expect("no test thread panics").clone()
    }
}

type Log = Mutex<Vec<String>>;

fn serve(mut client: TcpStream, asked: &Log, http_asked: &Log) -> std::io::Result<()> {
    let mut first = [0; 1];
    client.read_exact(&mut first)?;
    if first[0] != 5 {
        let mut line = vec![first[0]];
        while !line.ends_with(b"\r\n\r\n") {
            line.extend(read(&mut client, 1)?);
        }
        let line = String::from_utf8_lossy(&line)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        http_asked.lock().expect("no test thread panics").push(line.clone());
        if line.starts_with("CONNECT") {
            return client.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
        }
        let body = "function FindProxyForURL(url, host) { return \"DIRECT\"; }\n";
        return write!(
            client,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
    }
    read(&mut client, 1).and_then(|count| read(&mut client, count[0]))?;
    client.write_all(&[5, 0])?;
    let length = read(&mut client, 5)?[4];
    let name = String::from_utf8_lossy(&read(&mut client, length)?).into_owned();
    let port = read(&mut client, 2)?;
    let port = u16::from_be_bytes([port[0], port[1]]);
    asked
        .lock()
        .expect("no test thread panics")
        .push(format!("{name}:{port}"));
    let code = if ["www.example.com", "mysql"].contains(&name.as_str()) {
        0
    } else {
        2
    };
    client.write_all(&[5, code, 0, 1, 127, 0, 0, 1, 0, 80])?;
    if code == 0 {
        let mut text = String::new();
        client.read_to_string(&mut text)?;
        client.write_all(text.to_uppercase().as_bytes())?;
    }
    Ok(())
}

fn read(client: &mut TcpStream, length: u8) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(length)];
    client.read_exact(&mut bytes).map(|()| bytes)
}
