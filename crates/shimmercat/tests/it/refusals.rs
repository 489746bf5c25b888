//! What the little network refuses, and with which words: the table of `docs/little-network.md`, row by row.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use sc_testkit::client::socks::{socks5_request, socks5_with_password};
use sc_testkit::program::Signal;
use sc_testkit::{
    Curl, HttpApp, TempProject, client, eventually, free_ports, http_connect, socks4a, socks5, tls_over, udp_associate,
};

use crate::server::{PATIENCE, Server, domains, domains_yaml, run, static_site};

/// Reply codes of RFC 1928 §6.
const NOT_ALLOWED: u8 = 2;
const HOST_UNREACHABLE: u8 = 4;
const REFUSED: u8 = 5;
const COMMAND: u8 = 7;
const ADDRESS_TYPE: u8 = 8;

/// SOCKS 4 has two answers.
const GRANTED: u8 = 90;
const REJECTED: u8 = 91;

/// Asks by SOCKS5 for a name, whatever it looks like.
fn by_name(proxy: SocketAddr, name: &str, port: u16) -> u8 {
    let length = u8::try_from(name.len()).expect("a name is short");
    raw_request(
        proxy,
        &[&[5, 1, 0, 3, length][..], name.as_bytes(), &port.to_be_bytes()].concat(),
    )
}

/// Sends a SOCKS5 request as it is, and gives the reply code.
fn raw_request(proxy: SocketAddr, request: &[u8]) -> u8 {
    let mut stream = client::tcp(proxy);
    stream.write_all(&[5, 1, 0]).expect("the greeting is taken");
    let mut method = [0; 2];
    stream.read_exact(&mut method).expect("a method is chosen");
    stream.write_all(request).expect("the request is taken");
    let mut reply = [0; 2];
    stream.read_exact(&mut reply).expect("there is a reply");
    assert_eq!(reply[0], 5);
    reply[1]
}

/// All dialects give the same decision: SOCKS5, SOCKS4a, CONNECT.
#[track_caller]
fn check(server: &Server, host: &str, port: u16, socks: u8, connect: u16) {
    let answer = socks5(server.proxy, host, port);
    assert_eq!(answer.reply, socks, "SOCKS5 to {host}:{port}");
    let four = if socks == 0 { GRANTED } else { REJECTED };
    if !host.contains(':') {
        assert_eq!(socks4a(server.proxy, host, port).code, four, "SOCKS4a to {host}:{port}");
    }
    let authority = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    let tunnel = http_connect(server.proxy, &authority);
    assert_eq!(tunnel.status, connect, "CONNECT to {authority}: {}", tunnel.head);
}

#[test]
fn every_row_of_the_table_without_w() {
    let app = HttpApp::start();
    let [dead] = free_ports();
    let project = domains(&[
        "www.shop.example: { root-dir: site }",
        "'*.tenants.shop.example': { root-dir: site }",
        &format!(
            "db: {{ tcp: {{ 5432: {}, 5433: 127.0.0.1:{dead} }}, udp: {{ 53: 127.0.0.1:1 }} }}",
            app.address()
        ),
    ]);
    project.file("site/index.html", "hello");
    let server = Server::start(&project);
    check(&server, "www.shop.example", 443, 0, 200);
    check(&server, "WWW.SHOP.EXAMPLE", 443, 0, 200);
    check(&server, "www.shop.example.", 443, 0, 200);
    check(&server, "a.b.tenants.shop.example", 443, 0, 200);
    check(&server, "www.shop.example", 80, 0, 200);
    check(&server, "www.shop.example", 22, HOST_UNREACHABLE, 502);
    check(&server, "tenants.shop.example", 443, NOT_ALLOWED, 403);
    check(&server, "db", 5432, 0, 200);
    check(&server, "db", 443, HOST_UNREACHABLE, 502);
    check(&server, "db", 53, HOST_UNREACHABLE, 502);
    check(&server, "db", 5433, REFUSED, 502);
    check(&server, "stats.example.net", 443, NOT_ALLOWED, 403);
    check(&server, "127.0.0.1", app.port(), NOT_ALLOWED, 403);
    check(&server, "192.0.2.1", 443, NOT_ALLOWED, 403);
    check(&server, "2001:db8::1", 443, NOT_ALLOWED, 403);
    eventually(
        "the `tcp:` name leads to the application, and only that",
        PATIENCE,
        || match app.connections() {
            3 => Ok(()),
            seen => Err(seen),
        },
    );

    assert_eq!(
        raw_request(server.proxy, &[5, 2, 0, 1, 192, 0, 2, 1, 1, 187]),
        COMMAND,
        "BIND"
    );
    assert_eq!(
        raw_request(server.proxy, &[5, 9, 0, 1, 192, 0, 2, 1, 1, 187]),
        COMMAND,
        "no command"
    );
    assert_eq!(
        raw_request(server.proxy, &[5, 1, 0, 9, 192, 0, 2, 1, 1, 187]),
        ADDRESS_TYPE,
        "no address type"
    );
    let mut stream = client::tcp(server.proxy);
    stream
        .write_all(&[4, 2, 1, 187, 192, 0, 2, 1, 0])
        .expect("the request is taken");
    let mut reply = [0; 8];
    stream.read_exact(&mut reply).expect("there is a reply");
    assert_eq!(reply[1], REJECTED, "SOCKS4 BIND");

    let refused = Curl::new("http://stats.example.net/x")
        .args(["--proxy", &format!("http://{}", server.proxy)])
        .run();
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(
        refused.text().contains("stats.example.net") && refused.text().contains("-w"),
        "{}",
        refused.text()
    );
    let known = Curl::new("http://db:5433/")
        .args(["--proxy", &format!("http://{}", server.proxy)])
        .run();
    assert_eq!(known.status, 502, "{known:?}");
}

