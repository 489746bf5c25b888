//! Network addresses as people write them, in the file and on the command line.
//!
//! One grammar serves listeners and applications: `4043` and `:4043` (loopback), `127.0.0.1:4043`, `[::1]:4043`,
//! `host:port`, `lookup(host):port`, `unix:///path`, `socket-fd://N`, `socket-name://NAME`. Nothing is resolved or
//! bound here. Which forms make sense where is decided by [`Address::for_listening`] and [`Address::for_connecting`].
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::names;
use crate::wire;

/// An address as written, before anything is resolved.
///
/// Shape: `Name` keeps the host lower-case and in punycode; `Unix` keeps the path as written, possibly relative.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A name that is resolved when it is needed (`host:port` and `lookup(host):port`).
    Name {
        /// Host name, lower-case, punycode.
        host: String,
        /// Port, 0 to 65535.
        port: u16,
    },
    /// A unix stream socket.
    Unix(#[serde(with = "wire::path")] PathBuf),
    /// An inherited, already open descriptor.
    Fd(i32),
    /// A socket named by socket activation (`FileDescriptorName=` in a systemd unit).
    SocketName(String),
}

/// What is wrong with the text of an address.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum AddressError {
    /// Nothing was written.
    #[error("the address is empty")]
    Empty,
    /// Blanks or control characters in it.
    #[error("`{0}` has blanks or control characters in it")]
    Blank(String),
    /// The port is not a number from 0 to 65535.
    #[error("`{0}` is not a port")]
    Port(String),
    /// A host without a port.
    #[error("`{0}` has no port")]
    NoPort(String),
    /// An IPv6 address without brackets.
    #[error("`{0}` is ambiguous, is it an IPv6 address?")]
    Brackets(String),
    /// Brackets around something that is not an IPv6 address.
    #[error("`{0}` is not an IPv6 address")]
    Ipv6(String),
    /// A host of digits and dots that is not an IPv4 address.
    #[error("`{0}` is not an IPv4 address")]
    Ipv4(String),
    /// The host is not a name.
    #[error("`{0}` is not a host name")]
    Host(String),
    /// `*:443` and the like.
    #[error("`{0}` does not say which addresses")]
    Star(String),
    /// A URL where an address is wanted.
    #[error("`{0}` is a URL, not an address")]
    Url(String),
    /// An unknown `word://` form.
    #[error("`{0}` is not a kind of address")]
    Kind(String),
    /// `lookup` without both parentheses.
    #[error("`{0}` is not of the form `lookup(host):port`")]
    Lookup(String),
    /// `unix://` without a usable path.
    #[error("`{0}` has no path that fits a unix socket")]
    UnixPath(String),
    /// `socket-fd://` without a descriptor number.
    #[error("`{0}` has no descriptor number")]
    Descriptor(String),
    /// `socket-name://` without a usable name.
    #[error("`{0}` has no socket name")]
    SocketName(String),
    /// A form that cannot be listened on.
    #[error("`{0}` cannot be listened on")]
    NotListening(String),
    /// A form that cannot be connected to.
    #[error("`{0}` cannot be connected to")]
    NotConnecting(String),
}

impl AddressError {
    /// Says what to write instead.
    pub fn hint(&self) -> String {
        match self {
            Self::Empty | Self::Kind(_) => FORMS.to_owned(),
            Self::Blank(text) => match text.split_whitespace().collect::<String>() {
                dense if dense.parse::<Address>().is_ok() => format!("write `{dense}`"),
                _ => FORMS.to_owned(),
            },
            Self::Port(_) => "a port is a number from 1 to 65535".to_owned(),
            Self::NoPort(text) => format!("add the port, as in `{text}:8000`"),
            Self::Brackets(text) => bracket_hint(text),
            Self::Ipv6(_) => "write it as in `[::1]:8000`".to_owned(),
            Self::Ipv4(_) => "write it as in `127.0.0.1:8000`".to_owned(),
            Self::Host(_) => "a host name has letters, digits, `-` and `.`".to_owned(),
            Self::Star(text) => {
                let port = text.rsplit(':').next().unwrap_or_default();
                format!("write `0.0.0.0:{port}` for all IPv4 addresses, `[::]:{port}` for all IPv6 ones")
            }
            Self::Url(text) => url_hint(text),
            Self::Lookup(_) => "write it as in `lookup(app.example.com):8000`".to_owned(),
            Self::UnixPath(_) => {
                format!("write it as in `unix:///run/app.sock`, with at most {UNIX_PATH_MAX_BYTES} bytes of path")
            }
            Self::Descriptor(_) => "write it as in `socket-fd://3`".to_owned(),
            Self::SocketName(_) => "write it as in `socket-name://https`".to_owned(),
            Self::NotListening(_) => "give the IP address itself, as in `127.0.0.1:4043`".to_owned(),
            Self::NotConnecting(text) if text.starts_with("0.0.0.0:") => {
                format!(
                    "it means every address; connect to `{}`",
                    text.replacen("0.0.0.0", "127.0.0.1", 1)
                )
            }
            Self::NotConnecting(text) if text.starts_with("[::]:") => {
                format!(
                    "it means every address; connect to `{}`",
                    text.replacen("[::]", "[::1]", 1)
                )
            }
            Self::NotConnecting(_) => "give a port, `host:port` or `unix:///path`".to_owned(),
        }
    }
}

