//! HTTP/2 client.

use std::future::Future;

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Incoming, Outgoing, SendError};
use crate::{ClientLimits, Fault, Interim, Kind, Side};

/// An HTTP/2 connection to an application, shared by its clones.
#[derive(Clone, Debug)]
pub struct H2 {}

/// Opens HTTP/2 by prior knowledge, or on a TLS stream that negotiated it.
///
/// Shape: the second part drives the connection and ends with it; the caller spawns it.
pub async fn h2_handshake<IO>(io: IO) -> Result<(H2, impl Future<Output = ()> + use<IO>), Fault>
where
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let _ = io;
    Ok((H2 {}, async {}))
}

impl H2 {
    /// Sends one request and waits for the response head.
    pub async fn send(&self, out: Outgoing, interim: &Interim, limits: &ClientLimits) -> Result<Incoming, SendError> {
        let _ = (interim, limits);
        Err(SendError {
            fault: Fault::new(Side::Local, Kind::Internal, "not built yet"),
            outgoing: Some(Box::new(out)),
        })
    }

    /// Whether new requests can be sent.
    pub fn is_open(&self) -> bool {
        true
    }

    /// Whether one more request would be sent at once rather than wait for another to end.
    pub fn has_room(&self) -> bool {
        true
    }
}
