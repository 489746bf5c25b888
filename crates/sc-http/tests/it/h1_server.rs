//! The HTTP/1 server: bytes in, bytes out.

use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use sc_http::h1::{Served, serve};
use sc_http::{Drain, End, Kind, Limits, Scheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_util::sync::CancellationToken;

use crate::app::{App, Noted};
use crate::run;

/// What became of one connection.
struct Outcome {
    output: String,
    fault: Option<Kind>,
    is_handover: bool,
    noted: Vec<Noted>,
}

fn limits() -> Limits {
    Limits {
        target_bytes: 1 << 10,
        header_bytes: 4 << 10,
        header_fields: 20,
        ..Limits::default()
    }
}

/// Talks to a server through `client` and waits for the server to end.
async fn with_server<F: Future<Output = Vec<u8>>>(
    limits: Limits,
    drain: Drain,
    room: usize,
    client: impl FnOnce(DuplexStream) -> F,
) -> Outcome {
    let (near, far) = duplex(room);
    let app = Rc::new(App::default());
    let noted = app.noted.clone();
    let serving = async {
        match serve(far, BytesMut::new(), Scheme::Http, app, &limits, drain).await {
            Served::Closed(fault) => (fault.map(|fault| fault.kind()), false),
            Served::Handover { read_ahead, .. } => (None, &*read_ahead == b"after"),
        }
    };
    let ((fault, is_handover), output) = tokio::join!(serving, client(near));
    let noted = noted.borrow().clone();
    Outcome {
        output: String::from_utf8_lossy(&output).into_owned(),
        fault,
        is_handover,
        noted,
    }
}

/// Sends pieces with pauses between them, ends its side, and reads to the end.
async fn send(pieces: Vec<Vec<u8>>) -> Outcome {
    with_server(
        limits(),
        Drain::at_once(CancellationToken::new()),
        1 << 16,
        |stream| async move {
            let (mut read, mut write) = tokio::io::split(stream);
            let sending = async move {
                for piece in pieces {
                    if write.write_all(&piece).await.is_err() {
                        return write;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let _ = write.shutdown().await;
                write
            };
            let mut output = Vec::new();
            let (_write, read) = tokio::join!(sending, read.read_to_end(&mut output));
            read.unwrap();
            output
        },
    )
    .await
}

fn check(input: &str, expected: &str) -> Outcome {
    let outcome = run(send(vec![input.as_bytes().to_vec()]));
    assert_eq!(
        outcome.output,
        expected.replace('\n', "\r\n").replace("\\n", "\n"),
        "{input:?}"
    );
    outcome
}

/// Checks the status of the one response, and that the connection is closed after it; at every split of the input.
fn check_refused(input: &str, status: u16) {
    let whole = run(send(vec![input.as_bytes().to_vec()]));
    let start = format!("HTTP/1.1 {status} ");
    assert!(
        whole.output.starts_with(&start),
        "{input:?} gets {status}, not {:?}",
        whole.output
    );
    assert!(whole.output.contains("\r\nconnection: close\r\n"), "{input:?}");
    assert_eq!(
        whole.output.matches("HTTP/1.1").count(),
        1,
        "{input:?}: {}",
        whole.output
    );
    assert!(whole.fault.is_some(), "{input:?}");
    let bytes = input.as_bytes();
    let step = 1 + bytes.len() / 100;
    for split in (1..bytes.len()).step_by(step) {
        let split_up = run(send(vec![bytes[..split].to_vec(), bytes[split..].to_vec()]));
        assert!(
            split_up.output.starts_with(&start),
            "{input:?} split at {split}: {}",
            split_up.output
        );
    }
}

#[test]
fn simple_requests_are_answered() {
    check(
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\ndate: now\ncontent-length: 5\n\nhello",
    );
    check(
        "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\ndate: now\ncontent-length: 5\nconnection: close\n\nhello",
    );
    check(
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        "HTTP/1.1 200 OK\ndate: now\ncontent-length: 5\nconnection: keep-alive\n\nhello",
    );
    check(
        "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\ndate: now\ncontent-length: 5\n\n",
    );
    check(
        "GET /empty HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 204 No Content\ndate: now\n\n",
    );
    check(
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\ndate: now\ncontent-length: 5\n\nhello",
    );
    check(
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\ndate: now\ncontent-length: 5\n\nhello",
    );
    check(
        "GET /hop HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\ndate: now\ncontent-length: 2\n\nok",
    );
    check("", "");
    check("GET / HT", "");
}

#[test]
fn targets_and_authorities_are_understood() {
    let see = |input: &str, line: &str| {
        let outcome = run(send(vec![input.as_bytes().to_vec()]));
        assert!(outcome.output.contains(line), "{input:?}: {}", outcome.output);
    };
    see(
        "GET /see?a=%20b HTTP/1.1\r\nHost: A.Example:81\r\n\r\n",
        "GET http a.example:81 /see?a=%20b\n",
    );
    see(
        "GET http://b.example/see HTTP/1.1\r\nHost: b.example\r\n\r\n",
        "GET http b.example /see\n",
    );
    see(
        "GET https://b.example/see HTTP/1.1\r\nHost: b.example:443\r\n\r\n",
        "GET https b.example /see\n",
    );
    see("GET http://b.example/see HTTP/1.0\r\n\r\n", "GET http b.example /see\n");
    see("GET /see HTTP/1.0\r\n\r\n", "GET http  /see\n");
    // RFC 9112 §3.2.2: what the target names wins over Host, which a client of a proxy may set to the proxy's own name.
    see(
        "GET http://b.example:81/see HTTP/1.1\r\nHost: proxy.example:2006\r\n\r\n",
        "GET http b.example:81 /see\n",
    );
    see(
        "GET /see HTTP/1.1\r\nHost: [::1]:80\r\nX-A:  b \t\r\nX-A:\r\n\r\n",
        "GET http [::1]:80 /see\nx-a: b\nx-a: \n",
    );
    let outcome = run(send(vec![
        b"CONNECT a.example:443 HTTP/1.1\r\nHost: proxy.example:2006\r\n\r\nafter".to_vec(),
    ]));
    assert!(outcome.is_handover && outcome.output == "HTTP/1.1 200 OK\r\ndate: now\r\n\r\n");
}

#[test]
fn malformed_requests_are_refused() {
    let host = "Host: a\r\n";
    for (bad, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n\tfolded\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\t: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nNo colon\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\u{e9}: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", 400),
        ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
        ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\r\nHost: a\r\n\r\n", 400),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
        ("\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nContent-Length: 5\r\n\r\nhello",
            400,
        ),
        ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT http://a:443/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ] {
        check_refused(bad, status);
    }
    for (fields, status) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        ("Content-Length: 5, 5\r\n", 400),
        ("Content-Length: +5\r\n", 400),
        ("Content-Length: 0x5\r\n", 400),
        ("Content-Length: -1\r\n", 400),
        ("Content-Length: \r\n", 400),
        ("Content-Length: 99999999999999999999\r\n", 400),
        ("Transfer-Encoding: chunked, chunked\r\n", 400),
        ("Transfer-Encoding: chunked, gzip\r\n", 400),
        ("Transfer-Encoding: gzip\r\n", 400),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        ("Transfer-Encoding: what\r\n", 501),
        ("Transfer-Encoding: \x0bchunked\r\n", 400),
        ("Transfer-Encoding\r\n : chunked\r\n", 400),
        ("Transfer-Encoding : chunked\r\n", 400),
        ("Expect: 200-ok\r\n", 417),
        ("Expect: 100-continue, x\r\n", 417),
    ] {
        check_refused(&format!("POST /sink HTTP/1.1\r\n{host}{fields}\r\nhello"), status);
    }
    check_refused(
        "POST /sink HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    );
    check_refused(&format!("GET /{} HTTP/1.1\r\n{host}\r\n", "u".repeat(1030)), 414);
    check_refused(&format!("GET /{}", "u".repeat(2000)), 414);
    check_refused(&format!("GET / HTTP/1.1\r\n{host}X: {}\r\n\r\n", "v".repeat(4060)), 431);
    check_refused(&format!("GET / HTTP/1.1\r\n{host}X: {}", "v".repeat(6000)), 431);
    check_refused(&format!("GET / HTTP/1.1\r\n{host}{}\r\n", "X: y\r\n".repeat(20)), 431);
    check_refused(&format!("GET / HTTP/1.1\r\n{host}{}", "X:\r\n".repeat(40)), 431);
}

#[test]
fn bodies_are_read_strictly() {
    let post = |fields: &str, body: &str| format!("POST /sink HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}");
    let answer = |text: &str| format!("HTTP/1.1 200 OK\ndate: now\ncontent-length: {}\n\n{text}", text.len());
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let hello = "HTTP/1.1 200 OK\ndate: now\ncontent-length: 5\n\nhello";
    check(
        &(post("Content-Length: 5\r\n", "hello") + get),
        &(answer("5 bytes, 0 trailers") + hello),
    );
    check(
        &(post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n") + get),
        &(answer("5 bytes, 0 trailers") + hello),
    );
    check(
        &(post(
            "Transfer-Encoding: chunked\r\n",
            "5;x=1\r\nhello\r\n00\r\nX-T: 1\r\nHost: b\r\n\r\n",
        ) + get),
        &(answer("5 bytes, 1 trailers") + hello),
    );
    for bad in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "x\r\n",
        "fffffffffffffffff\r\n",
        "0\r\nX : 1\r\n\r\n",
        "0\r\nX: 1\n\n",
    ] {
        let outcome = run(send(vec![
            (post("Transfer-Encoding: chunked\r\n", bad) + get).into_bytes(),
        ]));
        assert!(
            outcome.output.starts_with("HTTP/1.1 400 "),
            "{bad:?}: {}",
            outcome.output
        );
        assert_eq!(
            outcome.output.matches("HTTP/1.1").count(),
            1,
            "{bad:?}: {}",
            outcome.output
        );
    }
    let outcome = run(send(vec![post("Content-Length: 6\r\n", "hello").into_bytes()]));
    assert!(outcome.output.starts_with("HTTP/1.1 400 "), "{}", outcome.output);
}

#[test]
fn any_split_gives_the_same_answers() {
    let input = "GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                 3\r\nabc\r\n2;e\r\nde\r\n0\r\nX-T: 1\r\n\r\nPOST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbodyHEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    let bytes = input.as_bytes();
    for split in 0..=bytes.len() {
        let outcome = run(send(vec![bytes[..split].to_vec(), bytes[split..].to_vec()]));
        assert_eq!(outcome.noted.len(), 4, "split at {split}: {}", outcome.output);
        assert!(
            outcome
                .noted
                .iter()
                .all(|noted| noted.end == End::Complete && noted.status == 200)
        );
        assert_eq!(
            outcome.noted.iter().map(|noted| noted.received).collect::<Vec<_>>(),
            [0, 5, 4, 0]
        );
        assert!(
            outcome
                .output
                .ends_with("4 bytes, 0 trailersHTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 5\r\n\r\n"),
            "{}",
            outcome.output
        );
    }
    let outcome = run(send(bytes.iter().map(|byte| vec![*byte]).collect()));
    assert_eq!(outcome.noted.len(), 4, "{}", outcome.output);
}

#[test]
fn responses_are_framed_by_what_is_known() {
    check(
        "GET /big?3 HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\ndate: now\ncontent-length: 3\n\nxxx",
    );
    check(
        "GET /chunked?3 HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\ndate: now\ntransfer-encoding: chunked\n\n3\nxxx\n0\n\n",
    );
    check(
        "GET /chunked?3 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        "HTTP/1.1 200 OK\ndate: now\nconnection: close\n\nxxx",
    );
    check(
        "HEAD /chunked?3 HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\ndate: now\n\n",
    );
    check(
        "GET /trailers?1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\ndate: now\ntransfer-encoding: chunked\n\n1\nx\n0\n\n",
    );
    check(
        "GET /trailers?1 HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\n\r\n",
        "HTTP/1.1 200 OK\ndate: now\ntransfer-encoding: chunked\n\n1\nx\n0\nx-trailer: t\n\n",
    );
    check(
        "GET /hints HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 103 Early Hints\nlink: </a.css>; rel=preload\n\nHTTP/1.1 102 Processing\n\nHTTP/1.1 200 OK\ndate: now\ncontent-length: 11\n\nafter hints",
    );
    check(
        "GET /hints HTTP/1.0\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\ndate: now\ncontent-length: 11\nconnection: close\n\nafter hints",
    );
}

#[test]
fn a_response_that_lies_about_its_end_breaks_off() {
    for (path, kind) in [
        ("/short?30000", Kind::Internal),
        ("/long?30000", Kind::Internal),
        ("/fail?30000", Kind::UpstreamClosed),
    ] {
        let outcome = run(send(vec![
            format!(
                "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n{}",
                "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
            )
            .into_bytes(),
        ]));
        assert_eq!(outcome.fault, Some(kind), "{path}");
        assert_eq!(outcome.output.matches("HTTP/1.1").count(), 1, "{path}");
        assert!(!outcome.output.contains("\r\n0\r\n"), "{path}");
        assert_eq!(outcome.noted[0].end, End::Failed(kind));
    }
}

#[test]
fn continue_is_sent_when_the_body_is_wanted() {
    let talk = |path: &'static str, first: &'static str| {
        run(with_server(
            limits(),
            Drain::at_once(CancellationToken::new()),
            1 << 16,
            move |mut stream| async move {
                let head =
                    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                let mut got = vec![0; first.len()];
                stream.read_exact(&mut got).await.unwrap();
                assert_eq!(String::from_utf8_lossy(&got), first);
                let _ = stream.write_all(b"hello").await;
                let _ = stream.shutdown().await;
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await.unwrap();
                rest
            },
        ))
    };
    let outcome = talk("/sink", "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(
        outcome.output.starts_with("HTTP/1.1 200 OK\r\n") && outcome.output.contains("5 bytes"),
        "{}",
        outcome.output
    );
    let outcome = talk("/", "HTTP/1.1 200 OK\r\n");
    assert!(outcome.output.contains("connection: close\r\n"), "{}", outcome.output);
    // The body is there already: no 100 is needed.
    let outcome = check(
        "POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
        "HTTP/1.1 200 OK\ndate: now\ncontent-length: 19\n\n5 bytes, 0 trailers",
    );
    assert_eq!(outcome.noted[0].received, 5);
}

#[test]
fn both_directions_move_at_once() {
    let total = 3 << 20;
    let outcome = run(with_server(
        limits(),
        Drain::at_once(CancellationToken::new()),
        4 << 10,
        |stream| async move {
            let (mut read, mut write) = tokio::io::split(stream);
            let sending = async {
                let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {total}\r\n\r\n");
                write.write_all(head.as_bytes()).await.unwrap();
                for _ in 0..total / 1024 {
                    write.write_all(&[b'y'; 1024]).await.unwrap();
                }
                write.shutdown().await.unwrap();
            };
            let mut output = Vec::new();
            let (_, read) = tokio::join!(sending, read.read_to_end(&mut output));
            read.unwrap();
            output
        },
    ));
    assert_eq!(outcome.output.matches('y').count(), total);
    assert_eq!(outcome.noted[0].sent, total as u64);
}

#[test]
fn a_slow_reader_bounds_what_is_buffered() {
    run(async {
        let (mut near, far) = duplex(1 << 10);
        let app = Rc::new(App::default());
        let (made, limits) = (app.made.clone(), limits());
        let serving = serve(
            far,
            BytesMut::new(),
            Scheme::Http,
            app,
            &limits,
            Drain::at_once(CancellationToken::new()),
        );
        let client = async {
            near.write_all(b"GET /big?100000000 HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .unwrap();
            let mut read = 0;
            for _ in 0..1000 {
                read += near.read(&mut [0; 100]).await.unwrap() as u64;
                tokio::time::sleep(Duration::from_millis(1)).await;
                assert!(made.get() < read + (100 << 10), "{} made, {read} read", made.get());
            }
            drop(near);
        };
        let (served, ()) = tokio::join!(serving, client);
        assert!(matches!(served, Served::Closed(Some(fault)) if fault.kind() == Kind::DownstreamClosed));
    });
}

#[test]
fn an_unread_body_is_dropped_or_the_connection_closed() {
    let post = |bytes: usize| {
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n{}",
            "b".repeat(bytes)
        )
    };
    let get = "GET /empty HTTP/1.1\r\nHost: a\r\n\r\n";
    let outcome = run(send(vec![(post(5000) + get).into_bytes()]));
    assert!(outcome.output.contains(" 204 "), "{}", outcome.output);
    let outcome = run(send(vec![(post(300_000) + get).into_bytes()]));
    assert!(
        outcome.output.contains("connection: close") && !outcome.output.contains(" 204 "),
        "{}",
        outcome.output
    );
    assert_eq!(outcome.fault, None);
}

#[test]
fn tunnels_keep_half_closes() {
    let upgrade = "GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n";
    let outcome = check(
        &format!("{upgrade}some words"),
        "HTTP/1.1 101 Switching Protocols\ndate: now\nconnection: upgrade\nupgrade: websocket\n\nSOME WORDSbye",
    );
    assert_eq!(
        (outcome.noted[0].end, outcome.noted[0].received, outcome.noted[0].sent),
        (End::Complete, 10, 13)
    );
    let outcome = run(send(vec![b"GET /tunnel HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()]));
    assert!(outcome.output.starts_with("HTTP/1.1 500 "), "{}", outcome.output);
    let outcome = run(send(vec![
        b"GET /tunnel HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n".to_vec(),
    ]));
    assert!(outcome.output.starts_with("HTTP/1.1 500 "), "{}", outcome.output);
}

/// Sends some bytes, then nothing, and says how long the server took to end.
fn silence(after: &'static str, client_reads: bool) -> (Outcome, Duration) {
    run(async move {
        let start = tokio::time::Instant::now();
        let outcome = with_server(
            limits(),
            Drain::at_once(CancellationToken::new()),
            1 << 10,
            move |mut stream| async move {
                stream.write_all(after.as_bytes()).await.unwrap();
                let mut output = Vec::new();
                if client_reads {
                    stream.read_to_end(&mut output).await.unwrap();
                } else {
                    tokio::time::sleep(Duration::from_secs(1000)).await;
                }
                output
            },
        )
        .await;
        (outcome, start.elapsed())
    })
}

#[test]
fn every_wait_has_an_end() {
    let seconds = |(outcome, elapsed): (Outcome, Duration)| (outcome.output, outcome.fault, elapsed.as_secs());
    assert_eq!(seconds(silence("", true)), (String::new(), None, 15));
    let (output, fault, elapsed) = seconds(silence("GET / HT", true));
    assert!(
        output.starts_with("HTTP/1.1 408 ") && fault == Some(Kind::RequestTimeout) && elapsed == 15,
        "{output} {elapsed}"
    );
    let (output, fault, elapsed) = seconds(silence("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true));
    assert!(
        output.ends_with("hello") && fault.is_none() && elapsed == 75,
        "{output} {elapsed}"
    );
    let (output, _, elapsed) = seconds(silence("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET", true));
    assert!(output.contains("HTTP/1.1 408 ") && elapsed == 15, "{output} {elapsed}");
    let (output, _, elapsed) = seconds(silence(
        "POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbody",
        true,
    ));
    assert!(
        output.starts_with("HTTP/1.1 408 ") && output.contains("connection: close") && elapsed == 60,
        "{output} {elapsed}"
    );
    let (outcome, _) = silence("GET /big?1000000 HTTP/1.1\r\nHost: a\r\n\r\n", false);
    assert_eq!(outcome.fault, Some(Kind::DownstreamClosed));
    assert_eq!(outcome.noted[0].end, End::Cancelled);
}

#[test]
fn a_half_closed_client_still_gets_its_answer() {
    let outcome = run(send(vec![b"GET /slow?50000 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()]));
    assert!(outcome.output.ends_with("slow"), "{}", outcome.output);
    let outcome = run(send(vec![b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()]));
    assert_eq!(
        (outcome.output.as_str(), outcome.fault),
        ("", Some(Kind::DownstreamClosed))
    );
}

#[test]
fn a_body_that_is_kept_too_long_is_stale() {
    run(async {
        struct Keeps(std::cell::RefCell<Option<sc_http::Body>>);
        impl sc_http::Service for Keeps {
            async fn answer(&self, exchange: Box<sc_http::Exchange>) -> sc_http::Answer {
                *self.0.borrow_mut() = Some(exchange.body);
                sc_http::Answer::new(crate::app::head(200, &[]), sc_http::Body::empty())
            }
        }
        let (mut near, far) = duplex(1 << 16);
        let (app, limits) = (Rc::new(Keeps(None.into())), limits());
        near.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nsome")
            .await
            .unwrap();
        let serving = serve(
            far,
            BytesMut::new(),
            Scheme::Http,
            app.clone(),
            &limits,
            Drain::at_once(CancellationToken::new()),
        );
        let mut output = String::new();
        let (served, read) = tokio::join!(serving, near.read_to_string(&mut output));
        read.unwrap();
        assert!(matches!(served, Served::Closed(None)) && output.contains("HTTP/1.1 200 OK\r\n"));
        let mut body = app.0.borrow_mut().take().unwrap();
        let frame = body.frame().await.unwrap();
        assert!(frame.is_err_and(|fault| fault.kind() == Kind::DownstreamClosed));
        assert!(body.frame().await.is_none());
    });
}

#[test]
fn a_drain_ends_idle_connections_and_spares_busy_ones() {
    let drain = CancellationToken::new();
    let outcome = run(with_server(
        limits(),
        Drain::at_once(drain.clone()),
        1 << 16,
        |mut stream| async move {
            stream
                .write_all(b"GET /slow?100 HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
            drain.cancel();
            let mut output = Vec::new();
            stream.read_to_end(&mut output).await.unwrap();
            output
        },
    ));
    assert!(
        outcome.output.contains("connection: close") && outcome.output.ends_with("slow"),
        "{}",
        outcome.output
    );
    let drain = CancellationToken::new();
    let outcome = run(with_server(
        limits(),
        Drain::at_once(drain.clone()),
        1 << 16,
        |mut stream| async move {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
            drain.cancel();
            let mut output = Vec::new();
            stream.read_to_end(&mut output).await.unwrap();
            output
        },
    ));
    assert!(!outcome.output.contains("close") && outcome.fault.is_none());
}
