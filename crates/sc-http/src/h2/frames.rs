//! Looks at frame headers as they pass in (RFC 9113 §4.1, §6), for what the `h2` crate answers with the wrong error code or
//! does not bound.
//!
//! Nothing is kept but the header of the current frame and a few counts.

use h2::Reason;
use tokio::time::Instant;

use super::block::Walk;
use crate::priority::Priority;
use crate::{Limit, Limits};

const PREFACE_BYTES: usize = 24;

/// What a frame holds at most, since we never ask for larger ones (RFC 9113 §6.5.2).
const FRAME_BYTES: usize = 16 << 10;

/// Heads of one turn, where fewer streams may be open: refusing the others is work, too.
const LEAST_HEADS: usize = 64;

/// A smaller step of a window is not worth a frame (CVE-2019-9511).
const SMALL_STEP: u32 = 256;

/// The bits of a stream's id, or of a window's size: the first one is reserved.
const ID: u32 = 0x7fff_ffff;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const WITH_PRIORITY: u8 = 0x20;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// RFC 9218 §7.1
const PRIORITY_UPDATE: u8 = 16;

const INITIAL_WINDOW_SIZE: u16 = 4;

/// Longest PRIORITY_UPDATE that is looked at: a stream's id, and a field with more than is defined.
const NOTED_BYTES: usize = 64;

/// What a frame says that matters for the order of responses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Heard {
    /// The client takes back a stream.
    Reset(u32),
    /// The connection's window is wider by this much.
    Window(u32),
    /// A stream's priority, perhaps of one to come.
    Priority(u32, Priority),
}

/// A frame that is a connection error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Bad {
    /// Where it starts in the bytes looked at.
    pub(crate) at: usize,
    /// The error.
    pub(crate) reason: Reason,
    /// The bound that it ran into, if it did.
    pub(crate) limit: Option<Limit>,
}

/// Why a frame is bad.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// It is malformed.
    Wrong(Reason),
    /// There were too many of them.
    TooMany(Limit),
}

impl From<Reason> for Verdict {
    fn from(reason: Reason) -> Self {
        Verdict::Wrong(reason)
    }
}

impl Verdict {
    fn at(self, at: usize) -> Bad {
        match self {
            Verdict::Wrong(reason) => Bad {
                at,
                reason,
                limit: None,
            },
            Verdict::TooMany(limit) => Bad {
                at,
                reason: Reason::ENHANCE_YOUR_CALM,
                limit: Some(limit),
            },
        }
    }
}

/// An allowance that grows again.
#[derive(Debug)]
struct Purse {
    most: f64,
    per_second: f64,
    left: f64,
    since: Instant,
}

impl Purse {
    fn new(most: u32, per_second: u32) -> Self {
        let most = f64::from(most);
        Purse {
            most,
            per_second: f64::from(per_second),
            left: most,
            since: Instant::now(),
        }
    }

    fn pay(&mut self) -> bool {
        if self.left < 1.0 {
            let now = Instant::now();
            self.earn(now.duration_since(self.since).as_secs_f64() * self.per_second);
            self.since = now;
        }
        self.left -= 1.0;
        self.left >= 0.0
    }

    fn earn(&mut self, much: f64) {
        self.left = (self.left + much).min(self.most);
    }
}

/// State of looking.
#[derive(Debug)]
pub(crate) struct Frames {
    header: [u8; 9],
    have: usize,
    /// Payload still to pass; the preface counts as one.
    left: usize,
    entry: [u8; 6],
    in_entry: usize,
    in_block: bool,
    /// Heads in this turn, and how many may be.
    heads: usize,
    most_heads: usize,
    /// CONTINUATION frames that may still follow in this block, and how many may in any.
    continuations: usize,
    most_continuations: usize,
    /// The last stream that was opened.
    newest: u32,
    block: Block,
    has_settings: bool,
    resets: Purse,
    talk: Purse,
    /// Payload of a PRIORITY_UPDATE.
    noted: Vec<u8>,
    heard: Vec<Heard>,
}

/// The header block that is passing in.
#[derive(Debug)]
struct Block {
    walk: Walk,
    /// Bytes before the block in this frame, the first of which may be the length of the padding after it.
    before: usize,
    is_padded: bool,
    /// Bytes of the block in this frame.
    left: usize,
}

