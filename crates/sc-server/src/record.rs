//! The record of an exchange: exactly one, however the exchange ended.
//!
//! A [`RecordGuard`] is made when the request is there and travels with the answer; dropping it writes the record. So a
//! client that gives up, a fault and a normal end all go the same way, and none can be forgotten.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use http::Method;
use sc_http::{End, Exchange, Meter, Protocol};
use sc_site::Notes;
use tokio::time::Instant;

use crate::journal::Journal;
use crate::metrics::{self, Meters};
use crate::server::Shared;

/// Where a connection came in, which decides what may be reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Entry {
    /// The HTTPS port itself.
    Direct,
    /// SOCKS5 (RFC 1928).
    Socks5,
    /// SOCKS4 or 4a.
    Socks4,
    /// HTTP `CONNECT` or an absolute-form request.
    HttpProxy,
    /// TLS straight to the proxy port, by SNI.
    TlsByName,
    /// The port that only redirects to HTTPS.
    Redirect,
}

impl Entry {
    /// The word in records and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Entry::Direct => "direct",
            Entry::Socks5 => "socks5",
            Entry::Socks4 => "socks4",
            Entry::HttpProxy => "connect",
            Entry::TlsByName => "tls",
            Entry::Redirect => "redirect",
        }
    }

    /// Whether the client is inside the little network, and may see sites that are `audience: network`.
    pub fn is_inside(self) -> bool {
        match self {
            Entry::Direct | Entry::Redirect => false,
            Entry::Socks5 | Entry::Socks4 | Entry::HttpProxy | Entry::TlsByName => true,
        }
    }
}

/// What is known of one exchange after it ended.
#[derive(Clone, Debug)]
pub struct Record {
    /// When the request was there.
    pub at: SystemTime,
    /// Serial number of its connection.
    pub connection: u64,
    /// HTTP/2 stream id, 0 elsewhere.
    pub stream: u32,
    /// Address of the client.
    pub client: Rc<str>,
    /// Where the connection came in.
    pub entry: Entry,
    /// The protocol version.
    pub protocol: Protocol,
    /// The method.
    pub method: Method,
    /// The URL, without userinfo or fragment.
    pub url: String,
    /// Status of the final response; 0 when none was sent.
    pub status: u16,
    /// Body bytes from the client.
    pub received_bytes: u64,
    /// Body bytes to the client.
    pub sent_bytes: u64,
    /// From the whole request head to the end.
    pub took: Duration,
    /// How it ended.
    pub end: End,
    /// Which site and handler answered, which application was asked, what was tried, what went wrong.
    pub notes: Rc<Notes>,
}

/// The word for how an exchange ended.
pub fn end_word(end: End) -> &'static str {
    match end {
        End::Cancelled => "cancelled",
        End::Complete => "complete",
        End::Failed(kind) => kind.treatment().label,
    }
}

/// What a record needs to know of the connection.
#[derive(Debug)]
pub struct Around {
    /// Serial number of the connection.
    pub connection: u64,
    /// Address of the client.
    pub client: sc_net::ClientAddr,
    /// The same in words.
    pub client_text: Rc<str>,
    /// Our own address.
    pub local: sc_net::LocalAddr,
    /// Where it came in.
    pub entry: Entry,
}

/// When a request was there.
#[derive(Clone, Copy, Debug)]
pub struct Began {
    /// As people tell the time.
    pub at: SystemTime,
    /// To measure from.
    pub moment: Instant,
}

impl Began {
    /// Just now.
    pub(crate) fn now(shared: &Shared) -> Self {
        Began {
            at: shared.now(),
            moment: Instant::now(),
        }
    }
}

/// Writes the record of one exchange when it is dropped.
pub struct RecordGuard {
    journal: Rc<dyn Journal>,
    meters: Rc<dyn Meters>,
    is_tunnel: bool,
    around: Rc<Around>,
    meter: Rc<Meter>,
    notes: Rc<Notes>,
    began: Began,
    protocol: Protocol,
    method: Method,
    url: String,
}

impl RecordGuard {
    /// Begins the record of an exchange.
    pub fn begin(
        journal: Rc<dyn Journal>,
        meters: Rc<dyn Meters>,
        around: Rc<Around>,
        exchange: &Exchange,
        notes: Rc<Notes>,
        began: Began,
    ) -> Self {
        RecordGuard {
            journal,
            meters,
            is_tunnel: false,
            around,
            meter: exchange.meter.clone(),
            notes,
            began,
            protocol: exchange.protocol,
            method: exchange.method.clone(),
            url: exchange.url(),
        }
    }

    /// The exchange has become a tunnel: how long it lasts says nothing about how fast anything was answered.
    pub(crate) fn becomes_tunnel(&mut self) {
        self.is_tunnel = true;
    }
}

impl Drop for RecordGuard {
    fn drop(&mut self) {
        let record = Record {
            at: self.began.at,
            connection: self.around.connection,
            stream: self.meter.stream.get(),
            client: self.around.client_text.clone(),
            entry: self.around.entry,
            protocol: self.protocol,
            method: std::mem::take(&mut self.method),
            url: std::mem::take(&mut self.url),
            status: self.meter.status.get(),
            received_bytes: self.meter.received_bytes.get(),
            sent_bytes: self.meter.sent_bytes.get(),
            took: self.began.moment.elapsed(),
            end: self.meter.end.get(),
            notes: self.notes.clone(),
        };
        metrics::count(&*self.meters, &record, self.is_tunnel);
        self.journal.record(record);
    }
}
