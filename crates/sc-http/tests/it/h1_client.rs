//! The HTTP/1 client: against scripted applications, and against our own server.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use sc_http::client::{H1, Incoming, Outgoing, SendError};
use sc_http::{Body, ClientLimits, Drain, Interim, Kind, Limits, Retry, Scheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_util::sync::CancellationToken;

use crate::app::{App, Made, fields, read_all};
use crate::run;

fn outgoing(method: Method, target: &str, body: Body) -> Box<Outgoing> {
    let headers = HeaderMap::new();
    Box::new(Outgoing {
        method,
        target: target.into(),
        authority: "a.example".into(),
        scheme: Scheme::Http,
        headers,
        upgrade: None,
        body,
    })
}

fn get(target: &str) -> Box<Outgoing> {
    outgoing(Method::GET, target, Body::empty())
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
    is_reused: bool,
    /// What the application read.
    request: String,
}

async fn send(io: DuplexStream, out: Box<Outgoing>) -> Got {
    let (interim, reused, limits) = (Interim::default(), Rc::new(Cell::new(false)), ClientLimits::default());
    let flag = reused.clone();
    let sent = H1::new(io)
        .send(out, &interim, &limits, Box::new(move |mut h1| flag.set(h1.is_open())))
        .await;
    let mut got = Got::default();
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
            // The scripted application is gone by now; our own server is not.
            let _ = io.write_all(b"up").await;
            let _ = io.shutdown().await;
            io.read_to_string(&mut got.body).await.unwrap();
        }
        Err(SendError { fault, outgoing }) => {
            got.fault = Some((fault.kind(), fault.retryable()));
            got.is_given_back = outgoing.is_some();
        }
    }
    got.is_reused = reused.get();
    got
}

/// An application that reads up to `until`, answers with `response`, and then ends or stays.
fn scripted(out: Box<Outgoing>, until: &'static str, response: &'static str, stays: bool) -> Got {
    run(async move {
        let (near, mut far) = duplex(1 << 16);
        let application = async move {
            let mut request = Vec::new();
            while !request.ends_with(until.as_bytes()) {
                if far.read_buf(&mut request).await.unwrap() == 0 {
                    break;
                }
            }
            far.write_all(response.as_bytes()).await.unwrap();
            if stays {
                // Long enough for every time limit, short of forever.
                tokio::time::sleep(Duration::from_secs(10_000)).await;
            }
            String::from_utf8(request).unwrap()
        };
        let (request, mut got) = tokio::join!(application, send(near, out));
        got.request = request;
        got
    })
}

fn answered(response: &'static str) -> Got {
    scripted(get("/"), "\r\n\r\n", response, true)
}

#[test]
fn requests_are_written_from_what_was_understood() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let check = |out: Box<Outgoing>, until: &'static str, expected: &str| {
        let got = scripted(out, until, ok, true);
        assert_eq!(got.request, expected);
        assert!(got.is_reused && got.body == "ok");
    };
    check(get("/a?b"), "\r\n\r\n", "GET /a?b HTTP/1.1\r\nhost: a.example\r\n\r\n");
    let mut out = get("/");
    out.headers = fields(&[
        ("host", "evil"),
        ("content-length", "7"),
        ("transfer-encoding", "chunked"),
        ("expect", "100-continue"),
        ("x-b", "1"),
    ]);
    out.headers
        .insert("connection", HeaderValue::from_static("x-a, keep-alive"));
    out.headers.insert("x-a", HeaderValue::from_static("1"));
    out.headers.insert("te", HeaderValue::from_static("gzip, trailers"));
    check(
        out,
        "\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a.example\r\nx-b: 1\r\nte: trailers\r\nconnection: te\r\n\r\n",
    );
    check(
        outgoing(Method::POST, "/", Body::empty()),
        "\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 0\r\n\r\n",
    );
    check(
        outgoing(Method::PUT, "/", Body::full("abc")),
        "abc",
        "PUT / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 3\r\n\r\nabc",
    );
    let trailers = Some(Ok(fields(&[("x-t", "1")])));
    let body = Body::stream(Made {
        left: 3,
        piece: 2,
        made: Rc::default(),
        says: None,
        end: trailers,
    });
    let text = "POST / HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n2\r\nxx\r\n1\r\nx\r\n0\r\nx-t: 1\r\n\r\n";
    check(outgoing(Method::POST, "/", body), "x-t: 1\r\n\r\n", text);
    let got = scripted(get("/ HTTP/1.1\r\nX: y"), "", ok, false);
    assert_eq!(got.fault, Some((Kind::Internal, Retry::No)));
}

#[test]
fn responses_are_read_strictly() {
    let good = |response, body: &str, is_reused| {
        let got = answered(response);
        assert_eq!(
            (got.fault, got.body.as_str(), got.is_reused),
            (None, body, is_reused),
            "{response:?}"
        );
    };
    good("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", true);
    good("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "", true);
    good("HTTP/1.1 204 No Content\r\n\r\n", "", true);
    good("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "", true);
    good(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "ok",
        true,
    );
    good(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        "ok",
        false,
    );
    good("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", false);
    good(
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok",
        "ok",
        true,
    );
    good(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n",
        "ok",
        false,
    );
    let got = scripted(get("/"), "\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nto the end", false);
    assert_eq!(
        (got.fault, got.body.as_str(), got.is_reused),
        (None, "to the end", false)
    );
    for bad in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n",
        "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "garbage\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    ] {
        let got = answered(bad);
        assert_eq!(got.fault, Some((Kind::UpstreamProtocol, Retry::No)), "{bad:?}");
        assert!(!got.is_reused);
    }
    for cut in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
        "HTTP/1.1 2",
    ] {
        let got = scripted(get("/"), "\r\n\r\n", cut, false);
        assert_eq!(got.fault, Some((Kind::UpstreamClosed, Retry::No)), "{cut:?}");
    }
}

