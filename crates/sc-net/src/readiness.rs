//! Waits for descriptors that tokio has no type of its own for.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Has the runtime watch a descriptor. Needs a tokio runtime.
///
/// Errors: no memory, or a descriptor that cannot be waited for, such as a file's.
#[expect(
    unsafe_code,
    reason = "the runtime keeps the number of a descriptor that it does not own"
)]
pub(crate) fn watch(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and has the same number until it is dropped, and `AsyncFd` owns it.
    let watched = unsafe { AsyncFd::register_with_interest(descriptor, interest) };
    Ok(watched?)
}
