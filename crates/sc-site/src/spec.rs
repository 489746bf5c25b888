//! What a site is made of, as the mode that runs it says: plain values, nothing opened or checked yet.
//!
//! [`crate::Sites::compile`] turns them into something that answers. Nothing here knows the configuration file.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use sc_net::UpstreamAddr;
use sc_tls::ClientTrust;

use crate::NamePattern;

/// One site.
#[derive(Clone, Debug)]
pub struct SiteSpec {
    /// The name or wildcard it answers for.
    pub name: NamePattern,
    /// Who may reach it.
    pub audience: Audience,
    /// The folder of its files, when it has one.
    pub root: Option<FilesSpec>,
    /// Its application, when it has one.
    pub upstream: Option<UpstreamSpec>,
    /// Fields that are set on every answer, replacing what stands there. A name that comes twice gets both values.
    pub headers: Vec<(String, String)>,
    /// Redirects, first match wins; looked at before files and application.
    pub redirects: Vec<RedirectSpec>,
}

impl SiteSpec {
    /// A site for everybody that has nothing yet.
    pub fn new(name: NamePattern) -> Self {
        SiteSpec {
            name,
            audience: Audience::Public,
            root: None,
            upstream: None,
            headers: Vec::new(),
            redirects: Vec::new(),
        }
    }
}

/// Who may reach a site.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Audience {
    /// Everybody who reaches a listener.
    #[default]
    Public,
    /// Only people inside the little network; listeners towards others must not show it.
    Network,
}

/// How much of what went wrong is shown to whoever asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Disclosure {
    /// Everything that helps to find the fault.
    Developer,
    /// The status and nothing else.
    Public,
}

/// A folder of files.
#[derive(Clone, Debug)]
pub struct FilesSpec {
    /// The folder. It may be missing, replaced or renamed while we serve: it is looked up again when it changes.
    pub dir: PathBuf,
    /// Whether navigations that match no file get `/index.html`. An application behind the site then gets everything
    /// but navigations.
    pub is_spa: bool,
    /// Names that stand for their folder, in order of preference.
    pub index: Vec<String>,
    /// How long what was seen of a file is taken for true. By default one request long for a developer, and 10 ms for the
    /// public.
    pub window: Option<Duration>,
}

impl FilesSpec {
    /// A folder with `index.html` as its index and no SPA rule.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        FilesSpec {
            dir: dir.into(),
            is_spa: false,
            index: vec!["index.html".to_owned()],
            window: None,
        }
    }
}

/// An application.
#[derive(Clone, Debug)]
pub struct UpstreamSpec {
    /// Where it listens; at least one.
    pub addrs: Vec<UpstreamAddr>,
    /// How it is spoken to.
    pub protocol: UpstreamProtocol,
    /// Whose certificates are accepted from it ([`UpstreamProtocol::Https`] only).
    pub trust: ClientTrust,
    /// The name its certificate must have; by default the name in its address, or else the name that was asked for.
    pub server_name: Option<String>,
    /// Time limits.
    pub timeouts: Timeouts,
    /// How many connections are held.
    pub pool: PoolSpec,
    /// For [`UpstreamProtocol::FastCgi`]: its programs.
    pub fastcgi: FastCgiSpec,
    /// Which of its addresses are left out, and how they come back.
    pub balance: BalanceSpec,
    /// How often requests are sent again.
    pub retries: RetrySpec,
    /// Whether and how its addresses are asked how they are.
    pub health: Option<HealthSpec>,
    /// Whether its 5xx answers are passed on as they are even where [`Disclosure::Public`] holds.
    pub discloses_errors: bool,
}

impl UpstreamSpec {
    /// An HTTP/1.1 application at one address, with default limits.
    pub fn new(addr: UpstreamAddr) -> Self {
        UpstreamSpec {
            addrs: vec![addr],
            protocol: UpstreamProtocol::Http,
            trust: ClientTrust::Platform,
            server_name: None,
            timeouts: Timeouts::default(),
            pool: PoolSpec::default(),
            fastcgi: FastCgiSpec::default(),
            balance: BalanceSpec::default(),
            retries: RetrySpec::default(),
            health: None,
            discloses_errors: false,
        }
    }
}

/// Which programs a FastCGI application has, and what it is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FastCgiSpec {
    /// Extensions of files of the site's folder that are programs; none of those is ever sent as it is.
    pub extensions: Vec<String>,
    /// The program, with a slash in front, that answers for everything that is no file.
    pub front_controller: Option<String>,
    /// Where the application sees the site's folder, when that is elsewhere.
    pub document_root: Option<PathBuf>,
    /// Whether connections are kept for another exchange. Each one holds a process of php-fpm while it rests.
    pub is_kept: bool,
    /// Variables that are added to every request.
    pub variables: Vec<(String, String)>,
}

