//! A program under test: started in a clean environment, its output kept line by line, ended with the test.
//!
//! `Launch` describes the start, `Program` is the running child. Every wait has a deadline and shows all output when it
//! passes. A line of ERROR level that the test did not announce fails the test when the program is dropped.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use tempfile::TempDir;

use crate::egress::{Destination, destinations_in, strace_arguments};
use crate::find::find_program;
use crate::patience::{eventually, pause};

/// How long a program may take to end after a polite request.
const PATIENCE: Duration = Duration::from_secs(20);

/// The path of a binary of this workspace, in the target folder that the running test was built into.
///
/// Shape: for a binary of the tested crate itself `env!("CARGO_BIN_EXE_…")` is better, since cargo then builds it first.
/// Panics when it was not built.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test knows its own path");
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("tests live in target/<profile>/deps");
    let path = profile.join(name);
    assert!(path.exists(), "{} is not built: cargo build -p {name}", path.display());
    path
}

/// How to start a program.
pub struct Launch {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    folder: Option<PathBuf>,
    stdin: Stdio,
    is_watched: bool,
    expects_errors: bool,
}

impl Launch {
    /// A start of the program at `path`, without arguments.
    ///
    /// Shape: the environment holds `PATH`, `HOME` and `TMPDIR` (fresh folders), `TZ=UTC`, `COLUMNS=80`, `LANG=C.UTF-8`;
    /// nothing of the test's own. It runs in its `HOME` unless told otherwise; stdin is empty.
    pub fn new(path: impl Into<PathBuf>) -> Launch {
        let fixed = [("TZ", "UTC"), ("COLUMNS", "80"), ("LANG", "C.UTF-8")];
        let mut environment: BTreeMap<OsString, OsString> = fixed
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        environment.insert("PATH".into(), std::env::var_os("PATH").unwrap_or_default());
        Launch {
            program: path.into(),
            arguments: Vec::new(),
            environment,
            folder: None,
            stdin: Stdio::null(),
            is_watched: false,
            expects_errors: false,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Launch {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Launch {
        self.arguments
            .extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets a variable, e.g. `HOME` to share one between two programs.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Launch {
        self.environment
            .insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Where it runs.
    pub fn current_dir(mut self, folder: impl Into<PathBuf>) -> Launch {
        self.folder = Some(folder.into());
        self
    }

    /// What it reads on stdin.
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Launch {
        self.stdin = stdin.into();
        self
    }

    /// Starts it through another program, which is given it and its arguments after its own.
    ///
    /// Shape: `command` is that program and its arguments, none of them empty.
    pub fn through(mut self, command: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Launch {
        let mut command = command.into_iter().map(|part| part.as_ref().to_owned());
        let first = command.next().expect("a program to start it through");
        let own = std::mem::replace(&mut self.program, first.into());
        let arguments = std::mem::take(&mut self.arguments);
        self.arguments = command.chain([own.into_os_string()]).chain(arguments).collect();
        self
    }

    /// Writes down where it sends to: see `Program::destinations`.
    pub fn watched(mut self) -> Launch {
        self.is_watched = true;
        self
    }

    /// Announces that lines of ERROR level will come.
    pub fn expect_errors(mut self) -> Launch {
        self.expects_errors = true;
        self
    }

    /// Starts it.
    pub fn start(self) -> Program {
        let own = TempDir::new().expect("a temporary folder");
        let trace = own.path().join("trace");
        let mut command = if self.is_watched {
            let mut command = Command::new(find_program("strace"));
            command.args(strace_arguments(&trace)).arg(&self.program);
            command
        } else {
            Command::new(&self.program)
        };
        let (home, temporary) = (own.path().join("home"), own.path().join("tmp"));
        for folder in [&home, &temporary] {
            fs::create_dir(folder).expect("a folder can be made");
        }
        command
            .args(&self.arguments)
            .env_clear()
            .env("HOME", &home)
            .env("TMPDIR", temporary)
            .envs(&self.environment);
        command.current_dir(self.folder.as_ref().unwrap_or(&home));
        command.stdin(self.stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.program.display()));
        let output = Arc::new(Output::default());
        let readers = vec![
            collect(
                child.stdout.take().expect("stdout is a pipe"),
                Stream::Stdout,
                output.clone(),
            ),
            collect(
                child.stderr.take().expect("stderr is a pipe"),
                Stream::Stderr,
                output.clone(),
            ),
        ];
        let trace = self.is_watched.then_some(trace);
        Program {
            child,
            status: None,
            output,
            readers,
            _own: own,
            trace,
            home,
            expects_errors: self.expects_errors,
        }
    }

    /// Starts it and waits for its end: for commands that do one thing.
    ///
    /// Shape: panics when it runs for longer than `within`.
    pub fn run(self, within: Duration) -> Finished {
        let mut program = self.start();
        program.expects_errors = true;
        let status = program.wait_exit(within);
        program.finish_reading();
        Finished {
            status,
            stdout: program.stdout(),
            stderr: program.stderr(),
        }
    }
}

/// What a program that has ended left behind.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
}

/// Where a line was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stream {
    /// Data.
    Stdout,
    /// Messages.
    Stderr,
}

/// A line of output, without its end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// Where it was written.
    pub stream: Stream,
    /// What was written; bytes that are no UTF-8 are replaced.
    pub text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.stream == Stream::Stdout { "out" } else { "err" };
        write!(f, "{mark}| {}", self.text)
    }
}

/// Memory of a process, in KiB.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Memory {
    /// Resident now (`VmRSS`).
    pub resident_kib: u64,
    /// The most it ever was (`VmHWM`).
    pub peak_kib: u64,
}

