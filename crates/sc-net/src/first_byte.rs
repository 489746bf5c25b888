//! Tells by the first byte which dialect a client of the proxy port speaks.
//!
//! It reads rather than peeks, so that the greeting is there already when the dialect's own code starts; what was read
//! is in the connection's `read_ahead`. See [`crate::socks`] for what follows `05` and `04`.

use std::io;
use std::time::Duration;

use crate::Connection;

/// How long a client may wait before its first byte (design: detection ends after two seconds).
pub const FIRST_BYTE_DEADLINE: Duration = Duration::from_secs(2);

/// What a client speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dialect {
    /// `05`: SOCKS version 5 (RFC 1928).
    Socks5,
    /// `04`: SOCKS version 4 or 4a.
    Socks4,
    /// `16`: a TLS handshake record (RFC 8446 §5.1).
    Tls,
    /// An ASCII letter: the method of an HTTP request.
    Http,
    /// Anything else.
    Garbage(u8),
}

impl Dialect {
    /// The dialect whose first byte this is.
    pub fn of(byte: u8) -> Self {
        match byte {
            0x05 => Dialect::Socks5,
            0x04 => Dialect::Socks4,
            0x16 => Dialect::Tls,
            b'A'..=b'Z' | b'a'..=b'z' => Dialect::Http,
            other => Dialect::Garbage(other),
        }
    }
}

/// Why no dialect was found.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The client ended the connection without a byte.
    #[error("closed before the first byte")]
    Closed,
    /// No byte came in time.
    #[error("no byte within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// Reading failed.
    #[error("cannot read the first byte")]
    Read(#[source] io::Error),
}

/// Waits for the first byte and says what it means.
///
/// Shape: whatever was read is in `connection.read_ahead`, the first byte included.
/// Errors: `Closed`, `Timeout` after `deadline`, `Read`.
/// Cancel: nothing is lost.
pub async fn detect(connection: &mut Connection, deadline: Duration) -> Result<Dialect, DetectError> {
    if connection.read_ahead.is_empty() {
        match tokio::time::timeout(deadline, connection.read_more()).await {
            Err(_) => return Err(DetectError::Timeout(deadline)),
            Ok(Err(fault)) => return Err(DetectError::Read(fault)),
            Ok(Ok(_)) => {}
        }
    }
    connection
        .read_ahead
        .first()
        .map(|byte| Dialect::of(*byte))
        .ok_or(DetectError::Closed)
}

/// Follows any bytes into the dialect that they begin, for fuzzing.
///
/// Shape: the first byte alone decides, and the codec of the dialect agrees with it about the version.
pub fn fuzz_first_byte(bytes: &[u8]) {
    use crate::socks::codec::{CodecError, read_greeting, read_request4};
    let Some(first) = bytes.first().copied() else { return };
    let is_refused = |error: Option<CodecError>| matches!(error, Some(CodecError::Version(byte)) if byte == first);
    let (five, four) = (read_greeting(bytes).err(), read_request4(bytes).err());
    let dialect = Dialect::of(first);
    assert_eq!(dialect == Dialect::Socks5, !is_refused(five));
    assert_eq!(dialect == Dialect::Socks4, !is_refused(four));
    assert!(dialect != Dialect::Http || first.is_ascii_alphabetic());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_meaning() {
        for byte in 0..=u8::MAX {
            let expected = match byte {
                5 => Dialect::Socks5,
                4 => Dialect::Socks4,
                0x16 => Dialect::Tls,
                _ if byte.is_ascii_alphabetic() => Dialect::Http,
                _ => Dialect::Garbage(byte),
            };
            assert_eq!(Dialect::of(byte), expected);
        }
    }
}
