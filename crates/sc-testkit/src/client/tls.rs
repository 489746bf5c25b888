//! A blocking TLS client over any stream, trusting one PEM file.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};

/// A decrypted stream; `conn` tells protocol and certificates.
pub type TlsStream<S> = StreamOwned<ClientConnection, S>;

/// Runs a handshake over `stream` with the server `name`, whose certificate the first of `ca_pem` must have signed.
///
/// Shape: `alpn` as offered, e.g. `&["http/1.1"]`. `Err` with the words of rustls or the system when it fails.
pub fn tls_over<S: Read + Write>(stream: S, name: &str, ca_pem: &Path, alpn: &[&str]) -> Result<TlsStream<S>, String> {
    TlsClient::new(ca_pem, alpn).over(stream, name)
}

/// A client that remembers its sessions, as browsers do.
#[derive(Clone)]
pub struct TlsClient(Arc<ClientConfig>);

impl TlsClient {
    /// A client that has no sessions yet.
    pub fn new(ca_pem: &Path, alpn: &[&str]) -> TlsClient {
        let mut config = config_trusting(ca_pem);
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsClient(Arc::new(config))
    }

    /// Runs a handshake over `stream` with the server `name`; `Err` as in [`tls_over`].
    pub fn over<S: Read + Write>(&self, stream: S, name: &str) -> Result<TlsStream<S>, String> {
        let name = ServerName::try_from(name.to_owned()).expect("a name or an address");
        let connection = ClientConnection::new(self.0.clone(), name).map_err(|error| error.to_string())?;
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream
                .conn
                .complete_io(&mut stream.sock)
                .map_err(|error| error.to_string())?;
        }
        Ok(stream)
    }
}

/// Whether the handshake of a stream took up an earlier session.
pub fn is_resumed<S: Read + Write>(stream: &TlsStream<S>) -> bool {
    stream.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
}

/// A configuration that trusts the certificates of a PEM file.
pub fn config_trusting(ca_pem: &Path) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_pem).unwrap_or_else(|e| panic!("{}: {e}", ca_pem.display())) {
        roots
            .add(certificate.expect("correct PEM"))
            .expect("a usable certificate");
    }
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has all versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}
