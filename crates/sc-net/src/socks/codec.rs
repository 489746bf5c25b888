//! The bytes of SOCKS 4, 4a and 5, without sockets or clocks.
//!
//! Every reader takes what has arrived so far and answers `Ok(None)` when it needs more, `Ok(Some((value, used)))`
//! when it is whole, or an error that no further byte can mend. Nothing here decides whether a request is granted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Command, Reply};
use crate::target::{Host, NameError, Target};

/// No authentication required (RFC 1928 §3).
pub const METHOD_NONE: u8 = 0x00;
/// User name and password (RFC 1929).
pub const METHOD_PASSWORD: u8 = 0x02;
/// No acceptable method.
pub const METHOD_REFUSED: u8 = 0xff;

/// What is wrong with a message.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CodecError {
    /// The version byte is another one.
    #[error("version byte 0x{0:02x}")]
    Version(u8),
    /// No such command.
    #[error("unknown command 0x{0:02x}")]
    Command(u8),
    /// No such type of address.
    #[error("unknown address type 0x{0:02x}")]
    AddressType(u8),
    /// The name cannot be one.
    #[error("bad name")]
    Name(#[source] NameError),
    /// A text of SOCKS 4 does not end.
    #[error("a text is longer than 255 bytes")]
    Long,
}

impl CodecError {
    /// The reply that says it best.
    pub fn reply(&self) -> Reply {
        match self {
            CodecError::Command(_) => Reply::CommandNotSupported,
            CodecError::AddressType(_) | CodecError::Name(NameError::NotAscii) => Reply::AddressTypeNotSupported,
            CodecError::Name(_) | CodecError::Version(_) | CodecError::Long => Reply::GeneralFailure,
        }
    }
}

/// The outcome of reading: more is needed, or a value and how many bytes it took.
pub type Read<T> = Result<Option<(T, usize)>, CodecError>;

/// The methods that a client offers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Methods(Vec<u8>);

impl Methods {
    /// Whether a method is offered.
    pub fn offers(&self, method: u8) -> bool {
        self.0.contains(&method)
    }
}

/// A name and a password, as sent.
#[derive(Clone, Eq, PartialEq)]
pub struct Credentials {
    /// The user's name.
    pub name: Vec<u8>,
    /// The password.
    pub password: Vec<u8>,
}

/// A request of SOCKS 5.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// What is wanted.
    pub command: Command,
    /// Where to.
    pub target: Target,
}

/// A request of SOCKS 4 or 4a.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request4 {
    /// What is wanted; never `UdpAssociate`.
    pub command: Command,
    /// Where to.
    pub target: Target,
    /// The user id, as claimed.
    pub user: Vec<u8>,
}

/// A cursor that runs out instead of panicking.
struct Reader<'a> {
    all: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(all: &'a [u8]) -> Self {
        Reader { all, rest: all }
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    fn port(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// A text with its length in front.
    fn counted(&mut self) -> Option<&'a [u8]> {
        let count = self.byte()?;
        self.take(usize::from(count))
    }

    /// A text that ends with a zero.
    fn zero_ended(&mut self) -> Result<Option<&'a [u8]>, CodecError> {
        match self.rest.iter().position(|byte| *byte == 0) {
            Some(255..) => Err(CodecError::Long),
            None if self.rest.len() > 255 => Err(CodecError::Long),
            None => Ok(None),
            Some(count) => {
                let text = self.take(count);
                self.byte();
                Ok(text)
            }
        }
    }

    fn used(&self) -> usize {
        self.all.len() - self.rest.len()
    }
}

/// Unwraps an option, or returns `Ok(None)`: more bytes are needed.
macro_rules! need {
    ($option:expr) => {
        match $option {
            Some(value) => value,
            None => return Ok(None),
        }
    };
}

fn version(reader: &mut Reader<'_>, expected: u8) -> Result<Option<()>, CodecError> {
    match reader.byte() {
        None => Ok(None),
        Some(byte) if byte == expected => Ok(Some(())),
        Some(byte) => Err(CodecError::Version(byte)),
    }
}

