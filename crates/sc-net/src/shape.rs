//! Simulates a slow network: what we write to a client arrives later and at a bounded rate.
//!
//! As in the original, only writes towards the client are shaped, and the whole round trip time is added there; TCP's
//! own dynamics are not imitated. All streams of one [`Shaper`] share its bandwidth, as the tabs of one browser share
//! a line. For development only: every shaped stream costs a task and its queue.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::stream::Stream;
use crate::tasks::Spawner;

/// After idling, this much of a second's bandwidth passes at once: the bucket's size in time.
pub const BURST: Duration = Duration::from_millis(50);
/// The largest piece that is sent in one go, in bytes.
const MOST_PIECE_BYTES: u64 = 16 * 1024;
/// The smallest piece worth a timer, in bytes.
const LEAST_PIECE_BYTES: u64 = 256;
/// How much may wait for its turn on the line, in bytes, for each stream; a writer is held up beyond it.
const WAITING_BYTES: usize = 64 * 1024;
/// How much may be under way (latency) for each stream, in bytes.
const FLYING_BYTES: usize = 4 * 1024 * 1024;

/// What is simulated.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shape {
    /// Bytes per second; `None` or zero is no bound.
    pub bandwidth: Option<u64>,
    /// The round trip time.
    pub latency: Option<Duration>,
}

impl Shape {
    /// Whether nothing is simulated.
    pub fn is_off(&self) -> bool {
        self.bandwidth.unwrap_or(0) == 0 && self.latency.unwrap_or_default().is_zero()
    }
}

/// The simulated line that streams share.
#[derive(Clone, Debug)]
pub struct Shaper {
    line: Rc<Line>,
    spawner: Spawner,
}

impl Shaper {
    /// A line of the given shape; each stream's queue is driven by a task of `spawner`'s owner.
    pub fn new(shape: Shape, spawner: Spawner) -> Self {
        Shaper {
            line: Rc::new(Line {
                shape,
                free: Cell::new(None),
            }),
            spawner,
        }
    }

    /// Puts a stream behind the line; with a shape that is off it comes back as it is.
    ///
    /// Shape: flushing does not wait for the line; shutting down does. What was written before a drop is still
    /// delivered, then the stream is closed.
    pub fn apply(&self, stream: Stream) -> Stream {
        if self.line.shape.is_off() {
            return stream;
        }
        let (read, write) = tokio::io::split(stream);
        let queue = Rc::new(Queue::default());
        self.spawner.spawn(
            "shaped stream",
            deliver(Rc::clone(&self.line), Feed(Rc::clone(&queue)), write),
        );
        Stream::Shaped(Box::new(Shaped { read, queue }))
    }
}

/// A token bucket in the form of a clock: the time at which the line has sent all it was given.
#[derive(Debug)]
struct Line {
    shape: Shape,
    free: Cell<Option<Instant>>,
}

impl Line {
    /// Takes the line's time for `count` bytes and says when the last of them has left.
    fn reserve(&self, now: Instant, count: usize) -> Instant {
        let Some(rate) = self.shape.bandwidth.filter(|rate| *rate > 0) else {
            return now;
        };
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let start = self.free.get().unwrap_or(earliest).max(earliest);
        let left = start + Duration::from_secs_f64(count as f64 / rate as f64);
        self.free.set(Some(left));
        left.max(now)
    }

    /// A piece takes about a hundredth of a second.
    fn piece_bytes(&self) -> usize {
        let piece = self
            .shape
            .bandwidth
            .filter(|rate| *rate > 0)
            .map_or(MOST_PIECE_BYTES, |rate| rate / 100);
        piece.clamp(LEAST_PIECE_BYTES, MOST_PIECE_BYTES) as usize
    }
}

/// A stream behind a simulated line.
#[derive(Debug)]
pub struct Shaped {
    read: ReadHalf<Stream>,
    queue: Rc<Queue>,
}

/// What was written and has not yet got its turn on the line.
#[derive(Debug, Default)]
struct Queue {
    waiting: RefCell<VecDeque<Bytes>>,
    waiting_bytes: Cell<usize>,
    is_closed: Cell<bool>,
    /// How the delivery ended; the error is taken by whoever asks first.
    ended: RefCell<Option<io::Result<()>>>,
    fed: Notify,
    writer: RefCell<Option<Waker>>,
}

