//! Real browsers and programs on a real `shimmercat devlove`, as an ordinary user with a fresh home.
//!
//! Browsers do not run as root, and tests often do: then everything that is the person's runs as the user 65534. Nothing
//! here gives a browser a flag about certificates. `shimmercat` must have been built into the same target folder.
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sc_testkit::{EchoServer, Launch, Program, TempProject, binary, eventually, find_program};
use serde_json::Value;

/// A browser starts slowly on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(90);

/// `nobody` of Debian.
const ORDINARY_USER: u32 = 65534;

/// A page that says where it is, and asks for a picture by a script, without which it is not complete.
const PAGE: &str = "<!doctype html><meta charset=utf-8><title>real</title><body style='background:#135;color:white'>\
    <h1 id=where></h1><script>where.textContent = 'opened as ' + location.origin;\
    document.write('<img src=\"/beacon.svg?at=' + location.host + '\" width=96 height=96>')</script>";

/// The picture.
const BEACON: &str =
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 2 2'><circle cx='1' cy='1' r='1' fill='gold'/></svg>";

/// An ordinary user with a home, a project, and the project's running server.
struct Person {
    root: TempProject,
    server: Option<Program>,
}

impl Person {
    fn new(domains: &str) -> Self {
        let root = TempProject::new();
        let sites = "    www.example.com: { root-dir: site }\n    www.google.com: { root-dir: site }\n";
        root.file(
            "project/devlove.yaml",
            format!("shimmercat-devlove:\n  domains:\n{sites}{domains}"),
        );
        root.file("project/site/index.html", PAGE)
            .file("project/site/beacon.svg", BEACON);
        root.file("home/tmp/.keep", "");
        for program in [Path::new(env!("CARGO_BIN_EXE_sc-tool")), &binary("shimmercat")] {
            let copy = format!("bin/{}", program.file_name().unwrap_or_default().display());
            root.file(&copy, fs::read(program).expect("the program was built"));
            fs::set_permissions(root.path_of(&copy), fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        give(root.path());
        let mut person = Self { root, server: None };
        let ports = ["devlove", "--listen", "127.0.0.1:0", "-5", "127.0.0.1:0"];
        let mut server = person.launch("shimmercat", ports).start();
        server.wait_for_text("sc-tool chrome", PATIENCE);
        person.server = Some(server);
        person
    }

    /// A start of one of our programs by the person, in the project's folder.
    fn launch<S: AsRef<OsStr>>(&self, program: &str, args: impl IntoIterator<Item = S>) -> Launch {
        let program = self.root.path_of("bin").join(program);
        let launch = match is_root() {
            false => Launch::new(program),
            true => Launch::new(find_program("setpriv"))
                .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
                .arg(program),
        };
        let launch = launch.current_dir(self.root.path_of("project")).args(args);
        launch
            .env("HOME", self.root.path_of("home"))
            .env("TMPDIR", self.root.path_of("home/tmp"))
            .expect_errors()
    }

    /// `sc-tool` run to its end.
    fn tool<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> (i32, String, String) {
        let done = self.launch("sc-tool", args).run(PATIENCE);
        (done.status.code().unwrap_or(-1), done.stdout, done.stderr)
    }

    fn server(&self) -> &Program {
        self.server.as_ref().expect("it was started")
    }

    fn instance(&self) -> Value {
        let file = self.root.path_of("project/.shimmercat.loves.devs/instance.json");
        serde_json::from_str(&fs::read_to_string(file).expect("the instance file")).expect("JSON")
    }

    /// Waits for the log line of a request, and returns it.
    fn exchange(&self, url: &str) -> Value {
        eventually(&format!("a request for {url}"), PATIENCE, || {
            let log = self.server().stdout();
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.into_iter().find(|line| line["url"] == url).ok_or(log)
        })
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Makes a folder and everything in it the ordinary user's.
fn give(path: &Path) {
    if is_root() {
        lchown(path, Some(ORDINARY_USER), Some(ORDINARY_USER)).expect("root gives files away");
        if path.is_dir() && !path.is_symlink() {
            fs::read_dir(path)
                .expect("a folder")
                .for_each(|entry| give(&entry.expect("an entry").path()));
        }
    }
}

/// What Chromium needs where the machine forbids user namespaces, on which its sandbox stands.
fn sandbox() -> &'static [&'static str] {
    let mut command = Command::new(if is_root() { "setpriv" } else { "env" });
    if is_root() {
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    }
    let can = command
        .args(["unshare", "-U", "true"])
        .output()
        .is_ok_and(|done| done.status.success());
    if can { &[] } else { &["--no-sandbox"] }
}

/// When each file of the machine's trust stores was changed, and how long it is.
fn trust_stores() -> BTreeMap<PathBuf, (i64, i64, u64)> {
    let mut found = BTreeMap::new();
    let mut folders = [
        "/etc/ssl",
        "/etc/pki",
        "/usr/share/ca-certificates",
        "/usr/local/share/ca-certificates",
    ]
    .map(PathBuf::from)
    .to_vec();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
        {
            match path.symlink_metadata() {
                Ok(facts) if facts.is_dir() => folders.push(path),
                Ok(facts) => drop(found.insert(path, (facts.mtime(), facts.mtime_nsec(), facts.len()))),
                Err(_) => {}
            }
        }
    }
    found
}

/// Width and height of a PNG, by its header.
fn png_size(path: &Path) -> (u32, u32) {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(
        bytes.starts_with(b"\x89PNG\r\n\x1a\n"),
        "{} is a picture",
        path.display()
    );
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    (number(16), number(20))
}

/// Keeps a picture where a person can look at it, if the environment names a folder.
fn keep(picture: &Path) {
    if let Some(folder) = std::env::var_os("KEEP_SCREENSHOTS") {
        let name = picture.file_name().unwrap_or_default();
        fs::copy(picture, Path::new(&folder).join(name)).expect("the picture is kept");
    }
}

#[test]
fn chromium_opens_real_names_over_h2_without_a_word_about_certificates() {
    find_program("chromium");
    let before = trust_stores();
    let person = Person::new("");
    for name in ["www.example.com", "www.google.com"] {
        let url = format!("https://{name}/");
        let picture = format!("chromium-{name}.png");
        let (code, dom, said) = person.tool(
            ["chrome", "-V", &url, "--", "--headless", "--dump-dom"]
                .iter()
                .chain(sandbox()),
        );
        assert_eq!(code, 0, "{said}");
        assert!(dom.contains(&format!("opened as https://{name}")), "{dom}\n{said}");
        let line = said
            .lines()
            .find(|line| line.contains("--user-data-dir="))
            .expect("-V shows the command line");
        assert!(!line.contains("certificate"), "{line}");
        let exchange = person.exchange(&format!("https://{name}/beacon.svg?at={name}"));
        assert_eq!(
            (&exchange["protocol"], &exchange["status"]),
            (&"HTTP/2".into(), &200.into()),
            "{exchange}"
        );
        let shot = format!("--screenshot={picture}");
        let (code, _, said) = person.tool(["chrome", &url, "--", "--headless", &shot].iter().chain(sandbox()));
        assert_eq!(code, 0, "{said}");
        let picture = person.root.path_of("project").join(picture);
        assert!(png_size(&picture) >= (400, 300));
        keep(&picture);
    }
    let (code, found, _) = person.tool(["doctor"]);
    assert_eq!(code, 0, "{found}");
    assert!(found.contains("only sc-tool's profiles trust the CA"), "{found}");
    assert_eq!(trust_stores(), before);
}

#[test]
fn another_profile_of_the_same_chromium_trusts_nothing() {
    find_program("chromium");
    let person = Person::new("");
    let proxy = format!(
        "--proxy-server=socks5://{}",
        person.instance()["socks"].as_str().expect("an address")
    );
    let dir = format!("--user-data-dir={}", person.root.path_of("home/other").display());
    let args = [
        "run",
        "--",
        "chromium",
        &dir,
        &proxy,
        "--headless",
        "--dump-dom",
        "https://www.example.com/",
    ];
    let (_, dom, said) = person.tool(args.iter().chain(sandbox()));
    assert!(!dom.contains("opened as"), "{dom}\n{said}");
    let log = person.server().stdout();
    assert!(
        !log.contains("https://www.example.com/"),
        "no request came through: {log}"
    );
}

#[test]
fn firefox_opens_real_names_over_h2_from_the_database_that_we_wrote() {
    find_program("firefox");
    let before = trust_stores();
    let person = Person::new("");
    for name in ["www.example.com", "www.google.com"] {
        let url = format!("https://{name}/");
        let picture = person.root.path_of("project").join(format!("firefox-{name}.png"));
        let shot = picture.display().to_string();
        let (code, _, said) = person.tool(["firefox", &url, "--", "--headless", "--screenshot", &shot]);
        assert_eq!(code, 0, "{said}");
        let exchange = person.exchange(&format!("https://{name}/beacon.svg?at={name}"));
        assert_eq!(
            (&exchange["protocol"], &exchange["status"]),
            (&"HTTP/2".into(), &200.into()),
            "{exchange}"
        );
        assert!(png_size(&picture) >= (400, 300));
        keep(&picture);
    }
    let (code, found, _) = person.tool(["doctor"]);
    assert_eq!(code, 0, "{found}");
    assert_eq!(trust_stores(), before);
}

#[test]
fn programs_use_the_same_names_and_trust() {
    let person = Person::new("");
    person.root.file("project/site/beacon.txt", "thanks");
    give(&person.root.path_of("project/site"));
    let node = "fetch('https://www.example.com/beacon.txt').then((r) => r.text()).then(console.log, console.error)";
    let https = "require('https').get('https://www.example.com/beacon.txt', (r) => r.pipe(process.stdout))";
    let python = "import urllib.request as u; print(u.urlopen('https://www.google.com/beacon.txt').read().decode())";
    for command in [
        &["curl", "-sS", "https://www.example.com/beacon.txt"][..],
        &["node", "-e", node],
        &["node", "-e", https],
        &["/usr/bin/python3", "-c", python],
    ] {
        find_program(command[0].trim_start_matches("/usr/bin/"));
        let (code, out, said) = person.tool(["run", "--"].iter().chain(command));
        assert_eq!((code, out.trim()), (0, "thanks"), "{command:?}: {said}");
    }
    let (code, _, said) = person.tool(["run", "--", "curl", "-sS", "https://other.example/"]);
    assert_ne!(code, 0, "nothing else is reached: {said}");
}

#[test]
fn a_tcp_name_of_the_file_gets_a_local_port() {
    let echo = EchoServer::start();
    let person = Person::new(&format!("    echo:\n      tcp: {{ 7: {} }}\n", echo.address()));
    let mut tool = person.launch("sc-tool", ["tcp", "echo"]).start();
    let line = tool.wait_for_text(" leads to echo:7 through ", PATIENCE).text;
    let address = line.split_ascii_whitespace().next().expect("an address");
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    stream.write_all(b"hello\n").expect("it reads");
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).expect("it answers");
    assert_eq!(answer, "hello\n");
}