impl Frames {
    pub(crate) fn new(limits: &Limits) -> Self {
        Frames {
            header: [0; 9],
            have: 0,
            left: PREFACE_BYTES,
            entry: [0; 6],
            in_entry: 0,
            in_block: false,
            heads: 0,
            most_heads: (limits.streams as usize).max(LEAST_HEADS),
            continuations: 0,
            most_continuations: (limits.continuations as usize).max(limits.header_bytes / FRAME_BYTES),
            newest: 0,
            block: Block {
                walk: Walk::new(false),
                before: 0,
                is_padded: false,
                left: 0,
            },
            has_settings: false,
            resets: Purse::new(limits.resets, limits.resets_per_second),
            talk: Purse::new(limits.control_frames, limits.control_frames_per_second),
            noted: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// Takes out all that was heard, the oldest first.
    pub(crate) fn take_heard(&mut self) -> impl Iterator<Item = Heard> {
        self.heard.drain(..)
    }

    /// Whether a header block has begun and not ended.
    pub(crate) fn is_in_block(&self) -> bool {
        self.in_block || (self.left > 0 && matches!(self.kind(), HEADERS | CONTINUATION))
    }

    /// The connection has its turn.
    pub(crate) fn begin_turn(&mut self) {
        self.heads = 0;
    }

    /// Whether more heads came in this turn than a client may have streams: others are next.
    pub(crate) fn has_many_heads(&self) -> bool {
        self.heads >= self.most_heads
    }

    /// An exchange went well: the client may take back one more.
    pub(crate) fn forgive(&mut self) {
        self.resets.earn(1.0);
    }

    /// Looks at what came.
    pub(crate) fn inspect(&mut self, came: &[u8]) -> Result<(), Bad> {
        let mut rest = came;
        let mut start = 0;
        loop {
            let at = came.len() - rest.len();
            if self.left > 0 {
                let (part, after) = rest.split_at_checked(self.left).unwrap_or((rest, &[]));
                match self.kind() {
                    SETTINGS | WINDOW_UPDATE => self.values(part).map_err(|verdict| verdict.at(at))?,
                    HEADERS | CONTINUATION => self.pass_block(part).map_err(|reason| Verdict::Wrong(reason).at(at))?,
                    PRIORITY_UPDATE if self.noted.len() < NOTED_BYTES => {
                        self.noted.extend(part.iter().take(NOTED_BYTES - self.noted.len()));
                    }
                    _ => {}
                }
                self.left -= part.len();
                rest = after;
                if self.left > 0 {
                    return Ok(());
                }
                self.note().map_err(|reason| Verdict::Wrong(reason).at(at))?;
                self.have = 0;
                start = came.len() - rest.len();
                continue;
            }
            if rest.is_empty() {
                return Ok(());
            }
            if self.have == 0 {
                start = at;
            }
            let wanted = self.header.len() - self.have;
            let (part, after) = rest.split_at_checked(wanted).unwrap_or((rest, &[]));
            if let Some(slots) = self.header.get_mut(self.have..self.have + part.len()) {
                slots.copy_from_slice(part);
            }
            self.have += part.len();
            rest = after;
            if self.have == self.header.len() {
                self.head().map_err(|verdict| verdict.at(start))?;
                if self.left == 0 {
                    self.have = 0;
                }
            }
        }
    }

    fn kind(&self) -> u8 {
        // Before the first frame its header is all zeroes: DATA, which nothing is done about.
        self.header[3]
    }

    fn id(&self) -> u32 {
        let [.., a, b, c, d] = self.header;
        u32::from_be_bytes([a, b, c, d]) & ID
    }

    /// Judges a frame by its header.
    fn head(&mut self) -> Result<(), Verdict> {
        let [a, b, c, kind, flags, id @ ..] = self.header;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        (self.left, self.in_entry) = (length, 0);
        let is_sized = match kind {
            PRIORITY => length == 5,
            RST_STREAM | WINDOW_UPDATE => length == 4,
            SETTINGS if flags & ACK != 0 => length == 0,
            SETTINGS => length % 6 == 0,
            PING => length == 8,
            GOAWAY => length >= 8,
            PRIORITY_UPDATE => length >= 4,
            _ => true,
        };
        if !is_sized {
            return Err(Reason::FRAME_SIZE_ERROR.into());
        }
        // RFC 9113 §3.4
        if !self.has_settings && (kind != SETTINGS || flags & ACK != 0) {
            return Err(Reason::PROTOCOL_ERROR.into());
        }
        self.has_settings = true;
        match kind {
            HEADERS | CONTINUATION => {
                self.continuations = match kind {
                    HEADERS => {
                        self.heads += 1;
                        self.most_continuations
                    }
                    // One that continues nothing is another mistake (RFC 9113 §6.10), which the engine knows.
                    _ if !self.in_block => 0,
                    _ => self
                        .continuations
                        .checked_sub(1)
                        .ok_or(Verdict::TooMany(Limit::Continuations))?,
                };
                self.in_block = flags & END_HEADERS == 0;
                self.open(kind, flags, u32::from_be_bytes(id) & ID, length);
            }
            RST_STREAM if !self.resets.pay() => return Err(Verdict::TooMany(Limit::Resets)),
            // Also padding alone carries nothing.
            DATA if length <= usize::from(flags & PADDED != 0) && flags & END_STREAM == 0 && !self.talk.pay() => {
                return Err(Verdict::TooMany(Limit::ControlFrames));
            }
            PRIORITY_UPDATE if u32::from_be_bytes(id) & ID != 0 => return Err(Reason::PROTOCOL_ERROR.into()),
            PRIORITY | SETTINGS | PING | 10.. if !self.talk.pay() => {
                return Err(Verdict::TooMany(Limit::ControlFrames));
            }
            _ => {}
        }
        Ok(())
    }

    /// Hears what a RST_STREAM or PRIORITY_UPDATE said, now that all of it is there.
    fn note(&mut self) -> Result<(), Reason> {
        if self.kind() == RST_STREAM {
            self.heard.push(Heard::Reset(self.id()));
        }
        let Some((first, rest)) = self.noted.split_first_chunk::<4>() else {
            return Ok(());
        };
        let number = u32::from_be_bytes(*first) & ID;
        // Only requests have one: their streams have odd numbers.
        if number.is_multiple_of(2) {
            return Err(Reason::PROTOCOL_ERROR);
        }
        // A field that is none, or is too long for one, says nothing.
        if self.noted.len() < NOTED_BYTES {
            let said = Priority::parse(rest).unwrap_or_default();
            self.heard.push(Heard::Priority(number, said));
        }
        self.noted.clear();
        Ok(())
    }

    /// Notes the beginning of a header block, of a new stream or of trailers, or that it goes on.
    fn open(&mut self, kind: u8, flags: u8, id: u32, length: usize) {
        if kind == CONTINUATION {
            (self.block.before, self.block.is_padded, self.block.left) = (0, false, length);
            return;
        }
        let is_trailers = id <= self.newest;
        self.newest = self.newest.max(id);
        let is_padded = flags & PADDED != 0;
        let before = usize::from(is_padded) + if flags & WITH_PRIORITY != 0 { 5 } else { 0 };
        self.block = Block {
            walk: Walk::new(is_trailers),
            before,
            is_padded,
            left: length.saturating_sub(before),
        };
    }

    /// Walks over a header block.
    fn pass_block(&mut self, part: &[u8]) -> Result<(), Reason> {
        let block = &mut self.block;
        let mut fields = part;
        while block.before > 0
            && let Some((byte, after)) = fields.split_first()
        {
            if std::mem::take(&mut block.is_padded) {
                block.left = block.left.saturating_sub(usize::from(*byte));
            }
            block.before -= 1;
            fields = after;
        }
        let fields = fields.get(..block.left).unwrap_or(fields);
        block.left -= fields.len();
        block.walk.go(fields)
    }

    /// Judges the values of a SETTINGS frame (RFC 9113 §6.5.2) and the step of a WINDOW_UPDATE.
    fn values(&mut self, part: &[u8]) -> Result<(), Verdict> {
        let wanted = if self.kind() == SETTINGS { 6 } else { 4 };
        for byte in part {
            if let Some(slot) = self.entry.get_mut(self.in_entry) {
                *slot = *byte;
            }
            self.in_entry = (self.in_entry + 1) % wanted;
            if self.in_entry != 0 {
                continue;
            }
            let [a, b, c, d, ..] = self.entry;
            if wanted == 4 {
                let step = u32::from_be_bytes([a, b, c, d]) & ID;
                if step < SMALL_STEP && !self.talk.pay() {
                    return Err(Verdict::TooMany(Limit::ControlFrames));
                }
                if self.id() == 0 {
                    self.heard.push(Heard::Window(step));
                }
            } else if u16::from_be_bytes([a, b]) == INITIAL_WINDOW_SIZE && c & 0x80 != 0 {
                return Err(Reason::FLOW_CONTROL_ERROR.into());
            }
        }
        Ok(())
    }
}

/// Runs the inspection on any bytes, for fuzzing.
pub(crate) fn fuzz(input: &[u8]) {
    let at_once = Frames::new(&Limits::default()).inspect(input).map_err(|bad| bad.reason);
    let mut frames = Frames::new(&Limits::default());
    let bit_by_bit = input
        .iter()
        .try_for_each(|byte| frames.inspect(&[*byte]))
        .map_err(|bad| bad.reason);
    assert_eq!(at_once, bit_by_bit, "a verdict does not depend on how frames arrive");
    if let Err(bad) = Frames::new(&Limits::default()).inspect(input) {
        assert!(bad.at <= input.len(), "the place of an error is within what came");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(frames: &[(u8, u8, &[u8])], expected: Result<(), (usize, Reason)>) {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        for (kind, flags, payload) in frames {
            bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
            bytes.extend_from_slice(&[*kind, *flags, 0, 0, 0, 0]);
            bytes.extend_from_slice(payload);
        }
        fuzz(&bytes);
        let got = Frames::new(&Limits::default())
            .inspect(&bytes)
            .map_err(|bad| (bad.at - PREFACE_BYTES, bad.reason));
        assert_eq!(got, expected, "{frames:?}");
    }

    #[tokio::test]
    async fn wrong_sizes_and_floods_are_errors() {
        check(
            &[
                (SETTINGS, 0, &[]),
                (SETTINGS, ACK, &[]),
                (PING, 0, &[0; 8]),
                (0x42, 0, &[1; 300]),
            ],
            Ok(()),
        );
        check(&[(SETTINGS, 0, &[0; 5])], Err((0, Reason::FRAME_SIZE_ERROR)));
        check(
            &[(SETTINGS, 0, &[]), (SETTINGS, ACK, &[0; 6])],
            Err((9, Reason::FRAME_SIZE_ERROR)),
        );
        check(&[(PING, 0, &[0; 8])], Err((0, Reason::PROTOCOL_ERROR)));
        check(&[(PING, 0, &[0; 7])], Err((0, Reason::FRAME_SIZE_ERROR)));
        check(&[(RST_STREAM, 0, &[0; 3])], Err((0, Reason::FRAME_SIZE_ERROR)));
        check(&[(SETTINGS, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff])], Ok(()));
        check(
            &[(SETTINGS, 0, &[0, 4, 0x80, 0, 0, 0])],
            Err((9, Reason::FLOW_CONTROL_ERROR)),
        );
        let resets = |count| [vec![(SETTINGS, 0, &[][..])], vec![(RST_STREAM, 0, &[0; 4][..]); count]].concat();
        check(&resets(200), Ok(()));
        check(&resets(202), Err((9 + 200 * 13, Reason::ENHANCE_YOUR_CALM)));
        let mut frames = Frames::new(&Limits::default());
        frames.inspect(&[0; PREFACE_BYTES]).expect("preface");
        frames.inspect(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).expect("settings");
        for (bytes, is_in_block) in [
            (&[0, 0, 2, 1, 0, 0, 0, 0, 1][..], true),
            (&[1, 1], true),
            (&[0, 0, 1, 9, 4, 0, 0, 0, 1], true),
            (&[1], false),
        ] {
            frames.inspect(bytes).expect("frame");
            assert_eq!(frames.is_in_block(), is_in_block);
        }
    }

    #[tokio::test]
    async fn priorities_are_heard_and_broken_ones_are_errors() {
        let settings = (SETTINGS, 0, &[][..]);
        let update = |payload: &'static [u8]| [settings, (PRIORITY_UPDATE, 0, payload)];
        check(&update(b"\0\0\0\x05u=1"), Ok(()));
        check(&update(b"\0\0\x05"), Err((9, Reason::FRAME_SIZE_ERROR)));
        check(&update(b"\0\0\0\0u=1"), Err((18, Reason::PROTOCOL_ERROR)));
        check(&update(b"\0\0\0\x02u=1"), Err((18, Reason::PROTOCOL_ERROR)));

        let mut frames = Frames::new(&Limits::default());
        frames.inspect(&[0; PREFACE_BYTES]).expect("preface");
        frames.inspect(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).expect("settings");
        frames
            .inspect(b"\0\0\x04\x10\0\0\0\0\x03\0\0\0\x01")
            .expect_err("not on a stream");
        let mut frames = Frames::new(&Limits::default());
        frames.inspect(&[0; PREFACE_BYTES]).expect("preface");
        frames.inspect(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).expect("settings");
        for byte in
            b"\0\0\x0a\x10\0\0\0\0\0\0\0\0\x05u=1, i\0\0\x04\x08\0\0\0\0\0\0\0\x10\0\0\0\x04\x08\0\0\0\0\x03\0\0\x10\0"
        {
            frames.inspect(&[*byte]).expect("frames");
        }
        let heard: Vec<Heard> = frames.take_heard().collect();
        let said = Priority::parse(b"u=1, i").expect("a field");
        assert_eq!(heard, [Heard::Priority(5, said), Heard::Window(4096)]);
        // A reset says something once all of it is there; a window's first bit says nothing.
        frames
            .inspect(b"\0\0\x04\x03\0\0\0\0\x03\0\0\0")
            .expect("most of a frame");
        assert_eq!(frames.take_heard().count(), 0);
        frames
            .inspect(b"\x08\0\0\x04\x08\0\x80\0\0\0\0\0\x10\0")
            .expect("frames");
        let heard: Vec<Heard> = frames.take_heard().collect();
        assert_eq!(heard, [Heard::Reset(3), Heard::Window(4096)]);
    }
}
