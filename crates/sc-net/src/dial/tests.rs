//! The order of attempts, the words of errors, and resolving once.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;

fn addrs(text: &str) -> Vec<SocketAddr> {
    text.split_whitespace()
        .map(|ip| SocketAddr::new(ip.parse().unwrap(), 80))
        .collect()
}

fn check_order(input: &str, expected: &str) {
    assert_eq!(Vec::from(interleave(addrs(input))), addrs(expected));
}

#[test]
fn families_alternate_beginning_with_the_first() {
    check_order("", "");
    check_order("1.1.1.1 2.2.2.2", "1.1.1.1 2.2.2.2");
    check_order("::1 ::2 ::3 1.1.1.1", "::1 1.1.1.1 ::2 ::3");
    check_order("1.1.1.1 ::1 ::2 ::3", "1.1.1.1 ::1 ::2 ::3");
    check_order("1.1.1.1 2.2.2.2 ::1 3.3.3.3 ::2", "1.1.1.1 ::1 2.2.2.2 ::2 3.3.3.3");
    let many: Vec<String> = (0..99).map(|at| format!("10.0.0.{at}")).collect();
    assert_eq!(interleave(addrs(&many.join(" "))).len(), MAX_ADDRESSES);
}

#[test]
fn refused_addresses_are_left_out() {
    let guard = Guard::public(Vec::new(), Vec::new());
    let check = |input: &str, expected: Result<&str, (&str, Forbidden)>| {
        let expected = expected.map(addrs).map_err(|(ip, why)| (addrs(ip)[0], why));
        assert_eq!(allowed(addrs(input), &guard), expected);
    };
    check("127.0.0.1 8.8.8.8 ::1", Ok("8.8.8.8"));
    check("10.0.0.1 ::1", Err(("10.0.0.1", Forbidden::Private)));
}

#[test]
fn errors_say_what_was_tried() {
    let addr = UpstreamAddr::Name {
        host: "app".into(),
        port: 80,
    };
    let tried = vec![
        Tried {
            addr: addrs("::1")[0],
            fault: Some(io::ErrorKind::ConnectionRefused.into()),
        },
        Tried {
            addr: addrs("127.0.0.1")[0],
            fault: None,
        },
    ];
    let error = DialError::Timeout {
        addr,
        deadline: Duration::from_secs(3),
        tried,
    };
    assert_eq!(
        error.to_string(),
        "app:80 did not answer within 3000 ms ([::1]:80: connection refused; 127.0.0.1:80: no answer)"
    );
    let addr = UpstreamAddr::Tcp(addrs("127.0.0.1")[0]);
    let kind = io::ErrorKind::ConnectionRefused;
    let error = DialError::Connect {
        addr,
        kind,
        tried: vec![Tried {
            addr: addrs("127.0.0.1")[0],
            fault: Some(kind.into()),
        }],
    };
    assert_eq!(error.to_string(), "cannot connect to 127.0.0.1:80 (connection refused)");
    let refused = addrs("169.254.169.254")[0];
    let addr = UpstreamAddr::Name {
        host: "evil.example".into(),
        port: 80,
    };
    let error = DialError::Refused {
        addr,
        refused,
        why: Forbidden::Metadata,
    };
    assert_eq!(
        error.to_string(),
        "evil.example:80 is not dialled: 169.254.169.254 is a cloud metadata address"
    );
}

#[test]
fn every_error_has_its_reply() {
    let addr = || UpstreamAddr::Tcp(addrs("127.0.0.1")[0]);
    let connect = |kind| {
        DialError::Connect {
            addr: addr(),
            kind,
            tried: Vec::new(),
        }
        .reply()
    };
    assert_eq!(connect(io::ErrorKind::ConnectionRefused), Reply::ConnectionRefused);
    assert_eq!(connect(io::ErrorKind::NetworkUnreachable), Reply::NetworkUnreachable);
    assert_eq!(connect(io::ErrorKind::HostUnreachable), Reply::HostUnreachable);
    assert_eq!(connect(io::ErrorKind::TimedOut), Reply::HostUnreachable);
    assert_eq!(connect(io::ErrorKind::AddrNotAvailable), Reply::GeneralFailure);
    let refused = DialError::Refused {
        addr: addr(),
        refused: addrs("10.0.0.1")[0],
        why: Forbidden::Private,
    };
    assert_eq!(refused.reply(), Reply::NotAllowed);
    let source = io::ErrorKind::NotFound.into();
    assert_eq!(
        DialError::Resolve { addr: addr(), source }.reply(),
        Reply::HostUnreachable
    );
    let late = DialError::Timeout {
        addr: addr(),
        deadline: Duration::ZERO,
        tried: Vec::new(),
    };
    assert_eq!(late.reply(), Reply::HostUnreachable);
    let source = io::ErrorKind::NotFound.into();
    assert_eq!(
        DialError::ConnectPath { addr: addr(), source }.reply(),
        Reply::ConnectionRefused
    );
}
