//! The ratchet: which keys there are at a time. Pure; whoever starts from the same root comes to the same keys.
//!
//! `chain[e + 1] = HKDF(chain[e], "next")` and `key[e] = HKDF(chain[e], "ticket")`. Only the chain of the epoch before the
//! current one is kept, which is the oldest whose tickets are still opened; everything older is wiped.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::aead::{self, Secret};
use super::root::Root;

/// Length of an epoch: tickets open for 6 to 12 hours, well within the week that RFC 8446 §4.6.1 allows.
pub(super) const EPOCH_SECONDS: u32 = 6 * 60 * 60;

pub(super) const NAME_BYTES: usize = 16;

/// A clock that is further ahead of the root is not believed: a hundred years of epochs, a fraction of a second's work.
const STEPS_MAX: u64 = 100 * 366 * 4;

/// The keys of the epochs before, at and after a time.
pub struct Ratchet {
    /// Where it starts: the epoch before the current one.
    root: Root,
    /// Previous, current, next.
    keys: [EpochKey; 3],
}

/// The key of one epoch.
pub(super) struct EpochKey {
    pub(super) epoch: u64,
    /// What tickets call it.
    pub(super) name: [u8; NAME_BYTES],
    pub(super) secret: Secret,
}

impl Ratchet {
    /// Starts from a root and goes on to `now`.
    pub fn new(root: Root, now: SystemTime) -> Self {
        let mut ratchet = Self {
            keys: keys_from(&root),
            root,
        };
        ratchet.advance(now);
        ratchet
    }

    /// Goes on to the epoch of `now`; gives the time until the next one begins.
    ///
    /// Shape: never goes back. With a clock behind the root's epoch the keys stay, and others still open the tickets.
    pub fn advance(&mut self, now: SystemTime) -> Duration {
        let first = epoch_of(now).saturating_sub(1);
        let steps = first.saturating_sub(self.root.epoch);
        if (1..=STEPS_MAX).contains(&steps) {
            for _ in 0..steps {
                self.root.chain = next(&self.root.chain);
            }
            self.root.epoch = first;
            self.keys = keys_from(&self.root);
        }
        let begun = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let length = Duration::from_secs(EPOCH_SECONDS.into());
        let into = Duration::new(begun.as_secs() % u64::from(EPOCH_SECONDS), begun.subsec_nanos());
        length.saturating_sub(into)
    }

    /// The root from which others have the same keys, and none that is older.
    pub fn root(&self) -> Root {
        self.root.clone()
    }

    /// The key that new tickets get.
    pub(super) fn current(&self) -> &EpochKey {
        let [_, current, _] = &self.keys;
        current
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> &[EpochKey; 3] {
        &self.keys
    }

    /// The key of a name.
    pub(super) fn named(&self, name: &[u8; NAME_BYTES]) -> Option<&EpochKey> {
        self.keys.iter().find(|key| key.name == *name)
    }
}

/// The epoch of a time; 0 before 1970.
pub(super) fn epoch_of(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() / u64::from(EPOCH_SECONDS))
}

fn next(chain: &Secret) -> Secret {
    aead::derive(chain, &[b"shimmercat next"])
}

fn keys_from(root: &Root) -> [EpochKey; 3] {
    let second = next(&root.chain);
    let third = next(&second);
    let key = |chain: &Secret, after: u64| EpochKey {
        epoch: root.epoch.saturating_add(after),
        name: *aead::derive(chain, &[b"shimmercat name"]),
        secret: aead::derive(chain, &[b"shimmercat ticket"]),
    };
    [key(&root.chain, 0), key(&second, 1), key(&third, 2)]
}
