//! Applications over HTTP/1.1: what they get to see, what comes back, reuse, retries, limits.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body::Frame;
use sc_http::{Body, Fault, Payload};
use sc_net::{ClientAddr, UpstreamAddr};
use sc_site::{Disclosure, Handler};

use crate::app::App;
use crate::kit::{Ask, folder, proxy, read, run, serve, spec};

#[test]
fn the_application_sees_the_request_and_what_we_saw_of_the_client() {
    run(async {
        let app = App::echo().await;
        let site = proxy(app.spec());
        let told = Ask::post("/a%2Fb?x=%20&y", "hello")
            .field("accept", "text/plain")
            .field("cookie", "a=1")
            .field("x-forwarded-for", "6.6.6.6")
            .field("x_forwarded_for", "6.6.6.6")
            .field("x-real-ip", "6.6.6.6")
            .field("forwarded", "for=6.6.6.6")
            .field("x-forwarded-proto", "http")
            .field("proxy", "http://evil.example")
            .field("proxy-authorization", "Basic x")
            .field("connection", "keep-alive, x-private")
            .field("x-private", "1")
            .field("keep-alive", "timeout=5")
            .field("te", "trailers, gzip")
            .of(&site)
            .await;
        assert_eq!(
            (told.status.as_u16(), told.text().as_str()),
            (200, "POST /a%2Fb?x=%20&y HTTP/1.1")
        );
        let seen = app.last();
        assert_eq!(seen.body, b"hello");
        let check = |name: &str, expected: Option<&str>| assert_eq!(seen.field(name), expected, "{name} in {seen:?}");
        check("host", Some("www.shop.example"));
        check("content-length", Some("5"));
        check("accept", Some("text/plain"));
        check("cookie", Some("a=1"));
        check("x-forwarded-for", Some("192.0.2.7"));
        check("x-forwarded-proto", Some("https"));
        check("x-forwarded-host", Some("www.shop.example"));
        check("x-forwarded-port", Some("443"));
        check("forwarded", Some("for=192.0.2.7;proto=https;host=www.shop.example"));
        check("shimmercat-loop", Some("test-instance"));
        for gone in [
            "x-real-ip",
            "x_forwarded_for",
            "proxy",
            "proxy-authorization",
            "x-private",
            "keep-alive",
            "via",
        ] {
            check(gone, None);
        }
        assert_eq!(told.notes.handler(), Handler::Proxy);
        assert_eq!(told.notes.upstream().as_deref(), Some(app.at.to_string().as_str()));
        assert!(told.notes.first_byte().is_some());
        Ask::get("/")
            .host("www.shop.example:4043")
            .client(ClientAddr::unix(None))
            .of(&site)
            .await;
        let seen = app.last();
        assert_eq!(
            (seen.field("host"), seen.field("x-forwarded-port")),
            (Some("www.shop.example:4043"), Some("4043"))
        );
        assert!(seen.field("forwarded").unwrap().starts_with("for=unknown"));
    });
}

#[test]
fn the_answer_comes_back_as_it_was() {
    run(async {
        let app = App::start(|mut conn| async move {
            while conn.request().await.is_some() {
                conn.write(
                    "HTTP/1.1 302 Moved\r\nlocation: http://elsewhere.example/\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\
                     server: app/1\r\ndate: Mon, 01 Jan 2001 00:00:00 GMT\r\nconnection: x-hop\r\nx-hop: 1\r\n\
                     keep-alive: timeout=5\r\ncontent-length: 2\r\n\r\nhi",
                )
                .await;
            }
        })
        .await;
        let told = Ask::get("/").of(&proxy(app.spec())).await;
        assert_eq!((told.status.as_u16(), told.text().as_str()), (302, "hi"));
        assert_eq!(told.field("location"), "http://elsewhere.example/");
        assert_eq!(told.headers.get_all("set-cookie").iter().count(), 2);
        assert_eq!(
            (told.field("server"), told.field("date")),
            ("app/1", "Mon, 01 Jan 2001 00:00:00 GMT")
        );
        assert!(!told.has("x-hop") && !told.has("connection") && !told.has("keep-alive"));
    });
}

