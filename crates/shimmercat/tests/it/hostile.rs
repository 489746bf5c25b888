//! Clients that mean harm or are broken, and very many of them. Nothing hangs, nothing grows without bound, and the server
//! answers afterwards; a log line of severity `error` fails each test when its server is dropped.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use sc_testkit::{Http1, HttpApp, allow_descriptors, client, eventually, socks5, tls_over};

use crate::server::{PATIENCE, Server, SiteStream, domains, static_site};

const HOST: &str = "www.shop.example";

fn assert_alive(server: &Server) {
    let answer = server.curl("https://www.shop.example/").run();
    assert_eq!(answer.status, 200, "the server still answers: {answer:?}");
}

/// What comes until the connection ends, and how long that took. A reset ends it too.
fn until_closed(stream: &mut impl Read) -> (Vec<u8>, Duration) {
    let began = Instant::now();
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => seen.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("not closed within {:?} ({error}); it said {seen:?}", began.elapsed()),
        }
    }
    (seen, began.elapsed())
}

/// Bytes without a pattern (xorshift), the same in every run.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn garbage_on_every_port_is_turned_away() {
    let project = static_site("hello");
    let server = Server::start(&project);
    let mut rubbish: Vec<Vec<u8>> = (0..=255_u8)
        .map(|byte| [&[byte][..], &noise(byte.into(), 300)].concat())
        .collect();
    rubbish.extend([
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00".to_vec(),
        b"\x16\x03\x01\xff\xff"
            .iter()
            .copied()
            .chain(noise(7, 70_000))
            .collect(),
        b"\x05\x00".to_vec(),
        b"\x05\x01\x00\x05\x01\x00\x03\x00\x00\x50".to_vec(),
        [&b"\x05\x01\x00\x05\x01\x00\x03\xff"[..], &[b'.'; 255], &[0, 80]].concat(),
        [&b"\x04\x01\x00\x50\x00\x00\x00\x01"[..], &[b'u'; 9000]].concat(),
        [&b"\x04\x01\x00\x50\x00\x00\x00\x01u\x00"[..], &[b'h'; 9000]].concat(),
        b"GET".to_vec(),
        [&b"GET /"[..], &[b'a'; 100_000]].concat(),
        b"CONNECT :0 HTTP/1.1\r\n\r\n".to_vec(),
        b"CONNECT www.shop.example:99999 HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"\n\n\n\n".to_vec(),
        vec![0; 10_000],
    ]);
    for port in [server.https, server.proxy] {
        for (number, bytes) in rubbish.iter().enumerate() {
            let mut stream = client::tcp(port);
            // The server may have closed already; that is an answer as well.
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let (_, took) = until_closed(&mut stream);
            assert!(
                took < Duration::from_secs(15),
                "number {number} at {port} is kept for {took:?}"
            );
        }
    }
    let control = server.instance["control"].as_str().expect("a path");
    for bytes in rubbish.iter().step_by(17) {
        let mut stream = std::os::unix::net::UnixStream::connect(control).expect("the control socket is open");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        until_closed(&mut stream);
    }
    server.wait_event("not_understood", 1);
    assert_alive(&server);
    assert_eq!(server.status()["errors"], 0);
}

