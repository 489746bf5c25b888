//! Moving bytes between two sockets inside the kernel: one pipe for each direction.
//!
//! Knows pipes and splice(2) only; when to use them is decided in [`crate::relay`].

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};

/// The size asked for; without privileges the system gives up to `fs.pipe-max-size` (1 MiB by default).
const PIPE_BYTES: usize = 256 * 1024;
/// With less room than this, copying is as good: the system gives single pages once a user has too many pipes.
const LEAST_PIPE_BYTES: usize = 64 * 1024;

/// A pipe and how much is in it.
#[derive(Debug)]
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    size_bytes: usize,
    held_bytes: usize,
}

impl Pipe {
    /// Makes a pipe.
    ///
    /// Errors: no descriptors, or no room worth having (`EMFILE`, `ENFILE`, `ENOBUFS`).
    pub(crate) fn new() -> io::Result<Self> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let size_bytes = rustix::pipe::fcntl_setpipe_size(&write, PIPE_BYTES)
            .or_else(|_| rustix::pipe::fcntl_getpipe_size(&write))?;
        if size_bytes < LEAST_PIPE_BYTES {
            return Err(Errno::NOBUFS.into());
        }
        Ok(Pipe {
            read,
            write,
            size_bytes,
            held_bytes: 0,
        })
    }

    /// How many bytes are in it.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Takes what a socket has; 0 is its end. Call it on an empty pipe only, so that `WouldBlock` speaks of the socket.
    pub(crate) fn fill(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let count = rustix::pipe::splice(socket, None, &self.write, None, self.size_bytes, FLAGS)?;
        self.held_bytes += count;
        Ok(count)
    }

    /// Gives what it holds to a socket, as much as that takes.
    pub(crate) fn drain(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let count = rustix::pipe::splice(&self.read, None, socket, None, self.held_bytes, FLAGS)?;
        self.held_bytes -= count.min(self.held_bytes);
        Ok(count)
    }

    /// Takes the bytes out, for when a socket cannot be spliced to after all.
    pub(crate) fn into_bytes(mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.held_bytes];
        let mut rest = bytes.as_mut_slice();
        while self.held_bytes > 0 {
            let count = rustix::io::read(&self.read, &mut *rest)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.held_bytes -= count.min(self.held_bytes);
            rest = rest.get_mut(count..).unwrap_or_default();
        }
        Ok(bytes)
    }
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_a_pipe_holds_can_be_taken_out() {
        let (mut near, far) = UnixStream::pair().expect("a pair");
        near.write_all(b"half way").expect("a write");
        let mut pipe = Pipe::new().expect("a pipe");
        assert_eq!(pipe.fill(&far).expect("a splice"), 8);
        assert_eq!(pipe.held_bytes(), 8);
        assert_eq!(pipe.into_bytes().expect("bytes"), b"half way");
    }

    #[test]
    fn bytes_pass_through() {
        let (mut near, far) = UnixStream::pair().expect("a pair");
        let (mut left, right) = UnixStream::pair().expect("a pair");
        near.write_all(b"through").expect("a write");
        let mut pipe = Pipe::new().expect("a pipe");
        assert_eq!(pipe.fill(&far).expect("a splice"), 7);
        assert_eq!(pipe.drain(&right).expect("a splice"), 7);
        let mut got = [0; 7];
        left.read_exact(&mut got).expect("a read");
        assert_eq!(&got, b"through");
    }
}
