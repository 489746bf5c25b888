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
    /// Where each line begins, in bytes.
    starts: Vec<usize>,
}

impl Source {
    /// Keeps a text together with its lines.
    pub fn new(path: PathBuf, shown: String, text: String) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(ends).collect();
        Self {
            path,
            shown,
            text,
            starts,
        }
    }

    /// The number of lines; what follows the last line end counts as one.
    pub fn lines(&self) -> usize {
        self.starts.len()
    }

    /// One line without its end, from 1; empty beyond the last one.
    pub fn line(&self, number: usize) -> &str {
        let index = number.saturating_sub(1);
        let rest = self
            .starts
            .get(index)
            .and_then(|start| self.text.get(*start..))
            .unwrap_or_default();
        let line = rest.split('\n').next().unwrap_or_default();
        line.strip_suffix('\r').unwrap_or(line)
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
