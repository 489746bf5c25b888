//! The pages of the proxy port itself: what is served here, what was refused, and the PAC file.
//!
//! Nothing here is secret, `GET` changes nothing, and `sc-server` lets in only requests from loopback under one of the
//! port's own names.

use http::{HeaderValue, Method, StatusCode, header};
use sc_compile::{Names, Transport};
use sc_http::{Answer, Body, Exchange, Head};
use sc_server::Refusal;
use sc_site::pages::{Form, Page};

use crate::ledger::{Ledger, Line, plural};

/// Media type of proxy auto-configuration, as every browser expects it.
const PAC_TYPE: HeaderValue = HeaderValue::from_static("application/x-ns-proxy-autoconfig");

/// Makes the pages.
pub(crate) struct StartPage {
    /// Where the proxy port is.
    pub(crate) proxy: String,
    /// What the project is called.
    pub(crate) project: String,
}

impl StartPage {
    /// Answers a request to the port itself.
    ///
    /// Shape: pages of other origins can neither show it nor run it as a script to read the names.
    pub(crate) fn answer(&self, exchange: &Exchange, names: &Names, ledger: &Ledger) -> Answer {
        let mut answer = self.page(exchange, names, ledger);
        let headers = &mut answer.head.headers;
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
        answer
    }

