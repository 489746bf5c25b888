//! The application behind the sample site: JSON, a websocket and an event stream over HTTP/1.1, and a TCP echo.
//!
//! It stands for whatever a reader of the README has: plain HTTP on a loopback port, ignorant of TLS and of names. It is
//! no model of a web server: it answers only GET, reads no bodies and trusts its one client, which is ShimmerCat.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Longest request head that is read; more than any browser sends.
const HEAD_BYTES: usize = 64 << 10;

/// The application, bound to its ports.
pub(crate) struct Server {
    http: TcpListener,
    echo: TcpListener,
}

impl Server {
    /// Binds both ports; port 0 takes any free one.
    pub(crate) async fn bind(http: SocketAddr, echo: SocketAddr) -> Result<Self> {
        let bind = |address| async move {
            TcpListener::bind(address)
                .await
                .with_context(|| format!("the sample application cannot listen on {address}"))
        };
        Ok(Server {
            http: bind(http).await?,
            echo: bind(echo).await?,
        })
    }

    /// Where HTTP is answered.
    pub(crate) fn http(&self) -> SocketAddr {
        self.http.local_addr().unwrap_or(([0, 0, 0, 0], 0).into())
    }

    /// Where bytes are echoed.
    pub(crate) fn echo(&self) -> SocketAddr {
        self.echo.local_addr().unwrap_or(([0, 0, 0, 0], 0).into())
    }

    /// Serves until the future is dropped.
    pub(crate) async fn run(self) -> Result<()> {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.http.accept() => {
                    let (stream, _) = accepted.context("accept failed")?;
                    connections.spawn_local(async move { serve(stream).await.ok() });
                }
                accepted = self.echo.accept() => {
                    let (stream, _) = accepted.context("accept failed")?;
                    connections.spawn_local(async move { echo(stream).await.ok() });
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// One request head, as far as this application cares.
struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    /// Bytes that came behind the head.
    rest: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }
}

async fn echo(mut stream: TcpStream) -> Result<()> {
    let (mut read, mut write) = stream.split();
    tokio::io::copy(&mut read, &mut write).await?;
    write.shutdown().await?;
    Ok(())
}

async fn serve(mut stream: TcpStream) -> Result<()> {
    let mut buffer = Vec::new();
    while let Some(request) = read_head(&mut stream, &mut buffer).await? {
        let wants_websocket = request
            .header("upgrade")
            .is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
        match request.path().strip_prefix("/api").unwrap_or(request.path()) {
            "/live" if wants_websocket => return live(stream, request).await,
            "/events" => return events(stream).await,
            _ if request.method != "GET" && request.method != "HEAD" => {
                let refusal = json!({ "error": "the sample application answers GET only" });
                respond(&mut stream, &request, "405 Method Not Allowed", &refusal).await?;
                return Ok(());
            }
            "/hello" => respond(&mut stream, &request, "200 OK", &hello(&request)).await?,
            "/headers" => respond(&mut stream, &request, "200 OK", &headers(&request)).await?,
            path => {
                let words = json!({ "error": format!("the sample application has nothing at {path}") });
                respond(&mut stream, &request, "404 Not Found", &words).await?;
            }
        }
        buffer = request.rest;
    }
    Ok(())
}

fn hello(request: &Request) -> Value {
    json!({
        "message": "hello from the application",
        "host": request.header("host"),
        "path": request.target,
        "forwarded": request.header("forwarded"),
    })
}

fn headers(request: &Request) -> Value {
    let all: Map<String, Value> = request
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    Value::Object(all)
}

async fn respond(stream: &mut TcpStream, request: &Request, status: &str, body: &Value) -> Result<()> {
    let mut body = serde_json::to_string_pretty(body)?;
    body.push('\n');
    let mut text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    text.push_str("Cache-Control: no-store\r\nAccess-Control-Allow-Origin: *\r\n");
    if status.starts_with("405") {
        text.push_str("Allow: GET, HEAD\r\nConnection: close\r\n");
    }
    text.push_str("\r\n");
    if request.method != "HEAD" {
        text.push_str(&body);
    }
    stream.write_all(text.as_bytes()).await?;
    Ok(())
}

/// Sends an event every quarter of a second until the client has seen enough.
async fn events(mut stream: TcpStream) -> Result<()> {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    for count in 1_u64.. {
        stream
            .write_all(format!("id: {count}\ndata: event {count}\n\n").as_bytes())
            .await?;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Ok(())
}

/// Answers the websocket handshake (RFC 6455 §4.2.2) and echoes messages until either side closes.
async fn live(mut stream: TcpStream, request: Request) -> Result<()> {
    let Some(key) = request.header("sec-websocket-key") else {
        bail!("a websocket handshake without its key")
    };
    let mut answer = String::from("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n");
    write!(
        answer,
        "Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    )?;
    stream.write_all(answer.as_bytes()).await?;
    let mut socket = WebSocketStream::from_partially_read(stream, request.rest, Role::Server, None).await;
    // Pings and the closing handshake are answered within `next`.
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

/// Reads one head; `None` when the client closed between two requests.
async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Option<Request>> {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 128];
        let mut head = httparse::Request::new(&mut fields);
        if let httparse::Status::Complete(used) = head.parse(buffer)? {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            return Ok(Some(Request {
                method: head.method.unwrap_or_default().to_owned(),
                target: head.path.unwrap_or_default().to_owned(),
                headers: head
                    .headers
                    .iter()
                    .map(|field| (field.name.to_owned(), text(field.value)))
                    .collect(),
                rest: buffer.split_off(used),
            }));
        }
        if buffer.len() > HEAD_BYTES {
            bail!("a request head of more than {HEAD_BYTES} bytes");
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}
