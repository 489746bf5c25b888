//! Name-value pairs of FastCGI, and the variables that header fields become (RFC 3875 §4.1.18).
//!
//! PHP reads each record of parameters by itself, so a pair never goes over the end of one. Fields whose names could be
//! mistaken for another variable's are left out: what an application reads as ours was written by us.
//! Source: FastCGI specification 1.0 §3.4.

use bytes::{BufMut, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::record::{self, HEADER_BYTES, Kind, MOST_CONTENT_BYTES};

/// Lengths up to this take one byte.
const SHORT: usize = 0x7f;

/// Most bytes of a name or value: what is said in 31 bits.
const LONGEST: usize = 0x7fff_ffff;

/// Fields that never become a variable.
const LEFT_OUT: [HeaderName; 9] = [
    // Variables of their own.
    CONTENT_LENGTH,
    CONTENT_TYPE,
    HOST,
    // Answered by us.
    EXPECT,
    // "httpoxy" (CVE-2016-5385).
    HeaderName::from_static("proxy"),
    // What the first ShimmerCat left out, since programs mix them up with the variables that are ours.
    HeaderName::from_static("path"),
    HeaderName::from_static("path-info"),
    HeaderName::from_static("request-uri"),
    HeaderName::from_static("script-name"),
];

/// A pair is longer than a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a parameter is longer than a FastCGI record")]
pub(super) struct TooLong;

/// Writes parameters as records.
#[derive(Debug)]
pub(super) struct Params<'a> {
    out: &'a mut BytesMut,
    /// Where the record that is being filled begins.
    start: usize,
}

impl<'a> Params<'a> {
    pub(super) fn new(out: &'a mut BytesMut) -> Self {
        let start = out.len();
        record::put_header(out, Kind::Params, 0);
        Params { out, start }
    }

    /// Adds a pair.
    ///
    /// Errors: [`TooLong`] when no record can hold it; nothing is written then.
    pub(super) fn put(&mut self, name: &[u8], value: &[u8]) -> Result<(), TooLong> {
        let pair = length_bytes(name.len()) + length_bytes(value.len()) + name.len() + value.len();
        if pair > MOST_CONTENT_BYTES {
            return Err(TooLong);
        }
        if self.content() + pair > MOST_CONTENT_BYTES {
            self.end_record();
            self.start = self.out.len();
            record::put_header(self.out, Kind::Params, 0);
        }
        put_length(self.out, name.len());
        put_length(self.out, value.len());
        self.out.put_slice(name);
        self.out.put_slice(value);
        Ok(())
    }

    /// Ends the parameters.
    pub(super) fn finish(mut self) {
        if self.content() > 0 {
            self.end_record();
            record::put_end(self.out, Kind::Params);
        }
    }

    fn content(&self) -> usize {
        self.out.len() - self.start - HEADER_BYTES
    }

    /// Writes the length into the header of the record that is being filled.
    fn end_record(&mut self) {
        let content = u16::try_from(self.content()).unwrap_or(u16::MAX).to_be_bytes();
        let place = self.out.get_mut(self.start + 4..self.start + 6);
        if let Some(place) = place {
            place.copy_from_slice(&content);
        }
    }
}

/// Adds header fields as `HTTP_…`; several lines of a field become one value.
///
/// Shape: only names of letters, digits and `-`: with `_`, `.` and the like, one client field could pass for another
/// (`x_forwarded_for`; PHP makes `_` of dots as well).
/// Errors: as for [`Params::put`].
pub(super) fn put_fields(params: &mut Params<'_>, headers: &HeaderMap) -> Result<(), TooLong> {
    let mut variable = Vec::with_capacity(64);
    for name in headers.keys() {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if LEFT_OUT.contains(name) || !name.as_str().bytes().all(is_plain) {
            continue;
        }
        variable.clear();
        variable.extend_from_slice(b"HTTP_");
        let upper = |b: u8| if b == b'-' { b'_' } else { b.to_ascii_uppercase() };
        variable.extend(name.as_str().bytes().map(upper));
        let mut lines = headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
        let first = lines.next().unwrap_or_default();
        // Two passwords are no password: only the first counts.
        if name == AUTHORIZATION || lines.size_hint().1 == Some(0) {
            params.put(&variable, first)?;
            continue;
        }
        let between: &[u8] = if name == COOKIE { b"; " } else { b", " };
        let mut value = first.to_vec();
        for line in lines {
            value.extend_from_slice(between);
            value.extend_from_slice(line);
        }
        params.put(&variable, &value)?;
    }
    Ok(())
}

fn length_bytes(length: usize) -> usize {
    if length <= SHORT { 1 } else { 4 }
}

fn put_length(out: &mut BytesMut, length: usize) {
    match u8::try_from(length) {
        Ok(short) if length <= SHORT => out.put_u8(short),
        _ => out.put_u32(0x8000_0000 | u32::try_from(length.min(LONGEST)).unwrap_or(0)),
    }
}

/// Reads the pairs of one record's content; `None` when they are not whole. Only the checks of this room read parameters.
pub(super) fn read(mut content: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut pairs = Vec::new();
    while !content.is_empty() {
        let (name_bytes, rest) = read_length(content)?;
        let (value_bytes, rest) = read_length(rest)?;
        let (name, rest) = rest.split_at_checked(name_bytes)?;
        let (value, rest) = rest.split_at_checked(value_bytes)?;
        pairs.push((name, value));
        content = rest;
    }
    Some(pairs)
}

fn read_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes.split_first()? {
        (&short, rest) if usize::from(short) <= SHORT => Some((short.into(), rest)),
        _ => {
            let (long, rest) = bytes.split_first_chunk::<4>()?;
            let long = u32::from_be_bytes(*long) & 0x7fff_ffff;
            Some((usize::try_from(long).ok()?, rest))
        }
    }
}
