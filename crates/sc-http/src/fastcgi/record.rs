//! Records of FastCGI 1.0: bytes to parts of records, and what we write to bytes.
//!
//! Knows no stream and no clock, and nothing of what a record means; that is [`super::response`]'s. The content of a
//! stream's record is handed on as it arrives, so that nothing here grows with what passes.
//! Source: FastCGI specification 1.0 §3.3 (records), §5.1 (begin), §5.5 (end), §8 (constants).

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The only version there is.
const VERSION: u8 = 1;

/// Bytes of a record's header.
pub(super) const HEADER_BYTES: usize = 8;

/// Most bytes that one record carries of ours: a multiple of eight, as the specification advises (§3.3).
pub(super) const MOST_CONTENT_BYTES: usize = 0xfff8;

/// The one request of a connection. Nobody in wide use multiplexes requests, php-fpm least of all.
pub(super) const REQUEST_ID: u16 = 1;

/// `FCGI_RESPONDER`.
const ROLE_RESPONDER: u16 = 1;

/// `FCGI_KEEP_CONN`.
const KEEP_CONNECTION: u8 = 1;

/// What a record is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    BeginRequest = 1,
    EndRequest = 3,
    Params = 4,
    Stdin = 5,
    Stdout = 6,
    Stderr = 7,
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum RecordError {
    /// Not FastCGI 1.0, and most likely no FastCGI at all.
    #[error("a record begins with the version {0} instead of 1: this is not FastCGI")]
    Version(u8),
    /// A type that an application may not send to us.
    #[error("a record of type {0}, which no application sends unasked")]
    Type(u8),
    /// Another request than the one that was asked.
    #[error("a record for request {0}, which was never made")]
    Id(u16),
    /// The end of a request has exactly eight bytes.
    #[error("the end of a request in {0} bytes instead of 8")]
    EndBytes(u16),
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct End {
    /// What the program returned.
    pub(super) app_status: u32,
    /// Whether the application took the request at all.
    pub(super) protocol_status: u8,
}

/// A part of what an application sends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Part {
    /// Some bytes of the answer, never none.
    Stdout(Bytes),
    /// The answer is whole.
    StdoutEnd,
    /// Some bytes of complaints, never none.
    Stderr(Bytes),
    /// There are no more complaints.
    StderrEnd,
    /// The request has ended, and this record with it.
    End(End),
}

/// Takes records of an application apart; the bytes stay with the caller.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The record that is being read, and what is left of its content.
    stream: Option<(Kind, u16)>,
    /// Bytes to be skipped before the next header.
    padding: u8,
}

impl Reader {
    /// Takes the next part from the front of `buf`; `None` asks for more bytes.
    ///
    /// Shape: what it takes does not depend on how the bytes arrived, save for where the bytes of a stream are parted.
    /// Errors: anything that an application may not send; the connection is of no use after it.
    pub(super) fn take(&mut self, buf: &mut BytesMut) -> Result<Option<Part>, RecordError> {
        loop {
            if let Some((kind, left)) = self.stream {
                return Ok(self.take_content(kind, left, buf));
            }
            let skipped = usize::from(self.padding).min(buf.len());
            buf.advance(skipped);
            self.padding -= u8::try_from(skipped).unwrap_or(self.padding);
            if self.padding > 0 {
                return Ok(None);
            }
            let Some(header) = Header::read(buf) else {
                return Ok(None);
            };
            header.check()?;
            if header.kind == Kind::EndRequest as u8 {
                return Ok(take_end(header, buf));
            }
            let kind = if header.kind == Kind::Stdout as u8 {
                Kind::Stdout
            } else {
                Kind::Stderr
            };
            buf.advance(HEADER_BYTES);
            self.padding = header.padding;
            if header.content == 0 {
                let is_stdout = kind == Kind::Stdout;
                return Ok(Some(if is_stdout { Part::StdoutEnd } else { Part::StderrEnd }));
            }
            self.stream = Some((kind, header.content));
        }
    }

    fn take_content(&mut self, kind: Kind, left: u16, buf: &mut BytesMut) -> Option<Part> {
        if buf.is_empty() {
            return None;
        }
        let part = usize::from(left).min(buf.len());
        let data = buf.split_to(part).freeze();
        let left = left - u16::try_from(part).unwrap_or(left);
        self.stream = (left > 0).then_some((kind, left));
        Some(match kind {
            Kind::Stdout => Part::Stdout(data),
            _ => Part::Stderr(data),
        })
    }
}

/// Takes a whole end of a request with its padding, so that nothing of it is left on a connection that rests.
fn take_end(header: Header, buf: &mut BytesMut) -> Option<Part> {
    let whole = HEADER_BYTES + usize::from(header.content) + usize::from(header.padding);
    if buf.len() < whole {
        return None;
    }
    let mut record = buf.split_to(whole);
    record.advance(HEADER_BYTES);
    Some(Part::End(End {
        app_status: record.get_u32(),
        protocol_status: record.get_u8(),
    }))
}

#[derive(Clone, Copy, Debug)]
struct Header {
    version: u8,
    kind: u8,
    id: u16,
    content: u16,
    padding: u8,
}

impl Header {
    /// Looks at the header in front of `buf`. The version is wanted first: what speaks something else may say little.
    fn read(buf: &[u8]) -> Option<Self> {
        match buf.first_chunk::<HEADER_BYTES>() {
            Some(&[version, kind, id1, id0, content1, content0, padding, _reserved]) => Some(Header {
                version,
                kind,
                id: u16::from_be_bytes([id1, id0]),
                content: u16::from_be_bytes([content1, content0]),
                padding,
            }),
            None => match buf.first() {
                Some(&version) if version != VERSION => Some(Header {
                    version,
                    kind: 0,
                    id: 0,
                    content: 0,
                    padding: 0,
                }),
                _ => None,
            },
        }
    }

    fn check(self) -> Result<(), RecordError> {
        let is_end = self.kind == Kind::EndRequest as u8;
        if self.version != VERSION {
            return Err(RecordError::Version(self.version));
        }
        if !is_end && self.kind != Kind::Stdout as u8 && self.kind != Kind::Stderr as u8 {
            return Err(RecordError::Type(self.kind));
        }
        if self.id != REQUEST_ID {
            return Err(RecordError::Id(self.id));
        }
        if is_end && self.content != 8 {
            return Err(RecordError::EndBytes(self.content));
        }
        Ok(())
    }
}

/// Writes the header of a record of ours, without padding.
pub(super) fn put_header(out: &mut BytesMut, kind: Kind, content: u16) {
    out.put_u8(VERSION);
    out.put_u8(kind as u8);
    out.put_u16(REQUEST_ID);
    out.put_u16(content);
    out.put_u16(0);
}

/// Writes the beginning of a request; `keeps` asks the application to leave the connection open after it.
pub(super) fn put_begin(out: &mut BytesMut, keeps: bool) {
    put_header(out, Kind::BeginRequest, 8);
    out.put_u16(ROLE_RESPONDER);
    out.put_u8(if keeps { KEEP_CONNECTION } else { 0 });
    out.put_bytes(0, 5);
}

/// Writes the end of a stream of ours.
pub(super) fn put_end(out: &mut BytesMut, kind: Kind) {
    put_header(out, kind, 0);
}