#[test]
fn one_connection_carries_many_exchanges() {
    run(async {
        let app = App::echo().await;
        let site = proxy(app.spec());
        for n in 0..10 {
            let told = Ask::get(&format!("/{n}")).of(&site).await;
            assert_eq!(told.text(), format!("GET /{n} HTTP/1.1"));
            assert_eq!(told.notes.is_reused(), n > 0);
        }
        let told = Ask::head("/").of(&site).await;
        assert_eq!((told.field("content-length"), told.body.len()), ("1000", 0));
        Ask::post("/", "x").of(&site).await;
        assert_eq!(app.connections.get(), 1);
    });
}

#[test]
fn resting_connections_are_closed_in_time_and_leave_no_task() {
    run(async {
        let (closed, mut was_closed) = tokio::sync::mpsc::unbounded_channel();
        let app = App::start(move |mut conn| {
            let closed = closed.clone();
            async move {
                conn.request().await.unwrap();
                conn.ok("x").await;
                conn.closed().await;
                closed.send(()).unwrap();
            }
        })
        .await;
        let mut upstream = app.spec();
        upstream.pool.idle_time = Duration::from_millis(30);
        let site = proxy(upstream);
        Ask::get("/").of(&site).await;
        was_closed.recv().await.unwrap();
        site.tasks.wait().await;
    });
}

#[test]
fn unix_sockets_and_localhost_are_reached() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("app.sock");
        let app = App::start_unix(&path, |mut conn| async move {
            while let Some(request) = conn.request().await {
                conn.ok(&request.line).await;
            }
        });
        assert_eq!(Ask::get("/u").of(&proxy(app.spec())).await.text(), "GET /u HTTP/1.1");
        // Development servers bind to one of the two loopbacks; the name reaches either.
        for bind in ["127.0.0.1:0", "[::1]:0"] {
            let app = App::start_at(bind.parse().unwrap(), |mut conn| async move {
                conn.request().await.unwrap();
                conn.ok("here").await;
            })
            .await;
            let UpstreamAddr::Tcp(at) = app.at else { panic!() };
            let name = UpstreamAddr::Name {
                host: "localhost".into(),
                port: at.port(),
            };
            assert_eq!(
                Ask::get("/").of(&proxy(sc_site::UpstreamSpec::new(name))).await.text(),
                "here",
                "{bind}"
            );
        }
    });
}

#[test]
fn an_application_is_found_when_it_comes_up_on_the_other_loopback() {
    run(async {
        let app = async |bind: String| {
            App::start_at(bind.parse().unwrap(), |mut conn| async move {
                conn.request().await.unwrap();
                conn.ok("here").await;
            })
            .await
        };
        let mut current = app("127.0.0.1:0".to_owned()).await;
        let UpstreamAddr::Tcp(at) = current.at else { panic!() };
        let site = proxy(sc_site::UpstreamSpec::new(UpstreamAddr::Name {
            host: "localhost".into(),
            port: at.port(),
        }));
        for ip in ["[::1]", "127.0.0.1", "[::1]"] {
            for _ in 0..2 {
                assert_eq!(Ask::get("/").of(&site).await.text(), "here", "before {ip}");
            }
            drop(current);
            // Its listener is closed by its task.
            tokio::task::yield_now().await;
            current = app(format!("{ip}:{}", at.port())).await;
        }
        assert_eq!(Ask::get("/").of(&site).await.text(), "here");
    });
}

/// A body of many pieces that counts what was taken from it.
struct Counted {
    left: u64,
    taken: Rc<Cell<u64>>,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = self.left.min(16 << 10);
        self.left -= piece;
        self.taken.set(self.taken.get() + piece);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; piece as usize])))))
    }
}

