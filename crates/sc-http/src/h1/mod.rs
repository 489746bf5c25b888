//! HTTP/1.0 and 1.1, server role (RFC 9112).
//!
//! One task serves one connection: request bodies are read by whoever polls them, while the answer is polled and written
//! here, so both directions move at once and each holds the other back. Requests are parsed strictly; what two parsers
//! could read in two ways gets `400` and a closed connection. Heads are found and tokenised in [`head`], understood in
//! [`request`], answered by [`respond`] and [`send`]; [`connection`] is the story that joins them. The HTTP/1.1 client of
//! [`crate::client`] is built from the same parts.
//!
//! Not done: a response without a known length to an HTTP/1.0 client ends with the connection, so a fault in it cannot be
//! told from its end by anyone without TLS.

mod connection;
pub(crate) mod framing;
pub(crate) mod head;
mod link;
pub(crate) mod receive;
mod request;
mod respond;
pub(crate) mod send;
pub(crate) mod wire;

use std::pin::pin;
use std::rc::Rc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};

use self::connection::{After, Connection, Opening};
pub(crate) use self::request::{expectation, same};
use crate::drain::Delay;
use crate::{Drain, Fault, Limits, Scheme, Service};

/// How [`serve`] ended.
pub enum Served<IO> {
    /// The connection is done with; the fault, if any, is for the log.
    Closed(Option<Fault>),
    /// An answer was [`crate::Payload::Handover`]: the head is written, the rest is the caller's.
    Handover {
        /// The connection.
        io: IO,
        /// Bytes that were already read from it.
        read_ahead: BytesMut,
    },
}

/// Serves one connection until it ends.
///
/// Shape: `read_ahead` was already read from `io`; `scheme` is what the listener speaks. Requests of one connection are
/// answered one after the other, however many arrive at once. When `drain` has begun, a connection is closed after its next
/// exchange, or when it was idle for as long as the drain allows. A fresh one is given the time for its first request.
/// Errors: a malformed or late request is answered here, and its fault returned; so is a fault that broke a response off.
/// A client that leaves between requests, or in the middle of a head, is no fault.
/// Cancel: the connection breaks off, and the exchange on it counts as cancelled.
pub async fn serve<IO, S>(
    io: IO,
    read_ahead: BytesMut,
    scheme: Scheme,
    service: Rc<S>,
    limits: &Limits,
    drain: Drain,
) -> Served<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service,
{
    let mut connection = Connection::new(io, read_ahead, scheme, limits, &drain);
    let begun = pin!(drain.begin.cancelled());
    let mut drained = Delay::new(&drain, begun, drain.idle_after);
    loop {
        let request = match connection.next_request(&mut drained).await {
            Opening::Request(request) => request,
            Opening::End => {
                connection.close().await;
                return Served::Closed(None);
            }
            Opening::Broken(fault) => return Served::Closed(Some(fault)),
            Opening::Refused(fault) => {
                tell(&*service, &fault);
                connection.refuse(&fault).await;
                return Served::Closed(Some(fault));
            }
        };
        match connection.exchange(request, &*service).await {
            After::Next => {}
            After::Close => {
                connection.close().await;
                return Served::Closed(None);
            }
            After::Gone(fault) => {
                if let Some(fault) = &fault {
                    tell(&*service, fault);
                }
                return Served::Closed(fault);
            }
            After::Handover { io, read_ahead } => return Served::Handover { io, read_ahead },
        }
    }
}

/// Tells of the bound that a client ran into.
fn tell(service: &impl Service, fault: &Fault) {
    if let Some(limit) = fault.limit() {
        service.limited(limit);
    }
}

/// Runs the parsers of request heads on any bytes, for fuzzing.
///
/// Shape: where a head ends does not depend on how it arrives; what is understood keeps within the bounds and holds
/// nothing that could end a line.
pub fn fuzz_head(input: &[u8]) {
    request::fuzz(input);
}

/// Runs the parsers of response heads and trailers on any bytes, for fuzzing.
pub fn fuzz_sections(input: &[u8]) {
    head::fuzz(input);
}

/// Runs the chunk decoder on any bytes, for fuzzing.
pub fn fuzz_chunks(input: &[u8]) {
    receive::fuzz(input);
}
