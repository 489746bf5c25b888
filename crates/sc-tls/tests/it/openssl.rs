//! OpenSSL as the other side: what it says of our certificates, and its client against our server.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, mpsc};

use sc_testkit::find_program;
use sc_tls::{Accepted, HandshakeError, ServerConfig, accept};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Fixture, SOON};

fn openssl(arguments: &[&str]) -> Output {
    let mut command = Command::new(find_program("openssl"));
    // A pipe that stays open: at the end of its input s_client would leave before it has seen the tickets.
    let child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = child.spawn().expect("openssl can be started");
    let _input = child.stdin.take();
    child.wait_with_output().expect("openssl ends")
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

type Result = std::result::Result<Accepted<TcpStream>, HandshakeError>;

/// Takes `count` connections in a thread, says `hello` on each that shakes hands, and hands over what became of them.
fn serve(config: Arc<ServerConfig>, count: usize) -> (SocketAddr, mpsc::Receiver<Result>) {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    listener
        .set_nonblocking(true)
        .expect("a socket can be made non-blocking");
    let address = listener.local_addr().expect("a bound socket has an address");
    let (results, received) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).expect("a listener");
            for _ in 0..count {
                let (stream, _) = listener.accept().await.expect("a connection");
                let mut result = accept(stream, config.clone(), SOON).await;
                if let Ok(accepted) = &mut result {
                    accepted.stream.write_all(b"hello\n").await.expect("bytes are sent");
                    accepted.stream.shutdown().await.expect("a connection can be closed");
                }
                let _ = results.send(result);
            }
        });
    });
    (address, received)
}

fn s_client(address: SocketAddr, ca: &Path, more: &[&str]) -> Output {
    let (address, ca) = (address.to_string(), ca.display().to_string());
    let fixed = ["s_client", "-connect", &address, "-CAfile", &ca, "-verify_return_error"];
    openssl(&[&fixed[..], more].concat())
}

#[test]
fn certificates_hold_before_openssl() {
    let fixture = Fixture::new();
    let key = fixture
        .minter()
        .certified_key(Some("www.shop.example"))
        .expect("a leaf")
        .expect("a leaf");
    let leaf = fixture.path_of("leaf.der");
    fs::write(&leaf, key.end_entity_cert().expect("a leaf")).expect("a file can be written");
    let (leaf, ca) = (leaf.display().to_string(), fixture.ca.pem_path().display().to_string());
    let verified = openssl(&[
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-verify_hostname",
        "www.shop.example",
        "-CAfile",
        &ca,
        &leaf,
    ]);
    assert!(verified.status.success(), "{}", text(&verified));
    let other = openssl(&["verify", "-verify_hostname", "www.other.example", "-CAfile", &ca, &leaf]);
    assert!(text(&other).contains("hostname mismatch"), "{}", text(&other));

    let shown = text(&openssl(&["x509", "-in", &ca, "-noout", "-text"]));
    for expected in [
        "Subject: CN = ShimmerCat devlove CA: shop ",
        "X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:0",
        "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign",
        "X509v3 Subject Key Identifier",
        "X509v3 Authority Key Identifier",
        "ASN1 OID: prime256v1",
        "ecdsa-with-SHA256",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let spki = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "openssl x509 -in '{ca}' -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl base64"
        ))
        .output()
        .expect("openssl can be started");
    assert_eq!(
        String::from_utf8_lossy(&spki.stdout).trim(),
        fixture.ca.spki_sha256_base64()
    );
}

#[test]
fn openssl_shakes_hands_in_both_versions_and_resumes() {
    let fixture = Fixture::new();
    let (address, results) = serve(fixture.server(), 4);
    for (flag, version) in [("-tls1_3", "TLSv1_3"), ("-tls1_2", "TLSv1_2")] {
        let session = fixture.path_of(version).display().to_string();
        let name = [
            "-servername",
            "www.shop.example",
            "-verify_hostname",
            "www.shop.example",
            "-alpn",
            "h2,http/1.1",
        ];
        let first = s_client(
            address,
            fixture.ca.pem_path(),
            &[&name[..], &[flag, "-sess_out", &session]].concat(),
        );
        let said = text(&first);
        assert!(
            first.status.success() && said.contains("Verify return code: 0 (ok)"),
            "{said}"
        );
        assert!(said.contains("ALPN protocol: h2") && said.contains("hello"), "{said}");
        let second = text(&s_client(
            address,
            fixture.ca.pem_path(),
            &[&name[..], &[flag, "-sess_in", &session]].concat(),
        ));
        assert!(second.contains("Reused, "), "{second}");
        for expected in [false, true] {
            let accepted = results.recv_timeout(SOON).expect("a result").expect("a handshake");
            assert_eq!(
                (format!("{:?}", accepted.version).as_str(), accepted.resumed),
                (version, expected)
            );
        }
    }
}

#[test]
fn openssl_without_our_ca_is_recognised_in_both_versions() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    let (address, results) = serve(fixture.server(), 2);
    for flag in ["-tls1_3", "-tls1_2"] {
        let refused = s_client(address, other.ca.pem_path(), &[flag, "-servername", "a.example"]);
        assert!(!refused.status.success());
        let error = results
            .recv_timeout(SOON)
            .expect("a result")
            .err()
            .expect("no handshake");
        assert_eq!(
            error.to_string(),
            "the client does not trust this CA (its alert: unknown_ca)",
            "{flag}"
        );
    }
}

#[test]
fn openssl_understands_our_other_refusals() {
    let fixture = Fixture::new();
    let (address, results) = serve(fixture.server(), 3);
    for (arguments, alert, reason) in [
        (
            ["-servername", "www.other.test", "-tls1_3"],
            "tlsv1 unrecognized name",
            "no_certificate",
        ),
        (
            ["-servername", "www.other.test", "-tls1_2"],
            "tlsv1 unrecognized name",
            "no_certificate",
        ),
        (
            ["-servername=a.example", "-alpn", "imap"],
            "no application protocol",
            "no_alpn",
        ),
    ] {
        let said = text(&s_client(address, fixture.ca.pem_path(), &arguments));
        assert!(said.contains(alert), "{said}");
        let error = results
            .recv_timeout(SOON)
            .expect("a result")
            .err()
            .expect("no handshake");
        assert_eq!(error.fault.reason(), reason);
    }
}