/// Reads the greeting.
///
/// Source: RFC 1928 §3: `VER NMETHODS METHODS…`.
pub fn read_greeting(bytes: &[u8]) -> Read<Methods> {
    let mut reader = Reader::new(bytes);
    need!(version(&mut reader, 5)?);
    let methods = need!(reader.counted()).to_vec();
    Ok(Some((Methods(methods), reader.used())))
}

/// Reads name and password.
///
/// Source: RFC 1929 §2: `01 ULEN UNAME PLEN PASSWD`.
pub fn read_credentials(bytes: &[u8]) -> Read<Credentials> {
    let mut reader = Reader::new(bytes);
    need!(version(&mut reader, 1)?);
    let name = need!(reader.counted()).to_vec();
    let password = need!(reader.counted()).to_vec();
    Ok(Some((Credentials { name, password }, reader.used())))
}

/// Reads a request.
///
/// Shape: an error about command or name is given only when the whole request has arrived, so that nothing of it is left.
/// Source: RFC 1928 §4: `05 CMD 00 ATYP DST.ADDR DST.PORT`.
pub fn read_request(bytes: &[u8]) -> Read<Request> {
    let mut reader = Reader::new(bytes);
    need!(version(&mut reader, 5)?);
    let command = need!(reader.byte());
    need!(reader.byte());
    let (target, used) = need!(read_address_at(&mut reader)?);
    let command = match command {
        1 => Command::Connect,
        2 => Command::Bind,
        3 => Command::UdpAssociate,
        other => return Err(CodecError::Command(other)),
    };
    Ok(Some((Request { command, target }, used)))
}

/// Reads `ATYP ADDR PORT` (RFC 1928 §5).
pub fn read_address(bytes: &[u8]) -> Read<Target> {
    read_address_at(&mut Reader::new(bytes))
}

fn read_address_at(reader: &mut Reader<'_>) -> Read<Target> {
    let host = match need!(reader.byte()) {
        1 => Ok(Host::from(IpAddr::from(need!(reader.array::<4>())))),
        4 => Ok(Host::from(IpAddr::from(need!(reader.array::<16>())))),
        3 => Host::parse(need!(reader.counted())).map_err(CodecError::Name),
        other => return Err(CodecError::AddressType(other)),
    };
    let port = need!(reader.port());
    Ok(Some((Target { host: host?, port }, reader.used())))
}

/// Reads a request of SOCKS 4 or 4a.
///
/// Shape: an address `0.0.0.x` with x not zero announces a name behind the user id (4a).
/// Source: the memos: `04 CMD DSTPORT DSTIP USERID 00 [NAME 00]`.
pub fn read_request4(bytes: &[u8]) -> Read<Request4> {
    let mut reader = Reader::new(bytes);
    need!(version(&mut reader, 4)?);
    let command = need!(reader.byte());
    let port = need!(reader.port());
    let ip = need!(reader.array::<4>());
    let user = need!(reader.zero_ended()?).to_vec();
    let host = match ip {
        [0, 0, 0, last] if last != 0 => Host::parse(need!(reader.zero_ended()?)).map_err(CodecError::Name)?,
        _ => Host::V4(Ipv4Addr::from(ip)),
    };
    let command = match command {
        1 => Command::Connect,
        2 => Command::Bind,
        other => return Err(CodecError::Command(other)),
    };
    Ok(Some((
        Request4 {
            command,
            target: Target { host, port },
            user,
        },
        reader.used(),
    )))
}

/// Writes the choice of a method (RFC 1928 §3).
pub fn write_method(method: u8) -> [u8; 2] {
    [5, method]
}

/// Writes the verdict on name and password (RFC 1929 §2): zero is success.
pub fn write_verdict(admitted: bool) -> [u8; 2] {
    [1, u8::from(!admitted)]
}

