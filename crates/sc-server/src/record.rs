//! The record of an exchange: exactly one, however the exchange ended.
//!
//! A [`RecordGuard`] is made when the request is there and travels with the answer; dropping it writes the record. So a
//! client that gives up, a fault and a normal end all go the same way, and none can be forgotten.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use sc_http::{End, Exchange, Meter, Protocol};
use sc_site::Notes;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::journal::Journal;
use crate::metrics::{self, Meters};

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
    pub client: String,
    /// Where the connection came in.
    pub entry: Entry,
    /// The protocol version.
    pub protocol: Protocol,
    /// The method.
    pub method: String,
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

impl Record {
    /// The fields of its log line, in order.
    pub fn fields(&self) -> Map<String, Value> {
        let mut map = Map::new();
        let mut put = |name: &str, value: Value| {
            map.insert(name.to_owned(), value);
        };
        put("connection", self.connection.into());
        if self.stream != 0 {
            put("stream", self.stream.into());
        }
        put("client", self.client.clone().into());
        put("entry", self.entry.as_str().into());
        put("protocol", self.protocol.as_str().into());
        put("method", self.method.clone().into());
        put("url", self.url.clone().into());
        put("status", self.status.into());
        put("received_bytes", self.received_bytes.into());
        put("sent_bytes", self.sent_bytes.into());
        put("took_us", micros(self.took).into());
        put("end", end_word(self.end).into());
        if let Some(site) = self.notes.site() {
            put("site", site.to_string().into());
            put("handler", self.notes.handler().as_str().into());
        }
        if let Some(upstream) = self.notes.upstream() {
            put("upstream", upstream.to_string().into());
        }
        if let Some(first_byte) = self.notes.first_byte() {
            put("upstream_us", micros(first_byte).into());
        }
        if let Some(fault) = self.notes.fault() {
            put("fault", fault.into());
            put("tried", self.notes.tried().into());
        }
        map
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
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
    /// Our own address.
    pub local: sc_net::LocalAddr,
    /// Where it came in.
    pub entry: Entry,
}

/// Writes the record of one exchange when it is dropped.
pub struct RecordGuard {
    journal: Rc<dyn Journal>,
    meters: Rc<dyn Meters>,
    is_tunnel: bool,
    around: Rc<Around>,
    meter: Rc<Meter>,
    notes: Rc<Notes>,
    at: SystemTime,
    began: Instant,
    protocol: Protocol,
    method: String,
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
        at: SystemTime,
    ) -> Self {
        let url = format!(
            "{}://{}{}",
            exchange.scheme.as_str(),
            exchange.authority,
            exchange.target
        );
        RecordGuard {
            journal,
            meters,
            is_tunnel: false,
            around,
            meter: exchange.meter.clone(),
            notes,
            at,
            began: Instant::now(),
            protocol: exchange.protocol,
            method: exchange.method.as_str().to_owned(),
            url,
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
            at: self.at,
            connection: self.around.connection,
            stream: self.meter.stream.get(),
            client: self.around.client.to_string(),
            entry: self.around.entry,
            protocol: self.protocol,
            method: std::mem::take(&mut self.method),
            url: std::mem::take(&mut self.url),
            status: self.meter.status.get(),
            received_bytes: self.meter.received_bytes.get(),
            sent_bytes: self.meter.sent_bytes.get(),
            took: self.began.elapsed(),
            end: self.meter.end.get(),
            notes: self.notes.clone(),
        };
        metrics::count(&*self.meters, &record, self.is_tunnel);
        self.journal.record(record);
    }
}
