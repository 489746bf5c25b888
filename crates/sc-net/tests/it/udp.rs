//! UDP ASSOCIATE from the client's point of view.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use sc_net::udp::{Associated, UdpEnd, UdpLimits, UdpRoute, UdpTerms, associate, header};
use sc_net::{Guard, Host, Resolver, Target, UpstreamAddr};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

use crate::help::{connection, soon};

const NOWHERE: Target = Target {
    host: Host::V4(std::net::Ipv4Addr::UNSPECIFIED),
    port: 0,
};

/// A client of an association: its TCP connection and its UDP socket.
struct Client {
    tcp: TcpStream,
    udp: UdpSocket,
    relay: SocketAddr,
}

impl Client {
    async fn new(mut tcp: TcpStream, udp: UdpSocket) -> Self {
        let mut reply = [0; 10];
        soon("the reply", tcp.read_exact(&mut reply)).await.unwrap();
        assert_eq!(reply[..8], [5, 0, 0, 1, 127, 0, 0, 1]);
        let relay = SocketAddr::from(([127, 0, 0, 1], u16::from_be_bytes([reply[8], reply[9]])));
        Client { tcp, udp, relay }
    }

    async fn send(&self, fragment: u8, target: &Target, payload: &[u8]) {
        let mut bytes = Vec::new();
        header::write(&mut bytes, target);
        bytes[2] = fragment;
        bytes.extend_from_slice(payload);
        self.udp.send_to(&bytes, self.relay).await.unwrap();
    }

    async fn receive(&self) -> (Target, Vec<u8>) {
        let mut bytes = vec![0; 65_536];
        let (count, from) = soon("an answer", self.udp.recv_from(&mut bytes)).await.unwrap();
        assert_eq!(from, self.relay);
        let datagram = header::read(&bytes[..count]).unwrap();
        assert_eq!(datagram.fragment, 0);
        (datagram.target, datagram.payload.to_vec())
    }

    async fn expect(&self, target: &Target, payload: &[u8]) {
        assert_eq!(self.receive().await, (target.clone(), payload.to_vec()));
    }
}

/// Answers every datagram with its own bytes, the first one turned to upper case.
async fn echo() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    #[expect(clippy::disallowed_methods, reason = "ends with the runtime of its test")]
    tokio::spawn(async move {
        let mut bytes = vec![0; 65_536];
        while let Ok((count, from)) = socket.recv_from(&mut bytes).await {
            bytes[..count.min(1)].make_ascii_uppercase();
            let _ = socket.send_to(&bytes[..count], from).await;
        }
    });
    addr
}

async fn udp() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

/// Runs an association and a story of its client, and returns what the association says it did.
async fn check<F: Future<Output = ()>>(
    terms: UdpTerms,
    route: impl Fn(&Target) -> UdpRoute,
    story: impl FnOnce(Client) -> F,
) -> Associated {
    check_told(terms, route, |_, _| (), story).await
}

/// Like [`check`], and hears what the guard refused.
async fn check_told<F: Future<Output = ()>>(
    terms: UdpTerms,
    route: impl Fn(&Target) -> UdpRoute,
    on_guarded: impl Fn(&Target, &str),
    story: impl FnOnce(Client) -> F,
) -> Associated {
    let (tcp, served) = connection().await;
    let (udp, stop) = (udp().await, CancellationToken::new());
    let (record, ()) = soon("an association", async {
        tokio::join!(associate(served, &NOWHERE, &terms, route, on_guarded, &stop), async {
            story(Client::new(tcp, udp).await).await
        })
    })
    .await;
    record
}

fn named(name: &str, port: u16) -> Target {
    Target {
        host: Host::Name(name.to_owned()),
        port,
    }
}

#[tokio::test]
async fn datagrams_to_a_configured_name_come_back_from_that_name() {
    let app = echo().await;
    let asked = RefCell::new(Vec::new());
    let route = |target: &Target| {
        asked.borrow_mut().push(target.to_string());
        UdpRoute::To(UpstreamAddr::Tcp(app))
    };
    let record = check(UdpTerms::default(), route, |client| async move {
        for text in [&b"query"[..], b"", &[b'x'; 60_000]] {
            client.send(0, &named("dns", 53), text).await;
            let mut expected = text.to_vec();
            expected[..text.len().min(1)].make_ascii_uppercase();
            client.expect(&named("dns", 53), &expected).await;
        }
    })
    .await;
    assert!(matches!(record.end, UdpEnd::Closed), "{record:?}");
    assert_eq!((record.sent, record.received, record.sent_bytes), (3, 3, 60_005));
    assert_eq!(*asked.borrow(), ["dns:53"], "the route is asked once");
}

