//! A small HTTP/1.1 application: sockets, TLS, reading requests. What it answers stands in `routes`.
//!
//! Reads strictly enough for a test to trust what it reports: header lines as they came, bodies with a length or in chunks,
//! trailers. No limits: it serves only tests.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::PrivateKeyDer;

use super::routes;

/// Any connection, in the clear or not.
pub(super) trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// One request as it arrived, without its body.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) version: String,
    pub(super) headers: Vec<(String, String)>,
}

impl Asked {
    /// The value of a header, the first of that name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The target without its query.
    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// A number of the query, e.g. `n` of `/sse?n=3`.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        let (_, query) = self.target.split_once('?')?;
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .filter(|(found, _)| *found == name)
            .find_map(|(_, value)| value.parse().ok())
    }
}

/// The request body, as much of it as was not read yet.
pub(super) enum Incoming {
    Length(u64),
    Chunked { left_in_chunk: u64, is_done: bool },
}

/// A connection with what was read ahead.
pub(super) type Conversation = BufReader<Box<dyn Wire>>;

/// A running application.
pub struct HttpApp {
    place: Place,
    shared: Arc<Shared>,
    certificate_pem: Option<String>,
    listening: Option<JoinHandle<()>>,
}

enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

enum Raw {
    Tcp(TcpStream),
    Unix(UnixStream),
}

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    connections: AtomicUsize,
    requests: AtomicUsize,
    /// A second handle of each open connection, by its number.
    open: Mutex<HashMap<usize, Raw>>,
}

impl HttpApp {
    /// Listens on a free loopback port.
    pub fn start() -> HttpApp {
        HttpApp::start_on((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Listens on this address, e.g. where another application stood before.
    pub fn start_on(address: SocketAddr) -> HttpApp {
        HttpApp::over_tcp(address, None)
    }

    /// Speaks TLS on a free loopback port, with a certificate of its own for `names`.
    pub fn start_tls(names: &[&str]) -> HttpApp {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate can be made");
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has all versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("key and certificate belong together");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut app = HttpApp::over_tcp((Ipv4Addr::LOCALHOST, 0).into(), Some(Arc::new(config)));
        app.certificate_pem = Some(made.cert.pem());
        app
    }

    /// Listens on a unix socket.
    pub fn start_unix(path: &Path) -> HttpApp {
        let listener = UnixListener::bind(path).expect("a unix socket can be bound");
        let shared = Arc::new(Shared::default());
        let state = shared.clone();
        let listening = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if state.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let Ok(copy) = stream.try_clone() else { continue };
                converse(Box::new(stream), Raw::Unix(copy), state.clone());
            }
        });
        HttpApp {
            place: Place::Unix(path.to_owned()),
            shared,
            certificate_pem: None,
            listening: Some(listening),
        }
    }

