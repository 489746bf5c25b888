//! Compression as a file is sent: whole for small files, chunk by chunk for others.
//!
//! Reading and encoding happen together on the blocking pool, so that neither the disk nor the encoder holds up other
//! exchanges; one chunk is in the making at a time, and none before the last one was taken.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use sc_http::Fault;
use sc_http::encoding::Coding;
use tokio::task::JoinHandle;

use super::read;

/// How much an encoder tries.
#[derive(Clone, Copy)]
struct Effort {
    /// Brotli's quality.
    brotli: u32,
    /// Level of gzip.
    gzip: u32,
}

/// For text that is made once and kept in memory.
const KEPT: Effort = Effort { brotli: 5, gzip: 6 };
/// For text that is made for each request: a few per cent larger in a half to three quarters of the time, and no larger than
/// what others call level 6. Brotli is about as fast as gzip, and smaller.
const PASSING: Effort = Effort { brotli: 4, gzip: 4 };
/// Base-2 logarithm of brotli's window: 512 KiB bounds the memory of one encoder.
const BROTLI_WINDOW: u32 = 19;
const ZSTD_LEVEL: i32 = 3;
/// Largest frame that is handed on.
const FRAME: usize = read::CHUNK;

/// An encoder that writes into memory.
enum Encoder {
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Identity(Vec<u8>),
}

impl Encoder {
    fn new(coding: Coding, effort: Effort) -> io::Result<Self> {
        Ok(match coding {
            Coding::Identity => Encoder::Identity(Vec::new()),
            Coding::Brotli => {
                let writer = brotli::CompressorWriter::new(Vec::new(), 4096, effort.brotli, BROTLI_WINDOW);
                Encoder::Brotli(Box::new(writer))
            }
            Coding::Zstd => Encoder::Zstd(zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?),
            Coding::Gzip => Encoder::Gzip(flate2::write::GzEncoder::new(
                Vec::new(),
                flate2::Compression::new(effort.gzip),
            )),
        })
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        match self {
            Encoder::Brotli(encoder) => encoder.write_all(data),
            Encoder::Zstd(encoder) => encoder.write_all(data),
            Encoder::Gzip(encoder) => encoder.write_all(data),
            Encoder::Identity(out) => out.write_all(data),
        }
    }

    /// Takes what has been made so far.
    fn take(&mut self) -> Vec<u8> {
        std::mem::take(match self {
            Encoder::Brotli(encoder) => encoder.get_mut(),
            Encoder::Zstd(encoder) => encoder.get_mut(),
            Encoder::Gzip(encoder) => encoder.get_mut(),
            Encoder::Identity(out) => out,
        })
    }

    /// Ends the stream and takes the rest.
    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Encoder::Brotli(encoder) => Ok(encoder.into_inner()),
            Encoder::Zstd(encoder) => encoder.finish(),
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Identity(out) => Ok(out),
        }
    }
}

/// Encodes a whole small file.
///
/// Errors: none that data could cause; an encoder that cannot be made.
pub(crate) async fn whole(content: Bytes, coding: Coding) -> io::Result<Bytes> {
    let encode = move || {
        let mut encoder = Encoder::new(coding, KEPT)?;
        encoder.write(&content)?;
        encoder.finish().map(Bytes::from)
    };
    tokio::task::spawn_blocking(encode).await.map_err(io::Error::other)?
}

/// A file that is encoded as it is sent.
pub(crate) struct EncodedBody {
    state: State,
    ready: VecDeque<Bytes>,
}

enum State {
    Resting(Box<Work>),
    Working(JoinHandle<Result<Step, Fault>>),
    Done,
}

struct Work {
    file: Arc<OwnedFd>,
    encoder: Encoder,
    offset: u64,
    left: u64,
}

/// What one turn on the blocking pool made, and the work that is left.
struct Step {
    made: Vec<u8>,
    rest: Option<Box<Work>>,
}

impl EncodedBody {
    /// The first `size` bytes of a file, encoded.
    pub(crate) fn new(file: Arc<OwnedFd>, size: u64, coding: Coding) -> io::Result<Self> {
        let encoder = Encoder::new(coding, PASSING)?;
        Ok(EncodedBody {
            state: State::Resting(Box::new(Work {
                file,
                encoder,
                offset: 0,
                left: size,
            })),
            ready: VecDeque::new(),
        })
    }
}

impl Work {
    /// Reads and encodes until something came out or the file is at its end.
    fn turn(mut self: Box<Self>) -> Result<Step, Fault> {
        let mut buffer = read::Buffer::take();
        loop {
            if self.left == 0 {
                let made = self
                    .encoder
                    .finish()
                    .map_err(|e| read::fault("it could not be compressed").caused_by(e))?;
                return Ok(Step { made, rest: None });
            }
            let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(read::CHUNK);
            let got = read::blocking(&self.file, buffer.space(want), self.offset)?;
            self.encoder
                .write(buffer.filled(got))
                .map_err(|e| read::fault("it could not be compressed").caused_by(e))?;
            self.offset += got as u64;
            self.left = self.left.saturating_sub(got as u64);
            let made = self.encoder.take();
            if !made.is_empty() {
                return Ok(Step { made, rest: Some(self) });
            }
        }
    }
}

impl http_body::Body for EncodedBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            match std::mem::replace(&mut self.state, State::Done) {
                State::Done => return Poll::Ready(None),
                State::Resting(work) => self.state = State::Working(tokio::task::spawn_blocking(move || work.turn())),
                State::Working(mut handle) => {
                    let Poll::Ready(result) = Pin::new(&mut handle).poll(cx) else {
                        self.state = State::Working(handle);
                        return Poll::Pending;
                    };
                    let step = match result
                        .unwrap_or_else(|e| Err(read::fault("compressing it was broken off").caused_by(e)))
                    {
                        Ok(step) => step,
                        Err(fault) => return Poll::Ready(Some(Err(fault))),
                    };
                    if let Some(rest) = step.rest {
                        self.state = State::Resting(rest);
                    }
                    let mut made = Bytes::from(step.made);
                    while !made.is_empty() {
                        let piece = made.split_to(made.len().min(FRAME));
                        self.ready.push_back(piece);
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && matches!(self.state, State::Done)
    }
}
