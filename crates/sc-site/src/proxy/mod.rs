//! The application behind a site.
use std::rc::Rc;

use http::Method;
use sc_http::{Answer, Exchange, Fault, Kind, Side};

use crate::pages::Form;
use crate::pages::faults::{self, Attempted};
use crate::{Around, Disclosure, Environment, Handler, NamePattern, Notes, SiteError, UpstreamSpec};

#[derive(Debug)]
pub(crate) struct Upstream {
    disclosure: Disclosure,
}

impl Upstream {
    pub(crate) fn compile(_site: &NamePattern, _spec: UpstreamSpec, environment: &Environment) -> Result<Self, SiteError> {
        Ok(Upstream { disclosure: environment.disclosure })
    }

    pub(crate) async fn answer(&self, exchange: Exchange, _around: &Around, notes: &Rc<Notes>) -> Answer {
        notes.set_handler(Handler::Proxy);
        let fault = Fault::new(Side::Upstream, Kind::UpstreamConnect, "not wired yet");
        let attempted = Attempted { method: &Method::GET, url: &exchange.target, tried: &[] };
        faults::fault(&fault, &attempted, Form::wanted(&exchange.headers), self.disclosure)
    }
}