#[test]
fn slow_first_bytes_are_not_waited_for() {
    let project = static_site("hello");
    let server = Server::start(&project);
    let beginnings: [(SocketAddr, &[u8], Duration); 8] = [
        (server.proxy, b"", Duration::from_secs(2)),
        (server.proxy, b"\x05", Duration::from_secs(2)),
        (server.proxy, b"\x05\x02\x00", Duration::from_secs(2)),
        (server.proxy, b"\x05\x01\x00\x05\x01", Duration::from_secs(2)),
        (server.proxy, b"\x04\x01\x00\x50", Duration::from_secs(2)),
        (server.proxy, b"\x16", Duration::from_secs(10)),
        (server.https, b"", Duration::from_secs(10)),
        (server.https, b"\x16\x03\x01", Duration::from_secs(10)),
    ];
    let waiting: Vec<_> = beginnings
        .into_iter()
        .map(|(to, bytes, limit)| {
            std::thread::spawn(move || {
                let mut stream = client::tcp(to);
                stream.write_all(bytes).expect("it is taken");
                (to, bytes, limit, until_closed(&mut stream).1)
            })
        })
        .collect();
    assert_alive(&server);
    for one in waiting {
        let (to, bytes, limit, took) = one.join().expect("the connection is closed");
        let least = limit - Duration::from_millis(300);
        assert!(
            took > least && took < limit + Duration::from_secs(6),
            "{bytes:?} at {to}: {took:?} instead of {limit:?}"
        );
    }
    assert_alive(&server);
}

/// A request that must not be answered: it stands behind a malformed one.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: www.shop.example\r\n\r\n";

