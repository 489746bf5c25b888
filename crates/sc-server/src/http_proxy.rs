//! The HTTP dialect of the proxy port: `CONNECT`, absolute-form requests, and the port's own pages.
//!
//! A script in a page can only make origin-form requests, so those reach nothing but the pages, and only under one of the
//! port's own names and from loopback (DNS rebinding). `CONNECT` joins the same routes as SOCKS, in [`crate::connection`].

use std::cell::RefCell;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use base64::Engine;
use futures_util::FutureExt;
use http::{HeaderValue, StatusCode, header};
use sc_http::client::{H1, Incoming, Outgoing};
use sc_http::{Answer, Authority, Body, ClientLimits, Exchange, Form, Head, Payload, Scheme, Service, hop};
use sc_net::socks::Auth;
use sc_net::{Connection, Host, LocalAddr, Target};
use sc_site::Notes;

use crate::connection::{self, Opened};
use crate::contained::contained;
use crate::event::Event;
use crate::exchanges::{begin, to_https, under_way};
use crate::record::{Around, Entry};
use crate::server::Shared;

/// Serves one HTTP connection of the proxy port.
pub(crate) async fn serve(shared: &Rc<Shared>, serial: u64, conn: Connection) {
    let around = connection::around(serial, Entry::HttpProxy, &conn);
    let service = Rc::new(ProxyService {
        shared: shared.clone(),
        around,
        connected: RefCell::new(None),
    });
    let Connection {
        stream,
        read_ahead,
        client,
        local,
        permit,
    } = conn;
    let bounds = shared.bounds();
    let limits = &bounds.http;
    let served = sc_http::h1::serve(
        stream,
        read_ahead,
        Scheme::Http,
        service.clone(),
        limits,
        shared.drain(serial),
    )
    .await;
    match served {
        sc_http::h1::Served::Closed(fault) => connection::report(shared, serial, fault),
        sc_http::h1::Served::Handover { io, read_ahead } => {
            let connected = service.connected.borrow_mut().take();
            if let Some((target, opened)) = connected {
                let conn = Connection {
                    stream: io,
                    read_ahead,
                    client,
                    local,
                    permit,
                };
                connection::go_on(shared, serial, Entry::HttpProxy, conn, &target, opened).await;
            }
        }
    }
}

struct ProxyService {
    shared: Rc<Shared>,
    around: Rc<Around>,
    connected: RefCell<Option<(Target, Opened)>>,
}

impl Service for ProxyService {
    async fn answer(&self, exchange: Box<Exchange>) -> Answer {
        let notes = Rc::new(Notes::default());
        if exchange.form == Form::Authority {
            return contained(
                &self.shared,
                AssertUnwindSafe(self.connect(exchange)).catch_unwind().await,
            );
        }
        let begun = begin(&self.shared, &self.around, &exchange, &notes);
        let answering = AssertUnwindSafe(self.plain(exchange)).catch_unwind();
        under_way(begun, contained(&self.shared, answering.await))
    }
}

impl ProxyService {
    async fn connect(&self, exchange: Box<Exchange>) -> Answer {
        if let Some(answer) = self.ask_for_credentials(&exchange) {
            return answer;
        }
        let Some(target) = target_of(&exchange.authority, None) else {
            return text(
                StatusCode::BAD_REQUEST,
                "CONNECT needs a name and a port, e.g. www.example.com:443\n",
            );
        };
        match connection::open(&self.shared, self.around.connection, &target).await {
            Ok(opened) => {
                *self.connected.borrow_mut() = Some((target, opened));
                Answer {
                    head: Head::new(StatusCode::OK),
                    payload: Payload::Handover,
                    guard: None,
                }
            }
            Err(refusal) => text(
                refusal.status(),
                &format!("shimmercat: `{target}` was refused: {refusal}\n"),
            ),
        }
    }

    async fn plain(&self, exchange: Box<Exchange>) -> Answer {
        match exchange.form {
            Form::Absolute => match self.ask_for_credentials(&exchange) {
                Some(answer) => answer,
                None => self.absolute(exchange).await,
            },
            Form::Origin | Form::Asterisk | Form::Authority => self.own_page(exchange).await,
        }
    }

    /// A request to the port itself.
    async fn own_page(&self, exchange: Box<Exchange>) -> Answer {
        let is_loopback = self.around.client.ip().is_none_or(|ip| ip.is_loopback());
        if !is_loopback || !is_own_name(&exchange.authority, &self.around.local) {
            let words = "shimmercat: this is a proxy port; its own pages are only at its loopback address\n";
            return text(StatusCode::MISDIRECTED_REQUEST, words);
        }
        self.shared.network().page(exchange, &self.around).await
    }

