//! The file as a person lives with it: mistakes, and changes while the server runs.

use std::fs;

use sc_testkit::program::Signal;
use sc_testkit::{HttpApp, Request, TempProject, eventually};

use crate::server::{PATIENCE, Server, domains, domains_yaml, run, static_site};

/// Replaces a file as most editors do: a new one is written beside it and renamed over it.
fn save(project: &TempProject, name: &str, text: &str) {
    project.file(".unsaved~", text);
    fs::rename(project.path_of(".unsaved~"), project.path_of(name)).expect("a file can be renamed");
}

#[test]
fn every_mistake_comes_at_once_with_its_place() {
    let project = TempProject::with_yaml(
        "shimmercat-devlove:\n\
         \x20 domains:\n\
         \x20   www.shop.example:\n\
         \x20     rootdir: site\n\
         \x20   api.shop.example:\n\
         \x20     port: 99999\n\
         \x20   db.shop.example:\n\
         \x20     tcp: { 70000: 127.0.0.1:1 }\n\
         \x20 forwrad: true\n",
    );
    let checked = run(&project, ["check"]);
    let started = run(&project, ["devlove", "--listen", "127.0.0.1:0", "-5", "127.0.0.1:0"]);
    for refused in [&checked, &started] {
        assert_eq!(refused.status.code(), Some(3), "{refused:?}");
        for words in [
            "devlove.yaml:4:7",
            "      rootdir: site",
            "`root-dir`",
            "devlove.yaml:6:13",
            "99999",
            "devlove.yaml:8:14",
            "70000",
            "devlove.yaml:9:3",
            "`forward`",
        ] {
            assert!(
                refused.stderr.contains(words),
                "`{words}` is missing in\n{}",
                refused.stderr
            );
        }
        assert!(refused.stderr.matches("error:").count() >= 4, "{}", refused.stderr);
        assert!(
            refused.stderr.contains('^'),
            "an excerpt has a caret\n{}",
            refused.stderr
        );
        assert!(refused.stdout.is_empty(), "{refused:?}");
    }
    assert!(
        !project.path_of(".shimmercat.loves.devs/instance.json").exists(),
        "nothing was served"
    );
}

