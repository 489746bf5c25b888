//! Addresses as newtypes, so that a client's, ours and an application's are never mixed up.
//!
//! Nothing here resolves or dials; see [`crate::dial`]. What a client of the little network asks for is a
//! [`crate::Target`], not an address.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// One end of a stream: an IP address and port, or a unix socket.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum End {
    Inet(SocketAddr),
    Unix(Option<PathBuf>),
}

impl End {
    fn inet(addr: SocketAddr) -> Self {
        End::Inet(SocketAddr::new(addr.ip().to_canonical(), addr.port()))
    }

    fn socket(&self) -> Option<SocketAddr> {
        match self {
            End::Inet(addr) => Some(*addr),
            End::Unix(_) => None,
        }
    }

    fn is_loopback(&self) -> bool {
        match self {
            End::Inet(addr) => addr.ip().is_loopback(),
            End::Unix(_) => true,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Inet(addr) => addr.fmt(f),
            End::Unix(Some(path)) => write!(f, "unix://{}", path.display()),
            End::Unix(None) => f.write_str("unix"),
        }
    }
}

/// Where a connection comes from.
///
/// Shape: an IPv4 address that reached an IPv6 socket (`::ffff:a.b.c.d`) is kept as IPv4.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ClientAddr(End);

impl ClientAddr {
    /// The client's end of a TCP connection.
    pub fn inet(addr: SocketAddr) -> Self {
        ClientAddr(End::inet(addr))
    }

    /// A client of a unix socket; almost always nameless.
    pub fn unix(path: Option<PathBuf>) -> Self {
        ClientAddr(End::Unix(path))
    }

    /// The IP address, or `None` for a unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        self.socket().map(|addr| addr.ip())
    }

    /// Address and port, or `None` for a unix socket.
    pub fn socket(&self) -> Option<SocketAddr> {
        self.0.socket()
    }

    /// Whether the client is on this machine: a loopback address or a unix socket.
    pub fn is_loopback(&self) -> bool {
        self.0.is_loopback()
    }
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Our own end: where a listener is bound, or where a connection arrived.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct LocalAddr(End);

impl LocalAddr {
    /// Our end of a TCP socket.
    pub fn inet(addr: SocketAddr) -> Self {
        LocalAddr(End::inet(addr))
    }

    /// A unix socket, with its path when it has one.
    pub fn unix(path: Option<PathBuf>) -> Self {
        LocalAddr(End::Unix(path))
    }

    /// Address and port, or `None` for a unix socket.
    pub fn socket(&self) -> Option<SocketAddr> {
        self.0.socket()
    }

    /// The port, or `None` for a unix socket.
    pub fn port(&self) -> Option<u16> {
        self.socket().map(|addr| addr.port())
    }

    /// The path of a unix socket.
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            End::Inet(_) => None,
            End::Unix(path) => path.as_deref(),
        }
    }

    /// Whether only this machine reaches it: a loopback address or a unix socket.
    pub fn is_loopback(&self) -> bool {
        self.0.is_loopback()
    }
}

impl fmt::Display for LocalAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where an application (an upstream) is.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum UpstreamAddr {
    /// A fixed address.
    Tcp(SocketAddr),
    /// A name that is resolved at each dial.
    Name {
        /// The name, as the resolver of the system understands it.
        host: String,
        /// The port.
        port: u16,
    },
    /// A unix stream socket.
    Unix(PathBuf),
}

impl fmt::Display for UpstreamAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpstreamAddr::Tcp(addr) => addr.fmt(f),
            UpstreamAddr::Name { host, port } => write!(f, "{host}:{port}"),
            UpstreamAddr::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl From<SocketAddr> for UpstreamAddr {
    fn from(addr: SocketAddr) -> Self {
        UpstreamAddr::Tcp(addr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_client_is_an_ipv4_client() {
        let client = ClientAddr::inet("[::ffff:192.0.2.7]:99".parse().expect("an address"));
        assert_eq!(client.to_string(), "192.0.2.7:99");
        assert!(!client.is_loopback());
    }

    #[test]
    fn unix_sockets_are_local_and_have_no_ip() {
        assert_eq!(ClientAddr::unix(None).ip(), None);
        assert!(ClientAddr::unix(None).is_loopback());
        let local = LocalAddr::unix(Some("/run/x.sock".into()));
        assert_eq!(local.to_string(), "unix:///run/x.sock");
        assert_eq!(local.port(), None);
    }

    #[test]
    fn upstreams_print_as_they_are_written() {
        let name = UpstreamAddr::Name {
            host: "db".into(),
            port: 5432,
        };
        assert_eq!(name.to_string(), "db:5432");
        assert_eq!(
            UpstreamAddr::Tcp("[::1]:80".parse().expect("an address")).to_string(),
            "[::1]:80"
        );
        assert_eq!(UpstreamAddr::Unix("/a/b".into()).to_string(), "unix:///a/b");
    }
}
