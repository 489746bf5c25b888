//! A server in the test, with an application behind it, and what it tells and counts.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body::Frame;
use sc_http::{Answer, Body, Exchange, Fault, Head};
use sc_net::listen::{self, Place};
use sc_net::{Target, Tasks, UpstreamAddr};
use sc_server::{
    Around, DrainPolicy, Event, Journal, Kind, LocalFuture, Meters, Metric, Network, Policy, Record, Refusal, Route,
    Server,
};
use sc_site::{Audience, Disclosure, Environment, NamePattern, SiteSpec, Sites, UpstreamSpec};
use sc_tls::{Ca, ClientTrust, Minter, Uncovered};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::spawn_local;

/// Runs a test where tasks that cannot be sent can be spawned, and not for ever.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    run_on(false, future)
}

/// The same, on a clock that only moves while everything waits.
pub(crate) fn run_paused<T>(future: impl Future<Output = T>) -> T {
    run_on(true, future)
}

fn run_on<T>(is_paused: bool, future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(is_paused)
        .build()
        .unwrap();
    let future = async {
        if is_paused {
            return future.await;
        }
        let limit = Duration::from_secs(30);
        tokio::time::timeout(limit, future)
            .await
            .expect("the test takes too long")
    };
    tokio::task::LocalSet::new().block_on(&runtime, Box::pin(future))
}

/// Keeps what was told.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) events: RefCell<Vec<Event>>,
    pub(crate) records: RefCell<Vec<Record>>,
    pub(crate) told: Notify,
}

impl Journal for Book {
    fn event(&self, event: Event) {
        self.events.borrow_mut().push(event);
        self.told.notify_waiters();
    }

    fn record(&self, record: Record) {
        self.records.borrow_mut().push(record);
        self.told.notify_waiters();
    }
}

/// Adds up.
#[derive(Default)]
pub(crate) struct Numbers(RefCell<BTreeMap<Metric, u64>>);

impl Meters for Numbers {
    fn add(&self, metric: Metric, by: u64) {
        *self.0.borrow_mut().entry(metric).or_default() += by;
    }
}

impl Numbers {
    pub(crate) fn get(&self, metric: Metric) -> u64 {
        self.0.borrow().get(&metric).copied().unwrap_or(0)
    }

    pub(crate) fn sum(&self) -> u64 {
        self.0.borrow().values().sum()
    }
}

/// A little network that refuses everything, and whose pages panic: `/body` in the middle of one, others at once.
pub(crate) struct Nothing;

impl Network for Nothing {
    fn route(&self, _: &Target) -> Route {
        Route::Refuse(Refusal::NotForwarded)
    }

    fn udp_route(&self, _: &Target) -> Route {
        Route::Refuse(Refusal::NotForwarded)
    }

    fn refused(&self, _: &Target, _: &Refusal) {}

    fn page<'a>(&'a self, exchange: Box<Exchange>, _: &'a Around) -> LocalFuture<'a, Answer> {
        Box::pin(async move {
            match exchange.path() {
                "/body" => Answer::new(Head::new(http::StatusCode::OK), Body::stream(Panicking(false))),
                _ => panic!("as asked"),
            }
        })
    }

    fn refusal_page(&self, _: &Exchange, _: &Refusal) -> Answer {
        Answer::new(Head::new(http::StatusCode::FORBIDDEN), Body::empty())
    }
}

/// A body of one piece and a panic.
struct Panicking(bool);

impl http_body::Body for Panicking {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if std::mem::replace(&mut self.0, true) {
            panic!("as asked");
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"half of it")))))
    }
}

/// A server, and everything around it.
pub(crate) struct Rig {
    pub(crate) server: Server,
    pub(crate) book: Rc<Book>,
    pub(crate) numbers: Rc<Numbers>,
    pub(crate) app: Rc<App>,
    pub(crate) tls: std::net::SocketAddr,
    pub(crate) redirect: std::net::SocketAddr,
    pub(crate) proxy: std::net::SocketAddr,
    _tasks: Rc<Tasks>,
    _place: tempfile::TempDir,
}

/// What a test wants to be otherwise.
#[derive(Default)]
pub(crate) struct Wish {
    pub(crate) drain: DrainPolicy,
    pub(crate) https_port: Option<u16>,
    pub(crate) connections: Option<usize>,
    /// Panics where tasks for the application are started.
    pub(crate) spawn_panics: bool,
}

impl Rig {
    pub(crate) async fn start(wish: Wish) -> Rig {
        let app = App::start().await;
        let place = tempfile::tempdir().unwrap();
        let (ca, _) = Ca::open_or_create(&place.path().join("ca"), "test", SystemTime::now()).unwrap();
        let minter = Minter::new(Arc::new(ca), |name| name.ends_with(".example"), Uncovered::Refuse).unwrap();
        let tls = sc_tls::server_config(Arc::new(minter), sc_tls::H2_AND_HTTP11).unwrap();

        let tasks = Rc::new(Tasks::new(|panicked| panic!("{panicked:?}")));
        let (book, numbers) = (Rc::new(Book::default()), Rc::new(Numbers::default()));
        let mut policy = Policy::new(SystemTime::now);
        policy.drain = wish.drain;
        policy.https_port = wish.https_port.unwrap_or(443);
        policy.bounds.connections = wish.connections.unwrap_or(100);
        policy.meters = numbers.clone();
        let sites = sites(app.addr, &tasks, wish.spawn_panics);
        let server = Server::new(policy, book.clone(), Rc::new(Nothing), sites, tls);
        let listen = |kind| {
            let listener = listen::bind(&Place::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
            let addr = listener.local().socket().unwrap();
            server.listen(listener, kind);
            addr
        };
        Rig {
            tls: listen(Kind::Tls),
            redirect: listen(Kind::Redirect),
            proxy: listen(Kind::Proxy),
            server,
            book,
            numbers,
            app,
            _tasks: tasks,
            _place: place,
        }
    }

    /// Waits until what was told is as wanted.
    pub(crate) async fn until(&self, wanted: impl Fn(&Book) -> bool) {
        loop {
            let told = self.book.told.notified();
            if wanted(&self.book) {
                return;
            }
            told.await;
        }
    }

    /// Connects with TLS, offering these protocols.
    pub(crate) async fn connect(&self, alpn: &[&[u8]]) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
        let config = sc_tls::client_config(&ClientTrust::Insecure, alpn).unwrap();
        let tcp = TcpStream::connect(self.tls).await.unwrap();
        let connected = sc_tls::connect(tcp, "www.shop.example", config, Duration::from_secs(10));
        connected.await.unwrap().stream
    }

