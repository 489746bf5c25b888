//! What we tell an application about who asked: `Forwarded` (RFC 7239) and the older `X-Forwarded-*`.
//!
//! What a client claims about itself is thrown away unless the caller says that it may be believed.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::ops::Range;

use bytes::Bytes;
use http::header::{Entry, FORWARDED, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::{Scheme, hop};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Whether applications may take what this field says for what a proxy saw, some of them blindly: none comes through from
/// outside. All that begin like ours are taken for such, since every framework has some more of them.
pub(crate) fn is_of_family(name: &str) -> bool {
    name.starts_with("x-forwarded-") || matches!(name, "forwarded" | "x-forwarded" | "x-real-ip")
}

/// How many fields [`set`] adds at most, with room for one of the caller's.
pub(crate) const SET: usize = 6;

/// What a forwarded-element is made of, without the authority.
const TEXT_BYTES: usize = 80;

/// What was seen of one request.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The client's address; `None` for a unix socket, which becomes `unknown`.
    pub client: Option<IpAddr>,
    /// The scheme that the client used.
    pub scheme: Scheme,
    /// The authority that the client asked for, `host[:port]`.
    pub host: &'a str,
    /// Whether the fields that came with the request are to be believed and added to.
    pub is_trusted: bool,
}

/// Makes the fields of a request those of the next hop: sets `Forwarded`, `X-Forwarded-For`, `-Proto`, `-Host` and `-Port`.
///
/// Shape: first goes what concerns one hop only, what is `unwanted` besides, and of a client that is not trusted every field
/// of this family.
/// Source: RFC 7239 §4, §6; RFC 9110 §7.6.1.
pub fn set(headers: &mut HeaderMap, seen: &Seen<'_>, unwanted: impl Fn(&HeaderName) -> bool) {
    hop::strip_with(headers, |name| {
        (!seen.is_trusted && is_of_family(name.as_str())) || unwanted(name)
    });
    headers.reserve(SET);
    let mut text = String::with_capacity(TEXT_BYTES + seen.host.len());
    let (client, host) = put_element(&mut text, seen);
    // The values are parts of one text.
    let text = Bytes::from(text);
    append(headers, FORWARDED, text.clone());
    append(headers, X_FORWARDED_FOR, text.slice(client));
    let scheme = HeaderValue::from_static(seen.scheme.as_str());
    headers.entry(X_FORWARDED_PROTO).or_insert(scheme);
    if let Ok(host) = HeaderValue::from_maybe_shared(text.slice(host)) {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
    let port = match (seen.host.rsplit_once(':'), seen.scheme) {
        (Some((_, port)), _) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            HeaderValue::from_str(port).ok()
        }
        (_, Scheme::Http) => Some(HeaderValue::from_static("80")),
        (_, Scheme::Https) => Some(HeaderValue::from_static("443")),
    };
    if let Some(port) = port {
        headers.entry(X_FORWARDED_PORT).or_insert(port);
    }
}

/// The client's address as text. Nearly all are of IPv4, for which the formatting machinery costs ten times as much.
fn put_client(text: &mut String, client: Option<IpAddr>) {
    match client.map(|client| client.to_canonical()) {
        Some(IpAddr::V4(client)) => {
            for (at, octet) in client.octets().into_iter().enumerate() {
                if at > 0 {
                    text.push('.');
                }
                text.push_str(itoa::Buffer::new().format(octet));
            }
        }
        Some(IpAddr::V6(client)) => {
            let _ = write!(text, "{client}");
        }
        None => text.push_str("unknown"),
    }
}

/// One forwarded-element; values that are no tokens are quoted. Gives back where the client and the host stand in it.
fn put_element(text: &mut String, seen: &Seen<'_>) -> (Range<usize>, Range<usize>) {
    let is_v6 = seen.client.is_some_and(|client| client.to_canonical().is_ipv6());
    text.push_str(if is_v6 { "for=\"[" } else { "for=" });
    let client = put(text, |text| put_client(text, seen.client));
    text.push_str(if is_v6 { "]\";proto=" } else { ";proto=" });
    text.push_str(seen.scheme.as_str());
    text.push_str(";host=");
    // What an authority may hold needs no escapes.
    let quote = if hop::is_token(seen.host) { "" } else { "\"" };
    text.push_str(quote);
    let host = put(text, |text| text.push_str(seen.host));
    text.push_str(quote);
    (client, host)
}

/// Where in the text something was put.
fn put(text: &mut String, it: impl FnOnce(&mut String)) -> Range<usize> {
    let start = text.len();
    it(text);
    start..text.len()
}

