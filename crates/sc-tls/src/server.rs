//! The server's side: the rustls configuration and the handshake, with failures told apart.
//!
//! A handshake fails every day for reasons that are nobody's fault; the caller logs them and goes on. `HandshakeFault`
//! says which reason it was in words that help a person, `reason` gives the label for a log. Certificates come from a
//! resolver (`minter`, later a store); the stream that comes out is for `sc-http`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{Acceptor, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::{AlertDescription, InvalidMessage, KeyLog, ProtocolVersion, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::{StartHandshake, TlsStream};

use crate::alpn::{Alpn, H2_AND_HTTP11, owned};
use crate::provider::provider;
use crate::tickets::Tickets;

/// TLS 1.2 clients without ticket support only; everybody else keeps their own state in a ticket.
const SESSION_CACHE_ENTRIES: usize = 256;
/// Two connections at once can each resume with a ticket of their own (RFC 8446 §C.4).
const TICKETS_PER_HANDSHAKE: usize = 2;
/// What one connection may hold that its slow reader has not taken: four records.
const UNSENT_LIMIT_BYTES: usize = 64 * 1024;
/// More than any real client offers; a list for a log line, not a copy of what a stranger sent.
const OFFERS_SHOWN: usize = 8;
/// A fatal `unrecognized_name` alert in a record of its own. Source: RFC 6066 §3, RFC 8446 §6.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// What may differ between server configurations beside certificates and protocols.
#[derive(Clone, Default)]
pub struct ServerOptions {
    /// Receives the secrets of every connection. For a person who decrypts their own traffic, never for production.
    pub key_log: Option<Arc<dyn KeyLog>>,
    /// Remembers no sessions and issues no tickets: each handshake is a full one.
    pub no_resumption: bool,
}

/// A finished handshake.
pub struct Accepted<IO> {
    /// The decrypted stream.
    pub stream: TlsStream<IO>,
    /// The name that the client asked for (RFC 6066 §3), lower case.
    pub sni: Option<String>,
    /// The protocol agreed on.
    pub alpn: Alpn,
    /// `TLSv1_2` or `TLSv1_3`.
    pub version: ProtocolVersion,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
}

/// A handshake that came to nothing.
#[derive(Debug, thiserror::Error)]
#[error("{fault}")]
pub struct HandshakeError {
    /// The name that the client asked for, when it got so far.
    pub sni: Option<String>,
    /// What went wrong.
    pub fault: HandshakeFault,
}

/// The reasons for which a handshake fails.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeFault {
    /// The first bytes are no TLS.
    #[error("the client does not speak TLS")]
    NotTls,
    /// The connection ended before the client had asked for anything: a port check, or a connection opened ahead.
    #[error("the client closed the connection before it said anything")]
    Silent,
    /// The connection ended in the middle.
    #[error("the client closed the connection during the handshake")]
    Aborted,
    /// The deadline passed.
    #[error("the handshake took too long")]
    Timeout,
    /// No common application protocol (RFC 7301 §3.2).
    #[error("the client offered {} and none of it is spoken here", offered.join(", "))]
    NoSharedAlpn {
        /// What the client offered, the first few.
        offered: Vec<String>,
    },
    /// There is no certificate for the name.
    #[error("there is no certificate for the name that the client asked for")]
    NoCertificate,
    /// The client refused our certificate with this alert.
    #[error("the client does not trust this CA (its alert: {})", alert_name(*.0))]
    Distrusted(AlertDescription),
    /// The client ended the handshake with another alert.
    #[error("the client ended the handshake with the alert {}", alert_name(*.0))]
    Alert(AlertDescription),
    /// No common version, cipher suite or the like, or a broken message.
    #[error("the client and we cannot agree")]
    Tls(#[source] rustls::Error),
    /// The connection failed.
    #[error("the connection failed during the handshake")]
    Io(#[source] io::Error),
}

impl HandshakeFault {
    /// The label in logs and metrics; never changes.
    pub fn reason(&self) -> &'static str {
        match self {
            HandshakeFault::NotTls => "not_tls",
            HandshakeFault::Silent => "silent",
            HandshakeFault::Aborted => "aborted",
            HandshakeFault::Timeout => "timeout",
            HandshakeFault::NoSharedAlpn { .. } => "no_alpn",
            HandshakeFault::NoCertificate => "no_certificate",
            HandshakeFault::Distrusted(_) => "distrusted",
            HandshakeFault::Alert(_) => "alert",
            HandshakeFault::Tls(_) => "tls",
            HandshakeFault::Io(_) => "io",
        }
    }
}

/// The configuration of a listener: TLS 1.2 and 1.3, X25519MLKEM768 first, tickets, no early data.
///
/// Shape: `alpn` in the server's order of preference, e.g. `H2_AND_HTTP11`; the first that the client offers too is taken.
/// Errors: `rustls::Error` when the system gives no random bytes for the ticket keys.
pub fn server_config(
    resolver: Arc<dyn ResolvesServerCert>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, rustls::Error> {
    server_config_with(resolver, alpn, ServerOptions::default())
}

/// The same with options.
///
/// Errors: as `server_config`.
pub fn server_config_with(
    resolver: Arc<dyn ResolvesServerCert>,
    alpn: &[&[u8]],
    options: ServerOptions,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = owned(alpn);
    config.max_early_data_size = 0;
    if options.no_resumption {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    } else {
        config.session_storage = ServerSessionMemoryCache::new(SESSION_CACHE_ENTRIES);
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        config.send_tls13_tickets = TICKETS_PER_HANDSHAKE;
    }
    if let Some(key_log) = options.key_log {
        config.key_log = key_log;
    }
    Ok(Arc::new(config))
}

/// The configuration of an instance on the Internet: as [`server_config`], with tickets that every worker can open.
///
/// Shape: HTTP/2 first. No session is kept on our side: a client without tickets makes a full handshake each time, on
/// whichever worker it meets.
/// Errors: `rustls::Error` when the provider lacks a protocol version.
pub fn production_config(
    resolver: Arc<dyn ResolvesServerCert>,
    tickets: Arc<Tickets>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = owned(H2_AND_HTTP11);
    config.max_early_data_size = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = tickets;
    config.send_tls13_tickets = TICKETS_PER_HANDSHAKE;
    Ok(Arc::new(config))
}

/// Runs the server's side of a handshake.
///
/// Shape: `deadline` spans the whole of it, from the first byte on. An idle connection afterwards holds about 4 KiB beyond
/// its own state: rustls gives back what it needed for larger records when nothing is under way.
/// Errors: `HandshakeError`; the connection is gone then, and the client was sent an alert where TLS has one for it.
/// Cancel: drops the connection.
pub async fn accept<IO>(io: IO, config: Arc<ServerConfig>, deadline: Duration) -> Result<Accepted<IO>, HandshakeError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    accept_in_turn(io, config, deadline, std::future::ready(())).await
}

