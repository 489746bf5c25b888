//! What a site answers: files, the application behind it, redirects, and the pages for what goes wrong.

use std::os::unix::fs::symlink;

use sc_testkit::{Curl, HttpApp, Request, TempProject, eventually, find_program, free_ports};

use crate::outside::outside;
use crate::server::{PATIENCE, Server, domains, shimmercat};

const URL: &str = "https://www.shop.example";

/// A static site with a file of each kind.
fn files() -> TempProject {
    let project = domains(&["www.shop.example: { root-dir: site }"]);
    project
        .file("site/index.html", "<h1>hello</h1>\n")
        .file("site/docs/index.html", "docs\n")
        .file("site/digits.txt", "0123456789")
        .file("site/large.css", "a { color: red }\n".repeat(2000))
        .file("site/ready.js", "plain".repeat(500))
        .file("site/ready.js.br", "as brotli")
        .file("site/ready.js.zst", "as zstd")
        .file("site/ready.js.gz", "as gzip")
        .file("site/photo.jpg", [0xff; 3000])
        .file("site/.env", "SECRET=1")
        .file("site/.git/config", "SECRET=2")
        .file("site/.well-known/security.txt", "Contact: mailto:a@b.example\n")
        .file("secret.txt", "SECRET=3");
    project
}

#[test]
fn ranges() {
    let project = files();
    let server = Server::start(&project);
    let url = format!("{URL}/digits.txt");
    let ranged = |range: &str| server.curl(&url).args(["-H", &format!("Range: {range}")]).run();
    for (range, status, body, content_range) in [
        ("bytes=2-4", 206, "234", Some("bytes 2-4/10")),
        ("bytes=7-", 206, "789", Some("bytes 7-9/10")),
        ("bytes=-3", 206, "789", Some("bytes 7-9/10")),
        ("bytes=0-99", 206, "0123456789", Some("bytes 0-9/10")),
        ("bytes=10-", 416, "", Some("bytes */10")),
        ("lines=1-2", 200, "0123456789", None),
        ("bytes=4-2", 200, "0123456789", None),
    ] {
        let answer = ranged(range);
        assert_eq!(
            (answer.status, answer.header("content-range")),
            (status, content_range),
            "{range}: {answer:?}"
        );
        if status != 416 {
            assert_eq!(answer.text(), body, "{range}");
        }
    }
    let whole = server.curl(&url).run();
    assert_eq!(whole.header("accept-ranges"), Some("bytes"), "{whole:?}");
    let tag = whole.header("etag").expect("a tag").to_owned();
    for (condition, status) in [(tag.as_str(), 206), ("\"other\"", 200)] {
        let answer = server
            .curl(&url)
            .args(["-H", "Range: bytes=0-1", "-H", &format!("If-Range: {condition}")])
            .run();
        assert_eq!(answer.status, status, "If-Range: {condition}: {answer:?}");
    }
}

#[test]
fn conditional_requests() {
    let project = files();
    let server = Server::start(&project);
    let url = format!("{URL}/digits.txt");
    let first = server.curl(&url).run();
    let tag = first.header("etag").expect("a tag").to_owned();
    let modified = first.header("last-modified").expect("a time").to_owned();
    assert!(tag.starts_with('"'), "a strong tag: {tag}");
    let other = server.curl(&format!("{URL}/index.html")).run();
    assert_ne!(other.header("etag"), Some(tag.as_str()));
    for (fields, status) in [
        (vec![format!("If-None-Match: {tag}")], 304),
        (vec![format!("If-None-Match: \"x\", W/{tag}")], 304),
        (vec!["If-None-Match: *".to_owned()], 304),
        (vec!["If-None-Match: \"x\"".to_owned()], 200),
        (vec![format!("If-Modified-Since: {modified}")], 304),
        (vec!["If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT".to_owned()], 200),
        (
            vec![
                "If-None-Match: \"x\"".to_owned(),
                format!("If-Modified-Since: {modified}"),
            ],
            200,
        ),
        (vec!["If-Match: \"x\"".to_owned()], 412),
        (vec![format!("If-Match: {tag}")], 200),
        (
            vec!["If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT".to_owned()],
            412,
        ),
    ] {
        let asked = fields
            .iter()
            .fold(server.curl(&url), |curl, field| curl.arg("-H").arg(field));
        let answer = asked.run();
        assert_eq!(answer.status, status, "{fields:?}: {answer:?}");
        assert!(
            status != 304 || (answer.body.is_empty() && answer.header("etag") == Some(&tag)),
            "{answer:?}"
        );
    }
    project.file("site/digits.txt", "9876543210");
    let changed = server.curl(&url).args(["-H", &format!("If-None-Match: {tag}")]).run();
    assert_eq!(
        (changed.status, changed.text()),
        (200, "9876543210".to_owned()),
        "a change is seen at once"
    );
    let head = server.curl(&url).arg("-I").run();
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("10")),
        "{head:?}"
    );
    let posted = server.curl(&url).args(["-d", "x"]).run();
    assert_eq!(
        (posted.status, posted.header("allow").is_some()),
        (405, true),
        "{posted:?}"
    );
}

