//! The `fuzz_*` functions over random and mutated input; a fuzzer runs the same ones for longer.

use proptest::prelude::*;

/// Well-formed input to start from, so that mutations get deep.
const SEEDS: [&str; 14] = [
    "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n\r\n",
    "POST http://a/ HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "5;a=b\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
    "a\r\n0123456789\r\n00\r\n\r\n",
    "bytes=0-1,2-,-3, 5-6",
    "bytes=18446744073709551615-",
    "W/\"a\", \"b\" , *",
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "gzip;q=0.5, br;q=1.000, *;q=0",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x06\x01\x05\0\0\0\x01\x10\x03x-a\x01b",
    "\0\0\x08\x06\0\0\0\0\0ABCDEFGH\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08",
    "\x06\x01\x07\0\x01\0\x02\0\0hm\x01\x06\0\x01\0\x12\x02\0Status: 404\r\n\r\nno..\x01\x03\0\x01\0\x08\0\0\0\0\0\0\0\0\0\0",
    "\x0e\x03REQUEST_METHODGET\x01\0A",
];

fn all(input: &[u8]) {
    sc_http::h1::fuzz_head(input);
    sc_http::h1::fuzz_chunks(input);
    sc_http::h2::fuzz_frames(input);
    sc_http::range::fuzz_range(input);
    sc_http::conditional::fuzz_conditional(input);
    sc_http::encoding::fuzz_accept_encoding(input);
    sc_http::websocket::fuzz_websocket(input);
    sc_http::fastcgi::fuzz_fastcgi(input);
    sc_http::fastcgi::fuzz_fastcgi_params(input);
}

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let change = (
        any::<prop::sample::Index>(),
        prop_oneof![
            Just(b'\r'),
            Just(b'\n'),
            Just(b'0'),
            Just(b';'),
            Just(b':'),
            any::<u8>()
        ],
        0..3u8,
    );
    (prop::sample::select(&SEEDS[..]), prop::collection::vec(change, 0..8)).prop_map(|(seed, changes)| {
        let mut bytes = seed.as_bytes().to_vec();
        for (index, byte, kind) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = index.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    })
}

#[test]
fn seeds_are_survived() {
    for seed in SEEDS {
        all(seed.as_bytes());
        all(seed.repeat(50).as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..Default::default() })]

    #[test]
    fn anything_is_survived(input in prop_oneof![mutated(), prop::collection::vec(any::<u8>(), 0..300)]) {
        all(&input);
    }
}
