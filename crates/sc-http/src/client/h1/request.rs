//! Writes request heads: from what was understood, never as they came.

use bytes::Bytes;
use http::Method;
use http::header::TE;

use crate::client::Outgoing;
use crate::h1::framing;
use crate::h1::send::{Framing, put_field, put_fields, put_length};
use crate::h1::wire::Outbox;
use crate::{Body, Fault, Kind, Side};

/// A request on its way: the head is in the outbox.
pub(super) struct Prepared {
    pub(super) outbox: Outbox,
    pub(super) body: Body,
    pub(super) framing: Framing,
    /// The body once more, where it is one piece, for a resend.
    pub(super) spare: Option<Bytes>,
}

/// Removes what must not pass through and writes the head.
///
/// Errors: `Internal` for a method, target or authority that would break the request line.
pub(super) fn prepare(out: &mut Outgoing) -> Result<Prepared, Fault> {
    let is_clean = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    if !is_clean(&out.target) || !is_clean(&out.authority) {
        return Err(Fault::new(
            Side::Local,
            Kind::Internal,
            "a request target or authority is malformed",
        ));
    }
    let declared = || framing::content_length(&out.headers).ok().flatten();
    let bytes = out.body.exact_bytes().or_else(declared);
    out.strip();
    let framing = match bytes {
        Some(0) => Framing::Nothing,
        Some(bytes) => Framing::Length(bytes),
        None => Framing::Chunked { has_trailers: true },
    };
    let mut outbox = Outbox::default();
    let head = outbox.tail();
    head.reserve(512);
    for part in [out.method.as_str(), " ", &out.target, " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    put_field(head, "host", out.authority.as_bytes());
    put_fields(head, &out.headers);
    match framing {
        Framing::Length(bytes) => put_length(head, bytes),
        Framing::Chunked { .. } => head.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Nothing if matches!(out.method, Method::POST | Method::PUT | Method::PATCH) => put_length(head, 0),
        Framing::Nothing | Framing::UntilClose => {}
    }
    match (&out.upgrade, out.headers.contains_key(TE)) {
        (Some(_), true) => put_field(head, "connection", b"te, upgrade"),
        (Some(_), false) => put_field(head, "connection", b"upgrade"),
        (None, true) => put_field(head, "connection", b"te"),
        (None, false) => {}
    }
    if let Some(upgrade) = &out.upgrade {
        if !is_clean(upgrade) {
            return Err(Fault::new(
                Side::Local,
                Kind::Internal,
                "the name of a protocol is malformed",
            ));
        }
        put_field(head, "upgrade", upgrade.as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    let spare = out.body.take_ready();
    let body = match &spare {
        Some(bytes) => Body::full(bytes.clone()),
        None => std::mem::take(&mut out.body),
    };
    Ok(Prepared {
        outbox,
        body,
        framing,
        spare,
    })
}
