//! Real php-fpm: what its programs see, what they send back, and what a path may never lead to.

use std::path::Path;

use http::{Method, StatusCode};
use sc_net::UpstreamAddr;
use sc_site::{Disclosure, UpstreamProtocol, UpstreamSpec};
use sc_testkit::PhpFpm;

use crate::kit::{Ask, NAME, Served, Told, folder, run, serve, spec};

const TELL: &[u8] =
    b"<?php header('Content-Type: text/plain'); foreach (['SCRIPT_NAME', 'SCRIPT_FILENAME', 'PATH_INFO', \
    'REQUEST_URI', 'QUERY_STRING', 'DOCUMENT_ROOT', 'PHP_SELF', 'HTTPS', 'SERVER_NAME', 'REMOTE_ADDR'] as $n) \
    echo $n, '=', $_SERVER[$n] ?? 'unset', \"\\n\"; echo 'file=', __FILE__, \"\\n\";";

fn served(php: &PhpFpm, root: &Path) -> Served {
    served_with(php, root, |_| {})
}

fn served_with(php: &PhpFpm, root: &Path, change: impl FnOnce(&mut UpstreamSpec)) -> Served {
    let mut upstream = UpstreamSpec::new(UpstreamAddr::Unix(php.socket()));
    upstream.protocol = UpstreamProtocol::FastCgi;
    change(&mut upstream);
    let mut site = spec(Some(root), Some(upstream));
    if let Some(files) = &mut site.root {
        files.index = vec!["index.php".to_owned(), "index.html".to_owned()];
    }
    serve(vec![site], Disclosure::Developer)
}

fn line<'a>(told: &'a str, name: &str) -> Option<&'a str> {
    told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

#[test]
fn paths_lead_to_programs_files_and_the_front_controller() {
    let php = PhpFpm::start(2);
    let site = folder(&[
        ("index.php", TELL),
        ("style.css", b"p {}"),
        ("blog/index.php", TELL),
        ("blog/index.html", b"not this"),
        ("plain/index.html", b"<p>plain"),
        ("bare/", b""),
        ("sub/tool.php", TELL),
    ]);
    run(async {
        let served = served(&php, site.path());
        let check = async |ask: Ask, name: &str, info: &str| {
            let uri = ask.exchange.target.to_string();
            let told = ask.of(&served).await;
            let text = told.text();
            assert_eq!(told.status, StatusCode::OK, "{uri}: {text}");
            assert_eq!(
                (line(&text, "SCRIPT_NAME"), line(&text, "PATH_INFO")),
                (Some(name), Some(info)),
                "{uri}"
            );
            let file = site.path().join(&name[1..]).display().to_string();
            assert_eq!(
                (line(&text, "SCRIPT_FILENAME"), line(&text, "file")),
                (Some(&*file), Some(&*file))
            );
            assert_eq!(line(&text, "REQUEST_URI"), Some(&*uri));
            assert_eq!(
                (line(&text, "SERVER_NAME"), line(&text, "HTTPS")),
                (Some(NAME), Some("on"))
            );
        };
        check(Ask::get("/"), "/index.php", "unset").await;
        check(Ask::get("/index.php?a=1"), "/index.php", "unset").await;
        check(Ask::get("/index.php/a/b"), "/index.php", "/a/b").await;
        check(Ask::get("/blog/"), "/blog/index.php", "unset").await;
        check(Ask::get("/sub/tool.php"), "/sub/tool.php", "unset").await;
        check(Ask::get("/a/nice/address/?page=2"), "/index.php", "unset").await;
        check(Ask::get("/bare/"), "/index.php", "unset").await;
        check(Ask::get("/bare"), "/index.php", "unset").await;
        check(Ask::get("/missing.png"), "/index.php", "unset").await;
        check(Ask::post("/style.css", "x"), "/index.php", "unset").await;
        check(Ask::post("/blog/", "x"), "/blog/index.php", "unset").await;
        check(Ask::new(Method::PUT, "/sub/tool.php"), "/sub/tool.php", "unset").await;
        let css = Ask::get("/style.css").of(&served).await;
        assert_eq!(
            (css.field("content-type"), css.text()),
            ("text/css; charset=utf-8", "p {}".to_owned())
        );
        assert_eq!(Ask::get("/plain/").of(&served).await.text(), "<p>plain");
        let slash = Ask::get("/blog?x=1").of(&served).await;
        assert_eq!(
            (slash.status, slash.field("location")),
            (StatusCode::FOUND, "/blog/?x=1")
        );
    });
}