fn counted(bytes: u64) -> (Body, Rc<Cell<u64>>) {
    let taken = Rc::new(Cell::new(0));
    (
        Body::stream(Counted {
            left: bytes,
            taken: taken.clone(),
        }),
        taken,
    )
}

#[test]
fn an_upload_streams_in_bounded_memory() {
    run(async {
        const BYTES: u64 = 64 << 20;
        let (go, may_go) = tokio::sync::oneshot::channel::<()>();
        let may_go = Rc::new(std::cell::RefCell::new(Some(may_go)));
        let app = App::start(move |mut conn| {
            let may_go = may_go.borrow_mut().take();
            async move {
                conn.head().await.unwrap();
                may_go.unwrap().await.unwrap();
                let (mut got, mut tail) = (0u64, Vec::new());
                while !tail.ends_with(b"0\r\n\r\n") {
                    tail = conn.exactly(1).await.unwrap();
                    let rest = conn.buffered();
                    got += rest.iter().filter(|b| **b == b'x').count() as u64 + u64::from(tail == b"x");
                    tail.extend_from_slice(&rest);
                }
                conn.ok(&got.to_string()).await;
            }
        })
        .await;
        let site = proxy(app.spec());
        let (body, taken) = counted(BYTES);
        let asking = Ask::post("/upload", "").body(body).of(&site);
        tokio::pin!(asking);
        // While the application does not read, no more is taken from the client than sockets hold.
        let mut last = u64::MAX;
        while last != taken.get() || last == 0 {
            last = taken.get();
            tokio::select! {
                _ = &mut asking => panic!("answered too early"),
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
        }
        assert!(last < 16 << 20, "{last} bytes were taken");
        go.send(()).unwrap();
        let told = asking.await;
        assert_eq!((told.status.as_u16(), told.text()), (200, BYTES.to_string()));
    });
}

#[test]
fn an_early_answer_ends_the_upload() {
    run(async {
        let app = App::start(|mut conn| async move {
            conn.head().await.unwrap();
            conn.write("HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbig")
                .await;
            conn.closed().await;
        })
        .await;
        let (body, taken) = counted(1 << 30);
        let told = Ask::post("/upload", "").body(body).of(&proxy(app.spec())).await;
        assert_eq!((told.status.as_u16(), told.text().as_str()), (413, "big"));
        assert!(taken.get() < 1 << 29, "{} bytes were taken", taken.get());
    });
}

#[test]
fn a_slow_client_holds_the_application_back() {
    run(async {
        let sent = Rc::new(Cell::new(0u64));
        let count = sent.clone();
        let app = App::start(move |mut conn| {
            let count = count.clone();
            async move {
                conn.request().await.unwrap();
                conn.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 64 << 20))
                    .await;
                for _ in 0..64 << 4 {
                    conn.write(vec![b'y'; 64 << 10]).await;
                    count.set(count.get() + (64 << 10));
                }
            }
        })
        .await;
        let (answer, _) = Ask::get("/").raw(&proxy(app.spec())).await;
        let mut last = u64::MAX;
        while last != sent.get() {
            last = sent.get();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(last < 16 << 20, "{last} bytes were sent ahead");
        let Payload::Body(body) = answer.payload else { panic!() };
        let (bytes, _, fault) = read(body).await;
        assert_eq!((bytes.len(), fault), (64 << 20, None));
    });
}

