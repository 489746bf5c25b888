//! The handshake with clients that send in pieces, all at once, wrongly, or not at all.

use std::time::Duration;

use sc_net::socks::{Ask, Auth, Command, Reply, SocksError, Version, handshake, refuse, reply};
use sc_net::{Connection, Host, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::help::{connection, soon};

const CONNECT: &[u8] = b"\x05\x01\x00\x03\x0fwww.example.com\x01\xbb";
const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01the rest of a ClientHello";
const DEADLINE: Duration = Duration::from_secs(5);

fn users() -> Auth {
    Auth::Users(vec![("fred".into(), "secret".into())])
}

async fn ask(auth: &Auth, connection: &mut Connection) -> Result<Ask, SocksError> {
    soon("the handshake", handshake(connection, auth, DEADLINE)).await
}

async fn expect(client: &mut TcpStream, expected: &[u8]) {
    let mut got = vec![0; expected.len()];
    soon("an answer", client.read_exact(&mut got)).await.unwrap();
    assert_eq!(got, expected);
}

async fn expect_end(client: &mut TcpStream) {
    let mut rest = Vec::new();
    soon("the end", client.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"");
}

fn example() -> Target {
    Target {
        host: Host::Name("www.example.com".into()),
        port: 443,
    }
}

#[tokio::test]
async fn everything_in_one_write_loses_nothing() {
    let (mut client, mut served) = connection().await;
    client
        .write_all(&[b"\x05\x01\x00", CONNECT, HELLO].concat())
        .await
        .unwrap();
    let asked = ask(&Auth::None, &mut served).await.unwrap();
    assert_eq!(
        asked,
        Ask {
            version: Version::V5,
            command: Command::Connect,
            target: example(),
            user: None
        }
    );
    assert_eq!(served.read_ahead, HELLO);
    expect(&mut client, b"\x05\x00").await;
    reply(&mut served, Version::V5, Reply::Succeeded, None).await.unwrap();
    expect(&mut client, b"\x05\x00\x00\x01\0\0\0\0\0\0").await;
}

#[tokio::test]
async fn byte_by_byte_is_the_same() {
    let (mut client, mut served) = connection().await;
    let all = [b"\x05\x02\x00\x02", &b"\x01\x04fred\x06secret"[..], CONNECT, HELLO].concat();
    let sending = async {
        for byte in &all {
            client.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        client
    };
    let auth = users();
    let (asked, mut client) = tokio::join!(ask(&auth, &mut served), sending);
    assert_eq!(
        asked.unwrap(),
        Ask {
            version: Version::V5,
            command: Command::Connect,
            target: example(),
            user: Some("fred".into())
        }
    );
    expect(&mut client, b"\x05\x02\x01\x00").await;
    while served.read_ahead.len() < HELLO.len() {
        assert!(soon("the rest", served.read_more()).await.unwrap() > 0);
    }
    assert_eq!(served.read_ahead, HELLO);
}

#[tokio::test]
async fn socks_4_and_4a() {
    let (mut client, mut served) = connection().await;
    let request = b"\x04\x01\x01\xbb\x00\x00\x00\x01fred\x00WWW.example.com.\x00";
    client.write_all(&[&request[..], HELLO].concat()).await.unwrap();
    let asked = ask(&Auth::None, &mut served).await.unwrap();
    assert_eq!(
        asked,
        Ask {
            version: Version::V4,
            command: Command::Connect,
            target: example(),
            user: Some("fred".into())
        }
    );
    assert_eq!(served.read_ahead, HELLO);
    reply(&mut served, Version::V4, Reply::Succeeded, None).await.unwrap();
    expect(&mut client, b"\x00\x5a\0\0\0\0\0\0").await;

    let (mut client, mut served) = connection().await;
    client.write_all(b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00").await.unwrap();
    let asked = ask(&Auth::None, &mut served).await.unwrap();
    assert_eq!(asked.target.to_string(), "127.0.0.1:80");
    let (refused, ()) = tokio::join!(refuse(&mut served, Version::V4, Reply::NotAllowed), async {
        expect(&mut client, b"\x00\x5b\0\0\0\0\0\0").await;
        expect_end(&mut client).await;
        drop(client);
    });
    refused.unwrap();
}

#[tokio::test]
async fn a_client_without_an_acceptable_method_is_told_so() {
    let (mut client, mut served) = connection().await;
    client
        .write_all(&[&b"\x05\x01\x00"[..], CONNECT, HELLO].concat())
        .await
        .unwrap();
    let auth = users();
    let (asked, ()) = tokio::join!(ask(&auth, &mut served), async {
        expect(&mut client, b"\x05\xff").await;
        expect_end(&mut client).await;
        drop(client);
    });
    assert!(matches!(asked, Err(SocksError::NoMethod)), "{asked:?}");
}

#[tokio::test]
async fn wrong_passwords_and_version_4_are_not_admitted() {
    let (mut client, mut served) = connection().await;
    client.write_all(b"\x05\x01\x02\x01\x04fred\x05wrong").await.unwrap();
    let auth = users();
    let (asked, ()) = tokio::join!(ask(&auth, &mut served), async {
        expect(&mut client, b"\x05\x02\x01\x01").await;
        expect_end(&mut client).await;
        drop(client);
    });
    assert!(
        matches!(&asked, Err(SocksError::NotAdmitted(name)) if name == "fred"),
        "{asked:?}"
    );

    let (mut client, mut served) = connection().await;
    client
        .write_all(b"\x04\x01\x00\x50\x08\x08\x08\x08fred\x00")
        .await
        .unwrap();
    let (asked, ()) = tokio::join!(ask(&auth, &mut served), async {
        expect(&mut client, b"\x00\x5b\0\0\0\0\0\0").await;
        drop(client);
    });
    assert!(matches!(asked, Err(SocksError::NotAdmitted(_))), "{asked:?}");
}

#[tokio::test]
async fn a_client_that_insists_on_a_password_may_send_one() {
    let (mut client, mut served) = connection().await;
    client
        .write_all(&[b"\x05\x01\x02\x01\x01u\x01p", CONNECT].concat())
        .await
        .unwrap();
    let asked = ask(&Auth::None, &mut served).await.unwrap();
    assert_eq!(asked.user.as_deref(), Some("u"));
    expect(&mut client, b"\x05\x02\x01\x00").await;
}

#[tokio::test]
async fn malformed_requests_get_their_code() {
    let table: [(&[u8], u8); 5] = [
        (b"\x05\x09\x00\x01\x08\x08\x08\x08\x00\x50", 7),
        (b"\x05\x01\x00\x09\x08\x08\x08\x08\x00\x50", 8),
        (b"\x05\x01\x00\x03\x03a b\x00\x50", 1),
        (b"\x05\x01\x00\x03\x02\xc3\xbc\x00\x50", 8),
        (b"\x06\x01\x00\x01\x08\x08\x08\x08\x00\x50", 1),
    ];
    for (request, code) in table {
        let (mut client, mut served) = connection().await;
        client
            .write_all(&[&b"\x05\x01\x00"[..], request, HELLO].concat())
            .await
            .unwrap();
        let (asked, ()) = tokio::join!(ask(&Auth::None, &mut served), async {
            expect(&mut client, &[5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await;
            expect_end(&mut client).await;
            drop(client);
        });
        assert!(matches!(asked, Err(SocksError::Malformed(_))), "{asked:?}");
    }
}

#[tokio::test]
async fn an_address_sent_as_a_name_is_an_address() {
    let (mut client, mut served) = connection().await;
    client
        .write_all(b"\x05\x01\x00\x05\x01\x00\x03\x09127.0.0.1\x00\x16")
        .await
        .unwrap();
    let asked = ask(&Auth::None, &mut served).await.unwrap();
    assert_eq!(asked.target.host.ip(), Some("127.0.0.1".parse().unwrap()));
}

#[tokio::test]
async fn ends_and_silence_in_the_middle() {
    let (mut client, mut served) = connection().await;
    client.write_all(b"\x05\x02\x00").await.unwrap();
    drop(client);
    assert!(matches!(ask(&Auth::None, &mut served).await, Err(SocksError::Closed)));

    let (mut client, mut served) = connection().await;
    client.write_all(b"\x05\x01\x00\x05\x01").await.unwrap();
    let late = handshake(&mut served, &Auth::None, Duration::from_millis(50)).await;
    assert!(matches!(late, Err(SocksError::Timeout(_))));
    expect(&mut client, b"\x05\x00").await;
}
