//! Servers that send back what they receive, over TCP and UDP.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a thread that waits for datagrams looks whether it should end.
const LOOK: Duration = Duration::from_millis(50);

/// Sends every byte back, and closes its side when the other has closed.
pub struct EchoServer {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
    listening: Option<JoinHandle<()>>,
}

impl EchoServer {
    /// Listens on a free loopback port.
    pub fn start() -> EchoServer {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (stopping, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stop, count) = (stopping.clone(), connections.clone());
        let listening = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                count.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    let mut buffer = vec![0; 64 * 1024];
                    while let Ok(length @ 1..) = stream.read(&mut buffer) {
                        if stream.write_all(&buffer[..length]).is_err() {
                            return;
                        }
                    }
                    let _ = stream.shutdown(Shutdown::Write);
                });
            }
        });
        EchoServer {
            address,
            stopping,
            connections,
            listening: Some(listening),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has had.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        let _ = std::net::TcpStream::connect(self.address);
        let _ = self.listening.take().map(JoinHandle::join);
    }
}

/// Sends every datagram back to where it came from.
pub struct UdpEcho {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    datagrams: Arc<AtomicUsize>,
}

impl UdpEcho {
    /// Listens on a free loopback port.
    pub fn start() -> UdpEcho {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        socket.set_read_timeout(Some(LOOK)).expect("a time limit can be set");
        let address = socket.local_addr().expect("a bound socket has an address");
        let (stopping, datagrams) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stop, count) = (stopping.clone(), datagrams.clone());
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while !stop.load(Ordering::SeqCst) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    count.fetch_add(1, Ordering::SeqCst);
                    let _ = socket.send_to(&buffer[..length], from);
                }
            }
        });
        UdpEcho {
            address,
            stopping,
            datagrams,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many datagrams have reached it.
    pub fn datagrams(&self) -> usize {
        self.datagrams.load(Ordering::SeqCst)
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
    }
}
