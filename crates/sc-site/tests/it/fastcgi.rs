//! A FastCGI application that behaves as badly as it likes: records written by hand, on a unix socket.
//!
//! What a real one does is in `php.rs`.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::Frame;
use sc_http::{Body, Fault, Protocol};
use sc_net::UpstreamAddr;
use sc_site::{Disclosure, UpstreamProtocol, UpstreamSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::kit::{Ask, NAME, Served, Told, folder, run, serve, spec};

const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;

/// What an application was told.
#[derive(Clone, Debug, Default)]
struct Called {
    params: Vec<(String, String)>,
    stdin: Vec<u8>,
    keeps: bool,
}

/// A connection to the application.
struct Conn {
    io: UnixStream,
    number: usize,
}

impl Conn {
    async fn record(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut header = [0; 8];
        self.io.read_exact(&mut header).await.ok()?;
        assert_eq!(
            (header[0], header[2], header[3]),
            (1, 0, 1),
            "version and id of {header:?}"
        );
        let mut content = vec![0; usize::from(u16::from_be_bytes([header[4], header[5]])) + usize::from(header[6])];
        self.io.read_exact(&mut content).await.ok()?;
        content.truncate(content.len() - usize::from(header[6]));
        Some((header[1], content))
    }

    /// Reads the beginning of a request and its variables.
    async fn called(&mut self) -> Option<Called> {
        let (kind, content) = self.record().await?;
        assert_eq!((kind, &content[..2]), (1, &[0, 1][..]), "the role of a responder");
        let mut called = Called {
            keeps: content[2] == 1,
            ..Called::default()
        };
        loop {
            let (kind, content) = self.record().await?;
            assert_eq!(kind, 4);
            if content.is_empty() {
                return Some(called);
            }
            let mut rest = &content[..];
            while !rest.is_empty() {
                let (name, value) = (length(&mut rest), length(&mut rest));
                let (pair, after) = rest.split_at(name + value);
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                called.params.push((text(&pair[..name]), text(&pair[name..])));
                rest = after;
            }
        }
    }

    /// Reads a whole request.
    async fn whole(&mut self) -> Option<Called> {
        let mut called = self.called().await?;
        loop {
            match self.record().await? {
                (STDIN, content) if content.is_empty() => return Some(called),
                (STDIN, content) => called.stdin.extend(content),
                other => panic!("{other:?}"),
            }
        }
    }

    async fn send(&mut self, kind: u8, content: &[u8]) {
        let bytes = u16::try_from(content.len()).unwrap().to_be_bytes();
        let mut record = vec![1, kind, 0, 1, bytes[0], bytes[1], 3, 0];
        record.extend_from_slice(content);
        record.extend([0; 3]);
        let _ = self.io.write_all(&record).await;
    }

    async fn end(&mut self, protocol_status: u8) {
        self.send(3, &[0, 0, 0, 0, protocol_status, 0, 0, 0]).await;
    }

    async fn answer(&mut self, body: &str) {
        self.send(STDOUT, format!("Content-Type: text/plain\r\n\r\n{body}").as_bytes())
            .await;
        self.end(0).await;
    }
}

fn length(rest: &mut &[u8]) -> usize {
    let first = usize::from(rest[0]);
    if first < 128 {
        *rest = &rest[1..];
        return first;
    }
    let long = u32::from_be_bytes([rest[0] & 0x7f, rest[1], rest[2], rest[3]]);
    *rest = &rest[4..];
    usize::try_from(long).unwrap()
}

/// A running application.
struct App {
    folder: tempfile::TempDir,
    connections: Rc<Cell<usize>>,
    accepting: JoinHandle<()>,
}

impl App {
    fn start<F: Future<Output = ()> + 'static>(script: impl Fn(Conn) -> F + 'static) -> App {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let connections = Rc::new(Cell::new(0));
        let count = connections.clone();
        let accepting = tokio::task::spawn_local(async move {
            while let Ok((io, _)) = listener.accept().await {
                count.set(count.get() + 1);
                let number = count.get();
                tokio::task::spawn_local(script(Conn { io, number }));
            }
        });
        App {
            folder,
            connections,
            accepting,
        }
    }

    fn spec(&self) -> UpstreamSpec {
        fastcgi(&self.folder.path().join("socket"))
    }

    fn served(&self) -> Served {
        serve(vec![spec(None, Some(self.spec()))], Disclosure::Developer)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn fastcgi(socket: &Path) -> UpstreamSpec {
    let mut upstream = UpstreamSpec::new(UpstreamAddr::Unix(socket.to_owned()));
    upstream.protocol = UpstreamProtocol::FastCgi;
    upstream
}

/// An application that answers each request with the variables it got, one a line, and `stdin`.
fn telling() -> App {
    App::start(async |mut conn| {
        while let Some(called) = conn.whole().await {
            let mut lines: Vec<_> = called
                .params
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            lines.sort();
            let stdin = called.stdin.get(..called.stdin.len().min(100)).unwrap_or_default();
            lines.push(format!("stdin={}", String::from_utf8_lossy(stdin)));
            lines.push(format!("stdin-bytes={}", called.stdin.len()));
            lines.push(format!("connection={} {}", conn.number, called.keeps));
            conn.answer(&lines.join("\n")).await;
            if !called.keeps {
                return;
            }
        }
    })
}

fn line<'a>(told: &'a str, name: &str) -> Option<&'a str> {
    told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

/// What a request comes to when the application does this once it has read it.
async fn rude<F: Future<Output = ()> + 'static>(ask: Ask, script: impl Fn(Conn, Called) -> F + 'static) -> Told {
    let script = Rc::new(script);
    let app = App::start(move |mut conn| {
        let script = script.clone();
        async move {
            if let Some(called) = conn.whole().await {
                script(conn, called).await;
            }
        }
    });
    ask.of(&app.served()).await
}

