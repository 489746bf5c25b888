//! RFC 9113, 7541 and 8441 rule by rule: frames that keep or break one, and what the server says to them.
//!
//! A row is a section, a few words, frames behind preface and settings, and what comes back: `answered` and a status is a
//! response, `reset` and `goaway` have the error code of RFC 9113 §7. An error of a stream may be treated as one of the
//! connection (§5.4.1). Where the `h2` crate has another code than the RFC, the row says [`ENGINE`] and which it should be.

use std::fmt::Write as _;
use std::rc::Rc;

use sc_http::{Drain, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::run;

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const COMPRESSION_ERROR: u32 = 9;

/// What the `h2` crate says to every broken header block, and to frames for streams that it has forgotten.
const ENGINE: u32 = PROTOCOL_ERROR;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END: u8 = 1;
const BLOCK: u8 = 4;
const PADDED: u8 = 8;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A header block of literal fields, none indexed, none compressed.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        for (mark, text) in [(Some(0), name), (None, value)] {
            bytes.extend(mark);
            bytes.push(u8::try_from(text.len()).unwrap());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/"),
    (":authority", "a"),
];
const POST: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "https"),
    (":path", "/sink"),
    (":authority", "a"),
];

/// A request that ends with its fields.
fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END | BLOCK, stream, &block(&GET))
}

/// A request whose body follows.
fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, BLOCK, stream, &block(&POST))
}

/// A request with these fields only.
fn with(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END | BLOCK, 1, &block(fields))
}

/// `GET /` with more fields behind.
fn and(more: &[(&str, &str)]) -> Vec<u8> {
    with(&[&GET[..], more].concat())
}

/// Sends frames, and tells what came of them.
fn came_of(preface: &[u8], frames: &[Vec<u8>]) -> String {
    let bytes = [preface, &frames.concat()].concat();
    run(async move {
        let (mut near, far) = duplex(1 << 20);
        let limits = Limits {
            streams: 3,
            ..Limits::default()
        };
        let app = Rc::new(App::default());
        let drain = Drain::at_once(CancellationToken::new());
        let serving = tokio::task::spawn_local(async move { sc_http::h2::serve(far, app, &limits, drain).await });
        // A server that has seen enough may have closed.
        let _ = near.write_all(&bytes).await;
        let mut input = Vec::new();
        near.read_to_end(&mut input).await.unwrap();
        drop(near);
        serving.await.unwrap();
        tell(&input)
    })
}

fn tell(input: &[u8]) -> String {
    let (mut told, mut rest) = (String::new(), input);
    while let [a, b, c, kind, flags, s1, s2, s3, s4, after @ ..] = rest {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let stream = u32::from_be_bytes([*s1, *s2, *s3, *s4]);
        let payload = &after[..length];
        let code = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        let separator = if told.is_empty() { "" } else { ", " };
        match *kind {
            HEADERS if told.contains("answered") && stream == 1 => {}
            // `:status` is in the static table: 8 is 200, 12 is 400; others have three digits behind a length.
            HEADERS => {
                let status = match payload {
                    [0x88, ..] => "200".to_owned(),
                    [0x8c, ..] => "400".to_owned(),
                    [_, 3, digits @ ..] => String::from_utf8_lossy(&digits[..3]).into_owned(),
                    // 501 in the code of RFC 7541 appendix B.
                    [_, 0x82, 0x6c, 0x01, ..] => "501".to_owned(),
                    _ => "?".to_owned(),
                };
                write!(told, "{separator}answered {status}").unwrap();
            }
            RST_STREAM => write!(told, "{separator}reset {}", code(0)).unwrap(),
            GOAWAY if code(4) != 0 => write!(told, "{separator}goaway {}", code(4)).unwrap(),
            PING if flags & 1 == 1 && payload == b"12345678" => write!(told, "{separator}pong").unwrap(),
            _ => {}
        }
        rest = &after[length..];
    }
    told
}

struct Row(&'static str, &'static str, Vec<Vec<u8>>, String);

fn goaway(code: u32) -> String {
    format!("goaway {code}")
}

fn reset(code: u32) -> String {
    format!("reset {code}")
}

fn answered() -> String {
    "answered 200".to_owned()
}

