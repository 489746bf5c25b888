//! HTTP/2: our client and server joined, and the server against peers that break the rules.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use sc_http::client::{H2, Incoming, Outgoing, SendError, h2_handshake};
use sc_http::{Body, ClientLimits, Drain, End, Fault, Interim, Kind, Limits, Retry, Scheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_util::sync::CancellationToken;

use crate::app::{App, Made, Noted, fields, read_all};
use crate::run;

fn outgoing(method: Method, target: &str, body: Body) -> Box<Outgoing> {
    let headers = HeaderMap::new();
    Box::new(Outgoing {
        method,
        target: target.into(),
        authority: "a.example".into(),
        scheme: Scheme::Https,
        headers,
        upgrade: None,
        body,
    })
}

fn get(target: &str) -> Box<Outgoing> {
    outgoing(Method::GET, target, Body::empty())
}

fn limits() -> Limits {
    Limits {
        target_bytes: 1 << 10,
        header_bytes: 4 << 10,
        header_fields: 20,
        streams: 10,
        ..Limits::default()
    }
}

/// What came of one request.
#[derive(Debug, Default)]
struct Got {
    status: u16,
    headers: HeaderMap,
    body: String,
    trailers: HeaderMap,
    interim: Vec<StatusCode>,
    fault: Option<(Kind, Retry)>,
    is_given_back: bool,
}

async fn send(h2: &H2, out: Box<Outgoing>) -> Got {
    let (interim, limits, mut got) = (Interim::default(), ClientLimits::default(), Got::default());
    let sent = h2.send(out, &interim, &limits).await;
    while let Some(head) = interim.take() {
        got.interim.push(head.status);
    }
    match sent {
        Ok(Incoming::Response { head, mut body }) => {
            (got.status, got.headers) = (head.status.as_u16(), head.headers);
            match read_all(&mut body).await {
                Ok((bytes, trailers)) => (got.body, got.trailers) = (String::from_utf8(bytes).unwrap(), trailers),
                Err(fault) => got.fault = Some((fault.kind(), fault.retryable())),
            }
        }
        Ok(Incoming::Upgraded { head, mut io }) => {
            got.status = head.status.as_u16();
            io.write_all(b"up").await.unwrap();
            io.shutdown().await.unwrap();
            io.read_to_string(&mut got.body).await.unwrap();
        }
        Err(SendError { fault, outgoing }) => {
            got.fault = Some((fault.kind(), fault.retryable()));
            got.is_given_back = outgoing.is_some();
        }
    }
    got
}

/// A server that is being talked to.
struct Talk {
    drain: CancellationToken,
    noted: Rc<std::cell::RefCell<Vec<Noted>>>,
    made: Rc<Cell<u64>>,
    fault: tokio::task::JoinHandle<Option<Fault>>,
}

fn serve(limits: Limits, room: usize) -> (DuplexStream, Talk) {
    let (near, far) = duplex(room);
    let (app, drain) = (Rc::new(App::default()), CancellationToken::new());
    let (noted, made, draining) = (app.noted.clone(), app.made.clone(), drain.clone());
    let fault =
        tokio::task::spawn_local(async move { sc_http::h2::serve(far, app, &limits, Drain::at_once(draining)).await });
    (
        near,
        Talk {
            drain,
            noted,
            made,
            fault,
        },
    )
}

async fn connect(limits: Limits, room: usize) -> (H2, Talk) {
    let (near, talk) = serve(limits, room);
    let (h2, driver) = h2_handshake(near).await.unwrap();
    tokio::task::spawn_local(driver);
    (h2, talk)
}

/// One request on a connection of its own.
fn joined(out: Box<Outgoing>) -> Got {
    run(async move {
        let (h2, _talk) = connect(limits(), 3000).await;
        let got = send(&h2, out).await;
        assert!(h2.is_open() && h2.has_room());
        got
    })
}

#[test]
fn client_and_server_agree() {
    let got = joined(get("/"));
    assert_eq!((got.status, got.body.as_str()), (200, "hello"));
    assert_eq!(got.headers, fields(&[("content-length", "5"), ("date", "now")]));
    let got = joined(get("/hints"));
    assert_eq!((got.interim.len(), got.body.as_str()), (2, "after hints"));
    let got = joined(get("/trailers?100000"));
    assert_eq!((got.body.len(), got.trailers), (100_000, fields(&[("x-trailer", "t")])));
    let got = joined(get("/empty"));
    assert_eq!((got.status, got.headers), (204, fields(&[("date", "now")])));
    assert_eq!(
        joined(get("/hop")).headers,
        fields(&[("content-length", "2"), ("date", "now")])
    );
    assert_eq!(joined(outgoing(Method::OPTIONS, "*", Body::empty())).body, "hello");
    assert_eq!(
        joined(outgoing(Method::POST, "/sink", Body::full("abc"))).body,
        "3 bytes, 0 trailers"
    );
    let head = joined(outgoing(Method::HEAD, "/big?3000000", Body::empty()));
    assert_eq!(
        (head.body.as_str(), &head.headers["content-length"]),
        ("", &http::HeaderValue::from_static("3000000"))
    );
    assert_eq!(joined(get("/big?3000000")).body.len(), 3_000_000);
    let mut out = get("/see?q");
    out.headers = fields(&[
        ("connection", "x-a"),
        ("x-a", "1"),
        ("te", "trailers"),
        ("host", "evil"),
        ("expect", "100-continue"),
    ]);
    out.headers.append("cookie", "a=b".parse().unwrap());
    out.headers.append("cookie", "c=d".parse().unwrap());
    assert_eq!(
        joined(out).body,
        "GET https a.example /see?q\ncookie: a=b; c=d\nte: trailers\n"
    );
}

#[test]
fn tunnels_run_over_extended_connect() {
    let mut out = get("/tunnel");
    out.upgrade = Some("websocket".into());
    let got = joined(out);
    assert_eq!((got.status, got.body.as_str()), (200, "UPbye"));
    let got = joined(get("/tunnel"));
    assert_eq!(got.status, 500);
    let mut out = get("/missing");
    out.upgrade = Some("websocket".into());
    let got = joined(out);
    assert_eq!((got.status, got.body.as_str()), (404, "nothing here"));
}

#[test]
fn faults_become_resets() {
    for (path, kind) in [
        ("/fail?50000", Kind::UpstreamClosed),
        ("/short?50000", Kind::Internal),
        ("/long?50000", Kind::Internal),
    ] {
        run(async {
            let (h2, talk) = connect(limits(), 3000).await;
            let got = send(&h2, get(path)).await;
            assert_eq!(got.fault, Some((Kind::UpstreamClosed, Retry::No)), "{path}");
            assert_eq!(talk.noted.borrow()[0].end, End::Failed(kind), "{path}");
            assert_eq!(send(&h2, get("/")).await.body, "hello");
        });
    }
}

#[test]
fn a_request_that_is_taken_back_is_cancelled() {
    run(async {
        let (h2, talk) = connect(limits(), 3000).await;
        let interim = Interim::default();
        let client = ClientLimits {
            first_byte_time: Duration::from_secs(1),
            ..ClientLimits::default()
        };
        let sent = h2.send(get("/slow?5000"), &interim, &client).await;
        assert!(matches!(sent, Err(error) if error.fault.kind() == Kind::UpstreamTimeout));
        let Ok(Incoming::Response { body, .. }) = h2.send(get("/big?100000000"), &interim, &client).await else {
            panic!("no response")
        };
        drop(body);
        assert_eq!(send(&h2, get("/")).await.body, "hello");
        let ends: Vec<_> = talk
            .noted
            .borrow()
            .iter()
            .map(|noted| (noted.request.clone(), noted.end))
            .collect();
        assert_eq!(
            ends,
            [
                ("GET /slow?5000".into(), End::Cancelled),
                ("GET /big?100000000".into(), End::Cancelled),
                ("GET /".into(), End::Complete)
            ]
        );
    });
}

#[test]
fn streams_share_a_connection() {
    run(async {
        let (h2, talk) = connect(limits(), 10_000).await;
        // Settings have come once something was answered.
        send(&h2, get("/")).await;
        let first = async {
            let big = send(&h2, get("/big?5000000")).await;
            (big.body.len(), tokio::time::Instant::now())
        };
        let small = async {
            for _ in 0..50 {
                assert_eq!(send(&h2, get("/big?1000")).await.body.len(), 1000);
                tokio::task::yield_now().await;
            }
            tokio::time::Instant::now()
        };
        let ((big, _), _) = tokio::join!(first, small);
        assert_eq!(big, 5_000_000);
        assert_eq!(
            talk.noted
                .borrow()
                .iter()
                .filter(|noted| noted.end == End::Complete)
                .count(),
            52
        );
        let order: Vec<_> = talk.noted.borrow().iter().map(|noted| noted.request.clone()).collect();
        assert!(
            order.iter().position(|request| request.contains("5000000")).unwrap() > 5,
            "small answers do not wait for a big one: {order:?}"
        );
        // More than may be open at a time: the others wait their turn.
        let many = futures_util::future::join_all((0..30).map(|_| send(&h2, get("/slow?10")))).await;
        assert!(many.iter().all(|got| got.body == "slow"), "{many:?}");
    });
}

#[test]
fn a_slow_reader_bounds_what_is_buffered() {
    run(async {
        let (h2, talk) = connect(limits(), 1000).await;
        let sent = h2
            .send(get("/big?100000000"), &Interim::default(), &ClientLimits::default())
            .await;
        let Ok(Incoming::Response { mut body, .. }) = sent else {
            panic!("no response")
        };
        let mut read = 0;
        for _ in 0..200 {
            let Some(Ok(frame)) = body.frame().await else {
                panic!("no frame")
            };
            read += frame.data_ref().map_or(0, Bytes::len) as u64;
            tokio::time::sleep(Duration::from_millis(1)).await;
            // The client's stream window, the server's send buffer, and some on the way.
            assert!(
                talk.made.get() < read + (1 << 20) + (256 << 10),
                "{} made, {read} read",
                talk.made.get()
            );
        }
    });
}

#[test]
fn a_stalled_reader_is_given_up() {
    run(async {
        let (h2, talk) = connect(limits(), 1000).await;
        let sent = h2
            .send(get("/big?100000000"), &Interim::default(), &ClientLimits::default())
            .await;
        let Ok(Incoming::Response { mut body, .. }) = sent else {
            panic!("no response")
        };
        tokio::time::sleep(Duration::from_secs(70)).await;
        assert_eq!(talk.noted.borrow()[0].end, End::Cancelled);
        assert!(read_all(&mut body).await.is_err());
        assert_eq!(send(&h2, get("/")).await.body, "hello");
    });
}

#[test]
fn a_drain_lets_exchanges_finish() {
    run(async {
        let (h2, talk) = connect(limits(), 3000).await;
        let drain = talk.drain.clone();
        let (got, ()) = tokio::join!(send(&h2, get("/slow?100")), async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            drain.cancel();
        });
        assert_eq!(got.body, "slow");
        assert!(talk.fault.await.unwrap().is_none());
        assert!(!h2.is_open());
        let got = send(&h2, get("/")).await;
        assert_eq!(
            (got.fault, got.is_given_back),
            (Some((Kind::UpstreamClosed, Retry::Safe)), true)
        );
    });
    run(async {
        let (h2, talk) = connect(limits(), 3000).await;
        send(&h2, get("/")).await;
        let start = tokio::time::Instant::now();
        assert!(talk.fault.await.unwrap().is_none());
        assert_eq!(start.elapsed().as_secs(), 75, "an idle connection ends");
        assert!(!h2.is_open());
    });
    run(async {
        let (h2, talk) = connect(limits(), 3000).await;
        for _ in 0..10 {
            assert_eq!(send(&h2, get("/")).await.body, "hello");
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        assert!(h2.is_open() && !talk.fault.is_finished(), "one in use does not");
    });
}

/// The status that a request of the `h2` crate gets, with this method, URI and fields.
fn status(method: &str, uri: &str, fields: &[(&'static str, &str)]) -> String {
    run(async move {
        let (near, _talk) = serve(limits(), 100_000);
        let (mut requests, connection) = h2::client::handshake(near).await.unwrap();
        tokio::task::spawn_local(connection);
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (response, _) = requests.send_request(request.body(()).unwrap(), true).unwrap();
        match response.await {
            Ok(response) => {
                let status = response.status().as_u16();
                let mut body = response.into_body();
                let mut text = String::new();
                while let Some(data) = body.data().await {
                    text.push_str(std::str::from_utf8(&data.unwrap()).unwrap());
                }
                format!("{status} {}", text.lines().last().unwrap_or_default())
            }
            Err(error) => format!("{:?}", error.reason()),
        }
    })
}

#[test]
fn malformed_requests_are_refused() {
    let check = |method, uri: &str, fields: &[(&'static str, &str)], expected: &str| {
        let got = status(method, uri, fields);
        assert!(
            got.starts_with(expected),
            "{method} {uri} {fields:?}: {got}, not {expected}"
        );
    };
    check("GET", "https://a/", &[], "200 hello");
    check("GET", "https://a/", &[("host", "a")], "200");
    check("GET", "https://a/", &[("host", "A:443")], "200");
    check("GET", "https://a/", &[("host", "b")], "400 Host differs");
    check(
        "GET",
        "https://a/",
        &[("host", "a"), ("host", "a")],
        "400 more than one",
    );
    check("GET", "https://u@a/", &[], "400");
    check("GET", "ftp://a/", &[], "400 :scheme");
    check("CONNECT", "a:443", &[], "501");
    check("GET", "https://a/", &[("content-length", "x")], "Some(PROTOCOL_ERROR)");
    check(
        "GET",
        "https://a/",
        &[("content-length", "0"), ("content-length", "0")],
        "400",
    );
    check("GET", "https://a/", &[("x", " a")], "400");
    check("GET", "https://a/", &[("expect", "money")], "417");
    check("GET", &format!("https://a/{}", "u".repeat(1030)), &[], "414");
    check("GET", "https://a/", &[("x", &"v".repeat(4050))], "431");
    check("GET", "https://a/", &[("cookie", "a"); 21], "431");
    check(
        "GET",
        "https://a/see",
        &[("cookie", "a"); 5],
        "200 cookie: a; a; a; a; a",
    );
}

/// Sends bytes after preface and settings; the error code of the GOAWAY, and when the connection ended.
fn raw(bytes: Vec<u8>) -> (Option<u32>, u64) {
    run(async move {
        let (mut near, talk) = serve(limits(), 1 << 20);
        let start = tokio::time::Instant::now();
        near.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let _ = near.write_all(&bytes).await;
        let mut input = Vec::new();
        near.read_to_end(&mut input).await.unwrap();
        let mut goaway = None;
        let mut rest = &input[..];
        while let [a, b, c, kind, _, _, _, _, _, after @ ..] = rest {
            let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            if *kind == 7 {
                goaway = Some(u32::from_be_bytes(after[4..8].try_into().unwrap()));
            }
            rest = &after[length..];
        }
        drop(near);
        talk.fault.await.unwrap();
        (goaway, start.elapsed().as_secs())
    })
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn broken_and_greedy_connections_are_ended() {
    let settings = frame(4, 0, 0, &[]);
    let with = |frames: &[Vec<u8>]| raw([settings.clone(), frames.concat()].concat());
    assert_eq!(raw(frame(6, 0, 0, &[0; 8])).0, Some(1), "no settings first");
    assert_eq!(with(&[frame(4, 0, 0, &[0; 5])]).0, Some(6));
    assert_eq!(with(&[frame(4, 0, 0, &[0, 4, 0x80, 0, 0, 0])]).0, Some(3));
    assert_eq!(with(&[frame(6, 0, 0, &[0; 7])]).0, Some(6));
    assert_eq!(with(&[frame(0, 0, 1, b"x")]).0, Some(1));
    // GET / of https://a, index 2, 7, 4 and a literal :authority.
    let request = |stream| frame(1, 5, stream, &[0x82, 0x87, 0x84, 0x01, 1, b'a']);
    let open = frame(
        1,
        4,
        1,
        &[0x83, 0x87, 0x04, 5, b'/', b's', b'i', b'n', b'k', 0x01, 1, b'a'],
    );
    assert_eq!(
        with(&[open.clone(), frame(1, 5, 1, &[0x84])]).0,
        Some(1),
        "a pseudo field in trailers"
    );
    assert_eq!(
        with(&[frame(1, 5, 1, &[0x82, 0x87, 0x84, 0x01, 1, b'a', 0x20])]).0,
        Some(9),
        "a late table size update"
    );
    let resets: Vec<_> = (0..300)
        .flat_map(|n| [request(2 * n + 1), frame(3, 0, 2 * n + 1, &[0, 0, 0, 8])])
        .collect();
    assert_eq!(with(&resets).0, Some(11), "rapid reset (CVE-2023-44487)");
    // Each of these makes us reset a stream (CVE-2025-8671).
    let resets: Vec<_> = (0..1200)
        .flat_map(|n| {
            [frame(
                1,
                5,
                2 * n + 1,
                &[0x82, 0x87, 0x84, 0x01, 1, b'a', 0x0f, 13, 1, b'5'],
            )]
        })
        .collect();
    assert_eq!(with(&resets).0, Some(11), "made you reset");
    assert_eq!(with(&vec![frame(6, 0, 0, &[0; 8]); 12_000]).0, Some(11), "pings");
    assert_eq!(with(&vec![frame(4, 0, 0, &[]); 12_000]).0, Some(11), "settings");
    let block = frame(1, 1, 1, &[0x82]);
    assert_eq!(
        with(std::slice::from_ref(&block)),
        (Some(11), 15),
        "a header block that does not end"
    );
    let mut continuations = vec![block];
    continuations.extend(vec![frame(9, 0, 1, &[]); 1000]);
    assert!(
        matches!(with(&continuations).0, Some(1 | 11)),
        "CONTINUATION flood (CVE-2024-27316)"
    );
    assert_eq!(raw(Vec::new()), (Some(0), 80), "a connection without settings is idle");
}

#[test]
fn early_answers_are_heard_while_uploading() {
    run(async {
        let (h2, talk) = connect(limits(), 3000).await;
        let body = Body::stream(Made {
            left: 50 << 20,
            piece: 10_000,
            made: Rc::default(),
            says: None,
            end: None,
        });
        let got = send(&h2, outgoing(Method::POST, "/", body)).await;
        assert_eq!((got.fault, got.status, got.body.as_str()), (None, 200, "hello"));
        assert_eq!(talk.noted.borrow()[0].end, End::Complete);
        assert_eq!(send(&h2, get("/")).await.body, "hello");
    });
}

#[test]
fn a_body_that_does_not_come_is_given_up() {
    run(async {
        let (near, _talk) = serve(limits(), 100_000);
        let (mut requests, connection) = h2::client::handshake(near).await.unwrap();
        tokio::task::spawn_local(connection);
        let start = tokio::time::Instant::now();
        let (response, mut body) = requests
            .send_request(Request::post("https://a/sink").body(()).unwrap(), false)
            .unwrap();
        body.send_data(Bytes::from_static(b"abc"), false).unwrap();
        assert_eq!(
            (response.await.unwrap().status(), start.elapsed().as_secs()),
            (StatusCode::REQUEST_TIMEOUT, 60)
        );
    });
}

#[test]
fn one_hundred_continue_is_sent_when_wanted() {
    run(async {
        let (near, _talk) = serve(limits(), 100_000);
        let (mut requests, connection) = h2::client::handshake(near).await.unwrap();
        tokio::task::spawn_local(connection);
        let request = Request::post("https://a/sink")
            .header("expect", "100-continue")
            .body(())
            .unwrap();
        let (mut response, mut body) = requests.send_request(request, false).unwrap();
        let interim = poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
        assert_eq!(interim.status(), 100);
        body.send_data(Bytes::from_static(b"abc"), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "3 bytes, 0 trailers");
    });
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 48, ..Default::default() })]

    #[test]
    fn any_body_comes_back_whole(left in 0u64..200_000, piece in 1usize..20_000, is_known: bool, has_trailers: bool) {
        let end = has_trailers.then(|| Ok(fields(&[("x-t", "1")])));
        let body = Body::stream(Made { left, piece, made: Rc::default(), says: is_known.then_some(left), end });
        let is_bodiless = is_known && left == 0;
        let got = joined(outgoing(Method::POST, "/echo", body));
        proptest::prop_assert_eq!(got.fault, None);
        proptest::prop_assert_eq!(got.body.len() as u64, left);
        proptest::prop_assert_eq!(got.trailers.len(), usize::from(has_trailers && !is_bodiless));
    }
}
