//! What comes back from an application, with what must happen at its end: the place given up, a fault noted, silence limited.
//!
//! Bytes pass untouched. [`Watched`] is an ordinary body; [`Tunnel`] the two directions of a switched protocol.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use sc_http::{Body, Duplex, Fault};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::endpoint::Place;
use crate::Notes;

/// A response body on its way.
pub(crate) struct Watched {
    body: Body,
    notes: Rc<Notes>,
    /// Given up with the last frame, not when the client has taken it, nor when somebody asks what comes after it.
    place: Option<Place>,
    /// Whether an end as it should be speaks for the application.
    is_good: bool,
}

impl Watched {
    /// Watches a body; one that is here as a whole needs no watching. `is_good` says whether its end speaks for the
    /// application.
    pub(crate) fn body(mut body: Body, notes: Rc<Notes>, place: Place, is_good: bool) -> Body {
        if let Some(whole) = body.take_ready() {
            if is_good {
                place.completed();
            }
            return Body::full(whole);
        }
        Body::stream(Watched {
            body,
            notes,
            place: Some(place),
            is_good,
        })
    }

    /// The body has come to its end.
    fn complete(&mut self) {
        if let Some(place) = self.place.take().filter(|_| self.is_good) {
            place.completed();
        }
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let polled = http_body::Body::poll_frame(Pin::new(&mut self.body), cx);
        match &polled {
            Poll::Ready(Some(Err(fault))) => {
                self.notes.set_fault(fault);
                if let Some(place) = self.place.take() {
                    place.broke_off(fault);
                }
            }
            Poll::Ready(None) => self.complete(),
            Poll::Ready(Some(Ok(_))) if http_body::Body::is_end_stream(&self.body) => self.complete(),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}

/// A switched protocol; silence in both directions for too long ends it.
pub(crate) struct Tunnel {
    io: Box<dyn Duplex>,
    idle_time: Duration,
    last: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Tunnel {
    /// Watches both directions.
    pub(crate) fn new(io: Box<dyn Duplex>, idle_time: Duration) -> Self {
        let last = Instant::now();
        Tunnel {
            io,
            idle_time,
            last,
            timer: Box::pin(tokio::time::sleep(idle_time)),
        }
    }

    /// Whether nothing has passed for too long; the timer is moved only when it fires.
    fn poll_silent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let due = self.last + self.idle_time;
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if polled.is_ready() {
            self.last = Instant::now();
            return polled;
        }
        match self.poll_silent(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the tunnel was silent for too long",
            ))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, data);
        if polled.is_ready() {
            self.last = Instant::now();
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
