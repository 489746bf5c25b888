//! A channel between two processes: whole messages, with descriptors, over a pair of `SOCK_SEQPACKET` sockets.
//!
//! The child's end goes to it as its standard input, so nothing has to be named or found. What the bytes mean is the
//! owner's business; what does not fit into a message goes as a [`crate::document`].
//!
//! Source: unix(7), "Ancillary messages"; cmsg(3).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sockopt,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::{readiness, scratch};

/// The longest message, in bytes: one read buffer of the thread, well below what a socket's send buffer takes.
pub const MESSAGE_BYTES: usize = scratch::SCRATCH_BYTES;
/// The most descriptors in one message, as many as the kernel takes (`SCM_MAX_FD`).
pub const MESSAGE_FDS: usize = 253;

/// One end of the channel.
///
/// Dropping it closes it; the other end then receives `None` after what was sent before.
#[derive(Debug)]
pub struct Channel {
    socket: AsyncFd<OwnedFd>,
}

/// What one end sent at once.
#[derive(Debug)]
pub struct Message {
    /// The bytes; at least one.
    pub bytes: Vec<u8>,
    /// The descriptors, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

impl Channel {
    /// Makes both ends: ours, and the one to give a child as its standard input. Needs a tokio runtime.
    ///
    /// Shape: both are close-on-exec; becoming a child's standard input takes that from the copy.
    /// Errors: no descriptors.
    pub fn pair() -> io::Result<(Channel, OwnedFd)> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        Ok((Channel::over(ours)?, theirs))
    }

    /// Takes the end that is our standard input, and puts `/dev/null` in its place. Needs a tokio runtime.
    ///
    /// Errors: `InvalidInput` when standard input is no such socket; it is left as it was. Otherwise the system's.
    pub fn from_stdin() -> io::Result<Channel> {
        let stdin = rustix::stdio::stdin();
        let is_ours = sockopt::socket_domain(stdin).is_ok_and(|domain| domain == AddressFamily::UNIX)
            && sockopt::socket_type(stdin).is_ok_and(|kind| kind == SocketType::SEQPACKET);
        if !is_ours {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "standard input is not a channel",
            ));
        }
        let socket = rustix::io::fcntl_dupfd_cloexec(stdin, 3)?;
        let nothing = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdin(nothing)?;
        Channel::over(socket)
    }

    fn over(socket: OwnedFd) -> io::Result<Channel> {
        Ok(Channel {
            socket: readiness::watch(socket, Interest::READABLE | Interest::WRITABLE)?,
        })
    }

    /// Sends a message; waits while the other end has too much to read.
    ///
    /// Errors: `InvalidInput` for an empty message or one above [`MESSAGE_BYTES`] or [`MESSAGE_FDS`]; `BrokenPipe` when the
    /// other end is gone; otherwise the system's.
    /// Cancel: the message was sent whole or not at all.
    pub async fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        check(bytes, fds)?;
        self.socket
            .async_io(Interest::WRITABLE, |socket| transmit(socket.as_fd(), bytes, fds))
            .await
    }

    /// Sends a message if that is possible at once.
    ///
    /// Errors: `WouldBlock` while the other end has too much to read; otherwise as [`Channel::send`].
    pub fn try_send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        check(bytes, fds)?;
        transmit(self.socket.get_ref().as_fd(), bytes, fds)
    }

    /// Waits for the next message; `None` once the other end is gone and all that it sent was received.
    ///
    /// Errors: `InvalidData` for a message that came incomplete, because it was too long or we had no descriptors left for
    /// its own; it is lost, later ones are not. Otherwise the system's.
    /// Cancel: nothing is lost.
    pub async fn receive(&self) -> io::Result<Option<Message>> {
        self.socket
            .async_io(Interest::READABLE, |socket| accept(socket.as_fd()))
            .await
    }
}

fn check(bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    // An empty message could not be told from the end.
    if bytes.is_empty() || bytes.len() > MESSAGE_BYTES || fds.len() > MESSAGE_FDS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the message is empty or too long",
        ));
    }
    Ok(())
}

fn transmit(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::INVAL.into());
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    match rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags) {
        Ok(_) => Ok(()),
        // The end is said in several ways; to the caller they are one.
        Err(Errno::CONNRESET | Errno::PIPE | Errno::NOTCONN | Errno::CONNREFUSED) => Err(Errno::PIPE.into()),
        Err(fault) => Err(fault.into()),
    }
}

fn accept(socket: BorrowedFd<'_>) -> io::Result<Option<Message>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    scratch::with_scratch(|buffer| {
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = loop {
            match rustix::net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags) {
                // The other end closed with messages of ours unread. That is said once, before what it sent itself.
                Err(Errno::CONNRESET | Errno::INTR) => {}
                other => break other?,
            }
        };
        let fds: Vec<OwnedFd> = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .collect();
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message came incomplete"));
        }
        let bytes = buffer.get(..received.bytes).unwrap_or_default().to_vec();
        Ok((!bytes.is_empty()).then_some(Message { bytes, fds }))
    })
}
