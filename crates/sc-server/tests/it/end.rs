//! The end of a server: what finishes, what is cut, and what is counted of it.

use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use sc_http::client::{Incoming, Outgoing, h2_handshake};
use sc_http::{Answer, Body, ClientLimits, End, Exchange, Head, Interim, Scheme};
use sc_net::{Target, UpstreamAddr};
use sc_server::{Around, DrainPolicy, Event, LocalFuture, Metric, Network, Refusal, Route};
use sc_tls::{H2_AND_HTTP11, HTTP11_ONLY};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use crate::rig::{Rig, Wish, get, run, to_end, until};

const UPGRADE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: www.shop.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn patient() -> Wish {
    Wish {
        drain: DrainPolicy {
            idle_spread: Duration::from_secs(600),
            goaway_spread: Duration::from_secs(600),
            tunnel_time: Duration::from_secs(600),
            tunnel_spread: Duration::ZERO,
        },
        ..Wish::default()
    }
}

#[test]
fn a_draining_server_accepts_nothing_and_serves_what_it_has() {
    run(async {
        let rig = Rig::start(patient()).await;
        let mut idle = rig.connect(HTTP11_ONLY).await;
        idle.write_all(&get("/")).await.unwrap();
        assert!(!until(&mut idle, "hello").await.contains("close"));
        let mut busy = rig.connect(HTTP11_ONLY).await;
        busy.write_all(&get("/wait")).await.unwrap();
        rig.app.until_waiting(1).await;
        assert_eq!(rig.open(), (2, 1, 0));

        rig.server.drain();
        rig.server.drain();
        for addr in [rig.tls, rig.redirect, rig.proxy] {
            // The listener is closed in this very poll of its task.
            while TcpStream::connect(addr).await.is_ok() {
                tokio::task::yield_now().await;
            }
        }
        idle.write_all(&get("/")).await.unwrap();
        assert!(until(&mut idle, "hello").await.contains("connection: close"));
        assert_eq!(to_end(&mut idle).await, "");
        drop(idle);
        rig.app.go.notify_waiters();
        assert!(until(&mut busy, "waited").await.contains("connection: close"));
        drop(busy);
        assert_eq!(rig.server.drained(Duration::from_secs(20)).await, 0);
        assert_eq!(rig.open(), (0, 0, 0));
        assert_eq!(rig.numbers.get(Metric::ForcedCloses), 0);
        assert_eq!(rig.numbers.get(Metric::ExchangesHttp11Status2), 3);
        assert_eq!(rig.numbers.get(Metric::HandshakesFull), 2);
    });
}

#[test]
fn what_has_to_be_cut_is_counted_and_idle_connections_are_not() {
    run(async {
        let rig = Rig::start(patient()).await;
        let mut idle = rig.connect(HTTP11_ONLY).await;
        idle.write_all(&get("/")).await.unwrap();
        until(&mut idle, "hello").await;
        let mut busy = rig.connect(HTTP11_ONLY).await;
        busy.write_all(&get("/wait")).await.unwrap();
        rig.app.until_waiting(1).await;
        let mut socket = rig.connect(HTTP11_ONLY).await;
        socket.write_all(UPGRADE).await.unwrap();
        until(&mut socket, "\r\n\r\n").await;
        socket.write_all(&[0x82, 0x80, 1, 2, 3, 4]).await.unwrap();
        until(&mut socket, "hi").await;
        assert_eq!(rig.open(), (3, 1, 1));

        rig.server.drain();
        assert_eq!(rig.server.drained(Duration::from_millis(50)).await, 2);
        assert_eq!(rig.open(), (0, 0, 0));
        assert_eq!(rig.numbers.get(Metric::ForcedCloses), 2);
        assert_eq!(rig.numbers.get(Metric::TunnelsOpened), 1);
        assert_eq!(rig.numbers.get(Metric::TunnelsClosed), 1);
        // Each connection has its end told, and each exchange its record, also when it was cut.
        let closed = |event: &&Event| matches!(event, Event::ConnectionClosed { .. });
        assert_eq!(rig.book.events.borrow().iter().filter(closed).count(), 3);
        let records = rig.book.records.borrow();
        let mut ends: Vec<_> = records.iter().map(|record| (record.status, record.end)).collect();
        ends.sort_by_key(|(status, _)| *status);
        assert_eq!(ends, [(0, End::Cancelled), (101, End::Cancelled), (200, End::Complete)]);
        // How long a tunnel lasted is no answer time.
        let buckets = (Metric::Duration1ms as usize..=Metric::DurationLonger as usize)
            .map(|place| rig.numbers.get(Metric::ALL[place]))
            .sum::<u64>();
        assert_eq!(buckets, 2);
    });
}

#[test]
fn in_a_hurry_websockets_are_told_that_the_server_goes() {
    run(async {
        let rig = Rig::start(patient()).await;
        let mut socket = rig.connect(HTTP11_ONLY).await;
        socket.write_all(UPGRADE).await.unwrap();
        until(&mut socket, "\r\n\r\n").await;
        rig.server.drain();
        rig.server.hurry();
        let mut close = [0; 4];
        socket.read_exact(&mut close).await.unwrap();
        assert_eq!(close, [0x88, 2, 0x03, 0xe9]);
        socket.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
        assert_eq!(to_end(&mut socket).await, "");
        drop(socket);
        assert_eq!(rig.server.drained(Duration::from_secs(20)).await, 0);
        let records = rig.book.records.borrow();
        assert_eq!((records[0].status, records[0].end), (101, End::Complete));
        let heard = rig.app.heard.borrow();
        assert!(
            matches!(heard[..], [0x88, 0x82, a, b, _, _, x, y] if [a ^ x, b ^ y] == [0x03, 0xe9]),
            "{heard:?}"
        );
    });
}

