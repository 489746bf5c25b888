//! Accepting: bursts, the gate, draining, what a connection looks like.

use std::cell::RefCell;
use std::time::Duration;

use sc_net::first_byte::{Dialect, detect};
use sc_net::{AcceptEvent, Connection, DetectError, Gate, Place, Stream, accept, listen};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::help::{connection, soon};

#[tokio::test]
async fn a_burst_is_accepted_and_draining_closes_the_listener() {
    let listener = listen::bind(&Place::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
    let addr = listener.local().socket().unwrap();
    let drain = CancellationToken::new();
    let (sender, mut accepted) = mpsc::unbounded_channel::<Connection>();
    let running = accept::run(
        listener,
        Gate::new(1000),
        drain.clone(),
        |event| panic!("{event:?}"),
        move |connection| sender.send(connection).unwrap(),
    );
    let story = async {
        let mut clients = Vec::new();
        for _ in 0..100 {
            clients.push(TcpStream::connect(addr).await.unwrap());
        }
        for _ in 0..100 {
            let connection = accepted.recv().await.unwrap();
            assert_eq!(connection.local.socket(), Some(addr));
            assert!(connection.client.is_loopback());
            let Stream::Tcp(tcp) = &connection.stream else {
                panic!("not TCP")
            };
            assert!(tcp.nodelay().unwrap(), "accepted sockets inherit TCP_NODELAY");
            let unsent = socket2::SockRef::from(tcp).tcp_notsent_lowat().unwrap();
            assert_eq!(unsent, 128 << 10, "and TCP_NOTSENT_LOWAT");
            assert_eq!(Some(tcp.peer_addr().unwrap()), connection.client.socket());
        }
        drain.cancel();
    };
    let (ended, ()) = soon("accepting", async { tokio::join!(running, story) }).await;
    ended.unwrap();
    assert!(
        TcpStream::connect(addr).await.is_err(),
        "nobody listens after the drain"
    );
}

#[tokio::test]
async fn a_full_gate_leaves_connections_in_the_queue() {
    let listener = listen::bind(&Place::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
    let addr = listener.local().socket().unwrap();
    let drain = CancellationToken::new();
    let gate = Gate::new(2);
    let (sender, mut accepted) = mpsc::unbounded_channel::<Connection>();
    let fulls = RefCell::new(Vec::new());
    let (told, mut hear) = mpsc::unbounded_channel();
    let running = accept::run(
        listener,
        gate.clone(),
        drain.clone(),
        |event| match event {
            AcceptEvent::Full { open } => {
                fulls.borrow_mut().push(open);
                told.send(()).unwrap();
            }
            other => panic!("{other:?}"),
        },
        move |connection| sender.send(connection).unwrap(),
    );
    let story = async {
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(TcpStream::connect(addr).await.unwrap());
        }
        let first = accepted.recv().await.unwrap();
        let _second = accepted.recv().await.unwrap();
        hear.recv().await.unwrap();
        assert!(accepted.try_recv().is_err(), "the third waits");
        assert_eq!(gate.open(), 2);
        drop(first);
        let _third = accepted.recv().await.unwrap();
        drain.cancel();
    };
    let (ended, ()) = soon("accepting", async { tokio::join!(running, story) }).await;
    ended.unwrap();
    assert_eq!(fulls.borrow().first(), Some(&2));
}

#[tokio::test]
async fn the_first_byte_is_found_and_kept() {
    let table: [(&[u8], Dialect); 6] = [
        (b"\x05\x01\x00", Dialect::Socks5),
        (b"\x04\x01", Dialect::Socks4),
        (b"\x16\x03\x01", Dialect::Tls),
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", Dialect::Http),
        (b"get", Dialect::Http),
        (b"\x80rubbish", Dialect::Garbage(0x80)),
    ];
    for (bytes, expected) in table {
        let (mut client, mut connection) = connection().await;
        client.write_all(bytes).await.unwrap();
        let found = soon("the first byte", detect(&mut connection, Duration::from_secs(2)))
            .await
            .unwrap();
        assert_eq!(found, expected);
        assert_eq!(connection.read_ahead, bytes);
        // Asking again changes nothing.
        assert_eq!(detect(&mut connection, Duration::ZERO).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn an_end_and_silence_are_told_apart() {
    let (client, mut served) = connection().await;
    drop(client);
    assert!(matches!(
        detect(&mut served, Duration::from_secs(2)).await,
        Err(DetectError::Closed)
    ));
    let (_client, mut served) = connection().await;
    let late = detect(&mut served, Duration::from_millis(20)).await;
    assert!(matches!(late, Err(DetectError::Timeout(_))));
}

#[tokio::test]
async fn a_rewound_stream_yields_everything_once() {
    let (mut client, mut served) = connection().await;
    client.write_all(b"first ").await.unwrap();
    detect(&mut served, Duration::from_secs(2)).await.unwrap();
    client.write_all(b"second").await.unwrap();
    client.shutdown().await.unwrap();
    let mut rewound = sc_net::Rewound::new(served.stream, served.read_ahead);
    let mut two = [0; 2];
    rewound.read_exact(&mut two).await.unwrap();
    let mut rest = String::new();
    soon("the rest", rewound.read_to_string(&mut rest)).await.unwrap();
    assert_eq!((&two, &*rest), (b"fi", "rst second"));
}
