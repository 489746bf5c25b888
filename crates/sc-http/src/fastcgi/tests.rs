//! The codec against records that are written here by hand: what comes out, and that it never depends on how it came in.

use bytes::BytesMut;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;

use super::head::{Bounds, HeadError};
use super::params::{self, Params, TooLong};
use super::record::{self, Kind, MOST_CONTENT_BYTES, RecordError};
use super::response::ResponseError;
use super::{Outcome, fuzz_fastcgi, fuzz_fastcgi_params};

const BOUNDS: Bounds = Bounds {
    header_bytes: 64 << 10,
    fields: 128,
};

/// A record as an application writes it.
fn wire(kind: u8, content: &[u8], padding: u8) -> Vec<u8> {
    let bytes = u16::try_from(content.len()).expect("a record's content").to_be_bytes();
    let mut record = vec![1, kind, 0, 1, bytes[0], bytes[1], padding, 0];
    record.extend_from_slice(content);
    record.extend(vec![0xaa; padding.into()]);
    record
}

fn end(app_status: u32, protocol_status: u8) -> Vec<u8> {
    let mut content = app_status.to_be_bytes().to_vec();
    content.extend([protocol_status, 0, 0, 0]);
    wire(3, &content, 0)
}

fn read(method: &Method, records: &[Vec<u8>]) -> Outcome {
    let bytes = records.concat();
    let whole = Outcome::read(method, BOUNDS, std::iter::once(&bytes[..]));
    let single = Outcome::read(method, BOUNDS, bytes.chunks(1));
    assert_eq!(whole, single);
    whole
}

/// A status and fields.
type Understood<'a> = (u16, &'a [(&'a str, &'a str)]);

/// What an answer with this head comes to: its status and fields, or the error.
fn check(head: &str, expected: Result<Understood<'_>, ResponseError>) {
    let outcome = read(&Method::GET, &[wire(6, head.as_bytes(), 3), end(0, 0)]);
    match expected {
        Err(error) => assert_eq!(outcome.error, Some(error), "{head:?}"),
        Ok((status, fields)) => {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
                headers.append(name, HeaderValue::from_str(value).expect("a value"));
            }
            let status = http::StatusCode::from_u16(status).expect("a status");
            let expected = format!("{:?}", crate::Head { status, headers });
            assert_eq!((outcome.head, outcome.error), (Some(expected), None), "{head:?}");
        }
    }
}

#[test]
fn heads_are_understood_and_written_anew() {
    let html = ("content-type", "text/html");
    check("Content-Type: text/html\r\n\r\n", Ok((200, &[html])));
    check("Content-Type: text/html\n\n", Ok((200, &[html])));
    check("Content-Type:text/html \t\r\n\n", Ok((200, &[html])));
    check(
        "Status: 404 Not Found\r\nContent-Type: text/html\r\n\r\n",
        Ok((404, &[html])),
    );
    check("Content-Type: text/html\r\nstatus: 599\r\n\r\n", Ok((599, &[html])));
    check("Location: /elsewhere\r\n\r\n", Ok((302, &[("location", "/elsewhere")])));
    check(
        "Status: 201\r\nLocation: /new\r\n\r\n",
        Ok((201, &[("location", "/new")])),
    );
    check("Location:\r\n\r\n", Ok((200, &[("location", "")])));
    let cookies = [("set-cookie", "a=1"), ("set-cookie", "b=2")];
    check(
        "Set-Cookie: a=1\r\nX-A: 1\r\nSet-Cookie: b=2\r\n\r\n",
        Ok((200, &[cookies[0], cookies[1], ("x-a", "1")])),
    );
    check(
        "Connection: close, x-b\r\nTransfer-Encoding: chunked\r\nX-B: 1\r\nX-A: 1\r\n\r\n",
        Ok((200, &[("x-a", "1")])),
    );
    check(
        "Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
        Ok((200, &[("content-length", "0")])),
    );
}

