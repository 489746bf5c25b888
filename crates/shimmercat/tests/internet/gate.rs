//! An application whose answers to `/held` stop half-way until the test lets them go on: a download in flight.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use sc_testkit::{Http1, Request};

use crate::kit::{SITE, Shop, SiteStream};

/// The first half of what it answers.
const FIRST: &str = "the first half\n";
/// The second.
const SECOND: &str = "and the second\n";

/// The application; its threads end with the test.
pub(crate) struct Gate {
    address: SocketAddr,
    is_open: Arc<(Mutex<bool>, Condvar)>,
}

impl Gate {
    /// Starts it, closed.
    pub(crate) fn start() -> Gate {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let is_open = Arc::<(Mutex<bool>, Condvar)>::default();
        std::thread::spawn({
            let is_open = is_open.clone();
            move || {
                for stream in listener.incoming().flatten() {
                    let is_open = is_open.clone();
                    // Whoever asked may go away in the middle.
                    std::thread::spawn(move || drop(serve(&stream, &is_open)));
                }
            }
        });
        Gate { address, is_open }
    }

    /// A project whose site is a page, and this application for what else is asked.
    pub(crate) fn shop(&self) -> Shop {
        let consultant = format!("consultant: {{ connect-to: {} }}", self.address);
        let shop = Shop::with(&[&format!("{SITE}: {{ root-dir: site, {consultant} }}")]);
        shop.project.file("site/index.html", "<h1>hello</h1>\n");
        shop
    }

    /// Lets all downloads go on.
    pub(crate) fn open(&self) {
        let (lock, changed) = &*self.is_open;
        *lock.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }
}

fn serve(stream: &TcpStream, is_open: &(Mutex<bool>, Condvar)) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next().transpose()? {
        for line in lines.by_ref() {
            if line?.is_empty() {
                break;
            }
        }
        let length = FIRST.len() + SECOND.len();
        let mut out = stream;
        write!(
            out,
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n{FIRST}"
        )?;
        if line.contains("/held") {
            let (lock, changed) = is_open;
            let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = changed.wait_while(guard, |is_open| !*is_open);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
        out.write_all(SECOND.as_bytes())?;
    }
    Ok(())
}

/// A download whose first half has come.
pub(crate) struct Download(Http1<SiteStream>);

impl Download {
    /// Begins it on a connection.
    pub(crate) fn begin(mut client: Http1<SiteStream>) -> Download {
        client.send_raw(format!("GET /held HTTP/1.1\r\nHost: {SITE}\r\n\r\n").as_bytes());
        client.read_until(FIRST.trim_end());
        Download(client)
    }

    /// Reads its second half.
    pub(crate) fn finish(mut self) -> Http1<SiteStream> {
        self.0.read_until(SECOND.trim_end());
        self.0
    }

    /// Asserts that it ends without its second half.
    pub(crate) fn was_cut(mut self) -> bool {
        self.0.is_closed()
    }
}

/// A plain request on a connection; the status.
pub(crate) fn ask(client: &mut Http1<SiteStream>) -> u16 {
    client.request(&Request::get(SITE, "/")).status
}
