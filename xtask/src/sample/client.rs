//! The small client of the demonstration: SOCKS5 by name, TLS against the project's CA alone, one request, a websocket.
//!
//! It does what a browser inside the little network does, written out, so that the demonstration needs nothing that a
//! fresh machine may lack. One connection per request; no pooling, no redirects followed.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;

/// A client inside one little network.
pub(crate) struct Client {
    proxy: SocketAddr,
    trust: Arc<RootCertStore>,
}

/// What a connection through the proxy came to.
pub(crate) enum Connected {
    /// The proxy said yes.
    Stream(TcpStream),
    /// The proxy said no, with this reply code (RFC 1928 §6).
    Refused(u8),
}

/// One response.
pub(crate) struct Reply {
    /// The status code.
    pub(crate) status: u16,
    /// Header fields, names as they came.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, transfer codings removed.
    pub(crate) body: String,
    /// The TLS version and the protocol that a client which knows both is offered; empty over plain TCP.
    pub(crate) security: String,
}

impl Reply {
    /// The first value of a header field.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }
}

impl Client {
    /// A client of the proxy at `proxy` that trusts only the certificate in `ca`.
    pub(crate) fn new(proxy: SocketAddr, ca: &Path) -> Result<Self> {
        let mut trust = RootCertStore::empty();
        let pem = fs::read(ca).with_context(|| format!("cannot read the project's CA at {}", ca.display()))?;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            trust
                .add(certificate?)
                .context("the project's CA is not a usable certificate")?;
        }
        Ok(Client {
            proxy,
            trust: Arc::new(trust),
        })
    }

    /// Asks the proxy for a connection to a name (RFC 1928 §3 to §6); the name is resolved there and nowhere else.
    pub(crate) async fn connect(&self, host: &str, port: u16) -> Result<Connected> {
        let mut stream = TcpStream::connect(self.proxy)
            .await
            .with_context(|| format!("no proxy at {}", self.proxy))?;
        let length = u8::try_from(host.len()).context("a name of more than 255 bytes")?;
        let mut ask = vec![5, 1, 0, 5, 1, 0, 3, length];
        ask.extend_from_slice(host.as_bytes());
        ask.extend_from_slice(&port.to_be_bytes());
        stream.write_all(&ask).await?;
        let mut answer = [0; 6];
        stream
            .read_exact(&mut answer)
            .await
            .context("the proxy closed before it answered")?;
        let [5, 0, 5, reply, 0, kind] = answer else {
            bail!("that is no SOCKS5 answer: {answer:02x?}")
        };
        if reply != 0 {
            return Ok(Connected::Refused(reply));
        }
        let bound = match kind {
            1 => 4 + 2,
            4 => 16 + 2,
            other => bail!("the proxy answered with an address of type {other}"),
        };
        stream.read_exact(&mut vec![0; bound]).await?;
        Ok(Connected::Stream(stream))
    }

    /// Fetches an `https:` page.
    pub(crate) async fn get(&self, host: &str, path: &str) -> Result<Reply> {
        let spoken = self.tls(host, &[b"h2", b"http/1.1"]).await?;
        let security = security(&spoken);
        drop(spoken);
        let stream = self.tls(host, &[b"http/1.1"]).await?;
        let mut reply = request(stream, host, path).await?;
        reply.security = security;
        Ok(reply)
    }

    /// Fetches an `http:` page.
    pub(crate) async fn get_plain(&self, host: &str, path: &str) -> Result<Reply> {
        request(self.stream(host, 80).await?, host, path).await
    }

    /// Opens a websocket, sends one message and gives back the one that comes in return.
    pub(crate) async fn websocket(&self, host: &str, path: &str, words: &str) -> Result<String> {
        let stream = self.tls(host, &[b"http/1.1"]).await?;
        let (mut socket, _) = tokio_tungstenite::client_async(format!("wss://{host}{path}"), stream).await?;
        socket.send(Message::text(words)).await?;
        let answer = socket.next().await.context("closed before it answered")??;
        socket.close(None).await?;
        while let Some(Ok(_)) = socket.next().await {}
        Ok(answer.into_text()?.to_string())
    }

    /// Sends bytes to a TCP name, and gives back as many.
    pub(crate) async fn tcp(&self, host: &str, port: u16, words: &str) -> Result<String> {
        let mut stream = self.stream(host, port).await?;
        stream.write_all(words.as_bytes()).await?;
        let mut answer = vec![0; words.len()];
        stream
            .read_exact(&mut answer)
            .await
            .context("closed before it answered")?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    async fn stream(&self, host: &str, port: u16) -> Result<TcpStream> {
        match self.connect(host, port).await? {
            Connected::Stream(stream) => Ok(stream),
            Connected::Refused(reply) => bail!("the proxy refuses {host}:{port} with reply {reply:02}"),
        }
    }

    async fn tls(&self, host: &str, alpn: &[&[u8]]) -> Result<TlsStream<TcpStream>> {
        let mut config = ClientConfig::builder()
            .with_root_certificates(self.trust.clone())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from(host.to_owned())?;
        let stream = self.stream(host, 443).await?;
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .with_context(|| format!("TLS with {host}"))
    }
}

fn security(stream: &TlsStream<TcpStream>) -> String {
    let (_, session) = stream.get_ref();
    let version = session
        .protocol_version()
        .map_or(String::new(), |version| format!("{version:?}"));
    let alpn = session
        .alpn_protocol()
        .map_or("http/1.1".into(), String::from_utf8_lossy);
    format!("{}, {alpn} offered", version.replace("TLSv1_", "TLS 1."))
}

async fn request<IO: AsyncRead + AsyncWrite + Unpin>(mut stream: IO, host: &str, path: &str) -> Result<Reply> {
    let ask = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.context("the answer broke off")?;
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(used) = head.parse(&bytes)? else {
        bail!("the answer ended within its head")
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: Vec<_> = head
        .headers
        .iter()
        .map(|field| (field.name.to_owned(), text(field.value)))
        .collect();
    let mut reply = Reply {
        status: head.code.unwrap_or(0),
        headers,
        body: String::new(),
        security: String::new(),
    };
    let body = bytes.get(used..).unwrap_or_default();
    reply.body = match reply.header("transfer-encoding").eq_ignore_ascii_case("chunked") {
        true => text(&dechunk(body)?),
        false => text(body),
    };
    Ok(reply)
}

/// Removes the chunked coding (RFC 9112 §7.1); extensions and trailers are dropped.
fn dechunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(rest) else {
            bail!("a chunk of the answer has no size");
        };
        if size == 0 {
            return Ok(body);
        }
        let end = start + usize::try_from(size)?;
        body.extend_from_slice(rest.get(start..end).context("the answer broke off within a chunk")?);
        rest = rest.get(end + 2..).context("the answer broke off after a chunk")?;
    }
}
