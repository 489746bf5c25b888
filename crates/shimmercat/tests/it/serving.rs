//! What a site answers beyond its files: the application behind it, the pages for what goes wrong, and several names.

use sc_testkit::{Curl, HttpApp, Request, TempProject, eventually, free_ports};

use crate::outside::outside;
use crate::server::{PATIENCE, Server, domains, shimmercat};

const URL: &str = "https://www.shop.example";

#[test]
fn files_come_first_and_the_rest_is_asked_of_the_application() {
    let app = HttpApp::start();
    let project = domains(&[
        "www.shop.example:",
        "  root-dir: site",
        &format!("  consultant: {{ connect-to: {} }}", app.address()),
    ]);
    project.file("site/style.css", "a {}");
    let server = Server::start(&project);
    assert_eq!(server.curl(&format!("{URL}/style.css")).run().text(), "a {}");
    assert_eq!(app.requests(), 0, "a file asks nobody");
    let asked = server
        .curl(&format!("{URL}/cart?n=1"))
        .args(["-d", "item=7", "-H", "X-Forwarded-For: 6.6.6.6"])
        .run();
    let seen: serde_json::Value = serde_json::from_slice(&asked.body).expect("the echo of the application");
    assert_eq!(
        (&seen["method"], &seen["target"], &seen["body"]),
        (&"POST".into(), &"/cart?n=1".into(), &"item=7".into())
    );
    let fields: Vec<(String, String)> = serde_json::from_value(seen["headers"].clone()).expect("fields");
    let field = |name: &str| -> Vec<&str> {
        fields
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    };
    assert_eq!(field("host"), ["www.shop.example"]);
    assert_eq!(field("x-forwarded-proto"), ["https"]);
    assert_eq!(field("x-forwarded-host"), ["www.shop.example"]);
    assert_eq!(
        field("x-forwarded-for"),
        ["127.0.0.1"],
        "what a stranger says is not believed"
    );
    let forwarded = field("forwarded").join(", ").to_lowercase();
    for part in ["for=127.0.0.1", "proto=https", "host=www.shop.example"] {
        assert!(
            forwarded.replace('"', "").contains(part),
            "`{part}` is missing in `{forwarded}`"
        );
    }
    assert_eq!(
        server.curl(&format!("{URL}/status?code=503")).run().status,
        503,
        "its own answers are passed on"
    );
}

#[test]
fn applications_behind_unix_sockets_tls_and_h2c() {
    let project = TempProject::new();
    let socket = project.path_of("app.sock");
    let unix = HttpApp::start_unix(&socket);
    let tls = HttpApp::start_tls(&["www.shop.example", "tls.shop.example", "localhost"]);
    let h2c = sc_testkit::H2cApp::start();
    project.file("app.pem", tls.certificate_pem());
    let consultant = |name: &str, to: &str| format!("{name}.shop.example: {{ consultant: {{ connect-to: {to} }} }}");
    project.file(
        "devlove.yaml",
        crate::server::domains_yaml(&[
            &consultant("unix", &format!("'unix://{}'", socket.display())),
            &consultant(
                "tls",
                &format!("{}, application-protocol: https, verify: app.pem", tls.address()),
            ),
            &consultant(
                "any",
                &format!("{}, application-protocol: https, verify: false", tls.address()),
            ),
            &consultant("strict", &format!("{}, application-protocol: https", tls.address())),
            &consultant("h2c", &format!("{}, application-protocol: h2c", h2c.address())),
        ]),
    );
    let server = Server::start(&project);
    for name in ["unix", "tls", "any", "h2c"] {
        let answer = server.curl(&format!("https://{name}.shop.example/x")).run();
        assert_eq!(answer.status, 200, "{name}: {answer:?} {}", answer.text());
    }
    assert_eq!(unix.requests(), 1);
    let strict = server.curl("https://strict.shop.example/").run();
    assert_eq!(strict.status, 502, "an unknown certificate is not trusted: {strict:?}");
    assert!(strict.text().contains("certificate"), "{}", strict.text());
}

