//! A fault of ours ends its exchange and nothing else.

use http::{HeaderMap, Method};
use sc_http::client::{Incoming, Outgoing, h2_handshake};
use sc_http::{Body, ClientLimits, End, Interim, Kind, Scheme};
use sc_server::{Event, Metric};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use crate::rig::{Rig, Wish, run, to_end, until};

#[test]
fn a_panic_while_answering_is_500_and_the_connection_goes_on() {
    run(async {
        let rig = Rig::start(Wish::default()).await;
        let mut stream = TcpStream::connect(rig.proxy).await.unwrap();
        let port = rig.proxy.port();
        for _ in 0..2 {
            let request = format!("GET / HTTP/1.1\r\nHost: localhost:{port}\r\nAccept: */*\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let answer = until(&mut stream, "Error\n").await;
            assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
        }
        assert_eq!(rig.numbers.get(Metric::Panics), 2);
        let told = |event: &&Event| matches!(event, Event::Internal { fault, .. } if fault == "panic: as asked");
        assert_eq!(rig.book.events.borrow().iter().filter(told).count(), 2);
    });
}

#[test]
fn a_panic_in_a_body_breaks_the_response_off() {
    run(async {
        let rig = Rig::start(Wish::default()).await;
        let mut stream = TcpStream::connect(rig.proxy).await.unwrap();
        let request = format!("GET /body HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", rig.proxy.port());
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = to_end(&mut stream).await;
        assert!(answer.ends_with("\r\n\r\na\r\nhalf of it\r\n"), "{answer}");
        rig.until(|book| !book.records.borrow().is_empty()).await;
        assert_eq!(rig.book.records.borrow()[0].end, End::Failed(Kind::Internal));
        assert_eq!(rig.numbers.get(Metric::Panics), 1);
    });
}

/// The panic happens at the end of a body, where the connection to the application is given back. Without care it would
/// end the task that all streams share.
#[test]
fn a_panic_in_one_stream_spares_the_others() {
    run(async {
        let rig = Rig::start(Wish {
            spawn_panics: true,
            ..Wish::default()
        })
        .await;
        let (client, driver) = h2_handshake(rig.connect(sc_tls::H2_AND_HTTP11).await)
            .await
            .ok()
            .unwrap();
        spawn_local(driver);
        let get = |path: &str, authority: &str| {
            Box::new(Outgoing {
                method: Method::GET,
                target: path.into(),
                authority: authority.to_owned(),
                scheme: Scheme::Https,
                headers: HeaderMap::new(),
                upgrade: None,
                body: Body::empty(),
            })
        };
        let (interim, limits) = (Interim::default(), ClientLimits::default());
        let other = client.send(get("/wait", "www.shop.example"), &interim, &limits);
        let faulty = async {
            rig.app.until_waiting(1).await;
            let sent = client.send(get("/", "www.shop.example"), &interim, &limits).await;
            let Ok(Incoming::Response { mut body, .. }) = sent else {
                panic!("no answer");
            };
            while let Some(frame) = body.frame().await {
                if frame.is_err() {
                    break;
                }
            }
            rig.until(|book| !book.records.borrow().is_empty()).await;
            rig.app.go.notify_waiters();
        };
        let (other, ()) = tokio::join!(other, faulty);
        let Ok(Incoming::Response { head, .. }) = other else {
            panic!("the other exchange was lost");
        };
        assert_eq!(head.status, 200);
        let sent = client.send(get("/", "unknown.example"), &interim, &limits).await;
        assert!(matches!(sent, Ok(Incoming::Response { head, .. }) if head.status == 421));
        assert!(rig.numbers.get(Metric::Panics) > 0);
    });
}

#[test]
fn a_request_that_names_no_host_is_refused() {
    run(async {
        let rig = Rig::start(Wish::default()).await;
        let mut stream = rig.connect(sc_tls::HTTP11_ONLY).await;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        assert!(to_end(&mut stream).await.starts_with("HTTP/1.1 400 "));
        let mut stream = rig.connect(sc_tls::HTTP11_ONLY).await;
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(to_end(&mut stream).await.starts_with("HTTP/1.1 400 "));
    });
}
