//! Dialling: races, the guard on what a name resolves to, and what errors say.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use sc_net::dial::dial_with;
use sc_net::socks::Reply;
use sc_net::{DialError, Dialled, Forbidden, Guard, Host, Resolver, Target, UpstreamAddr};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};

use crate::help::soon;

const DEADLINE: Duration = Duration::from_secs(10);

fn table(host: &str, ips: &[&str]) -> Resolver {
    let ips = ips.iter().map(|ip| ip.parse().unwrap()).collect();
    Resolver::Table(HashMap::from([(host.to_owned(), ips)]))
}

fn name(host: &str, port: u16) -> UpstreamAddr {
    UpstreamAddr::Name {
        host: host.to_owned(),
        port,
    }
}

async fn dial(addr: &UpstreamAddr, guard: &Guard, resolver: &Resolver) -> Result<Dialled, DialError> {
    soon("a dial", dial_with(addr, guard, DEADLINE, resolver, None)).await
}

/// A listener whose queue is full: the kernel drops further attempts, as a black hole would.
struct BlackHole {
    addr: SocketAddr,
    _listener: Socket,
    _queued: Vec<Socket>,
}

impl BlackHole {
    fn new(ip: &str) -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::new(ip.parse().unwrap(), 0).into()).unwrap();
        listener.listen(0).unwrap();
        let addr = listener.local_addr().unwrap().as_socket().unwrap();
        let queued = (0..4).map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            // The first are established, the rest are never answered.
            let _ = socket.connect(&addr.into());
            socket
        });
        let queued = queued.collect();
        BlackHole {
            addr,
            _listener: listener,
            _queued: queued,
        }
    }
}

/// A black hole at 127.0.0.1 and a listener at 127.0.0.2, on one port.
async fn hole_and_listener() -> (BlackHole, TcpListener) {
    for _ in 0..50 {
        let hole = BlackHole::new("127.0.0.1");
        if let Ok(listener) = TcpListener::bind(("127.0.0.2", hole.addr.port())).await {
            return (hole, listener);
        }
    }
    panic!("no port is free at both addresses");
}

#[tokio::test]
async fn a_black_hole_costs_a_quarter_of_a_second() {
    let (hole, listener) = hole_and_listener().await;
    let begun = Instant::now();
    let resolver = table("app", &["127.0.0.1", "127.0.0.2"]);
    let dialled = dial(&name("app", hole.addr.port()), &Guard::any(), &resolver)
        .await
        .unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(240), "{:?}", begun.elapsed());
    assert_eq!(dialled.addr, UpstreamAddr::Tcp(listener.local_addr().unwrap()));
    let tcp = dialled.stream.into_tcp().expect("TCP");
    assert!(tcp.nodelay().unwrap());
}

/// Neither needs a turn of the runtime, and what does not fit the first time follows.
#[tokio::test]
async fn within_the_machine_a_connection_is_made_and_written_to_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = UpstreamAddr::Tcp(listener.local_addr().unwrap());
    for is_vectored in [false, true] {
        let (guard, resolver) = (Guard::any(), Resolver::System);
        let dialled = dial_with(&addr, &guard, DEADLINE, &resolver, None).now_or_never();
        let mut stream = dialled.expect("connected at once").unwrap().stream;
        let data: Vec<u8> = (0..32_u32 << 20).map(|at| (at % 251) as u8).collect();
        let first = poll_fn(|cx| {
            let stream = Pin::new(&mut stream);
            match is_vectored {
                true => stream.poll_write_vectored(cx, &[IoSlice::new(&data)]),
                false => stream.poll_write(cx, &data),
            }
        });
        let first = first.now_or_never().expect("written at once").unwrap();
        assert!((1..data.len()).contains(&first), "{first}");
        let (mut far, _) = listener.accept().await.unwrap();
        let reads = async {
            let mut read = Vec::new();
            far.read_to_end(&mut read).await.unwrap();
            read
        };
        let writes = async {
            stream.write_all(&data[first..]).await.unwrap();
            stream.shutdown().await.unwrap();
        };
        let (read, ()) = soon("the bytes", async { tokio::join!(reads, writes) }).await;
        assert!(read == data, "{} bytes", read.len());
    }
}

#[tokio::test]
async fn what_answered_last_is_tried_first_while_the_name_has_it() {
    let (hole, listener) = hole_and_listener().await;
    let port = hole.addr.port();
    let resolver = table("app", &["127.0.0.1", "127.0.0.2"]);
    let again = async |last: &str| {
        let last = Some(SocketAddr::new(last.parse().unwrap(), port));
        let begun = Instant::now();
        let dialled = dial_with(&name("app", port), &Guard::any(), DEADLINE, &resolver, last).await;
        assert_eq!(dialled.unwrap().addr, UpstreamAddr::Tcp(listener.local_addr().unwrap()));
        begun.elapsed()
    };
    let took = again("127.0.0.2").await;
    assert!(took < Duration::from_millis(200), "{took:?}");
    // What the name has no more is not dialled, and the order is the name's.
    let took = again("127.0.0.3").await;
    assert!(took >= Duration::from_millis(240), "{took:?}");
}

