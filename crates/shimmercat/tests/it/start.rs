//! How a run begins and ends: the start block, ports, locks, discovery, signals, the log.

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use sc_testkit::program::Signal;
use sc_testkit::{Curl, TempProject, binary, eventually, find_program, socks5};
use serde_json::Value;

use crate::server::{PATIENCE, Server, domains, run, shimmercat, static_site};

#[test]
fn the_start_block_says_what_is_served_and_how_to_go_on() {
    let [port] = sc_testkit::free_ports();
    let project = domains(&[
        "www.shop.example:",
        "  root-dir: site",
        &format!("  consultant: {{ connect-to: 127.0.0.1:{port} }}"),
        &format!("api.shop.example: {{ port: {port} }}"),
        "mysql:",
        "  tcp: { 3306: 127.0.0.1:33060 }",
    ]);
    project.file("site/index.html", "hello");
    let server = Server::start(&project);
    let block = server.program.stderr();
    for words in [
        "shimmercat devlove ",
        "devlove.yaml",
        "https://www.shop.example  -> site, then 127.0.0.1:",
        "(not up yet)",
        "https://api.shop.example  -> localhost:",
        "tcp mysql:3306",
        "-> 127.0.0.1:33060",
        &format!("https    {}", server.https),
        &format!("network  {} (SOCKS5, SOCKS4a, HTTP, PAC)", server.proxy),
        "Internet blocked (-w",
        "next: sc-tool chrome https://www.shop.example/",
    ] {
        assert!(block.contains(words), "`{words}` is missing in\n{block}");
    }
    assert!(!block.contains("shimmercat init"), "there is a file already\n{block}");
    assert!(!block.contains('\x1b'), "colour without a terminal\n{block}");
}

#[test]
fn without_a_file_the_folder_is_served_under_a_guessed_name() {
    for root in ["public", "site", "dist", "."] {
        let project = TempProject::new();
        project.file(&format!("{root}/index.html"), format!("page of {root}"));
        let server = Server::start(&project);
        let block = server.program.stderr();
        assert!(block.contains("no devlove.yaml here"), "{block}");
        assert!(block.contains("next: shimmercat init"), "{block}");
        let name = server.status()["sites"][0]["name"]
            .as_str()
            .expect("one site")
            .to_owned();
        assert!(
            name.ends_with(".test"),
            "`{name}` could exist elsewhere (RFC 6761 §6.2)"
        );
        let answer = server.curl(&format!("https://{name}/")).run();
        assert_eq!(
            (answer.status, answer.text()),
            (200, format!("page of {root}")),
            "{block}"
        );
    }
}

#[test]
fn status_and_reload_find_the_instance_of_a_named_file() {
    let project = TempProject::new();
    project.file(
        "sub/devlove.yaml",
        crate::server::domains_yaml(&["www.shop.example: { root-dir: site }"]),
    );
    project.file("sub/site/index.html", "below");
    project.file("sub/empty/keep", "");
    let file = ["--config", "sub/devlove.yaml"];
    let ports = ["devlove", "--listen", "127.0.0.1:0", "-5", "127.0.0.1:0"];
    let mut program = shimmercat(&project, ports.into_iter().chain(file)).start();
    program.wait_for_text("next: sc-tool chrome", PATIENCE);
    let server = Server::of(program, &project, "sub/.shimmercat.loves.devs");
    for command in ["status", "reload"] {
        let lost = run(&project, [command]);
        assert_eq!(lost.status.code(), Some(1), "{command}: {lost:?}");
        for config in ["sub/devlove.yaml", "sub", "sub/empty/../devlove.yaml"] {
            let answer = run(&project, [command, "--config", config]);
            assert_eq!(answer.status.code(), Some(0), "{command} {config}: {answer:?}");
        }
        let missing = run(&project, [command, "--config", "sub/nowhere.yaml"]);
        assert_eq!(missing.status.code(), Some(3), "{command}: {missing:?}");
    }
    server.stop();
}

