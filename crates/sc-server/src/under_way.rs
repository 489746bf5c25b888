//! What is under way: connections, exchanges, tunnels. Each is a guard, so that none is forgotten however it ends.

use std::cell::Cell;
use std::rc::Rc;

use tokio::time::Instant;

use crate::event::Event;
use crate::metrics::Metric;
use crate::record::RecordGuard;
use crate::server::{Kind, Shared};

/// How much is under way.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Open {
    /// Connections, idle ones and tunnels included; those of control sockets are not.
    pub connections: u64,
    /// Exchanges that have not become tunnels.
    pub exchanges: u64,
    /// Tunnels: websockets, other upgrades, event streams, relayed connections and UDP associations.
    pub tunnels: u64,
}

/// The same, counted.
#[derive(Default)]
pub(crate) struct Counts {
    connections: Cell<u64>,
    exchanges: Cell<u64>,
    tunnels: Cell<u64>,
}

impl Counts {
    pub(crate) fn open(&self) -> Open {
        Open {
            connections: self.connections.get(),
            exchanges: self.exchanges.get(),
            tunnels: self.tunnels.get(),
        }
    }
}

fn up(count: &Cell<u64>) {
    count.set(count.get() + 1);
}

fn down(count: &Cell<u64>) {
    count.set(count.get().saturating_sub(1));
}

/// A connection, from accept to its end; both are told, the end also when its task is aborted or panics.
pub(crate) struct Life {
    shared: Rc<Shared>,
    kind: Kind,
    serial: u64,
    began: Instant,
}

impl Life {
    pub(crate) fn begin(shared: Rc<Shared>, kind: Kind, serial: u64, client: String) -> Self {
        up(&shared.counts.connections);
        shared.count(Metric::opened(kind), 1);
        shared.event(Event::ConnectionOpened {
            connection: serial,
            listener: kind.as_str(),
            client,
        });
        Life {
            shared,
            kind,
            serial,
            began: Instant::now(),
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        down(&self.shared.counts.connections);
        self.shared.count(Metric::closed(self.kind), 1);
        self.shared.event(Event::ConnectionClosed {
            connection: self.serial,
            lived_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
    }
}

/// A tunnel.
pub(crate) struct Tunnel(Rc<Shared>);

impl Tunnel {
    pub(crate) fn begin(shared: &Rc<Shared>) -> Self {
        up(&shared.counts.tunnels);
        shared.count(Metric::TunnelsOpened, 1);
        Tunnel(shared.clone())
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        down(&self.0.counts.tunnels);
        self.0.count(Metric::TunnelsClosed, 1);
    }
}

/// An exchange, with its record; travels with the answer.
pub(crate) struct UnderWay {
    shared: Rc<Shared>,
    tunnel: Option<Tunnel>,
    record: RecordGuard,
}

impl UnderWay {
    pub(crate) fn begin(shared: &Rc<Shared>, record: RecordGuard) -> Self {
        up(&shared.counts.exchanges);
        UnderWay {
            shared: shared.clone(),
            tunnel: None,
            record,
        }
    }

    /// The protocol is switched, or its answer has no end: it is a tunnel from here on.
    pub(crate) fn becomes_tunnel(&mut self) {
        if self.tunnel.is_none() {
            down(&self.shared.counts.exchanges);
            self.tunnel = Some(Tunnel::begin(&self.shared));
            self.record.becomes_tunnel();
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.tunnel.is_none() {
            down(&self.shared.counts.exchanges);
        }
    }
}
