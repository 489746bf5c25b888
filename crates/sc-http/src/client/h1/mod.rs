//! HTTP/1.1 towards an application: one exchange at a time on a connection of its own (RFC 9112).
//!
//! No task is spawned. The request is written while the response head is awaited, and goes on being written while the
//! response body is polled, so that early responses and full-duplex applications work.

mod download;
mod request;
mod transfer;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, UPGRADE};
use http::{Method, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::download::{Download, Rewound};
use self::request::Prepared;
use self::transfer::Transfer;
use super::{Incoming, Outgoing, SendError};
use crate::h1::framing::{self, Declared};
use crate::h1::head::{self, Bounds, ResponseHead, Scan, Section};
use crate::h1::receive::{Piece, Receiver};
use crate::h1::send::Sender;
use crate::h1::wire::{HEAD_READ_BYTES, Wire};
use crate::timer::Alarm;
use crate::{Body, ClientLimits, Fault, Head, Interim, Kind, Retry, Side, hop};

/// Bytes of a status line.
const STATUS_LINE_BYTES: usize = 1 << 10;

/// Interim responses taken before the final one; an application that sends more is broken.
const MOST_INTERIM: usize = 64;

/// What is called with a connection that can carry another exchange.
type Reuse<IO> = Box<dyn FnOnce(H1<IO>)>;

/// An HTTP/1.1 connection to an application, used by one exchange at a time.
#[derive(Debug)]
pub struct H1<IO> {
    wire: Wire<IO>,
    /// The time limit of an answer. It stays with the connection, since to move it costs less than to make it.
    alarm: Alarm,
}

impl<IO: AsyncRead + AsyncWrite + Unpin + 'static> H1<IO> {
    /// Takes a fresh connection.
    pub fn new(io: IO) -> Self {
        H1 {
            wire: Wire::new(io, BytesMut::new()),
            alarm: Alarm::default(),
        }
    }

    /// Sends one request and waits for the response head.
    ///
    /// Shape: interim responses go to `interim` as they come. `reuse` is called with the connection once request and
    /// response are both complete and it can carry another exchange; otherwise the connection is closed.
    /// Errors: [`Retry::Safe`] when nothing was written, [`Retry::Idempotent`] when the connection ended without a byte of a
    /// response; the request comes back with the error as long as its body is whole.
    /// Cancel: the connection is closed.
    pub async fn send(
        self,
        out: Box<Outgoing>,
        interim: &Interim,
        limits: &ClientLimits,
        reuse: Reuse<IO>,
    ) -> Result<Incoming, SendError> {
        let mut out = out;
        let (outbox, upload, spare) = match request::prepare(&mut out) {
            Ok(Prepared {
                outbox,
                body,
                framing,
                spare,
            }) => (outbox, Sender::new(body, framing), spare),
            Err(fault) => {
                return Err(SendError {
                    fault,
                    outgoing: Some(out),
                });
            }
        };
        let mut transfer = Transfer::new(self, outbox, upload, limits);
        let head = match transfer.response_head(interim, limits).await {
            Ok(head) => head,
            Err(fault) => {
                let body = spare.map(Body::full).or_else(|| transfer.upload.into_untouched());
                let outgoing = body.filter(|_| fault.retryable() != Retry::No).map(|body| {
                    out.body = body;
                    out
                });
                return Err(SendError { fault, outgoing });
            }
        };
        let incoming = receive(transfer, head, &out, limits, reuse);
        incoming.map_err(|fault| SendError { fault, outgoing: None })
    }

    /// Whether the idle connection is still open and silent, as far as is known here.
    pub fn is_open(&mut self) -> bool {
        let mut space = [0];
        let mut read = ReadBuf::new(&mut space);
        let mut cx = Context::from_waker(Waker::noop());
        let wire = &mut self.wire;
        !wire.is_eof && wire.buf.is_empty() && Pin::new(&mut wire.io).poll_read(&mut cx, &mut read).is_pending()
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Transfer<IO> {
    /// Waits for the final response head, sending the request meanwhile.
    async fn response_head(&mut self, interim: &Interim, limits: &ClientLimits) -> Result<ResponseHead, Fault> {
        let bounds = Bounds {
            line_bytes: STATUS_LINE_BYTES,
            header_bytes: limits.header_bytes,
            fields: limits.header_fields,
        };
        let mut scan = Scan::new(Section::Response);
        let mut interims = 0;
        poll_fn(|cx| {
            let before = self.written();
            if let Poll::Ready(Err(fault)) = self.poll_upload(cx) {
                return Poll::Ready(Err(fault));
            }
            // It is cleared while the connection rests, so that it is set here at the latest.
            if self.written() != before {
                self.alarm.set(limits.first_byte_time);
            } else {
                self.alarm.set_once(limits.first_byte_time);
            }
            loop {
                if let Some((start, end)) = scan.advance(&self.wire.buf, &bounds).map_err(malformed)? {
                    let head = self.wire.buf.split_to(end).freeze().slice(start..);
                    let head = head::parse_response(&head, &bounds).map_err(malformed)?;
                    if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                        return Poll::Ready(Ok(head));
                    }
                    interims += 1;
                    if interims > MOST_INTERIM {
                        return Poll::Ready(Err(broken("too many interim responses")));
                    }
                    let mut headers = head.headers;
                    hop::strip(&mut headers);
                    headers.remove(CONTENT_LENGTH);
                    interim.send(Head {
                        status: head.status,
                        headers,
                    });
                    scan = Scan::new(Section::Response);
                    continue;
                }
                match self.wire.poll_fill(cx, HEAD_READ_BYTES) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.closed(interims == 0))),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(self.closed(interims == 0).caused_by(error))),
                    Poll::Pending if self.alarm.poll_is_due(cx) => {
                        let late = Fault::new(
                            Side::Upstream,
                            Kind::UpstreamTimeout,
                            "the application did not answer in time",
                        );
                        return Poll::Ready(Err(late));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// The fault of a connection that ended before a response.
    fn closed(&mut self, is_silent: bool) -> Fault {
        let retry = match (self.written(), is_silent && self.wire.buf.is_empty()) {
            (0, _) => Retry::Safe,
            (_, true) => Retry::Idempotent,
            (_, false) => Retry::No,
        };
        let fault = Fault::new(
            Side::Upstream,
            Kind::UpstreamClosed,
            "the application closed the connection without a response",
        );
        let fault = fault.retry(retry);
        match self.write_error.take() {
            Some(error) => fault.caused_by(error),
            None => fault,
        }
    }
}

/// Decides what follows a final head.
fn receive<IO>(
    mut transfer: Transfer<IO>,
    head: ResponseHead,
    out: &Outgoing,
    limits: &ClientLimits,
    reuse: Reuse<IO>,
) -> Result<Incoming, Fault>
where
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let ResponseHead {
        status,
        is_11,
        mut headers,
    } = head;
    let is_switch = status == StatusCode::SWITCHING_PROTOCOLS;
    if is_switch || (out.method == Method::CONNECT && status.is_success()) {
        let named = hop::list(&headers, &UPGRADE).next().unwrap_or_default();
        let is_asked = out
            .upgrade
            .as_deref()
            .is_some_and(|asked| asked.eq_ignore_ascii_case(named));
        if (is_switch && !is_asked) || !transfer.is_sent() {
            return Err(broken("the application switched protocols unasked"));
        }
        hop::strip(&mut headers);
        let io = Box::new(Rewound::new(transfer.wire));
        return Ok(Incoming::Upgraded {
            head: Head { status, headers },
            io,
        });
    }
    let keeps_alive = !hop::connection_has(&headers, "close") && (is_11 || hop::connection_has(&headers, "keep-alive"));
    let has_no_body = out.method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let declared = framing::declared(&headers, is_11).map_err(malformed)?;
    let mut receiver = match declared {
        _ if has_no_body => Receiver::Done,
        Declared::Nothing => Receiver::UntilClose,
        Declared::Length(bytes) => Receiver::length(bytes),
        Declared::Chunked => Receiver::chunked(),
    };
    hop::strip(&mut headers);
    if status == StatusCode::NO_CONTENT {
        headers.remove(CONTENT_LENGTH);
    }
    let head = Head { status, headers };
    // A short body is often here already: then there is nothing left to stream.
    let is_here = matches!(receiver, Receiver::Length(bytes) if bytes <= transfer.wire.buf.len() as u64);
    let body = if transfer.is_sent() && is_here {
        match receiver.take(&mut transfer.wire.buf) {
            Ok(Piece::Data(data)) => Body::full(data),
            _ => Body::empty(),
        }
    } else {
        Body::empty()
    };
    let reuse = keeps_alive.then_some(reuse);
    if receiver.is_done() {
        transfer.release(reuse);
        return Ok(Incoming::Response { head, body });
    }
    let body = Body::stream(Download::new(transfer, receiver, reuse, limits.idle_time));
    Ok(Incoming::Response { head, body })
}

fn malformed(error: head::HeadError) -> Fault {
    broken("the response of the application is malformed").caused_by(error)
}

fn broken(detail: &str) -> Fault {
    Fault::new(Side::Upstream, Kind::UpstreamProtocol, detail)
}
