//! The application behind a site: choosing an address, sending the request, trying again where that is safe, answering.
//!
//! Follow [`Upstream::answer`]. What the application gets to see is [`request`]'s, which address is asked [`choice`]'s and
//! [`health`]'s with its [`check`]s, how often [`budget`]'s; what FastCGI programs complain of [`hearsay`]'s; connections are [`endpoint`]'s and [`dial`]'s, what FastCGI wants
//! besides [`responder`]'s, websockets between HTTP versions [`websocket`]'s. Bodies stream both ways and are never kept; so
//! a request is sent again only while its body is whole.

mod budget;
mod check;
mod choice;
mod dial;
mod endpoint;
mod health;
mod hearsay;
mod request;
mod responder;
mod watched;
mod websocket;

use std::cell::Cell;
use std::ops::RangeInclusive;
use std::path::Path;
use std::rc::Rc;

use http::header::{RETRY_AFTER, UPGRADE};
use http::{HeaderValue, StatusCode};
use sc_http::client::{Incoming, Outgoing, SendError};
use sc_http::fastcgi::{Call, Listener};
use sc_http::{Answer, ClientLimits, Exchange, Fault, Head, Kind, Payload, Protocol, Retry, Side};
use sc_tls::{H2_AND_HTTP11, HTTP11_ONLY, client_config};
use smallvec::SmallVec;
use tokio::time::Instant;

use self::budget::Budget;
use self::choice::Wish;
use self::dial::{Dialer, Tls};
use self::endpoint::{Endpoint, Group, Lease, Need, Place, Way};
pub use self::health::Cause;
use self::health::Health;
use self::hearsay::{About, Hearsay};
use self::responder::Responder;
use self::watched::{Tunnel, Watched};
use self::websocket::Opening;
use crate::files::Program;
use crate::pages::Form;
use crate::pages::faults::{self, Attempted};
use crate::random::Random;
use crate::spec::{BalanceSpec, RetrySpec, Timeouts, UpstreamProtocol};
use crate::upstreams::{EndpointStanding, Told, UpstreamEvent};
use crate::{Around, Disclosure, Environment, Handler, NamePattern, Notes, SiteError, UpstreamSpec};

/// The application behind a site.
pub(crate) struct Upstream {
    endpoints: Vec<Rc<Endpoint>>,
    /// Set for FastCGI.
    responder: Option<Responder>,
    hearsay: Rc<Hearsay>,
    site: Rc<str>,
    timeouts: Timeouts,
    limits: ClientLimits,
    balance: BalanceSpec,
    retries: RetrySpec,
    budget: Budget,
    told: Told,
    discloses_errors: bool,
    disclosure: Disclosure,
    marker: HeaderValue,
    random: Random,
}

/// What is needed of a request after it was sent.
struct Asked {
    /// All but its fields and its body.
    exchange: Box<Exchange>,
    form: Form,
    opening: Option<Opening>,
    /// What a FastCGI application is told besides.
    call: Option<Call>,
    /// The client's connection.
    connection: u64,
}

/// An application's answer, before it is made ours.
struct Reply {
    incoming: Incoming,
    version: Protocol,
    place: Place,
    /// Whether its status speaks for the application.
    is_good: bool,
}

