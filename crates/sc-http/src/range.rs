//! Byte ranges (RFC 9110 §14): what a `Range` field asks of a representation of known size.
//!
//! Whether `Range` applies at all (method, `If-Range`) is [`crate::conditional`]'s; making `multipart/byteranges` is the caller's.

use http::HeaderValue;
use smallvec::SmallVec;

/// How many ranges are served from one request; more are a sign of CVE-2011-3192 and the whole is sent instead.
pub const MAX_RANGES: usize = 16;

/// Bytes `first..=last` of a representation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte; never less than `first`.
    pub last: u64,
}

impl ByteRange {
    /// How many bytes it holds.
    pub fn bytes(self) -> u64 {
        self.last - self.first + 1
    }

    /// `Content-Range` of a response with this range (RFC 9110 §14.4).
    pub fn content_range(self, size: u64) -> HeaderValue {
        value(format!("bytes {}-{}/{size}", self.first, self.last))
    }
}

/// What to send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ranges {
    /// The whole representation: the field is absent, not understood, or asks too much.
    Whole,
    /// These ranges, in the order asked for; one or more.
    Some(SmallVec<[ByteRange; 1]>),
    /// None of the ranges exists: `416` with [`unsatisfied`].
    Unsatisfiable,
}

/// Reads a `Range` field for a representation of `size` bytes.
///
/// Shape: malformed fields and other units are ignored, as RFC 9110 §14.2 allows; so are more than [`MAX_RANGES`] ranges,
/// and overlapping ones that would together exceed the whole.
/// Source: RFC 9110 §14.1.2, §14.2, §17.15.
pub fn parse(field: &HeaderValue, size: u64) -> Ranges {
    parse_bytes(field.as_bytes(), size).unwrap_or(Ranges::Whole)
}

/// `Content-Range` of a `416` response.
pub fn unsatisfied(size: u64) -> HeaderValue {
    value(format!("bytes */{size}"))
}

/// Runs the parser on any bytes, for fuzzing.
///
/// Shape: whatever is served lies within the representation and is no more than it; blanks and empty members change nothing.
pub fn fuzz_range(input: &[u8]) {
    let spread: Vec<u8> = input
        .iter()
        .flat_map(|byte| {
            if *byte == b',' {
                &b" \t, ,"[..]
            } else {
                std::slice::from_ref(byte)
            }
        })
        .copied()
        .collect();
    for size in [0, 1, 1000, u64::MAX] {
        let found = parse_bytes(input, size);
        assert_eq!(
            found,
            parse_bytes(&spread, size),
            "blanks and empty members count for nothing"
        );
        let Some(Ranges::Some(ranges)) = found else { continue };
        assert!(!ranges.is_empty() && ranges.len() <= MAX_RANGES);
        for range in &ranges {
            assert!(range.first <= range.last && range.last < size);
            assert!(range.content_range(size).as_bytes().starts_with(b"bytes "));
        }
        let total: u128 = ranges.iter().map(|range| u128::from(range.bytes())).sum();
        assert!(total <= u128::from(size), "more would be sent than there is");
    }
}

fn parse_bytes(field: &[u8], size: u64) -> Option<Ranges> {
    let text = std::str::from_utf8(field).ok()?;
    let (unit, set) = text.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut ranges = SmallVec::new();
    let (mut asked, mut total) = (0, 0u128);
    for spec in set.split(',').map(crate::hop::trim).filter(|spec| !spec.is_empty()) {
        asked += 1;
        if asked > MAX_RANGES {
            return None;
        }
        if let Some(range) = one(spec, size)? {
            total += u128::from(range.bytes());
            ranges.push(range);
        }
    }
    match (asked, ranges.len()) {
        (0, _) => None,
        (_, 0) => Some(Ranges::Unsatisfiable),
        (_, 2..) if total > u128::from(size) => None,
        _ => Some(Ranges::Some(ranges)),
    }
}

/// One range; `Some(None)` is well-formed but outside the representation.
fn one(spec: &str, size: u64) -> Option<Option<ByteRange>> {
    let (first, last) = spec.split_once('-')?;
    if first.is_empty() {
        let suffix = number(last)?.min(size);
        return Some((suffix > 0).then(|| ByteRange {
            first: size - suffix,
            last: size - 1,
        }));
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    Some((first < size).then(|| ByteRange {
        first,
        last: last.min(size - 1),
    }))
}

fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    // A number past u64 is past every size: it behaves as the largest.
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

fn value(text: String) -> HeaderValue {
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).unwrap_or(HeaderValue::from_static("bytes */*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(field: &str, size: u64, expected: &str) {
        let got = match parse(&HeaderValue::from_str(field).expect("field"), size) {
            Ranges::Whole => "whole".to_owned(),
            Ranges::Unsatisfiable => "416".to_owned(),
            Ranges::Some(ranges) => {
                let ranges: Vec<_> = ranges.iter().map(|r| format!("{}-{}", r.first, r.last)).collect();
                ranges.join(",")
            }
        };
        assert_eq!(got, expected, "{field} of {size}");
    }

    #[test]
    fn ranges_are_read() {
        check("bytes=0-499", 10_000, "0-499");
        check("bytes=500-999", 700, "500-699");
        check("bytes=-500", 10_000, "9500-9999");
        check("bytes=-500", 100, "0-99");
        check("bytes=9500-", 10_000, "9500-9999");
        check("Bytes=0-0,-1", 10_000, "0-0,9999-9999");
        check("bytes= 0-1 , 5-6", 10, "0-1,5-6");
        check("bytes=10-", 10, "416");
        check("bytes=-0", 10, "416");
        check("bytes=0-", 0, "416");
        check("bytes=5-2", 10, "whole");
        check("bytes=+5-9", 10, "whole");
        check("bytes=", 10, "whole");
        check("bytes=a-b", 10, "whole");
        check("lines=0-1", 10, "whole");
        check("bytes=0-9,0-9", 10, "whole");
        check("bytes=0-18446744073709551616", 10, "0-9");
        check(&format!("bytes={}", "0-0,".repeat(17)), 10, "whole");
        assert_eq!(ByteRange { first: 1, last: 3 }.content_range(9), "bytes 1-3/9");
        assert_eq!(unsatisfied(9), "bytes */9");
    }
}
