//! How a failure is told and with which code the program ends. The only place that prints errors.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use sc_config::Diagnostic;

/// The exit codes; documented in `docs/cli.md`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Failed while running.
    Failed = 1,
    /// The command line.
    Usage = 2,
    /// The configuration.
    Configuration = 3,
    /// A check found something.
    Found = 4,
    /// An address or a lock is already taken.
    Taken = 5,
}

/// A failure, as it is told.
#[derive(Debug)]
pub(crate) struct Report {
    kind: Kind,
    message: String,
    chain: Vec<String>,
    rendered: Vec<String>,
    hints: Vec<String>,
}

impl Report {
    /// A failure of a kind, in one line.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Report {
            kind,
            message: message.into(),
            chain: Vec::new(),
            rendered: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// Mistakes of a configuration file, rendered already, each with its place.
    pub(crate) fn mistakes(rendered: Vec<String>) -> Self {
        Report {
            rendered,
            ..Report::new(Kind::Configuration, String::new())
        }
    }

    /// A run that could not begin: the error, its causes, what to try.
    pub(crate) fn refused(
        error: &dyn std::error::Error,
        (is_taken, is_configuration): (bool, bool),
        hint: Option<&str>,
    ) -> Self {
        let kind = match (is_taken, is_configuration) {
            (true, _) => Kind::Taken,
            (false, true) => Kind::Configuration,
            (false, false) => Kind::Failed,
        };
        let report = Report::new(kind, error.to_string());
        let report = match error.source() {
            Some(cause) => report.caused_by(cause),
            None => report,
        };
        match hint {
            Some(hint) => report.hint(hint),
            None => report,
        }
    }

    /// Mistakes of a configuration.
    pub(crate) fn mistaken(mistakes: &[Diagnostic], coloured: bool) -> Self {
        Report::mistakes(
            mistakes
                .iter()
                .map(|mistake| sc_config::render(mistake, coloured))
                .collect(),
        )
    }

    /// What a check found in a configuration that can be read.
    pub(crate) fn found(findings: &[Diagnostic], coloured: bool) -> Self {
        Report {
            kind: Kind::Found,
            ..Report::mistaken(findings, coloured)
        }
    }

    /// Adds an error and all its causes.
    pub(crate) fn caused_by(mut self, error: &dyn std::error::Error) -> Self {
        let mut next = Some(error);
        while let Some(cause) = next {
            self.chain.push(cause.to_string());
            next = cause.source();
        }
        self
    }

    /// Adds what to try.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Says something on stderr that is no failure.
    pub(crate) fn say(text: &str) {
        // Nobody is left to be told when stderr is gone.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// Prints warnings that were rendered already.
    pub(crate) fn warn(rendered: &str) {
        if !rendered.is_empty() {
            Report::say(rendered.trim_end());
        }
    }

    /// Prints it on stderr and gives the exit code.
    pub(crate) fn print(&self) -> ExitCode {
        let mut out = std::io::stderr().lock();
        let (red, plain) = if is_coloured(&out) {
            ("\x1b[1;31m", "\x1b[0m")
        } else {
            ("", "")
        };
        let mut text = self.rendered.join("\n");
        if !self.message.is_empty() {
            text.push_str(&format!("{red}error:{plain} {}\n", self.message));
        }
        for cause in &self.chain {
            text.push_str(&format!("why: {cause}\n"));
        }
        for hint in &self.hints {
            text.push_str(&format!("hint: {hint}\n"));
        }
        // Nobody is left to be told when stderr is gone.
        let _ = out.write_all(text.as_bytes());
        ExitCode::from(self.kind as u8)
    }
}

/// Whether colour may be used on a stream: a terminal, and no `NO_COLOR` (no-color.org).
pub(crate) fn is_coloured(stream: &impl IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !refused && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