/// Adds a member to a comma-separated field, joining all its lines.
fn append(headers: &mut HeaderMap, name: HeaderName, member: Bytes) {
    match headers.entry(name) {
        Entry::Vacant(vacant) => {
            if let Ok(value) = HeaderValue::from_maybe_shared(member) {
                vacant.insert(value);
            }
        }
        Entry::Occupied(mut lines) => {
            let mut text: Vec<u8> = Vec::new();
            for line in lines.iter() {
                text.extend_from_slice(line.as_bytes());
                text.extend_from_slice(b", ");
            }
            text.extend_from_slice(&member);
            if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(text)) {
                lines.insert(value);
            }
        }
    }
}

/// Reads lines of `name: value` as fields of a client, and tells an application about it, for fuzzing.
///
/// Shape: the first line is the authority asked for. Of a client that is not trusted nothing of this family comes through;
/// what we say reads back as what was seen.
pub fn fuzz_forwarded(input: &[u8]) {
    let line = input.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Ok(authority) = std::str::from_utf8(line).map(crate::Authority::parse) else {
        return;
    };
    let Ok(authority) = authority else { return };
    let came = crate::hop::fields_of(input.get(line.len()..).unwrap_or_default());
    let host = authority.to_string();
    let mut without = came.clone();
    hop::strip_with(&mut without, |name| is_of_family(name.as_str()));
    for client in [None, Some(IpAddr::from([192, 0, 2, 1])), Some(IpAddr::from([0; 16]))] {
        let seen = |is_trusted| Seen {
            client,
            scheme: Scheme::Https,
            host: &host,
            is_trusted,
        };
        let (mut strange, mut alone, mut trusted) = (came.clone(), without.clone(), came.clone());
        set(&mut strange, &seen(false), |_| false);
        set(&mut alone, &seen(false), |_| false);
        assert_eq!(strange, alone, "a stranger's claims come through");
        assert_eq!(strange[X_FORWARDED_HOST], host);
        let said = strange[FORWARDED].to_str().unwrap_or_default();
        let quoted = said.split_once(";host=").map_or("", |(_, host)| host);
        assert_eq!(quoted.trim_matches('"'), host, "an authority needs no escapes");
        set(&mut trusted, &seen(true), |_| false);
        for name in [FORWARDED, X_FORWARDED_FOR] {
            assert_eq!(trusted.get_all(&name).iter().count(), 1, "lines are joined");
            assert!(trusted[&name].as_bytes().ends_with(strange[&name].as_bytes()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        client: Option<&str>,
        host: &str,
        is_trusted: bool,
        came: &[(&'static str, &'static str)],
        expected: [&str; 5],
    ) {
        let client = client.map(|text| text.parse().expect("address"));
        let mut headers = HeaderMap::new();
        for (name, value) in came {
            headers.append(*name, HeaderValue::from_static(value));
        }
        set(
            &mut headers,
            &Seen {
                client,
                scheme: Scheme::Https,
                host,
                is_trusted,
            },
            |name| name == "proxy",
        );
        assert!(!headers.contains_key("proxy") && !headers.contains_key("keep-alive"));
        let names = [
            FORWARDED,
            X_FORWARDED_FOR,
            X_FORWARDED_PROTO,
            X_FORWARDED_HOST,
            X_FORWARDED_PORT,
        ];
        for (name, expected) in names.into_iter().zip(expected) {
            assert_eq!(headers[&name], expected, "{name}");
        }
        assert!(is_trusted || !headers.contains_key("x-real-ip"));
        assert!(is_trusted || !headers.contains_key("x-forwarded-prefix"));
    }

    #[test]
    fn what_was_seen_is_told() {
        let came = &[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-real-ip", "1.1.1.1"),
            ("keep-alive", "timeout=5"),
            ("proxy", "1.1.1.1"),
            ("x-forwarded-prefix", "/elsewhere"),
            ("forwarded", "for=1.1.1.1"),
        ];
        let expected = [
            "for=192.0.2.1;proto=https;host=a.example",
            "192.0.2.1",
            "https",
            "a.example",
            "443",
        ];
        check(Some("192.0.2.1"), "a.example", false, came, expected);
        check(Some("::ffff:192.0.2.1"), "a.example", false, &[], expected);
        let expected = [
            "for=\"[2001:db8::1]\";proto=https;host=\"a:81\"",
            "2001:db8::1",
            "https",
            "a:81",
            "81",
        ];
        check(Some("2001:db8::1"), "a:81", false, &[], expected);
        check(
            None,
            "[::1]",
            false,
            &[],
            [
                "for=unknown;proto=https;host=\"[::1]\"",
                "unknown",
                "https",
                "[::1]",
                "443",
            ],
        );
        let expected = [
            "for=1.1.1.1, for=192.0.2.1;proto=https;host=b",
            "1.1.1.1, 192.0.2.1",
            "https",
            "b",
            "443",
        ];
        check(Some("192.0.2.1"), "b", true, came, expected);
    }
}
