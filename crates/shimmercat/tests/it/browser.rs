//! A person at the machine, and the real Chromium that `sc-tool chrome` opens for them.
//!
//! Chromium does not run as root, and tests often do: then whatever is the person's (server, `sc-tool`, browser, home) runs
//! as the user 65534. Pages are looked at through the DevTools protocol, over the port that Chromium says on stderr.
//! Chromium is started with no flag about certificates: that it trusts the sites is the doing of `sc-tool`.
//! Source: https://chromedevtools.github.io/devtools-protocol/ (Target, Runtime, Browser).

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sc_testkit::{Launch, Program, TempProject, binary, client, eventually, find_program, websocket};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::WebSocket;

use crate::server::{PATIENCE, Server};

/// A browser starts slowly on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(90);

/// `nobody` of Debian.
const ORDINARY_USER: u32 = 65534;

/// An ordinary user with a home.
pub(crate) struct Person {
    home: TempProject,
    is_other: bool,
}

impl Person {
    /// Somebody with a fresh home; the user who runs the tests, unless that is root.
    pub(crate) fn new() -> Person {
        let is_other = fs::metadata("/proc/self").expect("this process has a user").uid() == 0;
        let home = TempProject::new();
        home.file("tmp/.keep", "");
        for program in [Path::new(env!("CARGO_BIN_EXE_shimmercat")), &binary("sc-tool")] {
            // The folder that they were built into need not be open to other users.
            let name = program.file_name().unwrap_or_default().to_string_lossy();
            let copy = home.path_of(&format!("bin/{name}"));
            home.file(&format!("bin/{name}"), "");
            fs::copy(program, &copy).unwrap_or_else(|error| panic!("{}: {error}", copy.display()));
        }
        let person = Person { home, is_other };
        person.own(person.home.path());
        person
    }

    /// A file in the home.
    pub(crate) fn path_of(&self, path: &str) -> PathBuf {
        self.home.path_of(path)
    }

    /// Makes a folder and everything in it the person's.
    pub(crate) fn own(&self, path: &Path) {
        if !self.is_other {
            return;
        }
        lchown(path, Some(ORDINARY_USER), Some(ORDINARY_USER)).expect("root gives files away");
        if path.is_dir() && !path.is_symlink() {
            let entries = fs::read_dir(path).expect("a folder can be listed");
            entries.for_each(|entry| self.own(&entry.expect("an entry").path()));
        }
    }

    /// A start of a program by the person, in the folder of a project.
    pub(crate) fn launch(&self, project: &TempProject, program: &str) -> Launch {
        let words = self.words(program);
        self.at_home(project, Launch::new(&words[0]).args(&words[1..]))
    }

    /// A start of a program by the person, on a machine whose `/etc/hosts` has another line; nobody else sees that.
    pub(crate) fn launch_with_host(&self, project: &TempProject, program: &str, line: &str) -> Launch {
        let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
        self.home.file("hosts", format!("{hosts}\n{line}\n"));
        let file = self.path_of("hosts");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("the file is ours");
        // Whoever is not root becomes so in a namespace of their own, where mounts are theirs.
        let namespace: &[&str] = if self.is_other { &["-m"] } else { &["-r", "-m"] };
        let launch = Launch::new(find_program("unshare"))
            .args(namespace)
            .args(["sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""])
            .arg(file)
            .args(self.words(program));
        self.at_home(project, launch)
    }

    /// A running server of the person's.
    pub(crate) fn server(&self, project: &TempProject, options: &[&str]) -> Server {
        self.own(project.path());
        Server::launch(
            project,
            self.launch(project, "shimmercat").args(server_arguments(options)),
        )
    }

    /// The same, with a line more in `/etc/hosts`.
    pub(crate) fn server_with_host(&self, project: &TempProject, options: &[&str], line: &str) -> Server {
        self.own(project.path());
        let launch = self
            .launch_with_host(project, "shimmercat", line)
            .args(server_arguments(options));
        Server::launch(project, launch)
    }

    /// A page of the project, opened by `sc-tool chrome`.
    ///
    /// Shape: `arguments` are the browser's own. The profile is `PROFILE` in the home.
    pub(crate) fn open(&self, project: &TempProject, url: &str, arguments: &[&str]) -> Browser {
        let mut launch = self
            .launch(project, "sc-tool")
            .args(["chrome", "--wait", "-d"])
            .arg(self.path_of(PROFILE))
            .args([url, "--", "--headless=new", "--remote-debugging-port=0"])
            .args(arguments);
        if !self.may_make_namespaces() {
            launch = launch.arg("--no-sandbox");
        }
        Browser::attach(launch.expect_errors().start(), url)
    }

    /// The program's command line: through `setpriv` where the person is another user than the test.
    fn words(&self, program: &str) -> Vec<String> {
        let own = self.path_of("bin").join(program);
        let mut words = Vec::new();
        if self.is_other {
            let user = ORDINARY_USER.to_string();
            let options = ["--reuid", &user, "--regid", &user, "--clear-groups"];
            words.push(find_program("setpriv").display().to_string());
            words.extend(options.map(str::to_owned));
        }
        words.push(
            if own.exists() { own } else { find_program(program) }
                .display()
                .to_string(),
        );
        words
    }

    fn at_home(&self, project: &TempProject, launch: Launch) -> Launch {
        launch
            .current_dir(project.path())
            .env("HOME", self.home.path())
            .env("TMPDIR", self.path_of("tmp"))
    }

    /// Whether Chromium's sandbox can work: it needs user namespaces, which containers often forbid.
    fn may_make_namespaces(&self) -> bool {
        let mut words = self.words("unshare");
        words.extend(["-U", "true"].map(str::to_owned));
        Command::new(&words[0])
            .args(&words[1..])
            .output()
            .is_ok_and(|output| output.status.success())
    }
}

/// The folder of the browser's profile in the person's home.
pub(crate) const PROFILE: &str = "profile";

fn server_arguments<'a>(options: &[&'a str]) -> Vec<&'a str> {
    [&["devlove", "--listen", "127.0.0.1:0", "-5", "127.0.0.1:0"], options].concat()
}