#[test]
fn the_variables_are_those_of_cgi_and_no_client_sets_ours() {
    run(async {
        let app = telling();
        let mut upstream = app.spec();
        upstream.fastcgi.variables = vec![("APP_ENV".to_owned(), "test".to_owned())];
        let served = serve(vec![spec(None, Some(upstream))], Disclosure::Developer);
        let ask = Ask::post("/a/b%20c?x=1&y=%2F", "hello")
            .field("content-type", "text/x")
            .field("content-length", "5")
            .field("proxy", "evil.example")
            .field("path-info", "/etc")
            .field("x_real_ip", "6.6.6.6")
            .field("x-forwarded-for", "6.6.6.6")
            .field("cookie", "a=1")
            .host("www.shop.example:8443")
            .protocol(Protocol::Http2);
        let told = ask.of(&served).await;
        assert_eq!(
            (told.status, told.field("content-type")),
            (StatusCode::OK, "text/plain")
        );
        let text = told.text();
        for (name, value) in [
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("REQUEST_METHOD", "POST"),
            ("REQUEST_URI", "/a/b%20c?x=1&y=%2F"),
            ("QUERY_STRING", "x=1&y=%2F"),
            ("SCRIPT_NAME", ""),
            ("PATH_INFO", "/a/b c"),
            ("CONTENT_LENGTH", "5"),
            ("CONTENT_TYPE", "text/x"),
            ("REMOTE_ADDR", "192.0.2.7"),
            ("REMOTE_PORT", "4711"),
            ("SERVER_ADDR", "192.0.2.1"),
            ("SERVER_NAME", NAME),
            ("SERVER_PORT", "8443"),
            ("HTTPS", "on"),
            ("HTTP_HOST", "www.shop.example:8443"),
            ("HTTP_COOKIE", "a=1"),
            ("HTTP_X_FORWARDED_FOR", "192.0.2.7"),
            ("APP_ENV", "test"),
            ("stdin", "hello"),
        ] {
            assert_eq!(line(&text, name), Some(value), "{name} in:\n{text}");
        }
        for name in [
            "HTTP_PROXY",
            "HTTP_PATH_INFO",
            "HTTP_X_REAL_IP",
            "HTTP_CONTENT_LENGTH",
            "SCRIPT_FILENAME",
            "DOCUMENT_ROOT",
        ] {
            assert_eq!(line(&text, name), None, "{text}");
        }
    });
}

