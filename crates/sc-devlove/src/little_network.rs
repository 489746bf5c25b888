//! The little network of a run: names that a reload swaps, the ledger of what was refused, the start page.
//!
//! Where a name leads is decided in `sc_compile::Names`.

use std::cell::RefCell;
use std::rc::Rc;

use sc_compile::{Names, Transport};
use sc_http::{Answer, Exchange};
use sc_net::{Guard, Target};
use sc_server::{Around, LocalFuture, Network, Refusal, Route};

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
        self.names().route(target, transport, &self.public.borrow())
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

    fn page<'a>(&'a self, exchange: Box<Exchange>, _around: &'a Around) -> LocalFuture<'a, Answer> {
        Box::pin(async move { self.page.answer(&exchange, &self.names(), &self.ledger.borrow()) })
    }

    fn refusal_page(&self, exchange: &Exchange, refusal: &Refusal) -> Answer {
        self.page.refusal(exchange, &self.names(), refusal)
    }
}
