//! Pages in a real Chromium, headless, opened by `sc-tool chrome` for an ordinary user: hot reload, websockets, third parties.
//!
//! What the sites are is decided by the real applications of `tests/apps`; how the browser is driven is in `browser.rs`.

use std::process::Command;

use sc_testkit::{TempProject, python};
use serde_json::Value;

use crate::applications;
use crate::browser::{PROFILE, Person};
use crate::server::{Server, domains, domains_yaml};

const PAGE: &str = "https://www.example.com/";

/// Makes the browser take HTTP/1.1.
const NO_HTTP2: &str = "--disable-http2";

#[test]
fn vite_replaces_a_module_in_the_open_page_over_http2() {
    hot_reload(&[], "h2");
}

#[test]
fn vite_replaces_a_module_in_the_open_page_over_http1() {
    hot_reload(&[NO_HTTP2], "http/1.1");
}

fn hot_reload(arguments: &[&str], protocol: &str) {
    let (vite, sources) = applications::vite();
    let project = domains(&[&format!("www.example.com: {{ port: {} }}", vite.port)]);
    let person = Person::new();
    let server = person.server(&project, &[]);
    let mut browser = person.open(&project, PAGE, arguments);
    browser.wait_for_text("#words", "first words");
    assert_eq!(browser.protocol(), protocol);
    // Only a page whose hot reload is connected is told of the change.
    sc_testkit::eventually("hot reload is connected", crate::server::PATIENCE, || {
        let lines = browser.console();
        if lines.iter().any(|line| line.contains("[vite] connected")) {
            Ok(())
        } else {
            Err(lines)
        }
    });
    for words in ["second words", "third words: schön"] {
        // As editors save: a watcher that looks at the wrong moment must not see an empty file.
        sc_testkit::replace(
            &sources.path_of("words.js"),
            &format!("export const words = \"{words}\";\n"),
        );
        browser.wait_for_text("#words", words);
    }
    browser.wait_for_text("#loads", "1");
    let lines = browser.console();
    assert!(
        !lines.iter().any(|line| line.contains("failed to connect")),
        "{lines:#?}"
    );
    browser.close();
    let record = websocket_record(&server, "https://www.example.com/?token=");
    assert_eq!(record["protocol"], protocol_word(protocol), "{record:#}");
    let upstream = record["upstream"].as_str().unwrap_or_default();
    assert!(upstream.ends_with(&format!(":{}", vite.port)), "{record:#}");
    server.stop();
}

const ECHO_PAGE: &str = r#"<!doctype html>
<title>echo</title>
<p id="state">waiting</p>
<script>
const bytes = new Uint8Array(1 << 20).map((_, index) => index * 7);
const socket = new WebSocket("wss://www.example.com/live");
const seen = [];
const say = (text) => { document.getElementById("state").textContent = text; };
socket.binaryType = "arraybuffer";
socket.onopen = () => { socket.send("words, schön"); socket.send(bytes); };
socket.onerror = () => say("error");
socket.onclose = (event) => say(`closed ${event.code} after ${seen.join(", ")}`);
socket.onmessage = ({ data }) => {
  const isSame = (back) => back.length === bytes.length && back.every((byte, index) => byte === bytes[index]);
  seen.push(typeof data === "string" ? data : isSame(new Uint8Array(data)) ? "the same bytes" : "other bytes");
  if (seen.length === 2) socket.close(1000);
};
</script>
"#;

#[test]
fn a_page_talks_to_a_websocket_over_http2() {
    echo(&[], "h2");
}

#[test]
fn a_page_talks_to_a_websocket_over_http1() {
    echo(&[NO_HTTP2], "http/1.1");
}

