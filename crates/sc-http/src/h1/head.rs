//! Message heads of HTTP/1: where one ends, and what stands in it (RFC 9112 §2–§5).
//!
//! Strict where leniency has let requests be smuggled: lines end in CR LF and nothing else, no folding, no space before a
//! colon. Tokenising is `httparse`'s. What a request means is [`super::request`]'s, body framing [`super::framing`]'s.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::{forwarded, hop};

/// Most fields that a head may have, whatever the settings say: they are tokenised on the stack.
const MOST_FIELDS: usize = 256;

/// Empty lines before a request line that are overlooked (RFC 9112 §2.2).
const EMPTY_LINES: u8 = 2;

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum HeadError {
    /// It breaks the grammar or a rule against smuggling.
    #[error("{0}")]
    Malformed(&'static str),
    /// The request line is over its limit.
    #[error("the request line is too long")]
    TargetTooLong,
    /// The fields are over a limit.
    #[error("the header fields are too large or too many")]
    HeadersTooLarge,
    /// A transfer coding that is not supported.
    #[error("the transfer coding is not supported")]
    Coding,
    /// An expectation other than `100-continue`.
    #[error("the expectation is not supported")]
    Expectation,
    /// Neither 1.0 nor 1.1.
    #[error("the HTTP version is not supported")]
    Version,
}

/// Bounds of one head or trailer section.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes of the first line.
    pub(crate) line_bytes: usize,
    /// Bytes of all fields.
    pub(crate) header_bytes: usize,
    /// Number of fields.
    pub(crate) fields: usize,
}

/// What the lines looked for belong to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Section {
    /// A request head; an empty line or two may come first.
    Request,
    /// A response head.
    Response,
    /// A trailer section, which may be empty.
    Trailers,
}

/// Looks for the end of a section in a growing buffer; no byte is looked at twice.
#[derive(Debug)]
pub(crate) struct Scan {
    section: Section,
    start: usize,
    line: usize,
    seen: usize,
    lines: usize,
    empty: u8,
}

impl Scan {
    pub(crate) fn new(section: Section) -> Self {
        Scan {
            section,
            start: 0,
            line: 0,
            seen: 0,
            lines: 0,
            empty: 0,
        }
    }

    /// Goes on with the buffer; `Some((start, end))` is the whole section with its final empty line.
    pub(crate) fn advance(&mut self, buf: &[u8], bounds: &Bounds) -> Result<Option<(usize, usize)>, HeadError> {
        while let Some(found) = memchr::memchr(b'\n', buf.get(self.seen..).unwrap_or_default()) {
            let line = buf.get(self.line..self.seen + found).unwrap_or_default();
            self.check(line.len(), bounds)?;
            let Some((b'\r', content)) = line.split_last() else {
                return Err(HeadError::Malformed("a line ends in a bare LF"));
            };
            if memchr::memchr(b'\r', content).is_some() {
                return Err(HeadError::Malformed("a bare CR"));
            }
            self.seen += found + 1;
            self.line = self.seen;
            if !content.is_empty() {
                self.lines += 1;
                continue;
            }
            if self.lines > 0 || self.section == Section::Trailers {
                return Ok(Some((self.start, self.seen)));
            }
            self.start = self.seen;
            self.empty += 1;
            if self.section == Section::Response || self.empty > EMPTY_LINES {
                return Err(HeadError::Malformed("an empty line instead of a message"));
            }
        }
        self.seen = buf.len();
        self.check(buf.len() - self.line, bounds)?;
        Ok(None)
    }

    /// Checks a line, whole or not, against the bounds.
    fn check(&self, line_bytes: usize, bounds: &Bounds) -> Result<(), HeadError> {
        let has_first_line = self.section != Section::Trailers;
        if has_first_line && self.lines == 0 {
            return if line_bytes > bounds.line_bytes {
                Err(HeadError::TargetTooLong)
            } else {
                Ok(())
            };
        }
        let first = if has_first_line { bounds.line_bytes } else { 0 };
        let fields = self.lines - usize::from(has_first_line);
        if (fields >= bounds.fields && line_bytes > 2)
            || self.line - self.start + line_bytes > first + bounds.header_bytes
        {
            return Err(HeadError::HeadersTooLarge);
        }
        Ok(())
    }
}

