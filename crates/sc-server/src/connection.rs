//! The life of one connection, from accept to its end. Read this file to know what happens to a byte.
//!
//! ```text
//! tls listener     tls() ─ handshake ─ h1 or h2 ─ Exchanges
//! redirect listener   redirect() ─ one plain-HTTP answer, within three seconds
//! proxy listener   first byte ─ SOCKS: ask ─ route ─ Site: tls() on the same stream
//!                             │                   ├ Redirect: one plain-HTTP answer
//!                             │                   ├ Relay: dial ─ reply ─ splice
//!                             │                   └ Refuse: reply
//!                             ├ TLS: tls() by SNI
//!                             └ HTTP: CONNECT joins the same routes; everything else is in `http_proxy`
//! ```

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use sc_http::{Drain, Fault, Scheme, Service, h1, h2};
use sc_net::first_byte::{self, DetectError, Dialect};
use sc_net::socks::{self, Ask, Auth, Command, SocksError, Version};
use sc_net::{Connection, DialError, Guard, Rewound, Stream, Target, dial, relay};
use sc_tls::{Alpn, HandshakeFault, TlsStream};
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::event::Event;
use crate::exchanges::{Exchanges, Redirects};
use crate::http_proxy;
use crate::metrics::Metric;
use crate::network::{Refusal, Route};
use crate::pressure::Wish;
use crate::record::{Around, Entry};
use crate::server::{Kind, Shared, chain};
use crate::shares::Part;
use crate::udp;
use crate::under_way::{Life, Tunnel};

/// Serves one accepted connection until its end.
pub(crate) async fn serve(shared: Rc<Shared>, kind: Kind, serial: u64, mut conn: Connection) {
    let _life = Life::begin(shared.clone(), kind, serial, conn.client.to_string());
    let Ok(part) = shared.shares.enter(&conn.client, &shared.bounds()) else {
        return shared.limited(Metric::LimitConnections, serial, &conn.client);
    };
    if !shared.admits(Wish::Connection { open: part.others() }, serial, &conn.client) {
        return;
    }
    if let Some(shaper) = &shared.shaper {
        conn.stream = shaper.apply(conn.stream);
    }
    match kind {
        Kind::Tls => tls(&shared, serial, Entry::Direct, conn, Some(&part)).await,
        // Boxed: it holds every way that the dialects can go, as far as these are not boxed in turn.
        Kind::Proxy => Box::pin(proxy(&shared, serial, conn)).await,
        Kind::Redirect => Box::pin(redirect(&shared, serial, conn)).await,
    }
}

/// How long a connection to the redirect port may last, whatever its client does. Source: the documentation of the option.
const REDIRECT_TIME: Duration = Duration::from_secs(3);

/// Plain HTTP, one answer, and the end.
async fn redirect(shared: &Rc<Shared>, serial: u64, conn: Connection) {
    // To the protocol engine, a connection for one answer is one whose server is already on its way out.
    let once = CancellationToken::new();
    once.cancel();
    let one = plain_redirects(shared, serial, Entry::Redirect, conn, Drain::at_once(once));
    // Cut otherwise; a client that was not done within the time was told nothing that it could rely on.
    let _ = tokio::time::timeout(REDIRECT_TIME, one).await;
}

async fn plain_redirects(shared: &Rc<Shared>, serial: u64, entry: Entry, conn: Connection, drain: Drain) {
    let service = Rc::new(Redirects {
        shared: shared.clone(),
        around: around(serial, entry, &conn),
    });
    let Connection {
        stream,
        read_ahead,
        permit: _permit,
        ..
    } = conn;
    let stream = Rewound::new(stream, read_ahead);
    let fault = plain_h1(stream, Scheme::Http, service, shared, drain).await;
    report(shared, serial, fault);
}

