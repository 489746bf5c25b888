//! The little network in production: the same names, without a ledger, without pages that explain.
//!
//! It is for people and programs of the house: names that are `audience: network`, raw ports, and with `-w` the Internet
//! behind a guard. Who may enter at all is the engine's policy (users, allowed networks).

use std::net::SocketAddr;
use std::rc::Rc;

use http::StatusCode;
use sc_compile::{Names, Transport};
use sc_config::Settings;
use sc_http::{Answer, Exchange};
use sc_net::{Guard, Target};
use sc_server::{Around, LocalFuture, Network, Refusal, Route};
use sc_site::pages::{Form, faults};

/// What answers behind the proxy port.
pub(crate) struct PublicNetwork {
    names: Names,
    guard: Rc<Guard>,
}

impl PublicNetwork {
    /// The network of the settings; `own` are our addresses.
    pub(crate) fn new(settings: &Settings, own: &[SocketAddr]) -> Self {
        PublicNetwork {
            names: Names::of(settings),
            guard: Rc::new(sc_compile::guard(settings, own)),
        }
    }
}

impl Network for PublicNetwork {
    fn route(&self, target: &Target) -> Route {
        self.names.route(target, Transport::Tcp, &self.guard)
    }

    fn udp_route(&self, target: &Target) -> Route {
        self.names.route(target, Transport::Udp, &self.guard)
    }

    fn refused(&self, _target: &Target, _refusal: &Refusal) {}

    fn page<'a>(&'a self, _exchange: Box<Exchange>, _around: &'a Around) -> LocalFuture<'a, Answer> {
        Box::pin(std::future::ready(
            faults::plain(StatusCode::NOT_FOUND).answer(Form::Text),
        ))
    }

    fn refusal_page(&self, _exchange: &Exchange, refusal: &Refusal) -> Answer {
        faults::plain(refusal.status()).answer(Form::Text)
    }
}
