//! Handshakes that succeed, between our two sides.

use std::sync::{Arc, Mutex};

use sc_tls::{
    Alpn, ClientTrust, H2_AND_HTTP11, HTTP11_ONLY, KeyLog, ProtocolVersion, ServerOptions, client_config,
    server_config_with,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Fixture, shake};

#[tokio::test]
async fn both_sides_agree_on_everything() {
    let fixture = Fixture::new();
    let (accepted, connected) = shake(&fixture.server(), &fixture.client(H2_AND_HTTP11), "www.shop.example").await;
    let (mut accepted, mut connected) = (accepted.expect("a handshake"), connected.expect("a handshake"));
    assert_eq!(accepted.sni.as_deref(), Some("www.shop.example"));
    assert_eq!([accepted.alpn, connected.alpn], [Alpn::H2; 2]);
    assert_eq!([accepted.version, connected.version], [ProtocolVersion::TLSv1_3; 2]);
    assert!(!accepted.resumed && !connected.resumed);
    let group = accepted
        .stream
        .get_ref()
        .1
        .negotiated_key_exchange_group()
        .expect("a key exchange");
    assert_eq!(format!("{:?}", group.name()), "X25519MLKEM768");
    let presented = connected.stream.get_ref().1.peer_certificates().expect("certificates");
    assert_eq!((presented.len(), &presented[1]), (2, fixture.ca.der()));

    connected.stream.write_all(b"hello").await.expect("bytes are sent");
    connected.stream.shutdown().await.expect("one side can be closed");
    let mut heard = String::new();
    accepted
        .stream
        .read_to_string(&mut heard)
        .await
        .expect("bytes until the end");
    assert_eq!(heard, "hello");
}

#[tokio::test]
async fn the_server_prefers_h2_and_takes_what_the_client_has() {
    let fixture = Fixture::new();
    let server = fixture.server();
    let backwards: &[&[u8]] = &[b"http/1.1", b"h2"];
    for (offered, expected) in [
        (backwards, Alpn::H2),
        (HTTP11_ONLY, Alpn::Http11),
        (&[b"spdy/3".as_slice(), b"http/1.1"], Alpn::Http11),
        (&[], Alpn::None),
    ] {
        let (accepted, connected) = shake(&server, &fixture.client(offered), "a.example").await;
        assert_eq!(accepted.expect("a handshake").alpn, expected);
        assert_eq!(connected.expect("a handshake").alpn, expected);
    }
}

#[tokio::test]
async fn an_address_as_name_sends_no_sni_and_gets_the_fallback_leaf() {
    let fixture = Fixture::new();
    for name in ["127.0.0.1", "::1", "[::1]"] {
        let (accepted, connected) = shake(&fixture.server(), &fixture.client(HTTP11_ONLY), name).await;
        assert_eq!(accepted.expect("a handshake").sni, None);
        connected.expect("the fallback leaf names loopback addresses");
    }
}

#[tokio::test]
async fn a_second_connection_resumes_unless_that_is_off() {
    let fixture = Fixture::new();
    let off = ServerOptions {
        no_resumption: true,
        ..ServerOptions::default()
    };
    let off = server_config_with(fixture.minter(), H2_AND_HTTP11, off).expect("a configuration");
    for (server, expected) in [(fixture.server(), [false, true, true]), (off, [false; 3])] {
        let client = fixture.client(H2_AND_HTTP11);
        let mut resumed = Vec::new();
        for _ in 0..3 {
            let (accepted, connected) = shake(&server, &client, "a.example").await;
            let (mut accepted, mut connected) = (accepted.expect("a handshake"), connected.expect("a handshake"));
            assert_eq!(accepted.resumed, connected.resumed);
            resumed.push(accepted.resumed);
            // Tickets come with the first bytes after the handshake.
            accepted.stream.write_all(b"x").await.expect("bytes are sent");
            accepted.stream.flush().await.expect("bytes are sent");
            connected.stream.read_exact(&mut [0]).await.expect("bytes arrive");
        }
        assert_eq!(resumed, expected);
    }
}

#[tokio::test]
async fn the_key_log_gets_the_secrets_when_asked_for() {
    #[derive(Debug, Default)]
    struct Labels(Mutex<Vec<String>>);
    impl KeyLog for Labels {
        fn log(&self, label: &str, _client_random: &[u8], _secret: &[u8]) {
            self.0.lock().expect("no panic while held").push(label.to_owned());
        }
    }
    let fixture = Fixture::new();
    let labels = Arc::new(Labels::default());
    let options = ServerOptions {
        key_log: Some(labels.clone()),
        ..ServerOptions::default()
    };
    let server = server_config_with(fixture.minter(), H2_AND_HTTP11, options).expect("a configuration");
    let (accepted, _connected) = shake(&server, &fixture.client(H2_AND_HTTP11), "a.example").await;
    accepted.expect("a handshake");
    assert!(
        labels
            .0
            .lock()
            .expect("no panic while held")
            .contains(&"CLIENT_TRAFFIC_SECRET_0".to_owned())
    );
}

#[tokio::test]
async fn the_insecure_client_takes_any_certificate() {
    let fixture = Fixture::new();
    let client = client_config(&ClientTrust::Insecure, HTTP11_ONLY).expect("a configuration");
    let (accepted, connected) = shake(&fixture.server(), &client, "a.example").await;
    accepted.expect("a handshake");
    connected.expect("a handshake");
}

#[tokio::test]
async fn coverage_changes_between_two_handshakes() {
    let fixture = Fixture::new();
    let minter = fixture.minter();
    let server = sc_tls::server_config(minter.clone(), H2_AND_HTTP11).expect("a configuration");
    let client = fixture.client(H2_AND_HTTP11);
    let (accepted, _) = shake(&server, &client, "new.test").await;
    assert_eq!(
        accepted.err().expect("not covered yet").fault.reason(),
        "no_certificate"
    );
    minter.set_covers(|name| name == "new.test");
    let (accepted, _connected) = shake(&server, &client, "new.test").await;
    assert_eq!(accepted.expect("covered now").sni.as_deref(), Some("new.test"));
}
