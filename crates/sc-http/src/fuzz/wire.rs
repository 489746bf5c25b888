//! A byte stream in memory whose one end is a script, and the runtime that such streams are run on.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How long a connection may take that is never waited for by anybody.
const TOO_LONG: Duration = Duration::from_secs(20);

/// Turns in which nothing comes before the end: enough for every answer that is under way.
const PATIENCE: u32 = 100;

/// What is to be read, in pieces with a pause before each, then for a while nothing, then the end; and what was written.
pub(super) struct Script {
    pieces: std::vec::IntoIter<Vec<u8>>,
    now: Vec<u8>,
    at: usize,
    is_pausing: bool,
    patience: u32,
    written: Rc<RefCell<Vec<u8>>>,
}

impl Script {
    /// Says `input` in pieces of so many bytes.
    pub(super) fn new(input: &[u8], step: usize) -> (Self, Rc<RefCell<Vec<u8>>>) {
        let pieces: Vec<_> = input.chunks(step.max(1)).map(<[u8]>::to_vec).collect();
        let written = Rc::new(RefCell::new(Vec::new()));
        let script = Script {
            pieces: pieces.into_iter(),
            now: Vec::new(),
            at: 0,
            is_pausing: false,
            patience: PATIENCE,
            written: written.clone(),
        };
        (script, written)
    }
}

impl AsyncRead for Script {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.at == self.now.len() {
            // Whoever reads is left alone once before each piece, as on a network.
            self.is_pausing = !self.is_pausing;
            if self.is_pausing || (self.pieces.len() == 0 && self.patience > 0) {
                self.patience = self.patience.saturating_sub(u32::from(self.pieces.len() == 0));
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            (self.now, self.at) = (self.pieces.next().unwrap_or_default(), 0);
        }
        let rest = self.now.get(self.at..).unwrap_or_default();
        let part = rest.len().min(buf.remaining());
        buf.put_slice(rest.get(..part).unwrap_or_default());
        self.at += part;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.written.borrow_mut().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

thread_local! {
    static RUNTIME: Option<tokio::runtime::Runtime> =
        tokio::runtime::Builder::new_current_thread().enable_time().build().ok();
}

/// Runs a connection to its end; one that has none is a finding.
pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| {
        let runtime = runtime.as_ref().expect("a runtime without input and output starts");
        let ended = runtime.block_on(async { tokio::time::timeout(TOO_LONG, future).await });
        ended.expect("a connection whose client has gone comes to its end")
    })
}
