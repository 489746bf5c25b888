//! Static files as clients see them: ranges, conditions, codings, index files, and what is never served.

use std::os::unix::fs::symlink;

use sc_testkit::{TempProject, find_program};

use crate::server::{Server, domains};

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
