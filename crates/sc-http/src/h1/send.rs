//! Turns a body into the bytes of an HTTP/1 message, piece by piece (RFC 9112 §6, §7).
//!
//! What was declared is kept to: a body that ends early, late or in a fault is an error here, and the caller then breaks
//! the connection rather than end the message.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use http::HeaderMap;

use super::wire::Outbox;
use crate::{Body, Fault, Kind, Side};

/// How a body is delimited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Framing {
    /// No body at all.
    Nothing,
    /// This many bytes.
    Length(u64),
    /// Chunks, with trailers when the peer takes them.
    Chunked {
        /// Whether trailers are sent.
        has_trailers: bool,
    },
    /// By the end of the connection.
    UntilClose,
}

/// One body on its way into an [`Outbox`].
#[derive(Debug)]
pub(crate) struct Sender {
    body: Body,
    framing: Framing,
    is_done: bool,
    is_touched: bool,
    sent: u64,
}

impl Sender {
    pub(crate) fn new(body: Body, framing: Framing) -> Self {
        let is_done = matches!(framing, Framing::Nothing);
        Sender {
            body: if is_done { Body::empty() } else { body },
            framing,
            is_done,
            is_touched: false,
            sent: 0,
        }
    }

    /// Whether the whole body is in the outbox.
    pub(crate) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Bytes of the body put into the outbox so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Gives the body back when nothing was taken out of it.
    pub(crate) fn into_untouched(self) -> Option<Body> {
        (!self.is_touched && !self.is_done).then_some(self.body)
    }

    /// Gives up the rest.
    pub(crate) fn stop(&mut self) {
        self.body = Body::empty();
        self.is_done = true;
    }

    /// Puts the next piece into the outbox, or the end.
    ///
    /// Errors: the fault of the body, or `Internal` when the body is not as long as it was said to be.
    pub(crate) fn poll_fill(&mut self, outbox: &mut Outbox, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if self.is_done {
            return Poll::Ready(Ok(()));
        }
        self.is_touched = true;
        let frame = match ready!(http_body::Body::poll_frame(Pin::new(&mut self.body), cx)) {
            None => return Poll::Ready(self.end(outbox, None)),
            Some(frame) => frame?,
        };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => return Poll::Ready(self.end(outbox, frame.into_trailers().ok())),
        };
        if data.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let bytes = data.len() as u64;
        self.sent += bytes;
        match &mut self.framing {
            Framing::Length(left) => {
                *left = left.checked_sub(bytes).ok_or_else(too_long)?;
                outbox.push(data);
                if *left == 0 {
                    return Poll::Ready(self.expect_end(cx));
                }
            }
            Framing::Chunked { .. } => {
                put_hex(outbox.tail(), bytes);
                outbox.push(data);
                outbox.tail().extend_from_slice(b"\r\n");
                if self.body_is_at_end() {
                    return Poll::Ready(self.end(outbox, None));
                }
            }
            Framing::Nothing | Framing::UntilClose => outbox.push(data),
        }
        Poll::Ready(Ok(()))
    }

    fn body_is_at_end(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }

    /// All declared bytes are there: more would be a lie, but an end that takes its time is not waited for.
    fn expect_end(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        self.is_done = true;
        loop {
            match http_body::Body::poll_frame(Pin::new(&mut self.body), cx) {
                Poll::Pending | Poll::Ready(None) => return Ok(()),
                Poll::Ready(Some(frame)) => match frame?.data_ref() {
                    Some(data) if !data.is_empty() => return Err(too_long()),
                    _ => {}
                },
            }
        }
    }

    fn end(&mut self, outbox: &mut Outbox, trailers: Option<HeaderMap>) -> Result<(), Fault> {
        self.is_done = true;
        match self.framing {
            Framing::Length(1..) => Err(Fault::new(
                Side::Local,
                Kind::Internal,
                "a body is shorter than was declared",
            )),
            Framing::Chunked { has_trailers } => {
                let tail = outbox.tail();
                tail.extend_from_slice(b"0\r\n");
                if let Some(mut trailers) = trailers.filter(|_| has_trailers) {
                    super::head::keep_trailers(&mut trailers);
                    put_fields(tail, &trailers);
                }
                tail.extend_from_slice(b"\r\n");
                Ok(())
            }
            Framing::Length(0) | Framing::Nothing | Framing::UntilClose => Ok(()),
        }
    }
}

/// Writes field lines.
pub(crate) fn put_fields(out: &mut BytesMut, headers: &HeaderMap) {
    for (name, value) in headers {
        put_field(out, name.as_str(), value.as_bytes());
    }
}

/// Writes one field line.
pub(crate) fn put_field(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes `Content-Length`.
pub(crate) fn put_length(out: &mut BytesMut, bytes: u64) {
    put_field(out, "content-length", itoa::Buffer::new().format(bytes).as_bytes());
}

/// Writes a chunk-size line.
fn put_hex(out: &mut BytesMut, mut value: u64) {
    let mut digits = [0; 16];
    let mut count = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef".get((value & 15) as usize).copied().unwrap_or(b'0');
        value >>= 4;
        count += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(16 - count..).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}

fn too_long() -> Fault {
    Fault::new(Side::Local, Kind::Internal, "a body is longer than was declared")
}