/// A request head, tokenised.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: Method,
    pub(crate) target: Bytes,
    pub(crate) is_11: bool,
    pub(crate) headers: HeaderMap,
}

/// A response head, tokenised.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    pub(crate) is_11: bool,
    pub(crate) headers: HeaderMap,
}

/// Tokenises a request head that [`Scan`] has found.
pub(crate) fn parse_request(head: &Bytes, bounds: &Bounds) -> Result<RequestHead, HeadError> {
    let mut storage = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut storage) {
        Ok(httparse::Status::Complete(used)) if used == head.len() => {}
        Ok(_) => return Err(HeadError::Malformed("the head does not end where it should")),
        Err(error) => return Err(explain(error, head)),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(HeadError::Malformed("the request line is not whole"));
    };
    let method =
        Method::from_bytes(method.as_bytes()).map_err(|_| HeadError::Malformed("the method is not a token"))?;
    if !target.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(HeadError::Malformed("the request target holds a forbidden character"));
    }
    let target = head.slice_ref(target.as_bytes());
    Ok(RequestHead {
        method,
        target,
        is_11: minor == 1,
        // With room for what an application is told besides.
        headers: collect(head, request.headers, forwarded::SET, bounds)?,
    })
}

/// Tokenises a response head that [`Scan`] has found.
pub(crate) fn parse_response(head: &Bytes, bounds: &Bounds) -> Result<ResponseHead, HeadError> {
    let mut storage = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut response, head, &mut storage) {
        Ok(httparse::Status::Complete(used)) if used == head.len() => {}
        Ok(_) => return Err(HeadError::Malformed("the head does not end where it should")),
        Err(error) => return Err(explain(error, head)),
    }
    let (Some(code), Some(minor)) = (response.code, response.version) else {
        return Err(HeadError::Malformed("the status line is not whole"));
    };
    let status = StatusCode::from_u16(code).map_err(|_| HeadError::Malformed("the status code is out of range"))?;
    Ok(ResponseHead {
        status,
        is_11: minor == 1,
        headers: collect(head, response.headers, 0, bounds)?,
    })
}

/// Reads a trailer section that [`Scan`] has found; fields that may not be trailers are left out (RFC 9110 §6.5.1).
pub(crate) fn parse_trailers(section: &Bytes, bounds: &Bounds) -> Result<HeaderMap, HeadError> {
    if section.len() <= 2 {
        return Ok(HeaderMap::new());
    }
    let mut storage = [httparse::EMPTY_HEADER; 64];
    match httparse::parse_headers(section, &mut storage) {
        Ok(httparse::Status::Complete((used, fields))) if used == section.len() => {
            let mut trailers = collect(section, fields, 0, bounds)?;
            keep_trailers(&mut trailers);
            Ok(trailers)
        }
        Ok(_) => Err(HeadError::Malformed("the trailers do not end where they should")),
        Err(error) => Err(explain(error, section)),
    }
}

/// Removes the fields that have no business after a body: framing, routing, authentication, what must be known before, and
/// names that are none.
pub(crate) fn keep_trailers(trailers: &mut HeaderMap) {
    const FORBIDDEN: [&str; 30] = [
        "transfer-encoding",
        "content-length",
        "content-encoding",
        "content-type",
        "content-range",
        "trailer",
        "host",
        "connection",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "te",
        "cache-control",
        "expect",
        "max-forwards",
        "pragma",
        "range",
        "authorization",
        "proxy-authorization",
        "proxy-authenticate",
        "www-authenticate",
        "cookie",
        "set-cookie",
        "age",
        "expires",
        "date",
        "location",
        "retry-after",
        "vary",
        "warning",
    ];
    if trailers.is_empty() {
        return;
    }
    for name in FORBIDDEN {
        trailers.remove(name);
    }
    // An application that puts them with the fields of the head must not take them for ours, or for conditions; where `-` and
    // `_` are one, nor what looks alike.
    let is_taken_for_ours = |name: &str| {
        let name = name.replace('_', "-");
        forwarded::is_of_family(&name) || name.starts_with("if-") || name.starts_with("shimmercat-") || name == "proxy"
    };
    let names = trailers
        .keys()
        .filter(|name| is_taken_for_ours(name.as_str()) || !hop::is_portable(name));
    for name in names.cloned().collect::<Vec<_>>() {
        trailers.remove(name);
    }
}

