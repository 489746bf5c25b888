//! Request smuggling: whatever shape a request has, the application sees no request that we did not understand as one, and
//! what it sees was written by us.
//!
//! The application is a recorder: it keeps every byte and takes each request for one without a body, so that anything that
//! was passed on as it came would be there to be seen.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sc_testkit::client::raw_h2::kind::{DATA, HEADERS};
use sc_testkit::client::raw_h2::{END_HEADERS, END_STREAM, RawH2, block, frame};
use sc_testkit::{Http1, Request, eventually};

use crate::kit::{Master, PATIENCE, Shop};

const API: &str = "api.shop.example";

/// A request that nobody but the attacker has asked for.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: api.shop.example\r\n\r\n";

struct Recorder {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    fn start() -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let all = seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let all = all.clone();
                thread::spawn(move || record(stream, &all));
            }
        });
        Recorder { address, seen }
    }

    /// What has come, as text; it is forgotten then.
    fn take(&self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut *self.seen.lock().expect("no panic"))).into_owned()
    }
}

/// Answers each head, and closes: what follows a head on its connection is there all the same.
fn record(mut stream: TcpStream, all: &Mutex<Vec<u8>>) {
    let (mut bytes, mut space) = (Vec::new(), [0; 4096]);
    let _ = stream.set_read_timeout(Some(Duration::from_millis(300)));
    let mut is_answered = false;
    while let Ok(read @ 1..) = stream.read(&mut space) {
        bytes.extend_from_slice(&space[..read]);
        all.lock().expect("no panic").extend_from_slice(&space[..read]);
        if !is_answered && bytes.windows(4).any(|four| four == b"\r\n\r\n") {
            is_answered = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .is_ok();
        }
    }
}

