//! The one concrete body type that every protocol, handler and client shares.
//!
//! Being one type keeps the protocol engines instantiated once. Bodies are pulled: nothing is read from a file or an
//! upstream before downstream has room, which is what bounds memory.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::Fault;

/// A request or response body: nothing, one piece, or a stream of frames with trailers.
#[derive(Default)]
pub struct Body(Content);

#[derive(Default)]
enum Content {
    #[default]
    Empty,
    Piece(Bytes),
    Stream(Pin<Box<dyn http_body::Body<Data = Bytes, Error = Fault>>>),
}

impl Body {
    /// A body of no bytes.
    pub fn empty() -> Self {
        Body(Content::Empty)
    }

    /// A body of these bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() {
            Body::empty()
        } else {
            Body(Content::Piece(bytes))
        }
    }

    /// A body that is made as it is sent. An exact size hint becomes `Content-Length`.
    pub fn stream(body: impl http_body::Body<Data = Bytes, Error = Fault> + 'static) -> Self {
        Body(Content::Stream(Box::pin(body)))
    }

    /// The next frame, as a future.
    pub async fn frame(&mut self) -> Option<Result<Frame<Bytes>, Fault>> {
        std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut *self), cx)).await
    }

    /// The exact number of bytes to come, where it is known.
    pub fn exact_bytes(&self) -> Option<u64> {
        http_body::Body::size_hint(self).exact()
    }

    /// Takes the whole body when it is already there in one piece.
    pub fn take_ready(&mut self) -> Option<Bytes> {
        match std::mem::take(&mut self.0) {
            Content::Empty => Some(Bytes::new()),
            Content::Piece(bytes) => Some(bytes),
            stream @ Content::Stream(_) => {
                self.0 = stream;
                None
            }
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match &mut self.0 {
            Content::Empty => Poll::Ready(None),
            Content::Piece(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Content::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Content::Stream(stream) => stream.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Empty => true,
            Content::Piece(_) => false,
            Content::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Empty => SizeHint::with_exact(0),
            Content::Piece(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Stream(stream) => stream.size_hint(),
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Content::Empty => f.write_str("Body(empty)"),
            Content::Piece(bytes) => write!(f, "Body({} bytes)", bytes.len()),
            Content::Stream(_) => f.write_str("Body(stream)"),
        }
    }
}
