//! The control socket: how `shimmercat status` and `shimmercat reload` talk to a running instance.
//!
//! Plain HTTP/1.1 over a unix socket that only its owner can open. `GET /status` answers with one JSON object,
//! `POST /reload` with what the reload did.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header};
use sc_config::{Instance, Kind, Settings};
use sc_http::{Answer, Body, Exchange, Head};
use sc_server::{Server, journal};
use sc_site::EndpointStanding;
use sc_tls::Ca;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::diary::Diary;
use crate::ledger::Line;
use crate::little_network::LittleNetwork;

/// The outcome of a reload: what changed, or the mistakes.
pub(crate) type Verdict = Result<Vec<String>, Vec<String>>;

/// What the control socket can see and do.
pub(crate) struct Control {
    pub(crate) instance: Rc<RefCell<Instance>>,
    pub(crate) ca: Rc<RefCell<Arc<Ca>>>,
    pub(crate) settings: Rc<RefCell<Settings>>,
    pub(crate) network: Rc<LittleNetwork>,
    pub(crate) diary: Rc<Diary>,
    pub(crate) server: Server,
    pub(crate) reload: mpsc::Sender<oneshot::Sender<Verdict>>,
}

impl Control {
    /// Answers one request.
    pub(crate) async fn answer(&self, exchange: &Exchange) -> Answer {
        match (&exchange.method, exchange.path()) {
            (&Method::GET, "/status") => json_answer(StatusCode::OK, &self.status()),
            (&Method::POST, "/reload") => self.reload().await,
            _ => json_answer(
                StatusCode::NOT_FOUND,
                &json!({ "error": "unknown; try GET /status or POST /reload" }),
            ),
        }
    }

    async fn reload(&self) -> Answer {
        let (sender, verdict) = oneshot::channel();
        let asked = self.reload.send(sender).await.is_ok();
        match verdict.await {
            Ok(Ok(changes)) if asked => json_answer(StatusCode::OK, &json!({ "changes": changes })),
            Ok(Err(mistakes)) => json_answer(StatusCode::CONFLICT, &json!({ "mistakes": mistakes })),
            _ => json_answer(
                StatusCode::SERVICE_UNAVAILABLE,
                &json!({ "error": "the server is stopping" }),
            ),
        }
    }

    /// Everything `status --json` prints.
    fn status(&self) -> Value {
        let (ledger, instance) = (self.network.ledger.borrow(), self.instance.borrow());
        json!({
            "version": instance.version,
            "mode": instance.mode,
            "pid": instance.pid,
            "started_unix": instance.started_unix,
            "folder": instance.folder,
            "config": instance.config,
            "https": instance.https,
            "proxy": instance.socks,
            "control": instance.control,
            "ca": { "pem": instance.ca_pem, "spki_sha256": instance.ca_spki,
                    "not_after": journal::rfc3339(self.ca.borrow().not_after()) },
            "forward": forward(&self.settings.borrow()),
            "sites": sites(&self.settings.borrow(), &self.server.sites().endpoints()),
            "ports": ports(&self.settings.borrow()),
            "refused": { "pages": lines(&ledger.by_pages()), "browser": lines(&ledger.by_browser()),
                         "further": ledger.beyond() },
            "exchanges": self.diary.exchanges(),
            "errors": self.diary.errors(),
            "recent": self.diary.recent().iter().map(journal::record_fields).map(Value::Object).collect::<Vec<_>>(),
        })
    }
}

fn forward(settings: &Settings) -> Value {
    match &settings.forward {
        sc_config::Forward::No => Value::Bool(false),
        sc_config::Forward::All => Value::Bool(true),
        sc_config::Forward::Only(names) => names.iter().map(ToString::to_string).collect(),
    }
}

fn sites(settings: &Settings, endpoints: &[EndpointStanding]) -> Value {
    let site = |domain: &sc_config::Domain| {
        let root = match &domain.kind {
            Kind::Electric { root_dir, .. } => root_dir.as_ref(),
            Kind::Api { .. } | Kind::Network { .. } => None,
        };
        let upstream: Vec<_> = domain
            .consultant()
            .map(|c| c.connect_to.iter().map(ToString::to_string).collect())
            .unwrap_or_default();
        let is_out = |endpoint: &&EndpointStanding| matches!(endpoint.state, "out" | "trial" | "unreachable");
        let name = domain.name.to_string();
        let of_site = endpoints.iter().filter(|endpoint| *endpoint.site == *name);
        let left_out: Vec<_> = of_site
            .filter(is_out)
            .map(|endpoint| json!({ "address": &*endpoint.address }))
            .collect();
        json!({ "name": name, "left_out": left_out, "url": format!("https://{}/", domain.name), "root_dir": root,
                "connect_to": upstream, "audience": match domain.audience {
                    sc_config::Audience::Public => "public", sc_config::Audience::Network => "network" } })
    };
    settings
        .domains
        .iter()
        .filter(|domain| domain.is_site())
        .map(site)
        .collect()
}

fn ports(settings: &Settings) -> Value {
    let mut all = Vec::new();
    for domain in &settings.domains {
        let Kind::Network { tcp, udp } = &domain.kind else {
            continue;
        };
        for (transport, ports) in [("tcp", tcp), ("udp", udp)] {
            for (port, to) in ports {
                let name = domain.name.to_string();
                all.push(json!({ "name": name, "transport": transport, "port": port, "to": to.to_string() }));
            }
        }
    }
    Value::Array(all)
}

fn lines(lines: &[&Line]) -> Value {
    lines
        .iter()
        .map(|line| json!({ "host": line.host, "count": line.count, "reason": line.reason }))
        .collect()
}

fn json_answer(status: StatusCode, value: &Value) -> Answer {
    let mut head = Head::new(status);
    head.headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Answer::new(head, Body::full(value.to_string()))
}
