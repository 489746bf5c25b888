//! UDP ASSOCIATE (RFC 1928 §7): the same decisions as for TCP, one for each destination of a datagram.

use std::rc::Rc;

use sc_net::Connection;
use sc_net::socks::Ask;
use sc_net::udp::{UdpRoute, UdpTerms};

use crate::connection;
use crate::event::Event;
use crate::network::{Refusal, Route};
use crate::server::Shared;

/// Serves one association until its TCP connection ends.
pub(crate) async fn associate(shared: &Rc<Shared>, serial: u64, conn: Connection, ask: Ask) {
    let terms = UdpTerms::default();
    let route = |target: &sc_net::Target| match shared.network.udp_route(target) {
        Route::Relay(upstream) => UdpRoute::To(upstream),
        Route::Forward(guard) => UdpRoute::Dial(guard),
        Route::Refuse(refusal) => {
            connection::refuse(shared, serial, target, &refusal);
            UdpRoute::Refuse
        }
        Route::Site | Route::Redirect => {
            connection::refuse(shared, serial, target, &Refusal::NoSuchPort);
            UdpRoute::Refuse
        }
    };
    let association = sc_net::udp::associate(conn, &ask.target, &terms, route);
    let Some(done) = shared.drain.run_until_cancelled(association).await else {
        return;
    };
    let dropped = done.fragments + done.foreign + done.malformed + done.refused + done.unresolved + done.unsent;
    shared.event(Event::UdpAssociation {
        connection: serial,
        sent: done.sent,
        received: done.received,
        dropped,
    });
}
