//! Real applications behind the program: Django's `runserver`, FastAPI on uvicorn, Node. What a browser does with them is
//! in `browser_apps.rs`.
//!
//! Each is asked over both HTTP versions, through the little network, under its real name.

#![expect(clippy::print_stdout, reason = "times and memory are figures to look at")]

use std::time::{Duration, Instant};

use sc_testkit::{CurlAnswer, Launch, find_program, websocket};
use serde_json::Value;

use crate::applications::{self, Application};
use crate::server::{PATIENCE, Server, domains};

const VERSIONS: [(&str, &str); 2] = [("--http1.1", "1.1"), ("--http2", "2")];

/// What is uploaded: 1 GiB.
const UPLOAD_BYTES: u64 = 1 << 30;

/// What a server may grow by while something large passes through it.
const GROWTH_MAX_KIB: u64 = 64 * 1024;

/// For 1 GiB through an unoptimised build on a machine that is busy with other tests.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(400);

/// The application as `https://www.example.com/`.
fn in_front_of(application: &Application) -> (sc_testkit::TempProject, Server) {
    let project = domains(&[&format!("www.example.com: {{ port: {} }}", application.port)]);
    let server = Server::start(&project);
    (project, server)
}

fn get(server: &Server, version: &str, path: &str) -> CurlAnswer {
    server
        .curl(&format!("https://www.example.com{path}"))
        .arg(version)
        .run()
}

#[test]
fn django_believes_what_the_browser_sees() {
    let django = applications::django();
    let (_project, server) = in_front_of(&django);
    for (version, number) in VERSIONS {
        let answer = get(&server, version, "/facts?x=%20y");
        assert_eq!((answer.status, answer.version.as_str()), (200, number), "{answer:?}");
        let facts: Value = serde_json::from_slice(&answer.body).expect("JSON");
        for (name, expected) in [
            ("url", Value::from("https://www.example.com/facts?x=%20y")),
            ("secure", true.into()),
            ("host", "www.example.com".into()),
            ("forwarded-for", "127.0.0.1".into()),
        ] {
            assert_eq!(facts[name], expected, "{name} of {facts:#}");
        }
        let forwarded = facts["forwarded"].as_str().unwrap_or_default();
        assert!(
            forwarded.contains("proto=https") && forwarded.contains("host="),
            "RFC 7239: {forwarded}"
        );
    }
}

#[test]
fn django_takes_a_form_from_its_own_page_and_no_other() {
    let django = applications::django();
    let (_project, server) = in_front_of(&django);
    for (version, number) in VERSIONS {
        let page = get(&server, version, "/");
        assert_eq!((page.status, page.version.as_str()), (200, number), "{page:?}");
        assert!(
            page.text().contains("<title>django behind shimmercat</title>"),
            "{page:?}"
        );
        let cookie = page.header("set-cookie").expect("Django sets its CSRF cookie");
        assert!(cookie.contains("Secure"), "{cookie}");
        let cookie = cookie.split(';').next().unwrap_or_default();
        let text = page.text();
        let token = text
            .split("name=\"csrfmiddlewaretoken\" value=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let form = format!(
            "csrfmiddlewaretoken={}&words=sch%C3%B6n",
            token.expect("a token in the form")
        );
        let send = |origin: &str| {
            let url = "https://www.example.com/";
            let headers = [
                format!("Cookie: {cookie}"),
                format!("Origin: {origin}"),
                format!("Referer: {url}"),
            ];
            let headers = headers.iter().flat_map(|header| ["-H", header]);
            server.curl(url).arg(version).args(headers).args(["-d", &form]).run()
        };
        let taken = send("https://www.example.com");
        assert_eq!((taken.status, taken.text()), (200, "got schön".to_owned()), "{taken:?}");
        for foreign in ["https://evil.example", "http://www.example.com"] {
            let refused = send(foreign);
            assert_eq!(refused.status, 403, "a form from {foreign}: {refused:?}");
            assert!(refused.text().contains("CSRF verification failed"), "{refused:?}");
        }
    }
}

