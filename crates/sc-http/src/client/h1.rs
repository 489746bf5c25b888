//! HTTP/1.1 client.

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Incoming, Outgoing, SendError};
use crate::{ClientLimits, Fault, Interim, Kind, Side};

/// An HTTP/1.1 connection to an application, used by one exchange at a time.
#[derive(Debug)]
pub struct H1<IO> {
    io: IO,
}

impl<IO: AsyncRead + AsyncWrite + Unpin + 'static> H1<IO> {
    /// Takes a fresh connection.
    pub fn new(io: IO) -> Self {
        H1 { io }
    }

    /// Sends one request and waits for the response head.
    ///
    /// Shape: `reuse` is called with the connection once request and response are both complete and it can carry another.
    pub async fn send(
        self,
        out: Outgoing,
        interim: &Interim,
        limits: &ClientLimits,
        reuse: Box<dyn FnOnce(H1<IO>)>,
    ) -> Result<Incoming, SendError> {
        let _ = (interim, limits, reuse);
        Err(SendError {
            fault: Fault::new(Side::Local, Kind::Internal, "not built yet"),
            outgoing: Some(Box::new(out)),
        })
    }

    /// Whether the idle connection is still open and silent.
    pub fn is_open(&mut self) -> bool {
        let _ = &mut self.io;
        true
    }
}
