//! Every bound of the protocol engines, named, with where its number comes from.

use std::time::Duration;

/// Limits of one downstream connection.
#[derive(Clone, Debug)]
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
    /// Longest pause between two reads of a body that is being waited for.
    pub body_idle_time: Duration,
    /// Longest time without progress while writing to a client.
    pub write_stall_time: Duration,
    /// HTTP/2: streams open at a time.
    pub streams: u32,
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
            write_stall_time: Duration::from_secs(60),
            streams: 128,
            stream_window_bytes: 256 << 10,
            connection_window_bytes: 1 << 20,
            send_buffer_bytes: 64 << 10,
        }
    }
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
