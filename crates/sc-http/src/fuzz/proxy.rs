//! A proxy between a client that says anything and an application of our own: both must see the same requests.
//!
//! This is what request smuggling breaks. What the application saw is compared with what the proxy took, request by
//! request: as many, the same ones, and none whole that was cut short.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::BytesMut;

use super::parties::{List, Proxy, Seen, limits, no_drain};
use super::wire::{Script, run};
use crate::{Scheme, h1, h2};

/// Says any bytes to the proxy over HTTP/1.1.
///
/// Shape: one request in is one request out; answers and requests do not depend on how the bytes arrive.
pub fn fuzz_h1_proxy(input: &[u8]) {
    let at_once = over_h1(input, usize::MAX);
    for step in [1, 7] {
        if input.len() < 1024 {
            assert_eq!(at_once, over_h1(input, step), "in pieces of {step}");
        }
    }
}

/// Says requests to the proxy over HTTP/2, as an attacker would who writes header blocks by hand.
///
/// Shape: the first part of the input, up to an empty line, is one field a line, `name: value`; the rest is the body.
pub fn fuzz_h2_proxy(input: &[u8]) {
    let (fields, body) = match input.windows(2).position(|pair| pair == b"\n\n") {
        Some(end) => (&input[..end], &input[end + 2..]),
        None => (input, &[][..]),
    };
    let mut block = Vec::new();
    for line in fields.split(|byte| *byte == b'\n').take(40) {
        // A colon in front belongs to the name.
        let colon = line
            .iter()
            .skip(1)
            .position(|byte| *byte == b':')
            .map_or(line.len(), |at| at + 1);
        let (name, value) = line.split_at_checked(colon).unwrap_or_default();
        let value = value.get(1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        block.push(0);
        for text in [name, value] {
            let text = text.get(..126).unwrap_or(text);
            block.push(text.len() as u8);
            block.extend_from_slice(text);
        }
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    put_frame(&mut bytes, 4, 0, 0, &[]);
    let ends = if body.is_empty() { 1 } else { 0 };
    put_frame(&mut bytes, 1, 4 | ends, 1, &block);
    for (at, piece) in body.chunks(64).enumerate() {
        let is_last = at + 1 == body.len().div_ceil(64);
        put_frame(&mut bytes, 0, u8::from(is_last), 1, piece);
    }
    let proxy = Rc::new(proxy());
    let (script, _) = Script::new(&bytes, usize::MAX);
    run(h2::serve(script, proxy.clone(), &limits(), no_drain()));
    compare(&proxy);
}

/// Appends one HTTP/2 frame.
pub(super) fn put_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = (payload.len() as u32).to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

fn proxy() -> Proxy {
    Proxy {
        taken: List::default(),
        given: Rc::new(RefCell::new(Vec::new())),
    }
}

/// What the client read and what the proxy took.
fn over_h1(input: &[u8], step: usize) -> (String, Vec<Seen>) {
    let proxy = Rc::new(proxy());
    let (script, written) = Script::new(input, step);
    run(h1::serve(
        script,
        BytesMut::new(),
        Scheme::Https,
        proxy.clone(),
        &limits(),
        no_drain(),
    ));
    compare(&proxy);
    let output = String::from_utf8_lossy(&written.borrow()).into_owned();
    // It is asked for only where the body has not come already (RFC 9110 §10.1.1).
    let output = output.replace("HTTP/1.1 100 Continue\r\n\r\n", "");
    let lines = output.lines().filter(|line| !line.starts_with("date: "));
    (lines.collect::<Vec<_>>().join("\n"), proxy.taken.take())
}

fn compare(proxy: &Proxy) {
    let (taken, given) = (proxy.taken.borrow(), proxy.given.borrow());
    for (taken, given) in taken.iter().zip(given.iter()) {
        let Some(given) = given else { continue };
        let [seen] = given.as_slice() else {
            // CONNECT and requests without a name go nowhere, and what broke off early need not arrive.
            let may_stay = taken.target.is_empty() || taken.authority.is_empty() || !taken.is_whole;
            assert!(given.is_empty() && may_stay, "one request became {given:?}: {taken:?}");
            continue;
        };
        assert_eq!(
            seen.is_whole, taken.is_whole,
            "cut short on one side only: {taken:?}, {seen:?}"
        );
        let mut expected = taken.clone();
        if taken.method == "CONNECT" {
            expected.method = "GET".to_owned();
        }
        if !taken.is_whole {
            assert!(taken.body.starts_with(&seen.body), "other bytes: {taken:?}, {seen:?}");
            expected.body = seen.body.clone();
        }
        if seen.trailers.is_empty() {
            // A body whose length was declared has no place for them (RFC 9112 §7.1.2).
            expected.trailers.clear();
        }
        assert_eq!(*seen, expected);
    }
}