#[test]
fn a_program_elsewhere_is_named_as_it_is_called_there() {
    run(async {
        let app = telling();
        let site = folder(&[("index.php", b""), ("sub/x.php", b"")]);
        let mut upstream = app.spec();
        upstream.fastcgi.document_root = Some("/var/www/html/".into());
        let told = |served: Served, path: &'static str| async move { Ask::get(path).of(&served).await.text() };
        let without_folder = serve(vec![spec(None, Some(upstream.clone()))], Disclosure::Developer);
        let text = told(without_folder, "/sub/x.php/more").await;
        assert_eq!(line(&text, "SCRIPT_FILENAME"), Some("/var/www/html/index.php"));
        assert_eq!(
            (line(&text, "SCRIPT_NAME"), line(&text, "PATH_INFO")),
            (Some("/index.php"), None)
        );
        let with_folder = serve(vec![spec(Some(site.path()), Some(upstream))], Disclosure::Developer);
        let text = told(with_folder, "/sub/x.php/more").await;
        assert_eq!(line(&text, "SCRIPT_FILENAME"), Some("/var/www/html/sub/x.php"));
        assert_eq!(line(&text, "DOCUMENT_ROOT"), Some("/var/www/html"));
        assert_eq!(
            (line(&text, "SCRIPT_NAME"), line(&text, "PATH_INFO")),
            (Some("/sub/x.php"), Some("/more"))
        );
    });
}

#[test]
fn connections_are_kept_only_when_that_was_asked_for() {
    run(async {
        for (is_kept, connections) in [(false, 3), (true, 1)] {
            let app = telling();
            let mut upstream = app.spec();
            upstream.fastcgi.is_kept = is_kept;
            let served = serve(vec![spec(None, Some(upstream))], Disclosure::Developer);
            for ask in [Ask::get("/"), Ask::head("/"), Ask::post("/", "x")] {
                let told = ask.of(&served).await;
                assert_eq!((told.status, told.fault), (StatusCode::OK, None));
            }
            assert_eq!(app.connections.get(), connections, "kept: {is_kept}");
        }
    });
}

#[test]
fn a_kept_connection_that_was_closed_meanwhile_costs_nothing() {
    run(async {
        let app = App::start(async |mut conn| {
            if conn.whole().await.is_some() {
                conn.answer(&conn.number.to_string()).await;
            }
            // Closed, though it was asked to stay; a second request may have been sent already.
        });
        let mut upstream = app.spec();
        upstream.fastcgi.is_kept = true;
        let served = serve(vec![spec(None, Some(upstream))], Disclosure::Developer);
        for number in ["1", "2", "3"] {
            assert_eq!(Ask::get("/").of(&served).await.text(), number);
        }
    });
}

#[test]
fn an_answer_without_its_end_is_a_fault() {
    run(async {
        let head = b"Content-Type: text/plain\r\n\r\n";
        let told = rude(Ask::get("/"), async |mut conn, _| {
            conn.send(STDOUT, head).await;
            conn.send(STDOUT, b"half").await;
        });
        let told = told.await;
        assert_eq!((told.status, &told.body[..]), (StatusCode::OK, &b"half"[..]));
        assert!(told.fault.unwrap_or_default().contains("closed in the middle"));
        let told = rude(Ask::get("/"), async |mut conn, _| {
            conn.send(STDOUT, b"Content-Ty").await
        })
        .await;
        assert_eq!(told.status, StatusCode::BAD_GATEWAY);
        let told = rude(Ask::get("/"), async |mut conn, _| {
            conn.send(STDOUT, b"Content-Length: 10\r\n\r\nhalf").await;
            conn.end(0).await;
        });
        // Before its head has left, a short answer is a page; afterwards it is cut.
        let told = told.await;
        let fault = told.fault.clone().unwrap_or_default();
        let is_page = told.status == StatusCode::BAD_GATEWAY && told.text().contains("6 bytes shorter");
        assert!(is_page || fault.contains("6 bytes shorter"), "{} {fault}", told.status);
        let told = rude(Ask::get("/"), async |_, _| {}).await;
        assert_eq!(told.status, StatusCode::BAD_GATEWAY);
        let told = rude(Ask::get("/"), async |mut conn, _| {
            let _ = conn.io.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        });
        let told = told.await;
        assert_eq!(told.status, StatusCode::BAD_GATEWAY);
        assert!(told.text().contains("this is not FastCGI"), "{}", told.text());
    });
}

