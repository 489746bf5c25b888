//! Takes a message body out of a growing buffer (RFC 9112 §6.3, §7.1).
//!
//! No input and output here: bytes in, pieces out, for both roles.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::head::{self, Bounds, HeadError, Scan, Section};

/// Bytes of one chunk-size line, extensions included; what is sent in practice is a few.
const SIZE_LINE_BYTES: usize = 1 << 10;

/// Bytes of chunk extensions in one body, which nobody reads; more is a way to waste time.
const EXTENSION_BYTES: usize = 16 << 10;

/// Bounds of a trailer section.
const TRAILERS: Bounds = Bounds {
    line_bytes: 0,
    header_bytes: 16 << 10,
    fields: 64,
};

/// What came out of the buffer.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Piece {
    /// Some of the body.
    Data(Bytes),
    /// The trailers, none of them empty; the body is at its end.
    Trailers(HeaderMap),
    /// The end of the body.
    End,
    /// More bytes are needed.
    More,
}

/// State of one body that is being received.
#[derive(Debug)]
pub(crate) enum Receiver {
    /// Nothing is to come.
    Done,
    /// This many bytes are to come.
    Length(u64),
    /// Chunks are to come.
    Chunked(Chunked),
    /// Bytes are to come until the connection ends (responses only).
    UntilClose,
    /// It broke off; nothing more can be read from this connection.
    Failed,
}

impl Receiver {
    /// A body of this many bytes.
    pub(crate) fn length(bytes: u64) -> Self {
        if bytes == 0 {
            Receiver::Done
        } else {
            Receiver::Length(bytes)
        }
    }

    /// A body in chunks.
    pub(crate) fn chunked() -> Self {
        Receiver::Chunked(Chunked {
            state: State::Size,
            extensions: 0,
        })
    }

    /// Whether the whole body was taken.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Receiver::Done)
    }

    /// The bytes still to come, where that is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        match self {
            Receiver::Done => Some(0),
            Receiver::Length(bytes) => Some(*bytes),
            _ => None,
        }
    }

    /// Takes the next piece from the front of `buf`.
    ///
    /// Errors: malformed chunks; the receiver has failed then.
    pub(crate) fn take(&mut self, buf: &mut BytesMut) -> Result<Piece, HeadError> {
        match self {
            Receiver::Done | Receiver::Failed => Ok(Piece::End),
            Receiver::Length(_) | Receiver::UntilClose if buf.is_empty() => Ok(Piece::More),
            Receiver::UntilClose => Ok(Piece::Data(buf.split().freeze())),
            Receiver::Length(left) => {
                let data = split(buf, *left);
                *left -= data.len() as u64;
                if *left == 0 {
                    *self = Receiver::Done;
                }
                Ok(Piece::Data(data))
            }
            Receiver::Chunked(chunked) => {
                let piece = chunked.take(buf);
                match piece {
                    Ok(Piece::End | Piece::Trailers(_)) => *self = Receiver::Done,
                    Err(_) => *self = Receiver::Failed,
                    Ok(Piece::Data(_) | Piece::More) => {}
                }
                piece
            }
        }
    }
}

/// Decoder of chunks.
#[derive(Debug)]
pub(crate) struct Chunked {
    state: State,
    extensions: usize,
}

#[derive(Debug)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailers(Scan),
}

impl Chunked {
    fn take(&mut self, buf: &mut BytesMut) -> Result<Piece, HeadError> {
        loop {
            match &mut self.state {
                State::Size => {
                    let Some((size, extension)) = size_line(buf)? else {
                        return Ok(Piece::More);
                    };
                    self.extensions += extension;
                    if self.extensions > EXTENSION_BYTES {
                        return Err(HeadError::Malformed("too many chunk extensions"));
                    }
                    self.state = if size == 0 {
                        State::Trailers(Scan::new(Section::Trailers))
                    } else {
                        State::Data(size)
                    };
                }
                State::Data(_) if buf.is_empty() => return Ok(Piece::More),
                State::Data(left) => {
                    let data = split(buf, *left);
                    *left -= data.len() as u64;
                    if *left == 0 {
                        self.state = State::DataEnd;
                    }
                    return Ok(Piece::Data(data));
                }
                State::DataEnd => match **buf {
                    [b'\r', b'\n', ..] => {
                        buf.advance(2);
                        self.state = State::Size;
                    }
                    [] | [b'\r'] => return Ok(Piece::More),
                    _ => return Err(HeadError::Malformed("a chunk does not end in CR LF")),
                },
                State::Trailers(scan) => {
                    let Some((_, end)) = scan.advance(buf, &TRAILERS)? else {
                        return Ok(Piece::More);
                    };
                    let trailers = head::parse_trailers(&buf.split_to(end).freeze(), &TRAILERS)?;
                    return Ok(if trailers.is_empty() {
                        Piece::End
                    } else {
                        Piece::Trailers(trailers)
                    });
                }
            }
        }
    }
}

