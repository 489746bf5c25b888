//! The reading side of a connection, shared by its driver and the request body that a service holds.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use super::head::HeadError;
use super::receive::{Piece, Receiver};
use super::wire::{BODY_READ_BYTES, Wire};
use crate::timer::Pace;
use crate::{Fault, Kind, Limit, Limits, Meter, Side};

/// Where a request stands with `Expect: 100-continue`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Expect {
    /// Nothing is expected, or no longer.
    Nothing,
    /// The client waits for `100`.
    Asked,
    /// The body is being read: `100` is to be sent.
    Wanted,
}

/// A connection, and the request body that is being received on it.
#[derive(Debug)]
pub(super) struct Link<IO> {
    /// The connection, until it is given away.
    pub(super) wire: Option<Wire<IO>>,
    /// The body of the current request.
    pub(super) receiver: Receiver,
    /// Whether the service still holds that body.
    pub(super) has_reader: bool,
    pub(super) expect: Expect,
    /// Number of the current exchange; a body of another one is stale.
    pub(super) exchange: u64,
    /// The driver, to be woken when the body wants `100` sent.
    pub(super) driver: Option<Waker>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Link<IO> {
    pub(super) fn new(wire: Wire<IO>) -> Self {
        let (receiver, expect) = (Receiver::Done, Expect::Nothing);
        Link {
            wire: Some(wire),
            receiver,
            has_reader: false,
            expect,
            exchange: 0,
            driver: None,
        }
    }

    /// Whether bytes of a next request are here already.
    pub(super) fn has_next(&self) -> bool {
        self.receiver.is_done() && self.wire.as_ref().is_some_and(|wire| !wire.buf.is_empty())
    }

    /// Takes the next piece of the body, reading as needed.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Fault>> {
        let Some(wire) = &mut self.wire else {
            return Poll::Ready(Err(stale()));
        };
        loop {
            match self.receiver.take(&mut wire.buf) {
                Ok(Piece::More) => {}
                Ok(piece) => {
                    // A client that sends its body does not wait for 100 any more (RFC 9110 §10.1.1).
                    self.expect = Expect::Nothing;
                    return Poll::Ready(Ok(piece));
                }
                Err(error) => return Poll::Ready(Err(malformed(error))),
            }
            if self.expect == Expect::Asked {
                self.expect = Expect::Wanted;
                if let Some(driver) = self.driver.take_if(|driver| !driver.will_wake(cx.waker())) {
                    driver.wake();
                }
            }
            let read = match wire.poll_fill(cx, BODY_READ_BYTES) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(read) => read,
            };
            let fault = match read {
                Ok(1..) => continue,
                Ok(0) => gone("the client ended in the middle of a request body"),
                Err(error) => gone("reading a request body").caused_by(error),
            };
            self.receiver = Receiver::Failed;
            return Poll::Ready(Err(fault));
        }
    }
}

/// The body of one request, as the service sees it.
pub(super) struct RequestBody<IO> {
    link: Rc<RefCell<Link<IO>>>,
    exchange: u64,
    meter: Rc<Meter>,
    pace: Pace,
    is_over: bool,
}

impl<IO> RequestBody<IO> {
    pub(super) fn new(link: Rc<RefCell<Link<IO>>>, meter: Rc<Meter>, limits: &Limits) -> Self {
        let exchange = link.borrow().exchange;
        RequestBody {
            link,
            exchange,
            meter,
            pace: Pace::new(limits.body_idle_time, Some(limits.body_rate)),
            is_over: false,
        }
    }
}

impl<IO> Drop for RequestBody<IO> {
    fn drop(&mut self) {
        let mut link = self.link.borrow_mut();
        if link.exchange == self.exchange {
            link.has_reader = false;
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> http_body::Body for RequestBody<IO> {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        let mut link = this.link.borrow_mut();
        if link.exchange != this.exchange {
            this.is_over = true;
            return Poll::Ready(Some(Err(stale())));
        }
        let frame = match link.poll_piece(cx) {
            Poll::Pending => {
                if !this.pace.poll_is_out(cx) {
                    return Poll::Pending;
                }
                link.receiver = Receiver::Failed;
                this.meter.limit.set(Some(Limit::BodyRate));
                Some(Err(Fault::new(
                    Side::Downstream,
                    Kind::RequestTimeout,
                    "the request body took too long",
                )))
            }
            Poll::Ready(Ok(Piece::Data(data))) => {
                this.pace.moved(data.len() as u64);
                this.meter
                    .received_bytes
                    .set(this.meter.received_bytes.get() + data.len() as u64);
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            Poll::Ready(Ok(Piece::Trailers(trailers))) => Some(Ok(Frame::trailers(trailers))),
            Poll::Ready(Ok(Piece::End | Piece::More)) => None,
            Poll::Ready(Err(fault)) => Some(Err(fault)),
        };
        this.is_over = true;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let link = self.link.borrow();
        self.is_over || (link.exchange == self.exchange && link.receiver.is_done())
    }

    fn size_hint(&self) -> SizeHint {
        let link = self.link.borrow();
        if link.exchange != self.exchange {
            return SizeHint::default();
        }
        link.receiver
            .remaining()
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The fault of the client that a malformed head or body is.
pub(super) fn malformed(error: HeadError) -> Fault {
    let kind = match error {
        HeadError::Malformed(_) => Kind::BadRequest,
        HeadError::TargetTooLong => Kind::TargetTooLong,
        HeadError::HeadersTooLarge => Kind::HeadersTooLarge,
        HeadError::Coding => Kind::NotImplemented,
        HeadError::Expectation => Kind::ExpectationFailed,
        HeadError::Version => Kind::VersionNotSupported,
    };
    let fault = Fault::new(Side::Downstream, kind, error.to_string());
    match kind {
        Kind::TargetTooLong => fault.at(Limit::TargetBytes),
        Kind::HeadersTooLarge => fault.at(Limit::Headers),
        _ => fault,
    }
}

pub(super) fn gone(detail: &str) -> Fault {
    Fault::new(Side::Downstream, Kind::DownstreamClosed, detail)
}

fn stale() -> Fault {
    gone("the exchange of this request body is over")
}