#[test]
fn django_shows_its_pages_for_developers() {
    let django = applications::django();
    let (_project, server) = in_front_of(&django);
    for (version, _) in VERSIONS {
        let missing = get(&server, version, "/nothing/here");
        assert_eq!(missing.status, 404, "{missing:?}");
        for words in [
            "Page not found",
            "site_under_test.urls",
            "https://www.example.com/nothing/here",
        ] {
            assert!(
                missing.text().contains(words),
                "`{words}` is missing in {}",
                missing.text()
            );
        }
        let broken = get(&server, version, "/broken");
        assert_eq!(broken.status, 500);
        for words in [
            "RuntimeError",
            "broken on purpose",
            "site_under_test/urls.py",
            "https://www.example.com/broken",
        ] {
            assert!(
                broken.text().contains(words),
                "`{words}` is missing in {}",
                broken.text()
            );
        }
    }
    for status in [404, 500] {
        let record = server
            .events_named("exchange")
            .into_iter()
            .find(|record| record["status"] == status);
        let record = record.unwrap_or_else(|| panic!("no record with {status}"));
        assert_eq!(
            record["end"], "complete",
            "the answer of an application is no fault of ours: {record:#}"
        );
    }
}

#[test]
fn django_serves_its_static_files() {
    let django = applications::django();
    let (_project, server) = in_front_of(&django);
    for (version, _) in VERSIONS {
        let style = get(&server, version, "/static/css/base.css");
        assert_eq!(
            (style.status, style.header("content-type")),
            (200, Some("text/css")),
            "{style:?}"
        );
        assert!(style.text().contains("DJANGO Admin styles"), "{}", style.text());
        let length = style.header("content-length").map(str::to_owned);
        assert_eq!(
            length,
            Some(style.body.len().to_string()),
            "the file is passed on as it is"
        );
        let date = style
            .header("last-modified")
            .expect("Django dates its files")
            .to_owned();
        let again = server
            .curl("https://www.example.com/static/css/base.css")
            .args([version, "-H", &format!("If-Modified-Since: {date}")])
            .run();
        assert_eq!((again.status, again.body.len()), (304, 0), "{again:?}");
    }
}

#[test]
fn fastapi_takes_a_gibibyte_over_http1_in_constant_memory() {
    upload_a_gibibyte("--http1.1", "1.1");
}

#[test]
fn fastapi_takes_a_gibibyte_over_http2_in_constant_memory() {
    upload_a_gibibyte("--http2", "2");
}

fn upload_a_gibibyte(version: &str, number: &str) {
    let fastapi = applications::fastapi();
    let (_project, server) = in_front_of(&fastapi);
    let warm = get(&server, version, "/docs");
    assert_eq!(warm.status, 200, "{warm:?}");
    let idle = server.program.memory().resident_kib;
    let curl = format!(
        "head -c {UPLOAD_BYTES} /dev/zero | {} -q -sS {version} --max-time {} --cacert {} --socks5-hostname {} \
         -T - -w ' %{{http_code}} %{{http_version}}' https://www.example.com/upload",
        find_program("curl").display(),
        UPLOAD_PATIENCE.as_secs(),
        server.ca.display(),
        server.proxy,
    );
    let started = Instant::now();
    let sent = Launch::new(find_program("sh")).args(["-c", &curl]).run(UPLOAD_PATIENCE);
    let took = started.elapsed();
    let peak = server.program.memory().peak_kib;
    let (answer, facts) = sent
        .stdout
        .rsplit_once("} ")
        .unwrap_or_else(|| panic!("no answer: {sent:?}"));
    assert_eq!(facts.trim(), format!("200 {number}"), "{sent:?}");
    let answer: Value = serde_json::from_str(&format!("{answer}}}")).expect("JSON");
    assert_eq!(answer["bytes"], UPLOAD_BYTES, "what the application counted: {answer}");
    assert_eq!(
        answer["length"],
        Value::Null,
        "nobody knew the length beforehand: {answer}"
    );
    let record = server.wait_event("exchange", 2);
    assert_eq!(
        (&record["received_bytes"], &record["end"]),
        (&UPLOAD_BYTES.into(), &"complete".into()),
        "{record:#}"
    );
    let growth = peak.saturating_sub(idle);
    let rate = UPLOAD_BYTES as f64 / (1 << 20) as f64 / took.as_secs_f64();
    println!(
        "1 GiB over HTTP/{number}: {took:.1?} ({rate:.0} MiB/s); resident {idle} KiB idle, {peak} KiB at its peak"
    );
    assert!(
        growth < GROWTH_MAX_KIB,
        "it grew by {growth} KiB, from {idle} KiB to {peak} KiB"
    );
}