/// Shapes of heads that two parsers may read in two ways; what follows each is [`SMUGGLED`].
const SHAPES: &[(&str, &str)] = &[
    (
        "CL.TE",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
    ),
    (
        "TE.CL",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    ),
    (
        "two lengths",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nContent-Length: 0\r\nContent-Length: 51\r\n\r\n",
    ),
    (
        "a list of lengths",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nContent-Length: 0, 51\r\n\r\n",
    ),
    (
        "length with a sign",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nContent-Length: +0\r\n\r\n",
    ),
    (
        "length in hexadecimal",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nContent-Length: 0x33\r\n\r\n",
    ),
    (
        "length with a space inside",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nContent-Length: 0 51\r\n\r\n",
    ),
    (
        "length below zero",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nContent-Length: -1\r\n\r\n",
    ),
    (
        "length beyond all",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nContent-Length: 18446744073709551617\r\n\r\n",
    ),
    (
        "space before the colon",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "vertical tab before chunked",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "xchunked",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "identity",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nTransfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked not last",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    ),
    (
        "two codings",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    ),
    (
        "folded coding",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "bare LF in the head",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nX: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "bare CR in a value",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "NUL in a value",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nX: a\0b\r\n\r\n",
    ),
    (
        "chunk size with an extension of LF",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nTransfer-Encoding: chunked\r\n\r\n2;\nxx\r\n4c\r\n0\r\n\r\n",
    ),
    (
        "chunk size of two readings",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
    ),
    (
        "chunk size that wraps",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n",
    ),
    (
        "chunk without its line end",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naX0\r\n\r\n",
    ),
    (
        "chunked in HTTP/1.0",
        "POST / HTTP/1.0\r\nHost: api.shop.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("no version", "GET /\r\n"),
    (
        "a version that is none",
        "GET / HTTP/1.11\r\nHost: api.shop.example\r\n\r\n",
    ),
    (
        "two hosts",
        "GET / HTTP/1.1\r\nHost: api.shop.example\r\nHost: other.shop.example\r\n\r\n",
    ),
    (
        "a tab in the request line",
        "GET\t/ HTTP/1.1\r\nHost: api.shop.example\r\n\r\n",
    ),
    (
        "space before the first name",
        "GET / HTTP/1.1\r\n Host: api.shop.example\r\n\r\n",
    ),
    (
        "Connection names Content-Length",
        "POST / HTTP/1.1\r\nHost: api.shop.example\r\nConnection: content-length\r\nContent-Length: 50\r\n\r\n",
    ),
];

/// The server, the recorder behind it.
fn scene() -> (Shop, Recorder, Master) {
    let recorder = Recorder::start();
    let shop = Shop::with(&[&format!("{API}: {{ port: '{}' }}", recorder.address)]);
    let master = shop.serve_with(&["--workers", "1", "--redis", "off"]);
    (shop, recorder, master)
}

/// Asserts that an application which was sent this saw one request at most, framed by us.
fn assert_clean(name: &str, seen: &str) {
    let heads: Vec<_> = seen.match_indices(" HTTP/1.1\r\n").collect();
    let smuggled = seen.find("/smuggled");
    if let Some(at) = smuggled {
        // As a body it may be there; then it is announced as one, and by one header only.
        let (head, _) = seen.split_once("\r\n\r\n").unwrap_or((seen, ""));
        let head = head.to_ascii_lowercase();
        let framings = head.matches("\r\ncontent-length:").count() + head.matches("\r\ntransfer-encoding:").count();
        assert!(at > head.len(), "{name}: a request line of another: {seen}");
        assert_eq!(framings, 1, "{name}: {seen}");
    } else {
        assert!(heads.len() <= 1, "{name}: {seen}");
    }
    for line in seen.split("\r\n") {
        assert!(
            !line.contains(['\r', '\n', '\0']) || smuggled.is_some(),
            "{name}: passed on as it came: {line:?}"
        );
    }
}

#[test]
fn nothing_is_smuggled_to_an_application_over_http1() {
    let (_shop, recorder, master) = scene();
    for (name, shape) in SHAPES {
        let mut stream = master.tls(API, &["http/1.1"]);
        let _ = stream.write_all(format!("{shape}{SMUGGLED}").as_bytes());
        let _ = stream.sock.set_read_timeout(Some(Duration::from_millis(500)));
        let mut answers = Vec::new();
        let _ = stream.read_to_end(&mut answers);
        let answers = String::from_utf8_lossy(&answers);
        let seen = recorder.take();
        assert_clean(name, &seen);
        let refused = ["HTTP/1.1 400", "HTTP/1.1 501", "HTTP/1.1 505"];
        // One shape is well-formed for a proxy: the length is not the connection's, whatever `Connection` says.
        let is_fine = *name == "Connection names Content-Length" || answers.is_empty();
        assert!(
            is_fine || refused.iter().any(|line| answers.contains(line)),
            "{name}: {answers}\n{seen}"
        );
        println!(
            "shape={name:?} answered={:?}",
            answers.lines().next().unwrap_or("nothing")
        );
    }
    // And an ordinary request is passed on, written anew.
    let answer = master
        .http1(API)
        .request(&Request::get(API, "/fine").header("X-A", "  b  "));
    assert_eq!(answer.status, 200);
    let seen = eventually("the request is recorded", PATIENCE, || match recorder.take() {
        seen if seen.contains("GET /fine HTTP/1.1\r\n") => Ok(seen),
        seen => Err(seen),
    });
    assert!(seen.contains("x-a: b\r\n"), "{seen}");
    master.stop();
}

/// Fields with which HTTP/2 requests become two requests when they are written as HTTP/1.1.
#[test]
fn nothing_is_smuggled_to_an_application_over_http2() {
    let (_shop, recorder, master) = scene();
    let plain = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", API),
        (":path", "/"),
    ];
    let with = |name: &'static str, value: &'static str| {
        let mut fields = plain.to_vec();
        match fields.iter_mut().find(|field| field.0 == name) {
            Some(field) => field.1 = value,
            None => fields.push((name, value)),
        }
        (format!("{name}: {value:?}"), block(&fields))
    };
    let shapes = [
        with("transfer-encoding", "chunked"),
        with("connection", "keep-alive"),
        with("te", "chunked"),
        with("content-length", "0"),
        with("content-length", "5"),
        with("content-length", "+52"),
        with("x-a", "b\r\ntransfer-encoding: chunked"),
        with("x-a", "b\nx-c: d"),
        with("x-a", "b\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: api.shop.example"),
        with("x-a\r\ntransfer-encoding", "chunked"),
        with("x-a: b\r\nx-c", "d"),
        with("X-Upper", "a"),
        with("x a", "b"),
        with(":method", "GET / HTTP/1.1\r\nhost: x\r\n\r\nGET"),
        with(":path", "/ HTTP/1.1\r\nhost: x\r\n\r\nGET /smuggled"),
        with(":path", "/a b"),
        with(":path", "http://other.shop.example/"),
        with(":path", ""),
        with(":authority", "api.shop.example\r\nx-c: d"),
        with(":authority", "user@api.shop.example"),
        with("host", "other.shop.example"),
        with(":scheme", "https://api.shop.example/smuggled?"),
    ];
    for (name, block) in shapes {
        let stream = master.tls(API, &["h2"]);
        let mut client = RawH2::new(stream, &[]).expect("the preface is taken");
        let body = SMUGGLED.as_bytes();
        let _ = client.send(&[frame(HEADERS, END_HEADERS, 1, &block), frame(DATA, END_STREAM, 1, body)].concat());
        let mut got = String::from("nothing");
        while let Ok(Some(frame)) = client.next(Duration::from_millis(400)) {
            if matches!(frame.kind, HEADERS | 3 | 7) {
                got = format!(
                    "frame type {} {:?}",
                    frame.kind,
                    &frame.payload[..frame.payload.len().min(9)]
                );
                break;
            }
        }
        let seen = recorder.take();
        assert_clean(&name, &seen);
        println!("shape={name} answered={got}");
    }
    let mut fine = Http1::new(master.tls(API, &["http/1.1"]));
    assert_eq!(fine.request(&Request::get(API, "/fine")).status, 200);
    master.stop();
}
