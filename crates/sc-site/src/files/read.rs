//! Reading files: into pooled buffers, without blocking where the page cache has the bytes, on the blocking pool otherwise.
//!
//! A body reads nothing before downstream asks for it. A file that shrinks while it is sent is a fault: its length was
//! promised in the head.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use rustix::io::{Errno, ReadWriteFlags};
use sc_http::{Fault, Kind, Side};
use tokio::task::JoinHandle;

/// Bytes that are read at a time.
pub(crate) const CHUNK: usize = 64 << 10;
/// Buffers that a thread keeps for its next reads: 4 MiB.
const KEPT: usize = 64;

thread_local! {
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A fault of reading a file.
pub(crate) fn fault(detail: &str) -> Fault {
    Fault::new(Side::Local, Kind::File, format!("a file: {detail}"))
}

/// A buffer of [`CHUNK`] bytes that goes back to its thread's pool.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    used: usize,
}

impl Buffer {
    /// Takes one from the pool, or a new one.
    pub(crate) fn take() -> Self {
        let bytes = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; CHUNK]);
        Buffer { bytes, used: 0 }
    }

    /// Room for up to `want` bytes.
    pub(crate) fn space(&mut self, want: usize) -> &mut [u8] {
        let end = want.min(self.bytes.len());
        self.bytes.get_mut(..end).unwrap_or_default()
    }

    /// The bytes that were read.
    pub(crate) fn filled(&self, got: usize) -> &[u8] {
        self.bytes.get(..got).unwrap_or_default()
    }

    /// Hands the first bytes on; the buffer comes back when the last reader has dropped them.
    fn freeze(mut self, got: usize) -> Bytes {
        self.used = got.min(self.bytes.len());
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.filled(self.used)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        // A thread that is ending has no pool any more; then the buffer is simply freed.
        let _ = BUFFERS.try_with(|pool| {
            if let Ok(mut pool) = pool.try_borrow_mut()
                && pool.len() < KEPT
            {
                pool.push(bytes);
            }
        });
    }
}

/// Reads at an offset, waiting for the disk if it must; at least one byte.
///
/// Errors: a fault when the file ends here, or the system cannot read it.
pub(crate) fn blocking(file: &OwnedFd, space: &mut [u8], offset: u64) -> Result<usize, Fault> {
    loop {
        match rustix::io::pread(file, &mut *space, offset) {
            Ok(0) => return Err(fault("it became shorter while it was sent")),
            Ok(got) => return Ok(got),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(fault("it cannot be read").caused_by(std::io::Error::from(errno))),
        }
    }
}

/// Reads at an offset only what the page cache has; `None` when the disk is needed.
fn at_once(file: &OwnedFd, space: &mut [u8], offset: u64) -> Option<Result<usize, Fault>> {
    match rustix::io::preadv2(file, &mut [IoSliceMut::new(space)], offset, ReadWriteFlags::NOWAIT) {
        Ok(0) => Some(Err(fault("it became shorter while it was sent"))),
        Ok(got) => Some(Ok(got)),
        // Not in memory, or a file system that cannot tell: either way the blocking pool can.
        Err(_) => None,
    }
}

/// Reads a whole small file of a known size.
///
/// Shape: at most [`CHUNK`] bytes; `None` when the file is shorter than it was said to be.
pub(crate) async fn small(file: &Arc<OwnedFd>, size: u64) -> Result<Option<Bytes>, Fault> {
    let Some(size) = usize::try_from(size).ok().filter(|size| *size <= CHUNK) else {
        return Ok(None);
    };
    if size == 0 {
        return Ok(Some(Bytes::new()));
    }
    let mut space = vec![0; size];
    if let Some(Ok(got)) = at_once(file, &mut space, 0)
        && got == size
    {
        return Ok(Some(space.into()));
    }
    let file = file.clone();
    let read = move || {
        let mut have = 0;
        while have < size {
            let Some(rest) = space.get_mut(have..) else { break };
            match rustix::io::pread(&*file, rest, have as u64) {
                Ok(0) => return Ok(None),
                Ok(got) => have += got,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(fault("it cannot be read").caused_by(std::io::Error::from(errno))),
            }
        }
        Ok(Some(Bytes::from(space)))
    };
    tokio::task::spawn_blocking(read)
        .await
        .unwrap_or_else(|e| Err(fault("reading it was broken off").caused_by(e)))
}

/// A part of a body.
#[derive(Debug)]
pub(crate) enum Part {
    /// Bytes that are there.
    Memory(Bytes),
    /// So many bytes of the file from an offset.
    File { offset: u64, left: u64 },
}

impl Part {
    fn bytes(&self) -> u64 {
        match self {
            Part::Memory(bytes) => bytes.len() as u64,
            Part::File { left, .. } => *left,
        }
    }
}

/// Parts of one file, with other bytes between them: the file itself, ranges, `multipart/byteranges`.
pub(crate) struct FileBody {
    file: Arc<OwnedFd>,
    parts: VecDeque<Part>,
    reading: Option<JoinHandle<Result<(Buffer, usize), Fault>>>,
    left: u64,
}

impl FileBody {
    /// These parts of a file, in order.
    pub(crate) fn new(file: Arc<OwnedFd>, parts: impl IntoIterator<Item = Part>) -> Self {
        let parts: VecDeque<_> = parts.into_iter().filter(|part| part.bytes() > 0).collect();
        let left = parts.iter().map(Part::bytes).sum();
        FileBody {
            file,
            parts,
            reading: None,
            left,
        }
    }

    /// Moves past what was read at the front part.
    fn advance(&mut self, got: usize) {
        if let Some(Part::File { offset, left }) = self.parts.front_mut() {
            *offset += got as u64;
            *left = left.saturating_sub(got as u64);
            if *left == 0 {
                self.parts.pop_front();
            }
        }
    }

    /// Ends the body, with a fault or without.
    fn piece(&mut self, result: Result<Bytes, Fault>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match result {
            Ok(bytes) => {
                self.left = self.left.saturating_sub(bytes.len() as u64);
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Err(fault) => {
                self.parts.clear();
                Poll::Ready(Some(Err(fault)))
            }
        }
    }
}

impl http_body::Body for FileBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = &mut *self;
        loop {
            if let Some(handle) = &mut this.reading {
                let Poll::Ready(result) = Pin::new(handle).poll(cx) else {
                    return Poll::Pending;
                };
                this.reading = None;
                let result = result.unwrap_or_else(|e| Err(fault("reading it was broken off").caused_by(e)));
                let result = result.map(|(buffer, got)| {
                    this.advance(got);
                    buffer.freeze(got)
                });
                return this.piece(result);
            }
            let (offset, want) = match this.parts.front_mut() {
                None => return Poll::Ready(None),
                Some(Part::Memory(bytes)) => {
                    let bytes = std::mem::take(bytes);
                    this.parts.pop_front();
                    return this.piece(Ok(bytes));
                }
                Some(Part::File { offset, left }) => (*offset, usize::try_from(*left).unwrap_or(usize::MAX)),
            };
            let mut buffer = Buffer::take();
            match at_once(&this.file, buffer.space(want), offset) {
                Some(result) => {
                    let result = result.map(|got| {
                        this.advance(got);
                        buffer.freeze(got)
                    });
                    return this.piece(result);
                }
                None => {
                    let file = this.file.clone();
                    let read = move || blocking(&file, buffer.space(want), offset).map(|got| (buffer, got));
                    this.reading = Some(tokio::task::spawn_blocking(read));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty() && self.reading.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