/// A running browser with one page; it is killed when dropped.
pub(crate) struct Browser {
    tool: Program,
    socket: WebSocket<TcpStream>,
    session: String,
    serial: u64,
    console: Vec<String>,
}

impl Browser {
    fn attach(mut tool: Program, url: &str) -> Browser {
        let line = tool.wait_for_text("DevTools listening on ws://", START).text;
        let devtools = line.split("listening on ").nth(1).unwrap_or_default().trim();
        let authority = devtools
            .trim_start_matches("ws://")
            .split('/')
            .next()
            .unwrap_or_default();
        let address = authority.parse().unwrap_or_else(|_| panic!("no address in {line:?}"));
        let socket = websocket(client::tcp(address), devtools);
        let mut browser = Browser {
            tool,
            socket,
            session: String::new(),
            serial: 0,
            console: Vec::new(),
        };
        let target = eventually("the page is open", START, || browser.target(url));
        let attached = browser.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        browser.session = attached["sessionId"].as_str().expect("a session").to_owned();
        browser.call("Runtime.enable", json!({}));
        browser
    }

    fn target(&mut self, url: &str) -> Result<String, Value> {
        let found = self.call("Target.getTargets", json!({}));
        let targets = found["targetInfos"].as_array().cloned().unwrap_or_default();
        let is_page = |target: &&Value| target["type"] == "page" && target["url"] == url;
        let id = targets
            .iter()
            .find(is_page)
            .and_then(|target| target["targetId"].as_str());
        id.map(str::to_owned).ok_or(found)
    }

    /// What an expression is in the page; promises are awaited. `Err` with what was thrown.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Result<Value, Value> {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.call("Runtime.evaluate", parameters);
        match answer["exceptionDetails"].take() {
            Value::Null => Ok(answer["result"]["value"].take()),
            thrown => Err(thrown),
        }
    }

    /// Waits until an expression has a value in the page.
    pub(crate) fn wait_for(&mut self, expression: &str, expected: &Value) {
        eventually(&format!("`{expression}` is {expected}"), PATIENCE, || {
            match self.evaluate(expression) {
                Ok(found) if found == *expected => Ok(()),
                seen => Err(seen),
            }
        });
    }

    /// Waits until the text of an element, found by a selector, is this.
    pub(crate) fn wait_for_text(&mut self, selector: &str, expected: &str) {
        self.wait_for(
            &format!("document.querySelector('{selector}')?.textContent"),
            &expected.into(),
        );
    }

    /// The protocol that the page was loaded over, by its ALPN name.
    pub(crate) fn protocol(&mut self) -> String {
        let found = self.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol");
        found
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default()
    }

    /// What the page has written to the console so far, the first argument of each message.
    pub(crate) fn console(&mut self) -> Vec<String> {
        // Messages come in order, so an answer comes after those that were written before it.
        self.call("Runtime.evaluate", json!({ "expression": "0" }));
        self.console.clone()
    }

    /// Closes the browser as a person does, and asserts that it and `sc-tool` end well.
    pub(crate) fn close(mut self) {
        self.session.clear();
        self.call("Browser.close", json!({}));
        let status = self.tool.wait_exit(PATIENCE);
        assert_eq!(status.code(), Some(0), "{}", self.tool.stderr());
    }

    /// Calls a method of the protocol and waits for its result.
    pub(crate) fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.serial += 1;
        let mut message = json!({ "id": self.serial, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        self.socket
            .send(message.to_string().into())
            .unwrap_or_else(|error| panic!("{method}: {error}"));
        loop {
            let text = self.socket.read().and_then(|message| message.into_text());
            let text = text.unwrap_or_else(|error| panic!("no answer to {method}: {error}\n{}", self.tool.stderr()));
            let mut answer: Value = serde_json::from_str(&text).unwrap_or_default();
            if answer["method"] == "Runtime.consoleAPICalled" {
                let words = answer["params"]["args"][0]["value"].as_str();
                self.console.push(words.unwrap_or_default().to_owned());
            }
            if answer["id"] == self.serial {
                assert_eq!(answer["error"], Value::Null, "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if self.tool.has_ended() {
            return;
        }
        let pids: Vec<_> = descendants(self.tool.pid()).iter().map(u32::to_string).collect();
        let _ = Command::new("kill").arg("-KILL").args(pids).output();
    }
}

/// The children of a process, theirs, and so on.
fn descendants(pid: u32) -> Vec<u32> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children: Vec<u32> = listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    let below = children.iter().flat_map(|&child| descendants(child));
    below.chain(children.iter().copied()).collect()
}