const FORMS: &str = "write a port, `host:port`, `[IPv6]:port` or `unix:///path`";

/// Longest path a unix socket can have: `sun_path` has 108 bytes with its closing zero (unix(7)).
const UNIX_PATH_MAX_BYTES: usize = 107;

/// Longest name that socket activation gives to a descriptor (sd_listen_fds_with_names(3)).
const SOCKET_NAME_MAX_BYTES: usize = 255;

fn bracket_hint(text: &str) -> String {
    // The last group is taken for a port when it has the length of one.
    match text.rsplit_once(':') {
        Some((host, digits)) if host.parse::<Ipv6Addr>().is_ok() && digits.len() > 1 && port(digits).is_ok() => {
            format!("put the IPv6 address in brackets: `[{host}]:{digits}`")
        }
        _ if text.parse::<Ipv6Addr>().is_ok() => {
            format!("put the IPv6 address in brackets and add the port, as in `[{text}]:8000`")
        }
        _ => "an IPv6 address stands in brackets, as in `[::1]:8000`".to_owned(),
    }
}

fn url_hint(text: &str) -> String {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let default_port = if text.starts_with("https") { 443 } else { 80 };
    let address = match host.parse::<Address>() {
        Ok(address) => address.to_string(),
        Err(AddressError::NoPort(host)) => format!("{host}:{default_port}"),
        Err(_) => return FORMS.to_owned(),
    };
    format!("write `{address}`; the protocol of an application is `application-protocol`")
}

impl Address {
    /// The address `127.0.0.1:port`.
    pub fn loopback(port: u16) -> Self {
        Self::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// The port, where the form has one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(addr) => Some(addr.port()),
            Self::Name { port, .. } => Some(*port),
            Self::Unix(_) | Self::Fd(_) | Self::SocketName(_) => None,
        }
    }

    /// Says whether only this machine can reach a listener at this address.
    ///
    /// Shape: loopback IP addresses, `localhost` and unix sockets are; inherited sockets are not known and count as not.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Tcp(addr) => addr.ip().to_canonical().is_loopback(),
            Self::Name { host, .. } => host == "localhost",
            Self::Unix(_) => true,
            Self::Fd(_) | Self::SocketName(_) => false,
        }
    }

    /// Keeps what can be listened on; `localhost:port` becomes `127.0.0.1:port`.
    ///
    /// Errors: `NotListening` for any other name.
    pub fn for_listening(self) -> Result<Self, AddressError> {
        match self {
            Self::Name { host, port } if host == "localhost" => Ok(Self::loopback(port)),
            Self::Name { .. } => Err(AddressError::NotListening(self.to_string())),
            other => Ok(other),
        }
    }

    /// Keeps what can be connected to.
    ///
    /// Errors: `NotConnecting` for inherited sockets and for an unspecified address; `Port` for port 0.
    pub fn for_connecting(self) -> Result<Self, AddressError> {
        match &self {
            Self::Fd(_) | Self::SocketName(_) => Err(AddressError::NotConnecting(self.to_string())),
            Self::Tcp(addr) if addr.ip().is_unspecified() => Err(AddressError::NotConnecting(self.to_string())),
            _ if self.port() == Some(0) => Err(AddressError::Port("0".to_owned())),
            _ => Ok(self),
        }
    }

    /// Makes the path of a unix socket absolute, starting from `folder`; leaves other forms alone.
    pub fn below(self, folder: &Path) -> Self {
        match self {
            Self::Unix(path) => Self::Unix(folder.join(path)),
            other => other,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => write!(f, "{addr}"),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Fd(number) => write!(f, "socket-fd://{number}"),
            Self::SocketName(name) => write!(f, "socket-name://{name}"),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Reads any form of the grammar.
    ///
    /// Source: the address grammar of the first ShimmerCat, with IPv6, `host:port` and `socket-name://` added.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if let Some(path) = text.strip_prefix("unix://") {
            return unix(text, path);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(AddressError::Blank(text.to_owned()));
        }
        if let Some((kind, rest)) = text.split_once("://") {
            return other_kind(text, kind, rest);
        }
        if let Some(rest) = text.strip_prefix("lookup(") {
            return lookup(text, rest);
        }
        host_and_port(text)
    }
}

