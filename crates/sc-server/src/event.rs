//! Everything that can be logged: one variant an event, with typed fields and a stable code.
//!
//! A code, once given, is never used for anything else; the wording may change. The first digit hints at the severity:
//! 0 debug, 3 information, 4 attention, 6 error. The catalogue in `docs/logs.md` is written from [`CATALOGUE`] by a test.
//! Access-log lines are records ([`crate::record`]) and share the code space. Filtering is in [`crate::log_codes`].

use sc_net::tasks::Panicked;
use serde_json::{Map, Value};

/// How much an event matters.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// For whoever looks for a fault in this program.
    Debug,
    /// Normal life.
    Info,
    /// Somebody may want to look: a refusal, a client's mistake, an application that is down.
    Attention,
    /// A fault of ours.
    Error,
}

impl Severity {
    /// The word that stands in log lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Debug => "debug",
            Severity::Info => "info",
            Severity::Attention => "attention",
            Severity::Error => "error",
        }
    }
}

/// What is fixed about an event: its line in the catalogue.
#[derive(Debug)]
pub struct Code {
    /// `M` and five digits.
    pub number: u32,
    /// The `event=` name.
    pub name: &'static str,
    /// Severity.
    pub severity: Severity,
    /// Whether it belongs to the named set `default`.
    pub is_default: bool,
    /// Whether it belongs to the named set `connection`.
    pub is_connection: bool,
    /// One line for the catalogue.
    pub summary: &'static str,
}

impl Code {
    /// The code as it is printed, e.g. `M40101`.
    pub fn label(&self) -> String {
        format!("M{:05}", self.number)
    }
}

