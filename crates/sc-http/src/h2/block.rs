//! Walks over header blocks without decoding them (RFC 7541 §6), for two errors that the `h2` crate does not tell as it
//! should: pseudo fields in trailers, which it drops silently (RFC 9113 §8.1), and a table size update behind a field, which
//! it takes for a protocol error where it is a compression error (RFC 7541 §4.2).
//!
//! Not seen: a pseudo field in trailers that is taken from the dynamic table, which no encoder does.

use h2::Reason;

/// Static table entries 1 to 14 are pseudo fields (RFC 7541 appendix A).
const LAST_PSEUDO: u8 = 14;

/// Where the walk stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    is_trailers: bool,
    has_field: bool,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// At the first byte of a field.
    Field,
    /// In an integer of several bytes.
    Integer { value: usize, shift: u32, of: Of },
    /// At the length of a string.
    Length(Part),
    /// At the first byte of a name.
    Name { is_huffman: bool, left: usize },
    /// In the rest of a string.
    Text { left: usize, part: Part },
}

#[derive(Clone, Copy, Debug)]
enum Of {
    Indexed,
    NameIndex,
    TableSize,
    Length { part: Part, is_huffman: bool },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    Name,
    Value,
}

impl Walk {
    pub(super) fn new(is_trailers: bool) -> Self {
        Walk {
            is_trailers,
            has_field: false,
            state: State::Field,
        }
    }

    /// Goes on; an error belongs to the connection.
    pub(super) fn go(&mut self, block: &[u8]) -> Result<(), Reason> {
        let mut rest = block;
        while let Some((byte, after)) = rest.split_first() {
            self.state = match self.state {
                State::Text { left, part } => {
                    let taken = left.min(rest.len());
                    rest = rest.get(taken..).unwrap_or_default();
                    self.state = text(left - taken, part);
                    continue;
                }
                State::Field => self.field(*byte)?,
                State::Integer { value, shift, of } => {
                    let more = usize::from(*byte & 0x7f).checked_shl(shift).unwrap_or(0);
                    let value = value.saturating_add(more);
                    if *byte & 0x80 != 0 {
                        State::Integer {
                            value,
                            shift: shift.saturating_add(7),
                            of,
                        }
                    } else {
                        known(value, of)
                    }
                }
                State::Length(part) => prefixed(
                    *byte,
                    7,
                    Of::Length {
                        part,
                        is_huffman: *byte & 0x80 != 0,
                    },
                ),
                State::Name { is_huffman, left } => {
                    // The Huffman code of a colon is 1011100.
                    let is_colon = if is_huffman { *byte >> 1 == 0x5c } else { *byte == b':' };
                    if is_colon && self.is_trailers {
                        return Err(Reason::PROTOCOL_ERROR);
                    }
                    text(left - 1, Part::Name)
                }
            };
            rest = after;
        }
        Ok(())
    }

    /// Begins a field, or a table size update.
    fn field(&mut self, byte: u8) -> Result<State, Reason> {
        let (bits, of) = match byte {
            0x80.. => (7, Of::Indexed),
            0x40.. => (6, Of::NameIndex),
            0x20.. if self.has_field => return Err(Reason::COMPRESSION_ERROR),
            0x20.. => return Ok(prefixed(byte, 5, Of::TableSize)),
            _ => (4, Of::NameIndex),
        };
        self.has_field = true;
        // Indexes of pseudo fields fit in every prefix.
        if self.is_trailers && (1..=LAST_PSEUDO).contains(&(byte & ((1u8 << bits) - 1))) {
            return Err(Reason::PROTOCOL_ERROR);
        }
        Ok(prefixed(byte, bits, of))
    }
}

fn prefixed(byte: u8, bits: u32, of: Of) -> State {
    let most = (1u8 << bits) - 1;
    let value = byte & most;
    if value == most {
        State::Integer {
            value: usize::from(value),
            shift: 0,
            of,
        }
    } else {
        known(usize::from(value), of)
    }
}

fn known(value: usize, of: Of) -> State {
    match of {
        Of::Indexed | Of::TableSize => State::Field,
        Of::NameIndex if value == 0 => State::Length(Part::Name),
        Of::NameIndex => State::Length(Part::Value),
        Of::Length {
            part: Part::Name,
            is_huffman,
        } if value > 0 => State::Name {
            is_huffman,
            left: value,
        },
        Of::Length { part, .. } => text(value, part),
    }
}

fn text(left: usize, part: Part) -> State {
    match (left, part) {
        (0, Part::Name) => State::Length(Part::Value),
        (0, Part::Value) => State::Field,
        _ => State::Text { left, part },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(is_trailers: bool, block: &[u8], expected: Result<(), Reason>) {
        assert_eq!(Walk::new(is_trailers).go(block), expected, "{block:x?}");
        let mut walk = Walk::new(is_trailers);
        let got = block.iter().try_for_each(|byte| walk.go(&[*byte]));
        assert_eq!(got, expected, "{block:x?} byte by byte");
    }

    #[test]
    fn pseudo_fields_in_trailers_are_found() {
        let found = Err(Reason::PROTOCOL_ERROR);
        for block in [
            &b"\x10\x05:path\x01/"[..],
            b"\x00\x03x-a\x01b\x10\x05:path\x01/",
            b"\x40\x84\xb9\x58\xd3\x3f\x01/",
            b"\x84",
            b"\x44\x01/",
            b"\x04\x01/",
        ] {
            check(true, block, found);
            check(false, block, Ok(()));
        }
        for block in [
            &b"\x10\x03x-a\x01b\x40\x03x-b\x01c\x00\x01y\x00"[..],
            b"\x90\xbe\x0f\x2f\x01a",
            b"\x10\x7f\x01",
            b"\x0f\x00\x01a",
        ] {
            check(true, block, Ok(()));
        }
    }

    #[test]
    fn late_size_updates_are_found() {
        check(false, b"\x20\x3f\xe1\x1f\x82\x84", Ok(()));
        check(false, b"\x82\x84\x20", Err(Reason::COMPRESSION_ERROR));
        check(false, b"\x82\x10\x01x\x03\x20\x20\x20", Ok(()));
        check(
            false,
            b"\x82\x10\x01x\x03\x20\x20\x20\x3f\x01",
            Err(Reason::COMPRESSION_ERROR),
        );
    }
}
