//! The pages for everything that can go wrong, in words: for developers all that is known, for strangers the status alone.
//!
//! Each function decides both: what a [`Disclosure::Developer`] reads, and that [`Disclosure::Public`] gets the bare
//! page. How a page looks is not decided here but in [`super`].

use http::{Method, StatusCode, header};
use sc_http::{Answer, Exchange, Fault, Kind};

use super::{Form, Page};
use crate::{Disclosure, NamePattern, redirects};

/// How many seconds until a client may come back to an application that does not answer.
const COME_BACK: u32 = 2;

/// The page of a status that tells nothing else.
pub fn plain(status: StatusCode) -> Page {
    Page::new(status, status.canonical_reason().unwrap_or("Error"))
}

/// Sends a request that came over plain HTTP to the same place under HTTPS, at the default port.
///
/// Shape: 302 for `GET` and `HEAD`, 307 for others; temporary, because browsers keep permanent redirects for months.
pub fn redirect_to_https(exchange: &Exchange) -> Answer {
    let status = if is_get_or_head(exchange) {
        StatusCode::FOUND
    } else {
        StatusCode::TEMPORARY_REDIRECT
    };
    to_https(exchange, exchange.authority.host(), status, 443)
}

/// Sends a request that came over plain HTTP to the same path of a host under HTTPS, at this port, and for good.
///
/// Shape: 301 for `GET` and `HEAD`, 308 for others, which keeps their method (RFC 9110 §15.4.9).
pub fn redirect_to_https_for_good(exchange: &Exchange, host: &str, port: u16) -> Answer {
    let status = if is_get_or_head(exchange) {
        StatusCode::MOVED_PERMANENTLY
    } else {
        StatusCode::PERMANENT_REDIRECT
    };
    to_https(exchange, host, status, port)
}

fn is_get_or_head(exchange: &Exchange) -> bool {
    matches!(exchange.method, Method::GET | Method::HEAD)
}

fn to_https(exchange: &Exchange, host: &str, status: StatusCode, port: u16) -> Answer {
    let path = if exchange.target.starts_with('/') {
        &*exchange.target
    } else {
        "/"
    };
    let place = match port {
        443 => format!("https://{host}{path}"),
        port => format!("https://{host}:{port}{path}"),
    };
    redirects::to(status, &place).unwrap_or_else(|| plain(StatusCode::BAD_REQUEST).answer(Form::Text))
}

/// 421 for a name that is not configured (RFC 9110 §15.5.20), with the names that are.
pub(crate) fn unknown_name(
    exchange: &Exchange,
    names: &[&NamePattern],
    nearest: &[&NamePattern],
    to: Disclosure,
) -> Answer {
    let form = Form::wanted(&exchange.headers);
    if to == Disclosure::Public {
        return plain(StatusCode::MISDIRECTED_REQUEST).answer(form);
    }
    let (host, port) = (exchange.authority.host(), exchange.authority.port());
    let mut page = Page::new(StatusCode::MISDIRECTED_REQUEST, format!("No site is called {host}"))
        .kind("unknown-name")
        .paragraph(format!(
            "The configuration has no domain `{host}`, and no wildcard covers it."
        ));
    if !nearest.is_empty() {
        page = page
            .heading("Did you mean")
            .links(nearest.iter().map(|name| link(name, port)).collect());
    }
    let others: Vec<_> = names.iter().filter(|name| !nearest.contains(name)).collect();
    page = match (names.is_empty(), others.is_empty()) {
        (true, _) => page.paragraph("No domain is configured yet."),
        (false, true) => page,
        (false, false) if nearest.is_empty() => list_names(page.heading("Configured names"), &others, port),
        (false, false) => list_names(page.heading("Other configured names"), &others, port),
    };
    if NamePattern::parse(host).is_ok() && host.parse::<std::net::Ipv4Addr>().is_err() && !host.starts_with('[') {
        let lines = format!("shimmercat-devlove:\n  domains:\n    {host}:\n      root-dir: site");
        page = page.heading("To add it").code(lines);
    }
    page.foot("Written by shimmercat: this name did not reach any application.")
        .answer(form)
}

/// How many configured names a page lists.
const NAMES: usize = 40;

fn list_names(page: Page, names: &[&&NamePattern], port: Option<u16>) -> Page {
    let listed = page.links(names.iter().take(NAMES).map(|name| link(name, port)).collect());
    match names.len().checked_sub(NAMES).filter(|more| *more > 0) {
        Some(more) => listed.paragraph(format!("And {more} more.")),
        None => listed,
    }
}

/// Address and words for a name, at the port that was asked for; of a wildcard, some name below it.
fn link(name: &NamePattern, port: Option<u16>) -> (String, String) {
    let host = if name.is_wildcard() {
        format!("www.{}", name.stem())
    } else {
        name.stem().to_owned()
    };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    (format!("https://{host}{port}/"), name.to_string())
}

/// 404 for a path that nothing answers for, with what was looked for.
pub(crate) fn not_found(exchange: &Exchange, tried: &[String], to: Disclosure) -> Answer {
    let form = Form::wanted(&exchange.headers);
    if to == Disclosure::Public {
        return plain(StatusCode::NOT_FOUND).answer(form);
    }
    let page = Page::new(StatusCode::NOT_FOUND, "Nothing is here")
        .kind("not-found")
        .paragraph(format!(
            "`{}` answers for this name, but has nothing at `{}`.",
            exchange.authority.host(),
            exchange.path()
        ));
    let page = if tried.is_empty() {
        page.paragraph("The domain has neither a `root-dir` nor an application.")
    } else {
        page.heading("What was looked for").list(tried.to_vec())
    };
    page.foot("Written by shimmercat: no application was asked.")
        .answer(form)
}

