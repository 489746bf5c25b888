//! The `limits` of the file: every bound that a client can run into, with its default and the attack that it answers.
//!
//! One table makes the keys for the checker, the fields for everybody else, and the words of `docs/limits.md`, so that none
//! of them can drift. What a limit does is told where it is kept: in `sc-http`, `sc-server` and `sc-net`.
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::keys::{Key, Scalar, Shape, Table};
use crate::networks::Network;
use crate::units;

macro_rules! of_kind {
    (type count $($range:literal)*) => {
        u32
    };
    (type size $($range:literal)*) => {
        u64
    };
    (type rate) => {
        u64
    };
    (type time) => {
        Duration
    };
    (shape count $least:literal $most:literal) => {
        Scalar::Integer($least, $most)
    };
    (shape size $least:literal $most:literal) => {
        Scalar::Size($least, $most)
    };
    (shape rate) => {
        Scalar::Bandwidth
    };
    (shape time) => {
        Scalar::Time
    };
    (read count $text:expr) => {
        $text.parse::<u32>().ok()
    };
    (read size $text:expr) => {
        units::size($text).ok()
    };
    (read rate $text:expr) => {
        units::bandwidth($text).ok()
    };
    (read time $text:expr) => {
        units::time_limit($text).ok()
    };
    (show count $value:expr) => {
        $value.to_string()
    };
    (show size $value:expr) => {
        units::show_size($value)
    };
    (show rate $value:expr) => {
        format!("{} bytes/s", $value)
    };
    (show time $value:expr) => {
        units::show_time($value)
    };
}

macro_rules! limits {
    ($( $field:ident, $name:literal: $kind:ident $(($least:literal to $most:literal))? = $default:literal,
        $doc:literal, answers $answers:literal, as $example:literal; )+) => {
        /// What no client gets more of.
        #[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
        pub struct Limits {
            $( #[doc = $doc] pub $field: of_kind!(type $kind $($least $most)?), )+
            /// Memory that one worker may take before it sheds, in bytes; `None` is a share of the machine's.
            pub memory: Option<u64>,
            /// Addresses that have no shares: proxies in front of us, behind which many clients stand. `None` when nothing was
            /// said: this machine in development, nobody otherwise.
            pub exempt: Option<Vec<Network>>,
        }

        impl Default for Limits {
            /// The documented defaults.
            fn default() -> Self {
                Limits {
                    $( $field: of_kind!(read $kind $default).expect("defaults are well formed"), )+
                    memory: None,
                    exempt: None,
                }
            }
        }

        impl Limits {
            /// Takes over what `text` gives for the name of a key; what cannot be read was reported before.
            pub(crate) fn read<'a>(&mut self, text: impl Fn(&str) -> Option<&'a str>) {
                $( if let Some(value) = text($name).and_then(|text| of_kind!(read $kind text)) {
                    self.$field = value;
                } )+
            }

            /// Name and value of each, as people write them.
            pub(crate) fn told(&self) -> Vec<(&'static str, String)> {
                vec![ $( ($name, of_kind!(show $kind self.$field)) ),+ ]
            }
        }

        /// Below `limits`.
        pub(crate) static LIMITS: Table = Table {
            what: "`limits`",
            required: &[],
            keys: &[
                $( Key {
                    name: $name,
                    shape: Shape::Scalar(of_kind!(shape $kind $($least $most)?)),
                    doc: concat!($doc, " Answers: ", $answers, "."),
                    default: Some($default),
                    example: $example,
                }, )+
                Key {
                    name: "memory",
                    shape: Shape::Scalar(Scalar::Size(16 << 20, 1 << 40)),
                    doc: "Memory of one worker. When most of it is taken, clients that have many streams or connections open get no more; \
                          then nobody gets a new stream or request (`REFUSED_STREAM`, or 503 with `Retry-After`); then nobody a new \
                          connection. What was begun goes on. Answers: whatever costs memory, from however many addresses.",
                    default: Some("half of the machine's, shared by the workers"),
                    example: "512MiB",
                },
                Key {
                    name: "exempt",
                    shape: Shape::Either(&[Shape::False, Shape::OneOrMore(&Shape::Scalar(Scalar::Network))]),
                    doc: "Addresses or networks that the shares of an address do not hold for, such as a load balancer that all \
                          clients come through; `false` is nobody.",
                    default: Some("loopback (devlove), nobody (internet)"),
                    example: "[10.0.0.7, 'fd00::/8']",
                },
            ],
        };
    };
}

