//! The authority of a request: `host[:port]`, checked once and kept in one canonical form.

use std::fmt;

/// A port is at most five digits and its colon.
pub(crate) const PORT_BYTES: usize = 6;

/// Host and port of a request (RFC 9110 §7.2, RFC 3986 §3.2).
///
/// Shape: the host is lower-case, without a trailing dot, without userinfo; an IPv6 address keeps its brackets. It is empty
/// only in a request of HTTP/1.0 without `Host`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Authority {
    host: Box<str>,
    port: Option<u16>,
}

/// The text is not an authority.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a valid host and port")]
pub struct NotAnAuthority;

impl Authority {
    /// Reads `host[:port]`.
    ///
    /// Errors: [`NotAnAuthority`] for userinfo, an empty host, two dots at its end, characters outside RFC 3986 reg-name, or a bad port.
    pub fn parse(text: &str) -> Result<Self, NotAnAuthority> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (inner, after) = rest.split_once(']').ok_or(NotAnAuthority)?;
                inner.parse::<std::net::Ipv6Addr>().map_err(|_| NotAnAuthority)?;
                let host = text.get(..inner.len() + 2).ok_or(NotAnAuthority)?;
                match after.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if after.is_empty() => (host, None),
                    None => return Err(NotAnAuthority),
                }
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port = match port {
            None | Some("") => None,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(digits.parse().map_err(|_| NotAnAuthority)?)
            }
            Some(_) => return Err(NotAnAuthority),
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        if host.is_empty()
            || host.ends_with('.')
            || host.len() > 255
            || !(host.starts_with('[') || host.bytes().all(is_name))
        {
            return Err(NotAnAuthority);
        }
        Ok(Authority {
            host: host.to_ascii_lowercase().into(),
            port,
        })
    }

    /// The authority of a request that names none, as HTTP/1.0 allows: an empty host.
    pub fn nameless() -> Self {
        Authority {
            host: "".into(),
            port: None,
        }
    }

    /// Whether the request named no host.
    pub fn is_nameless(&self) -> bool {
        self.host.is_empty()
    }

    /// The host, lower-case.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, when it was given.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Writes it behind a text.
    pub(crate) fn put(&self, text: &mut String) {
        text.push_str(&self.host);
        if let Some(port) = self.port {
            text.push(':');
            text.push_str(itoa::Buffer::new().format(port));
        }
    }

    /// The same as its `Display`, for those who need it with every request.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(self.host.len() + PORT_BYTES);
        self.put(&mut text);
        text
    }
}

/// Reads any bytes as an authority, for fuzzing.
///
/// Shape: what was understood is canonical, reads back as itself, and holds nothing that could end a line or begin a path.
pub fn fuzz_authority(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(authority) = Authority::parse(text) else { return };
    let shown = authority.to_string();
    assert_eq!(Authority::parse(&shown).as_ref(), Ok(&authority), "{shown}");
    assert!(!authority.is_nameless() && authority.host().len() <= 255);
    assert!(!authority.host().bytes().any(|b| b.is_ascii_uppercase()));
    assert!(
        shown
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"/?#@\\,\"<>".contains(&b)),
        "{shown}"
    );
    assert_eq!(
        Authority::parse(&text.to_ascii_uppercase()),
        Ok(authority),
        "names have no case"
    );
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}
