//! What a request head means: whom it is for, how its body is framed, whether the connection lives on (RFC 9112 §3, §6, §9).

use bytes::Bytes;
use http::header::{EXPECT, HOST, UPGRADE};
use http::{HeaderMap, Method};

use super::framing::{self, Declared};
use super::head::{self, HeadError, RequestHead};
use super::receive::Receiver;
use crate::{Authority, Form, Scheme, hop};

/// A request head, understood.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) form: Form,
    pub(crate) target: Box<str>,
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
    pub(crate) headers: HeaderMap,
    pub(crate) is_11: bool,
    pub(crate) keeps_alive: bool,
    pub(crate) expects_continue: bool,
    pub(crate) takes_trailers: bool,
    pub(crate) upgrade: Option<Box<str>>,
    pub(crate) body: Receiver,
}

/// Reads a tokenised head; `scheme` is what the listener speaks.
pub(crate) fn understand(head: RequestHead, scheme: Scheme, target_bytes: usize) -> Result<Request, HeadError> {
    let RequestHead {
        method,
        target,
        is_11,
        mut headers,
    } = head;
    if target.len() > target_bytes {
        return Err(HeadError::TargetTooLong);
    }
    let body = match framing::declared(&headers, is_11)? {
        Declared::Nothing => Receiver::Done,
        Declared::Length(bytes) => Receiver::length(bytes),
        Declared::Chunked => Receiver::chunked(),
    };
    if method == Method::CONNECT && !body.is_done() {
        return Err(HeadError::Malformed("CONNECT with a body"));
    }
    let expects_continue = expectation(&headers)? && is_11 && !body.is_done();
    let host = host(&headers)?;
    if host.is_none() && is_11 {
        return Err(HeadError::Malformed("no Host"));
    }
    let Target {
        form,
        target,
        authority,
        scheme,
    } = place(&method, &target, host.as_ref(), scheme)?;
    headers.remove(HOST);
    let keeps_alive = !hop::connection_has(&headers, "close") && (is_11 || hop::connection_has(&headers, "keep-alive"));
    let upgrade = if is_11 && body.is_done() {
        upgrade(&headers)
    } else {
        None
    };
    let takes_trailers = is_11 && hop::accepts_trailers(&headers);
    Ok(Request {
        method,
        form,
        target,
        scheme,
        authority,
        headers,
        is_11,
        keeps_alive,
        expects_continue,
        takes_trailers,
        upgrade,
        body,
    })
}

struct Target {
    form: Form,
    target: Box<str>,
    authority: Authority,
    scheme: Scheme,
}

/// Finds path and authority in one of the four forms of RFC 9112 §3.2.
///
/// Shape: `host` counts in origin-form only. What a target names itself wins over it (RFC 9112 §3.2.2); clients of proxies
/// send the proxy's own name in `Host` of `CONNECT`.
fn place(method: &Method, target: &Bytes, host: Option<&Authority>, scheme: Scheme) -> Result<Target, HeadError> {
    let text = std::str::from_utf8(target).map_err(|_| HeadError::Malformed("the request target is malformed"))?;
    if *method == Method::CONNECT {
        let authority = authority(text)?;
        if authority.port().is_none() {
            return Err(HeadError::Malformed("CONNECT without a port"));
        }
        return Ok(Target {
            form: Form::Authority,
            target: "".into(),
            authority,
            scheme,
        });
    }
    if text.contains('#') {
        return Err(HeadError::Malformed("a fragment in the request target"));
    }
    if text.starts_with('/') || (text == "*" && *method == Method::OPTIONS) {
        // HTTP/1.1 without Host was refused before.
        let authority = host.cloned().unwrap_or_else(Authority::nameless);
        let form = if text == "*" { Form::Asterisk } else { Form::Origin };
        return Ok(Target {
            form,
            target: text.into(),
            authority,
            scheme,
        });
    }
    let (said, rest) = text
        .split_once("://")
        .ok_or(HeadError::Malformed("the request target is in no known form"))?;
    let said = match said {
        _ if said.eq_ignore_ascii_case("http") => Scheme::Http,
        _ if said.eq_ignore_ascii_case("https") => Scheme::Https,
        _ => return Err(HeadError::Malformed("an unknown scheme in the request target")),
    };
    let (place, path) = rest
        .split_at_checked(rest.find(['/', '?']).unwrap_or(rest.len()))
        .unwrap_or_default();
    let authority = authority(place)?;
    let target = match path {
        "" if *method == Method::OPTIONS => "*".into(),
        "" => "/".into(),
        path if path.starts_with('?') => format!("/{path}").into(),
        path => path.into(),
    };
    let scheme = if scheme == Scheme::Https { scheme } else { said };
    Ok(Target {
        form: Form::Absolute,
        target,
        authority,
        scheme,
    })
}

