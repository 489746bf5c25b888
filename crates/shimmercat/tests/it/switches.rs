//! What a change of the file, or a switch in it, may not open: the proxy's users, its Internet access, its names.

use std::fs;

use sc_testkit::{Curl, TempProject, client};

use crate::server::{Server, domains_yaml, run, shimmercat, static_site};

fn site_with(settings: &str) -> TempProject {
    let text = domains_yaml(&["www.shop.example: { root-dir: site }"]);
    let project = TempProject::with_yaml(&format!("{text}{settings}"));
    project.file("site/index.html", "hello");
    project
}

#[test]
fn users_guard_tls_by_name_too() {
    let project = site_with("  socks-users: { ada: correct-horse }\n");
    let server = Server::start(&project);
    let by_name = server
        .direct("https://www.shop.example/")
        .args(["--connect-to", &format!("::{}", server.proxy)])
        .run();
    assert_ne!(by_name.exit, 0, "{by_name:?}");
    let event = server.wait_event("unauthorised", 1);
    assert_eq!(event["reason"], "TLS by name carries no credentials");
}

#[test]
fn the_proxy_can_be_switched_off() {
    let project = site_with("  socks-5: false\n");
    let mut program = shimmercat(&project, ["devlove", "--listen", "127.0.0.1:0"]).start();
    program.wait_for_text("network  off", std::time::Duration::from_secs(20));
    let told = fs::read_to_string(project.path_of(".shimmercat.loves.devs/instance.json")).expect("it tells of itself");
    let told: serde_json::Value = serde_json::from_str(&told).expect("instance.json is JSON");
    assert!(told["socks"].is_null(), "{told}");
    assert!(
        !program.stdout().contains("\"listener\":\"proxy\""),
        "{}",
        program.stdout()
    );
}

#[test]
fn a_reload_opens_no_relay_for_others() {
    let project = site_with("  socks-allow: [127.0.0.0/8]\n  forward: [one.example]\n");
    let server = Server::launch(
        &project,
        shimmercat(&project, ["devlove", "--listen", "127.0.0.1:0", "-5", "0.0.0.0:0"]),
    );
    let text = fs::read_to_string(project.path_of("devlove.yaml")).expect("the file");
    project.file("devlove.yaml", text.replace("[one.example]", "true"));
    let refused = server.wait_event("reload_refused", 1);
    assert!(refused.to_string().contains("Internet access"), "{refused}");
    assert_ne!(server.status()["forward"], true);
}

#[test]
fn pages_of_the_port_cannot_be_used_by_other_origins() {
    let project = static_site("hello");
    let server = Server::start(&project);
    for path in ["", "proxy.pac"] {
        let answer = Curl::new(&format!("http://{}/{path}", server.proxy)).run();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(
            answer.header("cross-origin-resource-policy"),
            Some("same-origin"),
            "{path}"
        );
    }
    let project = static_site("hello");
    let arguments = ["devlove", "--listen", "127.0.0.1:0", "-5", "127.0.0.5:0"];
    let elsewhere = Server::launch(&project, shimmercat(&project, arguments));
    assert_eq!(
        Curl::new(&format!("http://{}/proxy.pac", elsewhere.proxy)).run().status,
        200
    );
}

#[test]
fn a_refusal_page_says_what_would_help() {
    let text = domains_yaml(&[
        "www.shop.example: { root-dir: site }",
        "db: { tcp: { 3306: 127.0.0.1:1 } }",
    ]);
    let project = TempProject::with_yaml(&text);
    project.file("site/index.html", "hello");
    let ask = |server: &Server, url: &str, status: u16, words: &str| {
        let answer = Curl::new(url)
            .args(["--proxy", &format!("http://{}", server.proxy)])
            .run();
        let body = answer.text();
        assert_eq!(answer.status, status, "{url}: {body}");
        assert!(body.contains(words), "{url} does not say {words:?}: {body}");
        assert!(!body.contains("Did you mean"), "{url}: {body}");
    };
    let server = Server::start(&project);
    ask(&server, "http://other.example/", 403, "-w other.example");
    ask(&server, "http://www.shop.example:8080/", 502, "ports 443 and 80");
    ask(&server, "http://db:80/", 502, "db:3306");
    ask(&server, "http://db:3306/", 502, "cannot connect");
    server.stop();
    let server = Server::start_with(&project, &["-w"]);
    ask(&server, "http://127.0.0.1:9/", 403, "allow-private");
}

#[test]
fn a_reload_tells_other_programs_the_new_names() {
    let project = static_site("hello");
    let server = Server::start(&project);
    let text = fs::read_to_string(project.path_of("devlove.yaml")).expect("the file");
    project.file("devlove.yaml", text.replace("www.shop.example", "www.other.example"));
    server.wait_event("reloaded", 1);
    let told = fs::read_to_string(project.path_of(".shimmercat.loves.devs/instance.json")).expect("it tells of itself");
    assert!(
        told.contains("www.other.example") && !told.contains("www.shop.example"),
        "{told}"
    );
}

#[test]
fn applications_that_are_silent_do_not_hold_up_the_start() {
    let silent: Vec<_> = (0..8)
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"))
        .collect();
    let names: Vec<_> = silent
        .iter()
        .enumerate()
        .map(|(number, listener)| {
            let port = listener.local_addr().expect("its address").port();
            format!("app{number}.shop.example: {{ port: {port} }}")
        })
        .collect();
    let lines: Vec<_> = names.iter().map(String::as_str).collect();
    let project = TempProject::with_yaml(&domains_yaml(&lines));
    let server = Server::start(&project);
    assert!(client::tcp(server.proxy).peer_addr().is_ok());
    assert!(!run(&project, ["check"]).stdout.contains("error"));
}