    /// A request as it is sent to a proxy: `GET http://host/path`.
    async fn absolute(&self, exchange: Box<Exchange>) -> Answer {
        if exchange.scheme == Scheme::Https {
            return text(StatusCode::BAD_REQUEST, "shimmercat: use CONNECT for https\n");
        }
        let Some(target) = target_of(&exchange.authority, Some(80)) else {
            return text(StatusCode::BAD_REQUEST, "shimmercat: the request names no host\n");
        };
        match connection::open(&self.shared, self.around.connection, &target).await {
            Ok(Opened::Site | Opened::Redirect) => to_https(&self.shared, &exchange),
            Ok(Opened::Upstream(dialled)) => self.forward(exchange, dialled.stream).await,
            Err(refusal) => self.shared.network().refusal_page(&exchange, &refusal),
        }
    }

    /// Sends a plain-HTTP request on to another machine, over a connection of its own.
    async fn forward(&self, exchange: Box<Exchange>, stream: sc_net::Stream) -> Answer {
        let mut headers = exchange.headers;
        hop::strip(&mut headers);
        headers.remove(header::PROXY_AUTHORIZATION);
        let outgoing = Outgoing {
            method: exchange.method,
            target: exchange.target,
            authority: exchange.authority.to_string(),
            scheme: Scheme::Http,
            headers,
            upgrade: exchange.upgrade,
            body: exchange.body,
        };
        let limits = ClientLimits::default();
        match H1::new(stream)
            .send(Box::new(outgoing), &exchange.interim, &limits, Box::new(drop))
            .await
        {
            Ok(Incoming::Response { mut head, body }) => {
                hop::strip(&mut head.headers);
                Answer::new(head, body)
            }
            Ok(Incoming::Upgraded { head, io }) => Answer {
                head,
                payload: Payload::Tunnel(io),
                guard: None,
            },
            Err(error) => {
                let status = error.fault.kind().treatment().status;
                text(status, &format!("shimmercat: {}\n", error.fault.chain()))
            }
        }
    }

    fn ask_for_credentials(&self, exchange: &Exchange) -> Option<Answer> {
        let given = exchange.headers.get(header::PROXY_AUTHORIZATION);
        if is_authorised(&self.shared.policy.auth, given) {
            return None;
        }
        let client = self.around.client.to_string();
        let reason = if given.is_some() {
            "wrong user name or password"
        } else {
            "no credentials"
        };
        self.shared.unauthorised(Event::Unauthorised {
            connection: self.around.connection,
            client,
            reason: reason.to_owned(),
        });
        let mut answer = text(
            StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            "shimmercat: this proxy asks for credentials\n",
        );
        let realm = HeaderValue::from_static("Basic realm=\"shimmercat\", charset=\"UTF-8\"");
        answer.head.headers.insert(header::PROXY_AUTHENTICATE, realm);
        Some(answer)
    }
}

fn is_authorised(auth: &Auth, given: Option<&HeaderValue>) -> bool {
    if matches!(auth, Auth::None) {
        return true;
    }
    let decoded = given
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, text)| base64::engine::general_purpose::STANDARD.decode(text.trim()).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok());
    decoded
        .as_deref()
        .and_then(|pair| pair.split_once(':'))
        .is_some_and(|(user, password)| auth.admits(user.as_bytes(), password.as_bytes()))
}

/// Whether the authority is one of the names under which the port's own pages may be read: loopback, and this very port.
fn is_own_name(authority: &Authority, local: &LocalAddr) -> bool {
    let address = local
        .socket()
        .filter(|address| address.ip().is_loopback())
        .map(|address| match address.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        });
    let is_local = matches!(authority.host(), "127.0.0.1" | "[::1]" | "localhost")
        || address.is_some_and(|address| address == authority.host());
    is_local && authority.port().unwrap_or(80) == local.port().unwrap_or(80)
}

/// The network target that an authority names.
fn target_of(authority: &Authority, default_port: Option<u16>) -> Option<Target> {
    let port = authority.port().or(default_port)?;
    let bare = authority.host().trim_start_matches('[').trim_end_matches(']');
    let host = Host::parse(bare.as_bytes()).ok()?;
    Some(Target { host, port })
}

fn text(status: StatusCode, words: &str) -> Answer {
    let mut head = Head::new(status);
    head.headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    head.headers
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Answer::new(head, Body::full(words.to_owned()))
}
