//! `Settings`: everything the file decided, as plain data with units and defaults applied.
//!
//! All else sees only this, never the file. The modes translate it into the parameters of the rooms below them, and
//! the command line is laid over it before that. How the file becomes this is in `crate::check`; the keys and their
//! defaults stand in `crate::keys`.
use std::fmt;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::balance::{Ejection, HealthChecks};
use crate::fastcgi::FastCgi;
use crate::limits::Limits;
use crate::names::NamePattern;
use crate::networks::Network;
use crate::places::Places;
use crate::wire;

/// Port of the HTTPS listener when none is given, on loopback. Source: the first ShimmerCat.
pub const DEFAULT_HTTPS_PORT: u16 = 4043;

/// Port of the little network when none is given, on loopback. Source: the first ShimmerCat.
pub const DEFAULT_SOCKS_PORT: u16 = 2006;

/// Shortest life of a worker, by default and at all (`internet`). Source: the user's page on Internet mode, "always greater
/// than 15 minutes".
pub const SHORTEST_WORKER_LIFE: Duration = Duration::from_secs(15 * 60);

/// How long a retiring worker may finish exchanges and tunnels when nothing else is said: as long as it lived at least.
pub const DEFAULT_DRAIN_TIME: Duration = Duration::from_secs(15 * 60);

/// How long all workers may finish when the program is told to stop: less than the 90 s after which systemd kills.
pub const DEFAULT_STOP_TIME: Duration = Duration::from_secs(60);

/// Everything the file says about the project.
///
/// Shape: what serde writes is read again as it was, secrets and paths of any bytes included. It holds passwords in clear:
/// it may only ever be written into a sealed memory file that goes from a master to its workers.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Settings {
    /// The domains in the order of the file.
    pub domains: Vec<Domain>,
    /// Where HTTPS is served. Never empty.
    pub listen: Vec<Address>,
    /// Whether `listen` was written down, so that a taken port is an error instead of a reason to try the next one.
    pub listen_given: bool,
    /// Where the little network is; `None` when `socks-5: false`.
    pub socks5: Option<Address>,
    /// Whether `socks-5` was written down, as for `listen_given`.
    pub socks5_given: bool,
    /// Whether `internet` runs the little network too.
    pub enable_socks5: bool,
    /// User names and passwords of the little network; empty asks for none.
    pub socks_users: Vec<SocksUser>,
    /// Networks that may use the little network; empty when nothing was said.
    pub socks_allow: Vec<Network>,
    /// Which names that are not configured are forwarded to the Internet.
    pub forward: Forward,
    /// Private addresses that may be dialled all the same.
    pub allow_private: Vec<Network>,
    /// The simulated network.
    pub shape: Shape,
    /// Which events are generated, as an expression; `None` is the set `default`.
    pub log_codes: Option<String>,
    /// The shape of log lines.
    pub log_format: LogFormat,
    /// Where plain HTTP is redirected to HTTPS (`internet`); empty is nowhere.
    pub redirect: Vec<Address>,
    /// Certificate chain of the instance (`internet`), absolute.
    #[serde(with = "wire::path::option")]
    pub cert: Option<PathBuf>,
    /// Private key of the instance (`internet`), absolute.
    #[serde(with = "wire::path::option")]
    pub key: Option<PathBuf>,
    /// Which Redis is used (`internet`).
    pub redis: Redis,
    /// Number of lanes (`internet`); `None` is one per core.
    pub workers: Option<NonZeroU16>,
    /// Whether each lane keeps a warm worker ready to follow (`internet`); `None` is when memory allows.
    pub standby: Option<bool>,
    /// Shortest life of a worker (`internet`), never less than [`SHORTEST_WORKER_LIFE`].
    pub worker_life: Duration,
    /// Longest time that a retiring worker may finish exchanges and tunnels (`internet`).
    pub drain_time: Duration,
    /// Longest time that all workers may finish when the program is told to stop (`internet`).
    pub stop_time: Duration,
    /// Where Prometheus finds the metrics (`internet`); loopback or a unix socket.
    pub metrics: Option<Address>,
    /// Name of the instance in Redis (`internet`); `None` is the id of the project.
    pub instance: Option<String>,
    /// Whether an application's own error pages are shown to the public (`internet`).
    pub disclose_errors: bool,
    /// What no client gets more of.
    pub limits: Limits,
}

impl Default for Settings {
    /// Settings without any domain, with every default applied.
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            listen: vec![Address::loopback(DEFAULT_HTTPS_PORT)],
            listen_given: false,
            socks5: Some(Address::loopback(DEFAULT_SOCKS_PORT)),
            socks5_given: false,
            enable_socks5: false,
            socks_users: Vec::new(),
            socks_allow: Vec::new(),
            forward: Forward::No,
            allow_private: Vec::new(),
            shape: Shape::default(),
            log_codes: None,
            log_format: LogFormat::Auto,
            redirect: Vec::new(),
            cert: None,
            key: None,
            redis: Redis::Auto,
            workers: None,
            standby: None,
            worker_life: SHORTEST_WORKER_LIFE,
            drain_time: DEFAULT_DRAIN_TIME,
            stop_time: DEFAULT_STOP_TIME,
            metrics: None,
            instance: None,
            disclose_errors: false,
            limits: Limits::default(),
        }
    }
}

