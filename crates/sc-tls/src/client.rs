//! The client's side, towards applications that speak https: whom to trust, the configuration, the handshake.
//!
//! Trust is decided per upstream: the platform's roots, one PEM file, or nothing at all. Failures are told apart so that
//! a person learns whether the certificate is at fault or the conversation. Connections are dialled and pooled elsewhere.

mod trust;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::{AlertDescription, CertificateError, ClientConfig, ProtocolVersion};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use self::trust::ClientTrust;
use crate::alpn::{Alpn, owned};
use crate::files::FilesError;
use crate::provider::provider;
use crate::server::{alert_name, is_end, tls_error};

/// Sessions kept per configuration, for all its upstreams together.
const SESSIONS: usize = 64;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ClientConfigError {
    /// The PEM file cannot be used.
    #[error(transparent)]
    Pem(#[from] FilesError),
    /// The platform's roots cannot be loaded.
    #[error("the platform's trusted certificates cannot be loaded")]
    Platform(#[source] rustls::Error),
    /// rustls refuses the trust that was given.
    #[error("the trusted certificates cannot be used")]
    Trust(#[source] rustls::Error),
}

/// A finished handshake.
pub struct Connected<IO> {
    /// The decrypted stream.
    pub stream: TlsStream<IO>,
    /// The protocol agreed on.
    pub alpn: Alpn,
    /// `TLSv1_2` or `TLSv1_3`.
    pub version: ProtocolVersion,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
}

/// Why a connection could not be secured.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name is neither a DNS name nor an address.
    #[error("`{0}` is not a name that a certificate can have")]
    Name(String),
    /// The server's certificate does not hold.
    #[error("its certificate is not accepted: {}", certificate_words(.0))]
    Certificate(CertificateError),
    /// The server ended the handshake with an alert.
    #[error("it ended the handshake with the alert {}", alert_name(*.0))]
    Alert(AlertDescription),
    /// The server's answer is no TLS.
    #[error("it does not speak TLS")]
    NotTls,
    /// The connection ended in the middle.
    #[error("it closed the connection during the handshake")]
    Closed,
    /// The deadline passed.
    #[error("the TLS handshake took too long")]
    Timeout,
    /// No common version, cipher suite or the like.
    #[error("it and we cannot agree")]
    Tls(#[source] rustls::Error),
    /// The connection failed.
    #[error("the connection failed during the TLS handshake")]
    Io(#[source] io::Error),
}

/// The configuration towards upstreams: TLS 1.2 and 1.3, X25519MLKEM768 first, sessions remembered, no early data.
///
/// Shape: `alpn` is what is offered; empty offers nothing. Reads files; blocks for some milliseconds with `Platform`.
/// Errors: as `ClientConfigError` says.
pub fn client_config(trust: &ClientTrust, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, ClientConfigError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(ClientConfigError::Trust)?;
    let verifier = trust::verifier(trust)?;
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = owned(alpn);
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok(Arc::new(config))
}

/// Runs the client's side of a handshake.
///
/// Shape: `name` is a DNS name, which becomes the SNI, or an address, which does not; brackets around IPv6 are allowed.
/// Errors: `ConnectError`; the connection is gone then.
/// Cancel: drops the connection.
pub async fn connect<IO>(
    io: IO,
    name: &str,
    config: Arc<ClientConfig>,
    deadline: Duration,
) -> Result<Connected<IO>, ConnectError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let server_name = server_name(name)?;
    let stream = match timeout(deadline, TlsConnector::from(config).connect(server_name, io)).await {
        Err(_) => return Err(ConnectError::Timeout),
        Ok(Err(error)) => return Err(explain(error)),
        Ok(Ok(stream)) => stream,
    };
    let (_, connection) = stream.get_ref();
    Ok(Connected {
        alpn: Alpn::from_agreed(connection.alpn_protocol()),
        version: connection.protocol_version().unwrap_or(ProtocolVersion::TLSv1_2),
        resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        stream,
    })
}

fn server_name(name: &str) -> Result<ServerName<'static>, ConnectError> {
    let bare = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(name);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(ServerName::IpAddress(address.into()));
    }
    ServerName::try_from(name.strip_suffix('.').unwrap_or(name).to_owned())
        .map_err(|_| ConnectError::Name(name.to_owned()))
}

fn explain(error: io::Error) -> ConnectError {
    match tls_error(&error) {
        Some(rustls::Error::InvalidCertificate(why)) => ConnectError::Certificate(why.clone()),
        Some(rustls::Error::AlertReceived(alert)) => ConnectError::Alert(*alert),
        Some(rustls::Error::InvalidMessage(_)) => ConnectError::NotTls,
        Some(other) => ConnectError::Tls(other.clone()),
        None if is_end(&error) => ConnectError::Closed,
        None => ConnectError::Io(error),
    }
}

fn certificate_words(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "nobody trusted has signed it".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet".to_owned(),
        CertificateError::NotValidForName => "it is for another name".to_owned(),
        CertificateError::NotValidForNameContext { presented, .. } => {
            format!("it is for another name ({})", presented.join(", "))
        }
        other => other.to_string(),
    }
}
