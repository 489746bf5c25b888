//! Clients of the little network: every dialect on the one port, spoken by the real programs.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sc_testkit::program::Launch;
use sc_testkit::{
    Curl, EchoServer, TempProject, UdpEcho, eventually, find_program, http_connect, socks4a, socks5, udp_associate,
};

use crate::outside::{outside, run_node, run_python, text};
use crate::server::{PATIENCE, Server, domains, static_site};

const PAGE: &str = "<h1>hello</h1>\n";

#[test]
fn curl_reaches_a_site_in_every_dialect() {
    let project = static_site("hello");
    let server = Server::start(&project);
    let proxy = server.proxy.to_string();
    let http_proxy = format!("http://{proxy}");
    let by_sni = format!("www.shop.example:443:{proxy}");
    let direct = format!("www.shop.example:443:{}", server.https);
    let ways: [(&str, Vec<&str>); 6] = [
        ("socks5", vec!["--socks5-hostname", &proxy]),
        ("socks4", vec!["--socks4a", &proxy]),
        ("connect", vec!["--proxy", &http_proxy]),
        ("connect", vec!["--proxytunnel", "--proxy", &http_proxy]),
        ("tls", vec!["--connect-to", &by_sni]),
        ("direct", vec!["--connect-to", &direct]),
    ];
    for (number, (entry, options)) in ways.iter().enumerate() {
        for (flag, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
            let answer = server.direct("https://www.shop.example/").arg(flag).args(options).run();
            let seen = (answer.exit, answer.status, answer.version.as_str(), answer.text());
            assert_eq!(
                seen,
                (0, 200, version, PAGE.to_owned()),
                "{options:?} {flag}: {answer:?}"
            );
        }
        let records = server.status()["recent"].as_array().cloned().unwrap_or_default();
        assert_eq!(records[number * 2]["entry"], *entry, "{options:?}");
    }
}

#[test]
fn plain_http_is_redirected_in_every_dialect() {
    let project = static_site("hello");
    let server = Server::start(&project);
    let proxy = server.proxy.to_string();
    let http_proxy = format!("http://{proxy}");
    for options in [
        vec!["--proxy", &http_proxy],
        vec!["--proxytunnel", "--proxy", &http_proxy],
        vec!["--socks5-hostname", &proxy],
        vec!["--socks4a", &proxy],
    ] {
        let answer = server.direct("http://www.shop.example/a?b=c").args(&options).run();
        assert_eq!(
            answer.header("location"),
            Some("https://www.shop.example/a?b=c"),
            "{options:?}: {answer:?}"
        );
        assert!([301, 302, 307, 308].contains(&answer.status), "{options:?}: {answer:?}");
        let followed = server.direct("http://www.shop.example/").arg("-L").args(&options).run();
        assert_eq!(
            (followed.status, followed.text()),
            (200, PAGE.to_owned()),
            "{options:?}: {followed:?}"
        );
    }
}

#[test]
fn a_client_that_resolves_names_itself_is_refused_properly() {
    let project = static_site("hello");
    let server = Server::start(&project);
    let proxy = server.proxy.to_string();
    for option in ["--socks5", "--socks4"] {
        let resolved = server
            .direct("https://www.shop.example/")
            .args(["--resolve", "www.shop.example:443:192.0.2.7"]);
        let answer = resolved.args([option, &proxy]).run();
        assert_eq!(
            (answer.exit, answer.status),
            (97, 0),
            "an address is not a site: {answer:?}"
        );
    }
    let pages = server.status()["refused"]["pages"].clone();
    assert_eq!(
        (&pages[0]["host"], &pages[0]["count"]),
        (&"192.0.2.7".into(), &2.into()),
        "{pages}"
    );
}

#[test]
fn a_connection_without_a_known_name_gets_the_page_that_lists_names() {
    let project = static_site("hello");
    let server = Server::start(&project);
    let to = format!("www.shpo.example:443:{}", server.proxy);
    let answer = Curl::new("https://www.shpo.example/")
        .args(["-k", "--connect-to", &to])
        .run();
    assert_eq!(answer.status, 421, "{answer:?}");
    assert!(
        answer.text().contains("https://www.shop.example/"),
        "the nearest name is offered: {}",
        answer.text()
    );
}