#[test]
fn init_writes_a_file_that_check_accepts_and_that_is_served() {
    let project = TempProject::new();
    project.file("public/index.html", "from init");
    let written = run(&project, ["init"]);
    assert!(written.status.success(), "{written:?}");
    let checked = run(&project, ["check"]);
    assert!(checked.status.success(), "{checked:?}");
    assert!(checked.stdout.contains("1 domain, no mistakes"), "{checked:?}");
    let before = fs::read(project.path_of("devlove.yaml")).expect("the file is there");
    let again = run(&project, ["init"]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    assert_eq!(
        fs::read(project.path_of("devlove.yaml")).expect("the file is there"),
        before,
        "never touched"
    );
    let server = Server::start(&project);
    let name = server.status()["sites"][0]["name"]
        .as_str()
        .expect("one site")
        .to_owned();
    assert_eq!(server.curl(&format!("https://{name}/")).run().text(), "from init");
}

#[test]
fn two_folders_are_two_universes() {
    let (left, right) = (static_site("left"), static_site("right"));
    let home = TempProject::new();
    let launch = |project: &TempProject| shimmercat(project, ["devlove"]).env("HOME", home.path());
    let one = Server::launch(&left, launch(&left));
    let two = Server::launch(&right, launch(&right));
    assert!(one.https != two.https && one.proxy != two.proxy, "ports are their own");
    let said = [one.program.stderr(), two.program.stderr()].concat();
    assert!(
        said.contains("a default port was taken"),
        "at most one of the two has both default ports\n{said}"
    );
    for (server, words) in [(&one, "left"), (&two, "right")] {
        let answer = server.curl("https://www.shop.example/").run();
        assert_eq!(
            (answer.status, answer.text()),
            (200, format!("<h1>{words}</h1>\n")),
            "{answer:?}"
        );
    }
    let crossed = Curl::new("https://www.shop.example/").arg("--cacert").arg(&one.ca);
    let crossed = crossed.args(["--socks5-hostname", &two.proxy.to_string()]).run();
    assert_eq!(crossed.exit, 60, "each has a CA of its own: {crossed:?}");
    for what in ["control", "ca_pem", "ca_spki", "folder"] {
        assert_ne!(one.instance[what], two.instance[what], "{what} is shared");
    }
    assert_eq!(
        one.status()["exchanges"],
        1,
        "what the other served is not counted here"
    );
    one.stop();
    assert_eq!(
        two.curl("https://www.shop.example/").run().status,
        200,
        "the other does not notice"
    );
}

#[test]
fn a_port_that_was_asked_for_and_is_taken_names_its_holder() {
    let project = static_site("never");
    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = held.local_addr().expect("an address").to_string();
    let command = fs::read_to_string("/proc/self/comm").expect("the kernel names us");
    for options in [
        ["--listen", &address, "-5", "127.0.0.1:0"],
        ["--listen", "127.0.0.1:0", "-5", &address],
    ] {
        let refused = run(&project, ["devlove"].into_iter().chain(options));
        assert_eq!(refused.status.code(), Some(5), "{refused:?}");
        let holder = format!("pid {} ({})", std::process::id(), command.trim());
        assert!(
            refused.stderr.contains(&holder),
            "`{holder}` is not named\n{}",
            refused.stderr
        );
        assert!(refused.stderr.contains("hint: "), "{}", refused.stderr);
        assert!(
            !project.path_of(".shimmercat.loves.devs/instance.json").exists(),
            "nothing runs"
        );
    }
}

#[test]
fn a_folder_has_one_instance_unless_the_scratch_folder_has_another_name() {
    let project = static_site("only");
    let server = Server::start(&project);
    let refused = run(&project, ["devlove", "--listen", "127.0.0.1:0", "-5", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), Some(5), "{refused:?}");
    let holder = format!("pid {}", server.program.pid());
    assert!(
        refused.stderr.contains(&holder),
        "`{holder}` is not named\n{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("--scratch-dir-name"), "{}", refused.stderr);
    let arguments = [
        "devlove",
        "--listen",
        "127.0.0.1:0",
        "-5",
        "127.0.0.1:0",
        "--scratch-dir-name",
        ".second",
    ];
    let mut program = shimmercat(&project, arguments).start();
    program.wait_for_text("next: sc-tool chrome", PATIENCE);
    let second = Server::of(program, &project, ".second");
    assert_eq!(second.curl("https://www.shop.example/").run().status, 200);
    assert_eq!(server.curl("https://www.shop.example/").run().status, 200);
}

#[test]
fn a_lock_of_a_killed_instance_is_no_obstacle() {
    let project = static_site("again");
    let mut server = Server::start(&project);
    server.program.signal(Signal::KILL);
    server.program.wait_exit(PATIENCE);
    let asked = run(&project, ["status"]);
    assert_eq!(asked.status.code(), Some(1), "a dead instance is not found: {asked:?}");
    let next = Server::start(&project);
    assert_eq!(next.curl("https://www.shop.example/").run().status, 200);
}

#[test]
fn ctrl_c_and_sigterm_end_it_with_the_ledger_and_without_traces() {
    for signal in [Signal::INT, Signal::TERM] {
        let project = static_site("short");
        let mut server = Server::start(&project);
        for _ in 0..3 {
            assert_eq!(socks5(server.proxy, "stats.example.net", 443).reply, 2);
        }
        let control = server.instance["control"].as_str().expect("a path").to_owned();
        assert!(
            fs::exists(&control).expect("a path"),
            "the control socket is there while it runs"
        );
        server.program.signal(signal);
        let status = server.program.wait_exit(PATIENCE);
        let said = server.program.stderr();
        assert_eq!(status.code(), Some(0), "{signal:?}: {said}");
        assert!(said.contains("refused 1 host:"), "{said}");
        assert!(
            said.lines()
                .any(|line| line.trim_start().starts_with("3x  stats.example.net")),
            "{said}"
        );
        assert!(
            said.contains("hint: let a host through with `-w stats.example.net`"),
            "{said}"
        );
        assert!(
            !project.path_of(".shimmercat.loves.devs/instance.json").exists(),
            "instance.json stays"
        );
        assert!(!fs::exists(&control).expect("a path"), "the control socket stays");
        for address in [server.https, server.proxy] {
            TcpListener::bind(address).unwrap_or_else(|error| panic!("{address} is still held: {error}"));
        }
    }
}

#[test]
fn a_stop_lets_an_open_exchange_finish_but_does_not_wait_for_ever() {
    let app = sc_testkit::HttpApp::start();
    let project = domains(&[&format!("www.shop.example: {{ port: {} }}", app.port())]);
    let mut server = Server::start(&project);
    let mut slow = server.http1("www.shop.example");
    slow.send_raw(b"GET /slow?ms=400 HTTP/1.1\r\nHost: www.shop.example\r\n\r\n");
    let mut endless = server.http1("www.shop.example");
    endless.send_raw(b"GET /sse?every=20 HTTP/1.1\r\nHost: www.shop.example\r\n\r\n");
    endless.read_until("event 1");
    eventually("both requests are at the application", PATIENCE, || {
        match app.requests() {
            2 => Ok(()),
            seen => Err(seen),
        }
    });
    server.program.signal(Signal::INT);
    assert_eq!(
        slow.read_response("GET").map(|response| response.status),
        Some(200),
        "it was under way"
    );
    assert_eq!(server.program.wait_exit(Duration::from_secs(10)).code(), Some(0));
    let told = server.wait_event("stopping", 1);
    assert_eq!(told["connections"], 2, "it says how many were open");
}

#[test]
fn the_file_is_found_from_below_up_to_the_root_of_the_repository() {
    let outer = static_site("outer");
    outer.file("repository/.git/HEAD", "ref: refs/heads/main\n");
    outer.file("repository/inner/deep/x", "");
    let in_folder = |folder: &str| {
        [
            "check".to_owned(),
            "-C".to_owned(),
            outer.path_of(folder).display().to_string(),
        ]
    };
    let arguments = in_folder("repository/inner/deep");
    let found = run(&outer, arguments.iter().map(String::as_str));
    assert!(
        found.stdout.contains("no devlove.yaml here"),
        "the search ends at the repository's root: {found:?}"
    );
    outer.file(
        "repository/devlove.yaml",
        "shimmercat-devlove:\n  domains:\n    a.example: { port: 1 }\n",
    );
    let found = run(&outer, arguments.iter().map(String::as_str));
    assert!(found.stdout.starts_with("../../devlove.yaml: 1 domain"), "{found:?}");
    let mut server = shimmercat(&outer, ["devlove", "--listen", "127.0.0.1:0", "-5", "127.0.0.1:0"])
        .current_dir(outer.path_of("repository/inner/deep"))
        .start();
    let first = server.wait_for_text("shimmercat devlove ", PATIENCE);
    assert!(first.text.ends_with("../../devlove.yaml"), "{}", first.text);
    server.wait_for_text("next: sc-tool chrome", PATIENCE);
    assert!(
        outer
            .path_of("repository/.shimmercat.loves.devs/instance.json")
            .exists(),
        "scratch is beside the file"
    );
    let status = run(
        &outer,
        ["status", "-C", &outer.path_of("repository/inner").display().to_string()],
    );
    assert!(
        status.stdout.contains("https://a.example/"),
        "found from below too: {status:?}"
    );
    let no_repository = static_site("parent");
    no_repository.file("below/x", "");
    let found = run(
        &no_repository,
        ["check", "-C", &no_repository.path_of("below").display().to_string()],
    );
    assert!(
        found.stdout.contains("no devlove.yaml here"),
        "no repository, no search: {found:?}"
    );
}

#[test]
fn the_local_file_overrides() {
    let project = static_site("committed");
    project.file("local/index.html", "on this machine");
    project.file(
        "devlove.local.yaml",
        "shimmercat-devlove:\n  domains:\n    www.shop.example: { root-dir: local }\n    more.shop.example: { root-dir: local }\n",
    );
    let server = Server::start(&project);
    for name in ["www", "more"] {
        let answer = server.curl(&format!("https://{name}.shop.example/")).run();
        assert_eq!(answer.text(), "on this machine", "{answer:?}");
    }
}

#[test]
fn status_tells_everything() {
    let project = domains(&[
        "www.shop.example: { root-dir: site }",
        "admin: { port: 1, audience: network }",
        "db: { tcp: { 5432: 127.0.0.1:1 } }",
    ]);
    project.file("site/index.html", "hello");
    let server = Server::start_with(&project, &["-w", "fonts.example.net"]);
    server.curl("https://www.shop.example/?page=1").run();
    socks5(server.proxy, "stats.example.net", 443);
    socks5(server.proxy, "update.googleapis.com", 443);
    let answer = run(&project, ["status", "--json"]);
    assert!(answer.status.success(), "{answer:?}");
    let status: Value = serde_json::from_str(&answer.stdout).expect("one JSON object");
    let config = project.path_of("devlove.yaml").display().to_string();
    for (pointer, expected) in [
        ("/mode", Value::from("devlove")),
        ("/pid", server.program.pid().into()),
        ("/folder", project.path().display().to_string().into()),
        ("/config", config.into()),
        ("/https/0", server.https.to_string().into()),
        ("/proxy", server.proxy.to_string().into()),
        ("/forward/0", "fonts.example.net".into()),
        ("/sites/0/name", "www.shop.example".into()),
        ("/sites/0/url", "https://www.shop.example/".into()),
        (
            "/sites/0/root_dir",
            project.path_of("site").display().to_string().into(),
        ),
        ("/sites/0/audience", "public".into()),
        ("/sites/1/audience", "network".into()),
        ("/sites/1/connect_to/0", "localhost:1".into()),
        ("/ports/0/name", "db".into()),
        ("/ports/0/transport", "tcp".into()),
        ("/ports/0/port", 5432.into()),
        ("/ports/0/to", "127.0.0.1:1".into()),
        ("/refused/pages/0/host", "stats.example.net".into()),
        ("/refused/pages/0/count", 1.into()),
        ("/refused/browser/0/host", "update.googleapis.com".into()),
        ("/exchanges", 1.into()),
        ("/errors", 0.into()),
        ("/recent/0/url", "https://www.shop.example/?page=1".into()),
        ("/recent/0/status", 200.into()),
        ("/recent/0/entry", "socks5".into()),
    ] {
        assert_eq!(status.pointer(pointer), Some(&expected), "{pointer} of {status:#}");
    }
    for pointer in [
        "/version",
        "/started_unix",
        "/control",
        "/ca/pem",
        "/ca/spki_sha256",
        "/ca/not_after",
    ] {
        assert!(
            status.pointer(pointer).is_some_and(|value| !value.is_null()),
            "{pointer} of {status:#}"
        );
    }
    let words = run(&project, ["status"]).stdout;
    for part in [
        "https://www.shop.example/",
        "tcp",
        "db:5432",
        "stats.example.net x1",
        "1 exchanges",
    ] {
        assert!(words.contains(part), "`{part}` is missing in\n{words}");
    }
}

#[test]
fn log_lines_are_json_with_documented_codes() {
    let app = sc_testkit::HttpApp::start();
    let project = domains(&[&format!("www.shop.example: {{ port: {} }}", app.port())]);
    let server = Server::start_with(&project, &["--log-codes", "all"]);
    server.curl("https://www.shop.example/a%20b?c").run();
    socks5(server.proxy, "stats.example.net", 443);
    let record = server.wait_event("exchange", 1);
    for (name, expected) in [
        ("method", Value::from("GET")),
        ("url", "https://www.shop.example/a%20b?c".into()),
        ("status", 200.into()),
        ("entry", "socks5".into()),
        ("site", "www.shop.example".into()),
        ("upstream", format!("localhost:{}", app.port()).into()),
        ("end", "complete".into()),
    ] {
        assert_eq!(record[name], expected, "{name} of {record:#}");
    }
    let documented =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/logs.md")).expect("docs/logs.md");
    for event in server.events() {
        let code = event["code"].as_str().unwrap_or_default();
        let name = event["event"].as_str().unwrap_or_default();
        assert!(
            documented.contains(code) && code.starts_with('M') && code.len() == 6,
            "{event}"
        );
        assert!(documented.contains(name) && !name.is_empty(), "{event}");
        let severity = event["severity"].as_str().unwrap_or_default();
        assert!(["debug", "info", "attention", "error"].contains(&severity), "{event}");
        let time = event["time"].as_str().unwrap_or_default();
        assert!(
            time.len() >= 20 && time.ends_with('Z') && time.as_bytes()[10] == b'T',
            "RFC 3339 in UTC: {event}"
        );
    }
}

#[test]
fn log_codes_choose_what_is_logged() {
    for (expression, wanted, unwanted) in [
        (
            "empty",
            &[][..],
            &["listening", "refused", "exchange", "connection_opened"][..],
        ),
        ("all", &["listening", "refused", "exchange", "connection_opened"], &[]),
        ("default", &["listening", "refused", "exchange"], &["connection_opened"]),
        (r"default\M30201", &["listening", "refused"], &["exchange"]),
        (
            r"all\connection",
            &["listening", "exchange"],
            &["refused", "connection_opened"],
        ),
        (
            "M40101+M30201",
            &["refused", "exchange"],
            &["listening", "connection_opened"],
        ),
    ] {
        let project = static_site("logged");
        let mut server = Server::start_with(&project, &["--log-codes", expression]);
        server.curl("https://www.shop.example/").run();
        socks5(server.proxy, "stats.example.net", 443);
        server.program.signal(Signal::INT);
        server.program.wait_exit(PATIENCE);
        let names: Vec<_> = server
            .events()
            .iter()
            .map(|event| event["event"].to_string().replace('"', ""))
            .collect();
        for name in wanted {
            assert!(
                names.iter().any(|seen| seen == name),
                "{expression}: no {name} in {names:?}"
            );
        }
        for name in unwanted {
            assert!(
                !names.iter().any(|seen| seen == name),
                "{expression}: {name} in {names:?}"
            );
        }
    }
}

#[test]
fn a_terminal_gets_short_lines_in_colour_unless_it_says_no() {
    for (variable, is_coloured) in [("SOMETHING", true), ("NO_COLOR", false)] {
        let project = static_site("seen");
        let program = binary("shimmercat");
        let command = format!("{} devlove --listen 127.0.0.1:0 -5 127.0.0.1:0", program.display());
        let mut terminal = sc_testkit::Launch::new(find_program("script"))
            .args(["-qec", &command, "/dev/null"])
            .env("TERM", "xterm")
            .env(variable, "1")
            .current_dir(project.path())
            .start();
        terminal.wait_for_text("next: sc-tool chrome", PATIENCE);
        let pid = running_pid(&project);
        let server = Server::of(terminal, &project, ".shimmercat.loves.devs");
        server.curl("https://www.shop.example/index.html").run();
        server.curl("https://www.shop.example/nothing").run();
        let mut terminal = server.program;
        let found = terminal
            .wait_for_text("GET https://www.shop.example/index.html", PATIENCE)
            .text;
        let missed = terminal
            .wait_for_text("GET https://www.shop.example/nothing", PATIENCE)
            .text;
        let (green, yellow, plain) = if is_coloured {
            ("\x1b[32m", "\x1b[33m", "\x1b[0m")
        } else {
            ("", "", "")
        };
        assert!(
            found.starts_with(&format!("{green}200{plain} GET https://www.shop.example/index.html ")),
            "{found:?}"
        );
        assert!(
            missed.starts_with(&format!("{yellow}404{plain} GET https://www.shop.example/nothing ")),
            "{missed:?}"
        );
        assert!(
            is_coloured || !terminal.stdout().contains('\x1b'),
            "{}",
            terminal.stdout()
        );
        let asked = Command::new(find_program("kill"))
            .args(["-INT", &pid])
            .status()
            .expect("kill runs");
        assert!(asked.success());
        assert_eq!(terminal.wait_exit(PATIENCE).code(), Some(0), "{}", terminal.stdout());
    }
}

fn running_pid(project: &TempProject) -> String {
    let text = fs::read_to_string(project.path_of(".shimmercat.loves.devs/instance.json")).expect("instance.json");
    let instance: Value = serde_json::from_str(&text).expect("JSON");
    instance["pid"].to_string()
}
