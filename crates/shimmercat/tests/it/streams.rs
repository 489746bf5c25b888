//! What flows: uploads, event streams, trailers, early hints and websockets, over both versions of HTTP.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sc_testkit::program::Memory;
use sc_testkit::{H2cApp, Http2, HttpApp, Request, TempProject, eventually, socks5, tls_over, websocket};
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Message, WebSocket};

use crate::server::{PATIENCE, Server, domains};

const HOST: &str = "www.shop.example";

fn behind(app: &HttpApp) -> (TempProject, Server) {
    let project = domains(&[&format!("{HOST}: {{ port: {} }}", app.port())]);
    let server = Server::start(&project);
    (project, server)
}

fn http2(server: &Server) -> Http2 {
    Http2::over(socks5(server.proxy, HOST, 443).stream, HOST, &server.ca)
}

#[test]
fn trailers_are_passed_on() {
    let app = HttpApp::start();
    let (_project, server) = behind(&app);
    let mut one = server.http1(HOST);
    let answer = one.request(&Request::get(HOST, "/trailers").header("TE", "trailers"));
    assert_eq!(answer.text(), "chunk 0\nchunk 1\nchunk 2\n");
    assert_eq!(answer.trailers, [("x-checksum".to_owned(), "42".to_owned())]);
    let answer = http2(&server).get(&format!("https://{HOST}/trailers"), &[("te", "trailers")]);
    assert_eq!(String::from_utf8_lossy(&answer.body), "chunk 0\nchunk 1\nchunk 2\n");
    assert_eq!(
        answer
            .trailers
            .as_ref()
            .and_then(|fields| fields.get("x-checksum"))
            .map(|v| v.as_bytes()),
        Some(&b"42"[..])
    );
}

#[test]
fn trailers_of_a_request_reach_the_application() {
    let app = HttpApp::start();
    let (_project, server) = behind(&app);
    let mut one = server.http1(HOST);
    one.send_raw(
        format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n")
            .as_bytes(),
    );
    let echo = one.read_response("POST").expect("an answer").json();
    assert_eq!(
        (&echo["body"], &echo["trailers"]),
        (&"abc".into(), &serde_json::json!([["x-sum", "7"]])),
        "{echo}"
    );
}

#[test]
fn early_hints_are_passed_on_over_http1() {
    let app = HttpApp::start();
    let (_project, server) = behind(&app);
    let answer = server.http1(HOST).request(&Request::get(HOST, "/hints"));
    assert_eq!((answer.status, answer.interim.len()), (200, 1));
    let interim = &answer.interim[0];
    assert_eq!(
        (interim.status, interim.header("link")),
        (103, Some("</style.css>; rel=preload; as=style"))
    );
}