#[test]
fn pysocks_speaks_three_dialects() {
    let project = static_site("hello");
    let server = Server::start(&project);
    let script = r#"
import socks, ssl, sys
port, ca = int(sys.argv[1]), sys.argv[2]
for kind in (socks.SOCKS5, socks.SOCKS4, socks.HTTP):
    s = socks.socksocket()
    s.settimeout(30)
    s.set_proxy(kind, "127.0.0.1", port, rdns=True)
    s.connect(("www.shop.example", 443))
    t = ssl.create_default_context(cafile=ca).wrap_socket(s, server_hostname="www.shop.example")
    t.sendall(b"GET / HTTP/1.1\r\nHost: www.shop.example\r\nConnection: close\r\n\r\n")
    data = b""
    while True:
        part = t.recv(65536)
        if not part: break
        data += part
    print(data.split(b"\r\n")[0].decode(), data.endswith(b"<h1>hello</h1>\n"), t.version())
"#;
    let printed = run_python(script, &[&server.proxy.port().to_string(), text(&server.ca)]);
    assert_eq!(printed, "HTTP/1.1 200 OK True TLSv1.3\n".repeat(3));
}

#[test]
fn node_speaks_h2_through_a_connect_tunnel() {
    let project = static_site("hello");
    let server = Server::start(&project);
    let script = r#"
const [port, ca] = process.argv.slice(1);
const tls = require('tls'), http = require('http'), http2 = require('http2'), fs = require('fs');
const ask = http.request({ host: '127.0.0.1', port, method: 'CONNECT', path: 'www.shop.example:443' });
ask.on('connect', (answer, socket) => {
  console.log(answer.statusCode);
  const secured = tls.connect({ socket, servername: 'www.shop.example', ca: fs.readFileSync(ca), ALPNProtocols: ['h2'] }, () => {
    console.log(secured.authorized, secured.alpnProtocol);
    const session = http2.connect('https://www.shop.example', { createConnection: () => secured });
    const stream = session.request({ ':path': '/' });
    let body = '';
    stream.on('response', headers => console.log(headers[':status']));
    stream.on('data', data => body += data);
    stream.on('end', () => { console.log(body.trim()); session.close(); });
  });
});
ask.end();
"#;
    let printed = run_node(script, &[&server.proxy.port().to_string(), text(&server.ca)]);
    assert_eq!(printed, "200\ntrue h2\n200\n<h1>hello</h1>\n");
}

#[test]
fn nc_reaches_a_tcp_name_in_two_dialects() {
    let echo = EchoServer::start();
    let project = domains(&[&format!("echo: {{ tcp: {{ 7: {} }} }}", echo.address())]);
    let server = Server::start(&project);
    let proxy = server.proxy.to_string();
    for dialect in ["5", "connect"] {
        let done = outside(
            "nc",
            &["-N", "-w", "20", "-X", dialect, "-x", &proxy, "echo", "7"],
            "over nc\n",
        );
        assert_eq!(done.stdout, "over nc\n", "-X {dialect}: {done:?}");
    }
    assert_eq!(echo.connections(), 2);
    let relayed = server.wait_event("relayed", 2);
    assert_eq!(
        (&relayed["sent_bytes"], &relayed["received_bytes"]),
        (&8.into(), &8.into()),
        "{relayed}"
    );
    let refused = outside("nc", &["-N", "-w", "20", "-X", "5", "-x", &proxy, "echo", "8"], "x");
    assert!(!refused.status.success(), "another port is refused: {refused:?}");
}

#[test]
fn ssh_goes_through_with_a_proxy_command() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let project = domains(&[&format!("git.shop.example: {{ tcp: {{ 22: {address} }} }}")]);
    let server = Server::start(&project);
    let daemon = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("ssh comes");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        stream.write_all(b"SSH-2.0-Testing\r\n").expect("the banner is taken");
        let mut seen = [0; 8];
        stream.read_exact(&mut seen).expect("the client says its version");
        String::from_utf8_lossy(&seen).into_owned()
    });
    let command = format!(
        "ProxyCommand={} -X 5 -x {} %h %p",
        find_program("nc").display(),
        server.proxy
    );
    let options = [
        "-F",
        "none",
        "-o",
        &command,
        "-o",
        "BatchMode=yes",
        "git@git.shop.example",
        "true",
    ];
    let done = outside("ssh", &options, "");
    assert_eq!(daemon.join().expect("the thread ends"), "SSH-2.0-", "{done:?}");
}

