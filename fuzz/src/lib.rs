//! What is fuzzed: a function for each name, the same for the fuzzer and for the test that replays the corpora.
//!
//! The functions stand beside what they test, and ask for more than that nothing panics: what was read is written alike,
//! nothing depends on how bytes arrive, bounds are kept. `cargo xtask fuzz` runs them; inputs that once found something, or
//! show a way through the code, are in `corpus/NAME`, and every ordinary test run looks at all of them.
#![forbid(unsafe_code)]

/// A name, and the function that takes any bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All targets, in the order of their names.
pub const TARGETS: &[Target] = &[
    // The choice of a content coding, from the lines of `Accept-Encoding`.
    ("accept_encoding", sc_http::encoding::fuzz_accept_encoding),
    // Conditional fields, entity-tags and dates.
    ("conditions", sc_http::conditional::fuzz_conditional),
    // Any bytes as a devlove file.
    ("config", |input| drop(sc_config::fuzz_config(input))),
    // Where events of an event stream end.
    ("event_stream", sc_server::fuzz_event_stream),
    // The answer of a FastCGI application, and the parameters of a request.
    ("fastcgi", |input| {
        sc_http::fastcgi::fuzz_fastcgi(input);
        sc_http::fastcgi::fuzz_fastcgi_params(input);
    }),
    // What becomes of header fields on their way to an application.
    ("fields", |input| {
        sc_http::hop::fuzz_strip(input);
        sc_http::forwarded::fuzz_forwarded(input);
    }),
    // The dialect of a client of the proxy port.
    ("first_byte", sc_net::first_byte::fuzz_first_byte),
    // A chunked body.
    ("h1_chunks", sc_http::h1::fuzz_chunks),
    // A client of HTTP/1.1, the proxy, and an application that must see the same requests.
    ("h1_proxy", sc_http::fuzz::proxy::fuzz_h1_proxy),
    // The head of a request.
    ("h1_request", sc_http::h1::fuzz_head),
    // The response of an application.
    ("h1_response", sc_http::fuzz::single::fuzz_h1_response),
    // What the server looks at in HTTP/2 frames and header blocks before the engine does.
    ("h2_frames", sc_http::h2::fuzz_frames),
    // A client of HTTP/2, the proxy, and an application of HTTP/1.1 that must see the same requests.
    ("h2_proxy", sc_http::fuzz::proxy::fuzz_h2_proxy),
    // Any frames to the client of HTTP/2, as the answer of an application.
    ("h2_response", sc_http::fuzz::single::fuzz_h2_response),
    // Any frames to the server of HTTP/2.
    ("h2_server", sc_http::fuzz::single::fuzz_h2_server),
    // The expression of `--log-codes`.
    ("log_codes", sc_server::log_codes::fuzz_log_codes),
    // Authorities, hosts and names of sites.
    ("names", |input| {
        sc_http::authority::fuzz_authority(input);
        sc_net::target::fuzz_host(input);
        sc_site::name::fuzz_name(input);
    }),
    // The field `Priority`.
    ("priority", sc_http::priority::fuzz),
    // The field `Range`.
    ("ranges", sc_http::range::fuzz_range),
    // Messages of SOCKS.
    ("socks", sc_net::socks::codec::fuzz_codec),
    // The header of a datagram between a client and the relay.
    ("udp_header", sc_net::udp::header::fuzz_header),
    // From the path of a request to the path of a file, and which files are programs.
    ("url_path", |input| {
        sc_site::fuzz_path(input);
        sc_site::fuzz_scripts(input);
    }),
    // The frames of one direction of a websocket.
    ("websocket", sc_http::websocket::fuzz_websocket),
];

/// Gives bytes to the target of a name.
///
/// Shape: panics where the target finds a fault, and when there is no such target.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, target) = target.expect("a target of this name is in the list");
    target(input);
}