#[test]
fn event_streams_end_between_two_events() {
    run(async {
        let rig = Rig::start(patient()).await;
        let mut stream = rig.connect(HTTP11_ONLY).await;
        stream.write_all(&get("/events")).await.unwrap();
        let head = until(&mut stream, "data: 2\r\n").await;
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        assert_eq!(rig.open(), (1, 0, 1));
        rig.server.hurry();
        let gone = rig.app.came.notified();
        rig.app.go.notify_waiters();
        // The event under way goes on to its end, and the body ends as a whole one does.
        assert_eq!(to_end(&mut stream).await, "2\r\n\n\n\r\n0\r\n\r\n");
        gone.await;
        drop(stream);
        assert_eq!(rig.server.drained(Duration::from_secs(20)).await, 0);
        assert_eq!(rig.book.records.borrow()[0].end, End::Complete);
        assert_eq!(rig.numbers.get(Metric::TunnelsClosed), 1);
    });
}

fn ask(path: &str) -> Box<Outgoing> {
    Box::new(Outgoing {
        method: Method::GET,
        target: path.into(),
        authority: "www.shop.example".to_owned(),
        scheme: Scheme::Https,
        headers: HeaderMap::new(),
        upgrade: None,
        body: Body::empty(),
    })
}

#[test]
fn http2_exchanges_finish_after_the_goaway() {
    run(async {
        let rig = Rig::start(patient()).await;
        let (client, driver) = h2_handshake(rig.connect(H2_AND_HTTP11).await).await.ok().unwrap();
        let client = Rc::new(client);
        let driver = spawn_local(driver);
        let (asking, interim) = (client.clone(), Interim::default());
        let waiting = spawn_local(async move {
            match asking.send(ask("/wait"), &interim, &ClientLimits::default()).await {
                Ok(Incoming::Response { mut body, .. }) => body.frame().await.unwrap().unwrap().into_data().unwrap(),
                _ => panic!("no answer"),
            }
        });
        rig.app.until_waiting(1).await;
        rig.server.hurry();
        while client.is_open() {
            tokio::task::yield_now().await;
        }
        rig.app.go.notify_waiters();
        assert_eq!(waiting.await.unwrap(), "waited");
        driver.await.unwrap();
        assert_eq!(rig.server.drained(Duration::from_secs(20)).await, 0);
        assert_eq!(rig.numbers.get(Metric::ExchangesHttp2Status2), 1);
    });
}

#[test]
fn a_stop_ends_idle_connections_at_once() {
    run(async {
        let rig = Rig::start(patient()).await;
        let mut idle = rig.connect(HTTP11_ONLY).await;
        idle.write_all(&get("/")).await.unwrap();
        until(&mut idle, "hello").await;
        let (forced, ()) = tokio::join!(rig.server.stop(Duration::from_secs(20)), async {
            assert_eq!(to_end(&mut idle).await, "");
            drop(idle);
        });
        assert_eq!(forced, 0);
        let stopping = |event: &Event| matches!(event, Event::Stopping { connections: 1 });
        assert!(rig.book.events.borrow().iter().any(stopping));
    });
}

/// A little network that leads everything to one address.
struct To(UpstreamAddr);

impl Network for To {
    fn route(&self, _: &Target) -> Route {
        Route::Relay(self.0.clone())
    }

    fn udp_route(&self, target: &Target) -> Route {
        self.route(target)
    }

    fn refused(&self, _: &Target, _: &Refusal) {}

    fn page<'a>(&'a self, _: Box<Exchange>, _: &'a Around) -> LocalFuture<'a, Answer> {
        Box::pin(async { Answer::new(Head::new(StatusCode::NOT_FOUND), Body::empty()) })
    }

    fn refusal_page(&self, _: &Exchange, _: &Refusal) -> Answer {
        Answer::new(Head::new(StatusCode::FORBIDDEN), Body::empty())
    }
}

#[test]
fn relayed_connections_are_tunnels_of_a_network_that_can_be_replaced() {
    run(async {
        let rig = Rig::start(patient()).await;
        let connect = b"CONNECT other.example:443 HTTP/1.1\r\nHost: x\r\n\r\n";
        let mut refused = TcpStream::connect(rig.proxy).await.unwrap();
        refused.write_all(connect).await.unwrap();
        assert!(until(&mut refused, "\n").await.starts_with("HTTP/1.1 403 "));
        assert_eq!(rig.numbers.get(Metric::Refused), 1);
        drop(refused);

        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = To(UpstreamAddr::Tcp(upstream.local_addr().unwrap()));
        rig.server.swap_network(Rc::new(to));
        let mut client = TcpStream::connect(rig.proxy).await.unwrap();
        client.write_all(connect).await.unwrap();
        let (mut app, _) = upstream.accept().await.unwrap();
        assert!(until(&mut client, "\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
        rig.server.drain();
        client.write_all(b"question").await.unwrap();
        assert_eq!(until(&mut app, "question").await, "question");
        app.write_all(b"answer").await.unwrap();
        assert_eq!(until(&mut client, "answer").await, "answer");
        rig.until(|_| rig.open() == (1, 0, 1)).await;
        rig.server.hurry();
        assert_eq!(
            (to_end(&mut client).await, to_end(&mut app).await),
            (String::new(), String::new())
        );
        drop((client, app));
        assert_eq!(rig.server.drained(Duration::from_secs(20)).await, 0);
        assert_eq!(rig.numbers.get(Metric::TunnelsClosed), 1);
        let relayed = |event: &Event| {
            let moved = (8, 6);
            matches!(event, Event::Relayed { sent_bytes, received_bytes, .. } if (*sent_bytes, *received_bytes) == moved)
        };
        assert!(rig.book.events.borrow().iter().any(relayed));
    });
}
