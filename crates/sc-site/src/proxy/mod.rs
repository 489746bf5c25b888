//! The application behind a site: choosing an address, sending the request, trying again where that is safe, answering.
//!
//! Follow [`Upstream::answer`]. What the application gets to see is [`request`]'s, which address is asked [`health`]'s,
//! connections are [`endpoint`]'s and [`dial`]'s, what FastCGI wants besides [`responder`]'s, websockets between HTTP versions [`websocket`]'s. Bodies stream both ways
//! and are never kept; so a request is sent again only while its body is whole.

mod dial;
mod endpoint;
mod health;
mod request;
mod responder;
mod watched;
mod websocket;

use std::path::Path;
use std::rc::Rc;

use http::header::{RETRY_AFTER, UPGRADE};
use http::{HeaderValue, Method, StatusCode};
use sc_http::client::{Incoming, Outgoing, SendError};
use sc_http::fastcgi::Call;
use sc_http::{Answer, ClientLimits, Exchange, Fault, Head, Interim, Kind, Payload, Protocol, Retry, Side};
use sc_tls::{H2_AND_HTTP11, HTTP11_ONLY, client_config};
use tokio::time::Instant;

use self::dial::{Dialer, Tls};
use self::endpoint::{Connection, Endpoint, Lease, Need, Place, Resting};
use self::health::Candidate;
use self::responder::Responder;
use self::watched::{Tunnel, Watched};
use self::websocket::Opening;
use crate::files::Program;
use crate::pages::Form;
use crate::pages::faults::{self, Attempted};
use crate::random::Random;
use crate::spec::{Timeouts, UpstreamProtocol};
use crate::{Around, Disclosure, Environment, Handler, NamePattern, Notes, SiteError, UpstreamSpec};

/// How often one request is sent at most.
const ATTEMPTS: usize = 4;

/// The application behind a site.
#[derive(Debug)]
pub(crate) struct Upstream {
    endpoints: Vec<Rc<Endpoint>>,
    /// Set for FastCGI.
    responder: Option<Responder>,
    timeouts: Timeouts,
    limits: ClientLimits,
    discloses_errors: bool,
    disclosure: Disclosure,
    marker: HeaderValue,
    random: Random,
}

/// What is needed of a request after it was sent.
struct Asked {
    method: Method,
    protocol: Protocol,
    host: Box<str>,
    url: String,
    form: Form,
    opening: Option<Opening>,
    /// What a FastCGI application is told besides.
    call: Option<Call>,
    interim: Interim,
}

/// An application's answer, before it is made ours.
struct Reply {
    incoming: Incoming,
    version: Protocol,
    place: Place,
}

impl Upstream {
    /// Prepares an application; nothing is dialled yet.
    pub(crate) fn compile(
        site: &NamePattern,
        spec: UpstreamSpec,
        folder: Option<&Path>,
        environment: &Environment,
    ) -> Result<Self, SiteError> {
        if spec.addrs.is_empty() {
            return Err(SiteError::NoAddress(site.clone()));
        }
        let marker = HeaderValue::from_str(&environment.marker)
            .ok()
            .filter(|marker| !marker.is_empty());
        let marker = marker.ok_or(SiteError::Marker)?;
        let config = |alpn| {
            client_config(&spec.trust, alpn).map_err(|source| SiteError::Tls {
                site: site.clone(),
                source: Box::new(source),
            })
        };
        let tls = match spec.protocol {
            UpstreamProtocol::Https => Some((config(H2_AND_HTTP11)?, config(HTTP11_ONLY)?)),
            UpstreamProtocol::Http | UpstreamProtocol::H2c | UpstreamProtocol::FastCgi => None,
        };
        let endpoint = |addr| {
            let tls = tls.as_ref().map(|(any, http11)| Tls {
                any: any.clone(),
                http11: http11.clone(),
                name: spec.server_name.clone(),
            });
            let dialer = Dialer {
                protocol: spec.protocol,
                tls,
                timeouts: spec.timeouts,
                resolver: Default::default(),
            };
            Rc::new(Endpoint::new(addr, dialer, spec.pool, environment.spawn.clone()))
        };
        let limits = ClientLimits {
            first_byte_time: spec.timeouts.first_byte,
            idle_time: spec.timeouts.idle,
            ..ClientLimits::default()
        };
        let is_fastcgi = spec.protocol == UpstreamProtocol::FastCgi;
        Ok(Upstream {
            responder: is_fastcgi.then(|| Responder::new(&spec.fastcgi, folder)),
            endpoints: spec.addrs.into_iter().map(endpoint).collect(),
            timeouts: spec.timeouts,
            limits,
            discloses_errors: spec.discloses_errors,
            disclosure: environment.disclosure,
            random: Random::new(seed(&environment.marker)),
            marker,
        })
    }

