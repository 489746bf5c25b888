//! An answer of a FastCGI application: bytes to head, body, complaints and end.
//!
//! Knows no stream and no clock. An answer is whole only when the application has said so: a body that is shorter than
//! it was said to be, and everything that ends without the end of the request, is an error. A longer one is cut, because
//! PHP programs that count their bytes often write a line more.
//! Source: FastCGI specification 1.0 §5.3, §5.5; RFC 3875 §6.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};

use super::head::{Bounds, HeadError, HeadReader};
use super::record::{End, Part, Reader, RecordError};
use crate::Head;
use crate::h1::framing;

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ResponseError {
    /// A record is malformed.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The head is malformed.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// A stream went on after its end.
    #[error("a stream goes on after its end")]
    AfterEnd,
    /// The request ended before the head was whole.
    #[error("it ended before its head was whole (the program returned {0})")]
    NoHead(u32),
    /// The body is shorter than `Content-Length`.
    #[error("its body is {0} bytes shorter than its `Content-Length`")]
    Short(u64),
    /// `FCGI_OVERLOADED`.
    #[error("it has no resources left for another request (FCGI_OVERLOADED)")]
    Overloaded,
    /// `FCGI_CANT_MPX_CONN`.
    #[error("it refuses a second request on a connection (FCGI_CANT_MPX_CONN)")]
    CannotMultiplex,
    /// `FCGI_UNKNOWN_ROLE`.
    #[error("it is no responder (FCGI_UNKNOWN_ROLE)")]
    UnknownRole,
    /// A protocol status that does not exist.
    #[error("it ended with the protocol status {0}, which does not exist")]
    ProtocolStatus(u8),
}

/// A part of an answer.
#[derive(Debug)]
pub(super) enum Piece {
    /// More bytes are needed.
    More,
    /// The head; comes once, and before all data.
    Head(Head),
    /// Some bytes of the body, never none.
    Data(Bytes),
    /// Some bytes of complaints, never none.
    Stderr(Bytes),
    /// The request has ended; the number is what the program returned.
    End(u32),
}

/// One answer on its way.
#[derive(Debug)]
pub(super) struct Response {
    reader: Reader,
    state: State,
    /// Bytes that came with the end of the head.
    rest: Bytes,
    has_no_body: bool,
    is_stdout_over: bool,
    is_stderr_over: bool,
}

#[derive(Debug)]
enum State {
    Head(HeadReader),
    /// What is left of a body whose length was told.
    Body(Option<u64>),
    Done,
}

impl Response {
    /// Waits for the answer to a request with this method.
    pub(super) fn new(method: &Method, bounds: Bounds) -> Self {
        Response {
            reader: Reader::default(),
            state: State::Head(HeadReader::new(bounds)),
            rest: Bytes::new(),
            has_no_body: method == Method::HEAD,
            is_stdout_over: false,
            is_stderr_over: false,
        }
    }

    /// Bytes of the body that are still to come, where that is known.
    pub(super) fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Head(_) => None,
            State::Body(left) => left,
            State::Done => Some(0),
        }
    }

    /// Takes the next piece from the front of `buf`.
    ///
    /// Errors: see [`ResponseError`]; the connection is of no use after one.
    pub(super) fn take(&mut self, buf: &mut BytesMut) -> Result<Piece, ResponseError> {
        loop {
            if !self.rest.is_empty() {
                let rest = std::mem::take(&mut self.rest);
                if let Some(piece) = self.stdout(rest)? {
                    return Ok(piece);
                }
            }
            if matches!(self.state, State::Done) {
                return Ok(Piece::More);
            }
            let Some(part) = self.reader.take(buf)? else {
                return Ok(Piece::More);
            };
            match part {
                Part::Stdout(_) if self.is_stdout_over => return Err(ResponseError::AfterEnd),
                Part::Stderr(_) if self.is_stderr_over => return Err(ResponseError::AfterEnd),
                Part::Stdout(data) => {
                    if let Some(piece) = self.stdout(data)? {
                        return Ok(piece);
                    }
                }
                Part::Stderr(data) => return Ok(Piece::Stderr(data)),
                Part::StdoutEnd => self.is_stdout_over = true,
                Part::StderrEnd => self.is_stderr_over = true,
                Part::End(end) => return self.end(end).map(Piece::End),
            }
        }
    }

    /// Some bytes of the answer: of its head, its body, or too much.
    fn stdout(&mut self, data: Bytes) -> Result<Option<Piece>, ResponseError> {
        match &mut self.state {
            State::Head(reader) => {
                let Some((head, rest)) = reader.take(data)? else {
                    return Ok(None);
                };
                self.rest = rest;
                let is_bare = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
                self.has_no_body |= is_bare;
                let length = length(&head.headers)?;
                self.state = State::Body(if self.has_no_body { Some(0) } else { length });
                Ok(Some(Piece::Head(head)))
            }
            State::Body(None) => Ok(Some(Piece::Data(data))),
            State::Body(Some(left)) => {
                let part = usize::try_from(*left).map_or(data.len(), |left| data.len().min(left));
                *left -= part as u64;
                Ok((part > 0).then(|| Piece::Data(data.slice(..part))))
            }
            State::Done => Err(ResponseError::AfterEnd),
        }
    }

    fn end(&mut self, end: End) -> Result<u32, ResponseError> {
        match end.protocol_status {
            0 => {}
            1 => return Err(ResponseError::CannotMultiplex),
            2 => return Err(ResponseError::Overloaded),
            3 => return Err(ResponseError::UnknownRole),
            other => return Err(ResponseError::ProtocolStatus(other)),
        }
        match self.state {
            State::Head(_) => return Err(ResponseError::NoHead(end.app_status)),
            State::Body(Some(left @ 1..)) => return Err(ResponseError::Short(left)),
            State::Body(_) | State::Done => {}
        }
        self.state = State::Done;
        Ok(end.app_status)
    }
}

fn length(headers: &HeaderMap) -> Result<Option<u64>, ResponseError> {
    framing::content_length(headers).map_err(|_| ResponseError::Head(HeadError::Length))
}
