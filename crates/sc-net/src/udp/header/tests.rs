//! Datagrams in and out.

use proptest::prelude::*;

use super::*;
use crate::target::Host;

#[test]
fn datagrams_of_each_address_type() {
    let check = |bytes: &[u8], target: &str, payload: &[u8]| {
        let datagram = read(bytes).expect("a datagram");
        assert_eq!(
            (datagram.fragment, &*datagram.target.to_string(), datagram.payload),
            (0, target, payload)
        );
    };
    check(b"\0\0\0\x01\x7f\0\0\x01\0\x35query", "127.0.0.1:53", b"query");
    check(b"\0\0\0\x03\x03dns\0\x35", "dns:53", b"");
    check(
        &[&b"\0\0\0\x04"[..], &[0; 15], b"\x01\0\x35q"].concat(),
        "[::1]:53",
        b"q",
    );
}

#[test]
fn what_is_wrong_is_said() {
    assert_eq!(read(b""), Err(HeaderError::Short));
    assert_eq!(read(b"\0\0\0\x01\x7f\0\0"), Err(HeaderError::Short));
    assert_eq!(read(b"\0\x01\0\x01\x7f\0\0\x01\0\x35"), Err(HeaderError::Reserved));
    assert_eq!(
        read(b"\0\0\0\x02\x7f\0\0\x01\0\x35"),
        Err(HeaderError::Address(CodecError::AddressType(2)))
    );
    assert_eq!(
        read(b"\0\0\x81\x01\x7f\0\0\x01\0\x35x").map(|datagram| datagram.fragment),
        Ok(0x81)
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, kind in 0_u8..6) {
        fuzz_header(&bytes);
        fuzz_header(&[&[0, 0, 0, kind], &*bytes].concat());
    }

    #[test]
    fn datagrams_survive(ip: u32, port: u16, payload: Vec<u8>) {
        let target = Target { host: Host::V4(ip.into()), port };
        let mut bytes = Vec::new();
        write(&mut bytes, &target);
        bytes.extend_from_slice(&payload);
        prop_assert_eq!(read(&bytes), Ok(Datagram { fragment: 0, target, payload: &payload }));
    }
}
