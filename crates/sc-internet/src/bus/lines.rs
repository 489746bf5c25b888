//! One line of the log on its way from a worker to whoever reads it.

use serde::{Deserialize, Serialize};

/// A log line.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Line {
    /// Its number among the lines of its worker, from 1 and without a gap as they are made.
    pub sequence: u64,
    /// Name of the worker ([`super::Instance::worker`]).
    pub worker: String,
    /// Code of the event, e.g. `M30201`.
    pub code: String,
    /// The whole line as a JSON object.
    pub json: String,
}

impl Line {
    /// Bytes that the line is reckoned to take, wherever it waits: its texts and what holds them.
    pub(crate) fn cost(&self) -> usize {
        self.worker.len() + self.code.len() + self.json.len() + OVERHEAD_BYTES
    }

    /// Bytes that the line takes at most as an element of a message of JSON, its comma included.
    pub(crate) fn message_bytes(&self) -> usize {
        let inside = |text: &str| text.bytes().map(escaped_bytes).sum::<usize>();
        FRAME_BYTES + inside(&self.worker) + inside(&self.code) + inside(&self.json)
    }
}

/// Bytes of one byte inside a JSON string (RFC 8259 §7), as serde writes it.
fn escaped_bytes(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' => 2,
        0..=0x1f => 6,
        _ => 1,
    }
}

/// Three strings, a number and their allocations.
const OVERHEAD_BYTES: usize = 128;
/// Names of the fields, their quotes and commas, and the longest number.
const FRAME_BYTES: usize = 80;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_line_in_a_message_is_never_longer_than_reckoned(
            sequence in any::<u64>(), worker in "[a-z0-9.-]{0,60}", code in "M[0-9]{5}", json in any::<String>()
        ) {
            let line = Line { sequence, worker, code, json };
            let written = serde_json::to_string(&line).unwrap();
            prop_assert!(written.len() < line.message_bytes());
            prop_assert!(line.message_bytes() < written.len() + 60);
        }
    }
}
