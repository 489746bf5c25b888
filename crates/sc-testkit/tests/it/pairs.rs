//! Each pair of client and application once, with what is easily got wrong in it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, UdpSocket};
use std::os::unix::net::UnixStream;

use sc_testkit::client::tcp;
use sc_testkit::{Curl, EchoServer, H2cApp, Http1, HttpApp, Request, TempProject, UdpEcho, tls_over, websocket};

#[test]
fn http1_bodies_of_every_framing() {
    let app = HttpApp::start();
    let mut client = Http1::new(tcp(app.address()));
    let echo = client
        .request(&Request::post("a.example", "/x?y=1", "hello").header("X-Odd", "Kept As Is"))
        .json();
    assert_eq!(
        (echo["method"].as_str(), echo["target"].as_str()),
        (Some("POST"), Some("/x?y=1"))
    );
    assert_eq!(echo["body"], "hello");
    assert!(echo["headers"].to_string().contains(r#"["X-Odd","Kept As Is"]"#));
    let chunks = client.request(&Request::get("a", "/trailers?n=2"));
    assert_eq!(chunks.text(), "chunk 0\nchunk 1\n");
    assert_eq!(chunks.trailers, [("x-checksum".to_owned(), "42".to_owned())]);
    let hinted = client.request(&Request::get("a", "/hints"));
    assert_eq!((hinted.status, hinted.interim[0].status), (200, 103));
    client.send_raw(b"POST /upload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\na: b\r\n\r\n");
    assert_eq!(client.read_response("POST").expect("a response").json()["bytes"], 19);
    let head = client.request(&Request::new("HEAD", "/bytes?n=5").header("Host", "a"));
    assert_eq!((head.header("content-length"), head.body.len()), (Some("5"), 0));
    assert_eq!(client.request(&Request::get("a", "/")).json()["connection"], 1);
    assert_eq!((app.connections(), app.requests()), (1, 6));
    client.send_raw(b"GET /sse?n=2&every=1 HTTP/1.1\r\n\r\n");
    client.read_until("event 1");
    assert_eq!(client.read_until(""), "");
    assert!(client.is_closed());
}

#[test]
fn an_application_can_go_and_come_back() {
    let app = HttpApp::start();
    let address = app.address();
    let mut client = Http1::new(tcp(address));
    client.request(&Request::get("a", "/"));
    drop(app);
    assert!(client.read_response("GET").is_none());
    let app = HttpApp::start_on(address);
    assert_eq!(
        Http1::new(tcp(address))
            .request(&Request::get("a", "/status?code=404"))
            .status,
        404
    );
    assert_eq!(app.requests(), 1);
}

#[test]
fn unix_sockets_and_tls() {
    let project = TempProject::new();
    let app = HttpApp::start_unix(&project.path_of("app.sock"));
    let stream = UnixStream::connect(project.path_of("app.sock")).expect("the socket is there");
    assert_eq!(Http1::new(stream).request(&Request::get("a", "/")).status, 200);
    drop(app);

    let app = HttpApp::start_tls(&["app.example"]);
    project.file("app.pem", app.certificate_pem());
    let pem = project.path_of("app.pem");
    let stream = tls_over(tcp(app.address()), "app.example", &pem, &["http/1.1"]).expect("a handshake");
    assert_eq!(
        Http1::new(stream).request(&Request::get("app.example", "/")).status,
        200
    );
    let refused = tls_over(tcp(app.address()), "other.example", &pem, &[])
        .map(|_| ())
        .expect_err("a refusal");
    assert!(refused.contains("not valid for name"), "{refused}");
}

#[test]
fn http2_by_prior_knowledge_with_curl() {
    let app = H2cApp::start();
    let url = format!("http://127.0.0.1:{}/hints?a=b", app.port());
    let answer = Curl::new(&url)
        .args(["--http2-prior-knowledge", "--data", "hello"])
        .run();
    assert_eq!(
        (answer.status, answer.version.as_str(), answer.text().as_str()),
        (200, "2", "hello"),
        "{answer:?}"
    );
    assert!(
        answer
            .header("x-asked")
            .is_some_and(|asked| asked.starts_with("POST ") && asked.ends_with("/hints?a=b"))
    );
    assert!(answer.heads.starts_with("HTTP/2 103"), "{}", answer.heads);
}

#[test]
fn curl_failures_are_answers() {
    let answer = Curl::new(&format!("http://127.0.0.1:{}/", sc_testkit::free_port())).run();
    assert_eq!((answer.exit, answer.status), (7, 0));
    let app = HttpApp::start();
    let answer = Curl::new(&format!("http://127.0.0.1:{}/close-early", app.port())).run();
    assert_eq!(
        (answer.exit, answer.status, answer.text().as_str()),
        (18, 200, "only this")
    );
}

#[test]
fn websockets_and_echoes() {
    let app = HttpApp::start();
    let mut socket = websocket(tcp(app.address()), "ws://a.example/ws");
    socket.send("hello".into()).expect("a message is sent");
    assert_eq!(socket.read().expect("a message").to_string(), "hello");

    let echo = EchoServer::start();
    let mut stream = tcp(echo.address());
    stream.write_all(b"there and back").expect("bytes are sent");
    stream.shutdown(Shutdown::Write).expect("one side can be closed");
    let mut back = String::new();
    stream.read_to_string(&mut back).expect("bytes until the end");
    assert_eq!((back.as_str(), echo.connections()), ("there and back", 1));

    let echo = UdpEcho::start();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.send_to(b"ping", echo.address()).expect("a datagram is sent");
    let mut buffer = [0; 16];
    assert_eq!(socket.recv(&mut buffer).expect("a datagram"), 4);
}