#[test]
fn a_refusal_is_counted_once_per_host_and_told_at_the_end() {
    let project = static_site("hello");
    let mut server = Server::start(&project);
    for _ in 0..2 {
        socks5(server.proxy, "stats.example.net", 443);
    }
    http_connect(server.proxy, "Stats.Example.net:443");
    socks4a(server.proxy, "fonts.example.net", 80);
    socks5(server.proxy, "www.shop.example", 8080);
    for host in [
        "update.googleapis.com",
        "update.googleapis.com",
        "firefox.settings.services.mozilla.com",
    ] {
        socks5(server.proxy, host, 443);
    }
    let refused = server.status()["refused"].clone();
    let list = |name: &str| -> Vec<(String, u64)> {
        let lines = refused[name].as_array().expect("a list");
        let pair = |line: &serde_json::Value| {
            (
                line["host"].as_str().unwrap_or_default().to_owned(),
                line["count"].as_u64().unwrap_or_default(),
            )
        };
        lines.iter().map(pair).collect()
    };
    let expected = [
        ("stats.example.net", 3),
        ("fonts.example.net", 1),
        ("www.shop.example:8080", 1),
    ];
    assert_eq!(list("pages"), expected.map(|(host, count)| (host.to_owned(), count)));
    let expected = [
        ("update.googleapis.com", 2),
        ("firefox.settings.services.mozilla.com", 1),
    ];
    assert_eq!(list("browser"), expected.map(|(host, count)| (host.to_owned(), count)));
    server.wait_event("refused", 8);
    server.program.signal(Signal::INT);
    server.program.wait_exit(PATIENCE);
    assert_eq!(server.events_named("refused").len(), 8, "each refusal is one log line");
    let said = server.program.stderr();
    for words in [
        "refused 3 hosts:",
        "3x  stats.example.net",
        "1x  fonts.example.net",
        "calls to 2 hosts, 3 times",
    ] {
        assert!(said.contains(words), "`{words}` is missing in\n{said}");
    }
    assert_eq!(said.matches("stats.example.net  (").count(), 1, "listed once\n{said}");
}

#[test]
fn w_with_a_list_lets_only_the_list_through() {
    let app = HttpApp::start();
    let project = TempProject::with_yaml(&format!(
        "{}  allow-private: ['127.0.0.1', '::1']\n",
        domains_yaml(&["www.shop.example: { root-dir: site }"])
    ));
    project.file("site/index.html", "hello");
    let server = Server::start_with(&project, &["-w", "localhost,*.cdn.example.net"]);
    check(&server, "localhost", app.port(), 0, 200);
    check(&server, "127.0.0.1", app.port(), NOT_ALLOWED, 403);
    check(&server, "stats.example.net", 443, NOT_ALLOWED, 403);
    check(&server, "cdn.example.net", 443, NOT_ALLOWED, 403);
    check(&server, "www.shop.example", 22, HOST_UNREACHABLE, 502);
    let [dead] = free_ports();
    check(&server, "localhost", dead, REFUSED, 502);
    let url = format!("http://localhost:{}/path?q", app.port());
    let forwarded = Curl::new(&url)
        .args(["--noproxy", "", "--proxy", &format!("http://{}", server.proxy)])
        .run();
    assert_eq!(forwarded.status, 200, "absolute-form goes on: {forwarded:?}");
    let seen: serde_json::Value = serde_json::from_slice(&forwarded.body).expect("the echo");
    assert_eq!(seen["target"], "/path?q", "in origin-form: {seen}");
    assert!(
        !seen["headers"].to_string().to_lowercase().contains("proxy-connection"),
        "{seen}"
    );
}

