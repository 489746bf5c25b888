//! The clients' side: connections to the instance, one request over HTTP/1.1 or HTTP/2, and what came back.
//!
//! Every connection is known by its port, so that a worker's connections can be told when it is killed.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use http::{HeaderMap, StatusCode};
use sc_http::client::{H1, H2, Incoming, Outgoing, SendError, h2_handshake};
use sc_http::{Body, ClientLimits, Duplex, Fault, Interim, Retry, Scheme};
use sc_net::tasks::Spawner;
use sc_tls::{ClientConfig, ClientConfigError, ClientTrust, client_config};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::targets::{Site, Target};

/// The stream below HTTP.
pub(super) type Secure = Box<dyn Duplex>;

/// How long a whole request may take, from dialling to the last byte. A lane without a worker may make it wait; a request
/// that waits for longer is as good as lost.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// How long after a kill an end may be put down to it, when it is not known which connections the worker had.
const AFTERMATH: Duration = Duration::from_secs(2);

/// When the worker of a connection was killed.
#[derive(Clone, Copy)]
struct Killed {
    at: Instant,
    /// Whether it is known that the connection was this worker's.
    is_certain: bool,
}

/// One TCP connection.
pub(super) struct Line {
    pub(super) port: u16,
    killed: Cell<Option<Killed>>,
}

impl Line {
    /// Whether a request that began at `began` and failed at `now` met the end of a worker that was killed.
    pub(super) fn met_kill(&self, began: Instant, now: Instant) -> Met {
        match self.killed.get() {
            Some(killed) if killed.is_certain || now.duration_since(killed.at) <= AFTERMATH => {
                if began <= killed.at {
                    Met::InFlight
                } else {
                    Met::Afterwards
                }
            }
            _ => Met::Nothing,
        }
    }
}

/// What a request had to do with a kill.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Met {
    /// It had nothing to do with one.
    Nothing,
    /// The worker had it, or its connection, when it was killed.
    InFlight,
    /// It was sent on a connection whose end had not been noticed yet.
    Afterwards,
}

/// All open connections, and the kills that they may have met.
#[derive(Default)]
pub(super) struct Lines {
    open: RefCell<Vec<Weak<Line>>>,
    kills: RefCell<Vec<Kill>>,
}

/// A worker was killed that had the connections of these ports; `None` when that is not known.
struct Kill {
    killed: Killed,
    ports: Option<Vec<u16>>,
}

impl Kill {
    fn has(&self, port: u16) -> bool {
        self.ports.as_ref().is_none_or(|ports| ports.contains(&port))
    }
}

impl Lines {
    /// Notes a new connection, which was asked for at `dialled`.
    ///
    /// Shape: a worker may have accepted it, and been killed, before its client came to know that it is open.
    fn open(&self, port: u16, dialled: Instant) -> Rc<Line> {
        let kills = self.kills.borrow();
        let met = kills
            .iter()
            .rev()
            .find(|kill| dialled <= kill.killed.at && kill.has(port));
        let line = Rc::new(Line {
            port,
            killed: Cell::new(met.map(|kill| kill.killed)),
        });
        let mut lines = self.open.borrow_mut();
        lines.retain(|line| line.strong_count() > 0);
        lines.push(Rc::downgrade(&line));
        line
    }

    /// Notes that a worker was killed, with the ports of the connections that it had; `None` when that is not known.
    pub(super) fn killed(&self, ports: Option<Vec<u16>>) {
        let killed = Killed {
            at: Instant::now(),
            is_certain: ports.is_some(),
        };
        let kill = Kill { killed, ports };
        for line in self.open.borrow().iter().filter_map(Weak::upgrade) {
            if kill.has(line.port) {
                line.killed.set(Some(killed));
            }
        }
        let mut kills = self.kills.borrow_mut();
        kills.retain(|kill| kill.killed.at.elapsed() <= PATIENCE);
        kills.push(kill);
    }
}

/// What came back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Seen {
    pub(super) status: StatusCode,
    pub(super) bytes: u64,
    pub(super) hash: [u8; 32],
}

/// Why there is no whole answer.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) why: String,
    /// Not a byte of an answer came.
    pub(super) is_silent: bool,
    /// The request may be sent again on another connection as browsers do it: over HTTP/1.1 after silence (RFC 9112
    /// §9.3.1), over HTTP/2 when the server has not looked at it (RFC 9113 §8.7).
    pub(super) is_repeatable: bool,
}

impl Failure {
    fn broken(why: impl Into<String>) -> Self {
        Failure {
            why: why.into(),
            is_silent: false,
            is_repeatable: false,
        }
    }

    pub(super) fn late() -> Self {
        Failure::broken(format!("no whole answer within {} s", PATIENCE.as_secs()))
    }
}

/// Opens connections.
pub(super) struct Dialler {
    https: SocketAddr,
    http11: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    limits: ClientLimits,
    pub(super) lines: Lines,
    tasks: Spawner,
}

impl Dialler {
    /// Clients of this instance.
    ///
    /// Errors: the certificates to trust cannot be used.
    pub(super) fn new(https: SocketAddr, trust: &ClientTrust, tasks: Spawner) -> Result<Self, ClientConfigError> {
        Ok(Dialler {
            https,
            http11: client_config(trust, &[b"http/1.1"])?,
            http2: client_config(trust, &[b"h2"])?,
            limits: ClientLimits {
                first_byte_time: PATIENCE,
                idle_time: PATIENCE,
                write_stall_time: PATIENCE,
                ..ClientLimits::default()
            },
            lines: Lines::default(),
            tasks,
        })
    }

