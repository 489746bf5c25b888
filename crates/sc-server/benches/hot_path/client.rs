//! The client of `hot_path`, and the application behind its server: plain blocking code with canned requests.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use sc_tls::ClientTrust;

use crate::modes::{CLOSING, Client, Mode};

/// How the user agent names itself: h2load's words, so that figures stand beside those of load tests.
const AGENT: &str = "h2load nghttp2/1.52.0";

/// Says where the application is, hears where the server is, and makes the requests.
pub(crate) fn run(mode: &'static Mode, requests: u64) {
    println!("{}", application(mode.body_bytes));
    let mut server = String::new();
    std::io::stdin().read_line(&mut server).unwrap();
    let server = server.trim();
    match mode.client {
        Client::Http1 => {
            let mut link = connect(server, mode.host, b"http/1.1");
            for _ in 0..requests {
                http1(&mut link, mode);
            }
        }
        Client::Http1Connecting => {
            for _ in 0..requests {
                http1(&mut connect(server, mode.host, b"http/1.1"), mode);
            }
        }
        Client::Http2 { streams, is_browser } => {
            let link = connect(server, mode.host, b"h2");
            Http2::begin(link, is_browser).run(mode, streams, requests);
        }
    }
}

/// An HTTP/1.1 application with one answer to everything, after which it closes what was asked for [`CLOSING`]; gives its
/// address.
fn application(body_bytes: usize) -> std::net::SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    let body = "a".repeat(body_bytes);
    let answer = move |field: &str| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
        format!("{head}{field}Content-Length: {body_bytes}\r\n\r\n{body}")
    };
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), answer.clone());
            std::thread::spawn(move || {
                let (mut heard, mut space) = (Vec::new(), [0; 4096]);
                while let Ok(1..) = stream
                    .read(&mut space)
                    .inspect(|read| heard.extend_from_slice(&space[..*read]))
                {
                    if heard.ends_with(b"\r\n\r\n") {
                        let closes = heard.starts_with(format!("GET {CLOSING} ").as_bytes());
                        let field = if closes { "Connection: close\r\n" } else { "" };
                        heard.clear();
                        stream.write_all(answer(field).as_bytes()).unwrap();
                        if closes {
                            return;
                        }
                    }
                }
            });
        }
    });
    addr
}

type Link = StreamOwned<ClientConnection, TcpStream>;

fn connect(server: &str, name: &'static str, alpn: &[u8]) -> Link {
    let tcp = TcpStream::connect(server).unwrap();
    tcp.set_nodelay(true).unwrap();
    let mut config: ClientConfig = (*sc_tls::client_config(&ClientTrust::Insecure, &[alpn]).unwrap()).clone();
    config.resumption = rustls::client::Resumption::disabled();
    let mut tls = ClientConnection::new(Arc::new(config), ServerName::try_from(name).unwrap()).unwrap();
    let mut tcp = tcp;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp).unwrap();
    }
    assert_eq!(tls.alpn_protocol(), Some(alpn));
    StreamOwned::new(tls, tcp)
}

/// One request and the whole of its answer.
fn http1(link: &mut Link, mode: &Mode) {
    let (path, host) = (mode.path, mode.host);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {AGENT}\r\n\r\n");
    link.write_all(request.as_bytes()).unwrap();
    let mut heard = Vec::with_capacity(64 << 10);
    let mut space = [0; 32 << 10];
    let mut read = |heard: &mut Vec<u8>| {
        let read = link.read(&mut space).unwrap();
        assert!(read > 0, "the server closed the connection");
        heard.extend_from_slice(&space[..read]);
    };
    let head_bytes = loop {
        if let Some(at) = heard.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        read(&mut heard);
    };
    let head = String::from_utf8_lossy(&heard[..head_bytes]).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(
        head.contains(&format!("\r\ncontent-length: {}\r\n", mode.body_bytes)),
        "{head}"
    );
    while heard.len() < head_bytes + mode.body_bytes {
        read(&mut heard);
    }
    assert_eq!(heard.len(), head_bytes + mode.body_bytes);
}

/// Large enough for everything that one run downloads at a time (RFC 9113 §6.9.1).
const WINDOW: u32 = (1 << 31) - 1;
/// What every connection has at first.
const FIRST_WINDOW: u32 = (1 << 16) - 1;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// Fields of a navigation's subresource, as Chromium sends them.
const BROWSER: [(&str, &str); 9] = [
    ("sec-ch-ua", "\"Chromium\";v=\"142\", \"Not=A?Brand\";v=\"8\""),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", "\"Linux\""),
    ("accept", "text/css,*/*;q=0.1"),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-mode", "no-cors"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-GB,en;q=0.9"),
    ("priority", "u=0"),
];