/// Finds, tokenises and reads a request head in any bytes, for fuzzing.
pub(crate) fn fuzz(input: &[u8]) {
    let Some(bytes) = head::fuzz_section(input, head::Section::Request) else {
        return;
    };
    let parse = || head::parse_request(&bytes, &head::FUZZ_BOUNDS);
    for scheme in [Scheme::Http, Scheme::Https] {
        let Ok(head) = parse() else { return };
        let (count, line) = (head.headers.len(), head.target.clone());
        let Ok(request) = understand(head, scheme, 1 << 9) else {
            continue;
        };
        assert!(count <= head::FUZZ_BOUNDS.fields && line.len() <= 1 << 9);
        let is_clean = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        assert!(is_clean(&request.target) && is_clean(request.method.as_str()));
        assert!(is_clean(&request.authority.to_string()) && !request.headers.contains_key(HOST));
        assert!(
            request.upgrade.is_none() || request.body.is_done(),
            "an upgrade has no body"
        );
        match request.form {
            Form::Origin | Form::Absolute => assert!(request.target.starts_with('/') || &*request.target == "*"),
            Form::Asterisk => assert_eq!(&*request.target, "*"),
            Form::Authority => assert!(request.authority.port().is_some() && request.target.is_empty()),
        }
        assert!(request.is_11 || !request.takes_trailers && !request.expects_continue && request.upgrade.is_none());
        if request.headers.contains_key(http::header::TRANSFER_ENCODING) {
            assert!(request.is_11 && !request.headers.contains_key(http::header::CONTENT_LENGTH));
            assert_eq!(request.body.remaining(), None);
        }
    }
}

/// Whether two authorities are one, with the default port written or not.
pub(crate) fn same(one: &Authority, other: &Authority, scheme: Scheme) -> bool {
    let default = match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    };
    one.host() == other.host() && one.port().unwrap_or(default) == other.port().unwrap_or(default)
}

fn authority(text: &str) -> Result<Authority, HeadError> {
    Authority::parse(text).map_err(|_| HeadError::Malformed("the authority is malformed"))
}

fn host(headers: &HeaderMap) -> Result<Option<Authority>, HeadError> {
    let mut lines = headers.get_all(HOST).into_iter();
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(HeadError::Malformed("more than one Host"));
    }
    let text = line.to_str().map_err(|_| HeadError::Malformed("Host is malformed"))?;
    Authority::parse(text)
        .map(Some)
        .map_err(|_| HeadError::Malformed("Host is malformed"))
}

/// Whether `100-continue` is expected (RFC 9110 §10.1.1).
pub(crate) fn expectation(headers: &HeaderMap) -> Result<bool, HeadError> {
    let mut is_expected = false;
    for line in headers.get_all(EXPECT) {
        if !line.as_bytes().eq_ignore_ascii_case(b"100-continue") {
            return Err(HeadError::Expectation);
        }
        is_expected = true;
    }
    Ok(is_expected)
}

/// The first protocol that an upgrade is asked to (RFC 9110 §7.8).
fn upgrade(headers: &HeaderMap) -> Option<Box<str>> {
    if !hop::connection_has(headers, "upgrade") {
        return None;
    }
    // One that is no protocol is ignored, as every upgrade may be.
    let protocol = hop::list(headers, &UPGRADE)
        .next()
        .filter(|name| hop::is_protocol(name))?;
    Some(protocol.to_ascii_lowercase().into())
}
