//! The byte streams of the product: plain TCP, unix, or either one slowed down by a [`crate::Shaper`].
//!
//! [`Connection`] is what [`crate::accept`] hands on; whoever reads too far puts the rest into its `read_ahead`.
//! [`Rewound`] puts such bytes in front of a stream again, so that TLS can be layered on it. TLS streams themselves
//! live in sc-tls. A stream that was dialled is first written to without asking the runtime, see [`Fresh`].

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use rustix::io::Errno;
use rustix::net::SendFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::accept::Permit;
use crate::shape::Shaped;
use crate::{ClientAddr, LocalAddr};

/// A connected stream.
#[derive(Debug)]
pub enum Stream {
    /// TCP, with `TCP_NODELAY` set.
    Tcp(TcpStream),
    /// The same, dialled by us.
    Dialled(Fresh),
    /// A unix stream socket.
    Unix(UnixStream),
    /// One of the others behind a simulated network.
    Shaped(Box<Shaped>),
}

impl Stream {
    /// Gives the TCP stream, or the stream itself when it is something else.
    pub fn into_tcp(self) -> Result<TcpStream, Stream> {
        match self {
            Stream::Tcp(tcp) => Ok(tcp),
            Stream::Dialled(fresh) => Ok(fresh.tcp),
            other => Err(other),
        }
    }

    /// The socket below, when nothing stands between it and the caller.
    pub(crate) fn plain(&self) -> Option<Plain<'_>> {
        match self {
            Stream::Tcp(tcp) => Some(Plain::Tcp(tcp)),
            Stream::Dialled(fresh) => Some(Plain::Tcp(&fresh.tcp)),
            Stream::Unix(unix) => Some(Plain::Unix(unix)),
            Stream::Shaped(_) => None,
        }
    }

    /// Our own end of a TCP stream, as a SOCKS reply names it.
    pub fn bound(&self) -> Option<SocketAddr> {
        self.tcp()?.local_addr().ok()
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Stream::Tcp(tcp) => Some(tcp),
            Stream::Dialled(fresh) => Some(&fresh.tcp),
            Stream::Unix(_) | Stream::Shaped(_) => None,
        }
    }

    /// Makes the coming close a reset, so that the other end does not take a torn stream for a whole one.
    pub(crate) fn reset_on_close(&self) {
        if let Some(tcp) = self.tcp() {
            // Best effort: if it fails the stream ends with FIN instead.
            let _ = socket2::SockRef::from(tcp).set_linger(Some(std::time::Duration::ZERO));
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(tcp: TcpStream) -> Self {
        Stream::Tcp(tcp)
    }
}

impl From<Fresh> for Stream {
    fn from(fresh: Fresh) -> Self {
        Stream::Dialled(fresh)
    }
}

impl From<UnixStream> for Stream {
    fn from(unix: UnixStream) -> Self {
        Stream::Unix(unix)
    }
}

/// A borrowed socket that nothing stands in front of.
#[derive(Clone, Copy)]
pub(crate) enum Plain<'a> {
    Tcp(&'a TcpStream),
    Unix(&'a UnixStream),
}

impl Plain<'_> {
    /// Waits until reading may succeed.
    pub(crate) fn poll_read_ready(self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Plain::Tcp(tcp) => tcp.poll_read_ready(cx),
            Plain::Unix(unix) => unix.poll_read_ready(cx),
        }
    }

    /// Waits until writing may succeed.
    pub(crate) fn poll_write_ready(self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Plain::Tcp(tcp) => tcp.poll_write_ready(cx),
            Plain::Unix(unix) => unix.poll_write_ready(cx),
        }
    }

    /// Runs a system call on the socket; `WouldBlock` clears the readiness.
    pub(crate) fn try_io<R>(self, interest: Interest, call: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        match self {
            Plain::Tcp(tcp) => tcp.try_io(interest, call),
            Plain::Unix(unix) => unix.try_io(interest, call),
        }
    }
}

impl AsFd for Plain<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Plain::Tcp(tcp) => tcp.as_fd(),
            Plain::Unix(unix) => unix.as_fd(),
        }
    }
}

