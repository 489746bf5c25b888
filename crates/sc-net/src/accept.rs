//! Accepts connections: the loop, its pauses, and the bound on how many are open.
//!
//! It sets up nothing but the stream; what a connection speaks is found out by its owner ([`crate::first_byte`]).
//! A faulty incoming connection is skipped; want of descriptors or memory pauses the loop; anything else ends it loudly.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::listen::Listener;
use crate::stream::{Connection, Stream};
use crate::{ClientAddr, LocalAddr};

/// The first pause when descriptors or memory run out.
pub const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause; each one is twice the one before.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Bounds how many connections are open at once; one gate may serve several listeners.
#[derive(Clone, Debug)]
pub struct Gate {
    places: Arc<Semaphore>,
    most: usize,
}

impl Gate {
    /// A gate with `most` places.
    pub fn new(most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Gate {
            places: Arc::new(Semaphore::new(most)),
            most,
        }
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.most - self.places.available_permits().min(self.most)
    }

    /// How many may be open.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Whether a tenth is free: only then is a spell of being full over, so that a busy gate does not tell at each turn.
    fn has_room(&self) -> bool {
        self.places.available_permits() > self.most / 10
    }

    fn try_enter(&self) -> Option<Permit> {
        Arc::clone(&self.places)
            .try_acquire_owned()
            .ok()
            .map(|place| Permit { _place: Some(place) })
    }

    async fn enter(&self) -> Permit {
        // The semaphore is never closed, so the error cannot happen; without a place the connection is simply uncounted.
        Permit {
            _place: Arc::clone(&self.places).acquire_owned().await.ok(),
        }
    }
}

/// A connection's place in its [`Gate`], given back when dropped.
#[derive(Debug)]
pub struct Permit {
    _place: Option<OwnedSemaphorePermit>,
}

impl Permit {
    /// A place in no gate, for streams that were not accepted.
    pub fn uncounted() -> Self {
        Permit { _place: None }
    }
}

/// What is worth telling about while accepting.
#[derive(Debug)]
pub enum AcceptEvent {
    /// The gate is full: accepting waits for a connection to end. Once per spell.
    Full {
        /// How many connections are open.
        open: usize,
    },
    /// Descriptors or memory ran out: accepting pauses. Once per spell.
    Exhausted(io::Error),
    /// Accepting works again, after `Exhausted` or `Full`. After `Full` it is told when a tenth of the places is free and a
    /// connection comes.
    Recovered {
        /// How many pauses there were; after `Full`, how often a connection had to end first.
        pauses: u32,
    },
}

/// An error that is neither the incoming connection's nor want of resources: a bug, or a listener that was taken away.
#[derive(Debug, thiserror::Error)]
#[error("cannot accept on {local}")]
pub struct AcceptError {
    /// The listener.
    pub local: LocalAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Accepts until `drain` is cancelled, then closes the listener.
///
/// Shape: `on_connection` gets each connection with its place in `gate` and must not block; it usually spawns.
/// Errors: the listener is unusable; connections already handed on are not touched.
/// Cancel: closes the listener.
pub async fn run(
    listener: Listener,
    gate: Gate,
    drain: CancellationToken,
    on_event: impl Fn(AcceptEvent),
    on_connection: impl Fn(Connection),
) -> Result<(), AcceptError> {
    let local = listener.local();
    let accepting = accept_all(&listener, &gate, &on_event, &on_connection);
    match drain.run_until_cancelled(accepting).await {
        None => Ok(()),
        Some(source) => Err(AcceptError { local, source }),
    }
}

/// Where connections come from: a listener, or a script in the tests.
trait Incoming {
    /// Takes the next connection.
    fn next(&self) -> impl Future<Output = io::Result<(Stream, ClientAddr, LocalAddr)>>;
}

impl Incoming for Listener {
    async fn next(&self) -> io::Result<(Stream, ClientAddr, LocalAddr)> {
        self.accept().await
    }
}

async fn accept_all(
    incoming: &impl Incoming,
    gate: &Gate,
    on_event: &impl Fn(AcceptEvent),
    on_connection: &impl Fn(Connection),
) -> io::Error {
    let spell = Spell::default();
    let full = Spell::default();
    loop {
        let permit = match gate.try_enter() {
            Some(permit) => permit,
            None => {
                if full.next() {
                    on_event(AcceptEvent::Full { open: gate.open() });
                }
                gate.enter().await
            }
        };
        let (stream, client, local) = loop {
            match incoming.next().await {
                Ok(accepted) => break accepted,
                Err(fault) => match verdict(&fault) {
                    Verdict::Skip => {}
                    Verdict::Pause => {
                        let (pause, first) = spell.pause();
                        if first {
                            on_event(AcceptEvent::Exhausted(fault));
                        }
                        tokio::time::sleep(pause).await;
                    }
                    Verdict::End => return fault,
                },
            }
        };
        if let Some(pauses) = spell.end() {
            on_event(AcceptEvent::Recovered { pauses });
        }
        if gate.has_room()
            && let Some(pauses) = full.end()
        {
            on_event(AcceptEvent::Recovered { pauses });
        }
        on_connection(Connection::new(stream, client, local, permit));
    }
}

/// A spell of exhaustion, or of a full gate: how many pauses it has had.
#[derive(Default)]
struct Spell {
    pauses: Cell<u32>,
}

impl Spell {
    /// The next pause, and whether it is the first of its spell.
    fn pause(&self) -> (Duration, bool) {
        let before = self.pauses.get();
        let pause = FIRST_PAUSE.saturating_mul(1 << before.min(16)).min(LONGEST_PAUSE);
        (pause, self.next())
    }

    /// Notes one pause; whether it is the first of its spell.
    fn next(&self) -> bool {
        let before = self.pauses.get();
        self.pauses.set(before.saturating_add(1));
        before == 0
    }

    /// Ends the spell, if there was one, and says how many pauses it had.
    fn end(&self) -> Option<u32> {
        Some(self.pauses.replace(0)).filter(|pauses| *pauses > 0)
    }
}

#[derive(Debug, Eq, PartialEq)]
enum Verdict {
    Skip,
    Pause,
    End,
}

/// Source: accept(2), "Error handling": errors already pending on the new socket are passed to accept.
fn verdict(fault: &io::Error) -> Verdict {
    match Errno::from_io_error(fault) {
        Some(
            Errno::CONNABORTED
            | Errno::INTR
            | Errno::AGAIN
            | Errno::PERM
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH
            | Errno::TIMEDOUT
            | Errno::CONNRESET,
        ) => Verdict::Skip,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Verdict::Pause,
        _ => Verdict::End,
    }
}

#[cfg(test)]
mod tests;