impl Default for FastCgiSpec {
    fn default() -> Self {
        FastCgiSpec {
            extensions: vec!["php".to_owned()],
            front_controller: Some("/index.php".to_owned()),
            document_root: None,
            is_kept: false,
            variables: Vec::new(),
        }
    }
}

/// How an application is spoken to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http,
    /// TLS, with HTTP/2 or HTTP/1.1 as ALPN decides.
    Https,
    /// HTTP/2 without TLS, by prior knowledge (RFC 9113 §3.3).
    H2c,
    /// FastCGI 1.0, as php-fpm does.
    FastCgi,
}

/// Time limits towards an application.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection, TLS included. Local applications accept at once or not at all.
    pub connect: Duration,
    /// For a free connection when all are in use.
    pub queue: Duration,
    /// From the whole request to the head of the response; long, because people stop applications in debuggers.
    pub first_byte: Duration,
    /// Longest pause within a response body or tunnel; an hour, because event streams and websockets are silent for long.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(5),
            queue: Duration::from_secs(10),
            first_byte: Duration::from_secs(300),
            idle: Duration::from_secs(3600),
        }
    }
}

/// How many connections to one address of an application are held.
#[derive(Clone, Copy, Debug)]
pub struct PoolSpec {
    /// Exchanges at a time; further ones wait ([`Timeouts::queue`]). 256 is above what browsers of a team ask at once.
    pub busy: usize,
    /// Exchanges that may wait; further ones are refused at once. What waits has been read and takes memory.
    pub waiting: usize,
    /// Idle connections that are kept.
    pub idle: usize,
    /// How long an idle connection is kept. Below the 5 s after which Node closes them, so that the two seldom meet.
    pub idle_time: Duration,
}

impl Default for PoolSpec {
    fn default() -> Self {
        PoolSpec {
            busy: 256,
            waiting: 1024,
            idle: 32,
            idle_time: Duration::from_secs(4),
        }
    }
}

/// Which addresses of an application are left out of the choice. Of an application with one address, none ever is.
#[derive(Clone, Debug)]
pub struct BalanceSpec {
    /// Failures in a row until an address is left out; 0 never leaves one out.
    pub failures: u32,
    /// How long it is left out at first, and how much longer each time it fails again.
    pub pause: Duration,
    /// How long at most.
    pub longest_pause: Duration,
    /// Statuses of answers that count as failures; the answers are passed on all the same.
    pub failing_statuses: Vec<RangeInclusive<u16>>,
    /// How long an address that came back takes to get its whole share; zero gives it at once.
    pub slow_start: Duration,
    /// When fewer than this many of a hundred addresses are fit, those that can be connected to are used all the same.
    pub panic_percent: u8,
}

impl Default for BalanceSpec {
    fn default() -> Self {
        BalanceSpec {
            failures: 3,
            pause: Duration::from_secs(5),
            longest_pause: Duration::from_secs(60),
            failing_statuses: Vec::new(),
            slow_start: Duration::from_secs(10),
            panic_percent: 50,
        }
    }
}

/// How often requests are sent again; whether one may be is decided by RFC 9110 §9.2.2.
#[derive(Clone, Copy, Debug)]
pub struct RetrySpec {
    /// How often one request is sent again at most.
    pub most: usize,
    /// Requests that are sent again for each hundred that come, counted over ten seconds; ten are always allowed.
    pub budget_percent: u8,
}

impl Default for RetrySpec {
    fn default() -> Self {
        RetrySpec {
            most: 3,
            budget_percent: 20,
        }
    }
}

/// How the addresses of an application are asked how they are: a `GET` on a connection of its own, again and again.
#[derive(Clone, Debug)]
pub struct HealthSpec {
    /// Path and query.
    pub path: String,
    /// From the end of one check to the next, give or take a tenth.
    pub interval: Duration,
    /// For connection and answer together.
    pub timeout: Duration,
    /// Good checks in a row until an address is used again.
    pub healthy_after: u32,
    /// Bad checks in a row until an address is left out. The very first check decides at once.
    pub unhealthy_after: u32,
    /// Statuses of good answers.
    pub statuses: Vec<RangeInclusive<u16>>,
}

impl HealthSpec {
    /// Asks for a path, with defaults.
    pub fn new(path: impl Into<String>) -> Self {
        HealthSpec {
            path: path.into(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            healthy_after: 2,
            unhealthy_after: 3,
            statuses: vec![200..=399],
        }
    }
}

/// One redirect.
#[derive(Clone, Debug)]
pub struct RedirectSpec {
    /// The path that is moved: `/old` alone, or `/old/*` with everything below it.
    pub from: String,
    /// Where to: a path or a whole URL. After `/old/*` a trailing `*` stands for the rest of the path.
    /// The query goes along unless there is one here.
    pub to: String,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}
