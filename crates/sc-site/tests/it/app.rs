//! A small application on loopback: speaks HTTP/1.1 by hand, so that a test can misbehave in every way it wants.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

use sc_net::UpstreamAddr;
use sc_site::UpstreamSpec;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

/// A request as the application read it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// `GET /path HTTP/1.1`.
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    fn bytes(&self) -> Option<usize> {
        self.field("content-length").map(|value| value.parse().unwrap())
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// A connection to the application.
pub(crate) struct Conn {
    io: Box<dyn Stream>,
    buffer: Vec<u8>,
    /// The how-manieth connection it is, from 1.
    pub(crate) number: usize,
    seen: Rc<RefCell<Vec<Request>>>,
}

impl Conn {
    async fn more(&mut self) -> bool {
        let mut chunk = vec![0; 64 << 10];
        let got = self.io.read(&mut chunk).await.unwrap_or(0);
        self.buffer.extend_from_slice(&chunk[..got]);
        got > 0
    }

    /// Reads a request head; none at the end of the connection.
    pub(crate) async fn head(&mut self) -> Option<Request> {
        let end = loop {
            match self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                Some(end) => break end,
                None if self.more().await => {}
                None => return None,
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let line = lines.next().unwrap().to_owned();
        let fields = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        });
        let request = Request {
            line,
            fields: fields.collect(),
            body: Vec::new(),
        };
        self.seen.borrow_mut().push(request.clone());
        Some(request)
    }

    /// Reads a request with its body.
    pub(crate) async fn request(&mut self) -> Option<Request> {
        let mut request = self.head().await?;
        if let Some(bytes) = request.bytes() {
            request.body = self.exactly(bytes).await?;
        } else if request.field("transfer-encoding").is_some() {
            loop {
                let line = self.line().await?;
                let bytes = usize::from_str_radix(line.split(';').next().unwrap().trim(), 16).unwrap();
                if bytes == 0 {
                    while !self.line().await?.is_empty() {}
                    break;
                }
                let chunk = self.exactly(bytes).await?;
                request.body.extend_from_slice(&chunk);
                self.line().await?;
            }
        }
        if let Some(last) = self.seen.borrow_mut().last_mut() {
            last.body.clone_from(&request.body);
        }
        Some(request)
    }

    pub(crate) async fn exactly(&mut self, bytes: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < bytes {
            if !self.more().await {
                return None;
            }
        }
        Some(self.buffer.drain(..bytes).collect())
    }

    /// Takes what has been read but not looked at.
    pub(crate) fn buffered(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.io.write_all(bytes.as_ref()).await;
        let _ = self.io.flush().await;
    }

    /// Answers `200` with a text.
    pub(crate) async fn ok(&mut self, text: &str) {
        self.write(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        ))
        .await;
    }

    /// Waits until the other side closes.
    pub(crate) async fn closed(&mut self) {
        while self.more().await {}
    }
}

/// The application; ends with the test.
pub(crate) struct App {
    pub(crate) at: UpstreamAddr,
    pub(crate) connections: Rc<Cell<usize>>,
    pub(crate) seen: Rc<RefCell<Vec<Request>>>,
    accepting: JoinHandle<()>,
}

impl App {
    /// Serves each connection by a function.
    pub(crate) async fn start<F: Future<Output = ()> + 'static>(serve: impl Fn(Conn) -> F + 'static) -> App {
        App::start_at("127.0.0.1:0".parse().unwrap(), serve).await
    }

    pub(crate) async fn start_at<F: Future<Output = ()> + 'static>(
        at: SocketAddr,
        serve: impl Fn(Conn) -> F + 'static,
    ) -> App {
        let listener = TcpListener::bind(at).await.unwrap();
        let at = UpstreamAddr::Tcp(listener.local_addr().unwrap());
        App::accept(at, serve, async move || {
            Box::new(listener.accept().await.unwrap().0) as Box<dyn Stream>
        })
    }

    pub(crate) fn start_unix<F: Future<Output = ()> + 'static>(
        path: &Path,
        serve: impl Fn(Conn) -> F + 'static,
    ) -> App {
        let listener = UnixListener::bind(path).unwrap();
        let at = UpstreamAddr::Unix(path.to_owned());
        App::accept(at, serve, async move || {
            Box::new(listener.accept().await.unwrap().0) as Box<dyn Stream>
        })
    }

    fn accept<F: Future<Output = ()> + 'static>(
        at: UpstreamAddr,
        serve: impl Fn(Conn) -> F + 'static,
        mut next: impl AsyncFnMut() -> Box<dyn Stream> + 'static,
    ) -> App {
        let (connections, seen) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(Vec::new())));
        let (count, all) = (connections.clone(), seen.clone());
        let accepting = tokio::task::spawn_local(async move {
            loop {
                let io = next().await;
                count.set(count.get() + 1);
                let conn = Conn {
                    io,
                    buffer: Vec::new(),
                    number: count.get(),
                    seen: all.clone(),
                };
                tokio::task::spawn_local(serve(conn));
            }
        });
        App {
            at,
            connections,
            seen,
            accepting,
        }
    }

    /// Answers every request with `200` and its line.
    pub(crate) async fn echo() -> App {
        App::start(|mut conn| async move {
            while let Some(request) = conn.request().await {
                if request.line.starts_with("HEAD") {
                    conn.write("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
                } else {
                    conn.ok(&request.line).await;
                }
            }
        })
        .await
    }

    pub(crate) fn spec(&self) -> UpstreamSpec {
        UpstreamSpec::new(self.at.clone())
    }

    pub(crate) fn last(&self) -> Request {
        self.seen.borrow().last().cloned().expect("a request")
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
