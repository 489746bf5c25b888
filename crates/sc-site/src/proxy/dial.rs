//! One new connection to an application: dialled, secured when it must be, ready for its protocol.
//!
//! `localhost` is dialled on both ::1 and 127.0.0.1 whatever the hosts file says, because development servers bind to
//! one or the other. Every failure becomes a [`Fault`] that says in words what was tried. Pooling is [`super::endpoint`]'s.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use sc_http::client::{H1, H2, h2_handshake};
use sc_http::fastcgi::FastCgi;
use sc_http::{Duplex, Fault, Kind, Retry, Side};
use sc_net::dial::{Resolver, dial_with};
use sc_net::{DialError, Guard, Stream, UpstreamAddr};
use sc_tls::{Alpn, ClientConfig, ConnectError};
use tokio::time::{Instant, timeout_at};

use crate::spec::{Timeouts, UpstreamProtocol};

/// A connection, whatever carries it.
pub(crate) type Io = Box<dyn Duplex>;

/// What drives an HTTP/2 connection until it ends.
pub(crate) type Driver = Pin<Box<dyn Future<Output = ()>>>;

/// How connections to an application are made.
#[derive(Debug)]
pub(crate) struct Dialer {
    pub(crate) protocol: UpstreamProtocol,
    /// For [`UpstreamProtocol::Https`]: offers HTTP/2 and HTTP/1.1.
    pub(crate) tls: Option<Tls>,
    pub(crate) timeouts: Timeouts,
    pub(crate) resolver: Resolver,
    /// Which address of the name a connection was made to last. A server that listens on one of the families alone would
    /// otherwise be asked for the other one first, each time.
    pub(crate) answered: Cell<Option<SocketAddr>>,
}

/// TLS towards an application.
#[derive(Debug)]
pub(crate) struct Tls {
    /// Offers HTTP/2 and HTTP/1.1.
    pub(crate) any: Arc<ClientConfig>,
    /// Offers HTTP/1.1 alone: what an upgrade needs, since few HTTP/2 servers take extended CONNECT.
    pub(crate) http11: Arc<ClientConfig>,
    /// The name that the certificate must have, when it is configured.
    pub(crate) name: Option<String>,
}

/// A fresh connection.
pub(crate) enum Fresh {
    H1(H1<Io>),
    H2(H2, Driver),
    FastCgi(FastCgi<Io>),
}

/// Resolves `localhost` to both loopback addresses, and all other names as the system does.
pub(crate) fn resolver_for(addr: &UpstreamAddr) -> Resolver {
    match addr {
        UpstreamAddr::Name { host, .. } if host.eq_ignore_ascii_case("localhost") => {
            let both = vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
            Resolver::Table(HashMap::from([(host.clone(), both)]))
        }
        _ => Resolver::System,
    }
}

impl Dialer {
    /// Makes a connection within the time limit for connecting.
    ///
    /// Shape: `asked` is the host of the request, the name of last resort for TLS; `is_upgrade` keeps to HTTP/1.1 over TLS.
    /// Errors: a fault after which any request may be sent elsewhere: nothing was sent.
    /// Cancel: drops the attempt.
    pub(crate) async fn dial(&self, addr: &UpstreamAddr, asked: &str, is_upgrade: bool) -> Result<Fresh, Fault> {
        let until = Instant::now() + self.timeouts.connect;
        // Every address in the configuration is meant: the guard is for what clients ask for.
        let (guard, last) = (Guard::any(), self.answered.get());
        let dialled = dial_with(addr, &guard, self.timeouts.connect, &self.resolver, last)
            .await
            .map_err(not_dialled)?;
        if let UpstreamAddr::Tcp(socket) = dialled.addr {
            self.answered.set(Some(socket));
        }
        match self.protocol {
            UpstreamProtocol::Http => Ok(Fresh::H1(H1::new(Box::new(dialled.stream)))),
            UpstreamProtocol::FastCgi => Ok(Fresh::FastCgi(FastCgi::new(Box::new(dialled.stream)))),
            // On the heap, since what is plain need not hold the size of a handshake.
            UpstreamProtocol::H2c | UpstreamProtocol::Https => {
                let asks = Asks {
                    addr,
                    asked,
                    is_upgrade,
                };
                Box::pin(self.shake_hands(dialled.stream, asks, until)).await
            }
        }
    }

    /// Begins TLS, and the protocol that is agreed on.
    async fn shake_hands(&self, stream: Stream, asks: Asks<'_>, until: Instant) -> Result<Fresh, Fault> {
        let addr = asks.addr;
        let (io, alpn): (Io, Alpn) = match &self.tls {
            None => (Box::new(stream), Alpn::H2),
            Some(tls) => {
                let config = if asks.is_upgrade { &tls.http11 } else { &tls.any };
                let name = tls.name.as_deref().or(name_of(addr)).unwrap_or(asks.asked);
                let left = until.saturating_duration_since(Instant::now());
                let secured = sc_tls::connect(stream, name, config.clone(), left).await;
                let secured = secured.map_err(|error| not_secured(addr, name, error))?;
                (Box::new(secured.stream), secured.alpn)
            }
        };
        if alpn != Alpn::H2 {
            return Ok(Fresh::H1(H1::new(io)));
        }
        let late = |_| {
            fault(
                Kind::UpstreamTimeout,
                format!("{addr} accepted, but did not begin HTTP/2 in time"),
            )
        };
        let (h2, driver) = timeout_at(until, h2_handshake(io))
            .await
            .map_err(late)?
            .map_err(|fault| fault.retry(Retry::Safe))?;
        Ok(Fresh::H2(h2, Box::pin(driver)))
    }
}

/// For whom a connection is made.
struct Asks<'a> {
    addr: &'a UpstreamAddr,
    /// The host of the request.
    asked: &'a str,
    is_upgrade: bool,
}

fn name_of(addr: &UpstreamAddr) -> Option<&str> {
    match addr {
        UpstreamAddr::Name { host, .. } => Some(host),
        UpstreamAddr::Tcp(_) | UpstreamAddr::Unix(_) => None,
    }
}

/// A fault before anything of the request was sent.
fn fault(kind: Kind, detail: String) -> Fault {
    Fault::new(Side::Upstream, kind, detail).retry(Retry::Safe)
}

fn not_dialled(error: DialError) -> Fault {
    let (kind, detail) = match &error {
        DialError::Timeout { .. } => (Kind::UpstreamTimeout, "no connection to the application"),
        // What connect(2) says of a unix socket on which as many wait as its `listen.backlog` allows.
        DialError::ConnectPath { source, .. } if source.kind() == io::ErrorKind::WouldBlock => {
            (Kind::UpstreamBusy, "the application's queue of connections is full")
        }
        _ => (Kind::UpstreamConnect, "no connection to the application"),
    };
    fault(kind, detail.to_owned()).caused_by(error)
}

fn not_secured(addr: &UpstreamAddr, name: &str, error: ConnectError) -> Fault {
    let kind = match error {
        ConnectError::Timeout => Kind::UpstreamTimeout,
        ConnectError::Closed | ConnectError::Io(_) => Kind::UpstreamClosed,
        _ => Kind::UpstreamTls,
    };
    fault(kind, format!("no TLS with the application at {addr} as `{name}`")).caused_by(error)
}
