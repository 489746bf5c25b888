//! Configured redirects of one site: a path, or everything below a path, to another place.
//!
//! Compared with the path as sent, before any decoding; the first match wins. The redirect of a folder without its
//! slash is not made here but in [`crate::files`].

use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use sc_http::{Answer, Body, Exchange, Head};

use crate::RedirectSpec;

/// A redirect that cannot be made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RedirectError {
    /// The old path does not begin with a slash, or has a star elsewhere than at its end.
    #[error("redirect from `{0}`: not a path, or a path and `/*`")]
    From(String),
    /// The new place is neither a path nor an http(s) URL, or holds characters that a URL cannot.
    #[error("redirect to `{0}`: not a path or http(s) URL")]
    To(String),
    /// The status is not a redirect's.
    #[error("redirect with status {0}: only 301, 302, 303, 307 and 308")]
    Status(u16),
}

/// One redirect, ready to be compared.
#[derive(Debug)]
pub(crate) struct Redirect {
    from: Box<str>,
    is_prefix: bool,
    to: Box<str>,
    keeps_rest: bool,
    status: StatusCode,
}

impl Redirect {
    /// Checks one redirect.
    pub(crate) fn compile(spec: &RedirectSpec) -> Result<Self, RedirectError> {
        let (from, is_prefix) = match spec.from.strip_suffix("/*") {
            Some(from) => (from, true),
            None => (spec.from.as_str(), false),
        };
        if !(from.starts_with('/') || is_prefix && from.is_empty()) || from.contains('*') {
            return Err(RedirectError::From(spec.from.clone()));
        }
        let (to, keeps_rest) = match spec.to.strip_suffix('*') {
            Some(to) if is_prefix => (to, true),
            _ => (spec.to.as_str(), false),
        };
        let is_place = to.starts_with('/') || to.starts_with("https://") || to.starts_with("http://");
        if !is_place || !to.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(RedirectError::To(spec.to.clone()));
        }
        let status = match spec.status {
            301 | 302 | 303 | 307 | 308 => {
                StatusCode::from_u16(spec.status).map_err(|_| RedirectError::Status(spec.status))?
            }
            other => return Err(RedirectError::Status(other)),
        };
        Ok(Redirect {
            from: from.into(),
            is_prefix,
            to: to.into(),
            keeps_rest,
            status,
        })
    }

    /// The redirect for a request, when it is meant.
    pub(crate) fn apply(&self, exchange: &Exchange) -> Option<Answer> {
        let rest = exchange.path().strip_prefix(&*self.from)?;
        if !(rest.is_empty() || self.is_prefix && rest.starts_with('/')) {
            return None;
        }
        let mut place = self.to.to_string();
        if self.keeps_rest {
            let rest = rest.strip_prefix('/').filter(|_| place.ends_with('/')).unwrap_or(rest);
            place.push_str(rest);
        }
        if let Some(query) = exchange.query().filter(|_| !place.contains('?')) {
            let at = place.find('#').unwrap_or(place.len());
            place.insert_str(at, &format!("?{query}"));
        }
        to(self.status, &place)
    }
}

/// An answer that sends the client to another place; none when the place cannot stand in a header field.
pub(crate) fn to(status: StatusCode, place: &str) -> Option<Answer> {
    let mut head = Head::new(status);
    head.headers.insert(LOCATION, HeaderValue::from_str(place).ok()?);
    Some(Answer::new(head, Body::empty()))
}
