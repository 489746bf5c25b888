//! What is counted, and under which names others see it.
//!
//! A [`Metric`] is one number that only grows, a cell in whatever keeps them; the engine adds through [`Meters`] and never
//! reads. [`CATALOGUE`] says how each appears to Prometheus: numbers of one family share name and help and differ in labels.
//! Numbers that go up and down, such as open connections, are not here: [`crate::Server::open`] tells them.

use std::time::Duration;

use sc_http::{Kind as Fault, Limit, Protocol};
use sc_tls::HandshakeFault;

use crate::record::Record;
use crate::server::Kind;

/// Where numbers are added up. Must not block.
pub trait Meters {
    /// Adds to one number.
    fn add(&self, metric: Metric, by: u64);
}

/// Counts nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMeters;

impl Meters for NoMeters {
    fn add(&self, _: Metric, _: u64) {}
}

/// How one number appears to others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Described {
    /// Name of the family, without prefix, unit or the suffix `_total`.
    pub family: &'static str,
    /// What the family counts, in one sentence.
    pub help: &'static str,
    /// What it is in its family.
    pub part: Part,
    /// Names and values of its labels.
    pub labels: &'static [(&'static str, &'static str)],
}

/// What a number is in its family.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// A counter.
    Counter,
    /// One bucket of a histogram, with what fell into it and into none below; the label `le` is its upper bound in seconds.
    /// The number of all observations is the sum of the buckets.
    Bucket,
    /// The sum of what a histogram observed, in microseconds.
    SumMicros,
}

macro_rules! metrics {
    ($( $family:literal, $help:literal, $part:ident { $( $variant:ident [ $( $label:literal = $value:literal ),* ] )+ } )+) => {
        /// One number that is counted; `metric as usize` is its place, from 0 to [`Metric::COUNT`] - 1.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Metric {
            $($(
                #[doc = concat!($help, $( " ", $label, ": `", $value, "`.", )*)]
                $variant,
            )+)+
        }

        impl Metric {
            /// All of them, in order.
            pub const ALL: &'static [Metric] = &[ $($( Metric::$variant, )+)+ ];
        }

        /// How each number appears, in the order of [`Metric::ALL`].
        pub const CATALOGUE: [Described; Metric::COUNT] = [
            $($( Described {
                family: $family,
                help: $help,
                part: Part::$part,
                labels: &[ $( ($label, $value) ),* ],
            }, )+)+
        ];
    };
}