/// Takes a chunk-size line: the size, and how many bytes of extensions it had.
fn size_line(buf: &mut BytesMut) -> Result<Option<(u64, usize)>, HeadError> {
    let seen = buf.get(..SIZE_LINE_BYTES).unwrap_or(buf);
    let Some(lf) = memchr::memchr(b'\n', seen) else {
        return if seen.len() == SIZE_LINE_BYTES {
            Err(HeadError::Malformed("a chunk-size line is too long"))
        } else {
            Ok(None)
        };
    };
    let line = seen.get(..lf).unwrap_or_default();
    let Some((b'\r', line)) = line.split_last() else {
        return Err(HeadError::Malformed("a chunk-size line ends in a bare LF"));
    };
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let (digits, extension) = line.split_at_checked(digits).unwrap_or_default();
    if digits.is_empty() || digits.len() > 16 {
        return Err(HeadError::Malformed("a chunk size is malformed"));
    }
    let is_extension = match extension {
        [] => true,
        [b';', rest @ ..] => rest.iter().all(|b| matches!(b, b'\t' | 0x20..=0x7e | 0x80..)),
        _ => false,
    };
    if !is_extension {
        return Err(HeadError::Malformed("a chunk extension is malformed"));
    }
    let hex = |digit: &u8| u64::from((*digit as char).to_digit(16).unwrap_or_default());
    let size = digits.iter().fold(0, |size, digit| size << 4 | hex(digit));
    let extension = extension.len();
    buf.advance(lf + 1);
    Ok(Some((size, extension)))
}

fn split(buf: &mut BytesMut, most: u64) -> Bytes {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    buf.split_to(most.min(buf.len())).freeze()
}

/// Runs the chunk decoder on any bytes, for fuzzing.
///
/// Shape: body, trailers and the place where the body ends depend on the bytes alone, not on how they arrive; and the body
/// written anew in chunks of our own reads the same.
pub(crate) fn fuzz(input: &[u8]) {
    let decode = |input: &[u8], step: usize| {
        let (mut receiver, mut buf, mut body) = (Receiver::chunked(), BytesMut::new(), Vec::new());
        let (mut pieces, mut came) = (0, 0);
        for piece in input.chunks(step) {
            buf.extend_from_slice(piece);
            came += piece.len();
            loop {
                match receiver.take(&mut buf) {
                    Ok(Piece::Data(data)) => body.extend_from_slice(&data),
                    Ok(Piece::More) => break,
                    Ok(Piece::End) => return (body, Ok(came - buf.len()), HeaderMap::new()),
                    Ok(Piece::Trailers(trailers)) => return (body, Ok(came - buf.len()), trailers),
                    Err(_) => return (body, Err("malformed"), HeaderMap::new()),
                }
                pieces += 1;
                assert!(pieces <= 2 * input.len() + 2, "each piece takes at least a byte");
            }
        }
        (body, Err("more"), HeaderMap::new())
    };
    let at_once = decode(input, usize::MAX);
    assert_eq!(at_once, decode(input, 1), "a body does not depend on how it arrives");
    assert_eq!(at_once, decode(input, 3), "a body does not depend on how it arrives");
    if let (body, Ok(end), _) = at_once {
        assert_eq!(
            decode(input.get(..end).unwrap_or_default(), 5).1,
            Ok(end),
            "nothing behind the end is needed"
        );
        let size = if body.is_empty() {
            String::new()
        } else {
            format!("{:x}\r\n", body.len())
        };
        let end: &[u8] = if body.is_empty() {
            b"0\r\n\r\n"
        } else {
            b"\r\n0\r\n\r\n"
        };
        let anew = [size.as_bytes(), &body, end].concat();
        assert_eq!(decode(&anew, 7), (body, Ok(anew.len()), HeaderMap::new()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: Result<(&str, bool), &str>) {
        fuzz(input.as_bytes());
        let mut buf = BytesMut::from(input);
        let (mut receiver, mut body, mut is_done) = (Receiver::chunked(), String::new(), false);
        let got = loop {
            match receiver.take(&mut buf) {
                Ok(Piece::Data(data)) => body.push_str(std::str::from_utf8(&data).expect("text")),
                Ok(Piece::End) => is_done = true,
                Ok(Piece::Trailers(trailers)) => {
                    is_done = true;
                    for (name, value) in &trailers {
                        body.push_str(&format!("<{name}:{}>", value.to_str().expect("text")));
                    }
                }
                Ok(Piece::More) => break Ok((body.as_str(), false)),
                Err(_) => break Err("400"),
            }
            if is_done {
                break Ok((body.as_str(), true));
            }
        };
        assert_eq!(got, expected, "{input:?}");
    }

    #[test]
    fn chunks_are_decoded_strictly() {
        check("5\r\nhello\r\n0\r\n\r\n", Ok(("hello", true)));
        check("5\r\nhello\r\n00000\r\n\r\n", Ok(("hello", true)));
        check(
            "a;x=y;z=\"q\"\r\n0123456789\r\n0;last\r\n\r\n",
            Ok(("0123456789", true)),
        );
        check(
            "1\r\na\r\n1\r\nb\r\n0\r\nX-A: 1\r\nHost: evil\r\n\r\n",
            Ok(("ab<x-a:1>", true)),
        );
        check("1\r\na\r\n0\r\nContent-Length: 1\r\n\r\n", Ok(("a", true)));
        check("5\r\nhel", Ok(("hel", false)));
        check("0\r\n", Ok(("", false)));
        for bad in [
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhelloX\r\n",
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "+5\r\nhello\r\n",
            "0x5\r\nhello\r\n",
            "5 \r\nhello\r\n",
            " 5\r\nhello\r\n",
            "5;\0\r\n",
            "10000000000000000\r\n",
            "5\r\r\nhello",
            "0\r\n X-A: 1\r\n\r\n",
            "0\r\nX-A : 1\r\n\r\n",
            "0\r\nX-A: 1\n\r\n",
            "0\r\nX-A: 1\r2\r\n\r\n",
            "0\n\n",
        ] {
            check(bad, Err("400"));
        }
        check(&format!("1;{}\r\n", "x".repeat(1100)), Err("400"));
        check(
            &"1;xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\na\r\n".repeat(400),
            Err("400"),
        );
        check(&format!("0\r\n{}", "X-A: 1\r\n".repeat(65)), Err("400"));
    }
}