fn check(rows: Vec<Row>) {
    let mut wrong = Vec::new();
    for Row(section, words, frames, expected) in rows {
        let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &[])[..]].concat();
        let found = came_of(&preface, &frames);
        if found != expected {
            wrong.push(format!("§{section}, {words}: `{found}`, not `{expected}`"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_connection_begins_with_preface_and_settings() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert_eq!(came_of(preface, &[get(1)]), goaway(PROTOCOL_ERROR), "§3.4");
    let broken = came_of(
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        &[frame(SETTINGS, 0, 0, &[]), get(1)],
    );
    assert!(broken.is_empty() || broken == goaway(PROTOCOL_ERROR), "§3.4: {broken}");
    assert_eq!(came_of(preface, &[frame(SETTINGS, 0, 0, &[]), get(1)]), answered());
}

#[test]
fn frames_are_taken_and_refused_as_written() {
    let long = vec![0; 16_385];
    check(vec![
        Row(
            "4.1",
            "an unknown kind is ignored",
            vec![frame(0x42, 0xff, 1, b"x"), get(1)],
            answered(),
        ),
        Row(
            "4.1",
            "the reserved bit is ignored",
            vec![frame(HEADERS, END | BLOCK, 0x8000_0001, &block(&GET))],
            answered(),
        ),
        Row(
            "4.2",
            "DATA that is too long",
            vec![post(1), frame(DATA, END, 1, &long)],
            goaway(FRAME_SIZE_ERROR),
        ),
        Row(
            "4.2",
            "HEADERS that are too long",
            vec![frame(HEADERS, END | BLOCK, 1, &long)],
            goaway(FRAME_SIZE_ERROR),
        ),
        Row(
            "4.3",
            "a frame within a header block",
            vec![frame(HEADERS, END, 1, &block(&GET)), get(3)],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "4.3",
            "a block in two frames",
            vec![
                frame(HEADERS, END, 1, &block(&GET)[..9]),
                frame(CONTINUATION, BLOCK, 1, &block(&GET)[9..]),
            ],
            answered(),
        ),
        Row(
            "4.3",
            "a block in seven frames",
            [
                vec![frame(HEADERS, END, 1, &[])],
                block(&GET)[..5]
                    .iter()
                    .map(|byte| frame(CONTINUATION, 0, 1, &[*byte]))
                    .collect(),
                vec![frame(CONTINUATION, BLOCK, 1, &block(&GET)[5..])],
            ]
            .concat(),
            answered(),
        ),
        Row(
            "6.10",
            "CONTINUATION of nothing",
            vec![frame(CONTINUATION, BLOCK, 1, &block(&GET))],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "6.10",
            "CONTINUATION of another stream",
            vec![frame(HEADERS, END, 1, &[]), frame(CONTINUATION, BLOCK, 3, &block(&GET))],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "6.1",
            "DATA without a stream",
            vec![frame(DATA, END, 0, b"x")],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "6.1",
            "more padding than DATA",
            vec![post(1), frame(DATA, END | PADDED, 1, &[5, 1, 1])],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "6.1",
            "padding",
            vec![post(1), frame(DATA, END | PADDED, 1, &[2, b'x', 0, 0])],
            answered(),
        ),
        Row(
            "6.2",
            "HEADERS without a stream",
            vec![frame(HEADERS, END | BLOCK, 0, &block(&GET))],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "6.2",
            "more padding than HEADERS",
            vec![frame(HEADERS, END | BLOCK | PADDED, 1, &[9, 1])],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "6.3",
            "PRIORITY without a stream",
            vec![frame(PRIORITY, 0, 0, &[0; 5])],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "6.3",
            "PRIORITY is ignored",
            vec![frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1]), get(1)],
            answered(),
        ),
        Row(
            "6.4",
            "RST_STREAM without a stream",
            vec![frame(RST_STREAM, 0, 0, &[0; 4])],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "6.4",
            "RST_STREAM of an idle stream",
            vec![frame(RST_STREAM, 0, 1, &[0; 4])],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "6.4",
            "RST_STREAM of three bytes",
            vec![post(1), frame(RST_STREAM, 0, 1, &[0; 3])],
            goaway(FRAME_SIZE_ERROR),
        ),
        Row(
            "6.6",
            "PUSH_PROMISE of a client",
            vec![frame(PUSH_PROMISE, BLOCK, 1, &[0, 0, 0, 2])],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "6.7",
            "PING is answered",
            vec![frame(PING, 0, 0, b"12345678")],
            "pong".to_owned(),
        ),
        Row(
            "6.7",
            "PING on a stream",
            vec![frame(PING, 0, 1, b"12345678")],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "6.7",
            "PING of seven bytes",
            vec![frame(PING, 0, 0, b"1234567")],
            goaway(FRAME_SIZE_ERROR),
        ),
        Row(
            "6.8",
            "GOAWAY on a stream",
            vec![frame(GOAWAY, 0, 1, &[0; 8])],
            goaway(PROTOCOL_ERROR),
        ),
    ]);
}