#[test]
fn malformed_http1_gets_400_and_a_closed_connection() {
    let app = HttpApp::start();
    let project = domains(&[&format!("{HOST}: {{ port: {} }}", app.port())]);
    let server = Server::start(&project);
    let long = "a".repeat(70_000);
    let many = "x: y\r\n".repeat(5000);
    let cases = [
        (
            "CL and TE",
            "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "TE and CL",
            "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        ),
        ("bare LF everywhere", "GET / HTTP/1.1\nHost: H\n\n"),
        ("bare LF after the request line", "GET / HTTP/1.1\nHost: H\r\n\r\n"),
        ("bare LF after a field", "GET / HTTP/1.1\r\nHost: H\nX: y\r\n\r\n"),
        ("bare CR in a value", "GET / HTTP/1.1\r\nHost: H\r\nX: a\rb\r\n\r\n"),
        ("NUL in a value", "GET / HTTP/1.1\r\nHost: H\r\nX: a\0b\r\n\r\n"),
        ("obs-fold", "GET / HTTP/1.1\r\nHost: H\r\nX: a\r\n b\r\n\r\n"),
        (
            "obs-fold with a tab",
            "GET / HTTP/1.1\r\nHost: H\r\nX: a\r\n\tb\r\n\r\n",
        ),
        ("space before the first field", "GET / HTTP/1.1\r\n Host: H\r\n\r\n"),
        ("space before the colon", "GET / HTTP/1.1\r\nHost : H\r\n\r\n"),
        ("tab before the colon", "GET / HTTP/1.1\r\nHost: H\r\nX\t: y\r\n\r\n"),
        ("space in a name", "GET / HTTP/1.1\r\nHost: H\r\nX Y: z\r\n\r\n"),
        ("no name", "GET / HTTP/1.1\r\nHost: H\r\n: y\r\n\r\n"),
        ("no colon", "GET / HTTP/1.1\r\nHost: H\r\nnothing\r\n\r\n"),
        (
            "two lengths",
            "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        ),
        (
            "a list of lengths",
            "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 5, 6\r\n\r\nhello",
        ),
        (
            "a signed length",
            "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: +5\r\n\r\nhello",
        ),
        (
            "a negative length",
            "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: -1\r\n\r\n",
        ),
        (
            "a length in words",
            "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: five\r\n\r\nhello",
        ),
        (
            "a hexadecimal length",
            "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 0x5\r\n\r\nhello",
        ),
        (
            "an empty length",
            "POST / HTTP/1.1\r\nHost: H\r\nContent-Length:\r\n\r\n",
        ),
        (
            "a huge length",
            "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 99999999999999999999\r\n\r\n",
        ),
        (
            "chunked twice",
            "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "chunked not last",
            "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        ),
        (
            "identity",
            "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: identity\r\n\r\n",
        ),
        (
            "xchunked",
            "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "vertical tab in a coding",
            "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "chunked in HTTP/1.0",
            "POST / HTTP/1.0\r\nHost: H\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("no host", "GET / HTTP/1.1\r\n\r\n"),
        ("two hosts", "GET / HTTP/1.1\r\nHost: H\r\nHost: H\r\n\r\n"),
        ("a host with a path", "GET / HTTP/1.1\r\nHost: H/x\r\n\r\n"),
        ("a host with userinfo", "GET / HTTP/1.1\r\nHost: me@H\r\n\r\n"),
        ("a bad method", "G@T / HTTP/1.1\r\nHost: H\r\n\r\n"),
        ("no method", " / HTTP/1.1\r\nHost: H\r\n\r\n"),
        ("two spaces", "GET  / HTTP/1.1\r\nHost: H\r\n\r\n"),
        ("a space in the target", "GET /a b HTTP/1.1\r\nHost: H\r\n\r\n"),
        ("a space at the end", "GET / HTTP/1.1 \r\nHost: H\r\n\r\n"),
        ("no version", "GET /\r\nHost: H\r\n\r\n"),
        ("a wrong version", "GET / HTTX/1.1\r\nHost: H\r\n\r\n"),
        ("a lower-case version", "GET / http/1.1\r\nHost: H\r\n\r\n"),
    ];
    let oversized = [
        (
            "an oversized request line",
            format!("GET /{long} HTTP/1.1\r\nHost: H\r\n\r\n"),
        ),
        (
            "an oversized field",
            format!("GET / HTTP/1.1\r\nHost: H\r\nX: {long}\r\n\r\n"),
        ),
        ("too many fields", format!("GET / HTTP/1.1\r\nHost: H\r\n{many}\r\n")),
    ];
    let mut wrong = Vec::new();
    let exact = cases.map(|(what, bytes)| (what, bytes.to_owned(), &[400, 501][..]));
    let sizes = oversized.map(|(what, bytes)| (what, bytes, &[400, 414, 431][..]));
    for (what, bytes, statuses) in exact.into_iter().chain(sizes) {
        let before = app.requests();
        let mut stream = server.tls(HOST, &["http/1.1"]);
        let bytes = format!(
            "{}{SMUGGLED}",
            bytes
                .replace(": H", &format!(": {HOST}"))
                .replace("@H", &format!("@{HOST}"))
        );
        let _ = stream.write_all(bytes.as_bytes());
        let _ = stream.flush();
        let (answer, _) = until_end(&mut stream);
        let status = answer
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|code| code.parse().ok());
        let is_right = status.is_some_and(|status: u16| {
            statuses.contains(&status) && (status != 501 || what.contains("chunk") || what == "identity")
        });
        if !is_right || answer.matches("HTTP/1.1 ").count() != 1 || app.requests() != before {
            wrong.push(format!(
                "{what}: {:?}, {} requests passed on",
                answer.chars().take(120).collect::<String>(),
                app.requests() - before
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of the table:\n{}", wrong.len(), wrong.join("\n"));
    assert_alive(&server);
}

#[test]
fn a_malformed_chunk_ends_the_connection_and_the_request() {
    let app = HttpApp::start();
    let project = domains(&[&format!("{HOST}: {{ port: {} }}", app.port())]);
    let server = Server::start(&project);
    let head = format!("POST /upload HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in [
        "x\r\n",
        "-1\r\n",
        "5\nhello\r\n",
        "5\r\nhelloo\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n",
        " 5\r\nhello\r\n",
        "5 \r\nhello\r\n",
        "0x5\r\nhello\r\n",
    ] {
        let mut stream = server.tls(HOST, &["http/1.1"]);
        let _ = stream.write_all(format!("{head}{chunk}{SMUGGLED}").as_bytes());
        let _ = stream.flush();
        let (answer, _) = until_end(&mut stream);
        let seen = (answer.starts_with("HTTP/1.1 400 "), answer.matches("HTTP/1.1 ").count());
        assert_eq!(seen, (true, 1), "{chunk:?}: {answer}");
    }
    assert_alive(&server);
}

/// What a TLS stream gives until its end, as text.
fn until_end(stream: &mut SiteStream) -> (String, bool) {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (String::from_utf8_lossy(&seen).into_owned(), true),
            Ok(count) => seen.extend_from_slice(&buffer[..count]),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                panic!("the connection stays open; it said {}", String::from_utf8_lossy(&seen))
            }
            Err(_) => return (String::from_utf8_lossy(&seen).into_owned(), false),
        }
    }
}

/// What 2,000 idle TLS connections may take of memory each, in KiB; a debug build with its allocator needs about 30.
const IDLE_KIB: u64 = 96;

#[test]
#[expect(clippy::print_stdout, reason = "the figure is reported")]
fn two_thousand_idle_connections_are_cheap_and_are_given_back() {
    allow_descriptors(6000);
    let project = static_site("hello");
    let server = Server::start(&project);
    assert_alive(&server);
    let before = (
        server.program.memory().resident_kib,
        server.program.descriptors(),
        server.program.threads(),
    );
    let open = |_| tls_over(client::tcp(server.https), HOST, &server.ca, &["h2"]).expect("TLS");
    let idle: Vec<_> = (0..2000).map(open).collect();
    let full = server.program.memory().resident_kib;
    assert_alive(&server);
    let each = full.saturating_sub(before.0) / 2000;
    println!(
        "resident: {} KiB before, {full} KiB with 2000 idle TLS connections, {each} KiB each",
        before.0
    );
    assert!(each < IDLE_KIB, "{each} KiB a connection");
    assert!(
        server.program.threads() <= before.2 + 20,
        "no thread a connection: {}",
        server.program.threads()
    );
    drop(idle);
    eventually("descriptors are given back", PATIENCE, || {
        match server.program.descriptors() {
            count if count <= before.1 + 5 => Ok(()),
            count => Err(count),
        }
    });
    assert_alive(&server);
}

#[test]
fn a_hundred_and_forty_hosts_stream_over_one_proxy_port() {
    allow_descriptors(4000);
    let app = HttpApp::start();
    let project = domains(&[
        &format!("'*.hosts.example': {{ port: {} }}", app.port()),
        "www.shop.example: { root-dir: . }",
    ]);
    project.file("index.html", "hello");
    let server = Server::start(&project);
    let open = |number| {
        let host = format!("h{number}.hosts.example");
        let mut stream = server.http1(&host);
        stream.send_raw(format!("GET /sse?every=500 HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        assert_eq!(stream.read_head().map(|head| head.status), Some(200), "{host}");
        stream
    };
    let mut streams: Vec<Http1<SiteStream>> = (0..140).map(open).collect();
    for stream in &mut streams {
        stream.read_until("data: event 0");
    }
    assert_eq!(app.requests(), 140);
    for stream in &mut streams {
        stream.read_until("data: event 3");
    }
    assert_alive(&server);
    drop(streams);
    eventually(
        "the application's connections end with their clients",
        PATIENCE,
        || match server.events_named("exchange").len() {
            141.. => Ok(()),
            seen => Err(seen),
        },
    );
}

#[test]
fn a_client_that_goes_away_leaves_nothing_behind() {
    let app = HttpApp::start();
    let project = domains(&[&format!("{HOST}: {{ port: {} }}", app.port())]);
    let server = Server::start(&project);
    assert_alive(&server);
    let before = server.program.descriptors();
    for number in 0..60 {
        let mut stream = server.http1(HOST);
        let path = ["/never", "/sse?every=10", "/bytes?n=5000000", "/slow?ms=200"][number % 4];
        stream.send_raw(format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes());
        let tcp: &TcpStream = &stream.stream().sock;
        let _ = tcp.shutdown(Shutdown::Both);
    }
    socks5(server.proxy, HOST, 443);
    eventually("descriptors are given back", PATIENCE, || {
        match server.program.descriptors() {
            count if count <= before + 12 => Ok(()),
            count => Err(count),
        }
    });
    assert_alive(&server);
}