impl Settings {
    /// Where the certificate chain and the private key are, given or not (`internet`).
    pub fn certificate_files(&self, places: &Places) -> (PathBuf, PathBuf) {
        let file = |given: &Option<PathBuf>, name: &str| given.clone().unwrap_or_else(|| places.scratch.join(name));
        (file(&self.cert, "cert.pem"), file(&self.key, "privkey.pem"))
    }
}

/// One entry of `domains`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Domain {
    /// The name or wildcard it answers for.
    pub name: NamePattern,
    /// What answers.
    pub kind: Kind,
    /// Who can reach it.
    pub audience: Audience,
    /// Fields added to every response, in the order of the file.
    pub headers: Vec<(String, String)>,
    /// Redirects, tried in the order of the file before anything else.
    pub redirects: Vec<Redirect>,
    /// Line of its key in the file, from 1; 0 when no file was read.
    pub line: usize,
}

impl Domain {
    /// An electric domain without any option, as `name: { root-dir: … }` gives it.
    pub fn files(name: NamePattern, root_dir: PathBuf) -> Self {
        let kind = Kind::Electric {
            root_dir: Some(root_dir),
            index: default_index(),
            spa: false,
            consultant: None,
        };
        let (headers, redirects) = (Vec::new(), Vec::new());
        Self {
            name,
            kind,
            audience: Audience::Public,
            headers,
            redirects,
            line: 0,
        }
    }

    /// The application behind it, if it has one.
    pub fn consultant(&self) -> Option<&Consultant> {
        match &self.kind {
            Kind::Electric { consultant, .. } => consultant.as_ref(),
            Kind::Api { consultant } => Some(consultant),
            Kind::Network { .. } => None,
        }
    }

    /// Says whether it answers HTTP at all.
    pub fn is_site(&self) -> bool {
        !matches!(self.kind, Kind::Network { .. })
    }
}

/// Names of index files when `index` is not given.
pub(crate) fn default_index() -> Vec<String> {
    vec!["index.html".to_owned()]
}

/// What answers for a domain.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum Kind {
    /// Files first, then the application. At least one of the two is there.
    Electric {
        /// Folder of the files, absolute.
        #[serde(with = "wire::path::option")]
        root_dir: Option<PathBuf>,
        /// Names that answer for a folder, in order of preference.
        index: Vec<String>,
        /// Whether `/index.html` answers navigations that match nothing.
        spa: bool,
        /// The application that answers what is not a file.
        consultant: Option<Consultant>,
    },
    /// Everything goes to the application.
    Api {
        /// The application.
        consultant: Consultant,
    },
    /// Raw protocols under a name, inside the little network only.
    Network {
        /// TCP ports and where their connections go.
        tcp: Vec<(u16, Address)>,
        /// UDP ports and where their datagrams go.
        udp: Vec<(u16, Address)>,
    },
}

/// Who can reach a domain.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Audience {
    /// Everybody who reaches the HTTPS listener, and the little network.
    Public,
    /// The little network only.
    Network,
}

/// An application that answers over a network.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Consultant {
    /// Where it listens; the paths of unix sockets are absolute. Never empty.
    pub connect_to: Vec<Address>,
    /// What it speaks.
    pub protocol: ApplicationProtocol,
    /// Which certificates of an `https` application are trusted.
    pub verify: Verify,
    /// How long a connection may take to open.
    pub connect_timeout: Duration,
    /// How long the application may think before the first byte of its answer.
    pub first_byte_timeout: Duration,
    /// How long an answer, an upload or a tunnel may be silent.
    pub idle_timeout: Duration,
    /// The name that its certificate must have; `None` is the host of its address or of the request.
    pub server_name: Option<String>,
    /// Requests that one address is asked at a time.
    pub connections: u16,
    /// Connections that are kept open while nothing is asked.
    pub idle_connections: u16,
    /// How long they are kept.
    pub idle_connection_timeout: Duration,
    /// Requests that may wait for one address.
    pub queue: u16,
    /// How long they may wait.
    pub queue_timeout: Duration,
    /// How often a request is sent again at most.
    pub retries: u8,
    /// Requests that may be sent again for each hundred that come.
    pub retry_budget: u8,
    /// When an address is left out because requests fail there; `None` is never.
    pub ejection: Option<Ejection>,
    /// How long an address that came back takes to get its whole share; `None` gives it at once.
    pub slow_start: Option<Duration>,
    /// When fewer than this many of a hundred addresses are fit, the others are used too.
    pub panic_threshold: u8,
    /// How addresses are asked how they are; `None` does not ask.
    pub health: Option<HealthChecks>,
}

