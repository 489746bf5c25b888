//! What `HttpApp` answers, by path.
//!
//! | path | answer |
//! |---|---|
//! | `/sse?n=3&every=10` | `n` events (no end without it), one every so many milliseconds |
//! | `/slow?ms=300` | the echo, after a while |
//! | `/chunked?n=3` | that many chunks |
//! | `/trailers` | chunks, then a trailer `x-checksum` |
//! | `/hints` | 103 with a `Link`, then 200 |
//! | `/upload` | the number of bytes of the body, which is not kept |
//! | `/bytes?n=1000` | that many bytes |
//! | `/status?code=503` | that status |
//! | `/close-early` | a part of the promised body, then the end |
//! | `/reset` | nothing: the connection ends |
//! | `/bad` | no HTTP |
//! | `/never` | nothing, until the client goes away |
//! | `/ws` | a websocket that sends back each message (RFC 6455) |
//! | any other | JSON: method, target, version, headers as they came, body, trailers, number of the connection |

use std::io::{self, BufReader, Read as _, Write as _};
use std::time::Duration;

use serde_json::json;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Message, WebSocket};

use super::http::{Asked, Conversation, Incoming, Wire};
use crate::patience::pause;

/// Answers one request; `Ok(true)` when the connection can take another.
pub(super) fn answer(asked: &Asked, io: &mut Conversation, connection: usize) -> io::Result<bool> {
    if asked
        .header("expect")
        .is_some_and(|expected| expected.eq_ignore_ascii_case("100-continue"))
    {
        io.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        io.get_mut().flush()?;
    }
    match asked.path() {
        "/sse" => return events(asked, io),
        "/close-early" => return raw(io, b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this"),
        "/bad" => return raw(io, b"this is no HTTP\r\n\r\n"),
        "/reset" => return Ok(false),
        "/never" => return io.read_to_end(&mut Vec::new()).map(|_| false),
        "/ws" => return websocket(asked, io),
        _ => {}
    }
    let body = read_body(asked, io)?;
    match asked.path() {
        "/slow" => pause(Duration::from_millis(asked.number("ms").unwrap_or(300))),
        "/chunked" => return chunked(asked, io, ""),
        "/trailers" => return chunked(asked, io, "x-checksum: 42\r\n"),
        "/hints" => hints(io)?,
        "/upload" => {
            return full(
                asked,
                io,
                200,
                "application/json",
                json!({ "bytes": body.count }).to_string().as_bytes(),
            );
        }
        "/bytes" => return full(asked, io, 200, "application/octet-stream", &some_bytes(asked)),
        "/status" => {
            let code = asked.number("code").unwrap_or(200);
            return full(asked, io, code, "text/plain", format!("status {code}\n").as_bytes());
        }
        _ => {}
    }
    let echo = json!({
        "method": asked.method,
        "target": asked.target,
        "version": asked.version,
        "headers": asked.headers,
        "body": String::from_utf8_lossy(&body.beginning),
        "body_bytes": body.count,
        "trailers": body.trailers,
        "connection": connection,
    });
    full(asked, io, 200, "application/json", echo.to_string().as_bytes())
}

#[derive(Default)]
struct RequestBody {
    beginning: Vec<u8>,
    count: u64,
    trailers: Vec<(String, String)>,
}

/// Reads the whole body, and keeps the first MiB.
fn read_body(asked: &Asked, io: &mut Conversation) -> io::Result<RequestBody> {
    let mut body = RequestBody::default();
    let mut incoming = Incoming::of(asked);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = incoming.read(io, &mut buffer, &mut body.trailers)?;
        if count == 0 {
            return Ok(body);
        }
        body.count += count as u64;
        if body.beginning.len() < 1024 * 1024 {
            body.beginning.extend_from_slice(&buffer[..count]);
        }
    }
}

fn full(asked: &Asked, io: &mut Conversation, code: u64, kind: &str, body: &[u8]) -> io::Result<bool> {
    let has_body = code != 204 && code != 304;
    let mut answer = format!("HTTP/1.1 {code} Said\r\n").into_bytes();
    if has_body {
        answer.extend(format!("content-type: {kind}\r\ncontent-length: {}\r\n", body.len()).bytes());
    }
    answer.extend(b"\r\n");
    if has_body && asked.method != "HEAD" {
        answer.extend(body);
    }
    io.get_mut().write_all(&answer)?;
    io.get_mut().flush()?;
    Ok(!asked
        .header("connection")
        .is_some_and(|wish| wish.eq_ignore_ascii_case("close")))
}

fn raw(io: &mut Conversation, bytes: &[u8]) -> io::Result<bool> {
    io.get_mut().write_all(bytes)?;
    io.get_mut().flush()?;
    Ok(false)
}

fn hints(io: &mut Conversation) -> io::Result<()> {
    io.get_mut()
        .write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload; as=style\r\n\r\n")?;
    io.get_mut().flush()
}

fn chunked(asked: &Asked, io: &mut Conversation, trailers: &str) -> io::Result<bool> {
    let declared = if trailers.is_empty() {
        ""
    } else {
        "trailer: x-checksum\r\n"
    };
    let wire = io.get_mut();
    write!(
        wire,
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n{declared}\r\n"
    )?;
    for number in 0..asked.number("n").unwrap_or(3) {
        let chunk = format!("chunk {number}\n");
        write!(wire, "{:x}\r\n{chunk}\r\n", chunk.len())?;
        wire.flush()?;
    }
    write!(wire, "0\r\n{trailers}\r\n")?;
    wire.flush()?;
    Ok(true)
}

fn events(asked: &Asked, io: &mut Conversation) -> io::Result<bool> {
    let wire = io.get_mut();
    wire.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\n")?;
    wire.write_all(b"connection: close\r\n\r\n")?;
    let every = Duration::from_millis(asked.number("every").unwrap_or(50));
    for number in 0..asked.number("n").unwrap_or(u64::MAX) {
        // One write, so that an event is not cut by the framing of whoever passes it on.
        wire.write_all(format!("id: {number}\ndata: event {number}\n\n").as_bytes())?;
        wire.flush()?;
        pause(every);
    }
    Ok(false)
}

/// Bytes that differ from place to place, so that a lost or doubled part shows.
fn some_bytes(asked: &Asked) -> Vec<u8> {
    (0..asked.number("n").unwrap_or(1000))
        .map(|place| (place ^ (place >> 8)) as u8)
        .collect()
}

fn websocket(asked: &Asked, io: &mut Conversation) -> io::Result<bool> {
    let Some(key) = asked.header("sec-websocket-key") else {
        return full(asked, io, 426, "text/plain", b"this is a websocket\n");
    };
    let accept = derive_accept_key(key.as_bytes());
    let head = format!("connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n");
    let wire = io.get_mut();
    wire.write_all(format!("HTTP/1.1 101 Switching Protocols\r\n{head}").as_bytes())?;
    wire.flush()?;
    let mut socket = WebSocket::from_raw_socket(Joined(io), Role::Server, None);
    loop {
        match socket.read() {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                let _ = socket.send(message);
            }
            Ok(_) => {
                let _ = socket.flush();
            }
            Err(_) => return Ok(false),
        }
    }
}

/// Reads through the buffer, writes past it.
struct Joined<'a>(&'a mut BufReader<Box<dyn Wire>>);

impl io::Read for Joined<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl io::Write for Joined<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.get_mut().flush()
    }
}