fn echo(arguments: &[&str], protocol: &str) {
    let node = applications::node();
    let consultant = format!("  consultant: {{ connect-to: 127.0.0.1:{} }}", node.port);
    let project = domains(&["www.example.com:", "  root-dir: site", &consultant]);
    project.file("site/index.html", ECHO_PAGE);
    let person = Person::new();
    let server = person.server(&project, &[]);
    let mut browser = person.open(&project, PAGE, arguments);
    browser.wait_for_text("#state", "closed 1000 after words, schön, the same bytes");
    assert_eq!(browser.protocol(), protocol);
    browser.close();
    let record = websocket_record(&server, "https://www.example.com/live");
    assert_eq!(record["protocol"], protocol_word(protocol), "{record:#}");
    server.stop();
}

/// How many hosts a page listens to at once. Browsers of old allowed 32 connections to a proxy.
const HOSTS: usize = 140;

#[test]
fn a_page_listens_to_the_event_streams_of_140_hosts_at_once() {
    let node = applications::node();
    let many = format!(
        "\"*.many.example.com\": {{ port: {}, headers: {{ Access-Control-Allow-Origin: \"*\" }} }}",
        node.port
    );
    let project = domains(&["www.example.com: { root-dir: site }", &many]);
    project.file(
        "site/index.html",
        format!(
            "<!doctype html><title>listening</title><p id=state>0</p>\n\
             <script>const heard = new Set();\n\
             for (let host = 0; host < {HOSTS}; host++) {{\n\
               new EventSource(`https://h${{host}}.many.example.com/events`).onmessage = ({{ data }}) => {{\n\
                 if (data === 'event 3') heard.add(host);\n\
                 document.getElementById('state').textContent = heard.size;\n\
               }};\n\
             }}</script>\n"
        ),
    );
    let person = Person::new();
    let server = person.server(&project, &[]);
    let mut browser = person.open(&project, PAGE, &[]);
    browser.wait_for_text("#state", &HOSTS.to_string());
    assert!(
        server
            .events_named("exchange")
            .iter()
            .all(|record| record["status"] != 200 || record["url"] == PAGE)
    );
    browser.close();
    let ended = server.wait_event("exchange", HOSTS + 1);
    assert_eq!(ended["protocol"], "HTTP/2", "{ended:#}");
    server.stop();
}

