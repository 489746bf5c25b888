//! The head of an answer as CGI programs write it: fields, an empty line, and `Status` among the fields (RFC 3875 §6).
//!
//! Lines may end in CR LF or in LF alone (§6.2: "the newline of the system"), all else is as strict as HTTP's own heads:
//! what goes out is written anew from what was understood here.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::h1::framing;
use crate::{Head, hop};

/// `Status`, which is never passed on.
const STATUS: HeaderName = HeaderName::from_static("status");

/// What is wrong with the head of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum HeadError {
    /// A line that is no field.
    #[error("a line of its head is no header field")]
    Field,
    /// Not a single field.
    #[error("its head is empty")]
    Empty,
    /// Over a limit.
    #[error("its header fields are too large or too many")]
    TooLarge,
    /// `Status` twice, not a number from 200 to 999, or an interim status.
    #[error("its `Status` is malformed")]
    Status,
    /// `Content-Length` that is no length.
    #[error("its `Content-Length` is malformed")]
    Length,
}

/// Bounds of a head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes of all of it.
    pub(crate) header_bytes: usize,
    /// Number of fields.
    pub(crate) fields: usize,
}

/// A head on its way; no byte is looked at twice.
#[derive(Debug)]
pub(super) struct HeadReader {
    bounds: Bounds,
    bytes: BytesMut,
    line: usize,
    seen: usize,
}

impl HeadReader {
    pub(super) fn new(bounds: Bounds) -> Self {
        HeadReader {
            bounds,
            bytes: BytesMut::new(),
            line: 0,
            seen: 0,
        }
    }

    /// Takes some more bytes; the head and what follows it, once it is whole.
    pub(super) fn take(&mut self, data: Bytes) -> Result<Option<(Head, Bytes)>, HeadError> {
        self.bytes.extend_from_slice(&data);
        while let Some(found) = memchr::memchr(b'\n', self.bytes.get(self.seen..).unwrap_or_default()) {
            let line = self.bytes.get(self.line..self.seen + found).unwrap_or_default();
            let is_empty = matches!(line, b"" | b"\r");
            self.seen += found + 1;
            let line = std::mem::replace(&mut self.line, self.seen);
            if self.seen > self.bounds.header_bytes {
                return Err(HeadError::TooLarge);
            }
            if is_empty {
                let rest = self.bytes.split_off(self.seen).freeze();
                self.bytes.truncate(line);
                let head = parse(&std::mem::take(&mut self.bytes).freeze(), self.bounds)?;
                return Ok(Some((head, rest)));
            }
        }
        self.seen = self.bytes.len();
        if self.bytes.len() > self.bounds.header_bytes {
            return Err(HeadError::TooLarge);
        }
        Ok(None)
    }
}

/// Reads the lines of a head, without the empty one.
fn parse(bytes: &Bytes, bounds: Bounds) -> Result<Head, HeadError> {
    let mut headers = HeaderMap::new();
    let mut counted = 0;
    let lines = bytes.strip_suffix(b"\n").ok_or(HeadError::Empty)?;
    for (at, line) in lines.split(|b| *b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let colon = memchr::memchr(b':', line).ok_or(HeadError::Field)?;
        let (name, value) = line.split_at_checked(colon).ok_or(HeadError::Field)?;
        let value = hop::trim_bytes(value.get(1..).unwrap_or_default());
        counted += name.len() + value.len() + 32;
        if counted > bounds.header_bytes || at >= bounds.fields {
            return Err(HeadError::TooLarge);
        }
        let name = HeaderName::from_bytes(name).map_err(|_| HeadError::Field)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(value)).map_err(|_| HeadError::Field)?;
        headers.try_append(name, value).map_err(|_| HeadError::TooLarge)?;
    }
    let status = status(&headers)?;
    headers.remove(STATUS);
    hop::strip(&mut headers);
    // The same number twice is one number: PHP behind some frameworks writes it so.
    let mut lengths = headers.get_all(CONTENT_LENGTH).into_iter();
    if let Some(first) = lengths.next()
        && lengths.all(|other| other == first)
    {
        let first = first.clone();
        headers.insert(CONTENT_LENGTH, first);
    }
    framing::content_length(&headers).map_err(|_| HeadError::Length)?;
    Ok(Head { status, headers })
}

/// The status of an answer: as it says, 302 with a `Location`, else 200 (RFC 3875 §6.2).
fn status(headers: &HeaderMap) -> Result<StatusCode, HeadError> {
    let mut said = headers.get_all(STATUS).into_iter();
    let Some(status) = said.next() else {
        let is_moved = headers.get(LOCATION).is_some_and(|to| !to.is_empty());
        return Ok(if is_moved { StatusCode::FOUND } else { StatusCode::OK });
    };
    let (code, reason) = status.as_bytes().split_at_checked(3).ok_or(HeadError::Status)?;
    let status = StatusCode::from_bytes(code).map_err(|_| HeadError::Status)?;
    // Interim answers have no place in CGI, and a protocol cannot be switched through it.
    if said.next().is_some() || !matches!(reason.first(), None | Some(b' ')) || status.is_informational() {
        return Err(HeadError::Status);
    }
    Ok(status)
}
