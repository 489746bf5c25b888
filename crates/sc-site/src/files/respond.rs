//! From a chosen representation to an answer: validators, conditions, ranges (RFC 9110 §8.8, §13, §14).
//!
//! Nothing is read here before it is known to be needed: conditions and ranges are decided on size and times alone.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED,
    RANGE, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use sc_http::conditional::{self, Outcome, Validators};
use sc_http::encoding::Coding;
use sc_http::range::{self, ByteRange, Ranges};
use sc_http::{Answer, Body, Head, date};

use super::read::{FileBody, Part};
use super::root::Meta;

/// Where the bytes of a representation are.
#[derive(Clone, Debug)]
pub(crate) enum Bits {
    /// In memory.
    Memory(Bytes),
    /// In a file, as long as its size says.
    File(Arc<OwnedFd>),
}

/// What a file is sent as.
#[derive(Debug)]
pub(crate) struct Representation {
    /// Of the file whose bytes are sent, or that is encoded on the way.
    pub(crate) meta: Meta,
    /// Its media type.
    pub(crate) content_type: HeaderValue,
    /// The coding of what is sent.
    pub(crate) coding: Coding,
    /// Whether other clients get another coding.
    pub(crate) varies: bool,
    /// Whether caches must ask again each time.
    pub(crate) is_revalidated: bool,
}

/// What is to be sent after a look at the conditions.
pub(crate) enum Verdict {
    /// This answer, without the file.
    Short(Answer),
    /// This head, with the whole representation.
    Whole(Head),
    /// This head, with these ranges.
    Ranges(Head, Vec<ByteRange>),
}

