//! The header in front of every datagram between client and relay.
//!
//! Source: RFC 1928 §7: `RSV RSV FRAG ATYP DST.ADDR DST.PORT DATA`.

use crate::socks::codec::{CodecError, read_address, write_address};
use crate::target::Target;

/// A datagram as the client sent it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Datagram<'a> {
    /// Zero when it is whole; anything else is a fragment, which is dropped.
    pub fragment: u8,
    /// Where it goes.
    pub target: Target,
    /// What it carries.
    pub payload: &'a [u8],
}

/// What is wrong with a datagram.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HeaderError {
    /// It ends within the header.
    #[error("the datagram ends within its header")]
    Short,
    /// The reserved bytes are not zero.
    #[error("the reserved bytes are not zero")]
    Reserved,
    /// The address makes no sense.
    #[error("bad address")]
    Address(#[source] CodecError),
}

/// Reads a datagram.
pub fn read(bytes: &[u8]) -> Result<Datagram<'_>, HeaderError> {
    let ([high, low, fragment], rest) = bytes.split_first_chunk().ok_or(HeaderError::Short)?;
    if (*high, *low) != (0, 0) {
        return Err(HeaderError::Reserved);
    }
    let (target, used) = read_address(rest)
        .map_err(HeaderError::Address)?
        .ok_or(HeaderError::Short)?;
    Ok(Datagram {
        fragment: *fragment,
        target,
        payload: rest.get(used..).unwrap_or_default(),
    })
}

/// Writes the header of a whole datagram; its payload follows.
pub fn write(out: &mut Vec<u8>, target: &Target) {
    out.extend_from_slice(&[0, 0, 0]);
    write_address(out, target);
}

/// Feeds bytes of any kind to the reader; nothing may panic, and what was read must be written alike.
pub fn fuzz_header(bytes: &[u8]) {
    if let Ok(datagram) = read(bytes) {
        let mut again = Vec::new();
        write(&mut again, &datagram.target);
        again.extend_from_slice(datagram.payload);
        assert_eq!(
            read(&again),
            Ok(Datagram {
                fragment: 0,
                ..datagram
            }),
            "a datagram changed on its way"
        );
    }
}

#[cfg(test)]
mod tests;