#[test]
fn redis_cli_talks_to_redis_by_name() {
    let project = TempProject::new();
    let socket = project.path_of("redis.sock");
    project.file(
        "devlove.yaml",
        format!(
            "shimmercat-devlove:\n  domains:\n    cache: {{ tcp: {{ 6379: 'unix://{}' }} }}\n",
            socket.display()
        ),
    );
    let options = [
        "--port",
        "0",
        "--save",
        "",
        "--appendonly",
        "no",
        "--unixsocket",
        text(&socket),
    ];
    let mut redis = Launch::new(find_program("redis-server"))
        .args(options)
        .current_dir(project.path())
        .start();
    redis.expect_errors();
    eventually("redis listens", PATIENCE, || {
        if socket.exists() { Ok(()) } else { Err(redis.stdout()) }
    });
    let server = Server::start(&project);
    let proxy = server.proxy;
    let relay = relay_to(move || {
        let answer = socks5(proxy, "cache", 6379);
        assert_eq!(answer.reply, 0);
        answer.stream
    });
    let port = relay.port().to_string();
    let asked = |words: &[&str]| {
        let arguments: Vec<&str> = ["-h", "127.0.0.1", "-p", &port].iter().chain(words).copied().collect();
        outside("redis-cli", &arguments, "").stdout
    };
    assert_eq!(asked(&["SET", "name", "shimmercat"]), "OK\n");
    assert_eq!(asked(&["GET", "name"]), "shimmercat\n");
    let large = "x".repeat(100_000);
    assert_eq!(asked(&["SET", "large", &large]), "OK\n");
    assert_eq!(asked(&["STRLEN", "large"]), "100000\n");
}

/// A local port that leads through `open`, for programs that know no proxies.
fn relay_to(open: impl Fn() -> TcpStream + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let upstream = open();
            upstream.set_read_timeout(None).expect("no time limit");
            let pairs = [
                (
                    client.try_clone().expect("a copy"),
                    upstream.try_clone().expect("a copy"),
                ),
                (upstream, client),
            ];
            for (mut from, mut to) in pairs {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    address
}

#[test]
fn half_closed_relays_go_on_in_the_other_direction() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let project = domains(&[&format!("count: {{ tcp: {{ 9: {address} }} }}")]);
    let server = Server::start(&project);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all);
            let _ = stream.write_all(format!("{} bytes", all.len()).as_bytes());
        }
    });
    let tunnels = [
        socks5(server.proxy, "count", 9).stream,
        socks4a(server.proxy, "count", 9).stream,
        http_connect(server.proxy, "count:9").stream,
    ];
    for mut tunnel in tunnels {
        let mut words = String::new();
        tunnel.write_all(&vec![7; 300_000]).expect("bytes are taken");
        tunnel.shutdown(Shutdown::Write).expect("our half ends");
        tunnel.read_to_string(&mut words).expect("the other half goes on");
        assert_eq!(words, "300000 bytes");
    }
}

#[test]
fn a_browser_can_evaluate_the_pac_file() {
    let project = domains(&[
        "www.shop.example: { root-dir: site }",
        "'*.tenants.shop.example': { root-dir: site }",
        "db: { tcp: { 5432: 127.0.0.1:1 } }",
    ]);
    project.file("site/index.html", "hello");
    let server = Server::start(&project);
    let url = format!("http://{}/proxy.pac", server.proxy);
    let pac = Curl::new(&url).run();
    assert_eq!(
        (pac.status, pac.header("content-type")),
        (200, Some("application/x-ns-proxy-autoconfig")),
        "{pac:?}"
    );
    let script = r#"
const sandbox = {};
require('vm').runInNewContext(process.argv[1], sandbox);
for (const host of process.argv.slice(2)) console.log(sandbox.FindProxyForURL(`https://${host}/`, host));
"#;
    let hosts = [
        "www.shop.example",
        "WWW.Shop.Example",
        "a.b.tenants.shop.example",
        "db",
        "tenants.shop.example",
        "other.example",
    ];
    let body = pac.text();
    let arguments: Vec<&str> = [body.as_str()].into_iter().chain(hosts).collect();
    let printed = run_node(script, &arguments);
    let lines: Vec<_> = printed.lines().collect();
    for (host, line) in hosts.iter().zip(&lines).take(4) {
        assert!(line.contains(&format!("SOCKS5 {}", server.proxy)), "{host}: {line}");
        assert!(line.contains(&format!("PROXY {}", server.proxy)), "{host}: {line}");
    }
    assert_eq!(lines[4..], ["DIRECT", "DIRECT"], "{printed}");
}