#[test]
fn continue_comes_from_the_application() {
    let app = HttpApp::start();
    let (_project, server) = behind(&app);
    let mut one = server.http1(HOST);
    one.send_raw(
        format!("POST /upload HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            .as_bytes(),
    );
    let interim = one.read_head().expect("100 before the body is sent");
    assert_eq!(interim.status, 100);
    one.send_raw(b"hello");
    assert_eq!(one.read_response("POST").expect("an answer").json()["bytes"], 5);
}

#[test]
fn events_arrive_one_by_one() {
    let app = HttpApp::start();
    let (_project, server) = behind(&app);
    let mut one = server.http1(HOST);
    let began = Instant::now();
    one.send_raw(
        format!("GET /sse?n=4&every=700 HTTP/1.1\r\nHost: {HOST}\r\nAccept-Encoding: gzip, br\r\n\r\n").as_bytes(),
    );
    one.read_until("data: event 0");
    let first = began.elapsed();
    one.read_until("data: event 2");
    let third = began.elapsed();
    assert!(
        first < Duration::from_millis(700),
        "the first event does not wait for the second: {first:?}"
    );
    assert!(third >= Duration::from_millis(1300), "{third:?}");
}

#[test]
fn a_websocket_over_http1() {
    let app = HttpApp::start();
    let (_project, server) = behind(&app);
    let stream = tls_over(socks5(server.proxy, HOST, 443).stream, HOST, &server.ca, &["http/1.1"]).expect("TLS");
    echo_over(websocket(stream, &format!("wss://{HOST}/ws")));
    let record = server.wait_event("exchange", 1);
    assert_eq!(record["status"], 101, "{record}");
    let refused = server.http1(HOST).request(&Request::get(HOST, "/ws"));
    assert_eq!(refused.status, 426, "without an upgrade it is an ordinary exchange");
}

#[test]
fn a_websocket_over_http2() {
    let app = HttpApp::start();
    let (_project, server) = behind(&app);
    let tunnel = http2(&server)
        .websocket(&format!("https://{HOST}/ws"))
        .expect("the tunnel is opened");
    echo_over(WebSocket::from_raw_socket(tunnel, Role::Client, None));
    let record = server.wait_event("exchange", 1);
    assert_eq!(
        (&record["protocol"], &record["method"]),
        (&"HTTP/2".into(), &"CONNECT".into()),
        "{record}"
    );
    let refused = http2(&server)
        .websocket(&format!("https://{HOST}/status?code=403"))
        .err();
    assert_eq!(
        refused.map(|status| status.as_u16()),
        Some(403),
        "the application's refusal is passed on"
    );
}

fn echo_over<S: Read + Write>(mut socket: WebSocket<S>) {
    let large = "x".repeat(200_000);
    for text in ["hello", "", "again", &large] {
        socket.send(Message::text(text)).expect("a message is sent");
        let answer = socket.read().expect("a message comes back");
        assert_eq!(answer.to_text().expect("text"), text);
    }
    socket
        .send(Message::binary(vec![0, 255, 7]))
        .expect("a message is sent");
    assert_eq!(
        socket.read().expect("a message comes back").into_data().as_ref(),
        [0, 255, 7]
    );
    socket.close(None).expect("it closes");
    while socket.read().is_ok() {}
}

#[test]
fn streams_of_one_connection_do_not_wait_for_each_other() {
    let app = H2cApp::start();
    let slow = HttpApp::start();
    let project = domains(&[
        &format!("{HOST}: {{ port: {} }}", slow.port()),
        &format!(
            "h2c.shop.example: {{ consultant: {{ connect-to: {}, application-protocol: h2c }} }}",
            app.address()
        ),
    ]);
    let server = Server::start(&project);
    let began = Instant::now();
    let urls: Vec<_> = (0..8)
        .map(|number| format!("https://{HOST}/slow?ms=700&n={number}"))
        .collect();
    let mut curl = server
        .curl(&urls[0])
        .args(["--parallel", "--parallel-immediate", "--http2"]);
    for url in &urls[1..] {
        curl = curl.args(["--next", "--cacert"]).arg(&server.ca).args([
            "--socks5-hostname",
            &server.proxy.to_string(),
            url,
        ]);
    }
    assert_eq!(curl.run().exit, 0);
    assert!(
        began.elapsed() < Duration::from_millis(700 * 6),
        "eight waits side by side: {:?}",
        began.elapsed()
    );
    assert_eq!(server.curl("https://h2c.shop.example/").run().status, 200);
}

/// How much a transfer may add to the peak of resident memory: windows, buffers and what the allocator keeps.
const TRANSFER_KIB: u64 = 48 * 1024;

#[expect(clippy::print_stdout, reason = "the figure is reported")]
fn check_upload(version: &str, bytes: u64) {
    let app = HttpApp::start();
    let (project, server) = behind(&app);
    let file = File::create(project.path_of("large")).expect("a file");
    file.set_len(bytes).expect("a sparse file");
    assert_eq!(
        server
            .curl(&format!("https://{HOST}/upload"))
            .args(["-d", "warm"])
            .run()
            .status,
        200
    );
    let before: Memory = server.program.memory();
    let began = Instant::now();
    let asked = server
        .curl(&format!("https://{HOST}/upload"))
        .args([version, "--max-time", "300", "-T"]);
    let answer = asked.arg(project.path_of("large")).run();
    let seconds = began.elapsed().as_secs_f64();
    assert_eq!(
        (answer.exit, answer.text()),
        (0, format!("{{\"bytes\":{bytes}}}")),
        "{}",
        answer.stderr
    );
    let after = server.program.memory();
    let grown = after.peak_kib.saturating_sub(before.peak_kib);
    println!(
        "{version}: {bytes} bytes in {seconds:.1} s, peak {} KiB, {grown} KiB more than before",
        after.peak_kib
    );
    assert!(grown < TRANSFER_KIB, "the peak grew by {grown} KiB");
}

#[test]
fn an_upload_of_a_gibibyte_over_http1_takes_constant_memory() {
    check_upload("--http1.1", 1 << 30);
}

#[test]
fn an_upload_of_a_gibibyte_over_http2_takes_constant_memory() {
    check_upload("--http2", 1 << 30);
}

#[test]
fn a_slow_reader_is_not_read_ahead_of() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let written = Arc::new(AtomicU64::new(0));
    let counted = written.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let counted = counted.clone();
            std::thread::spawn(move || pour(&mut stream, &counted));
        }
    });
    let project = domains(&[
        &format!("{HOST}: {{ port: {port} }}"),
        "other.shop.example: { root-dir: . }",
    ]);
    project.file("index.html", "other");
    let server = Server::start(&project);
    let mut one = server.http1(HOST);
    one.send_raw(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes());
    assert_eq!(one.read_head().expect("the head comes").status, 200);
    let mut before = u64::MAX;
    let taken = eventually("the application is held back", PATIENCE, || {
        // Another exchange goes on meanwhile.
        assert_eq!(server.curl("https://other.shop.example/").run().status, 200);
        let now = written.load(Ordering::SeqCst);
        let is_still = std::mem::replace(&mut before, now) == now;
        if is_still { Ok(now) } else { Err(now) }
    });
    assert!(
        taken > 0 && taken < TRANSFER_KIB * 1024 / 2,
        "{taken} bytes were taken from the application"
    );
    assert!(
        server.program.memory().peak_kib < 200 * 1024,
        "{:?}",
        server.program.memory()
    );
}

/// An application that writes as much as it can.
fn pour(stream: &mut TcpStream, written: &AtomicU64) {
    let _ = stream.read(&mut [0; 4096]);
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
    while stream.write_all(&[7; 65_536]).is_ok() {
        written.fetch_add(65_536, Ordering::SeqCst);
    }
}