#[test]
fn an_application_that_is_full_is_told_apart() {
    run(async {
        let told = rude(Ask::get("/"), async |mut conn, _| conn.end(2).await).await;
        assert_eq!(told.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(
            told.has("retry-after") && told.text().contains("FCGI_OVERLOADED"),
            "{}",
            told.text()
        );
        let told = rude(Ask::get("/"), async |mut conn, _| conn.end(3).await).await;
        assert_eq!(told.status, StatusCode::BAD_GATEWAY);
    });
}

#[test]
fn a_full_queue_of_connections_is_busy_and_not_down() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};
    let folder = tempfile::tempdir().unwrap();
    let place = SocketAddrUnix::new(folder.path().join("socket")).unwrap();
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let open = || socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
    let listener = open();
    bind(&listener, &place).unwrap();
    listen(&listener, 1).unwrap();
    let mut waiting = Vec::new();
    loop {
        waiting.push(open());
        if connect(waiting.last().unwrap(), &place).is_err() {
            break;
        }
    }
    run(async {
        let upstream = fastcgi(&folder.path().join("socket"));
        let served = serve(vec![spec(None, Some(upstream))], Disclosure::Developer);
        let told = Ask::get("/").of(&served).await;
        assert_eq!(
            (told.status, told.has("retry-after")),
            (StatusCode::SERVICE_UNAVAILABLE, true)
        );
        assert!(told.text().contains("queue of connections is full"), "{}", told.text());
    });
}

#[test]
fn a_flood_of_complaints_does_not_hold_the_answer_up() {
    run(async {
        let told = rude(Ask::get("/"), async |mut conn, _| {
            for _ in 0..200 {
                conn.send(STDERR, &[b'x'; 60_000]).await;
            }
            conn.send(STDOUT, b"A: 1\r\n\r\nfine").await;
            conn.send(STDERR, b"more\n").await;
            conn.send(STDOUT, b" all the same").await;
            conn.end(0).await;
        });
        let told = told.await;
        assert_eq!((told.text(), told.fault), ("fine all the same".to_owned(), None));
    });
}

/// A body of this many pieces of 64 KiB, with or without its length told.
fn upload(pieces: usize, has_length: bool) -> Body {
    struct Pieces(usize, bool);
    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = Fault;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, Fault>>> {
            if self.0 == 0 {
                return std::task::Poll::Ready(None);
            }
            self.0 -= 1;
            std::task::Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'u'; 64 << 10])))))
        }
        fn size_hint(&self) -> http_body::SizeHint {
            if self.1 {
                http_body::SizeHint::with_exact((self.0 * (64 << 10)) as u64)
            } else {
                Default::default()
            }
        }
    }
    Body::stream(Pieces(pieces, has_length))
}