#[test]
fn a_syntax_error_and_a_missing_file_are_configuration_errors_too() {
    let project = TempProject::with_yaml("shimmercat-devlove:\n  domains: [unclosed\n");
    let refused = run(&project, ["check"]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(refused.stderr.contains("devlove.yaml:"), "{}", refused.stderr);
    let refused = run(&project, ["check", "--config", "nowhere.yaml"]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(refused.stderr.contains("`nowhere.yaml`"), "{}", refused.stderr);
}

#[test]
fn a_good_change_applies_and_no_connection_notices() {
    let app = HttpApp::start();
    let api = format!("api.shop.example: {{ port: {} }}", app.port());
    let project = domains(&[&api]);
    project.file("site/index.html", "new site");
    let server = Server::start(&project);
    let mut stream = server.http1("api.shop.example");
    stream.send_raw(b"GET /sse?every=20 HTTP/1.1\r\nHost: api.shop.example\r\n\r\n");
    stream.read_until("data: event 0");
    let mut kept = server.http1("api.shop.example");
    assert_eq!(kept.request(&Request::get("api.shop.example", "/before")).status, 200);
    let unknown = server.curl("https://www.shop.example/").run();
    assert_eq!((unknown.exit, unknown.status), (97, 0), "not there yet: {unknown:?}");

    save(
        &project,
        "devlove.yaml",
        &domains_yaml(&[&api, "www.shop.example: { root-dir: site }"]),
    );
    let told = server.wait_event("reloaded", 1);
    assert!(
        told["changes"].to_string().contains("https://www.shop.example"),
        "it says what changed: {told}"
    );
    assert_eq!(server.curl("https://www.shop.example/").run().text(), "new site");
    let seen = server.program.stdout().matches("reloaded").count();
    for number in 0..20 {
        stream.read_until(&format!("data: event {}", 50 + number));
    }
    assert_eq!(
        kept.request(&Request::get("api.shop.example", "/after")).status,
        200,
        "the same connection"
    );
    assert_eq!(seen, 1, "one change, one line");
}

#[test]
fn a_bad_change_changes_nothing_and_its_repair_applies() {
    let project = static_site("stays");
    project.file("other/index.html", "repaired");
    let server = Server::start(&project);
    let mut kept = server.http1("www.shop.example");
    let ask = Request::get("www.shop.example", "/");
    assert_eq!(kept.request(&ask).text(), "<h1>stays</h1>\n");

    save(
        &project,
        "devlove.yaml",
        &domains_yaml(&["www.shop.example: { root-dri: other }", "x: ["]),
    );
    let told = server.wait_event("reload_refused", 1);
    assert!(
        told["mistakes"].to_string().contains("devlove.yaml:"),
        "it says what is wrong and where: {told}"
    );
    assert_eq!(kept.request(&ask).text(), "<h1>stays</h1>\n");
    assert_eq!(
        server.curl("https://www.shop.example/").run().text(),
        "<h1>stays</h1>\n"
    );

    save(
        &project,
        "devlove.yaml",
        &domains_yaml(&["www.shop.example: { root-dir: other }"]),
    );
    server.wait_event("reloaded", 1);
    assert_eq!(
        kept.request(&ask).text(),
        "repaired",
        "the next exchange of an old connection sees it"
    );
    assert_eq!(server.curl("https://www.shop.example/").run().text(), "repaired");
}

#[test]
fn the_local_file_is_watched_before_it_exists() {
    let project = static_site("committed");
    project.file("mine/index.html", "mine");
    let server = Server::start(&project);
    assert_eq!(
        server.curl("https://www.shop.example/").run().text(),
        "<h1>committed</h1>\n"
    );
    project.file(
        "devlove.local.yaml",
        domains_yaml(&["www.shop.example: { root-dir: mine }"]),
    );
    server.wait_event("reloaded", 1);
    assert_eq!(server.curl("https://www.shop.example/").run().text(), "mine");
    fs::remove_file(project.path_of("devlove.local.yaml")).expect("it can be removed");
    server.wait_event("reloaded", 2);
    assert_eq!(
        server.curl("https://www.shop.example/").run().text(),
        "<h1>committed</h1>\n"
    );
}

#[test]
fn a_first_file_takes_the_place_of_the_guess() {
    let project = TempProject::new();
    project.file("public/index.html", "the page");
    let server = Server::start(&project);
    project.file(
        "devlove.yaml",
        domains_yaml(&["www.first.example: { root-dir: public }"]),
    );
    let told = eventually("the new file applies, or is said to need a restart", PATIENCE, || {
        let events = server.events();
        let names = ["reloaded", "restart_needed"].map(serde_json::Value::from);
        events
            .iter()
            .find(|event| names.contains(&event["event"]))
            .cloned()
            .ok_or(server.program.stdout())
    });
    assert_eq!(told["event"], "reloaded", "{told}");
    assert_eq!(server.curl("https://www.first.example/").run().text(), "the page");
}

#[test]
fn the_local_file_is_watched_after_a_start_without_a_file() {
    let project = TempProject::new();
    project.file("public/index.html", "guessed");
    project.file("mine/index.html", "mine");
    let server = Server::start(&project);
    let first = domains_yaml(&["www.first.example: { root-dir: public }"]);
    save(&project, "devlove.yaml", &first);
    server.wait_event("reloaded", 1);
    project.file(
        "devlove.local.yaml",
        domains_yaml(&["www.mine.example: { root-dir: mine }"]),
    );
    server.wait_event("reloaded", 2);
    assert_eq!(server.curl("https://www.mine.example/").run().text(), "mine");
}

#[test]
fn log_codes_that_no_event_has_are_a_mistake_of_the_file() {
    let project = static_site("codes");
    let server = Server::start(&project);
    let text = fs::read_to_string(project.path_of("devlove.yaml")).expect("the file");
    save(&project, "devlove.yaml", &format!("{text}  log-codes: M99999\n"));
    let told = server.wait_event("reload_refused", 1);
    assert!(told["mistakes"].to_string().contains("M99999"), "{told}");
    for command in ["check", "reload", "devlove"] {
        let refused = run(&project, [command]);
        assert_eq!(refused.status.code(), Some(3), "{command}: {refused:?}");
        for words in ["`log-codes` in the file", "M99999", "hint: "] {
            assert!(refused.stderr.contains(words), "{command}: {refused:?}");
        }
    }
    let typed = run(&static_site("typed"), ["devlove", "--log-codes", "M99999"]);
    assert_eq!(typed.status.code(), Some(2), "{typed:?}");
}

#[test]
fn the_command_line_can_say_auto_over_the_file() {
    let project = static_site("auto");
    let text = fs::read_to_string(project.path_of("devlove.yaml")).expect("the file");
    project.file("devlove.yaml", format!("{text}  log-format: pretty\n"));
    let server = Server::start_with(&project, &["--log-format", "auto"]);
    save(
        &project,
        "devlove.yaml",
        &format!("{text}    b.shop.example: {{ root-dir: site }}\n  log-format: pretty\n"),
    );
    // Events are read as JSON, which `auto` gives where stdout is no terminal.
    server.wait_event("reloaded", 1);
    assert!(server.events_named("restart_needed").is_empty());
}

#[test]
fn reload_and_sighup_give_their_verdict() {
    let project = static_site("asked");
    let server = Server::start(&project);
    let same = run(&project, ["reload"]);
    assert_eq!(
        (same.status.code(), same.stdout.trim()),
        (Some(0), "nothing changed"),
        "{same:?}"
    );

    save(
        &project,
        "devlove.yaml",
        "shimmercat-devlove: { domains: { www.shop.example: { rot-dir: site } } }\n",
    );
    server.wait_event("reload_refused", 1);
    let bad = run(&project, ["reload"]);
    assert_eq!(bad.status.code(), Some(3), "{bad:?}");
    assert!(
        bad.stderr.contains("devlove.yaml:1:") && bad.stderr.contains("`root-dir`"),
        "{bad:?}"
    );
    let bad = run(&project, ["reload", "--json"]);
    assert_eq!(bad.status.code(), Some(3), "{bad:?}");
    let verdict: serde_json::Value = serde_json::from_str(&bad.stdout).expect("one JSON object");
    assert_eq!(verdict["mistakes"].as_array().map(Vec::len), Some(1), "{verdict}");
    server.wait_event("reload_refused", 3);
    server.program.signal(Signal::HUP);
    server.wait_event("reload_refused", 4);

    let more = domains_yaml(&[
        "www.shop.example: { root-dir: site }",
        "b.shop.example: { root-dir: site }",
    ]);
    save(&project, "devlove.yaml", &more);
    server.program.signal(Signal::HUP);
    server.wait_event("reloaded", 1);
    let answer = run(&project, ["reload"]);
    assert_eq!(
        (answer.status.code(), answer.stdout.trim()),
        (Some(0), "nothing changed"),
        "{answer:?}"
    );
    assert_eq!(server.curl("https://b.shop.example/").run().text(), "<h1>asked</h1>\n");
}

#[test]
fn what_needs_a_restart_is_said() {
    let project = static_site("ports");
    let server = Server::start(&project);
    let text = fs::read_to_string(project.path_of("devlove.yaml")).expect("the file");
    save(&project, "devlove.yaml", &format!("{text}  sim-latency: 200ms\n"));
    let told = server.wait_event("restart_needed", 1);
    assert!(told["setting"].to_string().contains("sim-latency"), "{told}");
    assert_eq!(server.curl("https://www.shop.example/").run().status, 200);
}
