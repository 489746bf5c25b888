//! The redirect port: one answer, and the end within three seconds.

use std::time::Duration;

use sc_server::{Entry, Metric};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::rig::{Rig, Wish, run, run_paused, to_end};

async fn ask(rig: &Rig, request: &str) -> String {
    let mut stream = TcpStream::connect(rig.redirect).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    // Closed by the server, not by us.
    to_end(&mut stream).await
}

/// Status and place of the one answer to a request for a host.
async fn check(rig: &Rig, request: &str, host: &str, expected: &str) {
    let answer = ask(rig, &format!("{request} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    let place = answer
        .lines()
        .find_map(|line| line.strip_prefix("location: "))
        .unwrap_or("nowhere");
    assert_eq!(format!("{status} {place}"), expected, "{request} to {host}: {answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1);
}

#[test]
fn public_names_are_led_to_https_and_others_nowhere() {
    run(async {
        let rig = Rig::start(Wish::default()).await;
        let shop = "www.shop.example";
        check(&rig, "GET /a/b?c=d", shop, "301 https://www.shop.example/a/b?c=d").await;
        check(&rig, "HEAD /", "WWW.Shop.Example.:80", "301 https://www.shop.example/").await;
        check(&rig, "POST /form", shop, "308 https://www.shop.example/form").await;
        check(&rig, "DELETE /x", shop, "308 https://www.shop.example/x").await;
        check(&rig, "OPTIONS *", shop, "308 https://www.shop.example/").await;
        check(
            &rig,
            "GET //evil.example/",
            shop,
            "301 https://www.shop.example//evil.example/",
        )
        .await;
        check(
            &rig,
            "GET http://a.tenants.example/x",
            shop,
            "301 https://a.tenants.example/x",
        )
        .await;
        check(&rig, "GET /", "inside.example", "421 nowhere").await;
        check(&rig, "GET /", "other.example", "421 nowhere").await;
        check(&rig, "GET http://other.example/", shop, "421 nowhere").await;
        check(&rig, "CONNECT www.shop.example:443", shop, "501 nowhere").await;
        check(&rig, "GET /", "evil.example/x", "400 nowhere").await;
        check(&rig, "PRI /", "", "400 nowhere").await;
        rig.until(|book| book.records.borrow().len() == 11).await;
        assert!(
            rig.book
                .records
                .borrow()
                .iter()
                .all(|record| record.entry == Entry::Redirect)
        );
        assert_eq!(rig.server.drained(Duration::ZERO).await, 0);
        assert_eq!(rig.numbers.get(Metric::ConnectionsOpenedRedirect), 13);
        assert_eq!(rig.numbers.get(Metric::ConnectionsClosedRedirect), 13);
        assert_eq!(rig.numbers.get(Metric::ExchangesHttp11Status3), 7);
    });
}

#[test]
fn another_port_stands_in_the_place() {
    run(async {
        let rig = Rig::start(Wish {
            https_port: Some(8443),
            ..Wish::default()
        })
        .await;
        check(
            &rig,
            "GET /a",
            "www.shop.example:8080",
            "301 https://www.shop.example:8443/a",
        )
        .await;
    });
}

#[test]
fn one_answer_is_given_however_many_are_asked_for() {
    run(async {
        let rig = Rig::start(Wish::default()).await;
        let one = "GET / HTTP/1.1\r\nHost: www.shop.example\r\n\r\n";
        assert_eq!(ask(&rig, &one.repeat(3)).await.matches("HTTP/1.1 301").count(), 1);
        let upload = "POST / HTTP/1.1\r\nHost: www.shop.example\r\nContent-Length: 5000000\r\n\r\nxxx";
        assert!(ask(&rig, upload).await.starts_with("HTTP/1.1 308 "));
        let nameless = ask(&rig, "GET /x HTTP/1.0\r\n\r\n").await;
        assert!(nameless.starts_with("HTTP/1.1 301 "), "{nameless}");
        assert!(
            nameless.contains("\r\nlocation: https://www.shop.example/x\r\n"),
            "{nameless}"
        );
        assert!(ask(&rig, "GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    });
}

#[test]
fn three_seconds_are_the_end_whatever_a_client_does() {
    let answered = "GET / HTTP/1.1\r\nHost: www.shop.example\r\n\r\n";
    for (begin, drip) in [
        ("", ""),
        ("GET /", "a"),
        ("GET / HTTP/1.1\r\nHost: a\r\n", "X: y\r\n"),
        (answered, "x"),
    ] {
        run_paused(async {
            let rig = Rig::start(Wish::default()).await;
            let start = Instant::now();
            let (mut read, mut write) = TcpStream::connect(rig.redirect).await.unwrap().into_split();
            write.write_all(begin.as_bytes()).await.unwrap();
            let dripping = async {
                while !drip.is_empty() && write.write_all(drip.as_bytes()).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                std::future::pending::<()>().await;
            };
            let hearing = async {
                let mut heard = Vec::new();
                let _ = read.read_to_end(&mut heard).await;
                rig.until(|_| rig.server.open().connections == 0).await;
            };
            tokio::select! {
                () = dripping => {}
                () = hearing => {}
            }
            let took = start.elapsed();
            let bounds = Duration::from_millis(2900)..Duration::from_millis(3400);
            assert!(bounds.contains(&took), "{begin:?}: {took:?}");
        });
    }
}
