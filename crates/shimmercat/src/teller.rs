//! How `internet` speaks: the log on stdout, words for the person who started it on stderr.
//!
//! The master has one thread, so nothing here may wait: a stream is written to only when it says that it has room, and then
//! at most what a pipe takes at once. What must wait is kept in a bounded queue; what had to be dropped is counted and said.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use sc_config::LogFormat;
use sc_internet::Voice;
use serde_json::{Map, Value};

use crate::pretty;
use crate::report::is_coloured;

/// Bytes that may wait to be written.
const WAITING_BYTES: usize = 8 << 20;

/// What a pipe that has room takes without waiting. Source: pipe(7), `PIPE_BUF`.
const PIPE_BYTES: usize = 4096;

/// What is written to a file at once, which never waits for a reader; and how much may wait before it is written in the
/// middle of many lines.
const PIECE_BYTES: usize = 64 << 10;

/// How long the end waits for what is still to be written.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Bytes that are to be written.
#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// How many of them were written already.
    written: usize,
}

impl Waiting {
    fn left(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    fn advance(&mut self, written: usize) {
        self.written += written;
        // What was written is moved out of the way when that is at least half, so each byte is moved once at most.
        if self.written * 2 >= self.bytes.len() {
            self.bytes.drain(..self.written.min(self.bytes.len()));
            self.written = 0;
            self.bytes.shrink_to(KEPT_BYTES);
        }
    }
}

/// Room that is kept for what comes next.
const KEPT_BYTES: usize = 2 * PIECE_BYTES;

/// Speaks for the master.
pub(crate) struct Teller {
    is_json: bool,
    is_coloured: bool,
    /// Whether stdout is an ordinary file.
    is_file: bool,
    waiting: RefCell<Waiting>,
    dropped: Cell<u64>,
}

impl Teller {
    /// Says nothing yet.
    pub(crate) fn new(format: LogFormat) -> Self {
        let stdout = std::io::stdout();
        Teller {
            is_json: match format {
                LogFormat::Auto => !stdout.is_terminal(),
                LogFormat::Pretty => false,
                LogFormat::Json => true,
            },
            is_coloured: is_coloured(&stdout),
            is_file: rustix::fs::fstat(&stdout)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile),
            waiting: RefCell::default(),
            dropped: Cell::new(0),
        }
    }

    /// A log line as it is told; `json` is one JSON object.
    pub(crate) fn told<'a>(&self, json: &'a str) -> Cow<'a, str> {
        if self.is_json {
            return json.into();
        }
        serde_json::from_str::<Map<String, Value>>(json).map_or(json.into(), |map| self.pretty(&map).into())
    }

    /// Writes what waits, within reason: the last thing that a run does.
    pub(crate) fn finish(&self) {
        let deadline = Instant::now() + LAST_WORDS;
        while !self.waiting.borrow().left().is_empty()
            && Instant::now() < deadline
            && self.write(Duration::from_millis(100))
        {}
    }

    fn put(&self, text: &str) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.left().len() + text.len() >= WAITING_BYTES {
            self.dropped.set(self.dropped.get() + 1);
            return;
        }
        waiting.bytes.extend_from_slice(text.as_bytes());
        waiting.bytes.push(b'\n');
    }

    /// Writes as much as goes at once; whether the stream still takes anything.
    fn write(&self, patience: Duration) -> bool {
        let stdout = std::io::stdout();
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(patience.subsec_nanos()),
        };
        loop {
            let mut waiting = self.waiting.borrow_mut();
            if waiting.left().is_empty() {
                return true;
            }
            let most = if self.is_file { PIECE_BYTES } else { PIPE_BYTES };
            if !self.is_file {
                let mut ready = [PollFd::new(&stdout, PollFlags::OUT)];
                if !poll(&mut ready, Some(&wait)).is_ok_and(|ready| ready > 0) {
                    return true;
                }
            }
            let piece = waiting.left();
            match rustix::io::write(&stdout, piece.get(..most).unwrap_or(piece)) {
                Ok(written) => waiting.advance(written),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return true,
                // A stream whose reader went away takes nothing more; the server goes on without it.
                Err(_) => {
                    *waiting = Waiting::default();
                    return false;
                }
            }
        }
    }

    fn tell_dropped(&self) {
        let lost = self.dropped.get();
        if lost > 0 && self.waiting.borrow().left().len() < WAITING_BYTES / 2 {
            self.dropped.set(0);
            self.put(&if self.is_json {
                format!("{{\"event\":\"log_lines_dropped\",\"severity\":\"attention\",\"count\":{lost}}}")
            } else {
                format!("attention: {lost} log lines were dropped, the output is too slow")
            });
        }
    }
}

impl Voice for Teller {
    fn ready(&self, block: &[String]) {
        say(block);
    }

    fn line(&self, json: &str) {
        self.put(&self.told(json));
        if self.waiting.borrow().left().len() >= PIECE_BYTES {
            self.write(Duration::ZERO);
        }
    }

    fn go_on(&self) {
        self.write(Duration::ZERO);
        self.tell_dropped();
    }

    fn farewell(&self, words: &[String]) {
        say(words);
    }
}

fn say(words: &[String]) {
    if !words.is_empty() {
        // Nobody is left to be told when stderr is gone.
        let _ = writeln!(std::io::stderr().lock(), "{}", words.join("\n"));
    }
}

impl Teller {
    fn pretty(&self, line: &Map<String, Value>) -> String {
        match line.get("event").and_then(Value::as_str) {
            Some("exchange") => pretty::record(line, self.is_coloured),
            event => self.pretty_event(event.unwrap_or("-"), line),
        }
    }

    /// `attention: worker_crashed worker=7 lane=0`
    fn pretty_event(&self, event: &str, line: &Map<String, Value>) -> String {
        let severity = line.get("severity").and_then(Value::as_str).unwrap_or("info");
        let mut told = format!("{severity}: {event}");
        for (name, value) in line.iter().filter(|(name, _)| !HEAD.contains(&name.as_str())) {
            let _ = match value {
                Value::String(text) => write!(told, " {name}={text}"),
                Value::Array(parts) => {
                    let parts: Vec<_> = parts
                        .iter()
                        .map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned))
                        .collect();
                    write!(told, " {name}={}", parts.join("; "))
                }
                other => write!(told, " {name}={other}"),
            };
        }
        pretty::painted(severity, &told, self.is_coloured)
    }
}

/// What every line begins with.
const HEAD: &[&str] = &["time", "code", "event", "severity"];
