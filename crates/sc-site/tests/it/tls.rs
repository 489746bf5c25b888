//! Applications over HTTP/2 and over TLS.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method, StatusCode};
use sc_http::{Answer, Body, Drain, Exchange, Head, Limits, Payload, Protocol, Service};
use sc_net::UpstreamAddr;
use sc_site::{Disclosure, UpstreamProtocol, UpstreamSpec};
use sc_testkit::TestCa;
use sc_tls::{Ca, ClientTrust, Minter, One, Uncovered};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::kit::{Ask, proxy, run, serve, spec};

/// What an application saw of a request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) upgrade: Option<Box<str>>,
    pub(crate) authority: String,
    pub(crate) headers: HeaderMap,
    pub(crate) protocol: Protocol,
}

/// Echoes bodies and tunnels.
struct Echo {
    seen: Rc<RefCell<Vec<Seen>>>,
}

impl Service for Echo {
    async fn answer(&self, exchange: Box<Exchange>) -> Answer {
        self.seen.borrow_mut().push(Seen {
            method: exchange.method.clone(),
            upgrade: exchange.upgrade.clone(),
            authority: exchange.authority.to_string(),
            headers: exchange.headers.clone(),
            protocol: exchange.protocol,
        });
        if exchange.upgrade.is_some() {
            let (near, far) = tokio::io::duplex(1024);
            tokio::task::spawn_local(async move {
                let (mut reader, mut writer) = tokio::io::split(far);
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = tokio::io::AsyncWriteExt::shutdown(&mut writer).await;
            });
            return Answer {
                head: Head::new(StatusCode::OK),
                payload: Payload::Tunnel(Box::new(near)),
                guard: None,
            };
        }
        tokio::task::yield_now().await;
        let text = format!("{} {}", exchange.method, exchange.target);
        let body = if exchange.method == Method::POST {
            exchange.body
        } else {
            Body::full(text)
        };
        Answer::new(Head::new(StatusCode::OK), body)
    }
}

/// An HTTP/2 application without TLS; it is our own server.
pub(crate) async fn h2c() -> (App2, Rc<RefCell<Vec<Seen>>>) {
    start(None, Limits::default()).await
}

/// The same, with limits of its own.
pub(crate) async fn h2c_within(limits: Limits) -> (App2, Rc<RefCell<Vec<Seen>>>) {
    start(None, limits).await
}

/// An application made of our own server.
pub(crate) struct App2 {
    at: UpstreamAddr,
    connections: Rc<std::cell::Cell<usize>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl App2 {
    /// How many connections came.
    pub(crate) fn connections(&self) -> usize {
        self.connections.get()
    }

    pub(crate) fn spec(&self) -> UpstreamSpec {
        UpstreamSpec::new(self.at.clone())
    }
}

impl Drop for App2 {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn start(tls: Option<Arc<sc_tls::ServerConfig>>, limits: Limits) -> (App2, Rc<RefCell<Vec<Seen>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = UpstreamAddr::Tcp(listener.local_addr().unwrap());
    let seen = Rc::new(RefCell::new(Vec::new()));
    let service = Rc::new(Echo { seen: seen.clone() });
    let connections = Rc::new(std::cell::Cell::new(0));
    let count = connections.clone();
    let accepting = tokio::task::spawn_local(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            count.set(count.get() + 1);
            let (service, tls, limits) = (service.clone(), tls.clone(), limits.clone());
            tokio::task::spawn_local(async move {
                let drain = Drain::at_once(CancellationToken::new());
                let Some(tls) = tls else {
                    sc_http::h2::serve(io, service, &limits, drain).await;
                    return;
                };
                let Ok(accepted) = sc_tls::accept(io, tls, Duration::from_secs(5)).await else {
                    return;
                };
                if accepted.alpn == sc_tls::Alpn::H2 {
                    sc_http::h2::serve(accepted.stream, service, &limits, drain).await;
                } else {
                    let read_ahead = bytes::BytesMut::new();
                    sc_http::h1::serve(
                        accepted.stream,
                        read_ahead,
                        sc_http::Scheme::Https,
                        service,
                        &limits,
                        drain,
                    )
                    .await;
                }
            });
        }
    });
    (
        App2 {
            at,
            connections,
            accepting,
        },
        seen,
    )
}