/// An HTTP/2 connection (RFC 9113).
struct Http2 {
    link: Link,
    is_browser: bool,
    next_stream: u32,
    heard: Vec<u8>,
    /// DATA since the connection's window was last filled up.
    taken: u32,
}

impl Http2 {
    fn begin(mut link: Link, is_browser: bool) -> Self {
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // SETTINGS_INITIAL_WINDOW_SIZE.
        let setting = [&[0, 4][..], &WINDOW.to_be_bytes()].concat();
        hello.extend(frame(SETTINGS, 0, 0, &setting));
        hello.extend(frame(WINDOW_UPDATE, 0, 0, &(WINDOW - FIRST_WINDOW).to_be_bytes()));
        link.write_all(&hello).unwrap();
        Http2 {
            link,
            is_browser,
            next_stream: 1,
            heard: Vec::new(),
            taken: 0,
        }
    }

    fn run(mut self, mode: &Mode, streams: u64, requests: u64) {
        let mut left = requests;
        while left > 0 {
            let batch = left.min(streams);
            left -= batch;
            let mut sent = Vec::new();
            for _ in 0..batch {
                let block = self.request(mode);
                sent.extend(frame(HEADERS, END_STREAM | END_HEADERS, self.next_stream, &block));
                self.next_stream += 2;
            }
            self.link.write_all(&sent).unwrap();
            self.take_answers(batch, mode.body_bytes);
        }
    }

    /// A header block (RFC 7541): the first one fills the table that the others then point into, as all encoders do.
    fn request(&self, mode: &Mode) -> Vec<u8> {
        // `:method: GET`, `:scheme: https`.
        let mut block = vec![0x82, 0x87];
        let fields = 3 + if self.is_browser { BROWSER.len() } else { 0 };
        if self.next_stream > 1 {
            // The newest entry has the lowest index, and pseudo fields come first.
            block.extend((0..fields).rev().map(|field| 0x80 | (62 + field) as u8));
            return block;
        }
        let mut literal = |name: u8, value: &str| {
            block.extend([0x40 | name, value.len() as u8]);
            block.extend(value.as_bytes());
        };
        // `:authority`, `:path` and `user-agent` of the static table.
        literal(1, mode.host);
        literal(4, mode.path);
        literal(58, AGENT);
        for (name, value) in BROWSER.iter().filter(|_| self.is_browser) {
            block.extend([0x40, name.len() as u8]);
            block.extend(name.as_bytes());
            block.push(value.len() as u8);
            block.extend(value.as_bytes());
        }
        block
    }

    /// Reads until so many streams have ended.
    fn take_answers(&mut self, mut open: u64, body_bytes: usize) {
        let expected = open as usize * body_bytes;
        let (mut body, mut space) = (0, [0; 32 << 10]);
        while open > 0 {
            let read = self.link.read(&mut space).unwrap();
            assert!(read > 0, "the server closed the connection");
            self.heard.extend_from_slice(&space[..read]);
            let mut rest = &self.heard[..];
            let mut answer = Vec::new();
            while let Some((head, after)) = rest.split_first_chunk::<9>() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                let Some((payload, after)) = after.split_at_checked(length) else {
                    break;
                };
                rest = after;
                let (kind, flags) = (head[3], head[4]);
                match kind {
                    DATA => {
                        body += length;
                        self.taken += length as u32;
                    }
                    // `:status: 200`, perhaps behind changes of the table's size.
                    HEADERS => assert_eq!(payload.iter().find(|byte| **byte >> 5 != 1), Some(&0x88)),
                    SETTINGS if flags & ACK == 0 => answer.extend(frame(SETTINGS, ACK, 0, b"")),
                    PING if flags & ACK == 0 => answer.extend(frame(PING, ACK, 0, payload)),
                    SETTINGS | PING | WINDOW_UPDATE => {}
                    other => panic!("a frame of type {other}: {payload:?}"),
                }
                if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                    open -= 1;
                }
            }
            self.heard = rest.to_vec();
            if self.taken > WINDOW / 2 {
                answer.extend(frame(WINDOW_UPDATE, 0, 0, &self.taken.to_be_bytes()));
                self.taken = 0;
            }
            if !answer.is_empty() {
                self.link.write_all(&answer).unwrap();
            }
        }
        assert_eq!(body, expected, "the length of the answers");
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}