#[derive(Default)]
struct Output {
    lines: Mutex<Vec<Line>>,
    changed: Condvar,
}

impl Output {
    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running child. Dropping it kills it.
pub struct Program {
    child: Child,
    status: Option<ExitStatus>,
    output: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
    _own: TempDir,
    trace: Option<PathBuf>,
    home: PathBuf,
    expects_errors: bool,
}

impl Program {
    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The `HOME` it was given, unless the test set another.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Waits for a line, among those written already as well, and returns the first that fits.
    ///
    /// Shape: panics after `within`, or when the program has ended, with everything it wrote.
    pub fn wait_for(&mut self, what: &str, within: Duration, fits: impl Fn(&Line) -> bool) -> Line {
        let started = Instant::now();
        let mut seen = 0;
        loop {
            let has_ended = self.has_ended();
            let mut lines = self.output.lines();
            if let Some(line) = lines.iter().skip(seen).find(|line| fits(line)) {
                return line.clone();
            }
            seen = lines.len();
            assert!(
                started.elapsed() < within,
                "{what}: not within {within:?}; it wrote:\n{}",
                shown(&lines)
            );
            if has_ended && self.readers.iter().all(JoinHandle::is_finished) {
                panic!(
                    "{what}: the program ended first ({:?}); it wrote:\n{}",
                    self.status,
                    shown(&lines)
                );
            }
            lines = self
                .output
                .changed
                .wait_timeout(lines, Duration::from_millis(20))
                .map_or_else(|poisoned| poisoned.into_inner().0, |(lines, _)| lines);
            drop(lines);
        }
    }

    /// Waits for a line that contains `text`.
    ///
    /// Shape: as `wait_for`.
    pub fn wait_for_text(&mut self, text: &str, within: Duration) -> Line {
        self.wait_for(&format!("a line with `{text}`"), within, |line| {
            line.text.contains(text)
        })
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<Line> {
        self.output.lines().clone()
    }

    /// All of stdout so far.
    pub fn stdout(&self) -> String {
        self.text_of(Stream::Stdout)
    }

    /// All of stderr so far.
    pub fn stderr(&self) -> String {
        self.text_of(Stream::Stderr)
    }

    fn text_of(&self, stream: Stream) -> String {
        self.output
            .lines()
            .iter()
            .filter(|line| line.stream == stream)
            .map(|line| format!("{}\n", line.text))
            .collect()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        assert!(self.status.is_none(), "the program has ended already");
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("a child that was not waited for can be signalled");
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("a child can be waited for");
        }
        self.status.is_some()
    }

    /// Waits for its end.
    ///
    /// Shape: panics after `within` with everything it wrote.
    pub fn wait_exit(&mut self, within: Duration) -> ExitStatus {
        let started = Instant::now();
        while !self.has_ended() {
            let late = started.elapsed() > within;
            assert!(
                !late,
                "still running after {within:?}; it wrote:\n{}",
                shown(&self.output.lines())
            );
            pause(Duration::from_millis(5));
        }
        self.finish_reading();
        self.status.expect("it has ended")
    }