impl Consultant {
    /// An application at these addresses with every default applied.
    pub fn at(connect_to: Vec<Address>) -> Self {
        Self {
            connect_to,
            protocol: ApplicationProtocol::Http,
            verify: Verify::Platform,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            first_byte_timeout: DEFAULT_FIRST_BYTE_TIMEOUT,
            idle_timeout: DEFAULT_IDLE_TIMEOUT,
            server_name: None,
            connections: 256,
            idle_connections: 32,
            idle_connection_timeout: Duration::from_secs(4),
            queue: 1024,
            queue_timeout: Duration::from_secs(10),
            retries: 3,
            retry_budget: 20,
            ejection: Some(Ejection::default()),
            slow_start: Some(Duration::from_secs(10)),
            panic_threshold: 50,
            health: None,
        }
    }

    /// What only a FastCGI application has.
    pub fn fastcgi(&self) -> Option<&FastCgi> {
        match &self.protocol {
            ApplicationProtocol::FastCgi(fastcgi) => Some(fastcgi),
            ApplicationProtocol::Http | ApplicationProtocol::Https | ApplicationProtocol::H2c => None,
        }
    }
}

/// An application that is up accepts at once; this leaves room for a busy machine.
pub(crate) const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Long enough for a person who stands at a breakpoint of the application.
pub(crate) const DEFAULT_FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(300);

/// Websockets and event streams may be silent for long without being dead.
pub(crate) const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// What an application speaks.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ApplicationProtocol {
    /// HTTP/1.1.
    Http,
    /// HTTP/1.1 or HTTP/2 over TLS.
    Https,
    /// HTTP/2 without TLS, by prior knowledge.
    H2c,
    /// FastCGI, as php-fpm does.
    FastCgi(FastCgi),
}

impl ApplicationProtocol {
    /// The word of the file.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::H2c => "h2c",
            Self::FastCgi(_) => "fastcgi",
        }
    }
}

/// Which certificates of an `https` application are trusted.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Verify {
    /// Those the machine trusts.
    Platform,
    /// Those the machine trusts, and the certificates of this PEM file (absolute).
    Pem(#[serde(with = "wire::path")] PathBuf),
    /// Every one.
    Nothing,
}

/// One redirect of a domain.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Redirect {
    /// Path it answers for. With `/*` at its end: every path below as well.
    pub from: String,
    /// Where it leads: a path or a URL. With `*` at its end: the rest of the path goes there.
    pub to: String,
    /// Status, one of 301, 302, 303, 307, 308.
    pub status: u16,
}

/// Status of a redirect when none is given: temporary, because browsers keep permanent ones for months.
pub(crate) const DEFAULT_REDIRECT_STATUS: u16 = 302;

/// Which names that are not configured are forwarded to the Internet.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Forward {
    /// None.
    No,
    /// All.
    All,
    /// Those that one of these covers, never empty.
    Only(Vec<NamePattern>),
}

/// A user of the little network.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SocksUser {
    /// User name, 1 to 255 bytes (RFC 1929 §2).
    pub name: String,
    /// Password, 1 to 255 bytes (RFC 1929 §2).
    pub password: Secret,
}

/// The simulated network.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Shape {
    /// Bytes per second towards the browser; `None` is unlimited.
    pub bandwidth: Option<u64>,
    /// Round-trip time that is added; `None` adds nothing.
    pub latency: Option<Duration>,
}

/// The shape of log lines.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Which Redis is used.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Redis {
    /// An own one, when a server is installed.
    Auto,
    /// None.
    Off,
    /// This one; the URL may hold a password.
    Url(Secret),
}

/// What may stand for a Redis; does not repeat what was written, since it may hold a password.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be `auto`, `off` or the URL of a Redis")]
pub struct RedisError;

impl std::str::FromStr for Redis {
    type Err = RedisError;

    fn from_str(text: &str) -> Result<Self, RedisError> {
        const KINDS: [&str; 4] = ["redis://", "rediss://", "unix://", "redis+unix://"];
        let mut kinds = KINDS.iter().filter_map(|kind| text.strip_prefix(kind));
        match text {
            "auto" => Ok(Redis::Auto),
            "off" => Ok(Redis::Off),
            _ if text.chars().any(|c| c.is_whitespace() || c.is_control()) => Err(RedisError),
            _ if kinds.any(|rest| !rest.is_empty()) => Ok(Redis::Url(Secret::new(text))),
            _ => Err(RedisError),
        }
    }
}

/// A text that never appears in logs or error messages.
///
/// Shape: serde writes the text itself, because a worker needs it; see [`Settings`] for where it may go.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself; every use of this name is a place to look at.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
