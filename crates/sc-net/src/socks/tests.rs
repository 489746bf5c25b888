//! The codec, values in and values out, and properties that hold for all bytes.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::fmt::Debug;
use std::net::SocketAddr;

use proptest::prelude::*;

use super::codec::*;
use super::*;
use crate::target::{Host, NameError};

fn target(text: &str) -> Target {
    let (host, port) = text.rsplit_once(':').unwrap();
    Target {
        host: Host::parse(host.as_bytes()).unwrap(),
        port: port.parse().unwrap(),
    }
}

/// A whole message is read, every true prefix asks for more, and what follows is left alone.
fn check<T: Clone + Debug + PartialEq>(read: impl Fn(&[u8]) -> Read<T>, bytes: &[u8], expected: &T) {
    assert_eq!(read(bytes), Ok(Some((expected.clone(), bytes.len()))));
    for end in 0..bytes.len() {
        assert_eq!(read(&bytes[..end]), Ok(None), "after {end} bytes");
    }
    let more = [bytes, b"\x16\x03\x01"].concat();
    assert_eq!(read(&more), Ok(Some((expected.clone(), bytes.len()))));
}

#[test]
fn requests_of_version_5() {
    let check = |bytes: &[u8], command, text: &str| {
        check(
            read_request,
            bytes,
            &Request {
                command,
                target: target(text),
            },
        );
    };
    check(
        b"\x05\x01\x00\x03\x0fWWW.Example.com\x01\xbb",
        Command::Connect,
        "www.example.com:443",
    );
    check(
        b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50",
        Command::Connect,
        "127.0.0.1:80",
    );
    check(
        &[&b"\x05\x02\x00\x04"[..], &[0; 15], b"\x01\x00\x50"].concat(),
        Command::Bind,
        "[::1]:80",
    );
    check(
        b"\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00",
        Command::UdpAssociate,
        "0.0.0.0:0",
    );
    check(
        b"\x05\x01\x00\x03\x09127.0.0.1\x00\x16",
        Command::Connect,
        "127.0.0.1:22",
    );
    check(b"\x05\x01\x00\x03\x03::1\x00\x16", Command::Connect, "[::1]:22");
    let mapped = [&b"\x05\x01\x00\x04"[..], &[0; 10], b"\xff\xff\x0a\x00\x00\x01\x00\x50"].concat();
    check(&mapped, Command::Connect, "10.0.0.1:80");
}

#[test]
fn faulty_requests_have_their_reply() {
    let check = |bytes: &[u8], expected: CodecError, reply: Reply| {
        assert_eq!(read_request(bytes), Err(expected.clone()));
        assert_eq!(expected.reply(), reply);
    };
    check(
        b"\x05\x04\x00\x01\x00\x00\x00\x00\x00\x00",
        CodecError::Command(4),
        Reply::CommandNotSupported,
    );
    check(
        b"\x05\x01\x00\x05\x00\x00",
        CodecError::AddressType(5),
        Reply::AddressTypeNotSupported,
    );
    check(
        b"\x05\x01\x00\x03\x03a\0b\x00\x50",
        CodecError::Name(NameError::Byte(0)),
        Reply::GeneralFailure,
    );
    check(
        b"\x05\x01\x00\x03\x00\x00\x50",
        CodecError::Name(NameError::Empty),
        Reply::GeneralFailure,
    );
    check(
        b"\x05\x01\x00\x03\x02\xc3\xbc\x00\x50",
        CodecError::Name(NameError::NotAscii),
        Reply::AddressTypeNotSupported,
    );
    check(b"\x04\x01", CodecError::Version(4), Reply::GeneralFailure);
}

#[test]
fn requests_of_version_4() {
    let check = |bytes: &[u8], command, text: &str, user: &[u8]| {
        check(
            read_request4,
            bytes,
            &Request4 {
                command,
                target: target(text),
                user: user.to_vec(),
            },
        );
    };
    check(
        b"\x04\x01\x00\x50\x0a\x00\x00\x01\x00",
        Command::Connect,
        "10.0.0.1:80",
        b"",
    );
    check(
        b"\x04\x02\x00\x50\x0a\x00\x00\x01fred\x00",
        Command::Bind,
        "10.0.0.1:80",
        b"fred",
    );
    check(
        b"\x04\x01\x01\xbb\x00\x00\x00\x01fred\x00www.example.com\x00",
        Command::Connect,
        "www.example.com:443",
        b"fred",
    );
    check(
        b"\x04\x01\x00\x50\x00\x00\x00\x07\x00127.0.0.1\x00",
        Command::Connect,
        "127.0.0.1:80",
        b"",
    );
    // 0.0.0.0 announces no name.
    check(
        b"\x04\x01\x00\x50\x00\x00\x00\x00\x00",
        Command::Connect,
        "0.0.0.0:80",
        b"",
    );
}

#[test]
fn texts_of_version_4_are_bounded() {
    let endless = [&b"\x04\x01\x00\x50\x0a\x00\x00\x01"[..], &[b'u'; 256]].concat();
    assert_eq!(read_request4(&endless), Err(CodecError::Long));
    assert_eq!(read_request4(&endless[..8 + 255]), Ok(None));
    let long_name = [&b"\x04\x01\x00\x50\x00\x00\x00\x01\x00"[..], &[b'n'; 300]].concat();
    assert_eq!(read_request4(&long_name), Err(CodecError::Long));
    assert_eq!(
        read_request4(b"\x04\x03\x00\x50\x0a\x00\x00\x01\x00"),
        Err(CodecError::Command(3))
    );
}