#[test]
fn settings_are_taken_and_refused_as_written() {
    let setting = |id: u16, value: u32| frame(SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
    check(vec![
        Row(
            "6.5",
            "an answer with a payload",
            vec![frame(SETTINGS, 1, 0, &[0; 6])],
            goaway(FRAME_SIZE_ERROR),
        ),
        Row(
            "6.5",
            "on a stream",
            vec![frame(SETTINGS, 0, 1, &[])],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "6.5",
            "five bytes",
            vec![frame(SETTINGS, 0, 0, &[0; 5])],
            goaway(FRAME_SIZE_ERROR),
        ),
        Row("6.5.2", "ENABLE_PUSH of 2", vec![setting(2, 2)], goaway(PROTOCOL_ERROR)),
        Row(
            "6.5.2",
            "a window of 2^31",
            vec![setting(4, 1 << 31)],
            goaway(FLOW_CONTROL_ERROR),
        ),
        Row(
            "6.5.2",
            "frames that are too short",
            vec![setting(5, 16_383)],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "6.5.2",
            "frames that are too long",
            vec![setting(5, 1 << 24)],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "6.5.2",
            "an unknown one is ignored",
            vec![setting(0xabcd, 7), get(1)],
            answered(),
        ),
        Row(
            "6.9.2",
            "windows grow past their limit",
            vec![
                post(1),
                frame(WINDOW_UPDATE, 0, 1, &0x7fff_0000_u32.to_be_bytes()),
                setting(4, 0x7fff_ffff),
            ],
            goaway(FLOW_CONTROL_ERROR),
        ),
    ]);
}

#[test]
fn streams_live_as_written() {
    check(vec![
        Row(
            "5.1",
            "DATA on an idle stream",
            vec![frame(DATA, END, 1, b"x")],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "5.1",
            "WINDOW_UPDATE on an idle stream",
            vec![frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "5.1",
            "DATA behind the end",
            vec![post(1), frame(DATA, END, 1, b"x"), frame(DATA, END, 1, b"y")],
            goaway(ENGINE /* STREAM_CLOSED */),
        ),
        Row(
            "5.1",
            "HEADERS behind the end",
            vec![get(1), get(1)],
            goaway(ENGINE /* STREAM_CLOSED */),
        ),
        Row(
            "5.1",
            "WINDOW_UPDATE behind the end is ignored",
            vec![get(1), frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])],
            answered(),
        ),
        Row("5.1.1", "an even number", vec![get(2)], goaway(PROTOCOL_ERROR)),
        Row(
            "5.1.1",
            "a number below another",
            vec![get(5), get(3)],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "6.9",
            "a step of nothing, on a stream",
            vec![post(1), frame(WINDOW_UPDATE, 0, 1, &[0; 4])],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "6.9",
            "a step of nothing, on the connection",
            vec![frame(WINDOW_UPDATE, 0, 0, &[0; 4])],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "6.9",
            "three bytes",
            vec![frame(WINDOW_UPDATE, 0, 0, &[0; 3])],
            goaway(FRAME_SIZE_ERROR),
        ),
        Row(
            "6.9.1",
            "a window past its limit, of a stream",
            vec![post(1), frame(WINDOW_UPDATE, 0, 1, &0x7fff_ffff_u32.to_be_bytes())],
            reset(FLOW_CONTROL_ERROR),
        ),
        Row(
            "6.9.1",
            "a window past its limit, of the connection",
            vec![frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes())],
            goaway(FLOW_CONTROL_ERROR),
        ),
    ]);
}

#[test]
fn streams_past_the_limit_are_refused() {
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &[])[..]].concat();
    let found = came_of(&preface, &[post(1), post(3), post(5), get(7)]);
    assert!(found.starts_with(&reset(REFUSED_STREAM)), "§5.1.2: {found}");
}