/// The word of the log for a protocol that the browser names by ALPN.
fn protocol_word(alpn: &str) -> &str {
    match alpn {
        "h2" => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// The record of the websocket whose URL begins so.
fn websocket_record(server: &Server, url: &str) -> Value {
    sc_testkit::eventually(
        &format!("a record of a websocket at {url}"),
        crate::server::PATIENCE,
        || {
            let records = server.events_named("exchange");
            let is_it = |record: &&Value| {
                let is_joined = record["status"] == 101 || record["method"] == "CONNECT";
                is_joined && record["url"].as_str().is_some_and(|found| found.starts_with(url))
            };
            records.iter().find(is_it).cloned().ok_or(records)
        },
    )
}

/// The page of the third-party tests: one script of a host that may be let through, one of another.
fn page_with_third_parties(port: u16) -> TempProject {
    let project = domains(&["www.example.com: { root-dir: site }"]);
    project.file(
        "site/index.html",
        format!(
            "<!doctype html><title>embedding</title><p id=own>own</p><p id=cdn>waiting</p><p id=stats>waiting</p>\n\
             <script>const say = (id, text) => {{ document.getElementById(id).textContent = text; }};</script>\n\
             <script src='https://{CDN}:{port}/cdn.js' onerror='say(\"cdn\", \"blocked\")'></script>\n\
             <script src='https://{STATS}/stats.js' onerror='say(\"stats\", \"blocked\")'></script>\n"
        ),
    );
    project
}

const CDN: &str = "cdn.other.example";
const STATS: &str = "stats.third.example";

#[test]
fn a_third_party_is_blocked_without_w_and_listed_once_with_its_count() {
    let project = page_with_third_parties(443);
    let person = Person::new();
    let server = person.server(&project, &[]);
    let mut browser = person.open(&project, PAGE, &[]);
    for _ in 0..2 {
        for (id, words) in [("#own", "own"), ("#cdn", "blocked"), ("#stats", "blocked")] {
            browser.wait_for_text(id, words);
        }
        browser
            .evaluate("document.getElementById('own').textContent = 'old'; location.reload()")
            .ok();
    }
    browser.wait_for_text("#stats", "blocked");
    browser.wait_for_text("#own", "own");
    browser.close();
    let refusals = |host: &str| {
        let events = server.events_named("refused");
        let target = format!("{host}:443");
        events.iter().filter(|event| event["target"] == *target).count()
    };
    let status = server.status();
    let pages = status["refused"]["pages"].as_array().expect("a list").clone();
    for host in [CDN, STATS] {
        let lines: Vec<_> = pages.iter().filter(|line| line["host"] == host).collect();
        assert_eq!(lines.len(), 1, "{host} is listed once: {pages:#?}");
        assert!(refusals(host) >= 3, "the page asked three times: {pages:#?}");
        assert_eq!(lines[0]["count"], refusals(host), "{host} in {pages:#?}");
    }
    let (cdn, stats) = (refusals(CDN), refusals(STATS));
    let said = server.stop();
    for (host, count) in [(CDN, cdn), (STATS, stats)] {
        let lines: Vec<_> = said
            .lines()
            .filter(|line| line.contains(&format!("x  {host}")))
            .collect();
        assert_eq!(lines.len(), 1, "{host} is in the farewell once: {said}");
        assert!(
            lines[0].trim_start().starts_with(&format!("{count}x  {host}")),
            "{count} times: {said}"
        );
    }
}

#[test]
fn a_third_party_is_loaded_with_w_and_no_other() {
    // The third party is a site of another project, with a CA of its own that the person's browser is told to trust.
    let third = domains(&[&format!("{CDN}: {{ root-dir: site }}")]);
    third.file("site/cdn.js", "say('cdn', 'loaded');");
    let person = Person::new();
    let elsewhere = person.server(&third, &[]);
    let project = page_with_third_parties(elsewhere.https.port());
    let domains = domains_yaml(&["www.example.com: { root-dir: site }"]);
    project.file("devlove.yaml", format!("{domains}  allow-private: [127.0.0.1]\n"));
    let server = person.server_with_host(&project, &["-w", CDN], &format!("127.0.0.1 {CDN}"));
    // The first start makes the profile: the other CA is not trusted in it.
    let mut browser = person.open(&project, PAGE, &[]);
    browser.wait_for_text("#cdn", "blocked");
    browser.close();
    trust_in_profile(&person, &elsewhere);
    let mut browser = person.open(&project, PAGE, &[]);
    for (id, words) in [("#own", "own"), ("#cdn", "loaded"), ("#stats", "blocked")] {
        browser.wait_for_text(id, words);
    }
    browser.close();
    let served = elsewhere.wait_event("exchange", 1);
    assert_eq!(
        served["url"],
        format!("https://{CDN}:{}/cdn.js", elsewhere.https.port()),
        "{served:#}"
    );
    let status = server.status();
    let pages = status["refused"]["pages"].as_array().expect("a list");
    let is_listed = |host: &str| pages.iter().any(|line| line["host"] == host);
    assert!(is_listed(STATS) && !is_listed(CDN), "{pages:#?}");
    server.stop();
}

/// Adds another project's CA to the profile, as a person can in the browser's settings.
fn trust_in_profile(person: &Person, other: &Server) {
    let script = "
import base64, hashlib, sqlite3, sys
lines = open(sys.argv[2]).read().splitlines()
der = base64.b64decode(''.join(line for line in lines if '-----' not in line))
database = sqlite3.connect(sys.argv[1])
row = (hashlib.sha256(der).hexdigest(), der, bytes([0x0A, 2, 8, 3]))
database.execute('INSERT INTO certificates VALUES (?, ?, ?)', row)
database.commit()
";
    let database = person.path_of(PROFILE).join("Default/ServerCertificate");
    let done = Command::new(python())
        .args(["-c", script])
        .arg(&database)
        .arg(&other.ca)
        .output();
    let done = done.expect("python starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
