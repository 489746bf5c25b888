//! The application protocols that a handshake can end with (RFC 7301).
//!
//! Only names and their bytes: who offers what is the caller's choice, and the server's order of preference is the order
//! of the list it passes.

/// What a server for browsers offers, best first.
pub const H2_AND_HTTP11: &[&[u8]] = &[b"h2", b"http/1.1"];

/// What a server or client offers when only HTTP/1.1 will do, e.g. for an upgrade.
pub const HTTP11_ONLY: &[&[u8]] = &[b"http/1.1"];

/// The protocol that both sides agreed on.
///
/// Shape: `None` when the client sent no ALPN extension, or when one was agreed on that this program does not speak.
/// Source: RFC 7301 §6.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Alpn {
    /// `h2`, RFC 9113 §3.2.
    H2,
    /// `http/1.1`.
    Http11,
    /// Nothing agreed: HTTP/1.1 is what to speak.
    None,
}

impl Alpn {
    /// Reads the bytes that rustls reports.
    pub(crate) fn from_agreed(bytes: Option<&[u8]>) -> Self {
        match bytes {
            Some(b"h2") => Alpn::H2,
            Some(b"http/1.1") => Alpn::Http11,
            _ => Alpn::None,
        }
    }

    /// The name as it stands in the registry, or `none`.
    pub fn as_str(self) -> &'static str {
        match self {
            Alpn::H2 => "h2",
            Alpn::Http11 => "http/1.1",
            Alpn::None => "none",
        }
    }
}

/// The list in the form that rustls wants.
pub(crate) fn owned(protocols: &[&[u8]]) -> Vec<Vec<u8>> {
    protocols.iter().map(|protocol| protocol.to_vec()).collect()
}
