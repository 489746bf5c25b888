//! How a server cuts a large answer into TLS records: seen from below TLS, by the five bytes before each record.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::{connect, http, tls};
use crate::bench::stage::FILES;

/// Records of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Records {
    /// How many.
    pub(crate) count: u64,
    /// Bytes of the largest, without its five.
    pub(crate) largest: usize,
}

/// Asks once for 1 MiB over HTTP/1.1, on a new connection.
pub(crate) async fn of_a_mebibyte(at: SocketAddr) -> Result<Records> {
    let watched = Watched {
        inner: connect(at, 0).await?,
        seen: Seen::default(),
    };
    let mut stream = tls::connector("http/1.1", false)?
        .connect(tls::name(FILES)?, watched)
        .await?;
    // Records of the handshake are whole by now, but tickets may still come: two small ones more or less.
    let before = stream.get_ref().0.seen.records.count;
    http::ask(&mut stream, &http::request(FILES, "1m.bin")).await?;
    let seen = stream.get_ref().0.seen.records;
    Ok(Records {
        count: seen.count - before,
        ..seen
    })
}

/// A stream whose records are counted as they are read.
struct Watched {
    inner: TcpStream,
    seen: Seen,
}

/// Where in the records the reader is.
#[derive(Default)]
struct Seen {
    records: Records,
    /// Bytes of the current record's head that were seen, and the head.
    head: usize,
    length: [u8; 2],
    /// Bytes of the current record that are still to come.
    left: usize,
}

impl Seen {
    fn hear(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            bytes = rest;
            match self.head {
                0..=2 => self.head += 1,
                3 => (self.length[0], self.head) = (*first, 4),
                _ => {
                    self.length[1] = *first;
                    self.left = usize::from(u16::from_be_bytes(self.length));
                    self.head = 0;
                    self.records.count += 1;
                    self.records.largest = self.records.largest.max(self.left);
                }
            }
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        let new = buffer.filled().get(before..).unwrap_or_default();
        self.seen.hear(new);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_however_they_arrive() {
        let bytes = [&[23, 3, 3, 0, 3, 1, 2, 3][..], &[23, 3, 3, 1, 0], &[7; 256]].concat();
        for piece in [1, 2, 3, 7, bytes.len()] {
            let mut seen = Seen::default();
            bytes.chunks(piece).for_each(|piece| seen.hear(piece));
            assert_eq!(seen.records, Records { count: 2, largest: 256 }, "in pieces of {piece}");
        }
    }
}
