//! Clients, written plainly and blocking: SOCKS and CONNECT, HTTP/1.1, TLS, websockets, curl.
//!
//! They stack: a proxy client gives a `TcpStream`, `tls_over` wraps any stream, `Http1` talks over any stream. Every socket
//! has a time limit, so that a server that says nothing fails the test instead of hanging it.

pub mod curl;
pub mod http1;
pub mod http2;
pub mod raw_h2;
pub mod socks;
pub mod tls;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use tokio_tungstenite::tungstenite;

/// No answer on loopback takes as long.
pub const SOCKET_PATIENCE: Duration = Duration::from_secs(20);

/// Connects from an address of this machine, with time limits set; an error when the server does not take it.
pub fn tcp_from(from: Ipv4Addr, address: SocketAddr) -> std::io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::from((from, 0)))?;
    connect(&socket, &address)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(SOCKET_PATIENCE))?;
    stream.set_write_timeout(Some(SOCKET_PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Connects, with time limits set.
pub fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, SOCKET_PATIENCE)
        .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
    stream
        .set_read_timeout(Some(SOCKET_PATIENCE))
        .expect("a time limit can be set");
    stream
        .set_write_timeout(Some(SOCKET_PATIENCE))
        .expect("a time limit can be set");
    stream.set_nodelay(true).expect("the option exists");
    stream
}

/// Opens a websocket over a stream, e.g. for `wss://www.example.com/ws`; the stream is not opened by it.
///
/// Shape: panics when the server refuses.
pub fn websocket<S: Read + Write>(stream: S, uri: &str) -> tungstenite::WebSocket<S> {
    match tungstenite::client(uri, stream) {
        Ok((socket, _)) => socket,
        Err(error) => panic!("no websocket at {uri}: {error}"),
    }
}