/// Writes a reply (RFC 1928 §6); without a bound address it names `0.0.0.0:0`.
pub fn write_reply(reply: Reply, bound: Option<SocketAddr>) -> Vec<u8> {
    let bound = bound.unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));
    let mut out = vec![5, reply.code(), 0];
    write_address(&mut out, &Target::from(bound));
    out
}

/// Writes a reply of SOCKS 4: `00 CODE DSTPORT DSTIP`; an IPv6 address is left out.
pub fn write_reply4(reply: Reply, bound: Option<SocketAddr>) -> [u8; 8] {
    let (ip, port) = match bound.map(|addr| (addr.ip().to_canonical(), addr.port())) {
        Some((IpAddr::V4(ip), port)) => (ip, port),
        _ => (Ipv4Addr::UNSPECIFIED, 0),
    };
    let ([high, low], [a, b, c, d]) = (port.to_be_bytes(), ip.octets());
    [0, reply.code4(), high, low, a, b, c, d]
}

/// Appends `ATYP ADDR PORT` (RFC 1928 §5).
///
/// Shape: a [`Host::Name`] fits, since it is never longer than 253 bytes; should one be, it is cut there.
pub fn write_address(out: &mut Vec<u8>, target: &Target) {
    match &target.host {
        Host::V4(ip) => {
            out.push(1);
            out.extend_from_slice(&ip.octets());
        }
        Host::V6(ip) => {
            out.push(4);
            out.extend_from_slice(&Ipv6Addr::octets(ip));
        }
        Host::Name(name) => {
            let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
            out.push(3);
            out.push(length);
            out.extend(name.bytes().take(usize::from(length)));
        }
    }
    out.extend_from_slice(&target.port.to_be_bytes());
}

/// Feeds bytes of any kind to every reader.
///
/// Shape: a message ends where it ends, however much of it or behind it has arrived, and within its bounds; what was read
/// is written alike.
pub fn fuzz_codec(bytes: &[u8]) {
    fuzz_reader(bytes, read_greeting, 2 + 255);
    fuzz_reader(bytes, read_credentials, 3 + 2 * 255);
    fuzz_reader(bytes, read_request4, 8 + 2 * 256);
    if let Some(request) = fuzz_reader(bytes, read_request, 262) {
        let command = match request.command {
            Command::Connect => 1,
            Command::Bind => 2,
            Command::UdpAssociate => 3,
        };
        let mut again = vec![5, command, 0];
        write_address(&mut again, &request.target);
        let length = again.len();
        assert_eq!(
            read_request(&again),
            Ok(Some((request, length))),
            "a request changed on its way"
        );
    }
    if let Ok(Some((target, used))) = read_address(bytes) {
        assert!(used <= bytes.len(), "a reader went past the end");
        let mut again = Vec::new();
        write_address(&mut again, &target);
        assert_eq!(
            read_address(&again),
            Ok(Some((target, again.len()))),
            "an address changed on its way"
        );
    }
}

/// Checks that a reader says the same of the bytes whatever follows, and asks for more of whatever is cut off.
fn fuzz_reader<T: PartialEq>(bytes: &[u8], read: impl Fn(&[u8]) -> Read<T>, most: usize) -> Option<T> {
    let whole = read(bytes);
    let more = [bytes, &[0, 0xff]].concat();
    match &whole {
        Ok(Some((_, used))) => {
            assert!(*used <= bytes.len() && *used <= most, "a message of {used} bytes");
            for end in 0..*used {
                assert!(
                    matches!(read(bytes.get(..end).unwrap_or_default()), Ok(None)),
                    "not whole at {end}"
                );
            }
            assert!(read(bytes.get(..*used).unwrap_or_default()) == whole && read(&more) == whole);
        }
        Ok(None) => assert!(bytes.len() < most, "more is asked for than a message can have"),
        Err(_) => assert!(read(&more) == whole, "an error was mended by what followed"),
    }
    whole.ok().flatten().map(|(value, _)| value)
}