/// An attempt that failed.
struct Failed {
    fault: Fault,
    /// The request, if it is whole.
    outgoing: Option<Box<Outgoing>>,
    /// Whether the connection had carried an exchange before.
    is_reused: bool,
    /// The number of its connection.
    number: u64,
    /// Whether there was no connection at all.
    is_unconnected: bool,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream")
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
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
        let group = Rc::new(Group {
            site: site.to_string().into(),
            all: spec.addrs.len(),
            out: Cell::new(0),
            told: environment.told.clone(),
        });
        let random = Random::new(seed(&environment.marker));
        let is_fastcgi = spec.protocol == UpstreamProtocol::FastCgi;
        let responder = is_fastcgi.then(|| Responder::new(&spec.fastcgi, folder));
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
                answered: Cell::default(),
            };
            let health = Health::new(&spec.balance, group.all == 1);
            let spawn = environment.spawn.clone();
            let (endpoint, ended) = Endpoint::new(addr, dialer, spec.pool, health, group.clone(), spawn);
            let endpoint = Rc::new(endpoint);
            if let Some(health) = &spec.health {
                let checker = check::Checker {
                    host: site.stem().to_owned(),
                    call: responder.as_ref().map(|responder| responder.check(&health.path)),
                    spec: health.clone(),
                    marker: marker.clone(),
                    random: Random::new(random.next()),
                };
                checker.start(&endpoint, ended);
            }
            endpoint
        };
        let limits = ClientLimits {
            first_byte_time: spec.timeouts.first_byte,
            idle_time: spec.timeouts.idle,
            ..ClientLimits::default()
        };
        Ok(Upstream {
            endpoints: spec.addrs.iter().cloned().map(endpoint).collect(),
            responder,
            hearsay: Rc::default(),
            site: site.to_string().into(),
            timeouts: spec.timeouts,
            limits,
            budget: Budget::new(spec.retries),
            retries: spec.retries,
            balance: spec.balance,
            told: environment.told.clone(),
            discloses_errors: spec.discloses_errors,
            disclosure: environment.disclosure,
            random,
            marker,
        })
    }

    /// Answers a request by the application; faults become pages.
    ///
    /// Shape: `program` is the one of the site's folder that a FastCGI application is to run.
    pub(crate) async fn answer(
        &self,
        exchange: Box<Exchange>,
        program: Option<Program>,
        around: &Around,
        notes: &Rc<Notes>,
    ) -> Answer {
        notes.set_handler(Handler::Proxy);
        let mut asked = Asked {
            form: Form::wanted(&exchange.headers),
            exchange,
            opening: None,
            call: None,
            connection: around.connection,
        };
        let mut room = None;
        if let Some(responder) = &self.responder {
            let called = responder.call(&mut asked.exchange, program, around);
            let taken = match called {
                Ok(call) => {
                    asked.call = Some(call);
                    responder.take_whole(&mut asked.exchange).await
                }
                Err(fault) => Err(fault),
            };
            match taken {
                Ok(taken) => room = taken,
                Err(fault) => return self.page(&fault, &asked, notes),
            }
        }
        let looped = request::check_loop(&asked.exchange.headers, &self.marker);
        let out = Box::new(request::outgoing(&mut asked.exchange, around, &self.marker));
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

    /// How its addresses stand.
    pub(crate) fn standings(&self) -> impl Iterator<Item = EndpointStanding> {
        let now = Instant::now();
        self.endpoints.iter().map(move |endpoint| endpoint.standing(now))
    }

    /// Sends a request until there is an answer, or nothing speaks for sending it again.
    async fn ask(&self, mut out: Box<Outgoing>, asked: &Asked, notes: &Notes) -> Result<Reply, Fault> {
        let now = Instant::now();
        self.budget.came(now);
        let mut tries = Tries {
            was_tried: SmallVec::from_elem(false, self.endpoints.len()),
            left: self.retries.most,
            newer_than: None,
            is_risked: false,
        };
        let queue_until = Cell::new(None);
        let is_repeatable = out.method.is_safe() && out.upgrade.is_none();
        let mut at = self.choose(&tries, false, is_repeatable, now);
        loop {
            let Some(endpoint) = at.and_then(|at| self.endpoints.get(at)) else {
                let detail = "no address of the application was asked";
                return Err(Fault::new(Side::Local, Kind::Internal, detail));
            };
            notes.set_upstream(&endpoint.label);
            let need = Need {
                asked: asked.exchange.authority.host(),
                is_upgrade: asked.opening.is_some(),
                newer_than: tries.newer_than,
            };
            let failed = match self.attempt(endpoint, out, asked, need, &queue_until, notes).await {
                Ok(reply) => return Ok(reply),
                Err(failed) => failed,
            };
            notes.add_tried(format!("{}: {}", endpoint.addr, failed.fault.chain()));
            self.note_failure(endpoint, &failed);
            match self.again(at, &mut tries, failed, notes) {
                Ok((next, request)) => (at, out) = (Some(next), request),
                Err(fault) => return Err(fault),
            }
            notes.add_retry();
        }
    }

    /// Decides whether a request is sent again, and where (RFC 9110 §9.2.2).
    ///
    /// Errors: the fault that it failed with, when it is not.
    fn again(
        &self,
        at: Option<usize>,
        tries: &mut Tries,
        failed: Failed,
        notes: &Notes,
    ) -> Result<(usize, Box<Outgoing>), Fault> {
        let Failed {
            fault,
            outgoing,
            is_reused,
            number,
            ..
        } = failed;
        let (Some(at), Some(request)) = (at, outgoing) else {
            return Err(fault);
        };
        let is_unprocessed = fault.retryable() == Retry::Safe;
        let may_repeat = match fault.retryable() {
            Retry::Safe => true,
            // It may have been processed. Once is a risk worth taking; what brings one address down must not visit all.
            Retry::Idempotent => request.method.is_idempotent() && !std::mem::replace(&mut tries.is_risked, !is_reused),
            Retry::No => false,
        };
        if !may_repeat {
            return Err(fault);
        }
        // A connection that was there may have been closed meanwhile; a newer one to the same address tells. An application
        // that lives and takes no more, though, is not asked for another connection.
        let is_busy = fault.kind() == Kind::UpstreamBusy;
        let was_closed = is_reused && !is_busy;
        let is_free = was_closed && is_unprocessed && tries.newer_than.is_none();
        tries.newer_than = was_closed.then_some(number);
        let next = if was_closed {
            Some(at)
        } else {
            if let Some(was_tried) = tries.was_tried.get_mut(at) {
                *was_tried = true;
            }
            let other = self.choose(tries, true, false, Instant::now());
            // An only address that refused a stream has said meanwhile how many it takes.
            other.or_else(|| (is_busy && number > 0).then_some(at))
        };
        let Some(next) = next else {
            return Err(fault);
        };
        // What an application let go of without a look costs it nothing, and is no sign of an outage.
        if !is_free {
            if tries.left == 0 {
                return Err(fault);
            }
            tries.left -= 1;
            let is_sent = self.budget.allows(Instant::now());
            (self.told)(UpstreamEvent::Again { is_sent });
            if !is_sent {
                notes.add_tried("not sent again: too many requests were, in the last ten seconds");
                return Err(fault);
            }
        }
        Ok((next, request))
    }

    /// Sends a request to one address.
    async fn attempt(
        &self,
        endpoint: &Rc<Endpoint>,
        mut out: Box<Outgoing>,
        asked: &Asked,
        need: Need<'_>,
        queue_until: &Cell<Option<Instant>>,
        notes: &Notes,
    ) -> Result<Reply, Failed> {
        let Lease {
            connection,
            place,
            is_reused,
            number,
        } = match endpoint.lease(need, queue_until).await {
            Ok(lease) => lease,
            Err(fault) => {
                return Err(Failed {
                    is_unconnected: fault.kind() != Kind::UpstreamBusy,
                    fault,
                    outgoing: Some(out),
                    is_reused: false,
                    number: 0,
                });
            }
        };
        notes.set_reused(is_reused);
        let began = Instant::now();
        let version = connection.version();
        if let Some(opening) = &asked.opening {
            opening.dress(&mut out, version);
        }
        let owner = Rc::downgrade(endpoint);
        let reuse = move |connection| {
            if let Some(endpoint) = owner.upgrade() {
                endpoint.give_back(connection);
            }
        };
        let way = Way {
            interim: &asked.exchange.interim,
            limits: &self.limits,
            call: asked.call.as_ref().map(|call| (call, self.hears(endpoint, asked))),
        };
        let incoming = match connection.send(out, way, reuse).await {
            Ok(incoming) => incoming,
            Err(SendError { fault, outgoing }) => {
                return Err(Failed {
                    fault,
                    outgoing,
                    is_reused,
                    number,
                    is_unconnected: false,
                });
            }
        };
        notes.set_first_byte(began.elapsed());
        (self.told)(UpstreamEvent::Attempt { fault: None });
        let is_good = self.is_good(endpoint, &incoming);
        Ok(Reply {
            incoming,
            version,
            place,
            is_good,
        })
    }

    fn choose(&self, tries: &Tries, is_again: bool, is_repeatable: bool, now: Instant) -> Option<usize> {
        if self.endpoints.len() == 1 {
            return tries.was_tried.first().is_some_and(|tried| !tried).then_some(0);
        }
        let pairs = self.endpoints.iter().zip(&tries.was_tried);
        let candidates: Vec<_> = pairs
            .map(|(endpoint, was_tried)| endpoint.candidate(*was_tried, now))
            .collect();
        let wish = Wish {
            panic_percent: self.balance.panic_percent,
            is_again,
            is_repeatable,
        };
        let chosen = choice::choose(&candidates, wish, &self.random);
        if let Some(endpoint) = chosen.and_then(|at| self.endpoints.get(at)) {
            endpoint.chosen(now);
        }
        chosen
    }

    fn note_failure(&self, endpoint: &Endpoint, failed: &Failed) {
        let (fault, kind) = (&failed.fault, failed.fault.kind());
        (self.told)(UpstreamEvent::Attempt { fault: Some(kind) });
        // A connection that rested and was closed says nothing about its application, nor does one that is busy.
        let was_resting = failed.is_reused && fault.retryable() != Retry::No;
        if fault.side() == Side::Upstream && kind != Kind::UpstreamBusy && !was_resting {
            endpoint.failed(failed.is_unconnected, || fault.chain());
        }
    }

    /// Hears what a FastCGI application complains of while it answers.
    fn hears(&self, endpoint: &Endpoint, asked: &Asked) -> Listener {
        let about = About {
            connection: asked.connection,
            stream: asked.exchange.meter.stream.get(),
            site: self.site.clone(),
            address: endpoint.label.clone(),
        };
        self.hearsay.listener(&self.told, about)
    }

    /// Notes what the head of an answer says about its address.
    fn is_good(&self, endpoint: &Endpoint, incoming: &Incoming) -> bool {
        let status = match incoming {
            Incoming::Response { head, .. } | Incoming::Upgraded { head, .. } => head.status,
        };
        if is_among(status, &self.balance.failing_statuses) {
            endpoint.failed(false, || format!("it answered {status}"));
            return false;
        }
        endpoint.answered();
        true
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
                Ok(Answer::new(
                    head,
                    Watched::body(body, notes.clone(), reply.place, reply.is_good),
                ))
            }
            Incoming::Upgraded { mut head, io } => {
                reply.place.completed();
                let protocol = head.headers.remove(UPGRADE);
                if let Some(opening) = &asked.opening {
                    opening.agree(&mut head.headers, reply.version)?;
                }
                if asked.exchange.protocol == Protocol::Http2 {
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
        notes.set_fault(fault);
        let tried = notes.tried();
        let attempted = Attempted {
            method: &asked.exchange.method,
            url: &asked.exchange.url(),
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

/// What has been tried for a request.
struct Tries {
    was_tried: SmallVec<[bool; 8]>,
    /// How often it may still be sent again.
    left: usize,
    /// The number of the connection that has just failed it, which had carried others before.
    newer_than: Option<u64>,
    /// Whether it was sent again though it may have been processed.
    is_risked: bool,
}

/// Whether a status is in one of these ranges.
fn is_among(status: StatusCode, ranges: &[RangeInclusive<u16>]) -> bool {
    ranges.iter().any(|range| range.contains(&status.as_u16()))
}

/// A number from the instance's marker, which is another one each time.
fn seed(marker: &str) -> u64 {
    marker
        .bytes()
        .fold(0, |seed, byte| crate::random::mix(seed ^ u64::from(byte)))
}