#[test]
fn malformed_heads_are_refused() {
    let field = || Err(HeadError::Field.into());
    for head in [
        "no colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        " folded: 1\r\n\r\n",
        "A: 1\r\n b\r\n\r\n",
    ] {
        check(head, field());
    }
    for head in [
        "A : 1\r\n\r\n",
        ": 1\r\n\r\n",
        "A: 1\r2\r\n\r\n",
        "A: \0\r\n\r\n",
        "Ä: 1\r\n\r\n",
        "A: 1\r\n\r\r\n\r\n",
    ] {
        check(head, field());
    }
    let status = || Err(HeadError::Status.into());
    for said in [
        "",
        "2",
        "20 OK",
        "200OK",
        "100 Continue",
        "101",
        "099",
        "-20",
        "2e2",
        "200\r\nStatus: 200",
    ] {
        check(&format!("Status: {said}\r\n\r\n"), status());
    }
    check("\r\n", Err(HeadError::Empty.into()));
    for length in ["x", "-1", "1, 1", "1\r\nContent-Length: 2", "99999999999999999999"] {
        check(
            &format!("Content-Length: {length}\r\n\r\n"),
            Err(HeadError::Length.into()),
        );
    }
    check("A: 1\r\n", Err(ResponseError::NoHead(0)));
    check("", Err(ResponseError::NoHead(0)));
    check(&"A: 1\r\n".repeat(129), Err(ResponseError::NoHead(0)));
    check(
        &format!("{}\r\n", "A: 1\r\n".repeat(129)),
        Err(HeadError::TooLarge.into()),
    );
    check(
        &format!("{}\r\n", "A: 1\r\n".repeat(128)),
        Ok((200, &[("a", "1"); 128])),
    );
    let long = read(
        &Method::GET,
        &[wire(6, &[b'a'; 40_000], 0), wire(6, &[b'a'; 40_000], 0)],
    );
    assert_eq!(long.error, Some(HeadError::TooLarge.into()), "no line goes on for ever");
}

#[test]
fn an_answer_is_whole_only_when_the_application_says_so() {
    let head = || wire(6, b"Content-Length: 5\r\n\r\n", 0);
    let whole = read(
        &Method::GET,
        &[
            head(),
            wire(6, b"hello", 7),
            wire(6, b"", 0),
            wire(7, b"", 0),
            end(0, 0),
        ],
    );
    assert_eq!(
        (&whole.body[..], whole.end, whole.error),
        (&b"hello"[..], Some(0), None)
    );
    let longer = read(
        &Method::GET,
        &[
            head(),
            wire(6, b"hel", 1),
            wire(6, b"lo\n\n", 0),
            wire(6, b"more", 0),
            end(7, 0),
        ],
    );
    assert_eq!(
        (&longer.body[..], longer.end),
        (&b"hello"[..], Some(7)),
        "what is too much is cut"
    );
    let shorter = read(&Method::GET, &[head(), wire(6, b"hel", 0), end(0, 0)]);
    assert_eq!(shorter.error, Some(ResponseError::Short(2)));
    let cut = read(&Method::GET, &[head(), wire(6, b"hello", 0)]);
    assert_eq!((cut.end, cut.error), (None, None), "without its end nothing is over");
    let of_head = read(&Method::HEAD, &[head(), wire(6, b"hello", 0), end(0, 0)]);
    assert_eq!((of_head.body.len(), of_head.end), (0, Some(0)));
    let bare = read(&Method::GET, &[wire(6, b"Status: 304\n\nhello", 0), end(0, 0)]);
    assert_eq!((bare.body.len(), bare.end), (0, Some(0)));
}

#[test]
fn complaints_are_told_apart_wherever_they_come() {
    let records = [
        wire(7, b"before ", 1),
        wire(6, b"A: 1\r\n", 0),
        wire(7, b"within ", 2),
        wire(6, b"\r\nbody", 0),
        wire(7, b"after", 0),
        wire(6, b" goes on", 0),
        end(255, 0),
    ];
    let outcome = read(&Method::GET, &records);
    assert_eq!(
        (&outcome.stderr[..], &outcome.body[..]),
        (&b"before within after"[..], &b"body goes on"[..])
    );
    assert_eq!((outcome.end, outcome.error), (Some(255), None));
}

