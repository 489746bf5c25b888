//! One line of the log on its way from a worker to whoever reads it, and how many of them are one message to the master.
//!
//! There is a line for every exchange, so nothing here is escaped, and what is the same for all lines of a worker is shared.

use std::rc::Rc;

/// A log line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// Its number among the lines of its worker, from 1 and without a gap as they are made.
    pub sequence: u64,
    /// Name of the worker ([`super::Instance::worker`]).
    pub worker: Rc<str>,
    /// Code of the event, e.g. `M30201`.
    pub code: Rc<str>,
    /// The whole line as a JSON object.
    pub json: Rc<str>,
}

/// What a message of lines begins with, and no message of JSON does.
const MARK: u8 = b'L';
/// Number, and lengths of code and line.
const FRAME_BYTES: usize = 8 + 1 + 4;
/// Three strings, a number and their allocations.
const OVERHEAD_BYTES: usize = 128;

impl Line {
    /// Bytes that the line is reckoned to take, wherever it waits: its texts and what holds them.
    pub(crate) fn cost(&self) -> usize {
        self.worker.len() + self.code.len() + self.json.len() + OVERHEAD_BYTES
    }

    /// Bytes that the line takes in a message.
    pub(crate) fn message_bytes(&self) -> usize {
        FRAME_BYTES + self.code.len() + self.json.len()
    }

    /// The message that these lines are; it says nothing of their worker, which whoever receives it knows.
    ///
    /// Shape: one byte and the [`Line::message_bytes`] of each; codes have at most 255 bytes, longer ones are cut to nothing.
    pub(crate) fn message(lines: &[Line]) -> Vec<u8> {
        let bytes: usize = lines.iter().map(Line::message_bytes).sum();
        let mut message = Vec::with_capacity(1 + bytes);
        message.push(MARK);
        for line in lines {
            let code = if line.code.len() > 255 { "" } else { &*line.code };
            message.extend_from_slice(&line.sequence.to_le_bytes());
            message.push(u8::try_from(code.len()).unwrap_or(0));
            message.extend_from_slice(&u32::try_from(line.json.len()).unwrap_or(0).to_le_bytes());
            message.extend_from_slice(code.as_bytes());
            message.extend_from_slice(line.json.as_bytes());
        }
        message
    }

    /// Whether a message is one of lines.
    pub(crate) fn is_message(message: &[u8]) -> bool {
        message.first() == Some(&MARK)
    }

    /// The lines of a message from `worker`; `None` when it was not made by [`Line::message`].
    pub(crate) fn read(message: &[u8], worker: &Rc<str>) -> Option<Vec<Line>> {
        let mut rest = message.strip_prefix(&[MARK])?;
        let mut lines: Vec<Line> = Vec::new();
        while !rest.is_empty() {
            let sequence = u64::from_le_bytes(*take(&mut rest)?);
            let [code_bytes] = *take::<1>(&mut rest)?;
            let json_bytes = u32::from_le_bytes(*take(&mut rest)?);
            let code = text(&mut rest, code_bytes.into())?;
            let json = text(&mut rest, usize::try_from(json_bytes).ok()?)?.into();
            // Nearly all lines of a worker are of one code.
            let code = match lines.last() {
                Some(last) if *last.code == *code => last.code.clone(),
                _ => code.into(),
            };
            lines.push(Line {
                sequence,
                worker: worker.clone(),
                code,
                json,
            });
        }
        Some(lines)
    }
}

fn take<'m, const N: usize>(rest: &mut &'m [u8]) -> Option<&'m [u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(taken)
}

fn text<'m>(rest: &mut &'m [u8], bytes: usize) -> Option<&'m str> {
    let (taken, left) = rest.split_at_checked(bytes)?;
    *rest = left;
    std::str::from_utf8(taken).ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lines_go_through_a_message_as_they_are_and_are_as_long_as_reckoned(
            lines in prop::collection::vec((any::<u64>(), "M[0-9]{0,5}", any::<String>()), 0..9), cut in any::<prop::sample::Index>()
        ) {
            let worker: Rc<str> = "web-1".into();
            let lines: Vec<_> = lines.into_iter().map(|(sequence, code, json)| Line {
                sequence,
                worker: worker.clone(),
                code: code.into(),
                json: json.into(),
            }).collect();
            let message = Line::message(&lines);
            prop_assert!(Line::is_message(&message));
            prop_assert_eq!(message.len(), 1 + lines.iter().map(Line::message_bytes).sum::<usize>());
            // What was cut off is a whole number of lines, or it is noticed.
            let cut = cut.index(message.len()) + 1;
            if let Some(some) = Line::read(&message[..cut.min(message.len())], &worker) {
                prop_assert_eq!(&some[..], &lines[..some.len()]);
            }
            prop_assert_eq!(Line::read(&message, &worker).unwrap(), lines);
        }

        #[test]
        fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let worker: Rc<str> = "web-1".into();
            let mut message = vec![MARK];
            message.extend(bytes);
            let _ = Line::read(&message, &worker);
        }
    }
}
