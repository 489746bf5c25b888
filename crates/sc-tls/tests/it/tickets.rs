//! Sessions that were begun with one worker are resumed with another.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use sc_tls::{One, Root, Tickets, production_config};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::credentials::Made;
use crate::support::shake;

/// A worker as another process would make it: from documents only.
fn worker(made: &Made, root: &Root, binding: &[u8]) -> Arc<ServerConfig> {
    let credentials = sc_tls::Credentials::from_document(&made.read().to_document()).expect("credentials");
    let root = Root::from_document(&root.to_document()).expect("a root");
    let tickets = Arc::new(Tickets::new(root, binding, SystemTime::now()));
    production_config(One::new(credentials), tickets).expect("a configuration")
}

fn client(made: &Made, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(made.path("chain.pem")).expect("a certificate");
    roots.add(certificate).expect("a root");
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(8);
    Arc::new(config)
}

/// Visits one worker after the other and says which of them resumed.
async fn visit(client: &Arc<ClientConfig>, workers: &[&Arc<ServerConfig>]) -> Vec<bool> {
    let mut resumed = Vec::new();
    for worker in workers {
        let (accepted, connected) = shake(worker, client, "shop.example").await;
        let (mut accepted, mut connected) = (accepted.expect("a handshake"), connected.expect("a handshake"));
        assert_eq!(accepted.resumed, connected.resumed);
        resumed.push(accepted.resumed);
        // Tickets come with the first bytes after the handshake.
        accepted.stream.write_all(b"x").await.expect("bytes are sent");
        accepted.stream.flush().await.expect("bytes are sent");
        connected.stream.read_exact(&mut [0]).await.expect("bytes arrive");
    }
    resumed
}

#[tokio::test]
async fn sessions_are_resumed_across_workers_in_both_versions_of_tls() {
    let made = Made::new(&["shop.example"]);
    let root = Root::random(SystemTime::now()).expect("randomness");
    let (one, two) = (worker(&made, &root, b"shop"), worker(&made, &root, b"shop"));
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let client = client(&made, version);
        assert_eq!(
            visit(&client, &[&one, &two, &one, &two]).await,
            [false, true, true, true],
            "{version:?}"
        );
    }
}

#[tokio::test]
async fn another_root_or_another_binding_means_a_full_handshake_and_nothing_worse() {
    let made = Made::new(&["shop.example"]);
    let root = || Root::random(SystemTime::now()).expect("randomness");
    let (mine, other) = (root(), root());
    let workers = [
        worker(&made, &mine, b"shop"),
        worker(&made, &other, b"shop"),
        worker(&made, &mine, b"blog"),
    ];
    let client = client(&made, &rustls::version::TLS13);
    let [first, second, third] = &workers;
    assert_eq!(visit(&client, &[first, second, third]).await, [false; 3]);
    // The certificate was renewed in between: sessions go on.
    let client = self::client(&made, &rustls::version::TLS13);
    assert_eq!(visit(&client, &[first]).await, [false]);
    made.certify(&["shop.example", "www.shop.example"]);
    assert_eq!(visit(&client, &[&worker(&made, &mine, b"shop")]).await, [true]);
}