    /// Answers a request by the application; faults become pages.
    ///
    /// Shape: `program` is the one of the site's folder that a FastCGI application is to run.
    pub(crate) async fn answer(
        &self,
        mut exchange: Exchange,
        program: Option<Program>,
        around: &Around,
        notes: &Rc<Notes>,
    ) -> Answer {
        notes.set_handler(Handler::Proxy);
        let mut asked = Asked {
            method: exchange.method.clone(),
            protocol: exchange.protocol,
            host: exchange.authority.host().into(),
            url: format!(
                "{}://{}{}",
                exchange.scheme.as_str(),
                exchange.authority,
                exchange.target
            ),
            form: Form::wanted(&exchange.headers),
            opening: None,
            call: None,
            interim: exchange.interim.clone(),
        };
        let mut room = None;
        if let Some(responder) = &self.responder {
            let called = responder.call(&mut exchange, program, around);
            let taken = match called {
                Ok(call) => {
                    asked.call = Some(call);
                    responder.take_whole(&mut exchange).await
                }
                Err(fault) => Err(fault),
            };
            match taken {
                Ok(taken) => room = taken,
                Err(fault) => return self.page(&fault, &asked, notes),
            }
        }
        let looped = request::check_loop(&exchange.headers, &self.marker);
        let out = request::outgoing(&mut exchange, around, &self.marker);
        asked.opening = out
            .upgrade
            .as_deref()
            .map(|protocol| Opening::new(protocol, &out.headers, &self.random));
        let reply = match looped {
            Ok(()) => self.ask(out, &asked, notes).await,
            Err(fault) => Err(fault),
        };
        drop(room);
        reply
            .and_then(|reply| self.respond(reply, &asked, notes))
            .unwrap_or_else(|fault| self.page(&fault, &asked, notes))
    }

