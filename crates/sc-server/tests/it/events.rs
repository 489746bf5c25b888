//! What is told and counted of connections.

use sc_server::{Event, Metric};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::rig::{Rig, Wish, get, run, until};

#[test]
fn each_listener_has_a_gate_of_its_own_and_tells_when_it_is_open_again() {
    run(async {
        let rig = Rig::start(Wish {
            connections: Some(3),
            ..Wish::default()
        })
        .await;
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(TcpStream::connect(rig.proxy).await.unwrap());
        }
        let told = |wanted: fn(&Event) -> bool| rig.until(move |book| book.events.borrow().iter().any(wanted));
        told(|event| matches!(event, Event::AcceptPaused { listener: "proxy", .. })).await;
        let mut other = rig.connect(sc_tls::HTTP11_ONLY).await;
        other.write_all(&get("/")).await.unwrap();
        until(&mut other, "hello").await;
        held.truncate(1);
        rig.until(|_| rig.numbers.get(Metric::ConnectionsClosedProxy) == 2)
            .await;
        held.push(TcpStream::connect(rig.proxy).await.unwrap());
        told(|event| matches!(event, Event::AcceptResumed { listener: "proxy", .. })).await;
    });
}

#[test]
fn handshakes_that_fail_are_counted_by_reason() {
    run(async {
        let rig = Rig::start(Wish::default()).await;
        let mut plain = TcpStream::connect(rig.tls).await.unwrap();
        plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        rig.until(|_| rig.numbers.get(Metric::HandshakesNotTls) == 1).await;
        drop(TcpStream::connect(rig.tls).await.unwrap());
        rig.until(|_| rig.numbers.get(Metric::HandshakesSilent) == 1).await;
        let failed = |event: &&Event| matches!(event, Event::HandshakeFailed { .. });
        assert_eq!(
            rig.book.events.borrow().iter().filter(failed).count(),
            1,
            "a port check is not told"
        );
    });
}

#[test]
fn sessions_that_are_resumed_are_told_apart() {
    run(async {
        let rig = Rig::start(Wish::default()).await;
        let config = sc_tls::client_config(&sc_tls::ClientTrust::Insecure, sc_tls::HTTP11_ONLY).unwrap();
        for _ in 0..2 {
            let tcp = TcpStream::connect(rig.tls).await.unwrap();
            let within = std::time::Duration::from_secs(10);
            let connected = sc_tls::connect(tcp, "www.shop.example", config.clone(), within)
                .await
                .unwrap();
            let mut stream = connected.stream;
            stream.write_all(&get("/")).await.unwrap();
            until(&mut stream, "hello").await;
        }
        assert_eq!(rig.numbers.get(Metric::HandshakesFull), 1);
        assert_eq!(rig.numbers.get(Metric::HandshakesResumed), 1);
    });
}