/// TLS, then HTTP/1.1 or HTTP/2 as ALPN says. Both listeners end here.
pub(crate) async fn tls(shared: &Rc<Shared>, serial: u64, entry: Entry, conn: Connection, part: Option<&Part>) {
    let around = around(serial, entry, &conn);
    let Connection {
        stream,
        read_ahead,
        permit: _permit,
        ..
    } = conn;
    let rewound = Rewound::new(stream, read_ahead);
    // On the heap, so that a connection which waits for requests does not hold the size of a handshake.
    let Some((stream, alpn)) = Box::pin(handshake(shared, entry, &around, rewound, part)).await else {
        return;
    };
    let service = Rc::new(Exchanges {
        shared: shared.clone(),
        around,
    });
    let (bounds, drain) = (shared.bounds(), shared.drain(serial));
    let fault = match alpn {
        Alpn::H2 => Box::pin(h2::serve(stream, service, &bounds.http, drain)).await,
        Alpn::Http11 | Alpn::None => plain_h1(stream, Scheme::Https, service, shared, drain).await,
    };
    report(shared, serial, fault);
}

/// The handshake; `None` when nothing came of it, which was told.
///
/// Shape: the stream is on the heap: it is large, and each step on its way into the protocol engine would keep room for it.
async fn handshake(
    shared: &Rc<Shared>,
    entry: Entry,
    around: &Around,
    stream: Rewound<Stream>,
    part: Option<&Part>,
) -> Option<(Box<TlsStream<Rewound<Stream>>>, Alpn)> {
    let serial = around.connection;
    let deadline = Instant::now() + shared.bounds().handshake_time;
    let Ok(_place) = timeout_at(deadline, place(shared, around, part)).await else {
        shared.count(Metric::HandshakesTimeout, 1);
        return None;
    };
    let (tls, left) = (shared.tls.clone(), deadline.saturating_duration_since(Instant::now()));
    let accepted = match sc_tls::accept_in_turn(stream, tls, left, shared.shares.turn()).await {
        Ok(accepted) => accepted,
        Err(error) => {
            shared.count(Metric::handshake_failed(&error.fault), 1);
            // A port check, or a connection that was opened ahead.
            if !matches!(error.fault, HandshakeFault::Silent) {
                shared.event(Event::HandshakeFailed {
                    connection: serial,
                    sni: error.sni.clone().unwrap_or_default(),
                    reason: chain(&error.fault),
                });
            }
            return None;
        }
    };
    shared.count(
        if accepted.resumed {
            Metric::HandshakesResumed
        } else {
            Metric::HandshakesFull
        },
        1,
    );
    if entry == Entry::TlsByName {
        entered(shared, serial, entry, accepted.sni.as_deref().unwrap_or_default());
    }
    Some((Box::new(accepted.stream), accepted.alpn))
}

/// Waits for a place among the handshakes of the client's address.
async fn place<'p>(shared: &Shared, around: &Around, part: Option<&'p Part>) -> Option<SemaphorePermit<'p>> {
    let part = part?;
    match part.try_handshake() {
        Some(place) => place,
        None => {
            shared.limited(Metric::LimitHandshakes, around.connection, &around.client);
            part.handshake().await
        }
    }
}

/// The little network's port.
async fn proxy(shared: &Rc<Shared>, serial: u64, mut conn: Connection) {
    if !may_enter(shared, serial, &conn) {
        return;
    }
    match first_byte::detect(&mut conn, shared.bounds().greeting_time).await {
        Ok(Dialect::Socks5 | Dialect::Socks4) => socks(shared, serial, conn).await,
        Ok(Dialect::Tls) => match shared.policy.auth {
            Auth::None => Box::pin(tls(shared, serial, Entry::TlsByName, conn, None)).await,
            Auth::Users(_) => {
                let client = conn.client.to_string();
                let reason = "TLS by name carries no credentials".to_owned();
                shared.unauthorised(Event::Unauthorised {
                    connection: serial,
                    client,
                    reason,
                });
            }
        },
        Ok(Dialect::Http) => Box::pin(http_proxy::serve(shared, serial, conn)).await,
        Ok(Dialect::Garbage(byte)) => {
            shared.event(Event::NotUnderstood {
                connection: serial,
                seen: format!("first byte 0x{byte:02x}"),
            });
        }
        Err(DetectError::Closed) => {}
        Err(error) => shared.event(Event::NotUnderstood {
            connection: serial,
            seen: chain(&error),
        }),
    }
}