#[test]
fn bare_w_lets_other_names_through_but_no_private_addresses() {
    let app = HttpApp::start();
    let project = static_site("hello");
    let server = Server::start_with(&project, &["-w"]);
    let port = app.port();
    for address in [
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "0.0.0.0",
        "::",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "fd00:ec2::254",
        "fe80::1",
        "224.0.0.1",
        "255.255.255.255",
    ] {
        check(&server, address, port, NOT_ALLOWED, 403);
    }
    for own in [server.proxy, server.https] {
        check(&server, &own.ip().to_string(), own.port(), NOT_ALLOWED, 403);
    }
    check(&server, "localhost", port, NOT_ALLOWED, 403);
    for odd in [
        "127.0.0.1",
        "0x7f.1",
        "2130706433",
        "127.1",
        "0177.0.0.1",
        "0",
        "[::1]",
        "::1",
        "localhost.",
    ] {
        assert_ne!(by_name(server.proxy, odd, port), 0, "SOCKS5 to the name `{odd}`");
        let mut stream = client::tcp(server.proxy);
        write!(stream, "CONNECT {odd}:{port} HTTP/1.1\r\nHost: {odd}:{port}\r\n\r\n").expect("it is taken");
        let mut head = [0; 12];
        stream.read_exact(&mut head).expect("an answer");
        assert!(
            head.starts_with(b"HTTP/1.1 4") || head.starts_with(b"HTTP/1.1 5"),
            "CONNECT to `{odd}`: {head:?}"
        );
    }
    let relay = udp_associate(server.proxy).expect("an association");
    relay
        .socket
        .set_read_timeout(Some(Duration::from_millis(300)))
        .expect("a time limit");
    let witness = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    witness
        .set_read_timeout(Some(Duration::from_millis(300)))
        .expect("a time limit");
    let udp = witness.local_addr().expect("an address").port();
    for host in ["127.0.0.1", "localhost", "0.0.0.0"] {
        relay.send(host, udp, b"private");
    }
    assert!(
        witness.recv(&mut [0; 64]).is_err(),
        "a datagram reached a private address"
    );
    assert_eq!(app.connections(), 0, "nothing private was reached");
    let pages = server.status()["refused"]["pages"].to_string();
    assert!(pages.contains("169.254.169.254"), "the ledger tells it: {pages}");
}

#[test]
fn a_datagram_that_the_guard_refuses_is_told_like_a_connection() {
    let text = domains_yaml(&["www.shop.example: { root-dir: . }"]);
    let project = TempProject::with_yaml(&format!("{text}  forward: true\n"));
    let mut server = Server::start(&project);
    let relay = udp_associate(server.proxy).expect("an association");
    relay.send("127.0.0.1", 53, b"private");
    let told = server.wait_event("refused", 1);
    assert_eq!(told["target"], "127.0.0.1:53", "{told}");
    assert_eq!(
        told["reason"], "127.0.0.1:53 is not dialled: 127.0.0.1 is a loopback address",
        "{told}"
    );
    let pages = server.status()["refused"]["pages"].to_string();
    assert!(pages.contains("127.0.0.1"), "the ledger tells it: {pages}");
    server.program.signal(Signal::INT);
    server.program.wait_exit(PATIENCE);
    let ended = server.events_named("udp_association");
    assert_eq!(ended.len(), 1, "an open association is logged at the end: {ended:?}");
    assert_eq!(ended[0]["dropped"], 1, "{ended:?}");
    let said = server.program.stderr();
    assert!(said.contains("1x  127.0.0.1"), "{said}");
    drop(relay);
}

