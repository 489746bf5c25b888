//! The proxy clients against canned answers: what they send, byte for byte, and what they make of the reply.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use sc_testkit::{http_connect, socks4a, socks5, socks5_with_password};

/// Plays a proxy for one connection: each step reads as many bytes as it expects, compares, and answers.
fn proxy(steps: Vec<(&'static [u8], &'static [u8])>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let played = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        for (expected, answer) in steps {
            let mut asked = vec![0; expected.len()];
            stream.read_exact(&mut asked).expect("the request");
            assert_eq!(asked.escape_ascii().to_string(), expected.escape_ascii().to_string());
            stream.write_all(answer).expect("the answer is taken");
        }
    });
    (address, played)
}

#[test]
fn socks5_with_names_and_addresses() {
    let greeting: (&[u8], &[u8]) = (b"\x05\x01\x00", b"\x05\x00");
    let request = b"\x05\x01\x00\x03\x09a.example\x01\xbb";
    let (address, played) = proxy(vec![
        greeting,
        (request, b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50rest"),
    ]);
    let mut answer = socks5(address, "a.example", 443);
    assert_eq!(
        (answer.reply, answer.bound),
        (0, Some("127.0.0.1:80".parse().expect("an address")))
    );
    let mut rest = String::new();
    answer.stream.read_to_string(&mut rest).expect("the tunnel");
    assert_eq!(rest, "rest");
    played.join().expect("the expected bytes");

    let request = b"\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50";
    let (address, played) = proxy(vec![greeting, (request, b"\x05\x02\x00\x03\x01x\x00\x00")]);
    let answer = socks5(address, "::1", 80);
    assert_eq!((answer.reply, answer.bound), (2, None));
    played.join().expect("the expected bytes");
}

#[test]
fn socks5_with_a_password() {
    let greeting: (&[u8], &[u8]) = (b"\x05\x01\x02", b"\x05\x02");
    let (address, played) = proxy(vec![greeting, (b"\x01\x02me\x04word", b"\x01\x01")]);
    assert_eq!(
        socks5_with_password(address, ("me", "word"), "a", 1).map(|answer| answer.reply),
        Err(1)
    );
    played.join().expect("the expected bytes");
    let (address, played) = proxy(vec![(greeting.0, b"\x05\xff")]);
    assert_eq!(
        socks5_with_password(address, ("me", "word"), "a", 1).map(|answer| answer.reply),
        Err(255)
    );
    played.join().expect("the expected bytes");
}

#[test]
fn socks4a_socks4_and_connect() {
    let (address, played) = proxy(vec![(
        b"\x04\x01\x00\x50\0\0\0\x01me\0a.example\0",
        b"\x00\x5b\0\0\0\0\0\0",
    )]);
    assert_eq!(socks4a(address, "a.example", 80).code, 91);
    played.join().expect("the expected bytes");
    let (address, played) = proxy(vec![(b"\x04\x01\x00\x50\x0a\x00\x00\x01me\0", b"\x00\x5a\0\0\0\0\0\0")]);
    assert_eq!(socks4a(address, "10.0.0.1", 80).code, 90);
    played.join().expect("the expected bytes");
    let asked = b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n";
    let (address, played) = proxy(vec![(asked, b"HTTP/1.1 403 Forbidden\r\nx: y\r\n\r\n")]);
    assert_eq!(http_connect(address, "a.example:443").status, 403);
    played.join().expect("the expected bytes");
}