fn may_enter(shared: &Shared, serial: u64, conn: &Connection) -> bool {
    let allowed = &shared.policy.allowed_clients;
    let is_allowed = match conn.client.ip() {
        Some(ip) => allowed.is_empty() || ip.is_loopback() || allowed.iter().any(|network| network.contains(ip)),
        None => true,
    };
    if !is_allowed {
        let reason = "its address is not in socks-allow".to_owned();
        shared.unauthorised(Event::Unauthorised {
            connection: serial,
            client: conn.client.to_string(),
            reason,
        });
    }
    is_allowed
}

async fn socks(shared: &Rc<Shared>, serial: u64, mut conn: Connection) {
    let ask = match socks::handshake(&mut conn, &shared.policy.auth, shared.bounds().greeting_time).await {
        Ok(ask) => ask,
        // A client that went away in the middle, as one does that only looks whether the port answers.
        Err(SocksError::Closed) => return,
        Err(error @ (SocksError::NotAdmitted(_) | SocksError::NoMethod)) => {
            let client = conn.client.to_string();
            return shared.unauthorised(Event::Unauthorised {
                connection: serial,
                client,
                reason: error.to_string(),
            });
        }
        Err(error) => {
            return shared.event(Event::NotUnderstood {
                connection: serial,
                seen: chain(&error),
            });
        }
    };
    match ask.command {
        Command::Connect => connect(shared, serial, conn, ask).await,
        Command::UdpAssociate => Box::pin(udp::associate(shared, serial, conn, ask)).await,
        Command::Bind => {
            refuse(shared, serial, &ask.target, &Refusal::Command);
            answer_socks(&mut conn, ask.version, Err(&Refusal::Command)).await;
        }
    }
}

async fn connect(shared: &Rc<Shared>, serial: u64, mut conn: Connection, ask: Ask) {
    let entry = if ask.version == Version::V5 {
        Entry::Socks5
    } else {
        Entry::Socks4
    };
    let mut upstream = None;
    let outcome = match open(shared, serial, &ask.target).await {
        Ok(opened) => {
            let bound = opened.bound();
            upstream = Some(opened);
            Ok(bound)
        }
        Err(refusal) => Err(refusal),
    };
    if !answer_socks(&mut conn, ask.version, outcome.as_ref().map(|bound| *bound)).await {
        return;
    }
    if let Some(opened) = upstream {
        go_on(shared, serial, entry, conn, &ask.target, opened).await;
    }
}

async fn answer_socks(conn: &mut Connection, version: Version, outcome: Result<Option<SocketAddr>, &Refusal>) -> bool {
    let (reply, bound) = match outcome {
        Ok(bound) => (socks::Reply::Succeeded, bound),
        Err(refusal) => (refusal.reply(), None),
    };
    socks::reply(conn, version, reply, bound).await.is_ok()
}

/// Where an accepted request to the network leads.
pub(crate) enum Opened {
    /// Into our own TLS.
    Site,
    /// Into the plain-HTTP redirect.
    Redirect,
    /// To another machine, connected already.
    Upstream(dial::Dialled),
}

impl Opened {
    fn bound(&self) -> Option<SocketAddr> {
        match self {
            Opened::Upstream(dialled) => dialled.stream.bound(),
            Opened::Site | Opened::Redirect => None,
        }
    }
}

/// Decides about a target and dials where that is the decision. Refusals are logged and noted here.
pub(crate) async fn open(shared: &Rc<Shared>, serial: u64, target: &Target) -> Result<Opened, Refusal> {
    let within = shared.policy.dial_time;
    let dialled = match shared.network().route(target) {
        Route::Site => return Ok(Opened::Site),
        Route::Redirect => return Ok(Opened::Redirect),
        Route::Relay(upstream) => dial::dial(&upstream, &Guard::any(), within).await,
        Route::Forward(guard) => dial::dial(&target.upstream(), &guard, within).await,
        Route::Refuse(refusal) => {
            refuse(shared, serial, target, &refusal);
            return Err(refusal);
        }
    };
    let refusal = match dialled {
        Ok(dialled) => return Ok(Opened::Upstream(dialled)),
        Err(error @ (DialError::Refused { .. } | DialError::RefusedPath { .. })) => Refusal::Guarded(error.to_string()),
        Err(error) => Refusal::Unreachable(chain(&error), error.reply()),
    };
    refuse(shared, serial, target, &refusal);
    Err(refusal)
}

