//! Questions to the control socket of the second instance.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, Method};
use sc_http::client::{H1, Incoming, Outgoing};
use sc_http::{Body, ClientLimits, Interim, Scheme};
use serde_json::Value;
use tokio::net::UnixStream;

/// An answer of the control socket is never larger.
const ANSWER_BYTES: usize = 8 << 20;

/// How the instance answered: its status, and the JSON; or why there was no answer.
pub(super) async fn ask(socket: &Path, method: Method, path: &str, within: Duration) -> Result<(u16, Value), String> {
    match tokio::time::timeout(within, exchange(socket, method, path)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", within.as_secs())),
    }
}

async fn exchange(socket: &Path, method: Method, path: &str) -> Result<(u16, Value), String> {
    let stream = UnixStream::connect(socket).await.map_err(|error| error.to_string())?;
    let outgoing = Outgoing {
        method,
        target: path.into(),
        authority: "localhost".to_owned(),
        scheme: Scheme::Http,
        headers: HeaderMap::new(),
        upgrade: None,
        body: Body::empty(),
    };
    let limits = ClientLimits::default();
    let sent = H1::new(stream)
        .send(Box::new(outgoing), &Interim::default(), &limits, Box::new(drop))
        .await;
    let (head, mut body) = match sent.map_err(|error| error.fault.chain())? {
        Incoming::Response { head, body } => (head, body),
        Incoming::Upgraded { .. } => return Err("it switched protocols".to_owned()),
    };
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let data = frame.map_err(|fault| fault.chain())?.into_data().unwrap_or_default();
        if bytes.len() + data.len() > ANSWER_BYTES {
            return Err("the answer is too long".to_owned());
        }
        bytes.extend_from_slice(&data);
    }
    let value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    Ok((head.status.as_u16(), value))
}

/// What the tasks of a drill share of the instance.
#[derive(Clone)]
pub(super) struct Desk {
    socket: Rc<Path>,
}

impl Desk {
    pub(super) fn at(socket: &Path) -> Self {
        Desk { socket: socket.into() }
    }

    /// What `shimmercat status --json` would print.
    pub(super) async fn status(&self) -> Result<Value, String> {
        match ask(&self.socket, Method::GET, "/status", Duration::from_secs(20)).await? {
            (200, status) => Ok(status),
            (code, answer) => Err(refusal(code, &answer)),
        }
    }

    /// Has something done, and waits for it.
    pub(super) async fn post(&self, path: &str, within: Duration) -> Result<(), String> {
        match ask(&self.socket, Method::POST, path, within).await? {
            (200, _) => Ok(()),
            (code, answer) => Err(refusal(code, &answer)),
        }
    }
}

fn refusal(code: u16, answer: &Value) -> String {
    let why = answer["error"].as_str().or_else(|| answer["mistakes"][0].as_str());
    why.map_or_else(
        || format!("it answered with status {code}"),
        |why| why.trim().to_owned(),
    )
}
