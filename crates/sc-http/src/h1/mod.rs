//! HTTP/1.0 and 1.1, server role (RFC 9112).

use std::rc::Rc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::{Fault, Limits, Scheme, Service};

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

/// Serves one connection.
pub async fn serve<IO, S>(
    io: IO,
    read_ahead: BytesMut,
    scheme: Scheme,
    service: Rc<S>,
    limits: &Limits,
    drain: CancellationToken,
) -> Served<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service,
{
    let _ = (read_ahead, scheme, service, limits, drain, io);
    Served::Closed(None)
}
