//! Nothing leaves the machine without `-w`: the program is run under `strace`, and every address it sends to is seen.

use std::io::Write;

use sc_testkit::client;
use sc_testkit::program::Signal;
use sc_testkit::{Curl, Destination, HttpApp, http_connect, socks4a, socks5, udp_associate};

use crate::server::{PATIENCE, Server, domains, shimmercat};

/// Names and addresses that no test machine should ever be asked to reach.
const FOREIGN: [&str; 9] = [
    "stats.example.net",
    "www.google.com",
    "xn--bcher-kva.example",
    "localhost",
    "metadata.google.internal",
    "192.0.2.1",
    "2001:db8::1",
    "::ffff:192.0.2.1",
    "9.9.9.9",
];

fn watched(options: &[&str], lines: &[&str]) -> (sc_testkit::TempProject, Server) {
    let project = domains(lines);
    project.file("site/index.html", "hello");
    let ports = ["devlove", "--listen", "127.0.0.1:0", "-5", "127.0.0.1:0"];
    let launch = shimmercat(&project, ports.into_iter().chain(options.iter().copied())).watched();
    let server = Server::launch(&project, launch);
    (project, server)
}

/// Asks for everything in every dialect.
fn throw_everything(server: &Server) {
    for host in FOREIGN {
        for port in [53, 80, 443] {
            socks5(server.proxy, host, port);
            let authority = if host.contains(':') {
                format!("[{host}]:{port}")
            } else {
                format!("{host}:{port}")
            };
            http_connect(server.proxy, &authority);
            if !host.contains(':') {
                socks4a(server.proxy, host, port);
            }
            let mut stream = client::tcp(server.proxy);
            let _ = write!(stream, "GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n");
            let _ = sc_testkit::Http1::new(stream).read_response("GET");
        }
        if !host.contains(':') {
            let to = format!("{host}:443:{}", server.proxy);
            Curl::new(&format!("https://{host}/"))
                .args(["-k", "--connect-to", &to])
                .run();
            let to = format!("{host}:443:{}", server.https);
            Curl::new(&format!("https://{host}/"))
                .args(["-k", "--connect-to", &to])
                .run();
        }
    }
    let relay = udp_associate(server.proxy).expect("an association");
    for host in FOREIGN {
        relay.send(host, 53, b"a datagram");
    }
}

fn stop(mut server: Server) -> Vec<Destination> {
    server.program.signal(Signal::INT);
    server.program.wait_exit(PATIENCE);
    server.program.destinations()
}

#[test]
fn nothing_leaves_without_w() {
    let app = HttpApp::start();
    let (_project, server) = watched(
        &[],
        &[
            "www.shop.example: { root-dir: site }",
            &format!("api.shop.example: {{ port: {} }}", app.port()),
        ],
    );
    throw_everything(&server);
    for url in [
        "https://www.shop.example/",
        "https://www.shop.example/missing",
        "https://api.shop.example/",
    ] {
        server.curl(url).run();
    }
    // Three ports in at least three dialects: everything was asked for.
    server.wait_event("refused", FOREIGN.len() * 3 * 3);
    let sent = stop(server);
    let outside: Vec<_> = sent
        .iter()
        .filter(|to| to.is_outside() || to.address.port() == 53)
        .collect();
    assert!(outside.is_empty(), "something left: {outside:#?}");
    assert!(
        sent.iter().any(|to| to.address == app.address()),
        "the watcher sees the application: {sent:#?}"
    );
}

#[test]
fn a_request_to_a_site_of_ours_opens_no_second_socket() {
    let (_project, server) = watched(&[], &["www.shop.example: { root-dir: site }"]);
    let proxy = server.proxy.to_string();
    for options in [
        ["--socks5-hostname", &proxy],
        ["--socks4a", &proxy],
        ["--proxy", &format!("http://{proxy}")],
    ] {
        let answer = server.direct("https://www.shop.example/").args(options).run();
        assert_eq!(answer.text(), "hello", "{answer:?}");
    }
    assert_eq!(stop(server), []);
}

#[test]
fn the_watcher_sees_what_w_lets_out() {
    let (_project, server) = watched(
        &["-w", "no-such-name.invalid"],
        &["www.shop.example: { root-dir: site }"],
    );
    socks5(server.proxy, "no-such-name.invalid", 443);
    let sent = stop(server);
    assert!(
        sent.iter().any(|to| to.address.port() == 53),
        "a DNS packet is seen: {sent:#?}"
    );
}