#[test]
fn a_slow_reader_of_a_large_download_does_not_fill_the_memory() {
    let size = 2 * GROWTH_MAX_KIB * 1024;
    let fastapi = applications::fastapi();
    let (_project, server) = in_front_of(&fastapi);
    for (version, number) in VERSIONS {
        assert_eq!(get(&server, version, "/docs").status, 200);
        let idle = server.program.memory().resident_kib;
        let answer = server
            .curl(&format!("https://www.example.com/download/{size}"))
            .args([version, "--limit-rate", "16M", "--max-time", "200"])
            .run();
        assert_eq!(
            (answer.exit, answer.status, answer.version.as_str()),
            (0, 200, number),
            "{}",
            answer.stderr
        );
        assert_eq!(answer.body.len() as u64, size);
        let pattern: Vec<u8> = (0..=255).cycle().take(64 << 10).collect();
        assert!(
            answer.body.chunks(pattern.len()).all(|piece| piece == pattern),
            "other bytes than were sent"
        );
        let peak = server.program.memory().peak_kib;
        println!("{size} bytes down over HTTP/{number}: resident {idle} KiB idle, {peak} KiB at its peak");
        let growth = peak.saturating_sub(idle);
        assert!(
            growth < GROWTH_MAX_KIB,
            "it grew by {growth} KiB, from {idle} KiB to {peak} KiB"
        );
    }
}

#[test]
fn events_of_node_and_fastapi_arrive_while_they_are_made() {
    for (application, site) in [(applications::node(), "Node"), (applications::fastapi(), "FastAPI")] {
        let (_project, server) = in_front_of(&application);
        for (version, _) in VERSIONS {
            let mut curl = Launch::new(find_program("curl"))
                .args(["-q", "-sSN", version, "--max-time", "60", "--cacert"])
                .arg(&server.ca)
                .args([
                    "--socks5-hostname",
                    &server.proxy.to_string(),
                    "https://www.example.com/events",
                ])
                .start();
            let first = Instant::now();
            curl.wait_for_text("data: event 1", PATIENCE);
            curl.wait_for_text("data: event 3", PATIENCE);
            assert!(!curl.has_ended(), "{site}: the stream has no end");
            println!("{site} {version}: three events after {:.1?}", first.elapsed());
            curl.stop();
        }
        // A reader that went away ends the exchange: the application is not read for nobody.
        for number in 1..=VERSIONS.len() {
            let record = server.wait_event("exchange", number);
            assert_eq!(
                (&record["status"], &record["end"]),
                (&200.into(), &"cancelled".into()),
                "{site}: {record:#}"
            );
        }
    }
}

#[test]
fn websockets_of_node_and_fastapi_echo() {
    for (application, large) in [(applications::node(), 4 << 20), (applications::fastapi(), 200_000)] {
        let (_project, server) = in_front_of(&application);
        let mut socket = websocket(
            server.tls("www.example.com", &["http/1.1"]),
            "wss://www.example.com/live",
        );
        for text in ["first", "zweitens, schön", &"x".repeat(large)] {
            socket.send(text.into()).expect("the message is taken");
            let back = socket.read().expect("an echo").into_text().expect("text");
            assert!(
                back.as_str() == text,
                "{} bytes came back instead of {}",
                back.len(),
                text.len()
            );
        }
        socket.close(None).expect("the close is taken");
        while socket.read().is_ok() {}
        drop(socket);
        let record = server.wait_event("exchange", 1);
        assert_eq!(
            (&record["status"], &record["site"]),
            (&101.into(), &"www.example.com".into()),
            "{record:#}"
        );
    }
}
