//! What came of a case on the wire: all the bytes of a connection, and the few words that stand for them.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// Silence after which a server that is listed as waiting is taken to wait.
const LISTED_SILENCE: Duration = Duration::from_millis(1500);

/// Silence after which any other is.
const SILENCE: Duration = Duration::from_secs(12);

/// How long one look for more bytes takes.
pub(super) const GLANCE: Duration = Duration::from_millis(100);

/// A client that only writes and listens.
pub(super) struct Conversation<S> {
    pub(super) stream: S,
    has_ended: bool,
}

impl<S: Read + Write> Conversation<S> {
    /// Over a stream that gives up reading after [`GLANCE`].
    pub(super) fn new(stream: S) -> Self {
        Conversation {
            stream,
            has_ended: false,
        }
    }

    /// Says all of it and listens until the server ends the connection or has been silent for long.
    pub(super) fn say(&mut self, bytes: &[u8], is_listed_as_waiting: bool) -> String {
        // A server may have ended before it took everything.
        let _ = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
        let (mut raw, mut room, mut heard) = (Vec::new(), [0; 4096], Instant::now());
        loop {
            // Short only once the answer is there that such a server gives first.
            let is_short = is_listed_as_waiting && !raw.is_empty();
            if heard.elapsed() >= if is_short { LISTED_SILENCE } else { SILENCE } {
                break;
            }
            match self.stream.read(&mut room) {
                Ok(count @ 1..) => {
                    raw.extend_from_slice(&room[..count]);
                    heard = Instant::now();
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Ok(_) | Err(_) => {
                    self.has_ended = true;
                    break;
                }
            }
        }
        raw.iter().map(|byte| char::from(*byte)).collect()
    }

    /// Whether the server has ended the connection.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }
}

/// The answers in a few words, and how the connection went on: `200, probe`, `400, closed`, `200, waits`.
pub(super) fn tell(raw: &str, is_head: bool, has_ended: bool) -> String {
    let (mut words, mut rest, mut is_first) = (Vec::new(), raw, true);
    while !rest.is_empty() {
        let Some((word, after)) = answer(rest, is_first && is_head) else {
            words.push("bytes that are no HTTP/1.1".to_owned());
            break;
        };
        is_first &= word == "100";
        words.push(word);
        rest = after;
    }
    if words.is_empty() {
        words.push("nothing".to_owned());
    }
    if words.last().is_none_or(|word| word != "probe") {
        words.push(if has_ended { "closed" } else { "waits" }.to_owned());
    }
    words.join(", ")
}

/// The value of a field, the first of its name.
pub(super) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// One answer from the front.
fn answer(text: &str, has_no_body: bool) -> Option<(String, &str)> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| head.strip_prefix("HTTP/1.0 "))?
        .get(..3)?;
    let field = |name| field(head, name);
    let is_chunked = field("transfer-encoding").is_some();
    let length = field("content-length").and_then(|length| length.parse::<usize>().ok());
    let (body, rest) = match length {
        _ if has_no_body || matches!(status, "100" | "204" | "304") => ("", body),
        _ if is_chunked => body
            .split_once("\r\n0\r\n\r\n")
            .or_else(|| body.split_once("0\r\n\r\n"))?,
        Some(length) => (body.get(..length)?, body.get(length..)?),
        None => (body, ""),
    };
    if body.ends_with("probe") {
        return Some(("probe".to_owned(), rest));
    }
    let mut word = status.to_owned();
    match (status, field("content-range")) {
        ("206", None) => word += " in parts",
        ("206" | "416", Some(range)) => word = format!("{word} {range}"),
        _ => {}
    }
    if let Some(place) = field("location") {
        let path = place
            .split_once("://")
            .map_or(place, |(_, rest)| rest.find('/').map_or("", |at| &rest[at..]));
        word = format!("{word} to {path}");
    }
    if status != "100" && field("date").is_none() {
        word += " without a date";
    }
    if status == "200" && field("content-type").is_some_and(|kind| kind.starts_with("text/")) && length.is_some() {
        word = format!("{word} with {} bytes", length.unwrap_or_default());
    }
    Some((word, rest))
}