pub(crate) fn refuse(shared: &Shared, serial: u64, target: &Target, refusal: &Refusal) {
    shared.count(Metric::Refused, 1);
    if refusal.is_policy() {
        shared.network().refused(target, refusal);
    }
    shared.event(Event::Refused {
        connection: serial,
        target: target.to_string(),
        reason: refusal.to_string(),
        reply: u64::from(refusal.reply().code()),
    });
}

/// What follows once the client was told yes.
pub(crate) async fn go_on(
    shared: &Rc<Shared>,
    serial: u64,
    entry: Entry,
    conn: Connection,
    target: &Target,
    opened: Opened,
) {
    match opened {
        Opened::Site => {
            entered(shared, serial, entry, &target.to_string());
            Box::pin(tls(shared, serial, entry, conn, None)).await;
        }
        Opened::Redirect => {
            Box::pin(plain_redirects(shared, serial, entry, conn, shared.drain(serial))).await;
        }
        Opened::Upstream(dialled) => {
            relay_to(shared, serial, conn, target, dialled.stream, dialled.addr.to_string()).await
        }
    }
}

async fn relay_to(
    shared: &Rc<Shared>,
    serial: u64,
    conn: Connection,
    target: &Target,
    upstream: Stream,
    address: String,
) {
    let _tunnel = Tunnel::begin(shared);
    let (limits, drain) = (&shared.policy.relay, shared.drain(serial));
    let relayed = until_due(&drain, async |stop| relay::relay(conn, upstream, limits, stop).await).await;
    shared.event(Event::Relayed {
        connection: serial,
        target: target.to_string(),
        upstream: address,
        sent_bytes: relayed.sent_bytes,
        received_bytes: relayed.received_bytes,
    });
}

/// Runs a tunnel with a token that is cancelled when its time is up.
pub(crate) async fn until_due<T>(drain: &Drain, run: impl AsyncFnOnce(&CancellationToken) -> T) -> T {
    let stop = CancellationToken::new();
    let mut running = pin!(run(&stop));
    tokio::select! {
        ended = &mut running => return ended,
        () = drain.tunnel_is_due() => stop.cancel(),
    }
    running.await
}

/// HTTP/1.1 on a stream that is not to be given back.
async fn plain_h1<IO, S>(io: IO, scheme: Scheme, service: Rc<S>, shared: &Shared, drain: Drain) -> Option<Fault>
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
    S: Service,
{
    let (read_ahead, bounds) = (bytes::BytesMut::new(), shared.bounds());
    match h1::serve(io, read_ahead, scheme, service, &bounds.http, drain).await {
        h1::Served::Closed(fault) => fault,
        h1::Served::Handover { .. } => None,
    }
}

pub(crate) fn around(serial: u64, entry: Entry, conn: &Connection) -> Rc<Around> {
    Rc::new(Around {
        connection: serial,
        client: conn.client.clone(),
        client_text: conn.client.to_string().into(),
        local: conn.local.clone(),
        entry,
    })
}

pub(crate) fn entered(shared: &Shared, serial: u64, entry: Entry, target: &str) {
    shared.event(Event::Entered {
        connection: serial,
        dialect: entry.as_str(),
        target: target.to_owned(),
    });
}

/// Logs how a connection's protocol ended, where that is worth a line.
pub(crate) fn report(shared: &Shared, serial: u64, fault: Option<Fault>) {
    let Some(fault) = fault else { return };
    if fault.kind().treatment().is_error {
        shared.event(Event::Internal {
            place: "connection",
            fault: fault.chain(),
        });
    } else if fault.kind() != sc_http::Kind::DownstreamClosed && fault.limit().is_none() {
        shared.event(Event::BadClient {
            connection: serial,
            fault: fault.chain(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of the future that a function of four arguments returns.
    fn bytes_of<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_that_waits_holds_little() {
        let bytes = bytes_of(serve);
        assert!(
            bytes < 5 << 10,
            "each connection takes {bytes} bytes for what it might do next"
        );
    }
}