    /// A connection for HTTP/1.1.
    pub(super) async fn http1(&self, site: &Site) -> Result<(H1<Secure>, Rc<Line>), (Failure, Option<Rc<Line>>)> {
        let (stream, line) = self.secure(site, self.http11.clone()).await?;
        Ok((H1::new(stream), line))
    }

    /// A connection for HTTP/2.
    pub(super) async fn http2(&self, site: &Site) -> Result<(H2, Rc<Line>), (Failure, Option<Rc<Line>>)> {
        let (stream, line) = self.secure(site, self.http2.clone()).await?;
        match h2_handshake(stream).await {
            Ok((connection, drive)) => {
                self.tasks.spawn("drill HTTP/2", drive);
                Ok((connection, line))
            }
            Err(fault) => Err((Failure::broken(fault.chain()), Some(line))),
        }
    }

    async fn secure(
        &self,
        site: &Site,
        config: Arc<ClientConfig>,
    ) -> Result<(Secure, Rc<Line>), (Failure, Option<Rc<Line>>)> {
        let began = Instant::now();
        let dialled = TcpStream::connect(self.https).await;
        let dialled = dialled.and_then(|stream| {
            // Small requests must not wait for each other.
            stream.set_nodelay(true)?;
            let port = stream.local_addr()?.port();
            Ok((stream, port))
        });
        let (stream, port) =
            dialled.map_err(|error| (Failure::broken(format!("the connection was refused: {error}")), None))?;
        let line = self.lines.open(port, began);
        match sc_tls::connect(stream, &site.name, config, PATIENCE).await {
            Ok(connected) => Ok((Box::new(connected.stream), line)),
            Err(error) => Err((
                Failure::broken(format!("TLS: {}", sc_server::chain(&error))),
                Some(line),
            )),
        }
    }

    /// Asks over HTTP/1.1; the connection comes back when it can be used again.
    pub(super) async fn ask1(
        &self,
        connection: H1<Secure>,
        site: &Site,
        target: &Target,
    ) -> Result<(Seen, Option<H1<Secure>>), Failure> {
        let kept = Rc::new(RefCell::new(None));
        let keep = kept.clone();
        let reuse = Box::new(move |connection| drop(keep.borrow_mut().replace(connection)));
        let sent = connection
            .send(outgoing(site, target), &Interim::default(), &self.limits, reuse)
            .await;
        let seen = read(sent).await?;
        let kept = kept.borrow_mut().take();
        Ok((seen, kept))
    }

    /// Asks over HTTP/2.
    pub(super) async fn ask2(&self, connection: &H2, site: &Site, target: &Target) -> Result<Seen, Failure> {
        let sent = connection
            .send(outgoing(site, target), &Interim::default(), &self.limits)
            .await;
        let is_refused = |error: &SendError| error.fault.retryable() == Retry::Safe;
        let is_repeatable = sent.as_ref().err().is_some_and(is_refused);
        read(sent).await.map_err(|failure| Failure {
            is_repeatable,
            ..failure
        })
    }
}

fn outgoing(site: &Site, target: &Target) -> Box<Outgoing> {
    Box::new(Outgoing {
        method: target.method.clone(),
        target: target.path.as_str().into(),
        authority: site.name.clone(),
        scheme: Scheme::Https,
        headers: HeaderMap::new(),
        upgrade: None,
        body: Body::empty(),
    })
}

/// Reads the whole answer.
async fn read(sent: Result<Incoming, SendError>) -> Result<Seen, Failure> {
    let (head, mut body) = match sent {
        Ok(Incoming::Response { head, body }) => (head, body),
        Ok(Incoming::Upgraded { .. }) => return Err(Failure::broken("it switched protocols unasked")),
        Err(error) => {
            let is_silent = error.fault.retryable() != Retry::No;
            return Err(Failure {
                why: words(&error.fault),
                is_silent,
                is_repeatable: is_silent,
            });
        }
    };
    let (mut bytes, mut hash) = (0, Context::new(&SHA256));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|fault| Failure::broken(format!("{} after {bytes} bytes", words(&fault))))?;
        if let Ok(data) = frame.into_data() {
            bytes += data.len() as u64;
            hash.update(&data);
        }
    }
    let mut seen = Seen {
        status: head.status,
        bytes,
        hash: [0; 32],
    };
    seen.hash.copy_from_slice(hash.finish().as_ref());
    Ok(seen)
}

/// The words of sc-http's client are about applications; here the server itself is asked.
fn words(fault: &Fault) -> String {
    fault.chain().replace("the application", "the server")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_worker_had_is_known_by_its_port() {
        let lines = Lines::default();
        let began = Instant::now();
        let (held, other) = (lines.open(1, began), lines.open(2, began));
        lines.killed(Some(vec![1, 3]));
        let late = Instant::now() + Duration::from_secs(1);
        assert_eq!(held.met_kill(began, late), Met::InFlight);
        assert_eq!(held.met_kill(late, late), Met::Afterwards);
        assert_eq!(other.met_kill(began, late), Met::Nothing);
        assert_eq!(
            lines.open(3, began).met_kill(began, late),
            Met::InFlight,
            "it was accepted already"
        );
        assert_eq!(
            lines.open(3, late).met_kill(late, late),
            Met::Nothing,
            "the port is used again"
        );
    }

    #[test]
    fn without_the_ports_a_kill_excuses_for_a_moment_only() {
        let lines = Lines::default();
        let began = Instant::now();
        let line = lines.open(1, began);
        lines.killed(None);
        let soon = Instant::now() + AFTERMATH / 2;
        assert_eq!(line.met_kill(began, soon), Met::InFlight);
        assert_eq!(line.met_kill(began, soon + AFTERMATH), Met::Nothing);
    }
}
