//! A small random sequence for choices that need no secrecy: which of two upstreams, the nonce of a websocket.
//!
//! The seed comes from outside, so that a test can repeat a run. Source: SplitMix64 (Steele, Lea, Flood, 2014).

use std::cell::Cell;

/// The sequence.
#[derive(Debug)]
pub(crate) struct Random(Cell<u64>);

impl Random {
    /// Begins the sequence of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Random(Cell::new(seed))
    }

    /// The next 64 bits.
    pub(crate) fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        mix(state)
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub(crate) fn below(&self, bound: usize) -> usize {
        let bound = (bound as u64).max(1);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }
}

/// Spreads a number over 64 bits; equal numbers give equal results everywhere and always.
pub(crate) fn mix(state: u64) -> u64 {
    let mut mixed = state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
