//! Keeps a panic to the exchange in which it happened: in its answer, and in the body and the tunnel that follow.
//!
//! Over HTTP/2 the exchanges of a connection are polled by one task, which a panic in one of them must not end.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Frame, SizeHint};
use sc_http::{Answer, Body, Duplex, Fault, Kind, Payload, Side};
use sc_site::pages::{Form, faults};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::event::Event;
use crate::metrics::Metric;
use crate::server::Shared;

/// What came of answering; a panic is logged as the fault of ours that it is, and answered with 500.
pub(crate) fn contained(shared: &Rc<Shared>, answered: std::thread::Result<Answer>) -> Answer {
    let mut answer = answered.unwrap_or_else(|panic| {
        tell(shared, &*panic);
        faults::plain(StatusCode::INTERNAL_SERVER_ERROR).answer(Form::Text)
    });
    answer.payload = match answer.payload {
        Payload::Body(body) => Payload::Body(contain(shared, body)),
        Payload::Tunnel(io) => Payload::Tunnel(Box::new(ContainedTunnel {
            io: Some(io),
            shared: shared.clone(),
        })),
        Payload::Handover => Payload::Handover,
    };
    answer
}

fn contain(shared: &Rc<Shared>, mut body: Body) -> Body {
    match body.take_ready() {
        Some(ready) => Body::full(ready),
        None => Body::stream(ContainedBody {
            body,
            is_over: false,
            shared: shared.clone(),
        }),
    }
}

fn tell(shared: &Shared, panic: &(dyn Any + Send)) {
    shared.count(Metric::Panics, 1);
    shared.event(Event::Internal {
        place: "exchange",
        fault: format!("panic: {}", words_of(panic)),
    });
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(words), _) => words,
        (_, Some(words)) => words,
        _ => "without words",
    }
}

/// A body that is made while it is sent.
struct ContainedBody {
    body: Body,
    is_over: bool,
    shared: Rc<Shared>,
}

impl http_body::Body for ContainedBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let body = &mut self.body;
        match catch_unwind(AssertUnwindSafe(|| http_body::Body::poll_frame(Pin::new(body), cx))) {
            Ok(polled) => polled,
            Err(panic) => {
                self.is_over = true;
                tell(&self.shared, &*panic);
                Poll::Ready(Some(Err(Fault::new(
                    Side::Local,
                    Kind::Internal,
                    "a panic while a body was made",
                ))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || http_body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}

/// The application's side of a tunnel; gone after a panic.
struct ContainedTunnel {
    io: Option<Box<dyn Duplex>>,
    shared: Rc<Shared>,
}

impl ContainedTunnel {
    fn poll<T>(&mut self, poll: impl FnOnce(Pin<&mut dyn Duplex>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let Some(io) = &mut self.io else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        catch_unwind(AssertUnwindSafe(|| poll(Pin::new(&mut **io)))).unwrap_or_else(|panic| {
            self.io = None;
            tell(&self.shared, &*panic);
            Poll::Ready(Err(io::Error::other("a panic in a tunnel")))
        })
    }
}

impl AsyncRead for ContainedTunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll(|io| io.poll_read(cx, buf))
    }
}

impl AsyncWrite for ContainedTunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(|io| io.poll_write(cx, data))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|io| io.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|io| io.poll_shutdown(cx))
    }
}
