//! How long a message body is, by its header fields (RFC 9112 §6).
//!
//! Anything that two parsers could read in two ways is an error here.

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};

use super::head::HeadError;
use crate::hop;

/// What the fields of a head say about the body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Declared {
    /// Nothing.
    Nothing,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// Transfer codings that exist (IANA registry) though we do not take them.
const KNOWN: [&str; 6] = ["gzip", "x-gzip", "deflate", "compress", "x-compress", "identity"];

/// Reads the framing fields.
///
/// Errors: `Coding` for a coding nobody knows, or a known one before `chunked`; `Malformed` for everything else that is not
/// exactly one `Content-Length` or exactly one `chunked`.
pub(crate) fn declared(headers: &HeaderMap, is_11: bool) -> Result<Declared, HeadError> {
    let length = content_length(headers)?;
    if !headers.contains_key(TRANSFER_ENCODING) {
        return Ok(length.map_or(Declared::Nothing, Declared::Length));
    }
    if !is_11 {
        return Err(HeadError::Malformed("Transfer-Encoding in HTTP/1.0"));
    }
    if length.is_some() {
        return Err(HeadError::Malformed("both Content-Length and Transfer-Encoding"));
    }
    chunked(headers)?;
    Ok(Declared::Chunked)
}

fn chunked(headers: &HeaderMap) -> Result<(), HeadError> {
    let mut codings = 0;
    let mut has_unknown = false;
    let mut chunked = 0;
    let mut is_last = false;
    for line in headers.get_all(TRANSFER_ENCODING) {
        let line = line
            .to_str()
            .map_err(|_| HeadError::Malformed("Transfer-Encoding is malformed"))?;
        for coding in line.split(',').map(hop::trim) {
            codings += 1;
            is_last = coding.eq_ignore_ascii_case("chunked");
            chunked += usize::from(is_last);
            if !hop::is_token(coding) {
                return Err(HeadError::Malformed("Transfer-Encoding is malformed"));
            }
            has_unknown |= !is_last && !KNOWN.iter().any(|known| coding.eq_ignore_ascii_case(known));
        }
    }
    match (codings, chunked) {
        (1, 1) => Ok(()),
        _ if has_unknown => Err(HeadError::Coding),
        (_, 1) if is_last => Err(HeadError::Coding),
        _ => Err(HeadError::Malformed("chunked is not the one last transfer coding")),
    }
}

/// Reads `Content-Length`: one line, digits only, within 64 bits.
pub(crate) fn content_length(headers: &HeaderMap) -> Result<Option<u64>, HeadError> {
    let mut lines = headers.get_all(CONTENT_LENGTH).into_iter();
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(HeadError::Malformed("more than one Content-Length"));
    }
    let digits = line.as_bytes();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(HeadError::Malformed("Content-Length is not a number"));
    }
    let add = |sum: u64, digit: &u8| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    digits
        .iter()
        .try_fold(0, add)
        .map(Some)
        .ok_or(HeadError::Malformed("Content-Length is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn check(fields: &[(&'static str, &'static str)], expected: Result<Declared, &str>) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let got = declared(&headers, true).map_err(|error| match error {
            HeadError::Malformed(_) => "400",
            _ => "501",
        });
        assert_eq!(got, expected, "{fields:?}");
    }

    #[test]
    fn framing_is_never_ambiguous() {
        use Declared::*;
        const CL: &str = "content-length";
        const TE: &str = "transfer-encoding";
        check(&[], Ok(Nothing));
        check(&[(CL, "0")], Ok(Length(0)));
        check(&[(CL, "18446744073709551615")], Ok(Length(u64::MAX)));
        check(&[(CL, "007")], Ok(Length(7)));
        for bad in ["18446744073709551616", "5, 5", "+5", "-5", "0x5", "", "5 5", "5;a"] {
            check(&[(CL, bad)], Err("400"));
        }
        check(&[(CL, "5"), (CL, "5")], Err("400"));
        check(&[(TE, "chunked")], Ok(Chunked));
        check(&[(TE, "Chunked")], Ok(Chunked));
        check(&[(TE, "chunked"), (CL, "5")], Err("400"));
        for bad in [
            "chunked, chunked",
            "chunked, gzip",
            "gzip",
            "identity",
            "",
            ",chunked",
            "chunked;a=b",
            "chunked,",
            "\"chunked\"",
        ] {
            check(&[(TE, bad)], Err("400"));
        }
        check(&[(TE, "chunked"), (TE, "chunked")], Err("400"));
        for unknown in ["gzip, chunked", "foo", "foo, chunked", "xchunked", "chunked, foo"] {
            check(&[(TE, unknown)], Err("501"));
        }
        let mut headers = HeaderMap::new();
        headers.insert(TE, HeaderValue::from_static("chunked"));
        assert!(declared(&headers, false).is_err());
    }
}
