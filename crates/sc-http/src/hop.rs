//! Removal of hop-by-hop fields (RFC 9110 §7.6.1), for both directions.
//!
//! What a hop means by these fields is decided by the drivers and clients of this room, which frame every message anew.

use http::header::{CONNECTION, HeaderName, TE};
use http::{HeaderMap, HeaderValue};
use smallvec::SmallVec;

/// Whether a field concerns one connection only, also when `Connection` does not name it.
fn is_of_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "te"
            | "upgrade"
            | "keep-alive"
            | "http2-settings"
            | "proxy-connection"
            | "transfer-encoding"
            | "proxy-authenticate"
            | "proxy-authorization"
    )
}

/// Removes hop-by-hop fields and every field that `Connection` names.
///
/// Shape: `TE` stays as `trailers` when it held that, whatever else it held; all else of it goes.
/// Source: RFC 9110 §7.6.1, §10.1.4.
pub fn strip(headers: &mut HeaderMap) {
    strip_with(headers, |_| false);
}

/// The same, and every field whose name meets a condition. `TE` is not among those.
///
/// Shape: each name is looked at once, which costs less than a search for each one that might be there: most are not.
pub fn strip_with(headers: &mut HeaderMap, is_one: impl Fn(&HeaderName) -> bool) {
    let mut found: SmallVec<[HeaderName; 4]> = SmallVec::new();
    for name in headers.keys() {
        if is_of_hop(name) || is_one(name) {
            found.push(name.clone());
        }
    }
    if found.is_empty() {
        return;
    }
    let named: SmallVec<[HeaderName; 4]> = list(headers, &CONNECTION)
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        .collect();
    let has_trailers = accepts_trailers(headers);
    for name in found.iter().chain(&named) {
        headers.remove(name);
    }
    if has_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Whether `TE` holds `trailers` (RFC 9110 §10.1.4).
pub fn accepts_trailers(headers: &HeaderMap) -> bool {
    list(headers, &TE).any(|member| member.eq_ignore_ascii_case("trailers"))
}

/// Whether `Connection` names this option.
pub fn connection_has(headers: &HeaderMap, option: &str) -> bool {
    list(headers, &CONNECTION).any(|member| member.eq_ignore_ascii_case(option))
}

/// Whether a text is a token (RFC 9110 §5.6.2).
pub(crate) fn is_token(text: &str) -> bool {
    let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_tchar)
}

/// Whether HTTP/1.1 can carry a name: whether it is a token (RFC 9110 §5.1). Those that came over HTTP/2 need not be: of all
/// that is none, the `http` crate lets a quotation mark through there.
pub(crate) fn is_portable(name: &HeaderName) -> bool {
    !name.as_str().as_bytes().contains(&b'"')
}

/// Whether a text names a protocol to switch to: a token, and maybe a slash and another (RFC 9110 §7.8).
pub(crate) fn is_protocol(text: &str) -> bool {
    match text.split_once('/') {
        Some((name, version)) => is_token(name) && is_token(version),
        None => is_token(text),
    }
}

/// The members of a comma-separated field over all its lines, trimmed, empty ones left out (RFC 9110 §5.6.1).
pub fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(trim)
        .filter(|member| !member.is_empty())
}

/// Reads lines of `name: value` as fields and strips them, for fuzzing.
///
/// Shape: nothing of one hop is left, nothing else is lost or moved, and a second time changes nothing.
pub fn fuzz_strip(input: &[u8]) {
    let before = fields_of(input);
    let mut after = before.clone();
    strip(&mut after);
    let named: Vec<String> = list(&before, &CONNECTION).map(str::to_ascii_lowercase).collect();
    for name in before.keys().filter(|name| **name != TE) {
        if is_of_hop(name) || named.iter().any(|named| named == name.as_str()) {
            assert!(!after.contains_key(name), "{name} is left");
        } else {
            assert!(
                before.get_all(name).iter().eq(after.get_all(name).iter()),
                "{name} was changed"
            );
        }
    }
    assert!(after.keys().all(|name| before.contains_key(name)));
    let accepts = accepts_trailers(&before);
    assert_eq!(
        after.get(TE).map(HeaderValue::as_bytes),
        accepts.then_some(&b"trailers"[..])
    );
    let mut again = after.clone();
    strip(&mut again);
    assert_eq!(again, after);
}

/// The lines of any bytes that can be fields, for fuzzing.
pub(crate) fn fields_of(input: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n').take(64) {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at_checked(colon).unwrap_or_default();
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// Removes optional whitespace (RFC 9110 §5.6.3), which is space and tab only.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// The same of bytes that need not be text.
pub(crate) fn trim_bytes(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_tokens_are_known_and_no_trailers() {
        let odd = HeaderName::from_lowercase(b"x\"a").expect("the crate takes it");
        assert!(!is_portable(&odd) && is_portable(&TE));
        let mut trailers = HeaderMap::new();
        trailers.insert(odd, HeaderValue::from_static("1"));
        trailers.insert("x-b", HeaderValue::from_static("2"));
        crate::h1::head::keep_trailers(&mut trailers);
        assert!(trailers.len() == 1 && trailers.contains_key("x-b"));
    }

    fn check(fields: &[(&'static str, &'static str)], left: &[(&str, &str)]) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        strip(&mut headers);
        let mut got: Vec<_> = headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.to_str().expect("text")))
            .collect();
        got.sort();
        assert_eq!(got, left, "{fields:?}");
    }

    #[test]
    fn fields_of_one_hop_go() {
        check(
            &[("connection", "close, X-One"), ("x-one", "1"), ("x-two", "2")],
            &[("x-two", "2")],
        );
        check(
            &[
                ("connection", "x-one"),
                ("connection", "x-two"),
                ("x-one", "1"),
                ("x-two", "2"),
            ],
            &[],
        );
        check(
            &[("te", "gzip;q=0.5, Trailers"), ("connection", "te")],
            &[("te", "trailers")],
        );
        check(&[("te", "gzip")], &[]);
        check(
            &[
                ("keep-alive", "5"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "websocket"),
                ("a", "b"),
            ],
            &[("a", "b")],
        );
        check(&[("connection", ", ,@,"), ("a", "b")], &[("a", "b")]);
    }
}