#[test]
fn trailers_and_early_hints_are_passed_on() {
    run(async {
        let app = App::start(|mut conn| async move {
            conn.request().await.unwrap();
            conn.write("HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n")
                .await;
            conn.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n")
                .await;
            conn.write("3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n").await;
            conn.closed().await;
        })
        .await;
        let ask = Ask::get("/").field("te", "trailers");
        let interim = ask.exchange.interim.clone();
        let told = ask.of(&proxy(app.spec())).await;
        let hints = interim.take().expect("a 103");
        assert_eq!(
            (hints.status.as_u16(), hints.headers["link"].to_str().unwrap()),
            (103, "</a.css>; rel=preload")
        );
        assert_eq!((told.status.as_u16(), told.text().as_str()), (200, "abc"));
        assert_eq!(told.trailers.unwrap()["x-sum"], "7");
    });
}

/// Answers the first request of a connection, and closes at the second without a word; further connections answer all.
async fn forgetful() -> App {
    App::start(|mut conn| async move {
        while let Some(request) = conn.head().await {
            if let Some(bytes) = request.field("content-length") {
                conn.exactly(bytes.parse().unwrap()).await;
            }
            conn.ok("ok").await;
            if conn.number == 1 {
                conn.head().await;
                conn.exactly(1).await;
                return;
            }
        }
    })
    .await
}

