//! Handshakes that fail, and what each side is told.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use sc_tls::{
    ClientConfigError, ClientTrust, ConnectError, H2_AND_HTTP11, HTTP11_ONLY, HandshakeFault, ServerConfig, accept,
    client_config, connect,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Fixture, SOON, shake};

/// Sends bytes to a server, closes, and returns the fault and what came back.
async fn send(server: &Arc<ServerConfig>, bytes: &[u8]) -> (HandshakeFault, Vec<u8>) {
    let (here, mut there) = tokio::io::duplex(64 * 1024);
    let client = async {
        there.write_all(bytes).await.expect("bytes are sent");
        there.shutdown().await.expect("one side can be closed");
        let mut back = Vec::new();
        let _ = there.read_to_end(&mut back).await;
        back
    };
    let (accepted, back) = tokio::join!(accept(here, server.clone(), SOON), client);
    (accepted.err().expect("no handshake").fault, back)
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_ca_is_recognised() {
    let (ours, theirs) = (Fixture::new(), Fixture::new());
    let (accepted, connected) = shake(&ours.server(), &theirs.client(H2_AND_HTTP11), "a.example").await;
    let error = accepted.err().expect("no handshake");
    assert_eq!(
        error.to_string(),
        "the client does not trust this CA (its alert: unknown_ca)"
    );
    assert_eq!(
        (error.sni.as_deref(), error.fault.reason()),
        (Some("a.example"), "distrusted")
    );
    let error = connected.err().expect("no handshake");
    assert_eq!(
        error.to_string(),
        "its certificate is not accepted: nobody trusted has signed it"
    );
}

#[tokio::test]
async fn a_name_without_certificate_ends_with_unrecognized_name() {
    let fixture = Fixture::new();
    let (accepted, connected) = shake(&fixture.server(), &fixture.client(H2_AND_HTTP11), "www.other.test").await;
    let error = accepted.err().expect("no handshake");
    assert_eq!(
        (error.sni.as_deref(), error.fault.reason()),
        (Some("www.other.test"), "no_certificate")
    );
    let error = connected.err().expect("no handshake");
    assert_eq!(
        error.to_string(),
        "it ended the handshake with the alert unrecognised_name"
    );
}

#[tokio::test]
async fn no_common_protocol_tells_what_was_offered() {
    let fixture = Fixture::new();
    let offered: &[&[u8]] = &[b"imap", b"x\x00y"];
    let (accepted, connected) = shake(&fixture.server(), &fixture.client(offered), "a.example").await;
    let error = accepted.err().expect("no handshake");
    assert_eq!(
        error.to_string(),
        "the client offered imap, x\\x00y and none of it is spoken here"
    );
    assert_eq!(error.fault.reason(), "no_alpn");
    let error = connected.err().expect("no handshake");
    assert_eq!(
        error.to_string(),
        "it ended the handshake with the alert no_application_protocol"
    );
}

#[tokio::test]
async fn what_is_no_tls_is_told_apart_from_silence() {
    let server = Fixture::new().server();
    for plain in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"\x05\x01\x00\x05\x01\x00",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ] {
        let (fault, _) = send(&server, plain).await;
        assert_eq!(fault.reason(), "not_tls", "{fault}: {plain:?}");
    }
    assert_eq!(send(&server, b"").await.0.reason(), "silent");
    // A record header that promises more than comes.
    assert_eq!(
        send(&server, b"\x16\x03\x01\x02\x00\x01\x00").await.0.reason(),
        "silent"
    );
}

