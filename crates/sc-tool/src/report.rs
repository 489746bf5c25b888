//! What a person reads when something cannot be done: one message, its causes, hints, and an exit code.
//!
//! Every failure of this program ends as a [`Report`], printed in one place, [`crate::screen`]. The codes are the table
//! of the command line: 1 failed while running, 2 command line, 3 configuration, 4 `doctor` found something, 5 address
//! already taken.
use std::error::Error;

/// Why the program ends early.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// Failed while running.
    Failed = 1,
    /// The command line asks for something that cannot be meant.
    Usage = 2,
    /// The project's file is wrong.
    Config = 3,
    /// An address is already taken.
    Taken = 5,
}

/// A failure, ready to be printed.
#[derive(Debug)]
pub(crate) struct Report {
    /// Decides the exit code.
    pub(crate) exit: Exit,
    /// What happened, one line.
    pub(crate) message: String,
    /// What to try, one line each.
    pub(crate) hints: Vec<String>,
}

impl Report {
    /// Something failed while running.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Failed,
            message: message.into(),
            hints: Vec::new(),
        }
    }

    /// The command line is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            ..Self::failed(message)
        }
    }

    /// Something failed while running because of `error`, whose own causes are told too.
    pub(crate) fn because(message: impl Into<String>, error: &dyn Error) -> Self {
        Self::failed(format!("{}: {}", message.into(), chain(error)))
    }

    /// An error of a lower layer that already says everything.
    pub(crate) fn of(error: &dyn Error) -> Self {
        Self::failed(chain(error))
    }

    /// Adds something to try.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Changes the exit code.
    #[must_use]
    pub(crate) fn with_exit(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }
}

/// An error and its causes, each said once.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