#[tokio::test]
async fn a_refusal_starts_the_next_attempt_at_once() {
    let listener = TcpListener::bind("127.0.0.3:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let resolver = table("app", &["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
    let begun = Instant::now();
    let dialled = dial(&name("app", port), &Guard::any(), &resolver).await.unwrap();
    assert_eq!(dialled.addr, UpstreamAddr::Tcp(listener.local_addr().unwrap()));
    assert!(begun.elapsed() < Duration::from_millis(200), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_deadline_ends_a_race_and_says_what_was_tried() {
    let hole = BlackHole::new("127.0.0.1");
    let addr = UpstreamAddr::Tcp(hole.addr);
    let deadline = Duration::from_millis(100);
    let error = dial_with(&addr, &Guard::any(), deadline, &Resolver::System, None)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{} did not answer within 100 ms (no answer)", hole.addr)
    );
    assert_eq!(error.reply(), Reply::HostUnreachable);
}

#[tokio::test]
async fn everything_refused_is_said_in_order() {
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let resolver = table("app", &["127.0.0.1", "::1"]);
    let error = dial(&name("app", port), &Guard::any(), &resolver).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with(&format!(
            "cannot connect to app:{port} (127.0.0.1:{port}: Connection refused"
        )),
        "{text}"
    );
    assert!(text.contains(&format!("; [::1]:{port}: ")), "{text}");
    assert_eq!(error.reply(), Reply::ConnectionRefused);
}

#[tokio::test]
async fn names_are_resolved_once_and_checked() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let guard = Guard::public(Vec::new(), Vec::new());
    let resolver = table("rebind.example", &["127.0.0.1", "169.254.169.254", "::ffff:10.0.0.1"]);
    let error = dial(&name("rebind.example", addr.port()), &guard, &resolver)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            DialError::Refused {
                why: Forbidden::Loopback,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(error.reply(), Reply::NotAllowed);

    let guard = Guard::public(vec!["127.0.0.0/8".parse().unwrap()], Vec::new());
    dial(&name("rebind.example", addr.port()), &guard, &resolver)
        .await
        .unwrap();
    let guard = Guard::public(vec!["127.0.0.0/8".parse().unwrap()], vec![addr]);
    let error = dial(&name("rebind.example", addr.port()), &guard, &resolver)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            DialError::Refused {
                why: Forbidden::Own,
                ..
            }
        ),
        "{error:?}"
    );
    // Nothing arrived but the one connection that was allowed.
    soon("the allowed one", listener.accept()).await.unwrap();
    assert!(tokio::time::timeout(Duration::ZERO, listener.accept()).await.is_err());
}

#[tokio::test]
async fn odd_spellings_of_loopback_meet_the_guard() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let guard = Guard::public(Vec::new(), Vec::new());
    for odd in [
        "0x7f.1",
        "2130706433",
        "017700000001",
        "127.1",
        "0",
        "localhost",
        "127.0.0.1",
        "::1",
        "[::ffff:7f00:1]",
    ] {
        let target = Target {
            host: Host::parse(odd.as_bytes()).unwrap(),
            port,
        };
        match dial(&target.upstream(), &guard, &Resolver::System).await {
            Err(DialError::Refused { .. } | DialError::Resolve { .. }) => {}
            other => panic!("{odd}: {other:?}"),
        }
    }
    assert!(
        tokio::time::timeout(Duration::ZERO, listener.accept()).await.is_err(),
        "nothing may arrive"
    );
}

#[tokio::test]
async fn unknown_names_do_not_resolve() {
    let error = dial(&name("nowhere", 80), &Guard::any(), &table("app", &["127.0.0.1"]))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "cannot resolve nowhere:80");
    assert_eq!(error.reply(), Reply::HostUnreachable);
}

#[tokio::test]
async fn unix_sockets_are_dialled_only_for_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let addr = UpstreamAddr::Unix(path.clone());
    let error = dial(&addr, &Guard::any(), &Resolver::System).await.unwrap_err();
    assert!(matches!(error, DialError::ConnectPath { .. }), "{error:?}");
    let _listener = UnixListener::bind(&path).unwrap();
    dial(&addr, &Guard::any(), &Resolver::System).await.unwrap();
    let guard = Guard::public(vec!["0.0.0.0/0".parse().unwrap()], Vec::new());
    let error = dial(&addr, &guard, &Resolver::System).await.unwrap_err();
    assert!(matches!(error, DialError::RefusedPath { .. }), "{error:?}");
}