#[test]
fn what_no_application_may_send_is_refused() {
    let error = |record: Vec<u8>| read(&Method::GET, &[record]).error;
    let refused = |refused: RecordError| Some(ResponseError::Record(refused));
    assert_eq!(
        error(b"HTTP/1.1 400 Bad Request\r\n".to_vec()),
        refused(RecordError::Version(b'H'))
    );
    for kind in [0, 1, 2, 4, 5, 8, 9, 10, 11, 12, 255] {
        assert_eq!(error(wire(kind, b"", 0)), refused(RecordError::Type(kind)));
    }
    assert_eq!(error(vec![1, 6, 0, 2, 0, 0, 0, 0]), refused(RecordError::Id(2)));
    assert_eq!(error(vec![1, 6, 0, 0, 0, 0, 0, 0]), refused(RecordError::Id(0)));
    assert_eq!(error(wire(3, b"1234", 0)), refused(RecordError::EndBytes(4)));
    assert_eq!(error(end(0, 1)), Some(ResponseError::CannotMultiplex));
    assert_eq!(error(end(0, 2)), Some(ResponseError::Overloaded));
    assert_eq!(error(end(0, 3)), Some(ResponseError::UnknownRole));
    assert_eq!(error(end(0, 4)), Some(ResponseError::ProtocolStatus(4)));
    let after = read(&Method::GET, &[wire(6, b"", 0), wire(6, b"A: 1", 0)]);
    assert_eq!(after.error, Some(ResponseError::AfterEnd));
    let after = read(&Method::GET, &[wire(7, b"", 0), wire(7, b"more", 0)]);
    assert_eq!(after.error, Some(ResponseError::AfterEnd));
}

/// A variable.
type Pair = (Vec<u8>, Vec<u8>);

/// The pairs of all records of parameters, and the number of records with the last, empty one.
fn pairs(bytes: &[u8]) -> (Vec<Pair>, usize) {
    let (mut pairs, mut records, mut rest) = (Vec::new(), 0, bytes);
    let mut is_over = false;
    while !rest.is_empty() {
        assert!(!is_over && rest[..4] == [1, 4, 0, 1] && rest[6..8] == [0, 0]);
        let content = usize::from(u16::from_be_bytes([rest[4], rest[5]]));
        assert!(content <= MOST_CONTENT_BYTES);
        let found = params::read(&rest[8..8 + content]).expect("whole pairs");
        pairs.extend(found.into_iter().map(|(name, value)| (name.to_vec(), value.to_vec())));
        rest = &rest[8 + content..];
        (records, is_over) = (records + 1, content == 0);
    }
    assert!(is_over);
    (pairs, records)
}

#[test]
fn no_pair_goes_over_the_end_of_a_record() {
    let mut out = BytesMut::new();
    let mut params = Params::new(&mut out);
    let long = vec![b'v'; 30_000];
    for name in [&b"A"[..], b"B", b"C", b"D"] {
        params.put(name, &long).expect("it fits");
    }
    let longest = vec![b'v'; MOST_CONTENT_BYTES - 6];
    assert_eq!(params.put(b"EE", &longest), Err(TooLong));
    params.put(b"E", &longest).expect("it just fits");
    params.put(b"", b"").expect("nothing fits");
    params.finish();
    let (pairs, records) = pairs(&out);
    assert_eq!((pairs.len(), records), (6, 5));
    assert!(pairs[..4].iter().all(|(_, value)| *value == long) && pairs[4].1 == longest);
}

#[test]
fn no_parameters_are_one_empty_record() {
    let mut out = BytesMut::new();
    Params::new(&mut out).finish();
    assert_eq!(&out[..], [1, 4, 0, 1, 0, 0, 0, 0]);
}

#[test]
fn the_beginning_of_a_request_is_that_of_the_specification() {
    for (keeps, flag) in [(true, 1), (false, 0)] {
        let mut out = BytesMut::new();
        record::put_begin(&mut out, keeps);
        record::put_end(&mut out, Kind::Stdin);
        assert_eq!(
            &out[..],
            [
                1, 1, 0, 1, 0, 8, 0, 0, 0, 1, flag, 0, 0, 0, 0, 0, 1, 5, 0, 1, 0, 0, 0, 0
            ]
        );
    }
}