#[test]
fn no_source_is_ever_sent_and_no_upload_executed() {
    let php = PhpFpm::start(2);
    let secret = b"<?php /* SECRET */ echo 'executed ' . basename(__FILE__);";
    let names = [
        "index.php",
        "upload.jpg",
        "UPPER.PHP",
        "a.phtml",
        "a.phps",
        "a.phar",
        "a.php5",
        "a.php.bak",
        "a.php~",
        "a.php.",
        "a.php ",
        "a.php.gz",
        "x.inc.php",
        "sub/x.php",
        ".hidden.php",
        "fake.php/readme.txt",
    ];
    let site = folder(&names.map(|name| (name, &secret[..])));
    // A setting that opens the classic hole: with it, php-fpm itself runs whatever it is named.
    let loose = PhpFpm::start_with(2, &["security.limit_extensions ="]);
    run(async {
        for php in [&php, &loose] {
            let served = served(php, site.path());
            let paths = names.iter().map(|name| format!("/{}", name.replace(' ', "%20")));
            let tricks = [
                "/upload.jpg/x.php",
                "/upload.jpg/.php",
                "/upload.jpg%00.php",
                "/upload.jpg%00/x.php",
                "/upload.jpg%2fx.php",
                "/upload.jpg/index.php",
                "/upload.jpg//index.php",
                "/upload.jpg/%2e%2e/index.php",
                "/index.php/",
                "/index.php.",
                "/index.php%20",
                "/index.php%00",
                "/index.php%00.jpg",
                "/index.php%0a",
                "/INDEX.PHP",
                "/index.php::$DATA",
                "/index.php/upload.jpg",
                "/sub/../upload.jpg/x.php",
                "/%69ndex.php",
                "/index%2ephp",
                "/index.php?x",
                "/./index.php",
                "//index.php",
                "/sub/x.php/..%2f..%2fupload.jpg",
                "/fake.php/readme.txt/x.php",
                "/\\index.php",
                "/index.php%5c",
            ];
            for path in paths.chain(tricks.map(str::to_owned)) {
                for method in [Method::GET, Method::POST] {
                    let mut ask = Ask::new(method, &path);
                    if path.ends_with(".gz") {
                        ask = ask.field("accept-encoding", "gzip");
                    }
                    let told = ask.of(&served).await;
                    let text = told.text();
                    let is_executed =
                        text == "executed index.php" || text == "executed x.php" || text == "executed x.inc.php";
                    let is_file = path == "/upload.jpg" && told.field("content-type") == "image/jpeg"
                        || path == "/fake.php/readme.txt" && text.contains("SECRET");
                    let is_refused = told.status == StatusCode::FORBIDDEN && path == "/UPPER.PHP";
                    let is_upper = path == "/UPPER.PHP" && text == "executed UPPER.PHP";
                    assert!(
                        is_executed || is_file || is_refused || is_upper,
                        "{path}: {} {text}",
                        told.status
                    );
                    assert!(!text.contains("SECRET") || is_file, "{path}");
                }
            }
        }
    });
}

#[test]
fn without_a_front_controller_what_is_nothing_is_not_found() {
    let php = PhpFpm::start(1);
    let site = folder(&[("tool.php", TELL), ("a.php.bak", b"SECRET"), ("only/index.php", TELL)]);
    run(async {
        let without = served_with(&php, site.path(), |upstream| upstream.fastcgi.front_controller = None);
        for path in ["/", "/nothing", "/a.php.bak", "/missing.php", "/tool.php%00"] {
            let told = Ask::get(path).of(&without).await;
            assert_eq!(
                (told.status, told.text().contains("SECRET")),
                (StatusCode::NOT_FOUND, false),
                "{path}"
            );
        }
        assert_eq!(Ask::get("/only/").of(&without).await.status, StatusCode::OK);
        let missing = served(&php, site.path());
        let told = Ask::get("/").of(&missing).await;
        assert_eq!(told.status, StatusCode::NOT_FOUND);
        assert!(told.text().contains("front controller"), "{}", told.text());
    });
}

const ECHO: &[u8] = b"<?php
header('Content-Type: application/json');
http_response_code(201);
header('Set-Cookie: a=1; Path=/', false);
header('Set-Cookie: b=2; Path=/', false);
$files = array_map(fn($f) => [$f['name'], $f['size'], hash_file('sha256', $f['tmp_name'])], $_FILES);
echo json_encode(['post' => $_POST, 'get' => $_GET, 'cookie' => $_COOKIE, 'files' => $files,
    'input' => hash('sha256', file_get_contents('php://input')), 'auth' => $_SERVER['PHP_AUTH_USER'] ?? null]);";

