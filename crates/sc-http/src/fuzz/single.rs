//! One party of our own against any bytes: the clients of an application, and the server of HTTP/2.

use std::rc::Rc;

use futures_util::future::join;
use http::{HeaderMap, Method};

use super::parties::{Application, List, limits, no_drain};
use super::proxy::put_frame;
use super::wire::{Script, run};
use crate::client::{H1, Incoming, Outgoing, h2_handshake};
use crate::{Body, ClientLimits, Head, Interim, Scheme, h2};

/// Takes any bytes for the response of an application.
///
/// Shape: what is handed on does not depend on how the bytes arrive, and carries nothing of the hop.
pub fn fuzz_h1_response(input: &[u8]) {
    crate::h1::fuzz_sections(input);
    for method in [Method::GET, Method::HEAD] {
        let at_once = response(input, usize::MAX, &method);
        if input.len() < 1024 {
            assert_eq!(at_once, response(input, 1, &method), "byte by byte");
            assert_eq!(at_once, response(input, 5, &method), "in pieces");
        }
    }
}

/// What came: interim statuses, status, fields, body, trailers, and whether it came to its end.
type Came = (Vec<u16>, u16, HeaderMap, Vec<u8>, HeaderMap, bool);

fn response(input: &[u8], step: usize, method: &Method) -> Option<Came> {
    let (script, _) = Script::new(input, step);
    let interim = Interim::default();
    let out = get(method);
    run(async {
        let limits = ClientLimits {
            header_bytes: 4 << 10,
            header_fields: 20,
            ..ClientLimits::default()
        };
        let incoming = H1::new(script)
            .send(out, &interim, &limits, Box::new(drop))
            .await
            .ok()?;
        let Incoming::Response { head, mut body } = incoming else {
            unreachable!("nothing was to be switched to");
        };
        check_head(&head);
        let (mut bytes, mut trailers) = (Vec::new(), HeaderMap::new());
        let is_whole = loop {
            match body.frame().await {
                None => break true,
                Some(Err(_)) => break false,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => bytes.extend_from_slice(&data),
                    Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
                },
            }
        };
        assert!(
            bytes.is_empty() || *method != Method::HEAD,
            "an answer to HEAD has no body"
        );
        let interims = std::iter::from_fn(|| interim.take())
            .map(|head| head.status.as_u16())
            .collect();
        Some((interims, head.status.as_u16(), head.headers, bytes, trailers, is_whole))
    })
}

/// Sends any HTTP/2 frames to the server.
///
/// Shape: input is read as [`put_frames`] does; what is written are whole frames.
pub fn fuzz_h2_server(input: &[u8]) {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    put_frames(&mut bytes, input);
    let (script, written) = Script::new(&bytes, if input.len().is_multiple_of(2) { usize::MAX } else { 11 });
    let service = Rc::new(Application { seen: List::default() });
    run(h2::serve(script, service, &limits(), no_drain()));
    let written = written.borrow();
    let mut rest = written.as_slice();
    while let Some(([a, b, c, kind, _, id @ ..], after)) = rest.split_first_chunk::<9>() {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        assert!(
            length <= 16_384 && *kind <= 9,
            "a frame of kind {kind} with {length} bytes"
        );
        assert!(
            u32::from_be_bytes(*id) >> 31 == 0 && length <= after.len(),
            "a frame is cut short"
        );
        rest = after.get(length..).unwrap_or_default();
    }
    assert!(rest.is_empty(), "half a frame header at the end");
}

/// Takes any HTTP/2 frames for the answer of an application.
///
/// Shape: input is read as [`put_frames`] does; what is handed on carries nothing of the hop.
pub fn fuzz_h2_response(input: &[u8]) {
    let mut bytes = Vec::new();
    put_frames(&mut bytes, input);
    let (script, _) = Script::new(&bytes, if input.len().is_multiple_of(2) { usize::MAX } else { 11 });
    run(async {
        let Ok((h2, driver)) = h2_handshake(script).await else {
            return;
        };
        let (interim, limits) = (Interim::default(), ClientLimits::default());
        let asking = async {
            if let Ok(Incoming::Response { head, mut body }) = h2.send(get(&Method::GET), &interim, &limits).await {
                check_head(&head);
                while let Some(Ok(_)) = body.frame().await {}
            }
        };
        // The driver ends with the connection, and nothing comes behind that.
        join(asking, driver).await;
    });
}

/// Appends SETTINGS, and then input as frames of kind, flags, stream and length in a byte each.
fn put_frames(out: &mut Vec<u8>, input: &[u8]) {
    put_frame(out, 4, 0, 0, &[]);
    let mut rest = input;
    while let Some(([kind, flags, stream, length], after)) = rest.split_first_chunk() {
        let (payload, after) = after.split_at(usize::from(*length).min(after.len()));
        put_frame(out, *kind, *flags, u32::from(*stream), payload);
        rest = after;
    }
}

fn get(method: &Method) -> Box<Outgoing> {
    Box::new(Outgoing {
        method: method.clone(),
        target: "/".into(),
        authority: "a.example".into(),
        scheme: Scheme::Http,
        headers: HeaderMap::new(),
        upgrade: None,
        body: Body::empty(),
    })
}

fn check_head(head: &Head) {
    for of_hop in ["connection", "transfer-encoding", "keep-alive", "upgrade"] {
        assert!(!head.headers.contains_key(of_hop), "{of_hop}");
    }
}