macro_rules! each {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $call,
            Stream::Dialled($stream) => $call,
            Stream::Unix($stream) => $call,
            Stream::Shaped($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(cx, data))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Tcp(tcp) => tcp.is_write_vectored(),
            Stream::Dialled(fresh) => fresh.is_write_vectored(),
            Stream::Unix(unix) => unix.is_write_vectored(),
            Stream::Shaped(shaped) => shaped.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

/// A TCP stream that was just connected.
///
/// Its first write goes to the kernel at once. The runtime would not try before it has heard that there is room, for which
/// the task would have to wait for a turn of the loop; a new connection always has room.
#[derive(Debug)]
pub struct Fresh {
    tcp: TcpStream,
    is_written: bool,
}

impl Fresh {
    /// Takes a stream that nothing was written to.
    pub(crate) fn new(tcp: TcpStream) -> Self {
        Fresh { tcp, is_written: false }
    }

    /// The first write, unless it was made or there is no room after all.
    fn write_first(&mut self, write: impl FnOnce(BorrowedFd<'_>) -> Result<usize, Errno>) -> Option<io::Result<usize>> {
        if self.is_written {
            return None;
        }
        self.is_written = true;
        match write(self.tcp.as_fd()) {
            Err(Errno::AGAIN | Errno::INTR) => None,
            written => Some(written.map_err(io::Error::from)),
        }
    }
}

impl AsyncRead for Fresh {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Fresh {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.write_first(|socket| rustix::net::send(socket, data, SendFlags::NOSIGNAL)) {
            Some(written) => Poll::Ready(written),
            None => Pin::new(&mut this.tcp).poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.write_first(|socket| rustix::io::writev(socket, data)) {
            Some(written) => Poll::Ready(written),
            None => Pin::new(&mut this.tcp).poll_write_vectored(cx, data),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

/// An accepted connection.
///
/// Shape: bytes in `read_ahead` come before whatever is still in `stream`. `permit` is the connection's place in the
/// listener's [`crate::Gate`]: keep it for as long as the connection lives.
#[derive(Debug)]
pub struct Connection {
    /// The stream.
    pub stream: Stream,
    /// Bytes read already and not yet used.
    pub read_ahead: BytesMut,
    /// Where it comes from.
    pub client: ClientAddr,
    /// Where it arrived.
    pub local: LocalAddr,
    /// Its place among the open connections.
    pub permit: Permit,
}

impl Connection {
    /// A connection of which nothing was read yet.
    pub fn new(stream: Stream, client: ClientAddr, local: LocalAddr, permit: Permit) -> Self {
        Connection {
            stream,
            read_ahead: BytesMut::new(),
            client,
            local,
            permit,
        }
    }

    /// Reads once more into `read_ahead`.
    ///
    /// Shape: at most [`READ_AHEAD_BYTES`] are added; 0 means that the client ended its side. No memory is taken
    /// before bytes arrive.
    /// Cancel: nothing is lost.
    pub async fn read_more(&mut self) -> io::Result<usize> {
        let Connection { stream, read_ahead, .. } = self;
        std::future::poll_fn(|cx| {
            let mut room = [std::mem::MaybeUninit::uninit(); READ_AHEAD_BYTES];
            let mut buf = ReadBuf::uninit(&mut room);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buf))?;
            read_ahead.extend_from_slice(buf.filled());
            Poll::Ready(Ok(buf.filled().len()))
        })
        .await
    }
}

/// How much one call of [`Connection::read_more`] takes: a SOCKS greeting with a request, or a small ClientHello.
pub const READ_AHEAD_BYTES: usize = 2048;

/// A stream with bytes put back in front of it.
///
/// Costs one comparison a read once they are used up.
#[derive(Debug)]
pub struct Rewound<S> {
    ahead: BytesMut,
    stream: S,
}

impl<S> Rewound<S> {
    /// Puts `ahead` in front of `stream`.
    pub fn new(stream: S, ahead: BytesMut) -> Self {
        Rewound { ahead, stream }
    }

    /// Gives back the stream and what was not read of the bytes in front.
    pub fn into_parts(self) -> (S, BytesMut) {
        (self.stream, self.ahead)
    }

    /// The stream below.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let some = this.ahead.split_to(this.ahead.len().min(buf.remaining()));
        buf.put_slice(some.chunk());
        if this.ahead.is_empty() {
            this.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