macro_rules! events {
    ($( $(#[doc = $doc:literal])+ $variant:ident { $( $(#[doc = $fdoc:literal])+ $field:ident : $ty:ty ),* $(,)? } = ($number:literal, $name:literal, $severity:ident, $default:literal, $connection:literal); )+) => {
        /// One thing that happened.
        #[derive(Clone, Debug)]
        pub enum Event {
            $( $(#[doc = $doc])+ $variant { $( $(#[doc = $fdoc])+ $field: $ty ),* }, )+
        }

        /// Every event there is, in the order of the codes.
        pub const CATALOGUE: &[Code] = &[
            $( Code { number: $number, name: $name, severity: Severity::$severity, is_default: $default,
                      is_connection: $connection, summary: concat!($($doc),+) }, )+
            RECORD,
        ];

        impl Event {
            /// Its fixed part.
            pub fn code(&self) -> &'static Code {
                let number = match self { $( Event::$variant { .. } => $number, )+ };
                CATALOGUE.iter().find(|code| code.number == number).expect("the macro lists every number")
            }

            /// Its fields, in order.
            pub fn fields(&self) -> Map<String, Value> {
                match self {
                    $( Event::$variant { $($field),* } => {
                        let mut map = Map::new();
                        $( map.insert(stringify!($field).to_owned(), Value::from($field.clone())); )*
                        map
                    } )+
                }
            }
        }
    };
}

/// The code of an access-log line: one per exchange, always.
pub const RECORD: Code = Code {
    number: 30201,
    name: "exchange",
    severity: Severity::Info,
    is_default: true,
    is_connection: false,
    summary: " One exchange has ended, however it ended.",
};

events! {
    /// A connection was accepted.
    ConnectionOpened {
        /// Serial number of the connection in this process.
        connection: u64,
        /// `tls`, `proxy` or `redirect`.
        listener: &'static str,
        /// Address of the client.
        client: String,
    } = (101, "connection_opened", Debug, false, true);
    /// A connection has ended.
    ConnectionClosed {
        /// Serial number of the connection.
        connection: u64,
        /// Milliseconds it lived.
        lived_ms: u64,
    } = (102, "connection_closed", Debug, false, true);
    /// A client of the proxy asked for one of our own sites.
    Entered {
        /// Serial number of the connection.
        connection: u64,
        /// `socks5`, `socks4`, `connect` or `tls`.
        dialect: &'static str,
        /// Name and port asked for.
        target: String,
    } = (103, "entered", Debug, false, true);
    /// A connection was relayed to another machine or to a `tcp:` name's address.
    Relayed {
        /// Serial number of the connection.
        connection: u64,
        /// Name and port asked for.
        target: String,
        /// Address that was dialled.
        upstream: String,
        /// Bytes from the client.
        sent_bytes: u64,
        /// Bytes to the client.
        received_bytes: u64,
    } = (30101, "relayed", Info, true, true);
    /// A UDP association has ended.
    UdpAssociation {
        /// Serial number of the connection.
        connection: u64,
        /// Datagrams from the client.
        sent: u64,
        /// Datagrams to the client.
        received: u64,
        /// Datagrams that were dropped: fragments, refused or malformed ones.
        dropped: u64,
    } = (30102, "udp_association", Info, true, true);
    /// A listener is open.
    Listening {
        /// `tls`, `proxy`, `redirect` or `control`.
        listener: &'static str,
        /// Its address.
        address: String,
    } = (30001, "listening", Info, true, false);
    /// The server stops as asked; open exchanges may finish.
    Stopping {
        /// Connections that are still open.
        connections: u64,
    } = (30002, "stopping", Info, true, false);
    /// The configuration was read again and applies now.
    Reloaded {
        /// What changed, in words.
        changes: Vec<String>,
    } = (30301, "reloaded", Info, true, false);
    /// The project's certificate authority was made or renewed.
    AuthorityMade {
        /// The PEM file.
        file: String,
        /// `new` or `renewed`.
        how: &'static str,
    } = (30302, "authority_made", Info, true, false);
    /// The changed configuration has mistakes; the running one stays.
    ReloadRefused {
        /// The mistakes, as `check` prints them.
        mistakes: Vec<String>,
    } = (40301, "reload_refused", Attention, true, false);
    /// A change of the configuration that only applies after a restart.
    RestartNeeded {
        /// The setting.
        setting: String,
    } = (40302, "restart_needed", Attention, true, false);
    /// The little network refused something.
    Refused {
        /// Serial number of the connection.
        connection: u64,
        /// Name and port asked for.
        target: String,
        /// Why, in words.
        reason: String,
        /// SOCKS5 reply code (RFC 1928 §6), also where another dialect was spoken.
        reply: u64,
    } = (40101, "refused", Attention, true, true);
    /// A client may not use the proxy port: wrong credentials, or not in the allow list.
    Unauthorised {
        /// Serial number of the connection.
        connection: u64,
        /// Address of the client.
        client: String,
        /// Why, in words.
        reason: String,
    } = (40102, "unauthorised", Attention, true, true);
    /// A TLS handshake failed.
    HandshakeFailed {
        /// Serial number of the connection.
        connection: u64,
        /// Name that was asked for, if it was said.
        sni: String,
        /// Why, in words.
        reason: String,
    } = (40103, "handshake_failed", Attention, true, true);
    /// The first bytes of a connection are of no dialect that the port speaks, or none came in time.
    NotUnderstood {
        /// Serial number of the connection.
        connection: u64,
        /// What was seen.
        seen: String,
    } = (40104, "not_understood", Attention, true, true);
    /// A client broke the rules of HTTP; its connection or stream was ended.
    BadClient {
        /// Serial number of the connection.
        connection: u64,
        /// The fault and its causes.
        fault: String,
    } = (40105, "bad_client", Attention, true, true);
    /// A client ran into a limit (docs/limits.md). Of each limit one such line a second is written at most.
    Limited {
        /// Serial number of the connection.
        connection: u64,
        /// Address of the client.
        client: String,
        /// Name of the limit, as in the file.
        limit: &'static str,
        /// How often it was reached since the last line about it, this time included.
        times: u64,
    } = (40107, "limited", Attention, true, true);
    /// Accepting pauses for want of descriptors or memory, or because all places are taken.
    AcceptPaused {
        /// The listener.
        listener: &'static str,
        /// The system's error.
        error: String,
    } = (40106, "accept_paused", Attention, true, false);
    /// Accepting goes on after a pause.
    AcceptResumed {
        /// The listener.
        listener: &'static str,
        /// How many pauses there were.
        pauses: u64,
    } = (30003, "accept_resumed", Info, true, false);
    /// A listener ended with an error it should not have had.
    ListenerFailed {
        /// The listener.
        listener: &'static str,
        /// The system's error.
        error: String,
    } = (60001, "listener_failed", Error, true, false);
    /// Something in this program failed in a way that it never should.
    Internal {
        /// Where.
        place: &'static str,
        /// The fault and its causes.
        fault: String,
    } = (60002, "internal", Error, true, false);
    /// The watch on the configuration file failed; changes are not seen until a reload is asked for.
    WatchFailed {
        /// The system's error.
        error: String,
    } = (40303, "watch_failed", Attention, true, false);
    /// A worker's process was started.
    WorkerStarted {
        /// Its lane.
        lane: u64,
        /// Its number.
        worker: u64,
        /// How many workers the lane has had, this one included.
        generation: u64,
        /// Its process.
        pid: u64,
    } = (401, "worker_started", Debug, false, false);
    /// A worker's process has ended.
    WorkerEnded {
        /// Its lane.
        lane: u64,
        /// Its number.
        worker: u64,
        /// How, as the system tells it.
        status: String,
    } = (402, "worker_ended", Debug, false, false);
    /// A worker was followed by another; the old one finishes what it began.
    WorkerRenewed {
        /// Its lane.
        lane: u64,
        /// The worker that drains.
        old: u64,
        /// The worker that accepts.
        new: u64,
        /// How long the old one was active, seconds.
        lived_s: u64,
        /// `age`, `asked` or `stuck`.
        cause: &'static str,
    } = (30401, "worker_renewed", Info, true, false);
    /// A worker that was stuck answers again.
    WorkerRecovered {
        /// Its lane.
        lane: u64,
        /// Its number.
        worker: u64,
    } = (30402, "worker_recovered", Info, true, false);
    /// The certificate was replaced; new connections see the new one.
    CertificateReplaced {
        /// The names that it covers.
        names: Vec<String>,
        /// Until when it is valid.
        not_after: String,
    } = (30403, "certificate_replaced", Info, true, false);
    /// An address of an application is used again.
    UpstreamBack {
        /// The site.
        site: String,
        /// The address.
        address: String,
        /// Addresses of the application that are fit.
        fit: u64,
        /// All of its addresses.
        of: u64,
    } = (30501, "upstream_back", Info, true, false);
    /// An address of an application is left out because requests or checks failed there.
    UpstreamOut {
        /// The site.
        site: String,
        /// The address.
        address: String,
        /// `requests` or `checks`.
        cause: &'static str,
        /// What was wrong at last.
        why: String,
        /// How long it is left out at least, milliseconds; 0 when checks decide.
        pause_ms: u64,
        /// Addresses of the application that are still fit; when they are few, others are used all the same.
        fit: u64,
        /// All of its addresses.
        of: u64,
    } = (40501, "upstream_out", Attention, true, false);
    /// A program of a FastCGI application complained beside its answer, as PHP does of its warnings.
    UpstreamComplaint {
        /// Serial number of the client's connection.
        connection: u64,
        /// HTTP/2 stream of the exchange, 0 elsewhere.
        stream: u64,
        /// The site.
        site: String,
        /// The address of the application.
        address: String,
        /// One line of its stderr.
        message: String,
        /// Lines of the application that were left out before this one.
        omitted: u64,
    } = (40502, "upstream_complaint", Attention, true, false);
    /// The bus is there.
    BusUp {
        /// Which one, without secrets.
        redis: String,
    } = (30404, "bus_up", Info, true, false);
    /// The other machines of the instance are now these.
    Machines {
        /// Their names.
        others: Vec<String>,
    } = (30405, "machines", Info, true, false);
    /// Ticket keys of another machine were found in Redis: `adopted`, or `unreadable` because of another certificate.
    TicketKeys {
        /// What came of it.
        offered: &'static str,
    } = (30406, "ticket_keys", Info, true, false);
    /// A worker was lost.
    WorkerLost {
        /// Its lane.
        lane: u64,
        /// Its number.
        worker: u64,
        /// The state it was in.
        state: &'static str,
        /// What happened.
        fault: &'static str,
    } = (40401, "worker_lost", Attention, true, false);
    /// A worker says that it cannot serve.
    WorkerUnfit {
        /// Its lane.
        lane: u64,
        /// Its number.
        worker: u64,
        /// Why.
        why: String,
    } = (40402, "worker_unfit", Attention, true, false);
    /// A lane waits before it starts its next worker.
    LaneBacksOff {
        /// The lane.
        lane: u64,
        /// Faults in a row.
        faults: u64,
        /// How long it waits, milliseconds.
        delay_ms: u64,
    } = (40403, "lane_backs_off", Attention, true, false);
    /// Workers were lost after a change of the configuration; the former one is served again.
    RolledBack {
        /// How many lanes lost workers.
        lanes: u64,
        /// How many faults there were.
        faults: u64,
    } = (40404, "rolled_back", Attention, true, false);
    /// A worker's planned end has been put off for very long.
    RenewalPostponed {
        /// Its lane.
        lane: u64,
        /// Its number.
        worker: u64,
        /// By how much, seconds.
        by_s: u64,
        /// What it waits for.
        because: &'static str,
    } = (40405, "renewal_postponed", Attention, true, false);
    /// Many former workers still finish; the oldest waits for idle connections no more.
    TooManyDraining {
        /// The one that was told.
        worker: u64,
        /// How many drain.
        draining: u64,
    } = (40406, "too_many_draining", Attention, true, false);
    /// A worker did not end when it had to, and was killed.
    WorkerOverdue {
        /// Its lane.
        lane: u64,
        /// Its number.
        worker: u64,
    } = (40407, "worker_overdue", Attention, true, false);
    /// Exchanges or tunnels were cut because the time to finish them had passed.
    ForcedCloses {
        /// The lane.
        lane: u64,
        /// The worker.
        worker: u64,
        /// How many.
        count: u64,
    } = (40408, "forced_closes", Attention, true, false);
    /// The certificate on the disk cannot be used; the former one is still shown.
    CertificateRefused {
        /// Why.
        why: String,
    } = (40409, "certificate_refused", Attention, true, false);
    /// The certificate ends soon.
    CertificateEnds {
        /// Until when it is valid.
        not_after: String,
        /// Whole days until then.
        days: u64,
    } = (40410, "certificate_ends", Attention, true, false);
    /// The bus is not there; everything but sharing goes on.
    BusDown {
        /// Which one, without secrets.
        redis: String,
        /// Why.
        why: String,
    } = (40411, "bus_down", Attention, true, false);
    /// Log lines were written and never came.
    LogLost {
        /// How many.
        count: u64,
    } = (40412, "log_lost", Attention, true, false);
    /// Something that is not needed yet could not be had at the start.
    NotHeld {
        /// What.
        what: String,
    } = (40413, "not_held", Attention, true, false);
    /// A worker's master is gone; it serves on for a while, then finishes and ends.
    Alone {
        /// How long it accepts on, seconds.
        serves_s: u64,
    } = (40414, "alone", Attention, true, false);
    /// The service manager cannot be told how it goes. Said once.
    ServiceManagerDeaf {
        /// The system's error.
        error: String,
    } = (40415, "service_manager_deaf", Attention, true, false);
}

impl From<Panicked> for Event {
    fn from(panicked: Panicked) -> Event {
        Event::Internal {
            place: panicked.task,
            fault: format!("panic: {}", panicked.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_their_first_digit_is_the_severity() {
        let mut seen = std::collections::BTreeSet::new();
        for code in CATALOGUE {
            assert!(seen.insert(code.number), "{} is given twice", code.label());
            let digit = match code.severity {
                Severity::Debug => 0,
                Severity::Info => 3,
                Severity::Attention => 4,
                Severity::Error => 6,
            };
            assert_eq!(code.number / 10_000, digit, "{}", code.label());
        }
    }
}
