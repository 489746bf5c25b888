//! Session tickets that every worker can open, whichever of them made it.
//!
//! A [`Root`] is a secret and the epoch that it belongs to. A [`Ratchet`] turns it forward every six hours, one way only:
//! whoever starts from the same root has the same keys at any time without a word between them, and nobody can turn back
//! to open old tickets. [`Tickets`] is what rustls asks for tickets. For machines that share a certificate a root can be
//! sealed with a key that only the private key of the certificate gives. Clocks are the caller's: see `advance`.

mod aead;
mod ratchet;
mod root;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::server::ProducesTickets;

pub use self::ratchet::Ratchet;
use self::ratchet::{EPOCH_SECONDS, EpochKey, NAME_BYTES};
pub use self::root::Root;

/// Why there is no root.
#[derive(Debug, thiserror::Error)]
pub enum TicketsError {
    /// The system gave no random bytes.
    #[error("no randomness")]
    Random,
    /// The document is no root.
    #[error("the document is not a root of ticket keys")]
    Document,
    /// The sealed root is of another certificate, or was changed.
    #[error("the sealed root of ticket keys does not open with this certificate")]
    Sealed,
}

/// Makes and opens session tickets.
///
/// Shape: a ticket is the name of its key (16 bytes), a salt (16), a nonce (12), and what AES-256-GCM makes of the session.
/// Each ticket has a key of its own, derived from the key of the epoch and the salt, so that any number of workers may make
/// any number of them. The binding is authenticated with it: a ticket opens only where the same binding was given.
pub struct Tickets {
    binding: Vec<u8>,
    state: RwLock<State>,
}

struct State {
    ratchet: Ratchet,
    /// What was used before another root was adopted, and the last epoch in which its tickets are opened.
    retired: Option<(Ratchet, u64)>,
}

impl Tickets {
    /// Starts from a root.
    ///
    /// Shape: `binding` says to whom tickets belong, such as the name of the instance.
    pub fn new(root: Root, binding: &[u8], now: SystemTime) -> Self {
        Self {
            binding: binding.to_vec(),
            state: RwLock::new(State {
                ratchet: Ratchet::new(root, now),
                retired: None,
            }),
        }
    }

    /// Goes on to the epoch of `now`. Never goes back.
    ///
    /// Shape: says how long it is until there is something to do again. Being late or early by less than an epoch harms
    /// nobody: the keys before and after the current one are there too.
    pub fn advance(&self, now: SystemTime) -> Duration {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let wait = state.ratchet.advance(now);
        let State { ratchet, retired } = &mut *state;
        if let Some((old, last)) = retired {
            old.advance(now);
            if ratchet.current().epoch > *last {
                *retired = None;
            }
        }
        wait
    }

    /// Makes tickets from another root from now on, and opens those of the old one until their time is over.
    pub fn adopt(&self, root: Root, now: SystemTime) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut state.ratchet, Ratchet::new(root, now));
        let last = old.current().epoch.saturating_add(1);
        state.retired = Some((old, last));
    }

    /// The root from which another worker has the same keys.
    pub fn root(&self) -> Root {
        self.state.read().unwrap_or_else(PoisonError::into_inner).ratchet.root()
    }

    fn aad(&self, key: &EpochKey) -> Vec<u8> {
        [LABEL, &key.name, &self.binding].concat()
    }
}

/// What the authenticated data of a ticket begins with.
const LABEL: &[u8] = b"shimmercat session ticket 1";

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    /// The time for which any ticket opens at least: one that is made at the very end of its epoch opens during the next.
    fn lifetime(&self) -> u32 {
        EPOCH_SECONDS
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let key = state.ratchet.current();
        let mut ticket = key.name.to_vec();
        aead::seal(&key.secret, &self.aad(key), plain, &mut ticket)?;
        Some(ticket)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let (name, sealed) = cipher.split_first_chunk::<NAME_BYTES>()?;
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let retired = state.retired.as_ref().and_then(|(ratchet, _)| ratchet.named(name));
        let key = state.ratchet.named(name).or(retired)?;
        aead::open(&key.secret, &self.aad(key), sealed)
    }
}

/// rustls demands it. Shows no key.
impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}
