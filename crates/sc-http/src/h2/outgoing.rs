//! Looks at the frames that the `h2` crate writes, for what it does not tell: which DATA has left it (for [`super::turns`]),
//! and which streams it has reset.

use super::turns::Turns;

const DATA: u8 = 0;
const RST_STREAM: u8 = 3;

/// State of looking.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    header: [u8; 9],
    have: usize,
    /// Payload still to pass.
    left: usize,
}

impl Outgoing {
    /// Looks at what goes out.
    pub(crate) fn pass(&mut self, mut bytes: &[u8], turns: &mut Turns) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let part = self.left.min(bytes.len());
                if self.kind() == DATA {
                    turns.left(self.id(), part);
                }
                self.left -= part;
                bytes = bytes.get(part..).unwrap_or_default();
                continue;
            }
            let wanted = self.header.len() - self.have;
            let (part, after) = bytes.split_at_checked(wanted).unwrap_or((bytes, &[]));
            if let Some(slots) = self.header.get_mut(self.have..self.have + part.len()) {
                slots.copy_from_slice(part);
            }
            self.have += part.len();
            bytes = after;
            if self.have == self.header.len() {
                let [a, b, c, ..] = self.header;
                self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.have = 0;
                if self.kind() == RST_STREAM {
                    turns.thrown_away(self.id());
                }
            }
        }
    }

    fn kind(&self) -> u8 {
        self.header[3]
    }

    fn id(&self) -> u32 {
        let [.., a, b, c, d] = self.header;
        u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff
    }
}