    /// Sends a request until there is an answer, or no address or attempt is left.
    async fn ask(&self, mut out: Outgoing, asked: &Asked, notes: &Notes) -> Result<Reply, Fault> {
        let mut was_tried = vec![false; self.endpoints.len()];
        let mut again_at = None;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let is_fresh = again_at.is_some();
            let Some(at) = again_at.take().or_else(|| self.choose(&was_tried)) else {
                break;
            };
            let (Some(endpoint), Some(was_tried)) = (self.endpoints.get(at), was_tried.get_mut(at)) else {
                break;
            };
            if last.is_some() {
                notes.add_retry();
            }
            notes.set_upstream(&endpoint.label);
            let (fault, given_back, is_reused) = match self.attempt(endpoint, out, asked, is_fresh, notes).await {
                Ok(reply) => return Ok(reply),
                Err(failed) => failed,
            };
            self.note_failure(endpoint, &fault, notes);
            match given_back.filter(|out| may_repeat(&fault, &out.method, is_reused)) {
                Some(given_back) => out = *given_back,
                None => return Err(fault),
            }
            // A connection that rested may have been closed meanwhile; a new one to the same address tells.
            if is_reused {
                again_at = Some(at);
            } else {
                *was_tried = true;
            }
            last = Some(fault);
        }
        Err(last.unwrap_or_else(|| Fault::new(Side::Local, Kind::Internal, "no address of the application was asked")))
    }

    /// Sends a request to one address.
    ///
    /// Errors: what went wrong, the request if it is whole, and whether the connection had carried an exchange before.
    async fn attempt(
        &self,
        endpoint: &Rc<Endpoint>,
        out: Outgoing,
        asked: &Asked,
        is_fresh: bool,
        notes: &Notes,
    ) -> Result<Reply, (Fault, Option<Box<Outgoing>>, bool)> {
        let need = Need {
            asked: &asked.host,
            is_upgrade: asked.opening.is_some(),
            is_fresh,
        };
        let lease = match endpoint.lease(need).await {
            Ok(lease) => lease,
            Err(fault) => return Err((fault, Some(Box::new(out)), false)),
        };
        let is_reused = lease.is_reused;
        notes.set_reused(is_reused);
        let sent = self.send(endpoint, lease, out, asked, notes).await;
        sent.map_err(|error| (error.fault, error.outgoing, is_reused))
    }

    fn choose(&self, was_tried: &[bool]) -> Option<usize> {
        if self.endpoints.len() == 1 {
            return was_tried.first().is_some_and(|tried| !tried).then_some(0);
        }
        let now = Instant::now();
        let candidate = |(endpoint, was_tried): (&Rc<Endpoint>, &bool)| Candidate {
            is_in: endpoint.health.is_in(now),
            was_tried: *was_tried,
            load: endpoint.load(),
        };
        let candidates: Vec<_> = self.endpoints.iter().zip(was_tried).map(candidate).collect();
        health::choose(&candidates, &self.random)
    }

    fn note_failure(&self, endpoint: &Endpoint, fault: &Fault, notes: &Notes) {
        notes.add_tried(format!("{}: {}", endpoint.addr, fault.chain()));
        if !matches!(
            fault.kind(),
            Kind::DownstreamClosed
                | Kind::RequestTimeout
                | Kind::BodyTooLarge
                | Kind::BadRequest
                | Kind::HeadersTooLarge
                | Kind::LengthRequired
        ) {
            endpoint.health.fail(Instant::now());
        }
    }

    async fn send(
        &self,
        endpoint: &Rc<Endpoint>,
        lease: Lease,
        mut out: Outgoing,
        asked: &Asked,
        notes: &Notes,
    ) -> Result<Reply, SendError> {
        let began = Instant::now();
        let version = match lease.connection {
            Connection::H1(_) | Connection::FastCgi(_) => Protocol::Http11,
            Connection::H2(_) => Protocol::Http2,
        };
        if let Some(opening) = &asked.opening {
            opening.dress(&mut out, version);
        }
        let incoming = match lease.connection {
            Connection::H1(connection) => {
                let endpoint = Rc::downgrade(endpoint);
                let reuse = Box::new(move |connection| {
                    if let Some(endpoint) = endpoint.upgrade() {
                        endpoint.give_back(Resting::H1(connection));
                    }
                });
                connection.send(out, &asked.interim, &self.limits, reuse).await?
            }
            Connection::FastCgi(connection) => {
                let Some(call) = &asked.call else {
                    let fault = Fault::new(Side::Local, Kind::Internal, "a FastCGI application without its call");
                    return Err(SendError { fault, outgoing: None });
                };
                let endpoint = Rc::downgrade(endpoint);
                let reuse = Box::new(move |connection| {
                    if let Some(endpoint) = endpoint.upgrade() {
                        endpoint.give_back(Resting::FastCgi(connection));
                    }
                });
                connection.send(out, call, &self.limits, Rc::new(|_| {}), reuse).await?
            }
            Connection::H2(connection) => connection.send(out, &asked.interim, &self.limits).await?,
        };
        notes.set_first_byte(began.elapsed());
        endpoint.health.succeed();
        Ok(Reply {
            incoming,
            version,
            place: lease.place,
        })
    }

    /// Makes the application's answer ours.
    ///
    /// Errors: an agreement to a websocket that is not one.
    fn respond(&self, reply: Reply, asked: &Asked, notes: &Rc<Notes>) -> Result<Answer, Fault> {
        match reply.incoming {
            Incoming::Response { head, body } => {
                if head.status.is_server_error() && self.disclosure == Disclosure::Public && !self.discloses_errors {
                    return Ok(without_details(&head, asked));
                }
                Ok(Answer::new(head, Watched::body(body, notes.clone(), reply.place)))
            }
            Incoming::Upgraded { mut head, io } => {
                let protocol = head.headers.remove(UPGRADE);
                if let Some(opening) = &asked.opening {
                    opening.agree(&mut head.headers, reply.version)?;
                }
                if asked.protocol == Protocol::Http2 {
                    head.status = StatusCode::OK;
                } else {
                    head.status = StatusCode::SWITCHING_PROTOCOLS;
                    head.headers.extend(protocol.map(|protocol| (UPGRADE, protocol)));
                }
                let tunnel = Tunnel::new(io, self.timeouts.idle);
                Ok(Answer {
                    head,
                    payload: Payload::Tunnel(Box::new(tunnel)),
                    guard: None,
                })
            }
        }
    }

    fn page(&self, fault: &Fault, asked: &Asked, notes: &Notes) -> Answer {
        notes.set_handler(Handler::Page);
        notes.set_fault(fault.chain());
        let tried = notes.tried();
        let attempted = Attempted {
            method: &asked.method,
            url: &asked.url,
            tried: &tried,
        };
        faults::fault(fault, &attempted, asked.form, self.disclosure)
    }
}

/// The same answer without the application's words, which may tell a stranger too much; when to come back stays.
fn without_details(head: &Head, asked: &Asked) -> Answer {
    let mut answer = faults::plain(head.status).answer(asked.form);
    if let Some(after) = head.headers.get(RETRY_AFTER) {
        answer.head.headers.insert(RETRY_AFTER, after.clone());
    }
    answer
}

/// Whether a request that failed may be sent again (RFC 9110 §9.2.2).
fn may_repeat(fault: &Fault, method: &Method, is_reused: bool) -> bool {
    match fault.retryable() {
        Retry::Safe => true,
        Retry::Idempotent => is_reused && method.is_idempotent(),
        Retry::No => false,
    }
}

/// A number from the instance's marker, which is another one each time.
fn seed(marker: &str) -> u64 {
    marker
        .bytes()
        .fold(0, |seed, byte| crate::random::mix(seed ^ u64::from(byte)))
}