#[test]
fn text_is_compressed_as_the_client_likes_it() {
    let project = files();
    let server = Server::start(&project);
    let url = format!("{URL}/large.css");
    let plain = server.curl(&url).run();
    assert_eq!(plain.header("content-encoding"), None, "{}", plain.heads);
    let mut tags = vec![plain.header("etag").map(str::to_owned)];
    for (wish, coding) in [
        ("br", "br"),
        ("zstd", "zstd"),
        ("gzip", "gzip"),
        ("gzip;q=0.5, zstd;q=0.1, br;q=0", "gzip"),
    ] {
        let asked = |option: &str| {
            server
                .curl(&url)
                .args(["-H", &format!("Accept-Encoding: {wish}"), option])
                .run()
        };
        let raw = asked("--raw");
        assert_eq!(raw.header("content-encoding"), Some(coding), "{wish}: {}", raw.heads);
        assert!(
            raw.body.len() * 10 < plain.body.len(),
            "{wish}: {} bytes",
            raw.body.len()
        );
        assert!(
            raw.header("vary")
                .is_some_and(|vary| vary.to_lowercase().contains("accept-encoding")),
            "{}",
            raw.heads
        );
        assert_eq!(asked("--compressed").body, plain.body, "{wish}: it unpacks to the same");
        tags.push(raw.header("etag").map(str::to_owned));
    }
    tags.truncate(4);
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 4, "each coding has its own strong tag: {tags:?}");
    for (wish, coding) in [("identity", None), ("br;q=0", None), ("x-unknown", None)] {
        let answer = server
            .curl(&url)
            .args(["-H", &format!("Accept-Encoding: {wish}")])
            .run();
        assert_eq!(
            (answer.header("content-encoding"), answer.body.len()),
            (coding, plain.body.len()),
            "{wish}"
        );
    }
    let photo = server
        .curl(&format!("{URL}/photo.jpg"))
        .args(["-H", "Accept-Encoding: gzip, br, zstd"])
        .run();
    assert_eq!(
        (photo.header("content-encoding"), photo.body.len()),
        (None, 3000),
        "{}",
        photo.heads
    );
}

#[test]
fn precompressed_files_are_used_as_they_are() {
    let project = files();
    let server = Server::start(&project);
    for (wish, body, coding) in [
        ("br, gzip, zstd", "as brotli", Some("br")),
        ("zstd", "as zstd", Some("zstd")),
        ("gzip", "as gzip", Some("gzip")),
    ] {
        let answer = server
            .curl(&format!("{URL}/ready.js"))
            .args(["--raw", "-H", &format!("Accept-Encoding: {wish}")])
            .run();
        assert_eq!(
            (answer.header("content-encoding"), answer.text().as_str()),
            (coding, body),
            "{wish}: {answer:?}"
        );
        let kind = answer.header("content-type").unwrap_or_default();
        assert!(kind.contains("javascript"), "{wish}: {kind}");
    }
    let plain = server.curl(&format!("{URL}/ready.js")).run();
    assert_eq!(plain.text(), "plain".repeat(500));
}

