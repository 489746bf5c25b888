//! Visitors of a site: one connection after the other, with one request each, for as long as a test goes on.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sc_testkit::client::tls::TlsClient;

use crate::kit::{PATIENCE, SITE};

/// Opens one connection after the other, with one request each, until it is told to end.
pub(crate) struct Visitors {
    is_over: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    thread: JoinHandle<(Vec<String>, Duration)>,
}

impl Visitors {
    /// Begins.
    pub(crate) fn start(address: SocketAddr, ca: &Path) -> Visitors {
        let (is_over, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let client = TlsClient::new(ca, &["http/1.1"]);
        let thread = std::thread::spawn({
            let (is_over, served) = (is_over.clone(), served.clone());
            move || {
                let (mut failed, mut slowest) = (Vec::new(), Duration::ZERO);
                while !is_over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    match visit(address, &client) {
                        Ok(()) => drop(served.fetch_add(1, Ordering::Relaxed)),
                        Err(why) => failed.push(why),
                    }
                    slowest = slowest.max(began.elapsed());
                }
                (failed, slowest)
            }
        });
        Visitors {
            is_over,
            served,
            thread,
        }
    }

    /// How many were served so far.
    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// Ends it; how many were served, what went wrong, and how long the slowest took.
    pub(crate) fn end(self) -> (usize, Vec<String>, Duration) {
        self.is_over.store(true, Ordering::Relaxed);
        let (failed, slowest) = self.thread.join().expect("the visitors do not panic");
        (self.served.load(Ordering::Relaxed), failed, slowest)
    }
}

/// One connection, one request; what went wrong.
pub(crate) fn visit(address: SocketAddr, tls: &TlsClient) -> Result<(), String> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| error.to_string())?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .map_err(|error| error.to_string())?;
    let mut stream = tls.over(stream, SITE)?;
    let request = format!("GET / HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .map_err(|error| error.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
    if answer.starts_with("HTTP/1.1 200") && answer.ends_with("<h1>hello</h1>\n") {
        Ok(())
    } else {
        Err(answer)
    }
}
