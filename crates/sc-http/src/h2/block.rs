//! Walks over the header block of trailers without decoding it (RFC 7541 §6), because the `h2` crate drops pseudo fields in
//! trailers silently where RFC 9113 §8.1 wants the message refused.
//!
//! Not seen: a pseudo field that is taken from the dynamic table, which no encoder does for trailers.

/// Static table entries 1 to 14 are pseudo fields (RFC 7541 appendix A).
const LAST_PSEUDO: usize = 14;

/// Where the walk stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walk {
    state: State,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// At the first byte of a field.
    #[default]
    Field,
    /// In an integer of several bytes.
    Integer { value: usize, shift: u32, of: Of },
    /// At the length of a string.
    Length(Part),
    /// At the first byte of a name.
    Name { is_huffman: bool, left: usize },
    /// In the rest of a string.
    Text { left: usize, part: Part },
    /// At a pseudo field.
    Pseudo,
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
    /// Goes on; `false` at a pseudo field.
    pub(super) fn go(&mut self, block: &[u8]) -> bool {
        let mut rest = block;
        while let Some((byte, after)) = rest.split_first() {
            self.state = match self.state {
                State::Text { left, part } => {
                    let taken = left.min(rest.len());
                    rest = rest.get(taken..).unwrap_or_default();
                    self.state = text(left - taken, part);
                    continue;
                }
                State::Field => match *byte {
                    0x80.. => prefixed(*byte, 7, Of::Indexed),
                    0x40.. => prefixed(*byte, 6, Of::NameIndex),
                    0x20.. => prefixed(*byte, 5, Of::TableSize),
                    _ => prefixed(*byte, 4, Of::NameIndex),
                },
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
                    if is_colon {
                        State::Pseudo
                    } else {
                        text(left - 1, Part::Name)
                    }
                }
                State::Pseudo => return false,
            };
            rest = after;
        }
        !matches!(self.state, State::Pseudo)
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
        Of::Indexed | Of::NameIndex if (1..=LAST_PSEUDO).contains(&value) => State::Pseudo,
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

    fn check(block: &[u8], expected: bool) {
        assert_eq!(Walk::default().go(block), expected, "{block:x?}");
        let mut walk = Walk::default();
        assert_eq!(
            block.iter().all(|byte| walk.go(&[*byte])),
            expected,
            "{block:x?} byte by byte"
        );
    }

    #[test]
    fn pseudo_fields_are_found() {
        check(b"\x10\x03x-a\x01b\x40\x03x-b\x01c\x00\x01y\x00", true);
        check(b"\x10\x05:path\x01/", false);
        check(b"\x00\x03x-a\x01b\x10\x05:path\x01/", false);
        check(b"\x40\x84\xb9\x58\xd3\x3f\x01/", false);
        check(b"\x84", false);
        check(b"\x44\x01/", false);
        check(b"\x04\x01/", false);
        check(b"\x90\xbe\x3f\xe1\x1f\x0f\x2f\x01a", true);
        check(b"\x10\x7f\x01", true);
    }
}