#[test]
fn http2_applications_share_one_connection() {
    run(async {
        let (app, seen) = h2c().await;
        let mut upstream = app.spec();
        upstream.protocol = UpstreamProtocol::H2c;
        let site = proxy(upstream);
        let asks = (0..20)
            .map(|n| Ask::get(&format!("/{n}")).of(&site))
            .collect::<Vec<_>>();
        for (n, told) in futures_util::future::join_all(asks).await.into_iter().enumerate() {
            assert_eq!((told.status.as_u16(), told.text()), (200, format!("GET /{n}")));
        }
        let body = vec![b'z'; 1 << 20];
        let told = Ask::post("/", body.clone()).of(&site).await;
        assert!(told.body == body && told.notes.is_reused());
        assert_eq!(app.connections.get(), 1);
        let seen = seen.borrow();
        let last = seen.last().unwrap();
        assert_eq!(
            (last.authority.as_str(), last.protocol),
            ("www.shop.example", Protocol::Http2)
        );
        assert_eq!(last.headers["x-forwarded-for"], "192.0.2.7");
    });
}

struct Trust {
    place: tempfile::TempDir,
    ca: Arc<Ca>,
}

impl Trust {
    fn new() -> Trust {
        let place = tempfile::tempdir().unwrap();
        let (ca, _) = Ca::open_or_create(&place.path().join("ca"), "test", SystemTime::now()).unwrap();
        Trust {
            place,
            ca: Arc::new(ca),
        }
    }

    fn server(&self, alpn: &[&[u8]]) -> Arc<sc_tls::ServerConfig> {
        let minter = Minter::new(self.ca.clone(), |_| true, Uncovered::Refuse).unwrap();
        sc_tls::server_config(Arc::new(minter), alpn).unwrap()
    }

    fn pem(&self) -> ClientTrust {
        let path = self.place.path().join("trusted.pem");
        std::fs::write(&path, self.ca.pem()).unwrap();
        ClientTrust::Pem(path)
    }
}

