//! Conditional requests (RFC 9110 §13): whether to answer in full, with `304`, or with `412`.
//!
//! The caller brings the validators of the representation that it would send. Applying a range is [`crate::range`]'s.

use std::time::{Duration, SystemTime};

use http::header::{
    ETAG, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED,
};
use http::{HeaderMap, HeaderValue, Method};

/// What the representation to be sent is known by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Validators<'a> {
    /// The entity-tag exactly as `ETag` carries it, e.g. `"abc"` or `W/"abc"`.
    pub etag: Option<&'a HeaderValue>,
    /// When it was last changed; fractions of a second are not looked at.
    pub modified: Option<SystemTime>,
}

impl<'a> Validators<'a> {
    /// The validators that a response head carries.
    pub fn of(headers: &'a HeaderMap) -> Self {
        Validators {
            etag: headers.get(ETAG),
            modified: headers.get(LAST_MODIFIED).and_then(crate::date::parse),
        }
    }
}

/// How to go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Perform the method as if there were no condition.
    Proceed,
    /// Answer `304`.
    NotModified,
    /// Answer `412`.
    Failed,
}

/// Evaluates the preconditions of a request in the order of RFC 9110 §13.2.2, except `If-Range`.
///
/// Shape: dates that do not parse are ignored; malformed entity-tags match nothing.
pub fn evaluate(method: &Method, headers: &HeaderMap, current: &Validators<'_>) -> Outcome {
    let reads = *method == Method::GET || *method == Method::HEAD;
    if headers.contains_key(IF_MATCH) {
        if !any_matches(headers, &IF_MATCH, current.etag, Comparison::Strong) {
            return Outcome::Failed;
        }
    } else if let Some((limit, modified)) = dates(headers, &IF_UNMODIFIED_SINCE, current)
        && modified > limit
    {
        return Outcome::Failed;
    }
    if headers.contains_key(IF_NONE_MATCH) {
        if any_matches(headers, &IF_NONE_MATCH, current.etag, Comparison::Weak) {
            return if reads { Outcome::NotModified } else { Outcome::Failed };
        }
    } else if reads
        && let Some((limit, modified)) = dates(headers, &IF_MODIFIED_SINCE, current)
        && modified <= limit
    {
        return Outcome::NotModified;
    }
    Outcome::Proceed
}

/// Whether a `Range` field may be applied as far as `If-Range` is concerned (RFC 9110 §13.1.5).
pub fn range_applies(headers: &HeaderMap, current: &Validators<'_>) -> bool {
    let Some(condition) = headers.get(IF_RANGE) else {
        return true;
    };
    let text = condition.as_bytes();
    if text.starts_with(b"\"") || text.starts_with(b"W/") {
        let Some(etag) = current.etag.and_then(|etag| Tag::only(etag.as_bytes())) else {
            return false;
        };
        return Tag::only(text).is_some_and(|tag| tag.matches(&etag, Comparison::Strong));
    }
    match (crate::date::parse(condition), current.modified) {
        (Some(date), Some(modified)) => seconds(date) == seconds(modified),
        _ => false,
    }
}

/// Evaluates conditions of any bytes, for fuzzing.
///
/// Shape: what matches strongly matches weakly; a tag that is not ours in front of a list changes nothing; two dates cannot
/// both have been missed; a range that a tag allows is a range of what `If-Match` would find.
pub fn fuzz_conditional(input: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(input) else {
        return;
    };
    let etag = HeaderValue::from_static("\"a\"");
    let current = Validators {
        etag: Some(&etag),
        modified: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)),
    };
    let with = |name: HeaderName, value: &HeaderValue| {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.clone());
        headers
    };
    let outcome = |name: HeaderName, value: &HeaderValue| {
        let headers = with(name, value);
        let outcome = evaluate(&Method::GET, &headers, &current);
        assert_eq!(outcome, evaluate(&Method::HEAD, &headers, &current));
        outcome
    };
    let (strong, weak) = (outcome(IF_MATCH, &value), outcome(IF_NONE_MATCH, &value));
    assert!(
        strong == Outcome::Failed || weak == Outcome::NotModified,
        "a strong match is a weak one too"
    );
    let longer = HeaderValue::from_bytes(&[b"\"zz\", ", input].concat());
    if let (Ok(longer), false) = (longer, input == b"*") {
        assert_eq!(weak, outcome(IF_NONE_MATCH, &longer));
        assert_eq!(strong, outcome(IF_MATCH, &longer));
    }
    if let Some(date) = crate::date::parse(&value) {
        let again = crate::date::parse(&crate::date::format(date));
        assert_eq!(again.map(seconds), Some(seconds(date)), "a date changed on its way");
        let since = outcome(IF_MODIFIED_SINCE, &value) == Outcome::NotModified;
        let until = outcome(IF_UNMODIFIED_SINCE, &value) == Outcome::Proceed;
        assert_eq!(since, until, "it was changed after the date, or it was not");
    }
    if range_applies(&with(IF_RANGE, &value), &current) && input.starts_with(b"\"") {
        assert_eq!(strong, Outcome::Proceed);
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Comparison {
    Strong,
    Weak,
}

#[derive(Debug)]
struct Tag<'a> {
    is_weak: bool,
    opaque: &'a [u8],
}

