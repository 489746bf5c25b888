//! `sc-tool run`, `env` and `pac`: other programs inside the little network.
use std::fs;

use serde_json::Value;

use crate::world::{World, data, done};

const BOTH_CASES: [&str; 3] = ["http_proxy", "https_proxy", "all_proxy"];

#[test]
fn env_prints_lines_that_a_shell_reads() {
    let (world, proxy) = World::running();
    let shown = world.run(["env"]);
    assert_eq!((shown.code, shown.stderr.as_str()), (0, ""));
    let address = proxy.address.to_string();
    let mut expected = String::new();
    for name in BOTH_CASES {
        expected += &format!(
            "export {}=http://PROXY\nexport {name}=http://PROXY\n",
            name.to_uppercase()
        );
    }
    expected += "export NO_PROXY=localhost,127.0.0.1,::1\nexport no_proxy=localhost,127.0.0.1,::1\n";
    for name in [
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "GIT_SSL_CAINFO",
        "CARGO_HTTP_CAINFO",
    ] {
        expected += &format!("export {name}=STATE/ca-bundle.pem\n");
    }
    for name in ["AWS_CA_BUNDLE", "PIP_CERT", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"] {
        expected += &format!("export {name}=STATE/ca-bundle.pem\n");
    }
    expected += "export NODE_EXTRA_CA_CERTS=STATE/ca/ca.pem\nexport DENO_CERT=STATE/ca/ca.pem\n";
    expected += "export NODE_USE_ENV_PROXY=1\nexport NODE_OPTIONS=--require=STATE/node-proxy.cjs\n";
    assert_eq!(world.plain(&shown.stdout).replace(&address, "PROXY"), expected);
    let json: Value = serde_json::from_str(&world.run(["env", "--json"]).stdout).expect("one JSON object");
    assert_eq!(json["ALL_PROXY"], format!("http://{address}"));
}

#[test]
fn the_bundle_is_what_was_trusted_before_and_the_ca() {
    let (world, _proxy) = World::running();
    let bundle = world.places().state.join("ca-bundle.pem");
    let read = || fs::read_to_string(&bundle).expect("the bundle");
    let ca = fs::read_to_string(data("ca")).expect("the CA");
    let mut command = world.command();
    command.args(["env"]).env("SSL_CERT_FILE", data("other"));
    assert_eq!(done(command.output()).code, 0);
    assert_eq!(read(), fs::read_to_string(data("other")).expect("a root") + &ca);
    let mut command = world.command();
    command.args(["env"]).env("SSL_CERT_FILE", &bundle);
    assert_eq!(done(command.output()).code, 0);
    assert!(
        read().ends_with(&ca) && read().matches(&ca).count() == 1,
        "inside itself it does not grow"
    );
}

#[test]
fn run_becomes_the_command_and_returns_its_code() {
    let (world, proxy) = World::running();
    let shown = world.run(["run", "--", "sh", "-c", "echo $HTTPS_PROXY; exit 9"]);
    assert_eq!((shown.code, shown.stdout), (9, format!("http://{}\n", proxy.address)));
    let shown = world.run(["run", "sh", "-c", "kill -9 $$"]);
    assert_eq!(shown.code, -1, "it is the command itself that was killed");
    let shown = world.run(["run", "--", "no-such-command"]);
    assert_eq!(shown.code, 127);
    assert!(
        shown.stderr.starts_with("error: cannot start `no-such-command`: "),
        "{}",
        shown.stderr
    );
}

#[test]
fn run_fails_closed_and_has_a_switch() {
    let world = World::new();
    let shown = world.run(["run", "--", "echo", "out"]);
    assert_eq!((shown.code, shown.stdout.as_str()), (1, ""));
    let mut command = world.command();
    command
        .args(["run", "--", "sh", "-c", "echo ${HTTPS_PROXY-plain}"])
        .env("SHIMMERCAT", "0");
    let shown = done(command.output());
    assert_eq!((shown.code, shown.stdout.as_str()), (0, "plain\n"), "{}", shown.stderr);
}

#[test]
fn node_asks_the_proxy_whatever_its_version() {
    let (world, proxy) = World::running();
    sc_testkit::find_program("node");
    let script = "const said = (error) => console.log(String(error.cause ?? error));
        fetch('http://a.example/').then((r) => console.log(r.status), said)
          .then(() => new Promise((done) => require('http').get('http://b.example/', (r) => { console.log(r.statusCode); r.resume(); done(); })
            .on('error', (error) => { said(error); done(); })));";
    let shown = world.run(["run", "--", "node", "-e", script]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    assert!(
        !shown.stdout.contains("ENOTFOUND") && !shown.stdout.contains("EAI_AGAIN"),
        "{}",
        shown.stdout
    );
    let asked = proxy.http_asked().join("\n");
    assert!(
        asked.contains("a.example") && asked.contains("b.example"),
        "{asked}: {} {}",
        shown.stdout,
        shown.stderr
    );
}

#[test]
fn pac_names_the_sites_and_every_dialect() {
    let (world, proxy) = World::running();
    let shown = world.run(["pac"]);
    let address = proxy.address;
    assert_eq!((shown.code, shown.stderr.as_str()), (0, ""));
    assert!(
        shown
            .stdout
            .contains(&format!("\"SOCKS5 {address}; SOCKS {address}; PROXY {address}\""))
    );
    assert!(
        shown.stdout.contains(r#"["www.example.com", "mysql"]"#),
        "{}",
        shown.stdout
    );
    assert!(shown.stdout.contains(r#"[".tenants.example.com"]"#), "{}", shown.stdout);
}