fn unix(text: &str, path: &str) -> Result<Address, AddressError> {
    let fits = !path.is_empty() && path.len() <= UNIX_PATH_MAX_BYTES && !path.chars().any(char::is_control);
    if fits {
        Ok(Address::Unix(PathBuf::from(path)))
    } else {
        Err(AddressError::UnixPath(text.to_owned()))
    }
}

fn other_kind(text: &str, kind: &str, rest: &str) -> Result<Address, AddressError> {
    match kind {
        "socket-fd" => match rest.parse::<i32>() {
            Ok(number) if number >= 0 && !rest.starts_with('+') => Ok(Address::Fd(number)),
            _ => Err(AddressError::Descriptor(text.to_owned())),
        },
        "socket-name" => {
            let fits = !rest.is_empty() && rest.len() <= SOCKET_NAME_MAX_BYTES;
            let plain = rest.chars().all(|c| c.is_ascii_graphic() && c != ':');
            if fits && plain {
                Ok(Address::SocketName(rest.to_owned()))
            } else {
                Err(AddressError::SocketName(text.to_owned()))
            }
        }
        "http" | "https" | "ws" | "wss" | "tcp" | "h2c" => Err(AddressError::Url(text.to_owned())),
        _ => Err(AddressError::Kind(text.to_owned())),
    }
}

fn lookup(text: &str, rest: &str) -> Result<Address, AddressError> {
    let malformed = || AddressError::Lookup(text.to_owned());
    let (host, port) = rest.split_once(')').ok_or_else(malformed)?;
    let port = port.strip_prefix(':').ok_or_else(malformed)?;
    name_and_port(host, port)
}

fn host_and_port(text: &str) -> Result<Address, AddressError> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(Address::loopback(port(text)?));
    }
    if text.starts_with('[') {
        return bracketed(text);
    }
    let Some((host, digits)) = text.split_once(':') else {
        return Err(AddressError::NoPort(text.to_owned()));
    };
    match host {
        "" if !digits.contains(':') => Ok(Address::loopback(port(digits)?)),
        "*" => Err(AddressError::Star(text.to_owned())),
        _ if digits.contains(':') => Err(AddressError::Brackets(text.to_owned())),
        _ => name_and_port(host, digits),
    }
}

fn bracketed(text: &str) -> Result<Address, AddressError> {
    let inner = text.strip_prefix('[').unwrap_or(text);
    let Some((host, rest)) = inner.split_once(']') else {
        return Err(AddressError::Ipv6(text.to_owned()));
    };
    if host.parse::<Ipv6Addr>().is_err() && !host.contains('%') {
        return Err(AddressError::Ipv6(format!("[{host}]")));
    }
    match rest.strip_prefix(':') {
        Some(digits) => {
            port(digits)?;
            text.parse()
                .map(Address::Tcp)
                .map_err(|_| AddressError::Ipv6(format!("[{host}]")))
        }
        None => Err(AddressError::NoPort(text.to_owned())),
    }
}

fn name_and_port(host: &str, digits: &str) -> Result<Address, AddressError> {
    let port = port(digits)?;
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(Address::Tcp(SocketAddr::new(ip, port)));
    }
    if !host.is_empty() && host.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(AddressError::Ipv4(host.to_owned()));
    }
    match names::to_ascii(host) {
        Some(host) => Ok(Address::Name { host, port }),
        None => Err(AddressError::Host(host.to_owned())),
    }
}

