//! A blocking HTTP/2 client over TLS, with extended CONNECT (RFC 8441).
//!
//! One connection, one thread: the connection moves only while a call waits. Enough for tests, nothing more.

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request, StatusCode};
use rustls_pki_types::ServerName;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

use super::SOCKET_PATIENCE;
use super::tls::config_trusting;

/// A client's connection.
pub struct Http2 {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
}

/// A response, read to its end.
#[derive(Clone, Debug)]
pub struct Http2Response {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// The trailer fields, if there were any.
    pub trailers: Option<HeaderMap>,
}

impl Http2 {
    /// Runs a TLS handshake with `name`, whose certificate the first of `ca_pem` must have signed, and opens HTTP/2.
    ///
    /// Shape: `stream` may be a tunnel through a proxy. Panics when either fails.
    pub fn over(stream: TcpStream, name: &str, ca_pem: &Path) -> Http2 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let mut config = config_trusting(ca_pem);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let server = ServerName::try_from(name.to_owned()).expect("a name");
        let sender = runtime.block_on(in_time("the handshakes", async {
            stream.set_nonblocking(true).expect("the option exists");
            let stream = tokio::net::TcpStream::from_std(stream).expect("a stream of the runtime");
            let stream = TlsConnector::from(Arc::new(config)).connect(server, stream).await;
            let (sender, connection) = h2::client::handshake(stream.expect("TLS")).await.expect("HTTP/2");
            drive(connection);
            sender
        }));
        Http2 { runtime, sender }
    }

    /// Sends a request without a body and reads the response to its end; panics when there is none.
    pub fn get(&mut self, url: &str, fields: &[(&'static str, &str)]) -> Http2Response {
        let mut request = Request::get(url);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        self.runtime.block_on(in_time("the response", async {
            let mut ready = self.sender.clone().ready().await.expect("the connection is open");
            let (response, _) = ready.send_request(request, true).expect("the request is sent");
            let (head, mut stream) = response.await.expect("a response").into_parts();
            let mut body = Vec::new();
            while let Some(data) = stream.data().await {
                let data = data.expect("the body");
                let _ = stream.flow_control().release_capacity(data.len());
                body.extend_from_slice(&data);
            }
            let trailers = stream.trailers().await.expect("the end of the stream");
            Http2Response {
                status: head.status,
                headers: head.headers,
                body,
                trailers,
            }
        }))
    }

    /// Opens a tunnel by extended CONNECT with `:protocol` `websocket`.
    ///
    /// Shape: `Err` with the status when the server refuses it. Panics when it does not offer extended CONNECT.
    pub fn websocket(mut self, url: &str) -> Result<Tunnel, StatusCode> {
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri(url)
            .header("sec-websocket-version", "13")
            .extension(Protocol::from_static("websocket"))
            .body(())
            .expect("a request");
        let opened = self.runtime.block_on(in_time("the tunnel", async {
            // The server's settings come with its first flight, which a first exchange waits for.
            self.sender = self.sender.clone().ready().await.expect("the connection is open");
            while !self.sender.is_extended_connect_protocol_enabled() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let (response, sending) = self.sender.send_request(request, false).expect("the request is sent");
            let response = response.await.expect("a response");
            match response.status() {
                StatusCode::OK => Ok((sending, response.into_body())),
                status => Err(status),
            }
        }));
        let (sending, receiving) = opened?;
        Ok(Tunnel {
            connection: self,
            sending,
            receiving,
            left: Bytes::new(),
        })
    }
}

/// The two directions of a stream, as one blocking stream of bytes.
pub struct Tunnel {
    connection: Http2,
    sending: SendStream<Bytes>,
    receiving: RecvStream,
    left: Bytes,
}

impl Read for Tunnel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.is_empty() {
            let receiving = &mut self.receiving;
            let data = self.connection.runtime.block_on(in_time("data", receiving.data()));
            let Some(data) = data else { return Ok(0) };
            self.left = data.map_err(io::Error::other)?;
            let _ = self.receiving.flow_control().release_capacity(self.left.len());
        }
        let count = self.left.len().min(buffer.len());
        self.left.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl Write for Tunnel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sending = &mut self.sending;
        sending.reserve_capacity(bytes.len());
        let capacity = poll_fn(|context| sending.poll_capacity(context));
        let capacity = self.connection.runtime.block_on(in_time("room for data", capacity));
        let count = capacity
            .ok_or(io::ErrorKind::BrokenPipe)?
            .map_err(io::Error::other)?
            .min(bytes.len());
        let data = Bytes::copy_from_slice(&bytes[..count]);
        self.sending.send_data(data, false).map_err(io::Error::other)?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.connection.runtime.block_on(tokio::task::yield_now());
        Ok(())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "it ends with the runtime of this one connection"
)]
fn drive(connection: impl Future<Output = Result<(), h2::Error>> + Send + 'static) {
    // How the connection ended is seen by the call that waits for its answer.
    tokio::spawn(connection);
}

async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOCKET_PATIENCE, work)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {SOCKET_PATIENCE:?}"))
}
