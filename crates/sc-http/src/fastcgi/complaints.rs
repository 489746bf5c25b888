//! What an application complains of on its stderr: lines for the log, bounded in length and number.
//!
//! PHP writes its warnings here when it keeps no log of its own. The words are the application's, so control characters
//! are escaped before anybody reads them on a terminal.

use std::fmt::Write as _;
use std::rc::Rc;

/// Bytes of a line that are told; the rest is left out.
const LINE_BYTES: usize = 2 << 10;

/// Lines of one exchange that are told; further ones are counted.
const LINES: u32 = 64;

/// What an application said beside its answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Complaint<'a> {
    /// A line of its stderr, without control characters and bounded in length.
    Line(&'a str),
    /// This many further lines were left out.
    Omitted(u64),
    /// The program ended with another status than 0, though it answered.
    Returned(u32),
}

/// Hears what an application complains of, as it comes.
pub type Listener = Rc<dyn Fn(Complaint<'_>)>;

/// The stderr of one exchange.
pub(super) struct Complaints {
    listener: Listener,
    line: Vec<u8>,
    is_cut: bool,
    told: u32,
    omitted: u64,
}

impl Complaints {
    pub(super) fn new(listener: Listener) -> Self {
        Complaints {
            listener,
            line: Vec::new(),
            is_cut: false,
            told: 0,
            omitted: 0,
        }
    }

    /// Takes some bytes; whole lines are told at once.
    pub(super) fn take(&mut self, mut data: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', data) {
            let (line, rest) = data.split_at_checked(end).unwrap_or((data, b""));
            self.add(line);
            self.end_line();
            data = rest.get(1..).unwrap_or_default();
        }
        self.add(data);
    }

    /// Tells that the program returned something else than 0.
    pub(super) fn returned(&mut self, status: u32) {
        self.end_line();
        if status != 0 {
            (self.listener)(Complaint::Returned(status));
        }
    }

    fn add(&mut self, data: &[u8]) {
        let room = LINE_BYTES - self.line.len().min(LINE_BYTES);
        self.is_cut |= data.len() > room;
        self.line.extend_from_slice(data.get(..room).unwrap_or(data));
    }

    fn end_line(&mut self) {
        let is_cut = std::mem::take(&mut self.is_cut);
        let line = std::mem::take(&mut self.line);
        if line.trim_ascii().is_empty() {
            return;
        }
        if self.told >= LINES {
            self.omitted += 1;
            return;
        }
        self.told += 1;
        let mut text = escaped(&line);
        if is_cut {
            text.push('…');
        }
        (self.listener)(Complaint::Line(&text));
    }
}

impl Drop for Complaints {
    fn drop(&mut self) {
        self.end_line();
        if self.omitted > 0 {
            (self.listener)(Complaint::Omitted(self.omitted));
        }
    }
}

impl std::fmt::Debug for Complaints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Complaints")
            .field("told", &self.told)
            .field("omitted", &self.omitted)
            .finish_non_exhaustive()
    }
}

fn escaped(line: &[u8]) -> String {
    let mut text = String::with_capacity(line.len());
    for c in String::from_utf8_lossy(line.trim_ascii_end()).chars() {
        match c {
            '\t' => text.push(' '),
            c if c.is_control() => {
                let _ = write!(text, "{}", c.escape_default());
            }
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn heard(pieces: &[&[u8]]) -> Vec<String> {
        let heard = Rc::new(RefCell::new(Vec::new()));
        let listener = heard.clone();
        let mut complaints = Complaints::new(Rc::new(move |complaint| {
            listener.borrow_mut().push(match complaint {
                Complaint::Line(line) => line.to_owned(),
                other => format!("{other:?}"),
            });
        }));
        pieces.iter().for_each(|piece| complaints.take(piece));
        drop(complaints);
        heard.take()
    }

    #[test]
    fn lines_are_told_as_they_end() {
        assert_eq!(heard(&[b"one\ntw", b"o\r\n\n  \n", b"three"]), ["one", "two", "three"]);
        assert_eq!(
            heard(&[b"\x1b[31mred\x07\tX\xff\n"]),
            ["\\u{1b}[31mred\\u{7} X\u{fffd}"]
        );
    }

    #[test]
    fn a_flood_is_bounded_in_length_and_number() {
        let long = heard(&[&[b'a'; 3000], &[b'b'; 3000], b"\nnext"]);
        assert_eq!((long[0].len(), &long[1][..]), (LINE_BYTES + '…'.len_utf8(), "next"));
        let many = heard(&[&b"x\n".repeat(1000)]);
        assert_eq!((many.len(), &many[64][..]), (65, "Omitted(936)"));
    }
}
