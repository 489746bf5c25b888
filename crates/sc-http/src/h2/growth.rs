//! Receive windows that grow with what a client sends: a stream begins with a small one, since it may be as much memory, and
//! gets more when whoever takes its body is always done before the next bytes are there. Then the window is what slows the
//! client down, at round trip times that we need not know; and nothing waits here in it.

use std::cell::Cell;

use crate::Limits;

/// Windows do not grow beyond this: 64 MB/s at a round trip of 60 ms.
const MOST_BYTES: u32 = 4 << 20;

/// How many times the window of a stream goes into that of its connection.
const STREAMS: u32 = 2;

/// The windows of a connection.
#[derive(Debug)]
pub(crate) struct Growth {
    stream_bytes: Cell<u32>,
    connection_bytes: Cell<u32>,
    is_wanted: Cell<bool>,
}

/// What one body says of the window.
#[derive(Debug, Default)]
pub(crate) struct Thirst {
    /// Taken since the window was last too small, or since the beginning.
    taken: u64,
    /// Whether the body was waited for meanwhile.
    has_waited: bool,
}

impl Growth {
    pub(crate) fn new(limits: &Limits) -> Self {
        Growth {
            stream_bytes: Cell::new(limits.stream_window_bytes),
            connection_bytes: Cell::new(limits.connection_window_bytes),
            is_wanted: Cell::new(false),
        }
    }

    /// A body was waited for.
    pub(crate) fn waited(&self, thirst: &mut Thirst) {
        thirst.has_waited = true;
    }

    /// So much of a body was taken.
    pub(crate) fn took(&self, thirst: &mut Thirst, bytes: usize) {
        thirst.taken += bytes as u64;
        if thirst.taken >= u64::from(self.stream_bytes.get()) {
            if thirst.has_waited && self.stream_bytes.get() < MOST_BYTES {
                self.is_wanted.set(true);
            }
            *thirst = Thirst::default();
        }
    }

    /// The windows of a stream and of the connection that are wanted from now on, where they are others.
    pub(crate) fn wanted(&self) -> Option<(u32, u32)> {
        self.is_wanted.take().then(|| {
            let stream = self.stream_bytes.get().saturating_mul(2).min(MOST_BYTES);
            (stream, self.connection_bytes.get().max(stream.saturating_mul(STREAMS)))
        })
    }

    /// The windows are these now.
    pub(crate) fn grown(&self, (stream, connection): (u32, u32)) {
        self.stream_bytes.set(stream);
        self.connection_bytes.set(connection);
    }
}