#[test]
fn allow_private_opens_exactly_what_it_lists_and_never_ourselves() {
    let app = HttpApp::start();
    let text = domains_yaml(&["www.shop.example: { root-dir: site }"]);
    let project = TempProject::with_yaml(&format!("{text}  allow-private: 127.0.0.1\n"));
    project.file("site/index.html", "hello");
    let server = Server::start_with(&project, &["-w"]);
    check(&server, "127.0.0.1", app.port(), 0, 200);
    check(&server, "::ffff:127.0.0.1", app.port(), 0, 200);
    check(&server, "localhost", app.port(), 0, 200);
    check(&server, "127.0.0.2", app.port(), NOT_ALLOWED, 403);
    check(&server, "::1", app.port(), NOT_ALLOWED, 403);
    for own in [server.proxy, server.https] {
        check(&server, "127.0.0.1", own.port(), NOT_ALLOWED, 403);
        check(&server, "localhost", own.port(), NOT_ALLOWED, 403);
    }
}

#[test]
fn a_name_that_does_not_resolve_is_unreachable() {
    let project = static_site("hello");
    let server = Server::start_with(&project, &["-w", "no-such-name.invalid"]);
    assert_eq!(
        socks5(server.proxy, "no-such-name.invalid", 443).reply,
        HOST_UNREACHABLE
    );
    assert_eq!(http_connect(server.proxy, "no-such-name.invalid:443").status, 502);
    assert_eq!(
        server.status()["refused"]["pages"],
        serde_json::json!([]),
        "that is no decision"
    );
}

#[test]
fn others_may_use_the_proxy_only_when_it_knows_them() {
    let yaml = domains_yaml(&["www.shop.example: { root-dir: . }"]);
    let options = ["devlove", "--listen", "127.0.0.1:0", "-5", "0.0.0.0:0"];
    let open = TempProject::with_yaml(&yaml);
    let refused = run(&open, options);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(
        refused.stderr.contains("hint: set socks-users or socks-allow"),
        "{}",
        refused.stderr
    );
    let users = TempProject::with_yaml(&format!("{yaml}  socks-users: {{ ada: secret }}\n"));
    let refused = run(&users, options.into_iter().chain(["-w"]));
    assert_eq!(refused.status.code(), Some(3), "a relay for others: {refused:?}");
    assert!(refused.stderr.contains("hint: "), "{}", refused.stderr);
    let ipv6 = run(&open, ["devlove", "--listen", "127.0.0.1:0", "-5", "[::]:0"]);
    assert_eq!(ipv6.status.code(), Some(3), "{ipv6:?}");
    let allow = TempProject::with_yaml(&format!("{yaml}  socks-allow: 192.0.2.0/24\n"));
    for project in [&users, &allow] {
        let launch = crate::server::shimmercat(project, options);
        let server = Server::launch(project, launch);
        assert!(server.proxy.ip().is_unspecified(), "{}", server.proxy);
    }
}

#[test]
fn users_are_asked_for_their_password() {
    let text = domains_yaml(&["www.shop.example: { root-dir: site }"]);
    let project = TempProject::with_yaml(&format!("{text}  socks-users: {{ ada: correct-horse, bob: 'x' }}\n"));
    project.file("site/index.html", "hello");
    let server = Server::start(&project);
    let ask = |user, password| socks5_with_password(server.proxy, (user, password), "www.shop.example", 443);
    let admitted = ask("ada", "correct-horse").expect("the right password");
    assert_eq!(admitted.reply, 0);
    tls_over(admitted.stream, "www.shop.example", &server.ca, &["http/1.1"]).expect("TLS goes on");
    for (user, password) in [("ada", "wrong"), ("ada", "x"), ("eve", "correct-horse"), ("", "")] {
        let status = ask(user, password).expect_err("a wrong pair");
        assert_ne!(status, 0, "{user}/{password}");
    }
    let mut none = client::tcp(server.proxy);
    none.write_all(&[5, 1, 0]).expect("the greeting is taken");
    let mut answer = [0; 2];
    none.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, [5, 0xff], "no acceptable method");
    assert_eq!(none.read(&mut answer).unwrap_or(0), 0, "and the connection is closed");
    assert_eq!(
        socks4a(server.proxy, "www.shop.example", 443).code,
        REJECTED,
        "SOCKS4 has no passwords"
    );

    let proxy = format!("http://{}", server.proxy);
    let through = |user: &[&str]| {
        server
            .direct("https://www.shop.example/")
            .args(["--proxy", &proxy])
            .args(user)
            .run()
    };
    assert_eq!(through(&["--proxy-user", "ada:correct-horse"]).status, 200);
    assert_eq!(
        through(&["--proxy-user", "ada:wrong"]).exit,
        56,
        "curl: the proxy refused"
    );
    let asked = http_connect(server.proxy, "www.shop.example:443");
    assert_eq!(asked.status, 407, "{}", asked.head);
    assert!(
        asked.head.to_lowercase().contains("proxy-authenticate: basic"),
        "{}",
        asked.head
    );
    let plain = Curl::new("http://www.shop.example/").args(["--proxy", &proxy]).run();
    assert_eq!(plain.status, 407, "absolute-form too: {plain:?}");
    let right = Curl::new("http://www.shop.example/")
        .args(["--proxy", &proxy, "--proxy-user", "bob:x"])
        .run();
    assert_eq!(right.status, 302, "{right:?}");
    server.wait_event("unauthorised", 8);
    let words = server.program.stdout();
    assert!(!words.contains("correct-horse"), "passwords are not logged\n{words}");
}