#[test]
fn forms_uploads_cookies_and_fields_arrive() {
    let php = PhpFpm::start(2);
    let site = folder(&[("index.php", ECHO)]);
    run(async {
        for is_kept in [false, true] {
            let served = served_with(&php, site.path(), |upstream| upstream.fastcgi.is_kept = is_kept);
            let form = Ask::post("/?q=%C3%A9", "name=Ad%C3%A9le&list[]=1&list[]=2")
                .field("content-type", "application/x-www-form-urlencoded")
                .field("authorization", "Basic YWRhOnNlY3JldA==")
                .field("cookie", "x=1; y=2")
                .of(&served)
                .await;
            assert_eq!(form.status, StatusCode::CREATED);
            assert_eq!(
                form.headers.get_all("set-cookie").iter().count(),
                2,
                "{:?}",
                form.headers
            );
            assert_eq!(form.field("content-type"), "application/json");
            assert!(!form.has("status"));
            for words in [
                "\"name\":\"Ad\\u00e9le\"",
                "\"list\":[\"1\",\"2\"]",
                "\"q\":\"\\u00e9\"",
                "\"auth\":\"ada\"",
                "\"y\":\"2\"",
            ] {
                assert!(form.text().contains(words), "{words} in {}", form.text());
            }
            let content = "\0\u{1}binary\r\n--not the boundary\r\n".repeat(100_000);
            let multipart = format!(
                "--XX\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.bin\"\r\n\r\n{content}\r\n--XX--\r\n"
            );
            let upload = Ask::post("/", multipart)
                .field("content-type", "multipart/form-data; boundary=XX")
                .of(&served)
                .await;
            let words = format!("[\"a.bin\",{},\"{}\"]", content.len(), sha256(content.as_bytes()));
            assert!(upload.text().contains(&words), "{words} in {}", upload.text());
            let raw = vec![7; 3_000_000];
            let words = format!("\"input\":\"{}\"", sha256(&raw));
            let put = Ask::new(Method::PUT, "/")
                .body(sc_http::Body::full(raw))
                .of(&served)
                .await;
            assert!(put.text().contains(&words), "{}", put.text());
        }
    });
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

const ANSWERS: &[u8] = b"<?php
switch ($_GET['do']) {
    case 'redirect': header('Location: /elsewhere'); exit;
    case 'created': http_response_code(201); header('Location: /new'); exit;
    case 'missing': header('HTTP/1.0 404 Not Found'); echo 'no'; exit;
    case 'empty': http_response_code(204); exit;
    case 'large': for ($i = 0; $i < 400; $i++) echo str_repeat(chr(97 + $i % 26), 10000); exit;
    case 'length': header('Content-Length: 5'); echo \"hello\\n\\n\"; exit;
    case 'flush': echo 'one'; flush(); echo 'two'; exit;
    case 'die': echo 'begun'; flush(); posix_kill(getmypid(), 9); exit;
    case 'fields': for ($i = 0; $i < 200; $i++) header(\"X-$i: 1\"); echo 'x'; exit;
    case 'once': echo getmypid(); exit;
    case 'ignore': echo 'read nothing'; exit;
}";

async fn asked(served: &Served, what: &str) -> Told {
    Ask::get(&format!("/?do={what}")).of(served).await
}

#[test]
fn answers_come_as_php_means_them() {
    let php = PhpFpm::start(3);
    let site = folder(&[("index.php", ANSWERS)]);
    run(async {
        let served = served_with(&php, site.path(), |upstream| upstream.fastcgi.is_kept = true);
        let redirect = asked(&served, "redirect").await;
        assert_eq!(
            (redirect.status, redirect.field("location")),
            (StatusCode::FOUND, "/elsewhere")
        );
        let created = asked(&served, "created").await;
        assert_eq!(
            (created.status, created.field("location")),
            (StatusCode::CREATED, "/new")
        );
        let missing = asked(&served, "missing").await;
        assert_eq!(
            (missing.status, missing.text()),
            (StatusCode::NOT_FOUND, "no".to_owned())
        );
        let empty = asked(&served, "empty").await;
        assert_eq!(
            (empty.status, empty.body.len(), empty.fault),
            (StatusCode::NO_CONTENT, 0, None)
        );
        let large = asked(&served, "large").await;
        assert_eq!((large.body.len(), large.fault), (4_000_000, None));
        assert_eq!(asked(&served, "length").await.text(), "hello");
        assert_eq!(asked(&served, "flush").await.text(), "onetwo");
        let head = Ask::head("/?do=large").of(&served).await;
        assert_eq!((head.status, head.body.len(), head.fault), (StatusCode::OK, 0, None));
        let died = asked(&served, "die").await;
        let (text, fault) = (died.text(), died.fault.unwrap_or_default());
        assert!(fault.contains("closed in the middle"), "{} {text} {fault}", died.status);
        assert_eq!(asked(&served, "fields").await.status, StatusCode::BAD_GATEWAY);
        let ignored = Ask::post("/?do=ignore", vec![1; 2_000_000]).of(&served).await;
        assert_eq!((ignored.text(), ignored.fault), ("read nothing".to_owned(), None));
    });
}

#[test]
fn kept_connections_stay_with_their_process() {
    let php = PhpFpm::start(4);
    let site = folder(&[("index.php", ANSWERS)]);
    run(async {
        let served = served_with(&php, site.path(), |upstream| upstream.fastcgi.is_kept = true);
        let first = asked(&served, "once").await;
        for _ in 0..20 {
            let next = asked(&served, "once").await;
            assert!(next.notes.is_reused());
            assert_eq!(next.text(), first.text(), "the same process behind the same connection");
        }
    });
}

#[test]
fn more_requests_than_processes_are_answered_in_turn() {
    let php = PhpFpm::start(1);
    let site = folder(&[("index.php", ANSWERS)]);
    run(async {
        let served = served(&php, site.path());
        let many = (0..20).map(|_| asked(&served, "once"));
        let all = futures_util::future::join_all(many).await;
        assert!(
            all.iter()
                .all(|told| told.status == StatusCode::OK && told.fault.is_none())
        );
    });
}
