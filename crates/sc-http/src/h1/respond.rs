//! Writes response heads: status line, fields, and the framing that goes with the body (RFC 9112 §4, §6; RFC 9110 §8.6).

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Method, StatusCode};

use super::send::{Framing, put_field, put_length};
use super::wire::COPY_BYTES;
use crate::{Body, Fault, Head, date};

/// What a response depends on in its request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) is_11: bool,
    pub(crate) is_head: bool,
    pub(crate) is_connect: bool,
    pub(crate) takes_trailers: bool,
}

impl Asked {
    pub(crate) fn new(method: &Method, is_11: bool, takes_trailers: bool) -> Self {
        Asked {
            is_11,
            is_head: *method == Method::HEAD,
            is_connect: *method == Method::CONNECT,
            takes_trailers,
        }
    }
}

/// How the connection goes on after a response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Next {
    /// It is kept.
    Keep,
    /// It is closed.
    Close,
    /// It becomes something else: no framing is written.
    Switch,
}

/// Decides how a body is delimited, and whether the connection can be kept after it.
pub(crate) fn frame(head: &Head, body: &Body, asked: Asked, next: Next) -> (Framing, Next) {
    if asked.is_head || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return (Framing::Nothing, next);
    }
    match body.exact_bytes().or_else(|| declared(&head.headers)) {
        Some(bytes) => (Framing::Length(bytes), next),
        None if asked.is_11 => (
            Framing::Chunked {
                has_trailers: asked.takes_trailers,
            },
            next,
        ),
        None => (Framing::UntilClose, Next::Close),
    }
}

/// Writes the head of a final response.
///
/// Shape: connection-specific fields of `head` are left out and made anew; `Date` is added where it is missing.
pub(crate) fn put_head(out: &mut BytesMut, head: &Head, body: &Body, asked: Asked, framing: Framing, next: Next) {
    // Room for all of it at once, a small body included: growing would copy.
    out.reserve(HEAD_BYTES + small_bytes(framing));
    put_status(out, head.status);
    put_end_to_end(out, &head.headers);
    if !head.headers.contains_key(DATE) {
        date::with_now(|now| put_field(out, "date", now.as_bytes()));
    }
    match framing {
        Framing::Length(bytes) => put_length(out, bytes),
        Framing::Chunked { .. } => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Nothing if next == Next::Switch || head.status == StatusCode::NO_CONTENT => {}
        // Without a body, Content-Length tells what a GET would have brought.
        Framing::Nothing => {
            let known = body.exact_bytes().filter(|bytes| *bytes > 0 && asked.is_head);
            if let Some(bytes) = known.or_else(|| declared(&head.headers)) {
                put_length(out, bytes);
            }
        }
        Framing::UntilClose => {}
    }
    match next {
        Next::Close => out.extend_from_slice(b"connection: close\r\n"),
        Next::Keep if head.status == StatusCode::UPGRADE_REQUIRED && head.headers.contains_key(UPGRADE) => {
            put_upgrade(out, &head.headers);
        }
        Next::Keep if !asked.is_11 => out.extend_from_slice(b"connection: keep-alive\r\n"),
        Next::Keep => {}
        Next::Switch if head.status == StatusCode::SWITCHING_PROTOCOLS => put_upgrade(out, &head.headers),
        Next::Switch => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// Room for the head of a response as it mostly is.
const HEAD_BYTES: usize = 512;

/// How much of the body is going to be copied behind the head.
fn small_bytes(framing: Framing) -> usize {
    match framing {
        Framing::Length(bytes) => usize::try_from(bytes).ok().filter(|bytes| *bytes <= COPY_BYTES),
        Framing::Nothing | Framing::Chunked { .. } | Framing::UntilClose => None,
    }
    .unwrap_or(0)
}

/// Writes an interim response.
pub(crate) fn put_interim(out: &mut BytesMut, head: &Head) {
    put_status(out, head.status);
    put_end_to_end(out, &head.headers);
    out.extend_from_slice(b"\r\n");
}

/// Writes a whole response to a request that cannot be served, after which the connection is closed.
pub(crate) fn put_refusal(out: &mut BytesMut, fault: &Fault) {
    let status = fault.kind().treatment().status;
    let text = Bytes::from(format!(
        "{} {}\n{fault}\n",
        status.as_str(),
        status.canonical_reason().unwrap_or("Error")
    ));
    let mut head = Head::new(status);
    head.headers.insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    let asked = Asked {
        is_11: true,
        is_head: false,
        is_connect: false,
        takes_trailers: false,
    };
    let body = Body::full(text.clone());
    put_head(
        out,
        &head,
        &body,
        asked,
        Framing::Length(text.len() as u64),
        Next::Close,
    );
    out.extend_from_slice(&text);
}

/// `Content-Length` as the service set it.
fn declared(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn put_end_to_end(out: &mut BytesMut, headers: &HeaderMap) {
    // A static and no constant, which would be made anew for each field.
    static OURS: [HeaderName; 6] = [
        CONNECTION,
        TRANSFER_ENCODING,
        CONTENT_LENGTH,
        UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ];
    for (name, value) in headers {
        if !OURS.contains(name) {
            put_field(out, name.as_str(), value.as_bytes());
        }
    }
}

fn put_upgrade(out: &mut BytesMut, headers: &HeaderMap) {
    out.extend_from_slice(b"connection: upgrade\r\n");
    for protocol in headers.get_all(UPGRADE) {
        put_field(out, "upgrade", protocol.as_bytes());
    }
}

fn put_status(out: &mut BytesMut, status: StatusCode) {
    let line: &[u8] = match status.as_u16() {
        100 => b"HTTP/1.1 100 Continue\r\n",
        101 => b"HTTP/1.1 101 Switching Protocols\r\n",
        103 => b"HTTP/1.1 103 Early Hints\r\n",
        200 => b"HTTP/1.1 200 OK\r\n",
        204 => b"HTTP/1.1 204 No Content\r\n",
        206 => b"HTTP/1.1 206 Partial Content\r\n",
        301 => b"HTTP/1.1 301 Moved Permanently\r\n",
        302 => b"HTTP/1.1 302 Found\r\n",
        304 => b"HTTP/1.1 304 Not Modified\r\n",
        400 => b"HTTP/1.1 400 Bad Request\r\n",
        404 => b"HTTP/1.1 404 Not Found\r\n",
        500 => b"HTTP/1.1 500 Internal Server Error\r\n",
        502 => b"HTTP/1.1 502 Bad Gateway\r\n",
        _ => {
            out.put_slice(b"HTTP/1.1 ");
            out.put_slice(status.as_str().as_bytes());
            out.put_slice(b" ");
            out.put_slice(status.canonical_reason().unwrap_or("").as_bytes());
            b"\r\n"
        }
    };
    out.extend_from_slice(line);
}