fn port(digits: &str) -> Result<u16, AddressError> {
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if plain {
        digits.parse().map_err(|_| AddressError::Port(digits.to_owned()))
    } else {
        Err(AddressError::Port(digits.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn forms() {
        for (text, shown) in [
            ("4043", "127.0.0.1:4043"),
            (":4043", "127.0.0.1:4043"),
            ("0.0.0.0:443", "0.0.0.0:443"),
            ("[::1]:4043", "[::1]:4043"),
            ("[::]:443", "[::]:443"),
            ("localhost:5173", "localhost:5173"),
            ("App.Example.com:80", "app.example.com:80"),
            ("lookup(db.example.com):3090", "db.example.com:3090"),
            ("bücher.example:80", "xn--bcher-kva.example:80"),
            ("unix:///run/a b.sock", "unix:///run/a b.sock"),
            ("unix://run/app.sock", "unix://run/app.sock"),
            ("socket-fd://7", "socket-fd://7"),
            ("socket-name://https", "socket-name://https"),
        ] {
            let address: Address = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(address.to_string(), shown, "{text}");
            assert_eq!(shown.parse::<Address>().unwrap(), address, "{text}");
        }
    }

    #[test]
    fn refusals() {
        for (text, error) in [
            ("", "the address is empty"),
            ("127.0.0.1", "`127.0.0.1` has no port"),
            ("65536", "`65536` is not a port"),
            ("host:http", "`http` is not a port"),
            (":", "`` is not a port"),
            ("::1:80", "`::1:80` is ambiguous, is it an IPv6 address?"),
            ("[::1]", "`[::1]` has no port"),
            ("[::1", "`[::1` is not an IPv6 address"),
            ("[host]:80", "`[host]` is not an IPv6 address"),
            ("300.0.0.1:80", "`300.0.0.1` is not an IPv4 address"),
            ("ho st:80", "`ho st:80` has blanks or control characters in it"),
            ("-bad-:80", "`-bad-` is not a host name"),
            ("*:443", "`*:443` does not say which addresses"),
            (
                "http://localhost:80/",
                "`http://localhost:80/` is a URL, not an address",
            ),
            ("ftp://x", "`ftp://x` is not a kind of address"),
            ("lookup(x)80", "`lookup(x)80` is not of the form `lookup(host):port`"),
            ("unix://", "`unix://` has no path that fits a unix socket"),
            ("socket-fd://x", "`socket-fd://x` has no descriptor number"),
            ("socket-fd://+3", "`socket-fd://+3` has no descriptor number"),
            ("socket-name://", "`socket-name://` has no socket name"),
        ] {
            let found = text.parse::<Address>().unwrap_err();
            assert_eq!(found.to_string(), error, "{text}");
            assert!(!found.hint().is_empty(), "{text}");
        }
    }

    #[test]
    fn each_place_has_its_forms() {
        let listening = |text: &str| text.parse::<Address>().unwrap().for_listening().map(|a| a.to_string());
        assert_eq!(listening("localhost:80").unwrap(), "127.0.0.1:80");
        assert_eq!(listening("0").unwrap(), "127.0.0.1:0");
        assert!(listening("lookup(x.y):80").is_err());
        let connecting = |text: &str| text.parse::<Address>().unwrap().for_connecting().map(|a| a.to_string());
        assert_eq!(connecting("localhost:80").unwrap(), "localhost:80");
        assert!(connecting("0").is_err());
        assert!(connecting("0.0.0.0:80").is_err());
        assert!(connecting("socket-fd://3").is_err());
    }

    #[test]
    fn hints_are_ready_to_use() {
        let hint = |text: &str| text.parse::<Address>().unwrap_err().hint();
        assert_eq!(hint("::1:80"), "put the IPv6 address in brackets: `[::1]:80`");
        assert_eq!(
            hint("fe80::1"),
            "put the IPv6 address in brackets and add the port, as in `[fe80::1]:8000`"
        );
        assert_eq!(hint("127.0.0.1 : 80"), "write `127.0.0.1:80`");
        assert!(hint("http://localhost:8000/x").starts_with("write `localhost:8000`;"));
        assert!(hint("https://example.com").starts_with("write `example.com:443`;"));
        assert!(hint("*:443").contains("`0.0.0.0:443`"));
    }
}