#[test]
fn a_page_of_the_web_cannot_read_the_start_page() {
    let project = static_site("hello");
    let server = Server::start_with(&project, &["-w"]);
    let url = format!("http://{}/", server.proxy);
    let port = server.proxy.port();
    for host in [&format!("localhost:{port}"), &format!("127.0.0.1:{port}")] {
        let own = Curl::new(&url).args(["-H", &format!("Host: {host}")]).run();
        assert_eq!(own.status, 200, "{host}: {own:?}");
    }
    for host in [
        "evil.example",
        &format!("evil.example:{port}"),
        "127.0.0.1:1",
        "www.shop.example",
    ] {
        for path in ["", "proxy.pac"] {
            let foreign = Curl::new(&format!("{url}{path}"))
                .args(["-H", &format!("Host: {host}")])
                .run();
            assert_eq!(foreign.status, 421, "{host}: {foreign:?}");
            assert!(
                !foreign.text().contains("shop.example"),
                "it tells nothing: {}",
                foreign.text()
            );
        }
    }
    let through = ["--noproxy", "", "--proxy", &url];
    for host in ["127.0.0.1", "localhost"] {
        check(&server, host, port, NOT_ALLOWED, 403);
        let absolute = Curl::new(&format!("http://{host}:{port}/")).args(through).run();
        assert_eq!(absolute.status, 403, "{host}: {absolute:?}");
        assert!(
            !absolute.text().contains("The little network of"),
            "{}",
            absolute.text()
        );
    }
}

#[test]
fn names_for_people_inside_are_not_on_the_https_port() {
    let project = domains(&[
        "admin: { root-dir: site, audience: network }",
        "www.shop.example: { root-dir: site }",
    ]);
    project.file("site/index.html", "inside");
    let server = Server::start(&project);
    assert_eq!(server.curl("https://admin/").run().text(), "inside");
    let to = format!("admin:443:{}", server.https);
    let outside = server.direct("https://admin/").args(["-k", "--connect-to", &to]).run();
    assert_eq!(outside.status, 421, "{outside:?}");
    assert!(
        !outside.text().contains("inside") && !outside.text().contains("https://admin"),
        "{}",
        outside.text()
    );
    let to = format!("www.shop.example:443:{}", server.https);
    let by_host = server
        .direct("https://www.shop.example/")
        .args(["-H", "Host: admin", "--connect-to", &to])
        .run();
    assert_eq!(by_host.status, 421, "nor under another name's connection: {by_host:?}");
}

#[test]
fn the_most_methods_a_greeting_can_offer_do_not_confuse_it() {
    let project = static_site("hello");
    let server = Server::start(&project);
    let mut stream = client::tcp(server.proxy);
    let methods: Vec<u8> = (0..255).collect();
    stream
        .write_all(&[&[5, 255][..], &methods].concat())
        .expect("the greeting is taken");
    let mut method = [0; 2];
    stream.read_exact(&mut method).expect("a method");
    assert_eq!(method, [5, 0]);
    let answer = socks5_request(stream, 1, "www.shop.example", 443);
    assert_eq!(answer.reply, 0);
    tls_over(answer.stream, "www.shop.example", &server.ca, &["h2"]).expect("TLS goes on");
}