#[test]
fn the_start_page_tells_people_and_programs() {
    let project = static_site("hello");
    let server = Server::start(&project);
    socks5(server.proxy, "stats.example.net", 443);
    let url = format!("http://{}/", server.proxy);
    let plain = Curl::new(&url).run();
    assert_eq!(
        (plain.status, plain.header("content-type")),
        (200, Some("text/plain; charset=utf-8")),
        "{plain:?}"
    );
    for words in [
        "https://www.shop.example/",
        "stats.example.net",
        "/proxy.pac",
        &server.proxy.to_string(),
    ] {
        assert!(
            plain.text().contains(words),
            "`{words}` is missing in\n{}",
            plain.text()
        );
    }
    let html = Curl::new(&url).args(["-H", "Accept: text/html,*/*;q=0.8"]).run();
    assert_eq!(
        html.header("content-type"),
        Some("text/html; charset=utf-8"),
        "{html:?}"
    );
    assert!(
        html.text().contains("<a href=\"https://www.shop.example/\">"),
        "{}",
        html.text()
    );
    assert!(!html.text().contains("src=\"http"), "no external assets");
    let missing = Curl::new(&format!("{url}nothing")).run();
    assert_eq!(missing.status, 404, "{missing:?}");
    let posted = Curl::new(&url).args(["-d", "x=1"]).run();
    assert_eq!(posted.status, 405, "{posted:?}");
}

#[test]
fn dig_gets_its_answer_through_a_udp_association() {
    let responder = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = responder.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = responder.recv_from(&mut buffer) {
            let _ = responder.send_to(&dns_answer(&buffer[..length]), from);
        }
    });
    let project = domains(&[&format!("resolver: {{ udp: {{ 53: {address} }} }}")]);
    let server = Server::start(&project);
    let relay = udp_associate(server.proxy).expect("an association");
    let local = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    local.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let port = local.local_addr().expect("an address").port().to_string();
    let mut dig = Command::new(find_program("dig"));
    dig.args([
        "@127.0.0.1",
        "-p",
        &port,
        "+tries=1",
        "+time=30",
        "+short",
        "name.shop.example",
        "A",
    ]);
    let dig = dig.stdout(Stdio::piped()).spawn().expect("dig runs");
    let mut query = [0; 2048];
    let (length, from) = local.recv_from(&mut query).expect("dig asks");
    relay.send("resolver", 53, &query[..length]);
    let answer = relay.receive_data().expect("an answer comes back");
    assert_eq!(answer[..2], query[..2], "the answer to this query");
    local.send_to(&answer, from).expect("dig hears");
    let output = dig.wait_with_output().expect("dig ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "192.0.2.53\n");
}

/// An answer to any query: one A record. Source: RFC 1035 §4.1.
fn dns_answer(query: &[u8]) -> Vec<u8> {
    let name_end = 12
        + query[12..]
            .iter()
            .position(|byte| *byte == 0)
            .expect("a name ends with zero");
    let header = [&query[..2], &[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]].concat();
    let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 53];
    [&header[..], &query[12..name_end + 5], &record].concat()
}

#[test]
fn fragments_and_foreign_names_are_dropped_and_the_association_ends_with_its_connection() {
    let echo = UdpEcho::start();
    let project = domains(&[&format!("echo: {{ udp: {{ 7: {} }} }}", echo.address())]);
    let server = Server::start(&project);
    let relay = udp_associate(server.proxy).expect("an association");
    assert!(
        relay.relay.ip().is_loopback(),
        "the relay is reachable from this machine only: {}",
        relay.relay
    );
    let fragment = [&[0, 0, 1, 3, 4][..], b"echo", &[0, 7], b"fragment"].concat();
    relay
        .socket
        .send_to(&fragment, relay.relay)
        .expect("a datagram is sent");
    relay.send("stats.example.net", 7, b"refused");
    relay.send("echo", 8, b"another port");
    relay.socket.send_to(b"short", relay.relay).expect("a datagram is sent");
    relay.send("echo", 7, b"whole");
    let data = relay.receive_data().expect("the whole one comes back");
    assert_eq!((data.as_slice(), echo.datagrams()), (&b"whole"[..], 1));
    let to = relay.relay;
    drop(relay);
    let ended = server.wait_event("udp_association", 1);
    let counts = (&ended["sent"], &ended["received"], &ended["dropped"]);
    assert_eq!(counts, (&1.into(), &1.into(), &4.into()), "{ended}");
    UdpSocket::bind(to).unwrap_or_else(|error| panic!("the relay's port is still held: {error}"));
    let refused = server.status()["refused"]["pages"].to_string();
    assert!(
        refused.contains("stats.example.net") && refused.contains("echo:8"),
        "{refused}"
    );
}

#[test]
fn a_simulated_latency_is_felt_by_every_answer() {
    let project = static_site("hello");
    let server = Server::start_with(&project, &["--sim-latency", "300ms"]);
    let began = Instant::now();
    assert_eq!(server.curl("https://www.shop.example/").run().text(), PAGE);
    let took = began.elapsed();
    assert!(
        took > Duration::from_millis(600),
        "greeting, handshake and answer each wait: {took:?}"
    );
}