    /// How many connections, exchanges and tunnels are open.
    pub(crate) fn open(&self) -> (u64, u64, u64) {
        let open = self.server.open();
        (open.connections, open.exchanges, open.tunnels)
    }
}

fn sites(app: std::net::SocketAddr, tasks: &Rc<Tasks>, panics: bool) -> Sites {
    let name = |name| NamePattern::parse(name).unwrap();
    let mut shop = SiteSpec::new(name("www.shop.example"));
    shop.upstream = Some(UpstreamSpec::new(UpstreamAddr::Tcp(app)));
    let mut inside = SiteSpec::new(name("inside.example"));
    inside.audience = Audience::Network;
    let specs = vec![shop, inside, SiteSpec::new(name("*.tenants.example"))];
    let tasks = tasks.clone();
    let environment = Environment {
        disclosure: Disclosure::Public,
        marker: "test".into(),
        spawn: Rc::new(move |name, task| {
            if panics {
                panic!("no task, as asked");
            }
            tasks.spawn(name, task);
        }),
        told: Rc::new(|_| {}),
    };
    Sites::compile(specs, environment).unwrap()
}

/// An application: one request a connection, one path for each thing it can do.
pub(crate) struct App {
    pub(crate) addr: std::net::SocketAddr,
    /// Requests that wait at `/wait`.
    pub(crate) waiting: Cell<usize>,
    pub(crate) came: Notify,
    /// Lets them go.
    pub(crate) go: Notify,
    /// What came through a websocket.
    pub(crate) heard: RefCell<Vec<u8>>,
}

impl App {
    async fn start() -> Rc<App> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app = Rc::new(App {
            addr: listener.local_addr().unwrap(),
            waiting: Cell::new(0),
            came: Notify::new(),
            go: Notify::new(),
            heard: RefCell::default(),
        });
        let accepting = app.clone();
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                spawn_local(accepting.clone().serve(stream));
            }
        });
        app
    }

    async fn serve(self: Rc<Self>, mut stream: TcpStream) {
        let head = until(&mut stream, "\r\n\r\n").await;
        let path = head.split(' ').nth(1).unwrap_or_default();
        let body = match path {
            "/wait" => {
                self.waiting.set(self.waiting.get() + 1);
                self.came.notify_waiters();
                self.go.notified().await;
                "waited"
            }
            "/ws" => return self.websocket(stream).await,
            "/events" => return self.events(stream).await,
            _ => "hello",
        };
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let _ = stream.write_all(answer.as_bytes()).await;
    }

    /// An event and a half, and the rest and another half each time that it is let go.
    async fn events(&self, mut stream: TcpStream) {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\ndata: 2";
        stream.write_all(head.as_bytes()).await.unwrap();
        let gone = stream.readable();
        tokio::select! {
            () = self.go.notified() => {}
            _ = gone => return,
        }
        let _ = stream.write_all(b"\n\ndata: 3").await;
        // Until nobody listens.
        let _ = stream.readable().await;
        self.came.notify_waiters();
    }

    /// Answers each frame with `hi`, and a Close with a Close.
    async fn websocket(&self, mut stream: TcpStream) {
        // The key of RFC 6455 §1.3; the client of the tests sends it.
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut space = [0; 1000];
        while let Ok(read @ 1..) = stream.read(&mut space).await {
            self.heard.borrow_mut().extend_from_slice(&space[..read]);
            let is_close = space[0] == 0x88;
            let answer: &[u8] = if is_close { &[0x88, 0] } else { b"\x82\x02hi" };
            if stream.write_all(answer).await.is_err() || is_close {
                return;
            }
        }
    }

    /// Waits until so many requests wait at `/wait`.
    pub(crate) async fn until_waiting(&self, requests: usize) {
        loop {
            let came = self.came.notified();
            if self.waiting.get() >= requests {
                return;
            }
            came.await;
        }
    }
}

/// A `GET` over HTTP/1.1.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: www.shop.example\r\n\r\n").into_bytes()
}

/// Reads until this text comes last.
pub(crate) async fn until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let (mut heard, mut space) = (Vec::new(), [0; 1000]);
    while !heard.ends_with(end.as_bytes()) {
        let read = stream.read(&mut space).await.unwrap();
        let text = String::from_utf8_lossy(&heard);
        assert!(read > 0, "ended after {text:?}, without {end:?}");
        heard.extend_from_slice(&space[..read]);
    }
    String::from_utf8_lossy(&heard).into_owned()
}

/// Reads to the end; also one that is a reset, or none of TLS.
pub(crate) async fn to_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard).await;
    String::from_utf8_lossy(&heard).into_owned()
}