#[test]
fn index_files_and_single_page_applications() {
    let project = domains(&[
        "www.shop.example: { root-dir: site }",
        "app.shop.example: { root-dir: site, spa: true }",
    ]);
    project
        .file("site/index.html", "home\n")
        .file("site/docs/index.html", "docs\n");
    let server = Server::start(&project);
    let ask = |name: &str, path: &str, fields: &[&str]| {
        let asked = server.curl(&format!("https://{name}.shop.example{path}"));
        fields.iter().fold(asked, |curl, field| curl.args(["-H", field])).run()
    };
    let navigation = [
        "Accept: text/html,application/xhtml+xml",
        "Sec-Fetch-Mode: navigate",
        "Sec-Fetch-Dest: document",
    ];
    assert_eq!(ask("www", "/docs/", &[]).text(), "docs\n");
    let bare = ask("www", "/docs?x=1", &[]);
    assert_eq!(
        (bare.status / 100, bare.header("location")),
        (3, Some("/docs/?x=1")),
        "{bare:?}"
    );
    assert_eq!(ask("www", "/orders/7", &navigation).status, 404);
    let deep = ask("app", "/orders/7", &navigation);
    assert_eq!((deep.status, deep.text()), (200, "home\n".to_owned()));
    let script = ask(
        "app",
        "/missing.js",
        &["Accept: */*", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script"],
    );
    assert_eq!(script.status, 404, "a script is no navigation: {script:?}");
    assert_eq!(ask("app", "/docs/", &navigation).text(), "docs\n");
}

#[test]
fn nothing_above_or_hidden_in_the_root_is_served() {
    let project = files();
    let outside_folder = TempProject::new();
    outside_folder.file("file.txt", "SECRET=4");
    symlink(outside_folder.path_of("file.txt"), project.path_of("site/link.txt")).expect("a link");
    symlink(outside_folder.path(), project.path_of("site/linked")).expect("a link");
    symlink("../secret.txt", project.path_of("site/up.txt")).expect("a link");
    symlink("digits.txt", project.path_of("site/inside.txt")).expect("a link");
    let made = std::process::Command::new(find_program("mkfifo"))
        .arg(project.path_of("site/pipe"))
        .status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo");
    let server = Server::start(&project);
    for path in [
        "/.env",
        "/.git/config",
        "/%2eenv",
        "/../secret.txt",
        "/docs/../../secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "/%2e%2e%2fsecret.txt",
        "/.%2e/secret.txt",
        "/..%5csecret.txt",
        "/..\\secret.txt",
        "/docs/..%2f..%2fsecret.txt",
        "//../secret.txt",
        "/./../secret.txt",
        "/%252e%252e/secret.txt",
        "/..;/secret.txt",
        "/digits.txt%00.html",
        "/%c0%ae%c0%ae/secret.txt",
        "/link.txt",
        "/linked/file.txt",
        "/up.txt",
        "/pipe",
        "/digits.txt/",
        "/digits.txt/x",
    ] {
        for version in ["--http1.1", "--http2"] {
            let answer = server
                .curl(&format!("{URL}{path}"))
                .args(["--path-as-is", version])
                .run();
            assert!((400..500).contains(&answer.status), "{version} {path}: {answer:?}");
            assert!(!answer.text().contains("SECRET"), "{version} {path}: {answer:?}");
        }
    }
    for (path, body) in [
        ("/inside.txt", "0123456789"),
        ("/docs/../digits.txt", "0123456789"),
        ("/d%69gits.txt", "0123456789"),
    ] {
        let answer = server.curl(&format!("{URL}{path}")).run();
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, body),
            "{path}: {answer:?}"
        );
    }
    let known = server.curl(&format!("{URL}/.well-known/security.txt")).run();
    assert_eq!(known.status, 200, "RFC 8615: {known:?}");
}

#[test]
fn fields_and_redirects_of_the_file() {
    let project = domains(&[
        "www.shop.example:",
        "  root-dir: site",
        "  headers: { X-Frame-Options: DENY }",
        "  redirects: { /old: /new, '/blog/*': 'https://blog.example/*' }",
    ]);
    project.file("site/index.html", "hello");
    let server = Server::start(&project);
    let page = server.curl(&format!("{URL}/")).run();
    assert_eq!(page.header("x-frame-options"), Some("DENY"), "{page:?}");
    for (path, place) in [("/old", "/new"), ("/blog/a/b", "https://blog.example/a/b")] {
        let moved = server.curl(&format!("{URL}{path}")).run();
        assert_eq!(
            (moved.status, moved.header("location")),
            (302, Some(place)),
            "{moved:?}"
        );
    }
}

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
