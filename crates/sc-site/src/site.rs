//! One site: the route of a request from redirects over files to the application, and the fields set on every answer.
//!
//! The order is fixed and short. Requests for files are `GET` and `HEAD` only when there is an application, so that a form
//! can be posted to the address of a page; upgrades never look for files. Before a FastCGI application every request does,
//! because its programs are files too. Every way out passes [`Site::answer`], which
//! returns an answer whatever happens.

use std::rc::Rc;

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use sc_http::{Answer, Exchange};
use sc_net::{ClientAddr, LocalAddr};

use crate::files::{Cache, Files, Found, Scripts};
use crate::proxy::Upstream;
use crate::redirects::Redirect;
use crate::spec::UpstreamProtocol;
use crate::upstreams::EndpointStanding;
use crate::{Audience, Disclosure, Environment, Handler, NamePattern, Notes, SiteError, SiteSpec, pages};

/// What is known of the connection that carries an exchange.
#[derive(Clone, Debug)]
pub struct Around {
    /// Its serial number.
    pub connection: u64,
    /// The client.
    pub client: ClientAddr,
    /// Where the connection arrived.
    pub local: LocalAddr,
}

/// One compiled site.
#[derive(Debug)]
pub struct Site {
    name: NamePattern,
    /// The name as records have it.
    label: Rc<str>,
    audience: Audience,
    disclosure: Disclosure,
    redirects: Vec<Redirect>,
    files: Option<Files>,
    upstream: Option<Rc<Upstream>>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Site {
    /// Compiles one site.
    pub(crate) fn compile(spec: SiteSpec, cache: &Rc<Cache>, environment: &Environment) -> Result<Self, SiteError> {
        let redirects = spec.redirects.iter().map(Redirect::compile).collect::<Result<_, _>>();
        let redirects = redirects.map_err(|source| SiteError::Redirect {
            site: spec.name.clone(),
            source,
        })?;
        let headers = spec.headers.iter().map(|(name, value)| {
            field(name, value).ok_or_else(|| SiteError::Header {
                site: spec.name.clone(),
                name: name.clone(),
            })
        });
        let headers = headers.collect::<Result<_, _>>()?;
        let mut scripts = None;
        let upstream = match spec.upstream {
            Some(upstream) => {
                let folder = spec.root.as_ref().map(|root| root.dir.as_path());
                let fastcgi = &upstream.fastcgi;
                scripts = (upstream.protocol == UpstreamProtocol::FastCgi)
                    .then(|| Scripts::new(&fastcgi.extensions, fastcgi.front_controller.as_deref()));
                Some(Rc::new(Upstream::compile(&spec.name, upstream, folder, environment)?))
            }
            None => None,
        };
        let files = spec
            .root
            .map(|root| Files::new(root, scripts, cache, environment.disclosure));
        let (label, name, audience) = (spec.name.to_string().into(), spec.name, spec.audience);
        Ok(Site {
            name,
            label,
            audience,
            disclosure: environment.disclosure,
            redirects,
            files,
            upstream,
            headers,
        })
    }

    /// The configured name.
    pub fn name(&self) -> &NamePattern {
        &self.name
    }

    /// Whether only clients inside the little network may reach it.
    pub fn is_network_only(&self) -> bool {
        self.audience == Audience::Network
    }

    /// How the addresses of its application stand.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = EndpointStanding> {
        self.upstream.iter().flat_map(|upstream| upstream.standings())
    }

    /// Answers one exchange.
    ///
    /// Shape: always an answer; faults have become pages. `notes` tells what happened, also when the future is dropped.
    /// Cancel: a request under way to the application is given up with its connection.
    pub async fn answer(&self, exchange: Box<Exchange>, around: &Around, notes: &Rc<Notes>) -> Answer {
        notes.set_site(&self.label);
        let mut answer = self.route(exchange, around, notes).await;
        self.set_headers(&mut answer);
        answer
    }

    /// Answers one exchange if all that it takes is in memory: a file that is kept and was looked at just now.
    ///
    /// Shape: `None` leaves no trace; then [`Site::answer`] is to be asked.
    pub fn answer_now(&self, exchange: &Exchange, notes: &Rc<Notes>) -> Option<Answer> {
        if !is_read(exchange) || exchange.upgrade.is_some() || !self.redirects.is_empty() {
            return None;
        }
        let mut answer = self.files.as_ref()?.answer_now(exchange)?;
        notes.set_site(&self.label);
        notes.set_handler(Handler::File);
        self.set_headers(&mut answer);
        Some(answer)
    }

    async fn route(&self, mut exchange: Box<Exchange>, around: &Around, notes: &Rc<Notes>) -> Answer {
        if exchange.method == Method::CONNECT && exchange.upgrade.is_none() {
            notes.set_handler(Handler::Page);
            return pages::faults::plain(StatusCode::NOT_IMPLEMENTED).answer(pages::Form::Text);
        }
        if let Some(answer) = self.redirects.iter().find_map(|redirect| redirect.apply(&exchange)) {
            notes.set_handler(Handler::Redirect);
            return answer;
        }
        let is_for_files = self.upstream.is_none() || is_read(&exchange) && exchange.upgrade.is_none();
        let mut program = None;
        if let Some(files) = self.files.as_ref().filter(|files| is_for_files || files.has_scripts()) {
            match files.answer(exchange, notes).await {
                Found::Answer(answer) => return answer,
                Found::Program(given_back, found) => (exchange, program) = (given_back, Some(found)),
                // An application is asked for programs that are there, and for nothing else.
                Found::Nothing(given_back) if files.has_scripts() => {
                    notes.set_handler(Handler::Page);
                    return pages::faults::not_found(&given_back, &notes.tried(), self.disclosure);
                }
                Found::Nothing(given_back) => exchange = given_back,
            }
        }
        match &self.upstream {
            Some(upstream) => upstream.answer(exchange, program, around, notes).await,
            None => {
                notes.set_handler(Handler::Page);
                pages::faults::not_found(&exchange, &notes.tried(), self.disclosure)
            }
        }
    }

    fn set_headers(&self, answer: &mut Answer) {
        let fields = &mut answer.head.headers;
        for (name, _) in &self.headers {
            fields.remove(name);
        }
        for (name, value) in &self.headers {
            fields.append(name, value.clone());
        }
    }
}

/// Whether the method only reads.
fn is_read(exchange: &Exchange) -> bool {
    matches!(exchange.method, Method::GET | Method::HEAD)
}

/// A field that may be set: none for names and values that are malformed, or that belong to the protocol engines.
fn field(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    const OWNED: [HeaderName; 6] = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TRAILER,
        header::TE,
        header::UPGRADE,
    ];
    let name = HeaderName::try_from(name).ok().filter(|name| !OWNED.contains(name))?;
    Some((name, HeaderValue::from_str(value).ok()?))
}