#[test]
fn heads_carry_end_to_end_fields_only() {
    let got = answered(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\n\r\nHTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-End: 1\r\n\
         Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-T: 1\r\n\r\n",
    );
    assert_eq!((got.status, got.interim), (200, vec![StatusCode::EARLY_HINTS]));
    assert_eq!(got.headers, fields(&[("x-end", "1")]));
    assert_eq!(got.trailers, fields(&[("x-t", "1")]));
}

#[test]
fn what_may_be_sent_again_is_said() {
    let got = scripted(get("/"), "\r\n\r\n", "", false);
    assert_eq!(
        (got.fault, got.is_given_back),
        (Some((Kind::UpstreamClosed, Retry::Idempotent)), true)
    );
    let body = Body::stream(Made {
        left: 3,
        piece: 2,
        made: Rc::default(),
        says: Some(3),
        end: None,
    });
    let got = scripted(outgoing(Method::PUT, "/", body), "xxx", "", false);
    assert_eq!(
        (got.fault, got.is_given_back),
        (Some((Kind::UpstreamClosed, Retry::Idempotent)), false)
    );
    let got = scripted(outgoing(Method::PUT, "/", Body::full("xxx")), "xxx", "", false);
    assert!(got.is_given_back);
    let got = run(async {
        let (near, far) = duplex(100);
        drop(far);
        send(near, get("/")).await
    });
    assert_eq!(
        (got.fault, got.is_given_back),
        (Some((Kind::UpstreamClosed, Retry::Safe)), true)
    );
    let got = answered("");
    assert_eq!(got.fault, Some((Kind::UpstreamTimeout, Retry::No)));
    let got = answered("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok");
    assert_eq!(got.fault, Some((Kind::UpstreamTimeout, Retry::No)));
}

#[test]
fn early_answers_are_heard_while_uploading() {
    let body = Body::stream(Made {
        left: 10 << 20,
        piece: 10_000,
        made: Rc::default(),
        says: None,
        end: None,
    });
    let response = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig";
    let got = scripted(outgoing(Method::POST, "/", body), "\r\n", response, true);
    assert_eq!((got.status, got.body.as_str(), got.is_reused), (413, "big", false));
}

#[test]
fn upgrades_carry_bytes_both_ways() {
    let mut out = get("/chat");
    out.upgrade = Some("websocket".into());
    let response = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nat once";
    let got = scripted(out, "\r\n\r\n", response, false);
    assert_eq!((got.status, got.body.as_str()), (101, "at once"));
    assert!(
        got.request
            .ends_with("connection: upgrade\r\nupgrade: websocket\r\n\r\n")
    );
}

/// Our client against our server.
fn joined(out: Box<Outgoing>) -> Got {
    run(async move {
        let (near, far) = duplex(3000);
        let serving = sc_http::h1::serve(
            far,
            BytesMut::new(),
            Scheme::Http,
            Rc::new(App::default()),
            &LIMITS,
            Drain::at_once(CancellationToken::new()),
        );
        let (_, got) = tokio::join!(serving, send(near, out));
        got
    })
}

static LIMITS: std::sync::LazyLock<Limits> = std::sync::LazyLock::new(Limits::default);

#[test]
fn client_and_server_agree() {
    let got = joined(get("/hints"));
    assert_eq!(
        (got.interim.len(), got.body.as_str(), got.is_reused),
        (2, "after hints", true)
    );
    let mut out = get("/trailers?100000");
    out.headers = fields(&[("te", "trailers")]);
    let got = joined(out);
    assert_eq!(
        (got.body.len(), got.trailers, got.is_reused),
        (100_000, fields(&[("x-trailer", "t")]), true)
    );
    let mut out = get("/tunnel");
    out.upgrade = Some("raw".into());
    assert_eq!(joined(out).body, "UPbye");
    let got = joined(get("/fail?50000"));
    assert_eq!(got.fault, Some((Kind::UpstreamClosed, Retry::No)));
    assert_eq!(joined(get("/big?3000000")).body.len(), 3_000_000);
    let head = joined(outgoing(Method::HEAD, "/big?3000000", Body::empty()));
    assert_eq!(
        (head.body.as_str(), &head.headers["content-length"], head.is_reused),
        ("", &HeaderValue::from_static("3000000"), true)
    );
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 64, ..Default::default() })]

    #[test]
    fn any_body_comes_back_whole(left in 0u64..200_000, piece in 1usize..20_000, is_known: bool, has_trailers: bool) {
        let end = has_trailers.then(|| Ok(fields(&[("x-t", "1")])));
        let body = Body::stream(Made { left, piece, made: Rc::default(), says: is_known.then_some(left), end });
        let mut out = outgoing(Method::POST, "/echo", body);
        out.headers = fields(&[("te", "trailers")]);
        let got = joined(out);
        proptest::prop_assert_eq!(got.fault, None);
        proptest::prop_assert_eq!(got.body.len() as u64, left);
        proptest::prop_assert!(got.is_reused);
        proptest::prop_assert_eq!(got.trailers.len(), usize::from(has_trailers && !is_known));
    }
}
