//! Answers exchanges from the sites: finds the site by authority, begins the record, keeps a panic to its exchange.
//! And answers plain HTTP, with nothing but the way to HTTPS.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use futures_util::FutureExt;
use http::header::RETRY_AFTER;
use http::{HeaderValue, Method, StatusCode};
use sc_http::{Answer, Exchange, Limit, Payload, Protocol, Service};
use sc_site::pages::{Form, faults};
use sc_site::{Audience, Notes};

use crate::contained::contained;
use crate::event_stream;
use crate::metrics::Metric;
use crate::pressure::Wish;
use crate::record::{Around, Began, Entry, RecordGuard};
use crate::server::Shared;
use crate::under_way::UnderWay;

/// The service of one TLS connection.
pub(crate) struct Exchanges {
    pub(crate) shared: Rc<Shared>,
    pub(crate) around: Rc<Around>,
}

impl Service for Exchanges {
    fn answer_now(&self, exchange: &Exchange) -> Option<Answer> {
        let began = Began::now(&self.shared);
        let sites = self.shared.sites.borrow();
        let site = sites.find(exchange.authority.host())?;
        if site.is_network_only() && !self.around.entry.is_inside() {
            return None;
        }
        let notes = Rc::new(Notes::default());
        let answered = catch_unwind(AssertUnwindSafe(|| site.answer_now(exchange, &notes)));
        let answer = contained(&self.shared, answered.transpose()?);
        Some(under_way(
            begin_at(began, &self.shared, &self.around, exchange, &notes),
            answer,
        ))
    }

    async fn answer(&self, exchange: Box<Exchange>) -> Answer {
        let notes = Rc::new(Notes::default());
        let mut begun = begin(&self.shared, &self.around, &exchange, &notes);
        if exchange.protocol != Protocol::Http2 && !self.admits(0) {
            let mut answer = faults::plain(StatusCode::SERVICE_UNAVAILABLE).answer(Form::Text);
            answer.head.headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            return under_way(begun, answer);
        }
        let answering = AssertUnwindSafe(self.by_site(exchange, notes.clone())).catch_unwind();
        let mut answer = contained(&self.shared, answering.await);
        if event_stream::end_with(|| self.shared.drain(self.around.connection), &mut answer) {
            begun.becomes_tunnel();
        }
        under_way(begun, answer)
    }

    /// Over HTTP/2 it is asked before anything of a request is looked at, so that the client may send it again elsewhere.
    fn admits(&self, open: usize) -> bool {
        let Around { connection, client, .. } = &*self.around;
        self.shared.admits(Wish::Request { open }, *connection, client)
    }

    fn limited(&self, limit: Limit) {
        let Around { connection, client, .. } = &*self.around;
        self.shared.limited(Metric::limit(limit), *connection, client);
    }
}

impl Exchanges {
    async fn by_site(&self, exchange: Box<Exchange>, notes: Rc<Notes>) -> Answer {
        let sites = self.shared.current_sites();
        let is_inside = self.around.entry.is_inside();
        match sites.find(exchange.authority.host()) {
            Some(site) if is_inside || !site.is_network_only() => {
                let around = sc_site::Around {
                    connection: self.around.connection,
                    client: self.around.client.clone(),
                    local: self.around.local.clone(),
                };
                site.answer(exchange, &around, &notes).await
            }
            _ if exchange.authority.is_nameless() => nameless(),
            _ => sites.unknown_name(&exchange, is_inside),
        }
    }
}

/// Answers plain HTTP to one of our names: a redirect to HTTPS, nothing else.
pub(crate) struct Redirects {
    pub(crate) shared: Rc<Shared>,
    pub(crate) around: Rc<Around>,
}

impl Service for Redirects {
    async fn answer(&self, exchange: Box<Exchange>) -> Answer {
        let notes = Rc::new(Notes::default());
        let begun = begin(&self.shared, &self.around, &exchange, &notes);
        under_way(begun, self.to_https(&exchange))
    }

    fn limited(&self, limit: Limit) {
        let Around { connection, client, .. } = &*self.around;
        self.shared.limited(Metric::limit(limit), *connection, client);
    }
}

impl Redirects {
    fn to_https(&self, exchange: &Exchange) -> Answer {
        match self.around.entry {
            Entry::Redirect => to_https_for_good(&self.shared, exchange),
            _ => to_https(&self.shared, exchange),
        }
    }
}

/// The redirect to the same place under HTTPS inside the little network, for one of our names.
pub(crate) fn to_https(shared: &Shared, exchange: &Exchange) -> Answer {
    let sites = shared.current_sites();
    match sites.find(exchange.authority.host()) {
        Some(_) => faults::redirect_to_https(exchange),
        None if exchange.authority.is_nameless() => nameless(),
        None => sites.unknown_name(exchange, true),
    }
}

/// The redirect of the redirect port: permanent, and only for names that everybody may know of. Clients of HTTP/1.0 that
/// name no host get the first of them.
fn to_https_for_good(shared: &Shared, exchange: &Exchange) -> Answer {
    let (sites, port) = (shared.current_sites(), shared.policy.https_port);
    let host = exchange.authority.host();
    if exchange.method == Method::CONNECT {
        return faults::plain(StatusCode::NOT_IMPLEMENTED).answer(Form::Text);
    }
    if exchange.authority.is_nameless() {
        let first = sites
            .names()
            .find(|(name, audience)| *audience == Audience::Public && !name.is_wildcard());
        return match first {
            Some((name, _)) => faults::redirect_to_https_for_good(exchange, name.stem(), port),
            None => nameless(),
        };
    }
    match sites.find(host) {
        Some(site) if !site.is_network_only() => faults::redirect_to_https_for_good(exchange, host, port),
        _ => sites.unknown_name(exchange, false),
    }
}

fn nameless() -> Answer {
    faults::plain(StatusCode::BAD_REQUEST).answer(Form::Text)
}

/// Begins an exchange: it is counted and recorded from here on.
pub(crate) fn begin(shared: &Rc<Shared>, around: &Rc<Around>, exchange: &Exchange, notes: &Rc<Notes>) -> UnderWay {
    begin_at(Began::now(shared), shared, around, exchange, notes)
}

fn begin_at(
    began: Began,
    shared: &Rc<Shared>,
    around: &Rc<Around>,
    exchange: &Exchange,
    notes: &Rc<Notes>,
) -> UnderWay {
    let record = RecordGuard::begin(
        shared.journal.clone(),
        shared.policy.meters.clone(),
        around.clone(),
        exchange,
        notes.clone(),
        began,
    );
    UnderWay::begin(shared, record)
}

/// The answer with the exchange that it belongs to, and that ends with it.
pub(crate) fn under_way(mut exchange: UnderWay, mut answer: Answer) -> Answer {
    if matches!(answer.payload, Payload::Tunnel(_)) {
        exchange.becomes_tunnel();
    }
    answer.guard = Some(Box::new(exchange));
    answer
}