#[tokio::test]
async fn fragments_and_rubbish_are_dropped_and_counted() {
    let app = echo().await;
    let target = Target::from(app);
    let route = |_: &Target| UdpRoute::Dial(Rc::new(Guard::any()));
    let limits = UdpLimits {
        datagram_bytes: 100,
        ..UdpLimits::default()
    };
    let record = check(
        UdpTerms {
            limits,
            ..UdpTerms::default()
        },
        route,
        |client| async move {
            client.send(1, &target, b"first fragment").await;
            client.send(0x80 | 2, &target, b"last fragment").await;
            client.udp.send_to(b"rubbish", client.relay).await.unwrap();
            client.send(0, &target, &[0; 101]).await;
            client.send(0, &target, b"whole").await;
            client.expect(&target, b"Whole").await;
        },
    )
    .await;
    assert_eq!(
        (record.fragments, record.malformed, record.sent, record.received),
        (2, 2, 1, 1)
    );
}

#[tokio::test]
async fn the_guard_and_the_route_refuse() {
    let app = echo().await;
    let target = Target::from(app);
    let guard = Rc::new(Guard::public(Vec::new(), Vec::new()));
    let resolver = Resolver::Table(HashMap::from([("rebind.example".to_owned(), vec![app.ip()])]));
    let route = |target: &Target| match &target.host {
        Host::Name(name) if name == "never.example" => UdpRoute::Refuse,
        Host::Name(name) if name == "app" => UdpRoute::To(UpstreamAddr::Tcp(app)),
        _ => UdpRoute::Dial(Rc::clone(&guard)),
    };
    let told = RefCell::new(Vec::new());
    let record = check_told(
        UdpTerms {
            resolver,
            ..UdpTerms::default()
        },
        route,
        |target, words| told.borrow_mut().push((target.to_string(), words.to_owned())),
        |client| async move {
            client.send(0, &target, b"by address").await;
            client.send(0, &named("never.example", 53), b"by name").await;
            client
                .send(0, &named("rebind.example", app.port()), b"by resolving")
                .await;
            client.send(0, &named("gone.example", 53), b"unknown").await;
            client.send(0, &named("app", 53), b"allowed").await;
            client.expect(&named("app", 53), b"Allowed").await;
        },
    )
    .await;
    assert_eq!(
        (record.refused, record.unresolved, record.sent, record.received),
        (3, 1, 1, 1),
        "{record:?}"
    );
    let (literal, name) = (app.to_string(), format!("rebind.example:{}", app.port()));
    let line = |asked: &str| {
        (
            asked.to_owned(),
            format!("{asked} is not dialled: 127.0.0.1 is a loopback address"),
        )
    };
    assert_eq!(
        *told.borrow(),
        [line(&literal), line(&name)],
        "what the guard refused, and nothing else"
    );
}

#[tokio::test]
async fn names_are_resolved_once_and_the_first_datagram_waits() {
    let app = echo().await;
    let resolver = Resolver::Table(HashMap::from([("echo.example".to_owned(), vec![app.ip()])]));
    let guard = Rc::new(Guard::public(vec!["127.0.0.0/8".parse().unwrap()], Vec::new()));
    let route = move |_: &Target| UdpRoute::Dial(Rc::clone(&guard));
    let record = check(
        UdpTerms {
            resolver,
            ..UdpTerms::default()
        },
        route,
        |client| async move {
            let target = named("echo.example", app.port());
            for text in [b"one", b"two"] {
                client.send(0, &target, text).await;
                client
                    .expect(
                        &target,
                        &text.to_ascii_uppercase()[..1]
                            .iter()
                            .chain(&text[1..])
                            .copied()
                            .collect::<Vec<_>>(),
                    )
                    .await;
            }
        },
    )
    .await;
    assert_eq!((record.sent, record.received), (2, 2));
}

#[tokio::test]
async fn strangers_are_not_served() {
    let app = echo().await;
    let target = Target::from(app);
    let route = |_: &Target| UdpRoute::Dial(Rc::new(Guard::any()));
    let record = check(UdpTerms::default(), route, |client| async move {
        client.send(0, &target, b"mine").await;
        client.expect(&target, b"Mine").await;
        let stranger = udp().await;
        let mut bytes = Vec::new();
        header::write(&mut bytes, &target);
        stranger.send_to(&bytes, client.relay).await.unwrap();
        client.send(0, &target, b"again").await;
        client.expect(&target, b"Again").await;
    })
    .await;
    assert_eq!((record.foreign, record.sent, record.received), (1, 2, 2));
}

