//! A control socket: plain HTTP/1.1 for the commands of a person, without sites, records or metrics.
//!
//! [`serve`] needs no [`crate::Server`], so that a process which serves no traffic can have one, too. Answers may be
//! streams of any length ([`lines`]).

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use sc_http::{Answer, Body, Drain, Exchange, Fault, Limits, Scheme, Service, h1};
use sc_net::listen::Listener;
use sc_net::{AcceptError, Connection, Gate, Spawner, accept};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::network::LocalFuture;

/// Answers a request that came over a control socket.
pub type Handler = Rc<dyn Fn(Exchange) -> LocalFuture<'static, Answer>>;

/// Open connections of a control socket: its clients are commands that a person types.
const CONNECTIONS: usize = 64;

/// Serves a control socket until `drain` is cancelled.
///
/// Shape: connections are tasks of `tasks`; when `drain` is cancelled, idle ones end and others after their exchange, which
/// for a stream without end means that their owner has to end them.
/// Errors: the listener is unusable.
/// Cancel: closes the listener; connections go on.
pub async fn serve(
    tasks: Spawner,
    listener: Listener,
    limits: Limits,
    drain: CancellationToken,
    handler: Handler,
) -> Result<(), AcceptError> {
    let limits = Rc::new(limits);
    let ending = drain.clone();
    let on_connection = move |conn: Connection| {
        let drain = Drain::at_once(ending.clone());
        tasks.spawn("control connection", one(conn, limits.clone(), drain, handler.clone()));
    };
    accept::run(listener, Gate::new(CONNECTIONS), drain, |_| {}, on_connection).await
}

/// Serves one connection. Faults of its client are not told: the client is a command that tells them itself.
async fn one(conn: Connection, limits: Rc<Limits>, drain: Drain, handler: Handler) {
    struct Control(Handler);
    impl Service for Control {
        async fn answer(&self, exchange: Box<Exchange>) -> Answer {
            (self.0)(*exchange).await
        }
    }
    let Connection {
        stream,
        permit: _permit,
        ..
    } = conn;
    h1::serve(
        stream,
        BytesMut::new(),
        Scheme::Http,
        Rc::new(Control(handler)),
        &limits,
        drain,
    )
    .await;
}

/// A body of pieces as they come, until the sender is dropped; when the client goes away, the receiver is dropped.
pub fn lines(pieces: mpsc::Receiver<Bytes>) -> Body {
    struct Pieces(mpsc::Receiver<Bytes>);
    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = Fault;

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
            self.0
                .poll_recv(cx)
                .map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
        }
    }
    Body::stream(Pieces(pieces))
}
