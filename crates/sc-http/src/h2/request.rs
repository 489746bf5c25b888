//! What an HTTP/2 request means, beyond what the `h2` crate has checked (RFC 9113 §8.2, §8.3; RFC 8441).

use bytes::BytesMut;
use h2::ext::Protocol;
use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::{HeaderMap, HeaderValue, Method};

use super::field_bytes;
use crate::{Authority, Fault, Form, Kind, Limit, Limits, Scheme, Side, hop};

/// A request head, understood.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) form: Form,
    pub(super) target: Box<str>,
    pub(super) scheme: Scheme,
    pub(super) authority: Authority,
    pub(super) headers: HeaderMap,
    pub(super) upgrade: Option<Box<str>>,
    pub(super) expects_continue: bool,
}

/// Reads a request head.
pub(super) fn understand(parts: http::request::Parts, limits: &Limits) -> Result<Request, Fault> {
    let http::request::Parts {
        method,
        uri,
        mut headers,
        extensions,
        ..
    } = parts;
    if headers.len() > limits.header_fields || field_bytes(&headers) > limits.header_bytes {
        return Err(refused(Kind::HeadersTooLarge, "the header fields are too large or too many").at(Limit::Headers));
    }
    // RFC 9113 §8.2.1
    if headers
        .values()
        .any(|value| hop::trim_bytes(value.as_bytes()).len() < value.len())
    {
        return Err(bad("a field value begins or ends with a space"));
    }
    if !headers.keys().all(hop::is_portable) {
        return Err(bad("a field name is not a token"));
    }
    let protocol = extensions.get::<Protocol>();
    if method == Method::CONNECT && protocol.is_none() {
        return Err(refused(Kind::NotImplemented, "CONNECT is not offered over HTTP/2"));
    }
    let scheme = match uri.scheme_str() {
        Some("http") => Scheme::Http,
        // The h2 crate gives no scheme where there is no :authority.
        Some("https") | None => Scheme::Https,
        Some(_) => return Err(bad(":scheme is neither http nor https")),
    };
    let target: Box<str> = uri.path_and_query().map_or("", |path| path.as_str()).into();
    if target.len() > limits.target_bytes {
        return Err(refused(Kind::TargetTooLong, ":path is too long").at(Limit::TargetBytes));
    }
    let form = match &*target {
        "*" if method == Method::OPTIONS => Form::Asterisk,
        path if path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic()) => Form::Origin,
        _ => return Err(bad(":path is malformed")),
    };
    let authority = authority(&headers, uri.authority().map(|authority| authority.as_str()), scheme)?;
    headers.remove(HOST);
    check_length(&headers)?;
    let expects_continue = crate::h1::expectation(&headers)
        .map_err(|_| refused(Kind::ExpectationFailed, "the expectation is not supported"))?;
    join_cookies(&mut headers);
    if protocol.is_some_and(|protocol| !hop::is_protocol(protocol.as_str())) {
        return Err(bad(":protocol names no protocol"));
    }
    let upgrade = protocol.map(|protocol| protocol.as_str().to_ascii_lowercase().into());
    Ok(Request {
        method,
        form,
        target,
        scheme,
        authority,
        headers,
        upgrade,
        expects_continue,
    })
}

/// Finds the one authority in `:authority` and `Host` (RFC 9113 §8.3.1).
fn authority(headers: &HeaderMap, pseudo: Option<&str>, scheme: Scheme) -> Result<Authority, Fault> {
    let parse = |text: &str| Authority::parse(text).map_err(|_| bad("the authority is malformed"));
    let mut lines = headers.get_all(HOST).into_iter();
    let host = match (lines.next(), lines.next()) {
        (None, _) => None,
        (Some(line), None) => Some(parse(line.to_str().map_err(|_| bad("Host is malformed"))?)?),
        (Some(_), Some(_)) => return Err(bad("more than one Host")),
    };
    match (pseudo.map(parse).transpose()?, host) {
        (Some(authority), Some(host)) if !crate::h1::same(&authority, &host, scheme) => {
            Err(bad("Host differs from :authority"))
        }
        (Some(authority), _) | (None, Some(authority)) => Ok(authority),
        (None, None) => Err(bad("neither :authority nor Host")),
    }
}

fn check_length(headers: &HeaderMap) -> Result<(), Fault> {
    let mut lines = headers.get_all(CONTENT_LENGTH).into_iter();
    let Some(line) = lines.next() else { return Ok(()) };
    let is_number = !line.is_empty() && line.as_bytes().iter().all(u8::is_ascii_digit);
    if !is_number || lines.next().is_some() {
        return Err(bad("Content-Length is malformed"));
    }
    Ok(())
}

/// Joins cookie crumbs (RFC 9113 §8.2.3). Empty ones are left out: no value may end in a space.
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs = headers.get_all(COOKIE);
    if crumbs.iter().nth(1).is_none() {
        return;
    }
    let mut whole = BytesMut::new();
    for crumb in crumbs.iter().filter(|crumb| !crumb.is_empty()) {
        if !whole.is_empty() {
            whole.extend_from_slice(b"; ");
        }
        whole.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(whole) = HeaderValue::from_maybe_shared(whole.freeze()) {
        headers.insert(COOKIE, whole);
    }
}

fn bad(detail: &str) -> Fault {
    refused(Kind::BadRequest, detail)
}

fn refused(kind: Kind, detail: &str) -> Fault {
    Fault::new(Side::Downstream, kind, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crumbs_become_one_cookie() {
        for (crumbs, expected) in [
            (&["a=b"][..], "a=b"),
            (&["a=b", "c=d", "e"], "a=b; c=d; e"),
            (&["a=b", ""], "a=b"),
            (&["", "a=b", "", "c"], "a=b; c"),
            (&["", ""], ""),
        ] {
            let mut headers = HeaderMap::new();
            for crumb in crumbs {
                headers.append(COOKIE, HeaderValue::from_static(crumb));
            }
            join_cookies(&mut headers);
            let cookies: Vec<_> = headers.get_all(COOKIE).iter().collect();
            assert_eq!(cookies, [expected], "{crumbs:?}");
        }
    }
}