#[test]
fn requests_are_taken_and_refused_as_written() {
    let malformed = || reset(PROTOCOL_ERROR);
    let without = |name: &str| with(&GET.into_iter().filter(|(field, _)| *field != name).collect::<Vec<_>>());
    let trailers = |flags: u8, fields: &[(&str, &str)]| frame(HEADERS, BLOCK | flags, 1, &block(fields));
    check(vec![
        Row(
            "8.1",
            "trailers",
            vec![post(1), frame(DATA, 0, 1, b"x"), trailers(END, &[("x-t", "1")])],
            answered(),
        ),
        Row(
            "8.1",
            "trailers that do not end the stream",
            vec![post(1), trailers(0, &[("x-t", "1")])],
            malformed(),
        ),
        Row(
            "8.1",
            "a pseudo field in trailers",
            vec![post(1), trailers(END, &[(":path", "/")])],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "8.1.1",
            "fewer bytes than promised",
            vec![with(&[&POST[..], &[("content-length", "5")]].concat())],
            malformed(),
        ),
        Row(
            "8.1.1",
            "more bytes than promised",
            vec![
                frame(
                    HEADERS,
                    BLOCK,
                    1,
                    &block(&[&POST[..], &[("content-length", "1")]].concat()),
                ),
                frame(DATA, END, 1, b"xy"),
            ],
            malformed(),
        ),
        Row(
            "8.2.1",
            "a name in capitals",
            vec![and(&[("X-A", "1")])],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "8.2.1",
            "a name with a blank",
            vec![and(&[("x a", "1")])],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "8.2.1",
            "an empty name",
            vec![and(&[("", "1")])],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "8.2.1",
            "a name with a quotation mark",
            vec![and(&[("x\"a", "1")])],
            "answered 400".to_owned(),
        ),
        Row(
            "8.2.1",
            "a value with a line break",
            vec![and(&[("x-a", "1\r\nx-b: 2")])],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "8.2.1",
            "a value with a NUL",
            vec![and(&[("x-a", "1\0")])],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "8.2.1",
            "a value that begins with a blank",
            vec![and(&[("x-a", " 1")])],
            "answered 400".to_owned(),
        ),
        Row(
            "8.2.2",
            "connection",
            vec![and(&[("connection", "close")])],
            malformed(),
        ),
        Row(
            "8.2.2",
            "transfer-encoding",
            vec![and(&[("transfer-encoding", "chunked")])],
            malformed(),
        ),
        Row("8.2.2", "keep-alive", vec![and(&[("keep-alive", "5")])], malformed()),
        Row("8.2.2", "upgrade", vec![and(&[("upgrade", "x")])], malformed()),
        Row(
            "8.2.2",
            "te with more than trailers",
            vec![and(&[("te", "gzip")])],
            malformed(),
        ),
        Row("8.2.2", "te: trailers", vec![and(&[("te", "trailers")])], answered()),
        Row(
            "8.3",
            "a pseudo field behind others",
            vec![with(&[GET[0], GET[1], ("x-a", "1"), GET[2], GET[3]])],
            malformed(),
        ),
        Row(
            "8.3",
            "an unknown pseudo field",
            vec![and(&[(":what", "1")])],
            goaway(PROTOCOL_ERROR),
        ),
        Row(
            "8.3",
            "a pseudo field of responses",
            vec![with(&[&[(":status", "200")], &GET[..]].concat())],
            malformed(),
        ),
        Row(
            "8.3",
            "a pseudo field twice",
            vec![with(&[&[(":method", "GET")], &GET[..]].concat())],
            malformed(),
        ),
        Row("8.3.1", "no method", vec![without(":method")], malformed()),
        Row("8.3.1", "no scheme", vec![without(":scheme")], malformed()),
        Row("8.3.1", "no path", vec![without(":path")], malformed()),
        Row(
            "8.3.1",
            "an empty path",
            vec![with(&[GET[0], GET[1], (":path", ""), GET[3]])],
            malformed(),
        ),
        Row(
            "8.3.1",
            "neither :authority nor host",
            vec![without(":authority")],
            "answered 400".to_owned(),
        ),
        Row(
            "8.3.1",
            "host instead of :authority",
            vec![with(&[GET[0], GET[1], GET[2], ("host", "a")])],
            answered(),
        ),
        Row(
            "8.5",
            "CONNECT is not offered",
            vec![with(&[(":method", "CONNECT"), (":authority", "a:1")])],
            "answered 501".to_owned(),
        ),
        Row(
            "8441 4",
            ":protocol without CONNECT",
            vec![and(&[(":protocol", "websocket")])],
            malformed(),
        ),
    ]);
}

