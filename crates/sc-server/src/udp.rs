//! UDP ASSOCIATE (RFC 1928 §7): the same decisions as for TCP, one for each destination of a datagram.

use std::rc::Rc;

use sc_net::Connection;
use sc_net::socks::Ask;
use sc_net::udp::{UdpRoute, UdpTerms};

use crate::connection;
use crate::event::Event;
use crate::network::{Refusal, Route};
use crate::server::Shared;
use crate::under_way::Tunnel;

/// Serves one association until its TCP connection ends or a draining server ends it; either way what it did is logged.
pub(crate) async fn associate(shared: &Rc<Shared>, serial: u64, conn: Connection, ask: Ask) {
    let terms = UdpTerms::default();
    let route = |target: &sc_net::Target| match shared.network().udp_route(target) {
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
    let on_guarded = |target: &sc_net::Target, words: &str| {
        connection::refuse(shared, serial, target, &Refusal::Guarded(words.to_owned()));
    };
    let _tunnel = Tunnel::begin(shared);
    let drain = shared.drain(serial);
    let done = connection::until_due(&drain, async |stop| {
        sc_net::udp::associate(conn, &ask.target, &terms, route, on_guarded, stop).await
    })
    .await;
    let dropped = done.fragments + done.foreign + done.malformed + done.refused + done.unresolved + done.unsent;
    shared.event(Event::UdpAssociation {
        connection: serial,
        sent: done.sent,
        received: done.received,
        dropped,
    });
}
