//! The opening of a websocket, carried over from one HTTP version to another.
//!
//! HTTP/1.1 proves with a key that the server knows what it answers (RFC 6455 §4); HTTP/2 does without (RFC 8441 §5). So a
//! key is invented where only the application's side wants one, and the proof is computed where only the client does.
//! Frames are not looked at here or anywhere.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use http::{HeaderMap, HeaderValue, Method};
use sc_http::client::Outgoing;
use sc_http::{Fault, Kind, Protocol, Side};
use sha1::{Digest, Sha1};

use crate::random::Random;

/// RFC 6455 §1.3.
const SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// How the two sides of one upgrade open it.
#[derive(Debug)]
pub(crate) struct Opening {
    /// The client's key; HTTP/2 clients have none.
    client_key: Option<HeaderValue>,
    /// The key towards an HTTP/1.1 application.
    upstream_key: Option<HeaderValue>,
}

impl Opening {
    /// Prepares the upgrade of a request.
    pub(crate) fn new(protocol: &str, headers: &HeaderMap, random: &Random) -> Self {
        let client_key = headers.get(SEC_WEBSOCKET_KEY).cloned();
        let is_websocket = protocol.eq_ignore_ascii_case("websocket");
        let upstream_key = client_key.clone().or_else(|| is_websocket.then(|| key(random)));
        Opening {
            client_key,
            upstream_key,
        }
    }

    /// Gives a request the form that a connection of this version wants; may be called again for another version.
    pub(crate) fn dress(&self, out: &mut Outgoing, version: Protocol) {
        if version == Protocol::Http2 {
            out.method = Method::CONNECT;
            out.headers.remove(SEC_WEBSOCKET_KEY);
            return;
        }
        if out.method == Method::CONNECT {
            out.method = Method::GET;
        }
        if let Some(key) = &self.upstream_key {
            out.headers.insert(SEC_WEBSOCKET_KEY, key.clone());
        }
    }

    /// Makes the application's agreement into one for the client.
    ///
    /// Errors: an HTTP/1.1 application whose proof for an invented key is wrong. A client that sent the key checks itself.
    pub(crate) fn agree(&self, headers: &mut HeaderMap, version: Protocol) -> Result<(), Fault> {
        let proof = headers.get(SEC_WEBSOCKET_ACCEPT).cloned();
        match (&self.client_key, &self.upstream_key, version) {
            (Some(client_key), _, Protocol::Http2) => {
                headers.insert(SEC_WEBSOCKET_ACCEPT, accept(client_key));
            }
            (None, Some(invented), Protocol::Http10 | Protocol::Http11) => {
                if proof.is_none_or(|proof| proof != accept(invented)) {
                    let detail = "it agreed to a websocket, but its Sec-WebSocket-Accept is wrong";
                    return Err(Fault::new(Side::Upstream, Kind::UpstreamProtocol, detail));
                }
                headers.remove(SEC_WEBSOCKET_ACCEPT);
            }
            _ => {}
        }
        Ok(())
    }
}

/// A fresh key: 16 bytes that need only differ from one connection to the next (RFC 6455 §4.1).
fn key(random: &Random) -> HeaderValue {
    let mut bytes = [0; 16];
    for (place, byte) in bytes.iter_mut().zip(
        random
            .next()
            .to_be_bytes()
            .into_iter()
            .chain(random.next().to_be_bytes()),
    ) {
        *place = byte;
    }
    text(STANDARD.encode(bytes))
}

/// The proof for a key.
fn accept(key: &HeaderValue) -> HeaderValue {
    let digest = Sha1::new().chain_update(key.as_bytes()).chain_update(SUFFIX).finalize();
    text(STANDARD.encode(digest))
}

fn text(base64: String) -> HeaderValue {
    HeaderValue::try_from(base64).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_is_that_of_the_rfc() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn keys_are_16_bytes_and_differ() {
        let random = Random::new(1);
        let (one, other) = (key(&random), key(&random));
        assert_ne!(one, other);
        assert_eq!(STANDARD.decode(one.as_bytes()).map(|bytes| bytes.len()), Ok(16));
    }

    #[test]
    fn an_invented_key_is_checked_and_the_proof_kept_from_the_client() {
        let opening = Opening::new("websocket", &HeaderMap::new(), &Random::new(1));
        let invented = opening.upstream_key.clone().expect("a key");
        let mut headers = HeaderMap::new();
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept(&invented));
        assert!(opening.agree(&mut headers, Protocol::Http11).is_ok() && headers.is_empty());
        headers.insert(
            SEC_WEBSOCKET_ACCEPT,
            HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        );
        assert!(opening.agree(&mut headers, Protocol::Http11).is_err());
        assert!(opening.agree(&mut HeaderMap::new(), Protocol::Http11).is_err());
    }

    #[test]
    fn a_client_of_http1_gets_its_proof_from_an_http2_application() {
        let mut headers = HeaderMap::new();
        headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        let opening = Opening::new("websocket", &headers, &Random::new(1));
        let mut answer = HeaderMap::new();
        assert!(opening.agree(&mut answer, Protocol::Http2).is_ok());
        assert_eq!(answer[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