#[test]
fn greetings_and_passwords() {
    let (methods, used) = read_greeting(b"\x05\x02\x00\x02rest").unwrap().unwrap();
    assert_eq!(used, 4);
    assert!(methods.offers(METHOD_NONE) && methods.offers(METHOD_PASSWORD) && !methods.offers(1));
    let (credentials, used) = read_credentials(b"\x01\x04fred\x06secret\x05").unwrap().unwrap();
    assert_eq!(
        (&*credentials.name, &*credentials.password, used),
        (&b"fred"[..], &b"secret"[..], 13)
    );
    assert_eq!(write_verdict(true), [1, 0]);
    assert_eq!(write_verdict(false), [1, 1]);
    assert_eq!(write_method(METHOD_REFUSED), [5, 0xff]);
}

#[test]
fn replies_are_the_bytes_of_the_rfc() {
    let replies = [
        (Reply::Succeeded, 0, 90),
        (Reply::GeneralFailure, 1, 91),
        (Reply::NotAllowed, 2, 91),
        (Reply::NetworkUnreachable, 3, 91),
        (Reply::HostUnreachable, 4, 91),
        (Reply::ConnectionRefused, 5, 91),
        (Reply::TtlExpired, 6, 91),
        (Reply::CommandNotSupported, 7, 91),
        (Reply::AddressTypeNotSupported, 8, 91),
    ];
    for (reply, code, code4) in replies {
        assert_eq!(write_reply(reply, None), [5, code, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(write_reply4(reply, None), [0, code4, 0, 0, 0, 0, 0, 0]);
    }
    let bound: SocketAddr = "127.0.0.1:8080".parse().unwrap();
    assert_eq!(
        write_reply(Reply::Succeeded, Some(bound)),
        b"\x05\x00\x00\x01\x7f\x00\x00\x01\x1f\x90"
    );
    assert_eq!(
        write_reply4(Reply::Succeeded, Some(bound)),
        *b"\x00\x5a\x1f\x90\x7f\x00\x00\x01"
    );
    let bound6: SocketAddr = "[::1]:80".parse().unwrap();
    assert_eq!(write_reply(Reply::Succeeded, Some(bound6)).len(), 4 + 16 + 2);
    assert_eq!(
        write_reply4(Reply::Succeeded, Some(bound6)),
        *b"\x00\x5a\x00\x00\x00\x00\x00\x00"
    );
}

#[test]
fn users_are_admitted_by_name_and_password() {
    let auth = Auth::Users(vec![("fred".into(), "one".into()), ("wilma".into(), String::new())]);
    assert!(auth.admits(b"fred", b"one"));
    assert!(auth.admits(b"wilma", b""));
    for (name, password) in [
        ("fred", ""),
        ("fred", "one\0"),
        ("wilma", "one"),
        ("", ""),
        ("Fred", "one"),
        ("fredo", "ne"),
    ] {
        assert!(!auth.admits(name.as_bytes(), password.as_bytes()), "{name}/{password}");
    }
    let long = "x".repeat(256);
    let auth_long = Auth::Users(vec![("fred".into(), long.clone())]);
    assert!(
        !auth_long.admits(b"fred", long.as_bytes()),
        "nobody can send it, and nothing is cut to fit"
    );
    assert!(Auth::None.admits(b"anyone", b"anything"));
    assert!(!format!("{auth:?}").contains("one"));
}

fn hosts() -> impl Strategy<Value = Host> {
    prop_oneof![
        any::<u32>().prop_map(|bits| Host::V4(bits.into())),
        any::<u128>().prop_map(|bits| Host::from(std::net::IpAddr::V6(bits.into()))),
        "[a-z_][a-z0-9-]{0,20}(\\.[a-z][a-z0-9-]{0,20}){0,4}".prop_map(Host::Name),
    ]
}

proptest! {
    #[test]
    fn addresses_survive_writing_and_reading(host in hosts(), port: u16, rest: Vec<u8>) {
        let target = Target { host, port };
        let mut bytes = Vec::new();
        write_address(&mut bytes, &target);
        let length = bytes.len();
        bytes.extend(rest);
        prop_assert_eq!(read_address(&bytes), Ok(Some((target, length))));
    }

    #[test]
    fn no_bytes_make_the_readers_panic(bytes: Vec<u8>) {
        fuzz_codec(&bytes);
    }

    #[test]
    fn neither_do_bytes_that_begin_well(start in prop::sample::select(vec![
        &b"\x05"[..], b"\x05\x01\x00\x03", b"\x05\x01\x00\x01", b"\x05\x01\x00\x04", b"\x04\x01\x00\x50\x00\x00\x00\x01", b"\x01", b"\x03", b"\x04",
    ]), rest: Vec<u8>) {
        fuzz_codec(&[start, &rest].concat());
    }

    /// What a prefix says, more bytes do not change: a value stays that value, an error stays that error.
    #[test]
    fn more_bytes_change_no_verdict(start in prop::sample::select(vec![&b"\x05\x01\x00"[..], b"\x04\x01\x00\x50", b""]), rest: Vec<u8>, cut: prop::sample::Index) {
        let bytes = [start, &rest].concat();
        let part = &bytes[..cut.index(bytes.len() + 1)];
        if let Some(value) = read_request(part).transpose() {
            prop_assert_eq!(read_request(&bytes).transpose(), Some(value));
        }
        if let Some(value) = read_request4(part).transpose() {
            prop_assert_eq!(read_request4(&bytes).transpose(), Some(value));
        }
    }
}