    fn page(&self, exchange: &Exchange, names: &Names, ledger: &Ledger) -> Answer {
        if exchange.method != Method::GET && exchange.method != Method::HEAD {
            let page = Page::new(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD are possible here");
            let mut answer = page.answer(Form::wanted(&exchange.headers));
            answer
                .head
                .headers
                .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match exchange.path() {
            "/" => self.start(names, ledger).answer(Form::wanted(&exchange.headers)),
            "/proxy.pac" => self.pac(exchange, names),
            _ => Page::new(StatusCode::NOT_FOUND, "Nothing is here")
                .paragraph("This is the proxy port of shimmercat; it has `/` and `/proxy.pac`.")
                .answer(Form::wanted(&exchange.headers)),
        }
    }

    fn start(&self, names: &Names, ledger: &Ledger) -> Page {
        let site = |name: &sc_config::NamePattern| {
            let host = if name.is_wildcard() {
                format!("www.{}", name.name())
            } else {
                name.name().to_owned()
            };
            (format!("https://{host}/"), name.to_string())
        };
        let ports = names.ports.iter().map(|((name, transport, port), to)| {
            let word = if *transport == Transport::Tcp { "tcp" } else { "udp" };
            (format!("{word} {name}:{port}"), to.to_string())
        });
        let mut page = Page::new(StatusCode::OK, format!("The little network of {}", self.project))
            .paragraph(
                "These names open here, in a browser that was started with `sc-tool chrome` or `sc-tool firefox`.",
            )
            .links(names.sites.iter().map(site).collect())
            .facts(ports.collect())
            .heading("Other names")
            .paragraph(forwarding(names));
        let pages = ledger.by_pages();
        page = match pages.is_empty() {
            true => page.paragraph("Nothing was refused so far."),
            false => page
                .heading("Refused so far")
                .facts(pages.into_iter().map(fact).collect()),
        };
        let browser = ledger.by_browser();
        if !browser.is_empty() {
            page = page
                .heading("The browser's own calls, refused")
                .facts(browser.into_iter().map(fact).collect());
        }
        page.heading("For other programs")
            .facts(vec![
                ("SOCKS5, SOCKS4a, HTTP proxy".to_owned(), format!("`{}`", self.proxy)),
                (
                    "proxy auto-configuration".to_owned(),
                    format!("`http://{}/proxy.pac`", self.proxy),
                ),
                (
                    "a shell command".to_owned(),
                    "`sc-tool run -- curl https://…/`".to_owned(),
                ),
            ])
            .foot("shimmercat devlove")
    }

    /// The page for a plain-HTTP request that is refused.
    pub(crate) fn refusal(&self, exchange: &Exchange, names: &Names, refusal: &Refusal) -> Answer {
        let host = exchange.authority.host();
        let page = Page::new(refusal.status(), format!("{host} is not reachable from here"))
            .kind("refused")
            .paragraph(format!("The little network refused it: {refusal}."));
        let page = match refusal {
            Refusal::NotForwarded | Refusal::NotListed => self.unknown_name(page, host, names),
            Refusal::Guarded(_) => page.heading("To reach it").paragraph(
                "List its address under `allow-private` in `devlove.yaml`, if pages shall reach it; the server's own ports \
                 stay out of reach.",
            ),
            Refusal::NoSuchPort => match names.ports_of(host) {
                ports if ports.is_empty() => page.paragraph("Sites answer at the ports 443 and 80."),
                ports => page.heading("Its ports").list(ports),
            },
            Refusal::Unreachable(..) | Refusal::Command => page,
        };
        page.foot(format!(
            "Written by shimmercat; all that was refused is listed at http://{}/",
            self.proxy
        ))
        .answer(Form::wanted(&exchange.headers))
    }

    fn unknown_name(&self, page: Page, host: &str, names: &Names) -> Page {
        let known: Vec<_> = names.sites.iter().map(sc_config::NamePattern::to_string).collect();
        let nearest = sc_config::nearest(host, known.iter().map(String::as_str)).map(str::to_owned);
        let page = match nearest {
            Some(nearest) => page
                .heading("Did you mean")
                .links(vec![(format!("https://{nearest}/"), nearest)]),
            None => page,
        };
        page.heading("To reach it").list(vec![
            format!("Add `{host}` to the domains of `devlove.yaml`, or"),
            format!("start `shimmercat devlove -w {host}` to let this name through to the Internet."),
        ])
    }

    fn pac(&self, exchange: &Exchange, names: &Names) -> Answer {
        let text = self.pac_text(names);
        let tag = format!("\"{:x}\"", fingerprint(&text));
        let mut head = Head::new(StatusCode::OK);
        head.headers.insert(header::CONTENT_TYPE, PAC_TYPE);
        head.headers
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            let is_known = exchange
                .headers
                .get(header::IF_NONE_MATCH)
                .is_some_and(|known| known == tag);
            head.headers.insert(header::ETAG, tag);
            if is_known {
                head.status = StatusCode::NOT_MODIFIED;
                return Answer::new(head, Body::empty());
            }
        }
        Answer::new(head, Body::full(text))
    }

    /// The PAC file: configured names through the proxy, everything else as ever.
    fn pac_text(&self, names: &Names) -> String {
        let mut exact: Vec<_> = names
            .sites
            .iter()
            .filter(|n| !n.is_wildcard())
            .map(|n| n.name().to_owned())
            .collect();
        exact.extend(names.ports.keys().map(|(name, _, _)| name.clone()));
        exact.dedup();
        let below = names
            .sites
            .iter()
            .filter(|n| n.is_wildcard())
            .map(|n| format!(".{}", n.name()))
            .collect::<Vec<_>>();
        sc_config::pac::text(&self.proxy, &exact, &below)
    }
}

fn forwarding(names: &Names) -> String {
    match &names.forward {
        sc_config::Forward::No => {
            "Nothing leaves this machine. `shimmercat devlove -w` lets other names through, `-w HOST,…` only some."
                .to_owned()
        }
        sc_config::Forward::All => "All other names are forwarded to the Internet (`-w`).".to_owned(),
        sc_config::Forward::Only(list) => {
            let names: Vec<_> = list.iter().map(|name| format!("`{name}`")).collect();
            format!(
                "Forwarded to the Internet: {}. Everything else is refused.",
                names.join(", ")
            )
        }
    }
}

fn fact(line: &Line) -> (String, String) {
    (
        format!("`{}`", line.host),
        format!("{}: {}", plural(line.count, "time"), line.reason),
    )
}

/// FNV-1a: tells one PAC file from another, nothing more.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
