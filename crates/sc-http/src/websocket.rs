//! Follows the frames of a websocket without reading what is in them, to know where one ends (RFC 6455 §5.2).
//!
//! A server that ends while websockets are open says so with a Close frame. Such a frame may stand between any two frames,
//! also between the fragments of a message (§5.4), but never inside of one; so each direction of a tunnel has a [`Tracker`].
//! No bytes are kept here, and nothing is checked that does not matter for finding the end of a frame.

use std::hash::{BuildHasher, RandomState};

/// The status code of an endpoint that goes away, such as a server that ends (RFC 6455 §7.4.1).
pub const GOING_AWAY: u16 = 1001;

/// The opcode of a Close frame (RFC 6455 §5.2).
const CLOSE: u8 = 8;

/// Where one direction stands.
///
/// Shape: is given the bytes as they pass, in pieces of any size.
#[derive(Clone, Copy, Debug)]
pub struct Tracker {
    place: Place,
    is_close: bool,
    has_close: bool,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// Between two frames.
    Between,
    /// At the byte of mask bit and length.
    Length7,
    /// In the bytes of a longer length.
    Length { left: u8, value: u64, mask: u64 },
    /// In the masking key and the payload.
    Rest { left: u64 },
    /// After something that is no frame.
    Lost,
}

impl Default for Tracker {
    fn default() -> Self {
        Tracker::new()
    }
}

impl Tracker {
    /// At the beginning of a direction.
    pub fn new() -> Self {
        Tracker {
            place: Place::Between,
            is_close: false,
            has_close: false,
        }
    }

    /// Whether the last frame has passed whole.
    pub fn is_between_frames(&self) -> bool {
        matches!(self.place, Place::Between)
    }

    /// Whether a whole Close frame has passed: nothing may follow it (RFC 6455 §5.5.1).
    pub fn has_close(&self) -> bool {
        self.has_close
    }

    /// Whether what passed cannot have been frames.
    pub fn is_lost(&self) -> bool {
        matches!(self.place, Place::Lost)
    }

    /// Follows bytes that pass.
    pub fn follow(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = rest.get(self.step(rest)..).unwrap_or_default();
        }
    }

    /// Follows bytes to the end of the frame that is under way; gives back how many of them belong to it.
    ///
    /// Shape: 0 between frames; all of `bytes` when the frame goes on beyond them.
    pub fn finish_frame(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_between_frames() {
            rest = rest.get(self.step(rest)..).unwrap_or_default();
        }
        bytes.len() - rest.len()
    }

    /// Takes at least one byte of a piece that is not empty.
    fn step(&mut self, bytes: &[u8]) -> usize {
        let Some(byte) = bytes.first().copied() else { return 0 };
        let mut taken = 1;
        match self.place {
            Place::Between => {
                self.is_close = byte & 0x0f == CLOSE;
                self.place = Place::Length7;
            }
            Place::Length7 => {
                let mask = if byte & 0x80 == 0 { 0 } else { 4 };
                match byte & 0x7f {
                    126 => {
                        self.place = Place::Length {
                            left: 2,
                            value: 0,
                            mask,
                        }
                    }
                    127 => {
                        self.place = Place::Length {
                            left: 8,
                            value: 0,
                            mask,
                        }
                    }
                    length => self.begin(u64::from(length), mask),
                }
            }
            Place::Length { left, value, mask } => {
                let (left, value) = (left - 1, value << 8 | u64::from(byte));
                if left == 0 {
                    self.begin(value, mask);
                } else {
                    self.place = Place::Length { left, value, mask };
                }
            }
            Place::Rest { left } => {
                let part = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                self.leave(left - part as u64);
                taken = part;
            }
            Place::Lost => taken = bytes.len(),
        }
        taken
    }

    /// Begins a payload. The most significant bit of its length must be 0 (RFC 6455 §5.2).
    fn begin(&mut self, length: u64, mask: u64) {
        match length.checked_add(mask) {
            Some(left) if length >> 63 == 0 => self.leave(left),
            _ => self.place = Place::Lost,
        }
    }

    fn leave(&mut self, left: u64) {
        if left > 0 {
            self.place = Place::Rest { left };
        } else {
            self.place = Place::Between;
            self.has_close |= self.is_close;
        }
    }
}

/// Which end of a websocket a frame is written for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Towards {
    /// The client that opened it: frames are not masked.
    Client,
    /// The server: frames are masked with a key that cannot be foreseen (RFC 6455 §5.3).
    Server,
}

/// A Close frame with a status code and no words.
pub fn close_frame(code: u16, towards: Towards) -> Vec<u8> {
    let code = code.to_be_bytes();
    match towards {
        Towards::Client => [&[0x80 | CLOSE, 2], &code[..]].concat(),
        Towards::Server => {
            // The payload is no secret and nobody else's choice; the key is random because the protocol says so.
            let key = RandomState::new().hash_one(code).to_be_bytes();
            let [a, b, c, d, ..] = key;
            let [first, second] = code;
            vec![0x80 | CLOSE, 0x80 | 2, a, b, c, d, first ^ a, second ^ b]
        }
    }
}

/// Follows any bytes in pieces, for fuzzing.
///
/// Shape: where a frame ends is where a plain reading of RFC 6455 §5.2 finds it, however the bytes come.
pub fn fuzz_websocket(input: &[u8]) {
    let (mut whole, mut pieces) = (Tracker::new(), Tracker::new());
    whole.follow(input);
    for piece in input.chunks(3) {
        let part = pieces.finish_frame(piece);
        pieces.follow(piece.get(part..).unwrap_or_default());
    }
    assert_eq!(whole.is_between_frames(), pieces.is_between_frames());
    assert_eq!((whole.has_close, whole.is_lost()), (pieces.has_close, pieces.is_lost()));
    let (mut at, mut has_close) = (0, false);
    let end = loop {
        match frame(input.get(at..).unwrap_or_default()) {
            Some(Ok((length, is_close))) => (at, has_close) = (at + length, has_close || is_close),
            Some(Err(())) => break None,
            None => break Some(at),
        }
    };
    assert_eq!(whole.is_lost(), end.is_none());
    assert_eq!(whole.is_between_frames(), end == Some(input.len()));
    assert_eq!(whole.has_close(), has_close);
    let (before, after) = input.split_at(input.len() / 2);
    let mut half = Tracker::new();
    half.follow(before);
    let rest = half.finish_frame(after);
    assert!(rest == after.len() || half.is_between_frames());
}

/// One frame at the front of `bytes`, when it is whole: its length, and whether it is a Close frame. For fuzzing.
fn frame(bytes: &[u8]) -> Option<Result<(usize, bool), ()>> {
    let (opcode, second) = (bytes.first()? & 0x0f, *bytes.get(1)?);
    let (length, before) = match second & 0x7f {
        126 => (u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?), 10),
        short => (u64::from(short), 2),
    };
    if length >> 63 != 0 {
        return Some(Err(()));
    }
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let whole = usize::try_from(length).ok()?.checked_add(before + mask)?;
    (whole <= bytes.len()).then_some(Ok((whole, opcode == CLOSE)))
}

#[cfg(test)]
mod tests;