impl<'a> Tag<'a> {
    /// Takes one entity-tag from the front (RFC 9110 §8.8.3).
    fn take(text: &'a [u8]) -> Option<(Tag<'a>, &'a [u8])> {
        let (is_weak, rest) = match text.strip_prefix(b"W/") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let rest = rest.strip_prefix(b"\"")?;
        let end = memchr::memchr(b'"', rest)?;
        let (opaque, rest) = rest.split_at_checked(end)?;
        let is_etagc = |b: &u8| matches!(b, 0x21 | 0x23..=0x7e | 0x80..);
        opaque
            .iter()
            .all(is_etagc)
            .then_some((Tag { is_weak, opaque }, rest.get(1..)?))
    }

    fn only(text: &'a [u8]) -> Option<Tag<'a>> {
        Tag::take(text).filter(|(_, rest)| rest.is_empty()).map(|(tag, _)| tag)
    }

    fn matches(&self, other: &Tag<'_>, comparison: Comparison) -> bool {
        let may = comparison == Comparison::Weak || !(self.is_weak || other.is_weak);
        may && self.opaque == other.opaque
    }
}

fn any_matches(headers: &HeaderMap, name: &HeaderName, etag: Option<&HeaderValue>, comparison: Comparison) -> bool {
    if headers.get_all(name).into_iter().any(|line| line.as_bytes() == b"*") {
        return true;
    }
    let Some(current) = etag.and_then(|etag| Tag::only(etag.as_bytes())) else {
        return false;
    };
    headers.get_all(name).into_iter().any(|line| {
        let mut rest = line.as_bytes();
        loop {
            let skip = rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b',')).count();
            let Some((tag, after)) = rest.get(skip..).and_then(Tag::take) else {
                return false;
            };
            if tag.matches(&current, comparison) {
                return true;
            }
            rest = after;
        }
    })
}

/// The date of a field and that of the representation, where both are known.
fn dates(headers: &HeaderMap, name: &HeaderName, current: &Validators<'_>) -> Option<(Duration, Duration)> {
    let mut lines = headers.get_all(name).into_iter();
    let limit = crate::date::parse(lines.next()?)?;
    let is_single = lines.next().is_none();
    is_single.then_some((seconds(limit), seconds(current.modified?)))
}

fn seconds(time: SystemTime) -> Duration {
    Duration::from_secs(
        time.duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn outcome(method: Method, etag: &'static str, fields: &[(HeaderName, &'static str)]) -> (Outcome, bool) {
        let etag = HeaderValue::from_static(etag);
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_900);
        let current = Validators {
            etag: Some(&etag),
            modified: Some(modified),
        };
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        (evaluate(&method, &headers, &current), range_applies(&headers, &current))
    }

    fn check(fields: &[(HeaderName, &'static str)], expected: Outcome) {
        assert_eq!(outcome(Method::GET, "\"a\"", fields).0, expected, "{fields:?}");
    }

    #[test]
    fn conditions_are_evaluated_in_order() {
        use Outcome::*;
        check(&[], Proceed);
        check(&[(IF_MATCH, "\"a\"")], Proceed);
        check(&[(IF_MATCH, "*")], Proceed);
        check(&[(IF_MATCH, "\"b\", \"a\"")], Proceed);
        check(&[(IF_MATCH, "\"b\"")], Failed);
        check(&[(IF_MATCH, "W/\"a\"")], Failed);
        check(&[(IF_MATCH, "a")], Failed);
        check(&[(IF_UNMODIFIED_SINCE, BEFORE)], Failed);
        check(&[(IF_UNMODIFIED_SINCE, AT)], Proceed);
        check(&[(IF_UNMODIFIED_SINCE, "whenever")], Proceed);
        check(&[(IF_MATCH, "\"a\""), (IF_UNMODIFIED_SINCE, BEFORE)], Proceed);
        check(&[(IF_NONE_MATCH, "\"a\"")], NotModified);
        check(&[(IF_NONE_MATCH, "W/\"a\"")], NotModified);
        check(&[(IF_NONE_MATCH, "\"x,y\" , ,\"a\"")], NotModified);
        check(&[(IF_NONE_MATCH, "\"x\""), (IF_NONE_MATCH, "\"a\"")], NotModified);
        check(&[(IF_NONE_MATCH, "\"b\"")], Proceed);
        check(&[(IF_NONE_MATCH, "\"b\""), (IF_MODIFIED_SINCE, AFTER)], Proceed);
        check(&[(IF_MODIFIED_SINCE, AT)], NotModified);
        check(&[(IF_MODIFIED_SINCE, AFTER)], NotModified);
        check(&[(IF_MODIFIED_SINCE, BEFORE)], Proceed);
        check(&[(IF_MODIFIED_SINCE, AFTER), (IF_MODIFIED_SINCE, AFTER)], Proceed);
        check(&[(IF_MATCH, "\"b\""), (IF_NONE_MATCH, "\"a\"")], Failed);
        assert_eq!(outcome(Method::PUT, "\"a\"", &[(IF_NONE_MATCH, "*")]).0, Failed);
        assert_eq!(outcome(Method::PUT, "\"a\"", &[(IF_MODIFIED_SINCE, AFTER)]).0, Proceed);
    }

    #[test]
    fn if_range_compares_strongly() {
        for (etag, condition, expected) in [
            ("\"a\"", "\"a\"", true),
            ("\"a\"", "\"b\"", false),
            ("\"a\"", "W/\"a\"", false),
            ("W/\"a\"", "\"a\"", false),
            ("\"a\"", AT, true),
            ("\"a\"", AFTER, false),
            ("\"a\"", "junk", false),
        ] {
            assert_eq!(
                outcome(Method::GET, etag, &[(IF_RANGE, condition)]).1,
                expected,
                "{etag} {condition}"
            );
        }
        assert!(outcome(Method::GET, "\"a\"", &[]).1);
    }
}
