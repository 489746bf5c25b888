//! Switched protocols between all versions: HTTP/1.1 `Upgrade` and extended CONNECT on either side.

use http::Method;
use sc_http::{Answer, Payload, Protocol};
use sc_site::{Disclosure, UpstreamProtocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::app::{App, Conn};
use crate::kit::{Ask, folder, proxy, run, serve, spec};
use crate::tls::h2c;

/// RFC 6455 §1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Agrees to the upgrade with a proof, then echoes.
async fn echo(mut conn: Conn, proof: fn(&str) -> String) {
    let request = conn.head().await.unwrap();
    let accept = proof(request.field("sec-websocket-key").unwrap_or_default());
    conn.write(format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {accept}\r\n\r\nhello"
    ))
    .await;
    while let Some(byte) = conn.exactly(1).await {
        let mut all = byte;
        all.extend(conn.buffered());
        conn.write(all).await;
    }
}

/// What an honest application answers; computed by its own means (`openssl`).
fn honest(key: &str) -> String {
    let script = "printf '%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11' \"$1\" | openssl dgst -sha1 -binary | openssl base64";
    let output = std::process::Command::new("sh")
        .args(["-c", script, "sh", key])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn http1() -> Ask {
    Ask::get("/chat")
        .upgrade("websocket")
        .field("upgrade", "websocket")
        .field("connection", "Upgrade")
        .field("sec-websocket-key", KEY)
        .field("sec-websocket-version", "13")
        .field("sec-websocket-protocol", "chat")
}

fn http2() -> Ask {
    Ask::new(Method::CONNECT, "/chat")
        .protocol(Protocol::Http2)
        .upgrade("websocket")
        .field("sec-websocket-version", "13")
        .field("sec-websocket-protocol", "chat")
}

async fn talk(answer: Answer, greeting: &[u8]) {
    let Payload::Tunnel(mut io) = answer.payload else {
        panic!("no tunnel: {}", answer.head.status)
    };
    let mut buffer = vec![0; greeting.len()];
    io.read_exact(&mut buffer).await.unwrap();
    assert_eq!(buffer, greeting);
    for text in ["ping", "a longer message"] {
        io.write_all(text.as_bytes()).await.unwrap();
        io.flush().await.unwrap();
        let mut buffer = vec![0; text.len()];
        io.read_exact(&mut buffer).await.unwrap();
        assert_eq!(buffer, text.as_bytes());
    }
    io.shutdown().await.unwrap();
    let mut rest = Vec::new();
    io.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}

#[test]
fn http1_to_http1() {
    run(async {
        let app = App::start(|conn| echo(conn, honest)).await;
        let (answer, notes) = http1().raw(&proxy(app.spec())).await;
        assert_eq!(answer.head.status.as_u16(), 101);
        assert_eq!(answer.head.headers["sec-websocket-accept"], ACCEPT);
        assert!(notes.upstream().is_some());
        talk(answer, b"hello").await;
        let seen = app.last();
        assert_eq!(seen.line, "GET /chat HTTP/1.1");
        assert_eq!(seen.field("upgrade"), Some("websocket"));
        assert_eq!(
            seen.field("connection").map(str::to_ascii_lowercase).as_deref(),
            Some("upgrade")
        );
        assert_eq!(
            (seen.field("sec-websocket-key"), seen.field("sec-websocket-protocol")),
            (Some(KEY), Some("chat"))
        );
    });
}

#[test]
fn http2_to_http1() {
    run(async {
        let app = App::start(|conn| echo(conn, honest)).await;
        let site = proxy(app.spec());
        let (answer, _) = http2().raw(&site).await;
        assert_eq!(answer.head.status.as_u16(), 200);
        assert!(
            !answer.head.headers.contains_key("sec-websocket-accept") && !answer.head.headers.contains_key("upgrade")
        );
        talk(answer, b"hello").await;
        let first = app.last();
        assert_eq!(first.line, "GET /chat HTTP/1.1");
        assert_eq!(first.field("sec-websocket-key").unwrap().len(), 24);
        let (_answer, _) = http2().raw(&site).await;
        assert_ne!(app.last().field("sec-websocket-key"), first.field("sec-websocket-key"));
    });
}

#[test]
fn http2_to_http1_checks_the_proof() {
    run(async {
        let app = App::start(|conn| echo(conn, |_| ACCEPT.to_owned())).await;
        let told = http2().of(&proxy(app.spec())).await;
        assert_eq!(told.status.as_u16(), 502);
        assert!(told.text().contains("Sec-WebSocket-Accept is wrong"), "{}", told.text());
    });
}

#[test]
fn http1_to_http2() {
    run(async {
        let (app, seen) = h2c().await;
        let mut upstream = app.spec();
        upstream.protocol = UpstreamProtocol::H2c;
        let site = proxy(upstream);
        let (answer, _) = http1().raw(&site).await;
        assert_eq!(answer.head.status.as_u16(), 101);
        assert_eq!(answer.head.headers["sec-websocket-accept"], ACCEPT);
        talk(answer, b"").await;
        let seen = seen.borrow();
        let exchange = seen.last().unwrap();
        assert_eq!(
            (exchange.method.as_str(), exchange.upgrade.as_deref()),
            ("CONNECT", Some("websocket"))
        );
        assert!(!exchange.headers.contains_key("sec-websocket-key"));
        assert_eq!(exchange.headers["sec-websocket-protocol"], "chat");
    });
}

#[test]
fn http2_to_http2() {
    run(async {
        let (app, _) = h2c().await;
        let mut upstream = app.spec();
        upstream.protocol = UpstreamProtocol::H2c;
        let site = proxy(upstream);
        let (answer, _) = http2().raw(&site).await;
        assert_eq!(answer.head.status.as_u16(), 200);
        talk(answer, b"").await;
    });
}

#[test]
fn a_tunnel_outlives_the_rest_of_its_connection() {
    run(async {
        let (app, _) = h2c().await;
        let mut upstream = app.spec();
        upstream.protocol = UpstreamProtocol::H2c;
        upstream.pool.idle_time = std::time::Duration::from_millis(20);
        let site = proxy(upstream);
        let (answer, _) = http2().raw(&site).await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        assert_eq!(Ask::get("/other").of(&site).await.text(), "GET /other");
        talk(answer, b"").await;
        drop(site.sites);
        site.tasks.wait().await;
    });
}

#[test]
fn a_refused_upgrade_is_an_ordinary_answer() {
    run(async {
        let app = App::echo().await;
        let site = proxy(app.spec());
        for ask in [http1(), http2()] {
            let told = ask.of(&site).await;
            assert_eq!(
                (told.status.as_u16(), told.text().as_str()),
                (200, "GET /chat HTTP/1.1")
            );
        }
    });
}

#[test]
fn an_upgrade_never_finds_a_file() {
    run(async {
        // Vite's client opens its websocket at `/`, where `index.html` is.
        let app = App::start(|conn| echo(conn, honest)).await;
        let folder = folder(&[("index.html", b"home"), ("chat", b"a file")]);
        let site = serve(vec![spec(Some(folder.path()), Some(app.spec()))], Disclosure::Developer);
        let (answer, _) = http1().raw(&site).await;
        talk(answer, b"hello").await;
        // Without an application, HTTP/1.1 ignores the wish, and extended CONNECT has no method to fall back to.
        let site = crate::kit::files(folder.path());
        assert_eq!(http1().of(&site).await.text(), "a file");
        assert_eq!(http2().of(&site).await.status.as_u16(), 405);
    });
}

#[test]
fn a_silent_tunnel_ends() {
    run(async {
        let app = App::start(|conn| echo(conn, honest)).await;
        let mut upstream = app.spec();
        upstream.timeouts.idle = std::time::Duration::from_millis(80);
        let (answer, _) = http1().raw(&proxy(upstream)).await;
        let Payload::Tunnel(mut io) = answer.payload else {
            panic!()
        };
        let mut all = Vec::new();
        let end = io.read_to_end(&mut all).await;
        assert_eq!(
            (all.as_slice(), end.unwrap_err().kind()),
            (b"hello".as_slice(), std::io::ErrorKind::TimedOut)
        );
    });
}