metrics! {
    "connections_opened", "Connections that were accepted.", Counter {
        ConnectionsOpenedTls["listener" = "tls"]
        ConnectionsOpenedProxy["listener" = "proxy"]
        ConnectionsOpenedRedirect["listener" = "redirect"]
    }
    "connections_closed", "Connections that have ended.", Counter {
        ConnectionsClosedTls["listener" = "tls"]
        ConnectionsClosedProxy["listener" = "proxy"]
        ConnectionsClosedRedirect["listener" = "redirect"]
    }
    "handshakes", "TLS handshakes that succeeded.", Counter {
        HandshakesFull["resumed" = "no"]
        HandshakesResumed["resumed" = "yes"]
    }
    "handshakes_failed", "TLS handshakes that came to nothing.", Counter {
        HandshakesNotTls["reason" = "not_tls"]
        HandshakesSilent["reason" = "silent"]
        HandshakesAborted["reason" = "aborted"]
        HandshakesTimeout["reason" = "timeout"]
        HandshakesNoAlpn["reason" = "no_alpn"]
        HandshakesNoCertificate["reason" = "no_certificate"]
        HandshakesDistrusted["reason" = "distrusted"]
        HandshakesAlert["reason" = "alert"]
        HandshakesTls["reason" = "tls"]
        HandshakesIo["reason" = "io"]
    }
    "exchanges", "Exchanges that have ended, however they ended; without a status when no response was begun.", Counter {
        ExchangesHttp10None["protocol" = "HTTP/1.0", "status" = "none"]
        ExchangesHttp10Status1["protocol" = "HTTP/1.0", "status" = "1xx"]
        ExchangesHttp10Status2["protocol" = "HTTP/1.0", "status" = "2xx"]
        ExchangesHttp10Status3["protocol" = "HTTP/1.0", "status" = "3xx"]
        ExchangesHttp10Status4["protocol" = "HTTP/1.0", "status" = "4xx"]
        ExchangesHttp10Status5["protocol" = "HTTP/1.0", "status" = "5xx"]
        ExchangesHttp11None["protocol" = "HTTP/1.1", "status" = "none"]
        ExchangesHttp11Status1["protocol" = "HTTP/1.1", "status" = "1xx"]
        ExchangesHttp11Status2["protocol" = "HTTP/1.1", "status" = "2xx"]
        ExchangesHttp11Status3["protocol" = "HTTP/1.1", "status" = "3xx"]
        ExchangesHttp11Status4["protocol" = "HTTP/1.1", "status" = "4xx"]
        ExchangesHttp11Status5["protocol" = "HTTP/1.1", "status" = "5xx"]
        ExchangesHttp2None["protocol" = "HTTP/2", "status" = "none"]
        ExchangesHttp2Status1["protocol" = "HTTP/2", "status" = "1xx"]
        ExchangesHttp2Status2["protocol" = "HTTP/2", "status" = "2xx"]
        ExchangesHttp2Status3["protocol" = "HTTP/2", "status" = "3xx"]
        ExchangesHttp2Status4["protocol" = "HTTP/2", "status" = "4xx"]
        ExchangesHttp2Status5["protocol" = "HTTP/2", "status" = "5xx"]
    }
    "received_bytes", "Bytes of bodies and tunnels from clients.", Counter { ReceivedBytes[] }
    "sent_bytes", "Bytes of bodies and tunnels to clients.", Counter { SentBytes[] }
    "exchange_duration_seconds", "Time from a request head to the end of its exchange, tunnels left out.", Bucket {
        Duration1ms["le" = "0.001"]
        Duration2ms5["le" = "0.0025"]
        Duration5ms["le" = "0.005"]
        Duration10ms["le" = "0.01"]
        Duration25ms["le" = "0.025"]
        Duration50ms["le" = "0.05"]
        Duration100ms["le" = "0.1"]
        Duration250ms["le" = "0.25"]
        Duration500ms["le" = "0.5"]
        Duration1s["le" = "1"]
        Duration2s5["le" = "2.5"]
        Duration5s["le" = "5"]
        Duration10s["le" = "10"]
        DurationLonger["le" = "+Inf"]
    }
    "exchange_duration_seconds", "Time from a request head to the end of its exchange, tunnels left out.", SumMicros {
        DurationSum[]
    }
    "tunnels_opened", "Tunnels that were opened: websockets, other upgrades, event streams, relayed connections.", Counter { TunnelsOpened[] }
    "tunnels_closed", "Tunnels that have ended.", Counter { TunnelsClosed[] }
    "forced_closes", "Exchanges and tunnels that were cut because a draining server had no time left.", Counter { ForcedCloses[] }
    "upstream_attempts", "Attempts to have a request answered by an application, by what came of them.", Counter {
        UpstreamAnswered["outcome" = "answered"]
        UpstreamConnect["outcome" = "connect"]
        UpstreamTls["outcome" = "tls"]
        UpstreamClosed["outcome" = "closed"]
        UpstreamProtocol["outcome" = "protocol"]
        UpstreamTimeout["outcome" = "timeout"]
        UpstreamBusy["outcome" = "busy"]
        UpstreamOther["outcome" = "other"]
    }
    "upstream_retries", "Requests that failed at an application and could be sent again: they were, or too many had been lately.", Counter {
        UpstreamRetriesSent["result" = "sent"]
        UpstreamRetriesOverBudget["result" = "over_budget"]
    }
    "upstream_checks", "Checks of applications.", Counter {
        UpstreamChecksGood["result" = "good"]
        UpstreamChecksBad["result" = "bad"]
    }
    "upstream_out", "Times that an address of an application was left out, by what said so.", Counter {
        UpstreamOutRequests["cause" = "requests"]
        UpstreamOutChecks["cause" = "checks"]
    }
    "upstream_back", "Times that an address of an application was used again.", Counter { UpstreamBack[] }
    "upstream_complaints", "Lines that FastCGI applications wrote beside their answers, and that were told.", Counter { UpstreamComplaints[] }
    "panics", "Faults of this program that ended an exchange or a task.", Counter { Panics[] }
    "refused", "Connections that the proxy port refused to make, or whose client may not use it.", Counter { Refused[] }
    "limits_reached", "How often a client ran into a limit.", Counter {
        LimitTargetBytes["limit" = "target-bytes"]
        LimitHeaders["limit" = "header-bytes"]
        LimitContinuations["limit" = "continuations"]
        LimitResets["limit" = "resets"]
        LimitForcedResets["limit" = "forced-resets"]
        LimitControlFrames["limit" = "control-frames"]
        LimitHeadTime["limit" = "head-time"]
        LimitBodyRate["limit" = "body-rate"]
        LimitWriteRate["limit" = "write-rate"]
        LimitConnections["limit" = "connections-per-address"]
        LimitHandshakes["limit" = "handshakes-per-address"]
        LimitMemory["limit" = "memory"]
    }
    "log_dropped", "Log lines that were dropped.", Counter { LogDropped[] }
}

