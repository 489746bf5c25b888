//! An HTTP/2 client that sends whatever it is told: frames right and wrong, header blocks that are literal. For attacks.
//!
//! Nothing is done by itself: no acknowledgement of SETTINGS or PING, no WINDOW_UPDATE. Errors of the connection are values,
//! since an attacked server ends it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::tls::TlsStream;

/// A frame as it came.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// Types of frames (RFC 9113 §6).
pub mod kind {
    #![allow(missing_docs, reason = "their names are those of the RFC")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Ends a stream.
pub const END_STREAM: u8 = 1;
/// Ends a header block.
pub const END_HEADERS: u8 = 4;

/// A connection.
pub struct RawH2 {
    stream: TlsStream<TcpStream>,
    read: Vec<u8>,
}

impl RawH2 {
    /// Sends the preface and a SETTINGS frame with these entries.
    pub fn new(stream: TlsStream<TcpStream>, settings: &[(u16, u32)]) -> io::Result<RawH2> {
        let mut client = RawH2 {
            stream,
            read: Vec::new(),
        };
        let entries = settings.iter().flat_map(|(id, value)| {
            let (id, value) = (id.to_be_bytes(), value.to_be_bytes());
            [id[0], id[1], value[0], value[1], value[2], value[3]]
        });
        let settings = frame(kind::SETTINGS, 0, 0, &entries.collect::<Vec<_>>());
        client.send(&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings].concat())?;
        Ok(client)
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Reads the next frame; `None` when nothing came in the time, an error when the connection has ended.
    pub fn next(&mut self, within: Duration) -> io::Result<Option<Frame>> {
        self.stream
            .sock
            .set_read_timeout(Some(within.max(Duration::from_millis(1))))?;
        loop {
            if let Some(frame) = self.take() {
                return Ok(Some(frame));
            }
            let mut space = [0; 16 << 10];
            match self.stream.read(&mut space) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.read.extend_from_slice(&space[..read]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads until the connection ends; the error code of its GOAWAY, if it sent one. `None` also when it goes on for so long.
    pub fn end(&mut self, within: Duration) -> Option<u32> {
        let until = std::time::Instant::now() + within;
        let mut code = None;
        while let Some(left) = until.checked_duration_since(std::time::Instant::now()) {
            match self.next(left) {
                Ok(Some(frame)) if frame.kind == kind::GOAWAY => {
                    let bytes = frame.payload.get(4..8).and_then(|code| code.try_into().ok());
                    code = bytes.map(u32::from_be_bytes);
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        code
    }

    fn take(&mut self) -> Option<Frame> {
        let header = self.read.get(..9)?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let (kind, flags) = (header[3], header[4]);
        let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        let payload = self.read.get(9..9 + length)?.to_vec();
        self.read.drain(..9 + length);
        Some(Frame {
            kind,
            flags,
            stream,
            payload,
        })
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A header block of literal fields that go into no table (RFC 7541 §6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        text(name, &mut bytes);
        text(value, &mut bytes);
    }
    bytes
}

/// The header block of a plain request.
pub fn request(method: &str, authority: &str, path: &str) -> Vec<u8> {
    block(&[
        (":method", method),
        (":scheme", "https"),
        (":authority", authority),
        (":path", path),
    ])
}

/// A string (RFC 7541 §5.2), without Huffman's code.
fn text(text: &str, bytes: &mut Vec<u8>) {
    let mut length = text.len();
    if length < 127 {
        bytes.push(length as u8);
    } else {
        bytes.push(127);
        length -= 127;
        while length >= 128 {
            bytes.push((length % 128) as u8 | 128);
            length /= 128;
        }
        bytes.push(length as u8);
    }
    bytes.extend_from_slice(text.as_bytes());
}
