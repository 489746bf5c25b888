//! Documents for other processes: bytes in a sealed memory file that nobody can change any more.
//!
//! They carry what is too long for a message of a [`crate::channel`], and what must never stand in a file system.
//!
//! Source: memfd_create(2), "File sealing".

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

/// Nobody can write, shrink or grow it, nor take these seals off.
const SEALED: SealFlags = SealFlags::WRITE
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

/// Writes a document.
///
/// Shape: `name` is only seen in `/proc`; the descriptor is close-on-exec.
/// Errors: no descriptors or no memory; a name above 249 bytes or with a zero in it.
pub fn write(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let file = memory(name)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = rustix::io::retry_on_intr(|| rustix::io::write(&file, rest))?;
        rest = rest.get(count..).unwrap_or_default();
    }
    rustix::fs::fcntl_add_seals(&file, SEALED)?;
    Ok(file)
}

/// Reads a document whole, from whatever process it came.
///
/// Errors: `InvalidData` when it is not sealed, so that it could change while it is read, or has more than `at_most` bytes;
/// otherwise the system's.
pub fn read(document: &OwnedFd, at_most: usize) -> io::Result<Vec<u8>> {
    let seals = rustix::fs::fcntl_get_seals(document).unwrap_or(SealFlags::empty());
    if !seals.contains(SEALED) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the document is not sealed"));
    }
    let length = usize::try_from(rustix::fs::fstat(document)?.st_size).unwrap_or(usize::MAX);
    if length > at_most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the document is too long"));
    }
    let mut bytes = vec![0; length];
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        // Positions are ours: the descriptor may be read by several processes at once.
        match rustix::io::retry_on_intr(|| rustix::io::pread(document, &mut *rest, done as u64))? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => done += count,
        }
    }
    Ok(bytes)
}

/// An empty memory file that can be sealed and never executed.
pub(crate) fn memory(name: &str) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        // Linux before 6.3 does not know the last flag.
        Err(Errno::INVAL) => Ok(rustix::fs::memfd_create(name, flags)?),
        other => Ok(other?),
    }
}