#[test]
fn fields_become_variables_that_none_can_mistake() {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("user-agent", "a"),
        ("x-two", "1"),
        ("x-two", "2"),
        (COOKIE.as_str(), "a=1"),
        (COOKIE.as_str(), "b=2"),
        (AUTHORIZATION.as_str(), "Basic 1"),
        (AUTHORIZATION.as_str(), "Basic 2"),
        ("proxy", "evil.example:80"),
        ("content-length", "1"),
        ("content-type", "text/x"),
        ("host", "evil.example"),
        ("expect", "100-continue"),
        ("path", "/bin"),
        ("path-info", "/x"),
        ("request-uri", "/x"),
        ("script-name", "/x"),
        ("document_root", "/etc"),
        ("x_forwarded_for", "1.2.3.4"),
        ("x.forwarded.for", "1.2.3.4"),
        ("x~a", "1"),
    ] {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).expect("a name"),
            HeaderValue::from_static(value),
        );
    }
    let mut out = BytesMut::new();
    let mut params = Params::new(&mut out);
    params::put_fields(&mut params, &headers).expect("all fit");
    params.finish();
    let mut found: Vec<_> = pairs(&out).0;
    found.sort();
    let text = |(name, value): &Pair| format!("{}={}", name.escape_ascii(), value.escape_ascii());
    let found: Vec<String> = found.iter().map(text).collect();
    let expected = [
        "HTTP_AUTHORIZATION=Basic 1",
        "HTTP_COOKIE=a=1; b=2",
        "HTTP_USER_AGENT=a",
        "HTTP_X_TWO=1, 2",
    ];
    assert_eq!(found, expected);
}

/// Whole answers, as they may come.
fn answers() -> impl Strategy<Value = Vec<u8>> {
    let head = "(Status: [2-5][0-9][0-9]\r\n)?(X-A: [a-z]{0,9}\r?\n){1,3}(Content-Length: [0-9]{1,2}\r\n)?\r?\n";
    let record = (
        prop_oneof![5 => Just(6u8), 2 => Just(7), 1 => any::<u8>()],
        prop::collection::vec(any::<u8>(), 0..40),
        0..9u8,
    );
    let last = (0..3u32, prop_oneof![9 => Just(0u8), 1 => any::<u8>()]);
    let records = prop::collection::vec(record, 0..8);
    (any::<u8>(), head, records, last, any::<prop::sample::Index>()).prop_map(|(choice, head, records, last, cut)| {
        let (first, second) = head.as_bytes().split_at(cut.index(head.len()));
        let mut bytes = vec![choice];
        for (kind, content) in [(6, first), (6, second)]
            .into_iter()
            .filter(|(_, content)| !content.is_empty())
        {
            bytes.extend(wire(kind, content, 1));
        }
        for (kind, content, padding) in records {
            bytes.extend(wire(kind, &content, padding));
        }
        bytes.extend(end(last.0, last.1));
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..Default::default() })]

    #[test]
    fn an_answer_does_not_depend_on_how_it_arrives(answer in answers(), cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
        fuzz_fastcgi(&answer);
        let (mut broken, at) = (answer.clone(), cut.index(answer.len()));
        broken[at] = byte;
        fuzz_fastcgi(&broken);
        fuzz_fastcgi(&answer[..at]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..Default::default() })]

    #[test]
    fn a_body_comes_out_as_it_went_in(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..600), 0..20),
        padding in 0..=255u8,
        chunk in 1..200usize,
    ) {
        let mut bytes = wire(6, b"Content-Type: a/b\r\n\r\n", padding);
        for piece in &pieces {
            bytes.extend(wire(6, piece, padding));
            bytes.extend(wire(7, piece, padding / 2));
        }
        bytes.extend(end(0, 0));
        let outcome = Outcome::read(&Method::GET, BOUNDS, bytes.chunks(chunk));
        prop_assert_eq!(&outcome.body, &pieces.concat());
        prop_assert_eq!(&outcome.stderr, &pieces.concat());
        prop_assert_eq!((outcome.end, outcome.error), (Some(0), None));
    }

    #[test]
    fn parameters_are_read_as_they_were_written(sizes in prop::collection::vec((0..300usize, 0..9000usize, any::<u8>()), 0..30)) {
        let given: Vec<_> = sizes.into_iter().map(|(name, value, byte)| (vec![byte; name], vec![byte; value])).collect();
        let mut out = BytesMut::new();
        let mut params = Params::new(&mut out);
        for (name, value) in &given {
            params.put(name, value).expect("it fits");
        }
        params.finish();
        prop_assert_eq!(pairs(&out).0, given);
    }

    #[test]
    fn any_parameters_are_survived(input in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_fastcgi_params(&input);
    }
}