#[test]
fn what_is_to_be_switched_to_is_a_protocol() {
    let connect = |protocol| with(&[&[(":method", "CONNECT"), (":protocol", protocol)], &GET[1..]].concat());
    for (protocol, expected) in [("web socket", 400), ("web\x01socket", 400), ("", 400), ("a/b/c", 400)] {
        check(vec![Row(
            "8441 4",
            protocol,
            vec![connect(protocol)],
            format!("answered {expected}"),
        )]);
    }
}

#[test]
fn compressed_fields_are_taken_and_refused_as_written() {
    let raw = |bytes: &[u8]| vec![frame(HEADERS, END | BLOCK, 1, bytes)];
    let broken = || goaway(ENGINE /* COMPRESSION_ERROR */);
    // GET https / and a literal authority, by index.
    let indexed: &[u8] = &[0x82, 0x87, 0x84, 0x41, 1, b'a'];
    check(vec![
        Row(
            "7541 2.3",
            "both tables",
            [
                raw(indexed),
                vec![frame(HEADERS, END | BLOCK, 3, &[0x82, 0x87, 0x84, 0xbe])],
            ]
            .concat(),
            "answered 200, answered 200".to_owned(),
        ),
        Row(
            "7541 2.3.3",
            "an index past the tables",
            raw(&[indexed, &[0xfe]].concat()),
            broken(),
        ),
        Row("7541 6.1", "index 0", raw(&[indexed, &[0x80]].concat()), broken()),
        Row(
            "7541 4.2",
            "a size update first",
            raw(&[&[0x20], indexed].concat()),
            answered(),
        ),
        Row(
            "7541 4.2",
            "a size update behind a field",
            raw(&[indexed, &[0x20]].concat()),
            goaway(COMPRESSION_ERROR),
        ),
        Row(
            "7541 6.3",
            "a size update past the limit",
            raw(&[&[0x3f, 0xe2, 0x1f][..], indexed].concat()),
            broken(),
        ),
        Row(
            "7541 5.1",
            "an integer without end",
            raw(&[&[0xff; 12][..], indexed].concat()),
            broken(),
        ),
        Row(
            "7541 5.2",
            "a string past the block",
            raw(&[indexed, &[0, 1, b'x', 9, b'y']].concat()),
            broken(),
        ),
        Row(
            "7541 5.2",
            "eight bits of padding",
            raw(&[indexed, &[0, 1, b'x', 0x82, 0x1f, 0xff]].concat()),
            broken(),
        ),
        Row(
            "7541 5.2",
            "padding of zeros",
            raw(&[indexed, &[0, 1, b'x', 0x81, 0x18]].concat()),
            broken(),
        ),
        Row(
            "7541 5.2",
            "the end of strings in a string",
            raw(&[indexed, &[0, 1, b'x', 0x84, 0xff, 0xff, 0xff, 0xff]].concat()),
            broken(),
        ),
    ]);
}

#[test]
fn what_is_offered_is_told_in_the_settings() {
    let settings = run(async move {
        let (mut near, far) = duplex(1 << 20);
        let drain = Drain::at_once(CancellationToken::new());
        let serving = tokio::task::spawn_local(async move {
            sc_http::h2::serve(far, Rc::new(App::default()), &Limits::default(), drain).await
        });
        let mut head = [0; 9];
        near.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(head[2])];
        near.read_exact(&mut payload).await.unwrap();
        drop(near);
        serving.await.unwrap();
        payload
    });
    let value = |id: u16| {
        let entry = settings.chunks(6).find(|entry| entry[..2] == id.to_be_bytes());
        entry.map(|entry| u32::from_be_bytes(entry[2..].try_into().unwrap()))
    };
    assert_eq!(
        value(3),
        Some(Limits::default().streams),
        "§6.5.2, MAX_CONCURRENT_STREAMS"
    );
    assert_eq!(
        value(4),
        Some(Limits::default().stream_window_bytes),
        "§6.5.2, INITIAL_WINDOW_SIZE"
    );
    assert!(value(6).is_some(), "§6.5.2, MAX_HEADER_LIST_SIZE");
    assert_eq!(value(8), Some(1), "RFC 8441 §3, ENABLE_CONNECT_PROTOCOL");
}