#[test]
fn an_application_that_answers_before_it_reads_meets_no_deadlock() {
    run(async {
        // Writes 16 MiB before it reads a byte of the 16 MiB that are sent: more than all sockets and buffers hold.
        let app = App::start(async |mut conn| {
            conn.called().await.unwrap();
            conn.send(STDOUT, b"Content-Type: text/plain\r\n\r\n").await;
            for _ in 0..512 {
                conn.send(STDOUT, &[b'd'; 32 << 10]).await;
            }
            let mut read = 0;
            while let Some((STDIN, content)) = conn.record().await {
                read += content.len();
                if content.is_empty() {
                    break;
                }
            }
            conn.send(STDOUT, format!(" {read}").as_bytes()).await;
            conn.end(0).await;
        });
        let told = Ask::new(Method::POST, "/")
            .body(upload(256, true))
            .of(&app.served())
            .await;
        assert_eq!((told.fault.as_deref(), told.body.len()), (None, (16 << 20) + 9));
        assert!(told.body.ends_with(b"d 16777216"));
    });
}

#[test]
fn an_upload_that_nobody_reads_does_not_hold_the_answer_up() {
    run(async {
        let app = App::start(async |mut conn| {
            conn.called().await.unwrap();
            conn.answer("no, thank you").await;
            // Keeps the connection open without reading.
            std::future::pending::<()>().await;
        });
        let told = Ask::new(Method::POST, "/")
            .body(upload(256, true))
            .of(&app.served())
            .await;
        assert_eq!((told.text(), told.fault), ("no, thank you".to_owned(), None));
    });
}

#[test]
fn uploads_of_unknown_length_are_kept_when_they_are_short() {
    run(async {
        let app = telling();
        let served = app.served();
        let short = Ask::new(Method::POST, "/").body(upload(16, false)).of(&served).await;
        for name in ["CONTENT_LENGTH", "stdin-bytes"] {
            assert_eq!(line(&short.text(), name), Some("1048576"));
        }
        let long = Ask::new(Method::POST, "/").body(upload(17, false)).of(&served).await;
        assert_eq!(long.status, StatusCode::LENGTH_REQUIRED);
        let empty = Ask::new(Method::POST, "/").body(upload(0, false)).of(&served).await;
        assert_eq!(line(&empty.text(), "CONTENT_LENGTH"), Some("0"));
        assert_eq!(app.connections.get(), 2, "the application never heard of the long one");
    });
}

#[test]
fn tunnels_are_refused_and_upgrades_not_passed_on() {
    run(async {
        let app = telling();
        let served = app.served();
        let upgrade = Ask::get("/").upgrade("websocket").of(&served).await;
        assert_eq!(line(&upgrade.text(), "HTTP_UPGRADE"), None);
        let tunnel = Ask::new(Method::CONNECT, "/").upgrade("websocket").of(&served).await;
        assert_eq!(tunnel.status, StatusCode::NOT_IMPLEMENTED);
        let astray = Ask::get("/a/%2e%2e/b").of(&served).await;
        assert_eq!(astray.status, StatusCode::BAD_REQUEST);
    });
}

#[test]
fn a_client_that_leaves_closes_the_connection() {
    run(async {
        let (gone, is_gone) = tokio::sync::oneshot::channel();
        let gone = RefCell::new(Some(gone));
        let app = App::start(move |mut conn| {
            let gone = gone.borrow_mut().take();
            async move {
                conn.whole().await.unwrap();
                conn.send(STDOUT, b"A: 1\r\n\r\nfirst").await;
                let nothing = conn.record().await;
                gone.unwrap().send(nothing.is_none()).unwrap();
            }
        });
        let served = app.served();
        let (answer, _) = Ask::get("/").raw(&served).await;
        drop(answer);
        assert!(is_gone.await.unwrap(), "the application sees the end of the connection");
    });
}

#[test]
fn silence_has_an_end() {
    run(async {
        let app = App::start(async |mut conn| {
            conn.whole().await.unwrap();
            conn.send(STDERR, b"thinking\n").await;
            std::future::pending::<()>().await;
        });
        let mut upstream = app.spec();
        upstream.timeouts.first_byte = Duration::from_millis(50);
        let served = serve(vec![spec(None, Some(upstream))], Disclosure::Developer);
        let told = Ask::get("/").of(&served).await;
        assert_eq!(told.status, StatusCode::GATEWAY_TIMEOUT);
    });
}
