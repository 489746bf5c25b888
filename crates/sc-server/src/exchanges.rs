//! Answers exchanges from the sites: finds the site by authority, begins the record, keeps a panic to its exchange.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use futures_util::FutureExt;
use sc_http::{Answer, Exchange, Fault, Scheme, Service};
use sc_site::{Notes, pages};

use crate::event::Event;
use crate::record::{Around, RecordGuard};
use crate::server::Shared;

/// The service of one TLS connection.
pub(crate) struct Exchanges {
    pub(crate) shared: Rc<Shared>,
    pub(crate) around: Rc<Around>,
}

impl Service for Exchanges {
    async fn answer(&self, exchange: Exchange) -> Answer {
        let notes = Rc::new(Notes::default());
        let guard = begin(&self.shared, &self.around, &exchange, &notes);
        let answering = self.by_site(exchange, notes.clone());
        let mut answer = contained(&self.shared, &notes, answering).await;
        answer.guard = Some(Box::new(guard));
        answer
    }
}

impl Exchanges {
    async fn by_site(&self, exchange: Exchange, notes: Rc<Notes>) -> Answer {
        let sites = self.shared.current_sites();
        let is_inside = self.around.entry.is_inside();
        match sites.find(exchange.authority.host()) {
            Some(site) if is_inside || !site.is_network_only() => {
                let around = sc_site::Around { client: self.around.client.clone(), local: self.around.local.clone() };
                site.answer(exchange, &around, &notes).await
            }
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
    async fn answer(&self, exchange: Exchange) -> Answer {
        let notes = Rc::new(Notes::default());
        let guard = begin(&self.shared, &self.around, &exchange, &notes);
        let mut answer = to_https(&self.shared, &exchange);
        answer.guard = Some(Box::new(guard));
        answer
    }
}

/// The redirect to the same place under HTTPS, for one of our names.
pub(crate) fn to_https(shared: &Shared, exchange: &Exchange) -> Answer {
    let sites = shared.current_sites();
    match sites.find(exchange.authority.host()) {
        Some(_) => pages::redirect_to_https(exchange),
        None => sites.unknown_name(exchange, true),
    }
}

/// Begins the record of an exchange.
pub(crate) fn begin(shared: &Shared, around: &Rc<Around>, exchange: &Exchange, notes: &Rc<Notes>) -> RecordGuard {
    RecordGuard::begin(shared.journal.clone(), around.clone(), exchange, notes.clone(), shared.now())
}

/// Runs an answer; a panic in it ends this exchange only, and is logged as the fault of ours that it is.
pub(crate) async fn contained(shared: &Shared, notes: &Notes, answering: impl Future<Output = Answer>) -> Answer {
    match AssertUnwindSafe(answering).catch_unwind().await {
        Ok(answer) => answer,
        Err(panic) => {
            let fault = format!("panic: {}", sc_net::tasks::panic_text(&*panic));
            shared.event(Event::Internal { place: "exchange", fault: fault.clone() });
            notes.fault(fault);
            let fault = Fault::new(sc_http::Side::Local, sc_http::Kind::Internal, "the server failed to answer");
            pages::bare(&fault)
        }
    }
}

/// Scheme of what arrives over TLS.
pub(crate) const SECURE: Scheme = Scheme::Https;
