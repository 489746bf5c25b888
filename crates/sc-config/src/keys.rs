//! The table of keys: every key of the devlove file, what it takes, its default and its words.
//!
//! This is the only place where a key is named together with its type. The checker ([`crate::check`]) refuses what does
//! not fit it, and [`crate::schema`] and [`crate::reference`] are written from it, so that none of them can drift. What
//! values mean together (a domain with both `port` and `root-dir`, say) is not told here.

use std::time::Duration;

use crate::balance::{EJECTION, HEALTH};
use crate::limits::LIMITS;
use crate::settings;
use crate::units::show_size;

/// A mapping whose keys are known.
#[derive(Debug)]
pub(crate) struct Table {
    /// What the mapping is, as in "not a key of …".
    pub(crate) what: &'static str,
    /// Its keys, in the order in which people should learn them.
    pub(crate) keys: &'static [Key],
    /// Keys that must be there.
    pub(crate) required: &'static [&'static str],
}

/// One key of a table.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// One or two sentences.
    pub(crate) doc: &'static str,
    /// What holds when the key is absent, in words.
    pub(crate) default: Option<&'static str>,
    /// A value as it would stand in the file; empty for keys that are not supported yet.
    pub(crate) example: &'static str,
}

/// What a value must look like.
#[derive(Debug)]
pub(crate) enum Shape {
    /// `true` or `false`.
    Bool,
    /// `false` only, beside other shapes.
    False,
    /// A text or number of some kind.
    Scalar(Scalar),
    /// A list.
    List(&'static Shape),
    /// One value or a list of them.
    OneOrMore(&'static Shape),
    /// A mapping with free keys.
    Map(Scalar, &'static Shape),
    /// A mapping with known keys.
    Table(&'static Table),
    /// The first of these that fits the kind of YAML value.
    Either(&'static [Shape]),
    /// A key whose name is kept for later.
    Later,
}

/// What a text or number must look like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scalar {
    /// The key of a domain.
    Domain,
    /// A whole number in a range.
    Integer(u32, u32),
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of these numbers.
    Number(&'static [u32]),
    /// Where we listen.
    Listen,
    /// Where an application or server listens.
    Connect,
    /// A path.
    Path,
    /// A file name without a folder.
    FileName,
    /// An IP address or network.
    Network,
    /// A name or wildcard.
    Host,
    /// Bytes per second.
    Bandwidth,
    /// A round-trip time.
    Latency,
    /// A time limit.
    Time,
    /// A time limit that is not shorter than this.
    TimeFrom(Duration),
    /// A number of bytes in a range.
    Size(u64, u64),
    /// A field name that may be set on a response.
    HeaderName,
    /// A field value.
    HeaderValue,
    /// A path, or one with `/*` at its end.
    RedirectFrom,
    /// A path or URL.
    RedirectTo,
    /// Path and query of a request.
    RequestPath,
    /// A status, or a range of them as in `200-399`.
    Statuses,
    /// The name in a certificate, or an IP address.
    ServerName,
    /// A user name or password of SOCKS5.
    Credential,
    /// An expression over log codes.
    LogCodes,
    /// A file extension without its dot.
    Extension,
    /// The path of a program in a URL.
    ScriptPath,
    /// A path from the root of a file system, not necessarily ours.
    AbsolutePath,
    /// The name of a variable.
    Variable,
    /// `auto`, `off` or a URL.
    Redis,
    /// The name of an instance.
    Instance,
}

const NOT_YET: &str = "Not supported yet; the name is kept free.";

const fn later(name: &'static str) -> Key {
    Key {
        name,
        shape: Shape::Later,
        doc: NOT_YET,
        default: None,
        example: "",
    }
}

/// The file itself.
pub(crate) static FILE: Table = Table {
    what: "the file",
    required: &["shimmercat-devlove"],
    keys: &[Key {
        name: "shimmercat-devlove",
        shape: Shape::Table(&TOP),
        doc: "The project: its domains and its settings.",
        default: None,
        example: "",
    }],
};

/// Below `shimmercat-devlove`.
pub(crate) static TOP: Table = Table {
    what: "`shimmercat-devlove`",
    required: &["domains"],
    keys: &[
        Key {
            name: "domains",
            shape: Shape::Map(Scalar::Domain, &Shape::Table(&DOMAIN)),
            doc: "The sites and names of the project, by domain name. `*.x` covers every depth below x. The old \
                  prefixes `elec ` and `api ` may stand before a name.",
            default: None,
            example: "{ www.shop.example: { root-dir: site } }",
        },
        Key {
            name: "listen",
            shape: Shape::OneOrMore(&Shape::Scalar(Scalar::Listen)),
            doc: "Where HTTPS is served. A bare port means loopback.",
            default: Some("127.0.0.1:4043, or the next free port (devlove)"),
            example: "[0.0.0.0:443, '[::]:443']",
        },
        Key {
            name: "socks-5",
            shape: Shape::Either(&[Shape::False, Shape::Scalar(Scalar::Listen)]),
            doc: "Where the little network's proxy listens; `false` switches it off.",
            default: Some("127.0.0.1:2006, or the next free port (devlove)"),
            example: "2016",
        },
        Key {
            name: "forward",
            shape: Shape::Either(&[Shape::Bool, Shape::OneOrMore(&Shape::Scalar(Scalar::Host))]),
            doc: "Names that are not configured but may be reached on the Internet: none, all (`true`), or those of \
                  a list. The same as `-w`.",
            default: Some("false"),
            example: "[fonts.googleapis.com, '*.gstatic.com']",
        },
        Key {
            name: "allow-private",
            shape: Shape::OneOrMore(&Shape::Scalar(Scalar::Network)),
            doc: "Loopback and private addresses or networks that forwarding may reach all the same.",
            default: Some("none"),
            example: "[127.0.0.1, 10.1.0.0/16]",
        },
        Key {
            name: "socks-users",
            shape: Shape::Map(Scalar::Credential, &Shape::Scalar(Scalar::Credential)),
            doc: "User names and passwords that the proxy asks for. Better kept in `devlove.local.yaml`.",
            default: Some("none, nobody is asked"),
            example: "{ ada: correct-horse }",
        },
        Key {
            name: "socks-allow",
            shape: Shape::OneOrMore(&Shape::Scalar(Scalar::Network)),
            doc: "Addresses or networks that may use the proxy.",
            default: Some("this machine only"),
            example: "[192.168.7.0/24]",
        },
        Key {
            name: "enable-socks-5",
            shape: Shape::Bool,
            doc: "Switches the proxy on in `internet` mode.",
            default: Some("false"),
            example: "true",
        },
        Key {
            name: "sim-bandwidth",
            shape: Shape::Scalar(Scalar::Bandwidth),
            doc: "Simulated bandwidth towards the browser (devlove): kbit/s or kb/s, Mbit/s or Mb/s, Kibit/s, Mibit/s, \
                  kB/s, MB/s, KiB/s, MiB/s; without a unit, bytes per second.",
            default: Some("unlimited"),
            example: "7Mbit/s",
        },
        Key {
            name: "sim-latency",
            shape: Shape::Scalar(Scalar::Latency),
            doc: "Simulated round-trip time (devlove), in ms or s.",
            default: Some("none"),
            example: "210ms",
        },
        Key {
            name: "log-codes",
            shape: Shape::Scalar(Scalar::LogCodes),
            doc: "Which events are generated: the sets `all`, `default`, `empty`, `connection` and single codes, \
                  joined by `+` (union) and `\\` (difference).",
            default: Some("default"),
            example: "'all\\connection'",
        },
        Key {
            name: "log-format",
            shape: Shape::Scalar(Scalar::Word(&["auto", "pretty", "json"])),
            doc: "Log lines for people or as JSON; `auto` is pretty on a terminal only.",
            default: Some("auto"),
            example: "json",
        },
        Key {
            name: "redirect",
            shape: Shape::OneOrMore(&Shape::Scalar(Scalar::Listen)),
            doc: "Plain-HTTP addresses that only redirect to HTTPS (internet). The same as `-t`.",
            default: Some("off"),
            example: "[0.0.0.0:80, '[::]:80']",
        },
        Key {
            name: "cert",
            shape: Shape::Scalar(Scalar::Path),
            doc: "Certificate chain of the instance, PEM (internet).",
            default: Some("cert.pem in the scratch folder"),
            example: "/etc/ssl/shop/cert.pem",
        },
        Key {
            name: "key",
            shape: Shape::Scalar(Scalar::Path),
            doc: "Private key of the instance, PEM (internet).",
            default: Some("privkey.pem in the scratch folder"),
            example: "/etc/ssl/shop/privkey.pem",
        },
        Key {
            name: "redis",
            shape: Shape::Scalar(Scalar::Redis),
            doc: "Which Redis the workers share (internet): `auto` starts an own one, `off` uses none, a URL joins \
                  that one.",
            default: Some("auto"),
            example: "rediss://redis.internal:6380/0",
        },
        Key {
            name: "workers",
            shape: Shape::Scalar(Scalar::Integer(1, 1024)),
            doc: "Number of lanes of workers (internet).",
            default: Some("one per core"),
            example: "4",
        },
        Key {
            name: "standby",
            shape: Shape::Bool,
            doc: "Whether each lane keeps a second worker, warm and idle, that takes over at once (internet). It costs \
                  the memory of one more worker for each lane.",
            default: Some("when memory allows"),
            example: "true",
        },
        Key {
            name: "worker-life",
            shape: Shape::Scalar(Scalar::TimeFrom(settings::SHORTEST_WORKER_LIFE)),
            doc: "Shortest life of a worker (internet); each one lives up to 15 minutes longer, at random.",
            default: Some("15m"),
            example: "1h",
        },
        Key {
            name: "drain-time",
            shape: Shape::Scalar(Scalar::Time),
            doc: "Longest time that a retiring worker may finish its exchanges and tunnels (internet).",
            default: Some("15m"),
            example: "30m",
        },
        Key {
            name: "stop-time",
            shape: Shape::Scalar(Scalar::Time),
            doc: "Longest time that all workers may finish when the program is told to stop (internet).",
            default: Some("60s"),
            example: "20s",
        },
        Key {
            name: "metrics",
            shape: Shape::Scalar(Scalar::Listen),
            doc: "Where Prometheus finds the metrics, in plain HTTP: loopback or a unix socket (internet).",
            default: Some("the control socket only"),
            example: "127.0.0.1:9145",
        },
        Key {
            name: "instance",
            shape: Shape::Scalar(Scalar::Instance),
            doc: "Name of the instance in Redis (internet). Machines that serve one site together share it; anything \
                  else has a name of its own.",
            default: Some("made of the project's folder"),
            example: "shop",
        },
        Key {
            name: "disclose-errors",
            shape: Shape::Bool,
            doc: "Shows an application's own error pages to the public (internet).",
            default: Some("false"),
            example: "true",
        },
        Key {
            name: "limits",
            shape: Shape::Table(&LIMITS),
            doc: "What no client gets more of: see `docs/limits.md`.",
            default: Some("those of each limit"),
            example: "{ connections-per-address: 256, idle-time: 30s }",
        },
        later("net"),
        later("faults"),
        later("haps-settings"),
    ],
};

/// One domain.
pub(crate) static DOMAIN: Table = Table {
    what: "a domain",
    required: &[],
    keys: &[
        Key {
            name: "root-dir",
            shape: Shape::Scalar(Scalar::Path),
            doc: "Folder of the files, relative to the devlove file.",
            default: None,
            example: "site",
        },
        Key {
            name: "consultant",
            shape: Shape::Table(&CONSULTANT),
            doc: "The application that answers what is not a file.",
            default: None,
            example: "{ connect-to: 127.0.0.1:8000 }",
        },
        Key {
            name: "port",
            shape: Shape::Scalar(Scalar::Connect),
            doc: "Port or address of the application that answers everything (an API domain).",
            default: None,
            example: "8000",
        },
        Key {
            name: "spa",
            shape: Shape::Bool,
            doc: "Answers navigations that match no file with `/index.html`.",
            default: Some("false"),
            example: "true",
        },
        Key {
            name: "index",
            shape: Shape::OneOrMore(&Shape::Scalar(Scalar::FileName)),
            doc: "Names of the file that answers for its folder, in order of preference.",
            default: Some("index.html"),
            example: "[index.html, index.htm]",
        },
        Key {
            name: "audience",
            shape: Shape::Scalar(Scalar::Word(&["public", "network"])),
            doc: "`network`: reachable through the little network only, never on the HTTPS port.",
            default: Some("public"),
            example: "network",
        },
        Key {
            name: "headers",
            shape: Shape::Map(
                Scalar::HeaderName,
                &Shape::OneOrMore(&Shape::Scalar(Scalar::HeaderValue)),
            ),
            doc: "Fields that are set on every response.",
            default: Some("none"),
            example: "{ X-Frame-Options: DENY }",
        },
        Key {
            name: "redirects",
            shape: Shape::Either(&[
                Shape::Map(
                    Scalar::RedirectFrom,
                    &Shape::Either(&[Shape::Scalar(Scalar::RedirectTo), Shape::Table(&REDIRECT_TO)]),
                ),
                Shape::List(&Shape::Table(&REDIRECT)),
            ]),
            doc: "Redirects by path, the first match wins. `/old/*` also matches every path below `/old`; a `*` at the \
                  end of the new place stands for the rest.",
            default: Some("none"),
            example: "{ /old: /new, /blog/*: 'https://blog.example/*' }",
        },
        Key {
            name: "tcp",
            shape: Shape::Map(Scalar::Integer(1, 65535), &Shape::Scalar(Scalar::Connect)),
            doc: "TCP ports of this name inside the little network, and where they lead.",
            default: None,
            example: "{ 3306: 127.0.0.1:33060 }",
        },
        Key {
            name: "udp",
            shape: Shape::Map(Scalar::Integer(1, 65535), &Shape::Scalar(Scalar::Connect)),
            doc: "UDP ports of this name inside the little network, and where they lead.",
            default: None,
            example: "{ 53: 127.0.0.1:5353 }",
        },
        later("run"),
        later("health"),
        later("net"),
        later("faults"),
        later("views-dir"),
        later("consultants"),
        later("cache-key"),
        later("change-url"),
        later("changelist-settings"),
        later("prob-accelerator-kicks-in"),
        later("bot-protection-enabled"),
        later("haps-settings"),
    ],
};

/// An application.
pub(crate) static CONSULTANT: Table = Table {
    what: "`consultant`",
    required: &["connect-to"],
    keys: &[
        Key {
            name: "connect-to",
            shape: Shape::OneOrMore(&Shape::Scalar(Scalar::Connect)),
            doc: "Where the application listens: a port, `host:port` or `unix:///path`, or several of them.",
            default: None,
            example: "127.0.0.1:8000",
        },
        Key {
            name: "application-protocol",
            shape: Shape::Scalar(Scalar::Word(&["http", "https", "h2c", "fastcgi"])),
            doc: "What the application speaks: HTTP/1.1, HTTP over TLS, HTTP/2 without TLS, or FastCGI as php-fpm does.",
            default: Some("http"),
            example: "h2c",
        },
        Key {
            name: "verify",
            shape: Shape::Either(&[Shape::Bool, Shape::Scalar(Scalar::Path)]),
            doc: "Which certificates of an `https` application are trusted: those the machine trusts (`true`), every \
                  one (`false`), or also those of a PEM file.",
            default: Some("true"),
            example: "certs/internal-ca.pem",
        },
        Key {
            name: "connect-timeout",
            shape: Shape::Scalar(Scalar::Time),
            doc: "How long a connection may take to open.",
            default: Some("5s"),
            example: "2s",
        },
        Key {
            name: "first-byte-timeout",
            shape: Shape::Scalar(Scalar::Time),
            doc: "How long the application may think before the first byte of its answer.",
            default: Some("5m"),
            example: "30s",
        },
        Key {
            name: "idle-timeout",
            shape: Shape::Scalar(Scalar::Time),
            doc: "How long an answer, an upload or a tunnel may be silent.",
            default: Some("1h"),
            example: "10m",
        },
        Key {
            name: "script-extensions",
            shape: Shape::OneOrMore(&Shape::Scalar(Scalar::Extension)),
            doc: "Extensions of the files that are programs of a `fastcgi` application; they are never sent as they are.",
            default: Some("php"),
            example: "[php, phtml]",
        },
        Key {
            name: "front-controller",
            shape: Shape::Either(&[Shape::False, Shape::Scalar(Scalar::ScriptPath)]),
            doc: "The program of a `fastcgi` application that answers for every path that is no file; `false` for none.",
            default: Some("/index.php"),
            example: "/app.php",
        },
        Key {
            name: "document-root",
            shape: Shape::Scalar(Scalar::AbsolutePath),
            doc: "Where a `fastcgi` application sees the files of `root-dir`, when it runs elsewhere, as in a container.",
            default: Some("the same path as here"),
            example: "/var/www/html",
        },
        Key {
            name: "keep-connection",
            shape: Shape::Bool,
            doc: "Whether connections to a `fastcgi` application are kept for more requests. A kept connection holds a \
                  process of php-fpm.",
            default: Some("false"),
            example: "true",
        },
        Key {
            name: "variables",
            shape: Shape::Map(Scalar::Variable, &Shape::Scalar(Scalar::HeaderValue)),
            doc: "Variables that a `fastcgi` application gets with every request, beside those of CGI.",
            default: Some("none"),
            example: "{ APP_ENV: production }",
        },
        Key {
            name: "server-name",
            shape: Shape::Scalar(Scalar::ServerName),
            doc: "The name that the certificate of an `https` application must have.",
            default: Some("the host of `connect-to`, or the name that was asked for"),
            example: "app.internal",
        },
        Key {
            name: "connections",
            shape: Shape::Scalar(Scalar::Integer(1, 65535)),
            doc: "Requests that one address is asked at a time by one worker; more of them wait.",
            default: Some("256"),
            example: "64",
        },
        Key {
            name: "idle-connections",
            shape: Shape::Scalar(Scalar::Integer(0, 65535)),
            doc: "Connections to one address that one worker keeps open while nothing is asked.",
            default: Some("32"),
            example: "8",
        },
        Key {
            name: "idle-connection-timeout",
            shape: Shape::Scalar(Scalar::Time),
            doc: "How long such a connection is kept. Less than what the application keeps it for itself: Node's 5 s, say.",
            default: Some("4s"),
            example: "55s",
        },
        Key {
            name: "queue",
            shape: Shape::Scalar(Scalar::Integer(0, 65535)),
            doc: "Requests that may wait for one address in one worker; more of them get 503 at once.",
            default: Some("1024"),
            example: "100",
        },
        Key {
            name: "queue-timeout",
            shape: Shape::Scalar(Scalar::Time),
            doc: "How long a request may wait before it gets 503.",
            default: Some("10s"),
            example: "2s",
        },
        Key {
            name: "retries",
            shape: Shape::Scalar(Scalar::Integer(0, 10)),
            doc: "How often a request that failed is sent again, to another address, where RFC 9110 allows it.",
            default: Some("3"),
            example: "1",
        },
        Key {
            name: "retry-budget",
            shape: Shape::Scalar(Scalar::Integer(0, 100)),
            doc: "Requests that may be sent again for each hundred that come, over ten seconds; ten always may.",
            default: Some("20"),
            example: "10",
        },
        Key {
            name: "ejection",
            shape: Shape::Either(&[Shape::False, Shape::Table(&EJECTION)]),
            doc: "When one address of several is left out because requests fail there; `false` never does.",
            default: Some("after 3 failures"),
            example: "{ failures: 5, pause: 10s }",
        },
        Key {
            name: "slow-start",
            shape: Shape::Either(&[Shape::False, Shape::Scalar(Scalar::Time)]),
            doc: "How long an address that came back takes to get its whole share of the requests.",
            default: Some("10s"),
            example: "1m",
        },
        Key {
            name: "panic-threshold",
            shape: Shape::Scalar(Scalar::Integer(0, 100)),
            doc: "When fewer than this many of a hundred addresses are fit, all that can be connected to are used.",
            default: Some("50"),
            example: "30",
        },
        Key {
            name: "health",
            shape: Shape::Table(&HEALTH),
            doc: "Asks each address again and again how it is, and leaves out those that do not answer well.",
            default: Some("nobody is asked"),
            example: "{ path: /health }",
        },
        later("run"),
    ],
};

/// What a redirect of the mapping form may be instead of a place.
pub(crate) static REDIRECT_TO: Table = Table {
    what: "a redirect",
    required: &["to"],
    keys: &[TO, STATUS],
};

/// A redirect of the list form.
pub(crate) static REDIRECT: Table = Table {
    what: "a redirect",
    required: &["from", "to"],
    keys: &[
        Key {
            name: "from",
            shape: Shape::Scalar(Scalar::RedirectFrom),
            doc: "The path that is redirected.",
            default: None,
            example: "/old",
        },
        TO,
        STATUS,
    ],
};

const TO: Key = Key {
    name: "to",
    shape: Shape::Scalar(Scalar::RedirectTo),
    doc: "Where it leads.",
    default: None,
    example: "/new",
};

const STATUS: Key = Key {
    name: "status",
    shape: Shape::Scalar(Scalar::Number(&[301, 302, 303, 307, 308])),
    doc: "Status of the redirect; 301 and 308 are kept by browsers for long.",
    default: Some("302"),
    example: "308",
};

/// Every table, for hints about keys that stand at the wrong level.
pub(crate) static TABLES: [&Table; 7] = [&FILE, &TOP, &DOMAIN, &CONSULTANT, &EJECTION, &HEALTH, &LIMITS];

impl Table {
    /// The key of this name.
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Names that can be used today.
    pub(crate) fn usable(&self) -> impl Iterator<Item = &'static str> {
        self.keys
            .iter()
            .filter(|key| !matches!(key.shape, Shape::Later))
            .map(|key| key.name)
    }
}

impl Shape {
    /// What it is, in words that follow "must be".
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Bool => "`true` or `false`".to_owned(),
            Self::False => "`false`".to_owned(),
            Self::Scalar(scalar) => scalar.words(),
            Self::List(_) => "a list".to_owned(),
            Self::OneOrMore(shape) => format!("{} or a list of them", shape.words()),
            Self::Map(..) | Self::Table(_) => "a mapping".to_owned(),
            Self::Either(shapes) => {
                let words = shapes.iter().flat_map(|shape| match shape {
                    Self::Bool => vec!["`true`".to_owned(), "`false`".to_owned()],
                    other => vec![other.words()],
                });
                let words: Vec<_> = words.collect();
                match words.split_last() {
                    Some((last, [])) => last.clone(),
                    Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
                    None => String::new(),
                }
            }
            Self::Later => "absent".to_owned(),
        }
    }
}

impl Scalar {
    /// What it is, in words that follow "must be".
    pub(crate) fn words(self) -> String {
        match self {
            Self::Credential | Self::HeaderValue => "a text".to_owned(),
            Self::Domain | Self::Host => "a domain name".to_owned(),
            Self::Integer(least, most) => format!("a number from {least} to {most}"),
            Self::Word(words) => one_of(words),
            Self::Number(numbers) => one_of(&numbers.iter().map(ToString::to_string).collect::<Vec<_>>()),
            Self::Listen | Self::Connect => "an address".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::FileName => "a file name".to_owned(),
            Self::Network => "an IP address or network".to_owned(),
            Self::Bandwidth => "a bandwidth".to_owned(),
            Self::Latency | Self::Time => "a time".to_owned(),
            Self::TimeFrom(least) => format!("a time of at least {} minutes", least.as_secs() / 60),
            Self::Size(least, most) => format!("a size from {} to {}", show_size(least), show_size(most)),
            Self::HeaderName => "a field name".to_owned(),
            Self::RedirectFrom => "a path".to_owned(),
            Self::RedirectTo => "a path or URL".to_owned(),
            Self::RequestPath => "a path".to_owned(),
            Self::Statuses => "a status or a range of them".to_owned(),
            Self::ServerName => "a host name or IP address".to_owned(),
            Self::LogCodes => "an expression of log codes".to_owned(),
            Self::Extension => "a file extension without dot".to_owned(),
            Self::ScriptPath => "the path of a program, as in `/index.php`".to_owned(),
            Self::AbsolutePath => "an absolute path".to_owned(),
            Self::Variable => "a name of capital letters, digits and `_`".to_owned(),
            Self::Redis => "`auto`, `off` or a URL".to_owned(),
            Self::Instance => "a name of letters, digits, `-`, `_` and `.`".to_owned(),
        }
    }
}

fn one_of<T: AsRef<str>>(words: &[T]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{}`", word.as_ref())).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