#[test]
fn an_application_that_is_down_gets_a_page_and_comes_back() {
    let [port] = free_ports();
    let project = domains(&[&format!("www.shop.example: {{ port: {port} }}")]);
    let server = Server::start(&project);
    let plain = server.curl(&format!("{URL}/")).run();
    assert_eq!(
        (plain.status, plain.header("retry-after").is_some()),
        (502, true),
        "{plain:?}"
    );
    assert_eq!(plain.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(
        plain.text().contains(&format!("127.0.0.1:{port}")),
        "what was tried: {}",
        plain.text()
    );
    let html = server
        .curl(&format!("{URL}/a&b"))
        .args(["-H", "Accept: text/html"])
        .run();
    assert_eq!(
        (html.status, html.header("content-type")),
        (502, Some("text/html; charset=utf-8")),
        "{html:?}"
    );
    let page = html.text();
    for words in [
        "The application is not running",
        &format!("127.0.0.1:{port}"),
        "/a&amp;b",
        "<script>",
    ] {
        assert!(page.contains(words), "`{words}` is missing in\n{page}");
    }
    assert_eq!(
        page.matches("<script").count(),
        1,
        "only its own script, which reloads: {page}"
    );
    assert!(
        html.header("content-security-policy")
            .is_some_and(|policy| policy.contains("default-src 'none'"))
    );
    let posted = server
        .curl(&format!("{URL}/"))
        .args(["-d", "x", "-H", "Accept: text/html"])
        .run();
    assert!(
        !posted.text().contains("<script"),
        "a form is not sent twice: {}",
        posted.text()
    );
    let app = HttpApp::start_on(([127, 0, 0, 1], port).into());
    eventually("the application is found again", PATIENCE, || {
        match server.curl(&format!("{URL}/")).run().status {
            200 => Ok(()),
            status => Err(status),
        }
    });
    assert!(app.requests() > 0);
}

#[test]
fn applications_that_misbehave_are_told_apart() {
    let app = HttpApp::start();
    let project = domains(&[
        "www.shop.example:",
        &format!(
            "  consultant: {{ connect-to: {}, first-byte-timeout: 1s }}",
            app.address()
        ),
    ]);
    let server = Server::start(&project);
    for (path, status) in [("/bad", 502), ("/reset", 502), ("/never", 504)] {
        let answer = server.curl(&format!("{URL}{path}")).run();
        assert_eq!(answer.status, status, "{path}: {answer:?}\n{}", answer.text());
        assert!(
            answer.text().contains("Written by shimmercat"),
            "{path}: {}",
            answer.text()
        );
    }
    for version in ["--http1.1", "--http2"] {
        let cut = server.curl(&format!("{URL}/close-early")).arg(version).run();
        assert_ne!(
            cut.exit, 0,
            "{version}: a cut answer is not whole for the client either: {cut:?}"
        );
    }
    assert_eq!(server.curl(&format!("{URL}/fine")).run().status, 200);
}

#[test]
fn a_loop_is_508_and_unknown_paths_say_what_was_tried() {
    let [port] = free_ports();
    let project = domains(&[
        "loop.shop.example:",
        &format!("  consultant: {{ connect-to: 127.0.0.1:{port}, application-protocol: https, verify: false }}"),
        "www.shop.example: { root-dir: site }",
    ]);
    project.file("site/index.html", "hello");
    let listen = format!("127.0.0.1:{port}");
    let server = Server::launch(
        &project,
        shimmercat(&project, ["devlove", "--listen", &listen, "-5", "127.0.0.1:0"]),
    );
    let looped = server.curl("https://loop.shop.example/x").run();
    assert_eq!(looped.status, 508, "{looped:?}");
    assert!(looped.text().contains("circle"), "{}", looped.text());
    let missing = server.curl(&format!("{URL}/no/such.css")).run();
    assert_eq!(missing.status, 404);
    assert!(
        missing.text().contains("no/such.css") && missing.text().contains("looked for"),
        "{}",
        missing.text()
    );
    let html = server
        .curl(&format!("{URL}/no"))
        .args(["-H", "Accept: text/html"])
        .run();
    assert!(
        html.text().contains("<html") || html.text().contains("<!DOCTYPE html>"),
        "{}",
        html.text()
    );
}

#[test]
fn nghttp_and_h2load_find_a_good_server() {
    let app = HttpApp::start();
    let project = domains(&[
        "www.shop.example: { root-dir: site }",
        &format!("api.shop.example: {{ port: {} }}", app.port()),
    ]);
    project.file("site/index.html", "hello");
    let server = Server::start(&project);
    let url = |path: &str| format!("https://{}{path}", server.https);
    let hints = outside(
        "nghttp",
        &["-nv", "-H", ":authority: api.shop.example", &url("/hints")],
        "",
    );
    let statuses: Vec<_> = hints
        .stdout
        .lines()
        .filter_map(|line| line.split(":status: ").nth(1))
        .collect();
    assert_eq!(statuses, ["103", "200"], "103 is passed on: {}", hints.stdout);
    assert!(
        hints.stdout.contains("</style.css>; rel=preload; as=style"),
        "{}",
        hints.stdout
    );
    let load = outside(
        "h2load",
        &[
            "-n",
            "400",
            "-c",
            "4",
            "-m",
            "10",
            "-H",
            ":authority: www.shop.example",
            &url("/"),
        ],
        "",
    );
    assert!(
        load.stdout.contains("400 succeeded, 0 failed, 0 errored"),
        "{}",
        load.stdout
    );
    assert!(load.stdout.contains("400 2xx"), "{}", load.stdout);
}

#[test]
fn one_connection_serves_many_requests_and_several_names() {
    let project = domains(&[
        "www.shop.example: { root-dir: site }",
        "b.shop.example: { root-dir: other }",
    ]);
    project
        .file("site/index.html", "site")
        .file("other/index.html", "other");
    let server = Server::start(&project);
    let mut kept = server.http1("www.shop.example");
    for (host, body) in [
        ("www.shop.example", "site"),
        ("b.shop.example", "other"),
        ("WWW.Shop.Example:443", "site"),
    ] {
        assert_eq!(
            kept.request(&Request::get(host, "/")).text(),
            body,
            "routing is by Host, not by SNI"
        );
    }
    assert_eq!(kept.request(&Request::get("unknown.example", "/")).status, 421);
    kept.send_raw(
        b"GET / HTTP/1.1\r\nHost: www.shop.example\r\n\r\nGET / HTTP/1.1\r\nHost: b.shop.example\r\nConnection: close\r\n\r\n",
    );
    let pipelined =
        [kept.read_response("GET"), kept.read_response("GET")].map(|response| response.expect("one").text());
    assert_eq!(pipelined, ["site", "other"]);
    assert!(kept.is_closed(), "it was asked to close");
    let old = Curl::new("https://www.shop.example/")
        .args(["--http1.0", "--no-alpn", "--cacert"])
        .arg(&server.ca);
    let old = old.args(["--socks5-hostname", &server.proxy.to_string()]).run();
    assert_eq!((old.status, old.text()), (200, "site".to_owned()), "{old:?}");
}