impl Queue {
    fn wake_writer(&self) {
        let waker = self.writer.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether something can still be delivered; the error that ended the delivery is told once.
    fn check(&self) -> io::Result<()> {
        match &mut *self.ended.borrow_mut() {
            Some(ended) => std::mem::replace(ended, Err(io::ErrorKind::BrokenPipe.into())),
            None => Ok(()),
        }
    }

    fn close(&self) {
        self.is_closed.set(true);
        self.fed.notify_one();
    }
}

impl Drop for Shaped {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl AsyncRead for Shaped {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().read).poll_read(cx, buf)
    }
}

impl AsyncWrite for Shaped {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let queue = &self.queue;
        queue.check()?;
        if queue.is_closed.get() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = WAITING_BYTES.saturating_sub(queue.waiting_bytes.get());
        let taken = data.get(..room.min(data.len())).unwrap_or_default();
        if taken.is_empty() {
            queue.writer.replace(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        queue.waiting.borrow_mut().push_back(Bytes::copy_from_slice(taken));
        queue.waiting_bytes.set(queue.waiting_bytes.get() + taken.len());
        queue.fed.notify_one();
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let queue = &self.queue;
        Poll::Ready(if queue.is_closed.get() { Ok(()) } else { queue.check() })
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let queue = &self.queue;
        queue.close();
        match &mut *queue.ended.borrow_mut() {
            Some(ended) => Poll::Ready(std::mem::replace(ended, Ok(()))),
            None => {
                queue.writer.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

/// The delivering side of a queue; says so when it goes away without having ended.
struct Feed(Rc<Queue>);

impl Feed {
    /// Takes the next piece, if one waits.
    fn piece(&self, most: usize) -> Option<Bytes> {
        let mut waiting = self.0.waiting.borrow_mut();
        let front = waiting.front_mut()?;
        let piece = front.split_to(front.len().min(most));
        if front.is_empty() {
            waiting.pop_front();
        }
        self.0.waiting_bytes.set(self.0.waiting_bytes.get() - piece.len());
        drop(waiting);
        self.0.wake_writer();
        Some(piece)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.0
            .ended
            .borrow_mut()
            .get_or_insert_with(|| Err(io::ErrorKind::BrokenPipe.into()));
        self.0.wake_writer();
    }
}

async fn deliver(line: Rc<Line>, feed: Feed, mut write: WriteHalf<Stream>) {
    let result = deliver_all(&line, &feed, &mut write).await;
    *feed.0.ended.borrow_mut() = Some(result);
}

/// Moves pieces from the queue over the line, and those that have flown long enough to the stream.
async fn deliver_all(line: &Line, feed: &Feed, write: &mut WriteHalf<Stream>) -> io::Result<()> {
    let latency = line.shape.latency.unwrap_or_default();
    let mut flying: VecDeque<(Instant, Bytes)> = VecDeque::new();
    let mut flying_bytes = 0;
    let mut line_free = Instant::now();
    loop {
        let now = Instant::now();
        while flying_bytes < FLYING_BYTES && line_free <= now {
            let Some(piece) = feed.piece(line.piece_bytes()) else {
                break;
            };
            line_free = line.reserve(now, piece.len());
            flying_bytes += piece.len();
            flying.push_back((line_free + latency, piece));
        }
        let mut arrived = false;
        while let Some((_, piece)) = flying.pop_front_if(|(due, _)| *due <= now) {
            flying_bytes -= piece.len();
            write.write_all(&piece).await?;
            arrived = true;
        }
        if arrived {
            continue;
        }
        let is_waiting = feed.0.waiting_bytes.get() > 0;
        if flying.is_empty() && !is_waiting && feed.0.is_closed.get() {
            return write.shutdown().await;
        }
        let next_arrival = flying.front().map(|(due, _)| *due);
        let next_turn = Some(line_free).filter(|_| is_waiting && flying_bytes < FLYING_BYTES);
        match [next_arrival, next_turn].into_iter().flatten().min() {
            Some(wake) if is_waiting => sleep_until(wake).await,
            Some(wake) => tokio::select! {
                () = sleep_until(wake) => {}
                () = feed.0.fed.notified() => {}
            },
            None => feed.0.fed.notified().await,
        }
    }
}

#[cfg(test)]
mod tests;
