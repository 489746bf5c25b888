//! Counters in memory that two processes share, so that they can be read while their owner works and after its death.
//!
//! A block is a row of 64-bit cells. What each cell counts is agreed on elsewhere; nothing here waits or fails once a block
//! is open. One process writes a block, which makes relaxed order enough.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::SealFlags;
use rustix::mm::{MapFlags, ProtFlags};

use crate::document;

/// Bytes of one cell.
const CELL_BYTES: usize = size_of::<AtomicU64>();

/// A mapped block of counters; dropping it unmaps it, the block itself lives while anybody has it.
pub struct Counters {
    first: NonNull<AtomicU64>,
    cells: usize,
}

impl Counters {
    /// Makes a block of zeros, and the descriptor by which another process can [`Counters::open`] it.
    ///
    /// Errors: no cells, too many of them, no descriptors or no memory.
    pub fn create(cells: usize) -> io::Result<(Counters, OwnedFd)> {
        let length = length(cells)?;
        let file = document::memory("counters")?;
        rustix::fs::ftruncate(&file, length as u64)?;
        rustix::fs::fcntl_add_seals(&file, FIXED | SealFlags::SEAL)?;
        Ok((map(&file, cells, length)?, file))
    }

    /// Maps a block that another process made.
    ///
    /// Errors: `InvalidData` when the descriptor is no such block or has another number of cells; otherwise the system's.
    pub fn open(block: OwnedFd, cells: usize) -> io::Result<Counters> {
        let length = length(cells)?;
        let seals = rustix::fs::fcntl_get_seals(&block).unwrap_or(SealFlags::empty());
        let is_block = seals.contains(FIXED)
            && !seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE)
            && usize::try_from(rustix::fs::fstat(&block)?.st_size) == Ok(length);
        if !is_block {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a block of counters"));
        }
        map(&block, cells, length)
    }

    /// How many cells there are.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// Reads a cell; one that does not exist is 0.
    pub fn get(&self, cell: usize) -> u64 {
        self.row().get(cell).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    /// Adds to a cell, if it exists; beyond the largest number it begins again at 0.
    pub fn add(&self, cell: usize, by: u64) {
        if let Some(cell) = self.row().get(cell) {
            cell.fetch_add(by, Ordering::Relaxed);
        }
    }

    /// Sets a cell, if it exists.
    pub fn set(&self, cell: usize, to: u64) {
        if let Some(cell) = self.row().get(cell) {
            cell.store(to, Ordering::Relaxed);
        }
    }

    #[expect(unsafe_code, reason = "memory shared with another process is reached by pointer")]
    fn row(&self) -> &[AtomicU64] {
        // SAFETY: `first` is the start of a mapping of `cells` cells, readable and writable, aligned to a page, that lives as
        // long as `self`. The file is sealed against shrinking, so every cell is backed. Other processes may write to it at
        // any time; all access here is atomic, and any bits are a valid number.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.cells) }
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters")
            .field("cells", &self.cells)
            .finish_non_exhaustive()
    }
}

impl Drop for Counters {
    #[expect(unsafe_code, reason = "a mapping is ended by its address")]
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length, nobody else ends it, and no reference into it outlives
        // `self`. A failure would leave it mapped, which harms nobody.
        let _ = unsafe { rustix::mm::munmap(self.first.as_ptr().cast(), self.cells * CELL_BYTES) };
    }
}

/// Its size stays what it is.
const FIXED: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

fn length(cells: usize) -> io::Result<usize> {
    cells
        .checked_mul(CELL_BYTES)
        .filter(|length| *length > 0 && isize::try_from(*length).is_ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no such number of cells"))
}

/// Maps a file that is sealed against shrinking and has `length` bytes, which is that of `cells` cells.
#[expect(unsafe_code, reason = "memory shared with another process is mapped, not allocated")]
fn map(file: &OwnedFd, cells: usize, length: usize) -> io::Result<Counters> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the system chooses a free place, so no memory in use is replaced.
    let start = unsafe { rustix::mm::mmap(ptr::null_mut(), length, access, MapFlags::SHARED, file, 0)? };
    let first = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
    Ok(Counters { first, cells })
}
