//! FastCGI 1.0 towards applications such as php-fpm: the codec, the variables, and the client.
//!
//! [`record`] takes records apart, [`response`] makes an answer of them with [`head`], [`request`] and [`params`] write what
//! the application is told, [`complaints`] reads its stderr. None of these knows a stream or a clock, so all of them run on
//! any bytes. [`client`] and [`transfer`] carry an exchange over a connection.
//! Source: FastCGI specification 1.0; RFC 3875 (CGI 1.1).
//!
//! Not done: the roles of authorizer and filter, and several requests at a time on one connection, which php-fpm and most
//! other applications refuse.

mod client;
mod complaints;
mod head;
mod params;
mod record;
mod request;
mod response;
mod transfer;

#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};
use http::Method;

pub use self::client::{FastCgi, Reuse};
pub use self::complaints::{Complaint, Listener};
use self::head::Bounds;
pub use self::request::{Call, Script};
use self::response::{Piece, Response, ResponseError};

/// What an answer came to, joined; for comparing.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    head: Option<String>,
    body: Vec<u8>,
    stderr: Vec<u8>,
    end: Option<u32>,
    error: Option<ResponseError>,
}

impl Outcome {
    /// Reads an answer whose bytes arrive in these pieces.
    fn read<'a>(method: &Method, bounds: Bounds, pieces: impl Iterator<Item = &'a [u8]>) -> Self {
        let (mut outcome, mut buf) = (Outcome::default(), BytesMut::new());
        let mut response = Response::new(method, bounds);
        for piece in pieces {
            buf.extend_from_slice(piece);
            loop {
                match response.take(&mut buf) {
                    Ok(Piece::More) => break,
                    Ok(Piece::Head(head)) => {
                        assert!(outcome.head.is_none(), "a second head");
                        outcome.head = Some(format!("{head:?}"));
                    }
                    Ok(Piece::Data(data)) => outcome.add_data(&data),
                    Ok(Piece::Stderr(data)) => {
                        assert!(!data.is_empty());
                        outcome.stderr.extend_from_slice(&data);
                    }
                    Ok(Piece::End(status)) => {
                        assert!(outcome.end.replace(status).is_none(), "a second end");
                    }
                    Err(error) => {
                        outcome.error = Some(error);
                        return outcome;
                    }
                }
            }
        }
        outcome
    }

    fn add_data(&mut self, data: &Bytes) {
        assert!(self.head.is_some() && self.end.is_none() && !data.is_empty());
        self.body.extend_from_slice(data);
    }
}

/// Reads an answer of any bytes, whole and in pieces, for fuzzing: both must come to the same.
///
/// Shape: the first byte chooses the method and the size of the pieces, the rest is what the application sent.
pub fn fuzz_fastcgi(input: &[u8]) {
    let Some((choice, sent)) = input.split_first() else {
        return;
    };
    let bounds = Bounds {
        header_bytes: 4 << 10,
        fields: 16,
    };
    let method = if choice & 1 == 0 { Method::GET } else { Method::HEAD };
    let whole = Outcome::read(&method, bounds, std::iter::once(sent));
    let pieces = Outcome::read(&method, bounds, sent.chunks(usize::from(choice >> 1) + 1));
    // A piece that ends in front of a mistake was still handed on.
    assert_eq!(whole, pieces, "an answer does not depend on how it arrives");
    assert!(method == Method::GET || whole.body.is_empty());
    if let (Some(end), Some(error)) = (whole.end, whole.error) {
        panic!("ended with {end}, and then {error}");
    }
}

/// Reads parameters of any bytes and writes them again, for fuzzing: what was read must be read again.
pub fn fuzz_fastcgi_params(input: &[u8]) {
    let Some(pairs) = params::read(input) else { return };
    let mut out = BytesMut::new();
    let mut params = params::Params::new(&mut out);
    for (name, value) in &pairs {
        if params.put(name, value).is_err() {
            return;
        }
    }
    params.finish();
    let (mut again, mut rest) = (Vec::new(), &out[..]);
    while let Some((header, content)) = rest.split_first_chunk::<8>() {
        let bytes = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let (content, after) = content.split_at(bytes);
        again.extend(params::read(content).expect("no pair goes over the end of a record"));
        rest = after;
    }
    assert_eq!(pairs, again);
}