/// Bounds that a fuzzer can reach.
pub(crate) const FUZZ_BOUNDS: Bounds = Bounds {
    line_bytes: 1 << 10,
    header_bytes: 4 << 10,
    fields: 16,
};

/// Finds a section in any bytes, for fuzzing; where it ends does not depend on how it arrives.
pub(crate) fn fuzz_section(input: &[u8], section: Section) -> Option<Bytes> {
    let at_once = Scan::new(section).advance(input, &FUZZ_BOUNDS);
    let mut pieces = Scan::new(section);
    let bit_by_bit = (0..=input.len())
        .find_map(|end| pieces.advance(&input[..end], &FUZZ_BOUNDS).transpose())
        .transpose();
    assert_eq!(at_once, bit_by_bit, "a head does not depend on how it arrives");
    let (start, end) = at_once.ok()??;
    Some(Bytes::copy_from_slice(&input[start..end]))
}

/// Runs the parsers of responses and trailers on any bytes, for fuzzing.
///
/// Shape: fields keep within the bounds; what may not be a trailer is none.
pub(crate) fn fuzz(input: &[u8]) {
    if let Some(head) = fuzz_section(input, Section::Response)
        && let Ok(response) = parse_response(&head, &FUZZ_BOUNDS)
    {
        assert!(response.headers.len() <= FUZZ_BOUNDS.fields && (100..1000).contains(&response.status.as_u16()));
    }
    if let Some(section) = fuzz_section(input, Section::Trailers)
        && let Ok(trailers) = parse_trailers(&section, &FUZZ_BOUNDS)
    {
        let mut kept = trailers.clone();
        keep_trailers(&mut kept);
        assert_eq!(kept, trailers);
    }
}

/// Fields as a map; values share the memory of the head.
fn collect(
    head: &Bytes,
    fields: &[httparse::Header<'_>],
    room: usize,
    bounds: &Bounds,
) -> Result<HeaderMap, HeadError> {
    let mut headers = HeaderMap::with_capacity(fields.len() + room);
    let mut bytes = 0;
    for field in fields {
        bytes += field.name.len() + field.value.len() + 32;
        if bytes > bounds.header_bytes {
            return Err(HeadError::HeadersTooLarge);
        }
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| HeadError::Malformed("a field name is not a token"))?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value))
            .map_err(|_| HeadError::Malformed("a field value holds a control character"))?;
        headers
            .try_append(name, value)
            .map_err(|_| HeadError::HeadersTooLarge)?;
    }
    Ok(headers)
}

fn explain(error: httparse::Error, head: &[u8]) -> HeadError {
    match error {
        httparse::Error::HeaderName => HeadError::Malformed("a field name is malformed"),
        httparse::Error::HeaderValue => HeadError::Malformed("a field value is malformed"),
        httparse::Error::TooManyHeaders => HeadError::HeadersTooLarge,
        httparse::Error::Version => {
            let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
            let mut words = line
                .splitn(3, |b| *b == b' ')
                .skip(if head.starts_with(b"HTTP/") { 0 } else { 2 });
            match words.next() {
                Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
                    if major.is_ascii_digit() && minor.is_ascii_digit() =>
                {
                    HeadError::Version
                }
                _ => HeadError::Malformed("the HTTP version is malformed"),
            }
        }
        httparse::Error::Status => HeadError::Malformed("the status line is malformed"),
        httparse::Error::NewLine | httparse::Error::Token => HeadError::Malformed("the first line is malformed"),
    }
}