impl Representation {
    /// The strong entity-tag: differs by content (size, time, inode) and by coding (RFC 9110 §8.8.3.3).
    fn etag(&self) -> HeaderValue {
        let fingerprint = self.meta.fingerprint();
        let text = match self.coding {
            Coding::Identity => format!("\"{fingerprint:016x}\""),
            coding => format!("\"{fingerprint:016x}-{}\"", coding.as_str()),
        };
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("\"0\""))
    }

    /// Decides what a request gets; `takes_ranges` is false where the bytes do not exist before they are sent.
    pub(crate) fn judge(&self, method: &Method, request: &HeaderMap, takes_ranges: bool) -> Verdict {
        let mut head = Head::new(StatusCode::OK);
        let fields = &mut head.headers;
        fields.insert(ETAG, self.etag());
        fields.insert(LAST_MODIFIED, date::format(self.meta.modified()));
        if self.varies {
            fields.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        if self.is_revalidated {
            fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        let outcome = conditional::evaluate(method, request, &self.validators(fields));
        match outcome {
            Outcome::NotModified => head.status = StatusCode::NOT_MODIFIED,
            Outcome::Failed => head.status = StatusCode::PRECONDITION_FAILED,
            Outcome::Proceed => return self.proceed(head, method, request, takes_ranges),
        }
        Verdict::Short(Answer::new(head, Body::empty()))
    }

    fn proceed(&self, mut head: Head, method: &Method, request: &HeaderMap, takes_ranges: bool) -> Verdict {
        let ranges = self.ranges(&head, method, request, takes_ranges);
        let size = self.meta.size;
        let fields = &mut head.headers;
        if takes_ranges {
            fields.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        }
        if let Ranges::Unsatisfiable = ranges {
            head.status = StatusCode::RANGE_NOT_SATISFIABLE;
            head.headers.insert(CONTENT_RANGE, range::unsatisfied(size));
            return Verdict::Short(Answer::new(head, Body::empty()));
        }
        fields.insert(CONTENT_TYPE, self.content_type.clone());
        if self.coding != Coding::Identity {
            fields.insert(CONTENT_ENCODING, HeaderValue::from_static(self.coding.as_str()));
        }
        let Ranges::Some(ranges) = ranges else {
            return Verdict::Whole(head);
        };
        head.status = StatusCode::PARTIAL_CONTENT;
        if let [only] = ranges.as_slice() {
            head.headers.insert(CONTENT_RANGE, only.content_range(size));
        }
        Verdict::Ranges(head, ranges.to_vec())
    }

    fn validators<'h>(&self, fields: &'h HeaderMap) -> Validators<'h> {
        Validators {
            etag: fields.get(ETAG),
            modified: Some(self.meta.modified()),
        }
    }

    /// Only `GET` has ranges (RFC 9110 §14.2), and only while the client's copy is of this representation.
    fn ranges(&self, head: &Head, method: &Method, request: &HeaderMap, takes_ranges: bool) -> Ranges {
        let validators = self.validators(&head.headers);
        match request.get(RANGE) {
            Some(field)
                if takes_ranges && *method == Method::GET && conditional::range_applies(request, &validators) =>
            {
                range::parse(field, self.meta.size)
            }
            _ => Ranges::Whole,
        }
    }

    /// The whole of it.
    pub(crate) fn whole(&self, mut head: Head, bits: Bits) -> Answer {
        let body = match bits {
            Bits::Memory(bytes) => {
                head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
                Body::full(bytes)
            }
            Bits::File(file) => {
                head.headers.insert(CONTENT_LENGTH, HeaderValue::from(self.meta.size));
                Body::stream(FileBody::new(
                    file,
                    [Part::File {
                        offset: 0,
                        left: self.meta.size,
                    }],
                ))
            }
        };
        Answer::new(head, body)
    }

    /// Some ranges of it: as they are for one, as `multipart/byteranges` for several (RFC 9110 §14.6).
    pub(crate) fn partial(&self, mut head: Head, ranges: &[ByteRange], bits: Bits) -> Answer {
        let parts = match ranges {
            [only] => vec![part(&bits, *only)],
            several => {
                // Cannot stand at the start of a line by accident, and an author who knows the content cannot guess it.
                let boundary = format!(
                    "{:016x}{:016x}",
                    self.meta.fingerprint(),
                    crate::random::mix(self.meta.fingerprint())
                );
                let content_type = format!("multipart/byteranges; boundary={boundary}");
                let own = head
                    .headers
                    .insert(CONTENT_TYPE, field(content_type))
                    .unwrap_or(self.content_type.clone());
                self.multipart(several, &boundary, &own, &bits)
            }
        };
        let file = match bits {
            Bits::File(file) => Some(file),
            Bits::Memory(_) => None,
        };
        let body = joined(parts, file);
        if let Some(bytes) = body.exact_bytes() {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
        }
        Answer::new(head, body)
    }

    fn multipart(&self, ranges: &[ByteRange], boundary: &str, own: &HeaderValue, bits: &Bits) -> Vec<Part> {
        let mut parts = Vec::with_capacity(ranges.len() * 2 + 1);
        for (at, range) in ranges.iter().enumerate() {
            let before = if at == 0 { "" } else { "\r\n" };
            let mut text = format!("{before}--{boundary}\r\ncontent-type: ").into_bytes();
            text.extend_from_slice(own.as_bytes());
            text.extend_from_slice(b"\r\ncontent-range: ");
            text.extend_from_slice(range.content_range(self.meta.size).as_bytes());
            text.extend_from_slice(b"\r\n\r\n");
            parts.push(Part::Memory(text.into()));
            parts.push(part(bits, *range));
        }
        parts.push(Part::Memory(format!("\r\n--{boundary}--\r\n").into()));
        parts
    }
}

/// One body of all parts.
fn joined(parts: Vec<Part>, file: Option<Arc<OwnedFd>>) -> Body {
    match file {
        Some(file) => Body::stream(FileBody::new(file, parts)),
        None => {
            let pieces = parts.iter().filter_map(|part| {
                if let Part::Memory(bytes) = part {
                    Some(&**bytes)
                } else {
                    None
                }
            });
            Body::full(pieces.collect::<Vec<_>>().concat())
        }
    }
}

fn part(bits: &Bits, range: ByteRange) -> Part {
    match bits {
        Bits::File(_) => Part::File {
            offset: range.first,
            left: range.bytes(),
        },
        Bits::Memory(bytes) => {
            let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            let (first, end) = (at(range.first), at(range.last.saturating_add(1)));
            Part::Memory(bytes.slice(first.min(end)..end))
        }
    }
}

fn field(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("multipart/byteranges"))
}