/// Upper bounds of the buckets of `exchange_duration_seconds`, in microseconds; the last bucket has none.
const BOUNDS_MICROS: [u64; 13] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

impl Metric {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// How it appears.
    pub fn described(self) -> &'static Described {
        const TABLE: &[Described; Metric::COUNT] = &CATALOGUE;
        &TABLE[self as usize]
    }

    pub(crate) fn opened(kind: Kind) -> Metric {
        match kind {
            Kind::Tls => Metric::ConnectionsOpenedTls,
            Kind::Proxy => Metric::ConnectionsOpenedProxy,
            Kind::Redirect => Metric::ConnectionsOpenedRedirect,
        }
    }

    pub(crate) fn closed(kind: Kind) -> Metric {
        match kind {
            Kind::Tls => Metric::ConnectionsClosedTls,
            Kind::Proxy => Metric::ConnectionsClosedProxy,
            Kind::Redirect => Metric::ConnectionsClosedRedirect,
        }
    }

    pub(crate) fn handshake_failed(fault: &HandshakeFault) -> Metric {
        match fault {
            HandshakeFault::NotTls => Metric::HandshakesNotTls,
            HandshakeFault::Silent => Metric::HandshakesSilent,
            HandshakeFault::Aborted => Metric::HandshakesAborted,
            HandshakeFault::Timeout => Metric::HandshakesTimeout,
            HandshakeFault::NoSharedAlpn { .. } => Metric::HandshakesNoAlpn,
            HandshakeFault::NoCertificate => Metric::HandshakesNoCertificate,
            HandshakeFault::Distrusted(_) => Metric::HandshakesDistrusted,
            HandshakeFault::Alert(_) => Metric::HandshakesAlert,
            HandshakeFault::Tls(_) => Metric::HandshakesTls,
            HandshakeFault::Io(_) => Metric::HandshakesIo,
        }
    }

    /// What became of an attempt at an application.
    pub(crate) fn upstream(fault: Option<Fault>) -> Metric {
        match fault {
            None => Metric::UpstreamAnswered,
            Some(Fault::UpstreamConnect) => Metric::UpstreamConnect,
            Some(Fault::UpstreamTls) => Metric::UpstreamTls,
            Some(Fault::UpstreamClosed) => Metric::UpstreamClosed,
            Some(Fault::UpstreamProtocol) => Metric::UpstreamProtocol,
            Some(Fault::UpstreamTimeout) => Metric::UpstreamTimeout,
            Some(Fault::UpstreamBusy) => Metric::UpstreamBusy,
            Some(_) => Metric::UpstreamOther,
        }
    }

    pub(crate) fn limit(limit: Limit) -> Metric {
        match limit {
            Limit::TargetBytes => Metric::LimitTargetBytes,
            Limit::Headers => Metric::LimitHeaders,
            Limit::Continuations => Metric::LimitContinuations,
            Limit::Resets => Metric::LimitResets,
            Limit::ForcedResets => Metric::LimitForcedResets,
            Limit::ControlFrames => Metric::LimitControlFrames,
            Limit::HeadTime => Metric::LimitHeadTime,
            Limit::BodyRate => Metric::LimitBodyRate,
            Limit::WriteRate => Metric::LimitWriteRate,
        }
    }

    fn exchange(protocol: Protocol, status: u16) -> Metric {
        let first = match protocol {
            Protocol::Http10 => Metric::ExchangesHttp10None,
            Protocol::Http11 => Metric::ExchangesHttp11None,
            Protocol::Http2 => Metric::ExchangesHttp2None,
        };
        first.further(usize::from(status / 100).min(5))
    }

    fn duration(took: Duration) -> Metric {
        let micros = micros(took);
        let below = BOUNDS_MICROS.iter().filter(|bound| **bound < micros).count();
        Metric::Duration1ms.further(below)
    }

    /// The one that stands so many places behind this one.
    fn further(self, places: usize) -> Metric {
        Self::ALL.get(self as usize + places).copied().unwrap_or(self)
    }
}

