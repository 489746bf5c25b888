//! One large read buffer per thread, lent out for the length of a system call.
//!
//! Relays and UDP associations read into it and pass on at once, so that idle ones hold no buffer at all.

use std::cell::Cell;

/// Size of the buffer in bytes: no UDP datagram is larger, and larger reads gain nothing over splicing.
pub(crate) const SCRATCH_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Calls `with` with the thread's buffer.
///
/// Shape: a nested call gets a buffer of its own; the contents are whatever the last user left.
pub(crate) fn with_scratch<R>(with: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut buffer = SCRATCH
        .take()
        .unwrap_or_else(|| vec![0; SCRATCH_BYTES].into_boxed_slice());
    let result = with(&mut buffer);
    SCRATCH.set(Some(buffer));
    result
}
