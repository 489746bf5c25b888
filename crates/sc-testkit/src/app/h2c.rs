//! An HTTP/2 application by prior knowledge, on the `h2` crate in a thread of its own.
//!
//! Sends every body back as it comes, with the request line in `x-asked` and its trailers as trailers; extended CONNECT
//! (RFC 8441) is answered 200 and echoes bytes. `/hints` sends a 103 first.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinSet, LocalSet};

/// A running application.
pub struct H2cApp {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl H2cApp {
    /// Listens on a free loopback port.
    pub fn start() -> H2cApp {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        listener
            .set_nonblocking(true)
            .expect("a socket can be made non-blocking");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let local = LocalSet::new();
            local.block_on(&runtime, async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! { _ = stopped => {} () = listen(listener) => {} }
            });
        });
        H2cApp { address, _stop: stop }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

async fn listen(listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn_local(converse(stream));
    }
}

async fn converse(stream: TcpStream) {
    let mut builder = h2::server::Builder::new();
    builder.enable_connect_protocol();
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else {
        return;
    };
    let mut streams = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        streams.spawn_local(async move {
            let _ = answer(request, respond).await;
        });
    }
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    if request.uri().path() == "/hints" {
        let hints = Response::builder()
            .status(103)
            .header("link", "</style.css>; rel=preload; as=style")
            .body(());
        respond.send_informational(hints.expect("a plain response"))?;
    }
    let asked = format!("{} {}", request.method(), request.uri());
    let response = Response::builder()
        .status(200)
        .header("x-asked", asked)
        .body(())
        .expect("a plain response");
    let to = respond.send_response(response, false)?;
    send_back(request.into_body(), to).await
}

async fn send_back(mut from: RecvStream, mut to: SendStream<Bytes>) -> Result<(), h2::Error> {
    while let Some(data) = from.data().await {
        let mut data = data?;
        let _ = from.flow_control().release_capacity(data.len());
        while !data.is_empty() {
            to.reserve_capacity(data.len());
            let room = std::future::poll_fn(|context| to.poll_capacity(context))
                .await
                .transpose()?
                .unwrap_or(0);
            to.send_data(data.split_to(room.min(data.len())), false)?;
        }
    }
    match from.trailers().await? {
        Some(trailers) => to.send_trailers(trailers),
        None => to.send_data(Bytes::new(), true),
    }
}
