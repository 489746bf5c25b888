//! The root of the ticket keys, as machines that show the same certificate share it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::SystemTime;

use sc_tls::Credentials;
use sc_tls::tickets::{Ratchet, Root, Tickets};
use tokio::sync::Notify;

use crate::bus::{Offered, SharedRoot};

/// The master's root and what it takes to share it.
pub(super) struct SharedTickets {
    tickets: Tickets,
    credentials: RefCell<Rc<Credentials>>,
    clock: fn() -> SystemTime,
    /// Wakes the master when another machine's root was adopted: its workers have to hear of it.
    adopted: Notify,
}

impl SharedTickets {
    pub(super) fn new(tickets: Tickets, credentials: Rc<Credentials>, clock: fn() -> SystemTime) -> Self {
        let credentials = RefCell::new(credentials);
        SharedTickets {
            tickets,
            credentials,
            clock,
            adopted: Notify::new(),
        }
    }

    /// Goes on with the time, and gives the root that workers begin with.
    pub(super) fn root(&self) -> Root {
        self.tickets.advance((self.clock)());
        self.tickets.root()
    }

    /// Waits until another machine's root was adopted.
    ///
    /// Cancel: nothing is lost.
    pub(super) async fn adopted(&self) {
        self.adopted.notified().await;
    }

    /// Seals with another certificate's key from now on.
    pub(super) fn certify(&self, credentials: Rc<Credentials>) {
        *self.credentials.borrow_mut() = credentials;
    }
}

impl SharedRoot for SharedTickets {
    fn sealed(&self) -> Option<Vec<u8>> {
        self.tickets.root().seal(&self.credentials.borrow()).ok()
    }

    fn offer(&self, sealed: &[u8]) -> Offered {
        let Ok(theirs) = Root::open(sealed, &self.credentials.borrow()) else {
            return Offered::Unreadable;
        };
        let (ours, now) = (self.tickets.root(), (self.clock)());
        let (our_epoch, their_epoch) = (ours.epoch(), theirs.epoch());
        let theirs = Ratchet::new(theirs, now).root();
        let is_same = *theirs.to_document() == *Ratchet::new(ours, now).root().to_document();
        match (is_same, their_epoch < our_epoch) {
            (true, true) => Offered::Older,
            (true, false) => Offered::Same,
            (false, _) => {
                self.tickets.adopt(theirs, now);
                self.adopted.notify_one();
                Offered::Adopted
            }
        }
    }
}
