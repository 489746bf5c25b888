//! How a run speaks: short lines on a terminal, one JSON object a line otherwise.
//!
//! Log lines are data and go to stdout; the start block and the ledger are for a person and go to stderr. Lines are handed
//! to a thread of their own through a bounded queue, so a slow terminal or a stopped pipe never holds up an exchange; what
//! had to be dropped is counted and said.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use sc_config::LogFormat;
use sc_devlove::{Event, Record, Voice, journal};

use crate::pretty;
use crate::report::is_coloured;
use crate::words::size;

/// Lines that may wait to be written.
const WAITING: usize = 8192;

/// Refused targets of which a person is told once; further ones are told each time.
const REFUSED: usize = 1000;

/// How long the end waits for what is still to be written.
const LAST_WORDS: Duration = Duration::from_secs(2);

enum Line {
    Log(String),
    Person(String),
    End,
}

/// Speaks for a run.
pub(crate) struct Speaker {
    lines: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
    is_json: bool,
    is_coloured: bool,
    refused: RefCell<HashSet<String>>,
}

/// The thread that writes.
pub(crate) struct Speaking {
    lines: SyncSender<Line>,
    writer: JoinHandle<()>,
}

impl Speaker {
    /// Starts the writing thread.
    pub(crate) fn start(format: LogFormat) -> (Self, Speaking) {
        let stdout = std::io::stdout();
        let is_json = match format {
            LogFormat::Auto => !stdout.is_terminal(),
            LogFormat::Pretty => false,
            LogFormat::Json => true,
        };
        let (sender, receiver) = sync_channel(WAITING);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = dropped.clone();
        let writer = std::thread::spawn(move || write_all(&receiver, &counted, is_json));
        let is_coloured = is_coloured(&stdout);
        let speaker = Speaker {
            lines: sender.clone(),
            dropped,
            is_json,
            is_coloured,
            refused: RefCell::default(),
        };
        (speaker, Speaking { lines: sender, writer })
    }

    fn put(&self, line: Line) {
        if self.lines.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Speaking {
    /// Waits until everything is written, within reason.
    #[expect(
        clippy::disallowed_methods,
        reason = "the runtime has ended, there is nothing left to block"
    )]
    pub(crate) fn finish(self) {
        let deadline = std::time::Instant::now() + LAST_WORDS;
        let mut end = Line::End;
        while let Err(std::sync::mpsc::TrySendError::Full(line)) = self.lines.try_send(end) {
            if std::time::Instant::now() > deadline {
                return;
            }
            end = line;
            std::thread::yield_now();
        }
        while !self.writer.is_finished() && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn write_all(lines: &Receiver<Line>, dropped: &AtomicU64, is_json: bool) {
    while let Ok(line) = lines.recv() {
        // A stream whose reader went away takes nothing more; the server goes on without it.
        let _ = match line {
            Line::Log(text) => writeln!(std::io::stdout().lock(), "{text}"),
            Line::Person(text) => writeln!(std::io::stderr().lock(), "{text}"),
            Line::End => return,
        };
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let words = if is_json {
                format!("{{\"event\":\"log_lines_dropped\",\"severity\":\"attention\",\"count\":{lost}}}")
            } else {
                format!("attention: {lost} log lines were dropped, the output is too slow")
            };
            let _ = writeln!(std::io::stdout().lock(), "{words}");
        }
    }
}

impl Voice for Speaker {
    fn ready(&self, block: &[String]) {
        self.put(Line::Person(block.join("\n")));
    }

    fn event(&self, event: &Event, at: SystemTime) {
        if self.is_json {
            return self.put(Line::Log(journal::event_line(event, at)));
        }
        if self.was_told(event) {
            return;
        }
        if let Some(text) = pretty_event(event) {
            let severity = event.code().severity.as_str();
            self.put(Line::Log(pretty::painted(severity, &text, self.is_coloured)));
        }
    }

    fn record(&self, record: &Record) {
        self.put(Line::Log(if self.is_json {
            journal::record_line(record)
        } else {
            pretty::record(&journal::record_map(record), self.is_coloured)
        }));
    }

    fn farewell(&self, words: &[String]) {
        if !words.is_empty() {
            self.put(Line::Person(words.join("\n")));
        }
    }
}

impl Speaker {
    /// Whether a person was told of this before: a page may ask for the same host a hundred times, and the ledger counts.
    fn was_told(&self, event: &Event) -> bool {
        let Event::Refused { target, .. } = event else {
            return false;
        };
        let mut refused = self.refused.borrow_mut();
        if refused.contains(target) {
            return true;
        }
        if refused.len() < REFUSED {
            refused.insert(target.clone());
        }
        false
    }
}

/// An event in words; `None` for those that the start block says already.
fn pretty_event(event: &Event) -> Option<String> {
    let text = match event {
        Event::Listening { .. } | Event::Stopping { .. } => return None,
        Event::Reloaded { changes } => format!("reloaded: {}", changes.join("; ")),
        Event::ReloadRefused { mistakes } => {
            format!(
                "the file was not applied, the running configuration stays:\n{}",
                mistakes.join("\n").trim_end()
            )
        }
        Event::RestartNeeded { setting } => format!("attention: `{setting}` applies after a restart"),
        Event::AuthorityMade { file, how } => {
            format!(
                "{how} certificate authority of this project: {file}\n    it is trusted only by profiles of sc-tool"
            )
        }
        Event::Refused { target, reason, .. } => format!("refused {target}: {reason}"),
        Event::Relayed {
            target,
            upstream,
            sent_bytes,
            received_bytes,
            ..
        } => {
            format!(
                "relayed {target} ({upstream}) {} out, {} in",
                size(*sent_bytes),
                size(*received_bytes)
            )
        }
        Event::HandshakeFailed { sni, reason, .. } => format!("no TLS with a client of `{sni}`: {reason}"),
        other => {
            let code = other.code();
            let fields: Vec<_> = other
                .fields()
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            format!("{}: {} {}", code.severity.as_str(), code.name, fields.join(" "))
        }
    };
    Some(text)
}
