//! The two streams a person or a script reads: data on stdout, everything else on stderr.
//!
//! Nothing else in this program writes to them. Colour only on a terminal and never with `NO_COLOR`.
use std::io::{self, IsTerminal, Write};

use crate::report::Report;

/// How to write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    colour: bool,
    data_colour: bool,
}

impl Screen {
    /// Looks at both streams; `no_color` is whether the variable is set to anything.
    pub(crate) fn new(no_color: bool) -> Self {
        Self {
            colour: !no_color && io::stderr().is_terminal(),
            data_colour: !no_color && io::stdout().is_terminal(),
        }
    }

    /// Data for stdout, as it is. A reader that went away is no failure.
    pub(crate) fn data(self, text: &str) {
        let mut out = io::stdout().lock();
        drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    }

    /// One line on stderr without a severity.
    pub(crate) fn say(self, text: &str) {
        drop(writeln!(io::stderr().lock(), "{text}"));
    }

    /// `warning:` and a line.
    pub(crate) fn warning(self, text: &str) {
        self.word("warning", "33", text);
    }

    /// `hint:` and a line.
    pub(crate) fn hint(self, text: &str) {
        self.word("hint", "36", text);
    }

    /// `next:` and a line.
    pub(crate) fn next(self, text: &str) {
        self.word("next", "36", text);
    }

    /// A failure: `error:`, then a `hint:` for each hint.
    pub(crate) fn report(self, report: &Report) {
        self.word("error", "1;31", &report.message);
        for hint in &report.hints {
            self.hint(hint);
        }
    }

    /// A word in its colour, for [`Screen::data`].
    pub(crate) fn paint(self, code: &str, text: &str) -> String {
        paint(self.data_colour, code, text)
    }

    fn word(self, word: &str, code: &str, text: &str) {
        let word = paint(self.colour, code, &format!("{word}:"));
        self.say(&format!("{word} {text}"));
    }
}

fn paint(with_colour: bool, code: &str, text: &str) -> String {
    if with_colour {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
