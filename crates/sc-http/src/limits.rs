//! Every bound of the protocol engines, named, with where its number comes from.

use std::time::Duration;

/// Limits of one downstream connection. The file names each of them; which attack it answers stands in `docs/limits.md`.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of a request line or of `:path`; 16 KiB holds every URL that browsers send in practice.
    pub target_bytes: usize,
    /// Bytes of all header fields, counted as RFC 9113 §6.5.2 does (name + value + 32 each).
    pub header_bytes: usize,
    /// Number of header fields, cookie crumbs counted one by one (CVE-2026-49975); over HTTP/1 never more than 256.
    pub header_fields: usize,
    /// From accept (or the end of the last exchange, once its first byte is there) to a whole head.
    pub head_time: Duration,
    /// How long an idle kept-alive connection is held.
    pub idle_time: Duration,
    /// How long a body is waited for in all, beyond what `body_rate` grants for what has come.
    pub body_idle_time: Duration,
    /// Bytes per second that a body has to keep up while it is waited for.
    pub body_rate: u64,
    /// How long a client is waited for that does not take what is written, beyond what `write_rate` grants.
    pub write_stall_time: Duration,
    /// Bytes per second that a client has to take while there is something to write.
    pub write_rate: u64,
    /// HTTP/2: size of the table for the decompression of fields (RFC 7541 §4.2).
    pub header_table_bytes: u32,
    /// HTTP/2: CONTINUATION frames of one header block, or as many as `header_bytes` need if that is more (CVE-2024-27316).
    pub continuations: u32,
    /// HTTP/2: streams open at a time.
    pub streams: u32,
    /// HTTP/2: streams that the client may take back at once, beyond those that ended well (CVE-2023-44487). A page that is
    /// left takes back all it asked for.
    pub resets: u32,
    /// HTTP/2: how fast that allowance grows again.
    pub resets_per_second: u32,
    /// HTTP/2: streams that the client may make us reset or refuse by its own mistakes, in the life of a connection
    /// (CVE-2025-8671).
    pub forced_resets: u32,
    /// HTTP/2: frames that make us work and carry nothing, at once: PING, SETTINGS, PRIORITY, empty DATA, small
    /// WINDOW_UPDATE, unknown ones (CVE-2019-9511, -9512, -9513, -9515, -9518).
    pub control_frames: u32,
    /// HTTP/2: how fast that allowance grows again.
    pub control_frames_per_second: u32,
    /// HTTP/2: receive window of one stream, bytes.
    pub stream_window_bytes: u32,
    /// HTTP/2: receive window of the connection, bytes.
    pub connection_window_bytes: u32,
    /// HTTP/2: bytes of one stream's response that may wait inside the engine.
    pub send_buffer_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            target_bytes: 16 << 10,
            header_bytes: 64 << 10,
            header_fields: 128,
            head_time: Duration::from_secs(15),
            idle_time: Duration::from_secs(75),
            body_idle_time: Duration::from_secs(60),
            body_rate: 256,
            write_stall_time: Duration::from_secs(60),
            write_rate: 256,
            header_table_bytes: 4 << 10,
            continuations: 6,
            streams: 128,
            resets: 200,
            resets_per_second: 20,
            forced_resets: 256,
            control_frames: 10_000,
            control_frames_per_second: 1_000,
            stream_window_bytes: 256 << 10,
            connection_window_bytes: 1 << 20,
            send_buffer_bytes: 64 << 10,
        }
    }
}

/// A bound that a client ran into, by the name of its setting; what is counted and logged when one has acted.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Limit {
    /// The request line or `:path`.
    TargetBytes,
    /// Size or number of header fields.
    Headers,
    /// CONTINUATION frames.
    Continuations,
    /// Streams that the client took back.
    Resets,
    /// Streams that it made us reset.
    ForcedResets,
    /// Frames that carry nothing.
    ControlFrames,
    /// Time for a head.
    HeadTime,
    /// Pace of a request body.
    BodyRate,
    /// Pace of reading.
    WriteRate,
}

/// Limits of one exchange with an application.
#[derive(Clone, Debug)]
pub struct ClientLimits {
    /// Longest silence while the response head is waited for; uploading counts as life.
    pub first_byte_time: Duration,
    /// Longest silence between two reads of a response body. Generous, because an event stream may be quiet for long.
    pub idle_time: Duration,
    /// Longest time without progress while writing to the application.
    pub write_stall_time: Duration,
    /// Bytes of all header fields of a response, counted as RFC 9113 §6.5.2 does.
    pub header_bytes: usize,
    /// Number of header fields of a response.
    pub header_fields: usize,
}

impl Default for ClientLimits {
    fn default() -> Self {
        ClientLimits {
            first_byte_time: Duration::from_secs(120),
            idle_time: Duration::from_secs(60 * 60),
            write_stall_time: Duration::from_secs(60),
            header_bytes: 64 << 10,
            header_fields: 128,
        }
    }
}