#[tokio::test]
async fn the_declared_port_is_the_only_one() {
    let app = echo().await;
    let target = Target::from(app);
    let (tcp, served) = connection().await;
    let declared = udp().await;
    let other = udp().await;
    let (terms, stop) = (UdpTerms::default(), CancellationToken::new());
    let port = declared.local_addr().unwrap().port();
    let declares = Target {
        host: NOWHERE.host.clone(),
        port,
    };
    let route = |_: &Target| UdpRoute::Dial(Rc::new(Guard::any()));
    let (record, ()) = soon("an association", async {
        tokio::join!(associate(served, &declares, &terms, route, |_, _| (), &stop), async {
            let client = Client::new(tcp, declared).await;
            let mut bytes = Vec::new();
            header::write(&mut bytes, &target);
            other.send_to(&bytes, client.relay).await.unwrap();
            client.send(0, &target, b"declared").await;
            client.expect(&target, b"Declared").await;
        })
    })
    .await;
    assert_eq!((record.foreign, record.sent), (1, 1));
}

#[tokio::test]
async fn the_association_ends_with_its_connection() {
    let (tcp, served) = connection().await;
    let (terms, udp, stop) = (UdpTerms::default(), udp().await, CancellationToken::new());
    let association = associate(
        served,
        &NOWHERE,
        &terms,
        |_: &Target| UdpRoute::Refuse,
        |_, _| (),
        &stop,
    );
    let story = async {
        let Client { tcp, relay, .. } = Client::new(tcp, udp).await;
        assert!(UdpSocket::bind(relay).await.is_err(), "the relay's port is held");
        drop(tcp);
        relay
    };
    let (record, relay) = soon("an association", async { tokio::join!(association, story) }).await;
    assert!(matches!(record.end, UdpEnd::Closed));
    UdpSocket::bind(relay).await.unwrap();
}

#[tokio::test]
async fn an_association_that_is_stopped_says_what_it_did() {
    let app = echo().await;
    let (tcp, served) = connection().await;
    let (terms, udp, stop) = (UdpTerms::default(), udp().await, CancellationToken::new());
    let route = |_: &Target| UdpRoute::To(UpstreamAddr::Tcp(app));
    let association = associate(served, &NOWHERE, &terms, route, |_, _| (), &stop);
    let story = async {
        let client = Client::new(tcp, udp).await;
        client.send(0, &named("app", 53), b"before").await;
        client.expect(&named("app", 53), b"Before").await;
        stop.cancel();
        client
    };
    let (record, _client) = soon("an association", async { tokio::join!(association, story) }).await;
    assert!(matches!(record.end, UdpEnd::Stopped), "{record:?}");
    assert_eq!((record.sent, record.received), (1, 1));
}

#[tokio::test]
async fn silence_ends_an_association() {
    let limits = UdpLimits {
        idle: Duration::from_millis(50),
        ..UdpLimits::default()
    };
    let record = check(
        UdpTerms {
            limits,
            ..UdpTerms::default()
        },
        |_: &Target| UdpRoute::Refuse,
        |client| async move {
            let Client { mut tcp, .. } = client;
            assert_eq!(soon("the end", tcp.read(&mut [0])).await.unwrap(), 0);
        },
    )
    .await;
    assert!(matches!(record.end, UdpEnd::Idle));
}

#[tokio::test]
async fn targets_are_bounded_and_the_oldest_is_forgotten() {
    let (first, second, third) = (
        Target::from(echo().await),
        Target::from(echo().await),
        Target::from(echo().await),
    );
    let asked = RefCell::new(Vec::new());
    let route = |target: &Target| {
        asked.borrow_mut().push(target.clone());
        UdpRoute::Dial(Rc::new(Guard::any()))
    };
    let order = [&first, &second, &first, &third, &first, &second].map(Clone::clone);
    let limits = UdpLimits {
        targets: 2,
        ..UdpLimits::default()
    };
    check(
        UdpTerms {
            limits,
            ..UdpTerms::default()
        },
        route,
        |client| async move {
            for target in order {
                client.send(0, &target, b"x").await;
                client.expect(&target, b"X").await;
            }
        },
    )
    .await;
    assert_eq!(*asked.borrow(), [first, second.clone(), third, second]);
}