#[tokio::test]
async fn broken_messages_are_errors_and_never_a_panic() {
    let server = Fixture::new().server();
    let mut seed = 7_u32;
    for round in 0..300_u32 {
        let mut bytes = vec![22, 3, 1, 0, 60];
        for _ in 0..60 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bytes.push(seed.to_be_bytes()[0]);
        }
        if round % 2 == 0 {
            // So that it at least looks like a ClientHello of that length.
            bytes[5..11].copy_from_slice(&[1, 0, 0, 56, 3, 3]);
        }
        let (fault, _) = send(&server, &bytes).await;
        assert!(["tls", "silent", "not_tls"].contains(&fault.reason()), "{fault}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_is_named_so() {
    let fixture = Fixture::new();
    let (here, there) = tokio::io::duplex(64 * 1024);
    let client = async {
        // Asked once, it sends its ClientHello; then it is dropped with its connection.
        tokio::select! {
            biased;
            _ = connect(there, "a.example", fixture.client(H2_AND_HTTP11), SOON) => panic!("nobody has answered"),
            () = std::future::ready(()) => {}
        }
    };
    let (accepted, ()) = tokio::join!(accept(here, fixture.server(), SOON), client);
    let error = accepted.err().expect("no handshake");
    assert_eq!(
        (error.sni.as_deref(), error.fault.reason()),
        (Some("a.example"), "aborted"),
        "{error}"
    );
}

#[tokio::test]
async fn both_sides_have_a_deadline() {
    let fixture = Fixture::new();
    let (here, _open) = tokio::io::duplex(64);
    let error = accept(here, fixture.server(), Duration::from_millis(20))
        .await
        .err()
        .expect("no handshake");
    assert_eq!(error.fault.reason(), "timeout");
    let (here, _open) = tokio::io::duplex(64 * 1024);
    let error = connect(here, "a.example", fixture.client(&[]), Duration::from_millis(20))
        .await
        .err();
    assert!(matches!(error, Some(ConnectError::Timeout)));
}

#[tokio::test]
async fn the_client_says_what_is_wrong_with_a_certificate_or_a_server() {
    let fixture = Fixture::new();
    let minter = sc_tls::Minter::new(fixture.ca.clone(), |_| false, sc_tls::Uncovered::Fallback).expect("a minter");
    let server = sc_tls::server_config(Arc::new(minter), H2_AND_HTTP11).expect("a configuration");
    let (accepted, connected) = shake(&server, &fixture.client(HTTP11_ONLY), "a.example").await;
    let words = connected.err().expect("another name").to_string();
    assert!(
        words.starts_with("its certificate is not accepted: it is for another name ("),
        "{words}"
    );
    assert_eq!(accepted.err().expect("no handshake").fault.reason(), "distrusted");

    let (here, mut there) = tokio::io::duplex(64 * 1024);
    there
        .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        .await
        .expect("bytes are sent");
    let error = connect(here, "a.example", fixture.client(HTTP11_ONLY), SOON)
        .await
        .err()
        .expect("no handshake");
    assert_eq!(error.to_string(), "it does not speak TLS");

    let (here, there) = tokio::io::duplex(64 * 1024);
    drop(there);
    let error = connect(here, "a.example", fixture.client(HTTP11_ONLY), SOON)
        .await
        .err()
        .expect("no handshake");
    assert!(matches!(error, ConnectError::Closed), "{error}");

    let (here, _there) = tokio::io::duplex(64 * 1024);
    let error = connect(here, "not a name", fixture.client(HTTP11_ONLY), SOON)
        .await
        .err()
        .expect("no handshake");
    assert_eq!(
        error.to_string(),
        "`not a name` is not a name that a certificate can have"
    );
}

#[test]
fn trust_that_cannot_be_loaded_names_the_file() {
    let fixture = Fixture::new();
    let missing = fixture.path_of("missing.pem");
    let error = client_config(&ClientTrust::Pem(missing.clone()), &[]).expect_err("no such file");
    assert_eq!(error.to_string(), format!("cannot read `{}`", missing.display()));
    fs::write(&missing, "nothing").expect("a file can be written");
    let error = client_config(&ClientTrust::Pem(missing.clone()), &[]).expect_err("no certificate");
    assert!(matches!(error, ClientConfigError::Pem(_)));
    assert_eq!(
        error.to_string(),
        format!("`{}` holds no certificate", missing.display())
    );
    client_config(&ClientTrust::Platform, &[]).expect("this machine trusts somebody");
}
