//! Active checks: an address is asked again and again how it is, on a connection of its own.
//!
//! One task for each address, in each process that serves; it ends with the address. A check is a `GET` as any other, marked
//! as ours; a connection is made for it each time, so that an address which only keeps old ones alive is found out. What
//! the verdicts lead to is decided in [`super::health`].

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::time::Duration;

use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method};
use sc_http::client::{Incoming, Outgoing};
use sc_http::fastcgi::{Call, Complaint, Listener};
use sc_http::{Body, ClientLimits, Interim, Scheme};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::dial::Fresh;
use super::endpoint::{Connection, Endpoint, Way};
use super::health::Verdict;
use super::{is_among, request};
use crate::random::Random;
use crate::spec::{HealthSpec, UpstreamProtocol};

/// Within this the first check is made, so that an address that is down is soon known.
const SOON: Duration = Duration::from_millis(500);

/// Bytes of an answer that are read; what is longer is cut off, and good all the same.
const BODY_BYTES: usize = 64 << 10;

/// What every check of an address has in common.
pub(super) struct Checker {
    pub(super) spec: HealthSpec,
    /// The host that is asked for.
    pub(super) host: String,
    /// What a FastCGI application is told besides.
    pub(super) call: Option<Call>,
    pub(super) marker: HeaderValue,
    pub(super) random: Random,
}

impl Checker {
    /// Begins to check an address; ends when `ended` is resolved.
    pub(super) fn start(self, endpoint: &Rc<Endpoint>, ended: oneshot::Receiver<()>) {
        let weak = Rc::downgrade(endpoint);
        let checks = async move {
            tokio::select! {
                () = self.run(weak) => {}
                _ = ended => {}
            }
        };
        (endpoint.spawn)("checks of an application", Box::pin(checks));
    }

    async fn run(&self, endpoint: Weak<Endpoint>) {
        sleep(SOON.min(self.spec.interval).mul_f64(self.part())).await;
        loop {
            let Some(endpoint) = endpoint.upgrade() else { return };
            let is_reached = Cell::new(false);
            let checked = timeout(self.spec.timeout, self.check(&endpoint, &is_reached)).await;
            let (verdict, why) = checked.unwrap_or_else(|_| {
                let seconds = self.spec.timeout.as_secs_f32();
                match is_reached.get() {
                    true => (Verdict::Bad, format!("no answer to a check within {seconds} s")),
                    false => (Verdict::Unreachable, format!("no connection within {seconds} s")),
                }
            });
            endpoint.checked(verdict, &self.spec, why);
            drop(endpoint);
            // Workers and machines that began together must not go on in step.
            sleep(self.spec.interval.mul_f64(0.9 + 0.2 * self.part())).await;
        }
    }

    /// A number from 0 to 1.
    fn part(&self) -> f64 {
        self.random.below(1 << 20) as f64 / f64::from(1 << 20)
    }

    /// Makes one check; what was found, and in words. Notes on the way that the application was reached.
    async fn check(&self, endpoint: &Endpoint, is_reached: &Cell<bool>) -> (Verdict, String) {
        let connection = match endpoint.dialer.dial(&endpoint.addr, &self.host, false).await {
            Ok(Fresh::H1(connection)) => Connection::H1(connection),
            Ok(Fresh::FastCgi(connection)) => Connection::FastCgi(connection),
            Ok(Fresh::H2(connection, driver)) => {
                (endpoint.spawn)("connection to an application", driver);
                Connection::H2(connection)
            }
            Err(fault) => return (Verdict::Unreachable, fault.chain()),
        };
        is_reached.set(true);
        // The time limit of the check as a whole comes first, and is the one that is told.
        let limits = ClientLimits {
            first_byte_time: self.spec.timeout * 2,
            idle_time: self.spec.timeout * 2,
            ..ClientLimits::default()
        };
        let request = self.request(endpoint.dialer.protocol);
        let way = Way {
            interim: &Interim::default(),
            limits: &limits,
            call: self
                .call
                .as_ref()
                .map(|call| (call, Rc::new(|_: Complaint<'_>| {}) as Listener)),
        };
        let incoming = connection.send(Box::new(request), way, |_| {}).await;
        let (head, body) = match incoming {
            Ok(Incoming::Response { head, body }) => (head, body),
            Ok(Incoming::Upgraded { .. }) => return (Verdict::Bad, "it switched protocols".to_owned()),
            Err(error) => return (Verdict::Bad, error.fault.chain()),
        };
        if let Err(why) = read(body).await {
            return (Verdict::Bad, why);
        }
        if is_among(head.status, &self.spec.statuses) {
            (Verdict::Good, format!("it answered {}", head.status))
        } else {
            (Verdict::Bad, format!("it answered {} to a check", head.status))
        }
    }

    fn request(&self, protocol: UpstreamProtocol) -> Outgoing {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static("shimmercat-health"));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(request::LOOP, self.marker.clone());
        Outgoing {
            method: Method::GET,
            target: self.spec.path.as_str().into(),
            authority: self.host.clone(),
            scheme: match protocol {
                UpstreamProtocol::Https => Scheme::Https,
                UpstreamProtocol::Http | UpstreamProtocol::H2c | UpstreamProtocol::FastCgi => Scheme::Http,
            },
            headers,
            upgrade: None,
            body: Body::empty(),
        }
    }
}

/// Reads an answer to its end, so that the application does not see it cut off.
///
/// Errors: why it broke off.
async fn read(mut body: Body) -> Result<(), String> {
    let mut bytes = 0;
    while bytes < BODY_BYTES
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|fault| fault.chain())?;
        bytes += frame.data_ref().map_or(0, |data| data.len());
    }
    Ok(())
}
