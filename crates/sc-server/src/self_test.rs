//! One request of a server to itself, in memory: a handshake with the listener's own configuration, HTTP/2, a site that
//! is found by its name. A server that cannot do this is not let near a socket.
//!
//! It proves nothing about applications and files, which come and go; no application is asked. Whether the certificate
//! covers the name is for whoever loaded it to say: here any certificate will do.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use sc_http::client::{Incoming, Outgoing, SendError, h2_handshake};
use sc_http::{Answer, Body, ClientLimits, Drain, Exchange, Fault, Head, Interim, Scheme, Service, h2};
use sc_tls::{Alpn, ClientConfigError, ClientTrust, ConnectError, H2_AND_HTTP11, HandshakeError};
use tokio::io::DuplexStream;
use tokio_util::sync::CancellationToken;

use crate::server::Shared;

/// How long it may take. It takes milliseconds, unless the machine is about to fail.
const TIME: Duration = Duration::from_secs(10);

/// Room between the two ends: a handshake with a chain of certificates.
const ROOM_BYTES: usize = 64 << 10;

/// Why a server cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// The client's side could not be made.
    #[error("the self-test's own client cannot be configured")]
    Client(#[source] ClientConfigError),
    /// The listener's side of the handshake failed.
    #[error("the TLS handshake failed on the server's side")]
    Handshake(#[source] HandshakeError),
    /// The client's side of the handshake failed.
    #[error("the TLS handshake failed on the client's side")]
    Connect(#[source] ConnectError),
    /// HTTP/2 was not agreed on.
    #[error("HTTP/2 was not agreed on")]
    Alpn,
    /// The request got no answer.
    #[error("the request got no answer")]
    Http(#[source] Fault),
    /// No site answers for the name.
    #[error("no site answers for `{0}`")]
    NoSite(String),
    /// The answer is not the one that was given.
    #[error("the answer has status {0}")]
    Status(StatusCode),
    /// The server's side ended before the answer.
    #[error("the connection ended before the answer")]
    Ended,
    /// It took too long.
    #[error("it took longer than {} s", TIME.as_secs())]
    Time,
}

/// Makes the request; leaves no record and is counted nowhere.
pub(crate) async fn run(shared: &Shared, name: &str) -> Result<(), SelfTestError> {
    // A wildcard's certificate and site answer for every name below it.
    let host = name
        .strip_prefix("*.")
        .map_or_else(|| name.to_owned(), |below| format!("self-test.{below}"));
    let (near, far) = tokio::io::duplex(ROOM_BYTES);
    let both = async {
        tokio::select! {
            asked = ask(near, &host) => asked,
            ended = answer(far, shared) => Err(ended),
        }
    };
    tokio::time::timeout(TIME, Box::pin(both))
        .await
        .unwrap_or(Err(SelfTestError::Time))
}

/// The server's side; never ends well before the client's.
async fn answer(io: DuplexStream, shared: &Shared) -> SelfTestError {
    let accepted = match sc_tls::accept(io, shared.tls.clone(), TIME).await {
        Ok(accepted) => accepted,
        Err(error) => return SelfTestError::Handshake(error),
    };
    if accepted.alpn != Alpn::H2 {
        return SelfTestError::Alpn;
    }
    let service = std::rc::Rc::new(Found(shared.current_sites()));
    let drain = Drain::at_once(CancellationToken::new());
    match h2::serve(accepted.stream, service, &shared.bounds().http, drain).await {
        Some(fault) => SelfTestError::Http(fault),
        None => SelfTestError::Ended,
    }
}

/// Answers whether there is a site.
struct Found(std::rc::Rc<sc_site::Sites>);

impl Service for Found {
    async fn answer(&self, exchange: Box<Exchange>) -> Answer {
        let status = match self.0.find(exchange.authority.host()) {
            Some(_) => StatusCode::NO_CONTENT,
            None => StatusCode::MISDIRECTED_REQUEST,
        };
        Answer::new(Head::new(status), Body::empty())
    }
}

/// The client's side.
async fn ask(io: DuplexStream, host: &str) -> Result<(), SelfTestError> {
    let config = sc_tls::client_config(&ClientTrust::Insecure, H2_AND_HTTP11).map_err(SelfTestError::Client)?;
    let connected = match sc_tls::connect(io, host, config, TIME).await {
        Ok(connected) => connected,
        // The server's side knows why, and says so.
        Err(ConnectError::Alert(_) | ConnectError::Closed) => return std::future::pending().await,
        Err(error) => return Err(SelfTestError::Connect(error)),
    };
    if connected.alpn != Alpn::H2 {
        return Err(SelfTestError::Alpn);
    }
    let (client, driver) = h2_handshake(connected.stream).await.map_err(SelfTestError::Http)?;
    let out = Outgoing {
        method: Method::GET,
        target: "/".into(),
        authority: host.to_owned(),
        scheme: Scheme::Https,
        headers: HeaderMap::new(),
        upgrade: None,
        body: Body::empty(),
    };
    let (interim, limits) = (Interim::default(), ClientLimits::default());
    let sent = tokio::select! {
        sent = client.send(Box::new(out), &interim, &limits) => sent,
        () = driver => return Err(SelfTestError::Ended),
    };
    match sent {
        Ok(Incoming::Response { head, .. }) => match head.status {
            StatusCode::NO_CONTENT => Ok(()),
            StatusCode::MISDIRECTED_REQUEST => Err(SelfTestError::NoSite(host.to_owned())),
            status => Err(SelfTestError::Status(status)),
        },
        Ok(Incoming::Upgraded { head, .. }) => Err(SelfTestError::Status(head.status)),
        Err(SendError { fault, .. }) => Err(SelfTestError::Http(fault)),
    }
}