    fn over_tcp(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> HttpApp {
        let listener = TcpListener::bind(address).expect("a loopback port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let state = shared.clone();
        let listening = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if state.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let Ok(copy) = stream.try_clone() else { continue };
                let _ = stream.set_nodelay(true);
                let wire: Box<dyn Wire> = match &tls {
                    None => Box::new(stream),
                    Some(config) => {
                        let Ok(connection) = ServerConnection::new(config.clone()) else {
                            continue;
                        };
                        Box::new(StreamOwned::new(connection, stream))
                    }
                };
                converse(wire, Raw::Tcp(copy), state.clone());
            }
        });
        HttpApp {
            place: Place::Tcp(address),
            shared,
            certificate_pem: None,
            listening: Some(listening),
        }
    }

    /// Where it listens.
    ///
    /// Shape: panics for a unix socket.
    pub fn address(&self) -> SocketAddr {
        match &self.place {
            Place::Tcp(address) => *address,
            Place::Unix(path) => panic!("this application listens on {}", path.display()),
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address().port()
    }

    /// The certificate it shows, PEM, when it speaks TLS.
    pub fn certificate_pem(&self) -> &str {
        self.certificate_pem.as_deref().expect("this application speaks TLS")
    }

    /// How many connections it has had.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many requests it has begun to answer.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Ends every open connection, and goes on listening.
    pub fn cut_connections(&self) {
        for (_, raw) in self.shared.open().drain() {
            let _ = match raw {
                Raw::Tcp(stream) => stream.shutdown(Shutdown::Both),
                Raw::Unix(stream) => stream.shutdown(Shutdown::Both),
            };
        }
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, HashMap<usize, Raw>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HttpApp {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        match &self.place {
            Place::Tcp(address) => drop(TcpStream::connect(address)),
            Place::Unix(path) => drop(UnixStream::connect(path)),
        }
        // The address is free for another application afterwards.
        let _ = self.listening.take().map(JoinHandle::join);
        self.cut_connections();
    }
}

fn converse(wire: Box<dyn Wire>, raw: Raw, shared: Arc<Shared>) {
    let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
    shared.open().insert(number, raw);
    std::thread::spawn(move || {
        let mut conversation = BufReader::new(wire);
        while let Ok(Some(asked)) = read_head(&mut conversation) {
            shared.requests.fetch_add(1, Ordering::SeqCst);
            if !matches!(routes::answer(&asked, &mut conversation, number), Ok(true)) {
                break;
            }
        }
        shared.open().remove(&number);
    });
}

/// Reads a request line and header lines; `None` when the connection ended between requests.
fn read_head(from: &mut Conversation) -> io::Result<Option<Asked>> {
    let Some(first) = read_line(from)? else { return Ok(None) };
    let mut words = first.split(' ').map(str::to_owned);
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, first));
    };
    let mut headers = Vec::new();
    while let Some((name, value)) = read_field(from)? {
        headers.push((name, value));
    }
    Ok(Some(Asked {
        method,
        target,
        version,
        headers,
    }))
}

/// Reads a header or trailer line; `None` at the empty line that ends them.
fn read_field(from: &mut Conversation) -> io::Result<Option<(String, String)>> {
    let line = read_line(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(line
        .split_once(':')
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned())))
}

fn read_line(from: &mut Conversation) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if from.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(
        String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned(),
    ))
}

impl Incoming {
    /// How the body of a request is framed. Source: RFC 9112 §6.3.
    pub(super) fn of(asked: &Asked) -> Incoming {
        let is_chunked = asked
            .header("transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        let length = asked
            .header("content-length")
            .and_then(|length| length.parse().ok())
            .unwrap_or(0);
        if is_chunked {
            Incoming::Chunked {
                left_in_chunk: 0,
                is_done: false,
            }
        } else {
            Incoming::Length(length)
        }
    }

    /// Reads some of it; 0 at its end. Trailers go into `trailers`.
    pub(super) fn read(
        &mut self,
        from: &mut Conversation,
        buffer: &mut [u8],
        trailers: &mut Vec<(String, String)>,
    ) -> io::Result<usize> {
        let left = match self {
            Incoming::Length(left) => left,
            Incoming::Chunked { is_done: true, .. } => return Ok(0),
            Incoming::Chunked { left_in_chunk, is_done } => {
                if *left_in_chunk == 0 {
                    let line = read_line(from)?.unwrap_or_default();
                    let size = line.split(';').next().unwrap_or_default();
                    *left_in_chunk = u64::from_str_radix(size.trim(), 16).map_err(|_| io::ErrorKind::InvalidData)?;
                    if *left_in_chunk == 0 {
                        *is_done = true;
                        while let Some(field) = read_field(from)? {
                            trailers.push(field);
                        }
                        return Ok(0);
                    }
                }
                left_in_chunk
            }
        };
        let most = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let count = from.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *left -= count as u64;
        let is_chunk_over = *left == 0;
        if is_chunk_over && matches!(self, Incoming::Chunked { .. }) {
            read_line(from)?;
        }
        Ok(count)
    }
}