#[test]
fn https_applications_speak_what_alpn_says() {
    run(async {
        let trust = Trust::new();
        let both: [(&[&[u8]], Protocol, usize); 2] = [
            (sc_tls::H2_AND_HTTP11, Protocol::Http2, 1),
            (sc_tls::HTTP11_ONLY, Protocol::Http11, 1),
        ];
        for (alpn, protocol, connections) in both {
            let (app, seen) = start(Some(trust.server(alpn)), Limits::default()).await;
            let mut upstream = app.spec();
            upstream.protocol = UpstreamProtocol::Https;
            upstream.trust = trust.pem();
            let site = proxy(upstream);
            for n in 0..3 {
                let told = Ask::get(&format!("/{n}")).of(&site).await;
                assert_eq!(
                    (told.status.as_u16(), told.text()),
                    (200, format!("GET /{n}")),
                    "{}",
                    told.text()
                );
            }
            assert_eq!(seen.borrow().last().unwrap().protocol, protocol);
            assert_eq!(app.connections.get(), connections);
            // An upgrade keeps to HTTP/1.1, which every application has.
            let ask = Ask::get("/chat")
                .upgrade("websocket")
                .field("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
            let (_answer, _) = ask.raw(&site).await;
            assert_eq!(seen.borrow().last().unwrap().protocol, Protocol::Http11);
        }
    });
}

#[test]
fn a_certificate_that_is_not_trusted_is_said_so() {
    run(async {
        let (trust, other) = (Trust::new(), Trust::new());
        let (app, _) = start(Some(trust.server(sc_tls::HTTP11_ONLY)), Limits::default()).await;
        let mut upstream = app.spec();
        upstream.protocol = UpstreamProtocol::Https;
        upstream.trust = other.pem();
        let told = Ask::get("/").of(&proxy(upstream.clone())).await;
        assert_eq!(told.status.as_u16(), 502);
        assert!(told.text().contains("certificate was not accepted"), "{}", told.text());
        upstream.trust = ClientTrust::Insecure;
        assert_eq!(Ask::get("/").of(&proxy(upstream)).await.status.as_u16(), 200);
        let plain = App::start(|mut conn| async move {
            conn.write("HTTP/1.1 400 Bad Request\r\n\r\n").await;
            conn.closed().await;
        })
        .await;
        let mut upstream = plain.spec();
        upstream.protocol = UpstreamProtocol::Https;
        upstream.trust = ClientTrust::Insecure;
        let told = Ask::get("/").of(&proxy(upstream)).await;
        assert_eq!(told.status.as_u16(), 502);
        assert!(told.text().contains("does not speak TLS"), "{}", told.text());
    });
}

/// How the certificate of an application is refused, and what is said of it.
#[test]
fn each_fault_of_a_certificate_is_refused_and_named() {
    run(async {
        let (ours, stranger) = (TestCa::new(), TestCa::new());
        let place = tempfile::tempdir().unwrap();
        let day = Duration::from_secs(24 * 3600);
        let past = SystemTime::now() - day;
        let certificate = |ca: &TestCa, name: &str, until: SystemTime| {
            let files = ca.write_valid(&place.path().join("app"), &[name], until);
            let credentials = sc_tls::Credentials::read(&files.chain, &files.key).unwrap();
            sc_tls::server_config(One::new(credentials), sc_tls::HTTP11_ONLY).unwrap()
        };
        let trusted = ours.write(&place.path().join("trusted"), &["x"]).ca;
        let next = SystemTime::now() + day;
        let cases = [
            ("app.internal", &ours, next, Some("app.internal"), None),
            (
                "other.internal",
                &ours,
                next,
                Some("app.internal"),
                Some("app.internal"),
            ),
            // Without a name of its own, an address of numbers has the name that was asked for.
            ("www.shop.example", &ours, next, None, None),
            ("app.internal", &ours, next, None, Some("www.shop.example")),
            ("app.internal", &ours, past, Some("app.internal"), Some("expired")),
            // It has the same name as ours, and another key.
            (
                "app.internal",
                &stranger,
                next,
                Some("app.internal"),
                Some("badsignature"),
            ),
        ];
        for (name, ca, until, wanted, fault) in cases {
            let (app, seen) = start(Some(certificate(ca, name, until)), Limits::default()).await;
            let mut upstream = app.spec();
            upstream.protocol = UpstreamProtocol::Https;
            upstream.trust = ClientTrust::Pem(trusted.clone());
            upstream.server_name = wanted.map(str::to_owned);
            let told = Ask::get("/").of(&proxy(upstream.clone())).await;
            let Some(words) = fault else {
                assert_eq!(told.status.as_u16(), 200, "{}", told.text());
                continue;
            };
            assert_eq!(told.status.as_u16(), 502, "{name}: {}", told.text());
            assert_eq!(told.notes.fault_label(), Some("upstream_tls"));
            let said = told.notes.fault().unwrap();
            assert!(said.to_lowercase().contains(words), "{said}");
            assert!(seen.borrow().is_empty(), "nothing was asked of it");
            // A check finds out the same, and nothing is told to strangers.
            upstream.health = Some(sc_site::HealthSpec::new("/"));
            let site = serve(vec![spec(None, Some(upstream))], Disclosure::Public);
            while site.told.borrow().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(site.sites.endpoints()[0].state, "unreachable");
            let told = Ask::get("/").of(&site).await;
            assert_eq!((told.status.as_u16(), told.text().as_str()), (502, "502 Bad Gateway\n"));
        }
        let alone = sc_testkit::HttpApp::start_tls(&["app.internal"]);
        let mut upstream = UpstreamSpec::new(UpstreamAddr::Tcp(alone.address()));
        upstream.protocol = UpstreamProtocol::Https;
        upstream.trust = ClientTrust::Pem(trusted);
        upstream.server_name = Some("app.internal".to_owned());
        let told = Ask::get("/").of(&proxy(upstream)).await;
        let said = told.notes.fault().unwrap();
        assert!(
            said.contains("nobody trusted has signed it") && alone.requests() == 0,
            "{said}"
        );
    });
}