    /// Asks it to end (SIGTERM) and waits.
    pub fn stop(&mut self) -> ExitStatus {
        if !self.has_ended() {
            self.signal(Signal::TERM);
        }
        self.wait_exit(PATIENCE)
    }

    /// Its memory.
    pub fn memory(&self) -> Memory {
        memory_of(self.pid())
    }

    /// How many descriptors it holds.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .expect("a running program has descriptors")
            .count()
    }

    /// How many threads it has.
    pub fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.pid()))
            .expect("a running program has threads")
            .count()
    }

    /// From here on lines of ERROR level are in order.
    pub fn expect_errors(&mut self) {
        self.expects_errors = true;
    }

    /// Asserts that it wrote no line of ERROR level so far.
    pub fn assert_no_errors(&self) {
        let lines = self.output.lines();
        let error = lines.iter().find(|line| is_error(&line.text));
        assert!(
            error.is_none(),
            "an ERROR that the test did not announce: {error:?}; it wrote:\n{}",
            shown(&lines)
        );
    }

    /// Everything it sent to so far, by `connect`, `sendto` and the like, children included.
    ///
    /// Shape: for a program launched with `watched`; complete once it has ended.
    pub fn destinations(&mut self) -> Vec<Destination> {
        let trace = self.trace.clone().expect("the program was launched with `watched`");
        if self.has_ended() {
            // The tracer notes the end of the last process after everything else.
            eventually("the end of the trace", PATIENCE, || {
                let text = fs::read_to_string(&trace).map_err(|error| error.to_string())?;
                let is_whole = text
                    .lines()
                    .any(|line| line.starts_with(&format!("{} ", self.child.id())) && line.contains("+++"));
                if is_whole { Ok(()) } else { Err(text) }
            });
        }
        destinations_in(&fs::read_to_string(trace).unwrap_or_default())
    }

    /// A process that the program started may hold its stdout open; it is not waited for any longer than this.
    fn finish_reading(&mut self) {
        let started = Instant::now();
        while self.readers.iter().any(|reader| !reader.is_finished()) && started.elapsed() < Duration::from_secs(2) {
            pause(Duration::from_millis(2));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.has_ended() {
            let _ = self.child.kill();
            self.status = self.child.wait().ok();
        }
        self.finish_reading();
        if std::thread::panicking() {
            return;
        }
        if !self.expects_errors {
            self.assert_no_errors();
        }
    }
}

/// Memory of any process.
pub fn memory_of(pid: u32) -> Memory {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a running program has a status");
    let field = |name: &str| {
        let line = status
            .lines()
            .find(|line| line.starts_with(name))
            .expect("the kernel tells memory use");
        line.split_whitespace()
            .nth(1)
            .and_then(|number| number.parse().ok())
            .expect("a number of KiB")
    };
    Memory {
        resident_kib: field("VmRSS:"),
        peak_kib: field("VmHWM:"),
    }
}

fn collect(from: impl Read + Send + 'static, stream: Stream, output: Arc<Output>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut bytes = Vec::new();
        while from.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&bytes)
                .trim_end_matches(['\n', '\r'])
                .to_owned();
            output.lines().push(Line { stream, text });
            output.changed.notify_all();
            bytes.clear();
        }
    })
}

fn shown(lines: &[Line]) -> String {
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

/// Whether a line is an event of ERROR level: a JSON object whose `severity` or `level` says so, a line that begins with
/// `error:`, or one with the word `ERROR` on its own.
fn is_error(text: &str) -> bool {
    let text = text.trim_start();
    if text.starts_with('{') {
        let level = serde_json::from_str::<serde_json::Value>(text).ok().and_then(|event| {
            event
                .get("severity")
                .or_else(|| event.get("level"))
                .and_then(serde_json::Value::as_str)
                .map(str::to_ascii_lowercase)
        });
        return level.as_deref() == Some("error");
    }
    text.starts_with("error:") || text.split_whitespace().any(|word| word == "ERROR")
}

#[cfg(test)]
mod tests;
