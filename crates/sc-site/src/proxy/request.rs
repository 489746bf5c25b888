//! The request as the application gets it: what we saw of the client is told, what it claims about itself is not.
//!
//! `Host`, path and body go along as they came; hop-by-hop fields end here. Each request carries this instance's marker,
//! so that it is known when it comes back.

use http::{HeaderMap, HeaderName, HeaderValue};
use sc_http::client::Outgoing;
use sc_http::forwarded::{self, Seen};
use sc_http::{Exchange, Fault, Kind, Side};

use crate::Around;

/// Carries the markers of all instances that a request has passed. Not `Via`: some applications (nginx among them) stop
/// compressing for requests that have it.
pub(crate) const LOOP: HeaderName = HeaderName::from_static("shimmercat-loop");

/// Fields that CGI-like applications would mistake for something of ours ("httpoxy", CVE-2016-5385).
const PROXY: HeaderName = HeaderName::from_static("proxy");

/// Refuses a request that has passed this instance before.
///
/// Errors: [`Kind::Loop`].
pub(crate) fn check_loop(headers: &HeaderMap, marker: &HeaderValue) -> Result<(), Fault> {
    if headers.get_all(LOOP).iter().any(|met| met == marker) {
        let detail = "the request has been here before: it carries our own marker";
        return Err(Fault::new(Side::Upstream, Kind::Loop, detail));
    }
    Ok(())
}

/// Makes the request to the application; takes the body out of the exchange.
pub(crate) fn outgoing(exchange: &mut Exchange, around: &Around, marker: &HeaderValue) -> Outgoing {
    let authority = exchange.authority.text();
    let mut headers = std::mem::take(&mut exchange.headers);
    let seen = Seen {
        client: around.client.ip(),
        scheme: exchange.scheme,
        host: &authority,
        is_trusted: false,
    };
    forwarded::set(&mut headers, &seen, |name| *name == PROXY || is_look_alike(name));
    headers.append(LOOP, marker.clone());
    Outgoing {
        method: exchange.method.clone(),
        target: exchange.target.clone(),
        authority,
        scheme: exchange.scheme,
        headers,
        // Nobody speaks it any more, and the request is as good without (RFC 9113 §3.1).
        upgrade: exchange
            .upgrade
            .clone()
            .filter(|protocol| !protocol.eq_ignore_ascii_case("h2c")),
        body: std::mem::take(&mut exchange.body),
    }
}

/// Whether a field becomes the same variable as one of ours in CGI, WSGI and the like, where `-` and `_` are one.
fn is_look_alike(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.contains('_') && {
        let name = name.replace('_', "-");
        name.starts_with("x-forwarded") || name == "x-real-ip" || name == LOOP.as_str()
    }
}