/// Counts one ended exchange.
pub(crate) fn count(meters: &dyn Meters, record: &Record, is_tunnel: bool) {
    meters.add(Metric::exchange(record.protocol, record.status), 1);
    meters.add(Metric::ReceivedBytes, record.received_bytes);
    meters.add(Metric::SentBytes, record.sent_bytes);
    if !is_tunnel {
        meters.add(Metric::duration(record.took), 1);
        meters.add(Metric::DurationSum, micros(record.took));
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn places_are_dense_and_no_two_numbers_look_alike() {
        let mut seen = BTreeSet::new();
        let mut helps = BTreeMap::new();
        for (place, metric) in Metric::ALL.iter().enumerate() {
            assert_eq!(*metric as usize, place);
            let Described {
                family,
                help,
                part,
                labels,
            } = metric.described();
            assert!(seen.insert((family, format!("{part:?}"), labels)), "{metric:?}");
            assert_eq!(*helps.entry(family).or_insert(help), help, "{family} has one help");
        }
        assert_eq!(CATALOGUE.len(), Metric::COUNT);
    }

    #[test]
    fn durations_fall_into_the_bucket_that_their_label_names() {
        for (place, bound) in BOUNDS_MICROS.iter().enumerate() {
            let metric = Metric::duration(Duration::from_micros(*bound));
            assert_eq!(metric, Metric::Duration1ms.further(place));
            let label = metric.described().labels.first().map(|(_, value)| value.parse::<f64>());
            assert_eq!(label, Some(Ok(*bound as f64 / 1e6)));
            let longer = Metric::duration(Duration::from_micros(bound + 1));
            assert_eq!(longer as usize, metric as usize + 1);
        }
        assert_eq!(Metric::duration(Duration::MAX), Metric::DurationLonger);
    }

    #[test]
    fn exchanges_are_told_apart_by_protocol_and_status() {
        for (protocol, status, expected) in [
            (Protocol::Http10, 0, Metric::ExchangesHttp10None),
            (Protocol::Http11, 101, Metric::ExchangesHttp11Status1),
            (Protocol::Http2, 204, Metric::ExchangesHttp2Status2),
            (Protocol::Http2, 599, Metric::ExchangesHttp2Status5),
            (Protocol::Http2, 700, Metric::ExchangesHttp2Status5),
        ] {
            assert_eq!(Metric::exchange(protocol, status), expected);
            assert_eq!(
                expected.described().labels.first(),
                Some(&("protocol", protocol.as_str()))
            );
        }
    }
}
