//! A file's text, and places in it.
//!
//! Lines and columns count from 1; columns count characters, not bytes. A source is shared by every diagnostic that
//! points into it, so that rendering needs no file.
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// The text of one file and the name people know it by.
#[derive(Debug, Eq, PartialEq)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// Its name in messages.
    pub shown: String,
    /// Its text.
    pub text: String,
}

impl Source {
    /// One line without its end, from 1; empty beyond the last one.
    pub fn line(&self, number: usize) -> &str {
        let index = number.saturating_sub(1);
        self.text
            .split('\n')
            .nth(index)
            .map_or("", |line| line.strip_suffix('\r').unwrap_or(line))
    }
}

/// A stretch of one line of a source.
#[derive(Clone, Eq, PartialEq)]
pub struct Place {
    /// Where it is.
    pub source: Arc<Source>,
    /// Line, from 1.
    pub line: usize,
    /// Column of its first character, from 1.
    pub column: usize,
    /// Characters it covers, at least 1; what goes on in further lines is left out.
    pub length: usize,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source.shown, self.line, self.column)
    }
}