/// 403 for a file that is there and may not be shown.
pub(crate) fn forbidden(exchange: &Exchange, why: &str, to: Disclosure) -> Answer {
    let form = Form::wanted(&exchange.headers);
    if to == Disclosure::Public {
        return plain(StatusCode::FORBIDDEN).answer(form);
    }
    Page::new(StatusCode::FORBIDDEN, "This file cannot be shown")
        .kind("forbidden")
        .paragraph(format!("`{}`: {why}.", exchange.path()))
        .foot("Written by shimmercat: no application was asked.")
        .answer(form)
}

/// 405 with the methods that are allowed (RFC 9110 §15.5.6).
pub(crate) fn method_not_allowed(exchange: &Exchange, allow: &'static str, to: Disclosure) -> Answer {
    let form = Form::wanted(&exchange.headers);
    let mut answer = if to == Disclosure::Public {
        plain(StatusCode::METHOD_NOT_ALLOWED).answer(form)
    } else {
        Page::new(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("{} is not possible here", exchange.method),
        )
        .kind("method")
        .paragraph(format!(
            "`{}` is a file; files answer to {allow}, and no application is configured.",
            exchange.path()
        ))
        .answer(form)
    };
    answer
        .head
        .headers
        .insert(header::ALLOW, http::HeaderValue::from_static(allow));
    answer
}

/// What a page about the application needs to know.
pub(crate) struct Attempted<'a> {
    /// The method of the request; only `GET` may be repeated by a page.
    pub(crate) method: &'a Method,
    /// The URL that was asked for.
    pub(crate) url: &'a str,
    /// What was tried, in words.
    pub(crate) tried: &'a [String],
}

/// The page for a fault: 502, 503, 504 with what was tried, 508 for a loop, others plainly.
pub(crate) fn fault(fault: &Fault, attempted: &Attempted<'_>, form: Form, to: Disclosure) -> Answer {
    let status = fault.kind().treatment().status;
    let is_passing = matches!(status.as_u16(), 502..=504);
    if to == Disclosure::Public {
        let page = plain(status);
        // Only where it is known that the application works, and will be free again (RFC 9110 §15.6.4).
        return if status == StatusCode::SERVICE_UNAVAILABLE {
            page.retry_after(COME_BACK).answer(form)
        } else {
            page.answer(form)
        };
    }
    match fault.kind() {
        Kind::Loop => looped(attempted).answer(form),
        _ if is_passing => upstream(fault, status, attempted).answer(form),
        _ => other(fault, status, attempted).answer(form),
    }
}

fn upstream(fault: &Fault, status: StatusCode, attempted: &Attempted<'_>) -> Page {
    let is_closed_to_us = is_permission_denied(fault);
    let title = match fault.kind() {
        Kind::UpstreamConnect if is_closed_to_us => "The application's socket may not be opened",
        Kind::UpstreamConnect => "The application is not running",
        Kind::UpstreamTls => "The application's certificate was not accepted",
        Kind::UpstreamTimeout => "The application takes too long",
        Kind::UpstreamBusy => "The application is busy",
        Kind::UpstreamProtocol => "The application's answer makes no sense",
        _ => "The application gave up",
    };
    let advice = match fault.kind() {
        Kind::UpstreamConnect if is_closed_to_us => {
            "It is there, but the user that this server runs as may not open it. For php-fpm, set `listen.group` and \
             `listen.mode = 0660` in its pool, and have the server's user in that group; folders above the socket \
             must be open to it too."
        }
        Kind::UpstreamConnect => "Start the application, or correct its address in the configuration.",
        Kind::UpstreamTls => "Check which certificate it shows, and which ones the configuration trusts.",
        Kind::UpstreamTimeout => "It may be stopped in a debugger, or wait for something else that does not answer.",
        Kind::UpstreamBusy => "All connections to it are in use; requests are finished more slowly than they come.",
        Kind::UpstreamProtocol => "Check that `application-protocol` says what it really speaks.",
        _ => "Its own log may tell why: it closed the connection before the answer was whole.",
    };
    let mut page = Page::new(status, title)
        .kind("application-down")
        .paragraph(format!(
            "`{}` is answered by an application, and there is no answer.",
            attempted.url
        ))
        .heading("What happened")
        .code(fault.chain())
        .paragraph(advice);
    if attempted.tried.len() > 1 {
        page = page.heading("What was tried").list(attempted.tried.to_vec());
    }
    page = page
        .retry_after(COME_BACK)
        .foot("Written by shimmercat, not by the application.");
    if attempted.method == Method::GET {
        page.retries()
    } else {
        page
    }
}

/// Whether the system refused because of permissions.
fn is_permission_denied(fault: &Fault) -> bool {
    let mut cause = std::error::Error::source(fault);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn looped(attempted: &Attempted<'_>) -> Page {
    let mut page = Page::new(StatusCode::LOOP_DETECTED, "This request goes round in a circle")
        .kind("loop")
        .paragraph(format!(
            "`{}` was passed to an application, and came back here.",
            attempted.url
        ))
        .paragraph(
            "The application's address leads to this very server, directly or through another proxy. Most often the \
             application asks for its own public name, or `connect-to` names one of our own ports.",
        );
    if !attempted.tried.is_empty() {
        page = page.heading("What was tried").list(attempted.tried.to_vec());
    }
    page.foot("Written by shimmercat, not by the application.")
}

fn other(fault: &Fault, status: StatusCode, attempted: &Attempted<'_>) -> Page {
    Page::new(status, status.canonical_reason().unwrap_or("Fault"))
        .kind("fault")
        .paragraph(format!("`{}` could not be answered.", attempted.url))
        .heading("What happened")
        .code(fault.chain())
        .foot("Written by shimmercat.")
}
