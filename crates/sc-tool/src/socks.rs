//! The client's side of SOCKS5, blocking: enough to ask whether a proxy is there and to reach a name through it.
//!
//! Source: RFC 1928. No authentication; browsers cannot do it either.
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use thiserror::Error;

use crate::target::Proxy;

/// How long a proxy on this machine may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(3);

/// How long it may take to reach what lies behind it.
const REACH_TIME: Duration = Duration::from_secs(30);

/// The port of sites.
pub(crate) const HTTPS: u16 = 443;

/// Why a proxy is of no use.
#[derive(Debug, Error)]
pub(crate) enum SocksError {
    /// Its host cannot be resolved.
    #[error("`{0}` has no address")]
    Host(String),
    /// Nothing accepts connections.
    #[error(transparent)]
    Connect(io::Error),
    /// The connection ended or said nothing in time.
    #[error("it accepts connections but does not answer")]
    Silent(#[source] io::Error),
    /// It speaks something else.
    #[error("what listens there does not speak SOCKS5")]
    OtherProtocol,
    /// It wants a username and a password.
    #[error("it asks for a username and a password")]
    Credentials,
    /// The name does not fit into a request.
    #[error("`{0}` is too long for a name")]
    Name(String),
    /// It refused, with a reply code.
    #[error("{}", reply_text(*.0))]
    Refused(u8),
}

/// Asks whether a SOCKS5 proxy without credentials listens there.
///
/// Shape: with a name, that name's port 443 is asked for and the connection closed again, which a server takes for an
/// ordinary visit; whether it lets the name through does not matter. Without one, the greeting must do.
/// Errors: every `SocksError` but the last two.
pub(crate) fn probe(proxy: &Proxy, name: Option<&str>) -> Result<(), SocksError> {
    match name {
        None => greet(proxy).map(drop),
        Some(name) => match connect(proxy, name, HTTPS) {
            Ok(_) | Err(SocksError::Refused(_)) => Ok(()),
            Err(error) => Err(error),
        },
    }
}

/// Opens a connection to `host:port` through the proxy; the name is resolved by the proxy.
///
/// Errors: as `probe`, and `Name`, `Refused`.
pub(crate) fn connect(proxy: &Proxy, host: &str, port: u16) -> Result<TcpStream, SocksError> {
    let length = u8::try_from(host.len()).map_err(|_| SocksError::Name(host.to_owned()))?;
    let mut stream = greet(proxy)?;
    let mut request = vec![5, 1, 0, 3, length];
    request.extend_from_slice(host.as_bytes());
    request.extend_from_slice(&port.to_be_bytes());
    stream.write_all(&request).map_err(SocksError::Silent)?;
    stream.set_read_timeout(Some(REACH_TIME)).map_err(SocksError::Silent)?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).map_err(SocksError::Silent)?;
    match head {
        [5, 0, _, kind] => skip_address(&mut stream, kind)?,
        [5, code, _, _] => return Err(SocksError::Refused(code)),
        _ => return Err(SocksError::OtherProtocol),
    }
    stream.set_read_timeout(None).map_err(SocksError::Silent)?;
    stream.set_write_timeout(None).map_err(SocksError::Silent)?;
    Ok(stream)
}

/// A plain connection to the proxy's port, for its pages.
///
/// Errors: `Host`, `Connect`.
pub(crate) fn dial(proxy: &Proxy) -> Result<TcpStream, SocksError> {
    let found = (proxy.host.as_str(), proxy.port).to_socket_addrs();
    let mut last = SocksError::Host(proxy.host.clone());
    for address in found.into_iter().flatten() {
        match TcpStream::connect_timeout(&address, ANSWER_TIME) {
            Ok(stream) => {
                drop(stream.set_nodelay(true));
                stream
                    .set_read_timeout(Some(ANSWER_TIME))
                    .map_err(SocksError::Connect)?;
                stream
                    .set_write_timeout(Some(ANSWER_TIME))
                    .map_err(SocksError::Connect)?;
                return Ok(stream);
            }
            Err(error) => last = SocksError::Connect(error),
        }
    }
    Err(last)
}

fn greet(proxy: &Proxy) -> Result<TcpStream, SocksError> {
    let mut stream = dial(proxy)?;
    stream.write_all(&[5, 1, 0]).map_err(SocksError::Silent)?;
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).map_err(SocksError::Silent)?;
    match answer {
        [5, 0] => Ok(stream),
        [5, _] => Err(SocksError::Credentials),
        _ => Err(SocksError::OtherProtocol),
    }
}

fn skip_address(stream: &mut TcpStream, kind: u8) -> Result<(), SocksError> {
    let length = match kind {
        1 => 4,
        4 => 16,
        3 => {
            let mut length = [0; 1];
            stream.read_exact(&mut length).map_err(SocksError::Silent)?;
            usize::from(length[0])
        }
        _ => return Err(SocksError::OtherProtocol),
    };
    let mut rest = vec![0; length + 2];
    stream.read_exact(&mut rest).map_err(SocksError::Silent)
}

/// Source: RFC 1928 §6.
fn reply_text(code: u8) -> &'static str {
    match code {
        1 => "the proxy failed",
        2 => "the proxy does not allow it",
        3 => "the network is unreachable",
        4 => "the host is unreachable",
        5 => "the connection was refused",
        6 => "it took too many hops",
        7 => "the proxy does not know this command",
        8 => "the proxy does not know this kind of address",
        _ => "the proxy refused with an unknown code",
    }
}