/// The same, waiting for `turn` before the expensive part: when the client has said what it wants, and before anything is
/// computed for it. It belongs to the time of the handshake.
///
/// Errors and Cancel: as [`accept`].
pub async fn accept_in_turn<IO>(
    io: IO,
    config: Arc<ServerConfig>,
    deadline: Duration,
    turn: impl Future<Output = ()>,
) -> Result<Accepted<IO>, HandshakeError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let deadline = Instant::now() + deadline;
    let start = match timeout_at(deadline, LazyConfigAcceptor::new(Acceptor::default(), io)).await {
        Err(_) => {
            return Err(HandshakeError {
                sni: None,
                fault: HandshakeFault::Timeout,
            });
        }
        Ok(Err(error)) => {
            return Err(HandshakeError {
                sni: None,
                fault: before_hello(error),
            });
        }
        Ok(Ok(start)) => start,
    };
    let sni = start.client_hello().server_name().map(str::to_ascii_lowercase);
    let finished = async {
        turn.await;
        finish(start, config, sni.clone()).await
    };
    match timeout_at(deadline, finished).await {
        Err(_) => Err(HandshakeError {
            sni,
            fault: HandshakeFault::Timeout,
        }),
        Ok(Err(fault)) => Err(HandshakeError { sni, fault }),
        Ok(Ok(accepted)) => Ok(accepted),
    }
}

async fn finish<IO>(
    mut start: StartHandshake<IO>,
    config: Arc<ServerConfig>,
    sni: Option<String>,
) -> Result<Accepted<IO>, HandshakeFault>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    // Asked here as well, because rustls would send `access_denied`, which tells the person at the other end nothing.
    if config.cert_resolver.resolve(start.client_hello()).is_none() {
        start
            .io
            .write_all(&UNRECOGNIZED_NAME)
            .await
            .map_err(HandshakeFault::Io)?;
        start.io.shutdown().await.map_err(HandshakeFault::Io)?;
        return Err(HandshakeFault::NoCertificate);
    }
    let offered = offered(&start);
    let accept = start.into_stream_with(config, |connection| {
        connection.set_buffer_limit(Some(UNSENT_LIMIT_BYTES))
    });
    let stream = accept.await.map_err(|error| after_hello(error, offered))?;
    let (_, connection) = stream.get_ref();
    Ok(Accepted {
        sni,
        alpn: Alpn::from_agreed(connection.alpn_protocol()),
        version: connection.protocol_version().unwrap_or(ProtocolVersion::TLSv1_2),
        resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        stream,
    })
}

fn offered<IO>(start: &StartHandshake<IO>) -> Vec<String>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let hello = start.client_hello();
    let protocols = hello.alpn().into_iter().flatten().take(OFFERS_SHOWN);
    protocols.map(|protocol| protocol.escape_ascii().to_string()).collect()
}

fn before_hello(error: io::Error) -> HandshakeFault {
    match tls_error(&error) {
        Some(rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        )) => HandshakeFault::NotTls,
        Some(other) => HandshakeFault::Tls(other.clone()),
        None if is_end(&error) => HandshakeFault::Silent,
        None => HandshakeFault::Io(error),
    }
}

fn after_hello(error: io::Error, offered: Vec<String>) -> HandshakeFault {
    match tls_error(&error) {
        Some(rustls::Error::NoApplicationProtocol) => HandshakeFault::NoSharedAlpn { offered },
        Some(rustls::Error::AlertReceived(alert)) if is_about_our_certificate(*alert) => {
            HandshakeFault::Distrusted(*alert)
        }
        Some(rustls::Error::AlertReceived(alert)) => HandshakeFault::Alert(*alert),
        Some(other) => HandshakeFault::Tls(other.clone()),
        None if is_end(&error) => HandshakeFault::Aborted,
        None => HandshakeFault::Io(error),
    }
}

/// The alerts with which clients refuse a certificate. Source: RFC 8446 §6.2; Chromium sends `certificate_unknown`,
/// Firefox `bad_certificate` or `unknown_ca`, OpenSSL `unknown_ca`.
fn is_about_our_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
    )
}

/// The alert's name as RFC 8446 §6 writes it.
pub(crate) fn alert_name(alert: AlertDescription) -> String {
    let mut name = String::new();
    let mut previous_was_lower = false;
    for character in format!("{alert:?}").chars() {
        if character.is_ascii_uppercase() && previous_was_lower {
            name.push('_');
        }
        previous_was_lower = character.is_ascii_lowercase();
        name.push(character.to_ascii_lowercase());
    }
    name
}

pub(crate) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>()
}

pub(crate) fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}