limits! {
    target_bytes, "target-bytes": size (256 to 1048576) = "16KiB",
        "Length of a request's path and query.",
        answers "long request lines", as "8KiB";
    header_bytes, "header-bytes": size (1024 to 1048576) = "64KiB",
        "Size of all header fields of a request after decompression, with 32 bytes for each field (RFC 9113 §6.5.2).",
        answers "header bombs, CVE-2016-6581", as "32KiB";
    header_fields, "header-fields": count (8 to 256) = "128",
        "Number of header fields of a request; each crumb of a cookie counts.",
        answers "the header bomb of 2026, CVE-2026-49975", as "64";
    header_table_bytes, "header-table-bytes": size (0 to 65536) = "4KiB",
        "HTTP/2: size of the table that a client may have us keep for decompression.",
        answers "HPACK bombs", as "0";
    continuations, "continuations": count (1 to 64) = "6",
        "HTTP/2: CONTINUATION frames of one header block.",
        answers "CVE-2024-27316", as "2";
    streams, "streams": count (1 to 10000) = "128",
        "HTTP/2: streams that a client may have open on one connection.",
        answers "one client that asks for everything at once", as "1000";
    resets, "resets": count (1 to 100000) = "200",
        "HTTP/2: requests that a client may take back at once, beyond those that ended well.",
        answers "rapid reset, CVE-2023-44487, CVE-2019-9514", as "100";
    resets_per_second, "resets-per-second": count (1 to 10000) = "20",
        "HTTP/2: how fast that allowance grows again.",
        answers "rapid reset, CVE-2023-44487", as "10";
    forced_resets, "forced-resets": count (1 to 100000) = "256",
        "HTTP/2: streams of one connection that its client may make us reset by its own mistakes, or refuse because there are \
         more than `streams`.",
        answers "MadeYouReset, CVE-2025-8671", as "50";
    control_frames, "control-frames": count (10 to 1000000) = "10000",
        "HTTP/2: frames that carry nothing, at once: PING, SETTINGS, PRIORITY, empty DATA, small WINDOW_UPDATE, unknown ones.",
        answers "CVE-2019-9511, CVE-2019-9512, CVE-2019-9513, CVE-2019-9515, CVE-2019-9518", as "1000";
    control_frames_per_second, "control-frames-per-second": count (1 to 100000) = "1000",
        "HTTP/2: how fast that allowance grows again.",
        answers "the same, for long", as "100";
    stream_window_bytes, "stream-window-bytes": size (65535 to 67108864) = "256KiB",
        "HTTP/2: what a client may send on one stream before we have taken it.",
        answers "uploads that nobody reads", as "1MiB";
    connection_window_bytes, "connection-window-bytes": size (65535 to 1073741824) = "1MiB",
        "HTTP/2: what a client may send on all streams of a connection before we have taken it.",
        answers "uploads that nobody reads", as "4MiB";
    send_buffer_bytes, "send-buffer-bytes": size (4096 to 16777216) = "64KiB",
        "HTTP/2: what may wait in one stream for a client that does not read.",
        answers "CVE-2019-9517", as "32KiB";
    head_time, "head-time": time = "15s",
        "Time for a whole request head, also for a header block of HTTP/2.",
        answers "slow headers (Slowloris)", as "10s";
    idle_time, "idle-time": time = "75s",
        "Time that a connection is kept between two requests.",
        answers "connections that are held for nothing", as "30s";
    body_idle_time, "body-idle-time": time = "60s",
        "Time that we wait for a request body in all, beyond what `body-rate` grants for what has come.",
        answers "slow bodies (R.U.D.Y.)", as "20s";
    body_rate, "body-rate": rate = "256",
        "Bytes per second that a request body must keep up while we wait for it.",
        answers "slow bodies (R.U.D.Y.)", as "1kB/s";
    write_stall_time, "write-stall-time": time = "60s",
        "Time that we wait for a client to take a response, beyond what `write-rate` grants for what it has taken. Nothing \
         that it sends meanwhile counts.",
        answers "zero windows, CVE-2019-9517", as "20s";
    write_rate, "write-rate": rate = "256",
        "Bytes per second that a client must take while there is something to send.",
        answers "slow reading, tiny windows, CVE-2019-9511", as "1kB/s";
    handshake_time, "handshake-time": time = "10s",
        "Time from accept to the end of the TLS handshake.",
        answers "half-open connections", as "5s";
    greeting_time, "greeting-time": time = "2s",
        "Time that a client of the little network may take for its first byte, and for its greeting.",
        answers "half-open connections", as "5s";
    connections, "connections": count (1 to 1000000) = "16384",
        "Connections of one listener of one worker; accepting waits above.",
        answers "want of descriptors and memory", as "50000";
    connections_per_address, "connections-per-address": count (1 to 1000000) = "8192",
        "Connections of one address to one worker; of one network of 64 bits with IPv6. The default is half of `connections`: \
         many clients may share an address behind a balancer or a provider's gateway.",
        answers "one client that takes all places", as "256";
    handshakes_per_address, "handshakes-per-address": count (1 to 1000000) = "32",
        "TLS handshakes of one address (of one network of 64 bits with IPv6) that one worker takes part in at a time; more of \
         them wait within `handshake-time`.",
        answers "handshake floods, half-open floods", as "16";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_and_every_example_is_within_its_range() {
        let told = Limits::default().told();
        assert_eq!(told.len() + 2, LIMITS.keys.len());
        for key in LIMITS.keys {
            let Shape::Scalar(kind) = key.shape else { continue };
            let default = key.default.filter(|_| key.name != "memory");
            for text in default.into_iter().chain([key.example]) {
                assert!(crate::check::fits(kind, text), "{}: {text}", key.name);
            }
        }
    }
}
