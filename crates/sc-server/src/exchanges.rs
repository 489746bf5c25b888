//! Answers exchanges from the sites: finds the site by authority, begins the record, keeps a panic to its exchange.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use futures_util::FutureExt;
use http::StatusCode;
use sc_http::{Answer, Exchange, Service};
use sc_site::Notes;
use sc_site::pages::{Form, faults};

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
        let answering = AssertUnwindSafe(self.by_site(exchange, notes.clone())).catch_unwind();
        let mut answer = contained(&self.shared, answering.await);
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
                let around = sc_site::Around {
                    client: self.around.client.clone(),
                    local: self.around.local.clone(),
                };
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
        Some(_) => faults::redirect_to_https(exchange),
        None => sites.unknown_name(exchange, true),
    }
}

/// Begins the record of an exchange.
pub(crate) fn begin(shared: &Shared, around: &Rc<Around>, exchange: &Exchange, notes: &Rc<Notes>) -> RecordGuard {
    RecordGuard::begin(
        shared.journal.clone(),
        around.clone(),
        exchange,
        notes.clone(),
        shared.now(),
    )
}

/// What came of answering; a panic ends this exchange only, and is logged as the fault of ours that it is.
pub(crate) fn contained(shared: &Shared, answered: std::thread::Result<Answer>) -> Answer {
    answered.unwrap_or_else(|panic| {
        let fault = format!("panic: {}", words_of(&*panic));
        shared.event(Event::Internal {
            place: "exchange",
            fault,
        });
        faults::plain(StatusCode::INTERNAL_SERVER_ERROR).answer(Form::Text)
    })
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(words), _) => words,
        (_, Some(words)) => words,
        _ => "without words",
    }
}
