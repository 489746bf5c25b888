//! What each client address has of the server: connections, and handshakes that are under way.
//!
//! An address is an IPv4 address or an IPv6 network of 64 bits, which is what a customer of an Internet provider gets at
//! least. Addresses that nobody is connected from are forgotten, so there are never more than connections.
//!
//! Handshakes wait for a place of their address within their own time limit. All handshakes of a server also go [in
//! turn](Shares::turn): between two of them everything else that is ready has its turn, so that a flood of them delays others
//! by one at a time, and not by all that arrived together.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use sc_net::ClientAddr;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::bounds::Bounds;

/// Whose share it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Owner {
    V4(u32),
    V6(u64),
}

impl Owner {
    fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Owner::V4(ip.to_bits()),
            IpAddr::V6(ip) => Owner::V6((ip.to_bits() >> 64) as u64),
        }
    }
}

#[derive(Debug)]
struct Share {
    connections: usize,
    handshakes: Rc<Semaphore>,
}

/// The shares of all addresses.
#[derive(Debug)]
pub(crate) struct Shares {
    owners: RefCell<HashMap<Owner, Share>>,
    turns: Semaphore,
}

/// The share of one address has no connections left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Spent;

/// One connection's part in the share of its address; given back when dropped.
pub(crate) struct Part {
    shares: Rc<Shares>,
    /// `None` for addresses that have no shares.
    owner: Option<(Owner, Rc<Semaphore>)>,
    others: usize,
}

impl Shares {
    pub(crate) fn new() -> Self {
        Shares {
            owners: RefCell::default(),
            turns: Semaphore::new(1),
        }
    }

    /// Takes part in the share of a client's address.
    ///
    /// Errors: it is spent.
    pub(crate) fn enter(self: &Rc<Self>, client: &ClientAddr, bounds: &Bounds) -> Result<Part, Spent> {
        let shares = self.clone();
        let Some(ip) = client.ip().filter(|ip| !is_exempt(*ip, bounds)) else {
            return Ok(Part {
                shares,
                owner: None,
                others: 0,
            });
        };
        let owner = Owner::of(ip);
        let mut owners = self.owners.borrow_mut();
        let share = owners.entry(owner).or_insert_with(|| Share {
            connections: 0,
            handshakes: Rc::new(Semaphore::new(
                bounds.handshakes_per_address.min(Semaphore::MAX_PERMITS),
            )),
        });
        if share.connections >= bounds.connections_per_address {
            return Err(Spent);
        }
        let others = share.connections;
        share.connections += 1;
        let owner = Some((owner, share.handshakes.clone()));
        Ok(Part { shares, owner, others })
    }

    /// Waits until all handshakes that came before have had their turn, and everything else that is ready has.
    pub(crate) async fn turn(&self) {
        // Never closed, so there is no error.
        let turn = self.turns.acquire().await.ok();
        tokio::task::yield_now().await;
        drop(turn);
    }
}

impl Part {
    /// How many other connections the address had when this one came.
    pub(crate) fn others(&self) -> usize {
        self.others
    }

    /// Takes a place for a handshake when one is free; that of an address without shares is none.
    #[expect(clippy::option_option, reason = "no place is free, or none is needed")]
    pub(crate) fn try_handshake(&self) -> Option<Option<SemaphorePermit<'_>>> {
        match &self.owner {
            Some((_, handshakes)) => handshakes.try_acquire().ok().map(Some),
            None => Some(None),
        }
    }

    /// Waits for a place for a handshake; `None` for addresses that have no shares.
    pub(crate) async fn handshake(&self) -> Option<SemaphorePermit<'_>> {
        match &self.owner {
            Some((_, handshakes)) => handshakes.acquire().await.ok(),
            None => None,
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let Some((owner, _)) = &self.owner else { return };
        let mut owners = self.shares.owners.borrow_mut();
        if let Some(share) = owners.get_mut(owner) {
            share.connections -= 1;
            if share.connections == 0 {
                owners.remove(owner);
            }
        }
    }
}

fn is_exempt(ip: IpAddr, bounds: &Bounds) -> bool {
    bounds.exempt.iter().any(|network| network.contains(ip))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use sc_net::Network;
    use tokio::time::timeout;

    use super::*;

    fn client(ip: &str) -> ClientAddr {
        ClientAddr::inet(SocketAddr::new(ip.parse().expect("an address"), 1))
    }

    fn bounds() -> Bounds {
        Bounds {
            connections_per_address: 2,
            handshakes_per_address: 1,
            exempt: vec![Network::new(IpAddr::from([10, 0, 0, 0]), 8)],
            ..Bounds::default()
        }
    }

    #[test]
    fn an_address_has_its_share_and_others_have_theirs() {
        let (shares, bounds) = (Rc::new(Shares::new()), bounds());
        let enter = |ip: &str| shares.enter(&client(ip), &bounds).ok();
        let one = enter("192.0.2.1");
        assert!(one.is_some());
        // An IPv4 address in the clothes of IPv6 is the same address.
        let two = enter("::ffff:192.0.2.1");
        assert!(two.is_some());
        assert!(enter("192.0.2.1").is_none());
        assert!(enter("192.0.2.2").is_some());
        let (three, four) = (enter("2001:db8::1"), enter("2001:db8::2"));
        assert!(three.is_some() && four.is_some());
        assert!(enter("2001:db8::3").is_none(), "a network of 64 bits is one client");
        assert!(enter("2001:db8:0:1::3").is_some());
        let exempt: Vec<_> = (0..9).map(|_| enter("10.1.1.1")).collect();
        assert!(exempt.iter().all(Option::is_some));
        drop(one);
        assert!(enter("192.0.2.1").is_some());
        drop((two, three, four));
        assert!(shares.owners.borrow().is_empty(), "nobody is remembered");
    }

    #[tokio::test(start_paused = true)]
    async fn handshakes_of_one_address_wait_for_each_other() {
        let (shares, bounds) = (Rc::new(Shares::new()), bounds());
        let enter = |ip: &str| shares.enter(&client(ip), &bounds).unwrap_or_else(|_| panic!("{ip}"));
        let (first, second, other) = (enter("192.0.2.1"), enter("192.0.2.1"), enter("192.0.2.2"));
        let place = first.handshake().await;
        assert!(place.is_some());
        let wait = Duration::from_secs(9);
        assert!(timeout(wait, second.handshake()).await.is_err());
        assert!(timeout(wait, other.handshake()).await.is_ok());
        drop(place);
        assert!(timeout(wait, second.handshake()).await.is_ok());
    }
}
