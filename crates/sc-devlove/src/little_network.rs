//! The little network: which names are ours, which go out, which are refused. Design: `docs/little-network.md`.

use std::cell::RefCell;
use std::rc::Rc;

use sc_config::Forward;
use sc_http::{Answer, Exchange};
use sc_net::{Guard, Target};
use sc_server::{Around, LocalFuture, Network, Refusal, Route};

use crate::compile::{Names, Transport};
use crate::ledger::Ledger;
use crate::start_page::StartPage;

/// The network behind the proxy port.
pub(crate) struct LittleNetwork {
    names: RefCell<Rc<Names>>,
    /// For everything that `-w` lets out.
    public: RefCell<Rc<Guard>>,
    pub(crate) ledger: RefCell<Ledger>,
    pub(crate) page: StartPage,
}

impl LittleNetwork {
    pub(crate) fn new(names: Names, public: Guard, page: StartPage) -> Self {
        LittleNetwork {
            names: RefCell::new(Rc::new(names)),
            public: RefCell::new(Rc::new(public)),
            ledger: RefCell::default(),
            page,
        }
    }

    /// Applies a changed configuration.
    pub(crate) fn swap(&self, names: Names, public: Guard) {
        *self.names.borrow_mut() = Rc::new(names);
        *self.public.borrow_mut() = Rc::new(public);
    }

    pub(crate) fn names(&self) -> Rc<Names> {
        self.names.borrow().clone()
    }

    fn decide(&self, target: &Target, transport: Transport) -> Route {
        let names = self.names();
        let host = target.host.to_string();
        if let Some(upstream) = names.port(&host, transport, target.port) {
            return Route::Relay(upstream.clone());
        }
        if names.is_site(&host) && transport == Transport::Tcp {
            match target.port {
                443 => return Route::Site,
                80 => return Route::Redirect,
                _ => {}
            }
        }
        if names.is_site(&host) || names.has_ports(&host) {
            return Route::Refuse(Refusal::NoSuchPort);
        }
        match &names.forward {
            Forward::No => Route::Refuse(Refusal::NotForwarded),
            Forward::Only(list) if !list.iter().any(|name| name.matches(&host)) => Route::Refuse(Refusal::NotListed),
            Forward::All | Forward::Only(_) => Route::Forward(self.public.borrow().clone()),
        }
    }
}

impl Network for LittleNetwork {
    fn route(&self, target: &Target) -> Route {
        self.decide(target, Transport::Tcp)
    }

    fn udp_route(&self, target: &Target) -> Route {
        self.decide(target, Transport::Udp)
    }

    fn refused(&self, target: &Target, refusal: &Refusal) {
        self.ledger.borrow_mut().note(target, refusal);
    }

    fn page<'a>(&'a self, exchange: Exchange, _around: &'a Around) -> LocalFuture<'a, Answer> {
        Box::pin(async move { self.page.answer(&exchange, &self.names(), &self.ledger.borrow()) })
    }

    fn refusal_page(&self, exchange: &Exchange, refusal: &Refusal) -> Answer {
        self.page.refusal(exchange, &self.names(), refusal)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use std::collections::BTreeMap;

    use sc_config::NamePattern;
    use sc_net::{Host, UpstreamAddr};

    use super::*;

    fn network(forward: Forward) -> LittleNetwork {
        let sites = ["www.shop.example", "phpmyadmin", "*.tenants.shop.example"];
        let sites = sites.map(|name| name.parse::<NamePattern>().unwrap()).to_vec();
        let database: UpstreamAddr = "127.0.0.1:33060".parse::<std::net::SocketAddr>().unwrap().into();
        let ports = BTreeMap::from([
            (("mysql".to_owned(), Transport::Tcp, 3306), database.clone()),
            (("resolver".to_owned(), Transport::Udp, 53), database),
        ]);
        let page = StartPage {
            proxy: "127.0.0.1:2006".to_owned(),
            project: "shop".to_owned(),
        };
        let guard = Guard::public(Vec::new(), Vec::new());
        LittleNetwork::new(Names { sites, ports, forward }, guard, page)
    }

    fn word(route: &Route) -> String {
        match route {
            Route::Site => "site".to_owned(),
            Route::Redirect => "redirect".to_owned(),
            Route::Relay(upstream) => format!("relay {upstream}"),
            Route::Forward(_) => "forward".to_owned(),
            Route::Refuse(refusal) => format!("refuse {:02x}", refusal.reply().code()),
        }
    }

    #[track_caller]
    fn check(forward: Forward, target: &str, tcp: &str, udp: &str) {
        let (host, port) = target.rsplit_once(':').unwrap();
        let host = host.parse().map_or_else(|_| Host::Name(host.to_owned()), Host::V4);
        let target = Target {
            host,
            port: port.parse().unwrap(),
        };
        let network = network(forward);
        assert_eq!(word(&network.route(&target)), tcp, "TCP to {target}");
        assert_eq!(word(&network.udp_route(&target)), udp, "UDP to {target}");
    }

    #[test]
    fn our_own_names() {
        check(Forward::No, "www.shop.example:443", "site", "refuse 04");
        check(Forward::No, "www.shop.example:80", "redirect", "refuse 04");
        check(Forward::No, "www.shop.example:22", "refuse 04", "refuse 04");
        check(Forward::No, "phpmyadmin:443", "site", "refuse 04");
        check(Forward::No, "a.b.tenants.shop.example:443", "site", "refuse 04");
        check(Forward::No, "tenants.shop.example:443", "refuse 02", "refuse 02");
    }

    #[test]
    fn names_with_ports() {
        check(Forward::No, "mysql:3306", "relay 127.0.0.1:33060", "refuse 04");
        check(Forward::No, "mysql:443", "refuse 04", "refuse 04");
        check(Forward::No, "resolver:53", "refuse 04", "relay 127.0.0.1:33060");
    }

    #[test]
    fn other_names_need_w() {
        let list = || {
            Forward::Only(vec![
                "fonts.example.net".parse().unwrap(),
                "*.cdn.example.net".parse().unwrap(),
            ])
        };
        check(Forward::No, "stats.example.net:443", "refuse 02", "refuse 02");
        check(Forward::No, "192.0.2.1:443", "refuse 02", "refuse 02");
        check(Forward::All, "stats.example.net:443", "forward", "forward");
        check(Forward::All, "192.0.2.1:8443", "forward", "forward");
        check(list(), "stats.example.net:443", "refuse 02", "refuse 02");
        check(list(), "fonts.example.net:443", "forward", "forward");
        check(list(), "x.cdn.example.net:443", "forward", "forward");
        check(list(), "www.shop.example:443", "site", "refuse 04");
    }
}
