//! Pairs of connected streams, and a bound on every wait.

use std::future::Future;
use std::time::Duration;

use sc_net::{ClientAddr, Connection, LocalAddr, Permit, Stream};
use tokio::net::{TcpListener, TcpStream};

/// Waits for something, but not for ever.
pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: nothing for 20 s"),
    }
}

/// Two ends of one TCP connection.
pub(crate) async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    (near, far)
}

/// A client's end, and the connection as the server has it.
pub(crate) async fn connection() -> (TcpStream, Connection) {
    let (near, far) = tcp_pair().await;
    let client = ClientAddr::inet(far.peer_addr().unwrap());
    let local = LocalAddr::inet(far.local_addr().unwrap());
    (
        near,
        Connection::new(Stream::from(far), client, local, Permit::uncounted()),
    )
}
