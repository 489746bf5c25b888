//! The server's side of the SOCKS handshake, on a connection.
//!
//! Clients send greeting, request and their first payload in one go; exactly what belongs to the handshake is taken and
//! the rest stays in `read_ahead`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Buf;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::codec::{self, CodecError, METHOD_NONE, METHOD_PASSWORD, METHOD_REFUSED};
use super::{Ask, Auth, Reply, Version};
use crate::Connection;

/// How long a refused client may take to read its reply and go.
const LINGER: Duration = Duration::from_secs(1);
/// How much of a refused client's further bytes is read, so that the reply is not destroyed by a reset.
const LINGER_BYTES: usize = 64 * 1024;

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum SocksError {
    /// The client ended the connection in the middle.
    #[error("closed in the middle of the handshake")]
    Closed,
    /// The handshake took too long.
    #[error("no request within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// Reading or writing failed.
    #[error("the connection failed in the handshake")]
    Io(#[source] io::Error),
    /// A message makes no sense; it was answered where the protocol has an answer.
    #[error("malformed SOCKS message")]
    Malformed(#[source] CodecError),
    /// The client offers no method that we accept; it was told so.
    #[error("no acceptable authentication method was offered")]
    NoMethod,
    /// Unknown user or wrong password; the client was told so. The name is what it sent.
    #[error("user `{0}` was not admitted")]
    NotAdmitted(String),
}

/// Performs the handshake up to the request, which is still to be answered with [`reply`] or [`refuse`].
///
/// Shape: `connection` stands before the first byte (which may be in `read_ahead`); afterwards `read_ahead` holds what
/// the client sent beyond its request.
/// Errors: [`SocksError`]; the client has been answered as far as the protocol allows.
/// Cancel: bytes may have been taken; drop the connection.
pub async fn handshake(connection: &mut Connection, auth: &Auth, deadline: Duration) -> Result<Ask, SocksError> {
    let until = Instant::now() + deadline;
    let asked = match timeout_at(until, ask(connection, auth)).await {
        Ok(asked) => asked,
        Err(_) => return Err(SocksError::Timeout(deadline)),
    };
    match &asked {
        Err(Fault {
            error: SocksError::Malformed(fault),
            version: Some(version),
        }) => {
            // The handshake failed already; whether the answer arrives changes nothing.
            let _ = refuse(connection, *version, fault.reply()).await;
        }
        Err(Fault {
            error: SocksError::NoMethod | SocksError::NotAdmitted(_),
            ..
        }) => linger(connection).await,
        _ => {}
    }
    asked.map_err(|fault| fault.error)
}

/// An error, and the version in which a request may be answered, if one was being read.
struct Fault {
    error: SocksError,
    version: Option<Version>,
}

impl From<SocksError> for Fault {
    fn from(error: SocksError) -> Self {
        Fault { error, version: None }
    }
}

async fn ask(connection: &mut Connection, auth: &Auth) -> Result<Ask, Fault> {
    if connection.read_ahead.is_empty() {
        fill(connection).await?;
    }
    if connection.read_ahead.first() == Some(&4) {
        ask4(connection, auth).await
    } else {
        ask5(connection, auth).await
    }
}

async fn ask4(connection: &mut Connection, auth: &Auth) -> Result<Ask, Fault> {
    let request = message(connection, codec::read_request4, Some(Version::V4)).await?;
    let user = text(&request.user);
    if let Auth::Users(_) = auth {
        send(connection, &codec::write_reply4(Reply::NotAllowed, None)).await?;
        return Err(SocksError::NotAdmitted(user).into());
    }
    let user = Some(user).filter(|user| !user.is_empty());
    Ok(Ask {
        version: Version::V4,
        command: request.command,
        target: request.target,
        user,
    })
}

async fn ask5(connection: &mut Connection, auth: &Auth) -> Result<Ask, Fault> {
    let methods = message(connection, codec::read_greeting, None).await?;
    let method = match auth {
        Auth::None if methods.offers(METHOD_NONE) => METHOD_NONE,
        _ if methods.offers(METHOD_PASSWORD) => METHOD_PASSWORD,
        _ => METHOD_REFUSED,
    };
    send(connection, &codec::write_method(method)).await?;
    let user = match method {
        METHOD_NONE => None,
        METHOD_PASSWORD => Some(admit(connection, auth).await?),
        _ => return Err(SocksError::NoMethod.into()),
    };
    let request = message(connection, codec::read_request, Some(Version::V5)).await?;
    Ok(Ask {
        version: Version::V5,
        command: request.command,
        target: request.target,
        user,
    })
}

async fn admit(connection: &mut Connection, auth: &Auth) -> Result<String, Fault> {
    let credentials = message(connection, codec::read_credentials, None).await?;
    let admitted = auth.admits(&credentials.name, &credentials.password);
    let name = text(&credentials.name);
    send(connection, &codec::write_verdict(admitted)).await?;
    if admitted {
        Ok(name)
    } else {
        Err(SocksError::NotAdmitted(name).into())
    }
}

/// A client's text for people to read: no control characters.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|letter| if letter.is_control() { '\u{fffd}' } else { letter })
        .collect()
}

/// Reads until a message is whole and takes it.
async fn message<T>(
    connection: &mut Connection,
    read: impl Fn(&[u8]) -> codec::Read<T>,
    version: Option<Version>,
) -> Result<T, Fault> {
    loop {
        match read(&connection.read_ahead) {
            Ok(Some((value, used))) => {
                connection.read_ahead.advance(used);
                return Ok(value);
            }
            Ok(None) => fill(connection).await?,
            Err(fault) => {
                return Err(Fault {
                    error: SocksError::Malformed(fault),
                    version,
                });
            }
        }
    }
}

async fn fill(connection: &mut Connection) -> Result<(), SocksError> {
    match connection.read_more().await {
        Ok(0) => Err(SocksError::Closed),
        Ok(_) => Ok(()),
        Err(fault) => Err(SocksError::Io(fault)),
    }
}

async fn send(connection: &mut Connection, bytes: &[u8]) -> Result<(), SocksError> {
    write(connection, bytes).await.map_err(SocksError::Io)
}

async fn write(connection: &mut Connection, bytes: &[u8]) -> io::Result<()> {
    connection.stream.write_all(bytes).await?;
    connection.stream.flush().await
}

/// Answers a request; after [`Reply::Succeeded`] the connection belongs to the client's own protocol.
///
/// Shape: `bound` is our end of the dialled connection, or the relay's address for UDP; none is sent as zeros.
pub async fn reply(
    connection: &mut Connection,
    version: Version,
    reply: Reply,
    bound: Option<SocketAddr>,
) -> io::Result<()> {
    match version {
        Version::V4 => write(connection, &codec::write_reply4(reply, bound)).await,
        Version::V5 => write(connection, &codec::write_reply(reply, bound)).await,
    }
}

/// Refuses a request, and waits a little for the client to have read it.
///
/// Shape: takes at most a second more than the write; then drop the connection (RFC 1928 §6 wants it closed within ten).
pub async fn refuse(connection: &mut Connection, version: Version, why: Reply) -> io::Result<()> {
    let sent = timeout(LINGER, reply(connection, version, why, None)).await;
    linger(connection).await;
    sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Ends our side and reads on until the client ends its own: closing with unread bytes would send a reset, which may
/// destroy the reply on its way.
async fn linger(connection: &mut Connection) {
    let lingering = async {
        connection.stream.shutdown().await?;
        let mut read = 0;
        while read < LINGER_BYTES {
            connection.read_ahead.clear();
            match connection.read_more().await? {
                0 => break,
                count => read += count,
            }
        }
        io::Result::Ok(())
    };
    // A client that does not go is closed all the same.
    let _ = timeout(LINGER, lingering).await;
}