#[test]
fn a_pooled_connection_that_died_is_replaced_only_where_that_is_safe() {
    run(async {
        // A GET is sent again.
        let app = App::start(|mut conn| async move {
            while conn.request().await.is_some() {
                if conn.number == 1 {
                    conn.ok("first").await;
                    conn.request().await;
                    return;
                }
                conn.ok("second").await;
            }
        })
        .await;
        let site = proxy(app.spec());
        assert_eq!(Ask::get("/").of(&site).await.text(), "first");
        let told = Ask::get("/").of(&site).await;
        assert_eq!(
            (told.status.as_u16(), told.text().as_str(), told.notes.retries()),
            (200, "second", 1)
        );
        assert_eq!(app.connections.get(), 2);
        // A POST whose body was sent is not.
        let app = forgetful().await;
        let site = proxy(app.spec());
        assert_eq!(Ask::get("/").of(&site).await.text(), "ok");
        let (body, _) = counted(100_000);
        let told = Ask::post("/", "").body(body).of(&site).await;
        assert_eq!((told.status.as_u16(), app.connections.get()), (502, 1));
        assert_eq!(told.notes.retries(), 0);
        // A connection that is seen to be closed is not used, not even for a POST.
        let app = App::start(|mut conn| async move {
            conn.request().await.unwrap();
            conn.ok("once").await;
        })
        .await;
        let site = proxy(app.spec());
        for _ in 0..5 {
            let told = Ask::post("/", "x").of(&site).await;
            assert_eq!((told.status.as_u16(), told.text().as_str()), (200, "once"));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn a_fresh_connection_that_dies_is_not_tried_twice() {
    run(async {
        let app = App::start(|mut conn| async move {
            conn.request().await;
        })
        .await;
        let told = Ask::get("/").of(&proxy(app.spec())).await;
        assert_eq!((told.status.as_u16(), app.connections.get()), (502, 1));
    });
}

#[test]
fn our_own_marker_is_a_loop() {
    run(async {
        let app = App::echo().await;
        let site = proxy(app.spec());
        let told = Ask::get("/")
            .field("shimmercat-loop", "other")
            .field("shimmercat-loop", "test-instance")
            .of(&site)
            .await;
        assert_eq!((told.status.as_u16(), told.field("shimmercat-page")), (508, "loop"));
        assert_eq!(app.connections.get(), 0);
        let told = Ask::get("/").field("shimmercat-loop", "other").of(&site).await;
        assert_eq!(told.status.as_u16(), 200);
        let seen = app.last();
        let markers: Vec<_> = seen
            .fields
            .iter()
            .filter(|(name, _)| name == "shimmercat-loop")
            .map(|(_, v)| v.as_str())
            .collect();
        assert_eq!(markers, ["other", "test-instance"]);
    });
}

/// An address where nothing listens.
async fn nobody() -> UpstreamAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    UpstreamAddr::Tcp(listener.local_addr().unwrap())
}

#[test]
fn faults_are_told_apart() {
    run(async {
        let told = Ask::get("/")
            .of(&proxy(sc_site::UpstreamSpec::new(nobody().await)))
            .await;
        assert_eq!(
            (told.status.as_u16(), told.field("shimmercat-page")),
            (502, "application-down")
        );
        assert_eq!((told.field("retry-after"), told.notes.handler()), ("2", Handler::Page));
        assert!(
            told.text().contains("refused") && told.notes.fault().unwrap().contains("refused"),
            "{}",
            told.text()
        );
        let gone = UpstreamAddr::Unix("/nowhere/app.sock".into());
        assert_eq!(
            Ask::get("/")
                .of(&proxy(sc_site::UpstreamSpec::new(gone)))
                .await
                .status
                .as_u16(),
            502
        );
        // Silence.
        let silent = App::start(|mut conn| async move { conn.closed().await }).await;
        let mut upstream = silent.spec();
        upstream.timeouts.first_byte = Duration::from_millis(60);
        assert_eq!(Ask::get("/").of(&proxy(upstream)).await.status.as_u16(), 504);
        // Nonsense.
        let nonsense = App::start(|mut conn| async move {
            conn.request().await;
            conn.write("SSH-2.0-OpenSSH\r\n\r\n").await;
        })
        .await;
        let told = Ask::get("/").of(&proxy(nonsense.spec())).await;
        assert_eq!(told.status.as_u16(), 502);
        assert!(told.text().contains("makes no sense"), "{}", told.text());
    });
}

#[test]
fn a_full_pool_is_waited_for_and_then_busy() {
    run(async {
        let (go, wait) = tokio::sync::watch::channel(false);
        let app = App::start(move |mut conn| {
            let mut wait = wait.clone();
            async move {
                while conn.request().await.is_some() {
                    wait.wait_for(|go| *go).await.unwrap();
                    conn.ok("done").await;
                }
            }
        })
        .await;
        let mut upstream = app.spec();
        upstream.pool.busy = 1;
        upstream.timeouts.queue = Duration::from_millis(60);
        let site = proxy(upstream);
        let (first, second, third) = tokio::join!(Ask::get("/1").of(&site), Ask::get("/2").of(&site), async {
            let told = Ask::get("/3").of(&site).await;
            go.send(true).unwrap();
            told
        });
        let mut all = [first.status.as_u16(), second.status.as_u16(), third.status.as_u16()];
        all.sort_unstable();
        assert_eq!(all, [200, 503, 503]);
        assert_eq!(app.connections.get(), 1);
        // A place that becomes free in time is taken.
        let (one, other) = tokio::join!(Ask::get("/1").of(&site), Ask::get("/2").of(&site));
        assert_eq!(
            (one.status.as_u16(), other.status.as_u16(), app.connections.get()),
            (200, 200, 1)
        );
    });
}

#[test]
fn an_answer_that_breaks_off_or_falls_silent_is_a_fault() {
    run(async {
        let torn = App::start(|mut conn| async move {
            conn.request().await;
            conn.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
        })
        .await;
        let told = Ask::get("/").of(&proxy(torn.spec())).await;
        assert_eq!((told.status.as_u16(), told.text().as_str()), (200, "half"));
        assert!(told.fault.is_some() && told.notes.fault() == told.fault);
        let silent = App::start(|mut conn| async move {
            conn.request().await;
            conn.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
            conn.closed().await;
        })
        .await;
        let mut upstream = silent.spec();
        upstream.timeouts.idle = Duration::from_millis(60);
        assert!(Ask::get("/").of(&proxy(upstream)).await.fault.is_some());
    });
}

#[test]
fn dead_addresses_are_passed_over() {
    run(async {
        let app = App::echo().await;
        let mut upstream = app.spec();
        upstream.addrs.insert(0, nobody().await);
        upstream.addrs.push(nobody().await);
        let site = proxy(upstream);
        let mut retries = 0;
        for n in 0..40 {
            let told = Ask::post("/", format!("{n}")).of(&site).await;
            assert_eq!(told.status.as_u16(), 200, "{}", told.text());
            retries += told.notes.retries();
        }
        // Two dead ones, three failures each, then they are left out.
        assert!(retries <= 6, "{retries} retries");
    });
}

#[test]
fn files_come_first_and_the_application_gets_the_rest() {
    run(async {
        let app = App::echo().await;
        let folder = folder(&[
            ("index.html", b"home"),
            ("style.css", b"css"),
            ("docs/", b""),
            ("blog/index.html", b"blog"),
        ]);
        let site = serve(vec![spec(Some(folder.path()), Some(app.spec()))], Disclosure::Developer);
        let check = async |ask: Ask, expected: &str| {
            let told = ask.of(&site).await;
            assert_eq!(told.text(), expected);
        };
        check(Ask::get("/"), "home").await;
        check(Ask::get("/style.css?v"), "css").await;
        check(Ask::get("/blog/"), "blog").await;
        assert_eq!(Ask::get("/blog").of(&site).await.status.as_u16(), 302);
        check(Ask::get("/api"), "GET /api HTTP/1.1").await;
        check(Ask::get("/docs"), "GET /docs HTTP/1.1").await;
        check(Ask::get("/docs/"), "GET /docs/ HTTP/1.1").await;
        check(Ask::get("/.env"), "GET /.env HTTP/1.1").await;
        check(Ask::get("/group%2Fproject"), "GET /group%2Fproject HTTP/1.1").await;
        check(Ask::post("/", "x"), "POST / HTTP/1.1").await;
        check(Ask::post("/style.css", "x"), "POST /style.css HTTP/1.1").await;
        check(Ask::new(Method::OPTIONS, "/style.css"), "OPTIONS /style.css HTTP/1.1").await;
        check(Ask::get("/").upgrade("h2c").field("upgrade", "h2c"), "GET / HTTP/1.1").await;
    });
}

#[test]
fn strangers_do_not_see_the_applications_errors() {
    run(async {
        let trace = "HTTP/1.1 500 Oops\r\ncontent-type: text/html\r\nx-debug: 1\r\nretry-after: 9\r\ncontent-length: 9\r\n\r\nTraceback";
        let app = App::start(move |mut conn| async move {
            while conn.request().await.is_some() {
                conn.write(trace).await;
            }
        })
        .await;
        let told = Ask::get("/").of(&proxy(app.spec())).await;
        assert_eq!((told.status.as_u16(), told.text().as_str()), (500, "Traceback"));
        let public = serve(vec![spec(None, Some(app.spec()))], Disclosure::Public);
        let told = Ask::get("/").of(&public).await;
        assert_eq!(
            (told.status.as_u16(), told.text().as_str()),
            (500, "500 Internal Server Error\n")
        );
        assert!(!told.has("x-debug") && told.field("retry-after") == "9");
        let mut upstream = app.spec();
        upstream.discloses_errors = true;
        let public = serve(vec![spec(None, Some(upstream))], Disclosure::Public);
        assert_eq!(Ask::get("/").of(&public).await.text(), "Traceback");
    });
}

#[test]
fn an_exchange_that_is_given_up_frees_its_place() {
    run(async {
        let app = App::start(|mut conn| async move {
            let request = conn.request().await.unwrap();
            if request.line.contains("/slow") {
                conn.closed().await;
            }
            conn.ok("quick").await;
        })
        .await;
        let mut upstream = app.spec();
        upstream.pool.busy = 1;
        let site = proxy(upstream);
        let given_up = tokio::time::timeout(Duration::from_millis(50), Ask::get("/slow").of(&site)).await;
        assert!(given_up.is_err());
        assert_eq!(Ask::get("/quick").of(&site).await.text(), "quick");
    });
}
