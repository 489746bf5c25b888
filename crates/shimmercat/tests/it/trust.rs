//! Certificates: the project's CA, its leaves as `openssl` sees them, and that nothing else on the machine is touched.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sc_testkit::{Curl, TempProject};

use crate::outside::{outside, succeed, text};
use crate::server::{Server, domains, run, shimmercat, static_site};

/// Every file below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.flatten().map(|entry| entry.path());
    paths
        .flat_map(|path| {
            if path.is_dir() && !path.is_symlink() {
                files_below(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// What `openssl s_client` says about a handshake at the HTTPS port.
fn handshake(server: &Server, options: &[&str]) -> String {
    let to = server.https.to_string();
    let fixed = ["s_client", "-connect", &to, "-CAfile", text(&server.ca), "-showcerts"];
    let arguments: Vec<&str> = fixed.iter().chain(options).copied().collect();
    let done = outside("openssl", &arguments, "");
    format!("{}{}", done.stdout, done.stderr)
}

#[test]
fn the_key_of_the_ca_is_the_users_alone_and_outside_of_the_project() {
    let project = static_site("hello");
    let server = Server::start(&project);
    let home = server.program.home().to_owned();
    let keys: Vec<_> = [&home, project.path()]
        .iter()
        .flat_map(|folder| files_below(folder))
        .filter(|path| fs::read(path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains("PRIVATE KEY")))
        .collect();
    assert_eq!(keys.len(), 1, "one key: {keys:?}");
    let key = &keys[0];
    assert!(
        !key.starts_with(project.path()),
        "{} is in the repository",
        key.display()
    );
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(key), 0o600, "{}", key.display());
    assert_eq!(mode(key.parent().expect("a folder")), 0o700, "{}", key.display());
    let strays: Vec<_> = files_below(&home)
        .into_iter()
        .filter(|path| !path.starts_with(home.join(".local/state")))
        .collect();
    assert_eq!(strays, Vec::<PathBuf>::new(), "nothing else is written into HOME");
    let ignored =
        fs::read_to_string(project.path_of(".shimmercat.loves.devs/.gitignore")).expect("it is kept out of git");
    assert_eq!(ignored.trim(), "*");
}

#[test]
fn a_leaf_is_what_strict_clients_want() {
    let project = domains(&[
        "www.shop.example: { root-dir: site }",
        "'*.tenants.shop.example': { root-dir: site }",
    ]);
    project.file("site/index.html", "hello");
    let server = Server::start(&project);
    for name in ["www.shop.example", "a.tenants.shop.example", "a.b.tenants.shop.example"] {
        let said = handshake(
            &server,
            &["-servername", name, "-verify_hostname", name, "-verify_return_error"],
        );
        assert!(said.contains("Verify return code: 0 (ok)"), "{name}: {said}");
        let pem = said.split("-----END CERTIFICATE-----").next().unwrap_or_default();
        let begin = pem.find("-----BEGIN").expect("a certificate");
        let leaf = TempProject::new();
        leaf.file("leaf.pem", format!("{}-----END CERTIFICATE-----\n", &pem[begin..]));
        let path = leaf.path_of("leaf.pem");
        let verified = succeed(
            "openssl",
            &[
                "verify",
                "-purpose",
                "sslserver",
                "-CAfile",
                text(&server.ca),
                text(&path),
            ],
            "",
        );
        assert!(verified.trim_end().ends_with("OK"), "{verified}");
        let shown = succeed("openssl", &["x509", "-in", text(&path), "-noout", "-text"], "");
        for words in [
            &format!("DNS:{name}"),
            "id-ecPublicKey",
            "ASN1 OID: prime256v1",
            "TLS Web Server Authentication",
            "X509v3 Authority Key Identifier",
        ] {
            assert!(shown.contains(words), "`{words}` is missing in\n{shown}");
        }
        assert!(!shown.contains("CA:TRUE"), "a leaf signs nothing\n{shown}");
        for (seconds, ends) in [("0", false), ("86400", false), ("777600", true)] {
            let checked = outside(
                "openssl",
                &["x509", "-in", text(&path), "-noout", "-checkend", seconds],
                "",
            );
            assert_eq!(
                !checked.status.success(),
                ends,
                "valid for more than a day and less than nine: {seconds}"
            );
        }
    }
}

#[test]
fn the_ca_lives_for_weeks_and_is_used_again() {
    let project = static_site("hello");
    let home = TempProject::new();
    let arguments = ["devlove", "--listen", "127.0.0.1:0", "-5", "127.0.0.1:0"];
    let start = || Server::launch(&project, shimmercat(&project, arguments).env("HOME", home.path()));
    let first = start();
    let (spki, ca) = (first.instance["ca_spki"].clone(), first.ca.clone());
    assert_eq!(first.wait_event("authority_made", 1)["how"], "new");
    first.stop();
    let shown = succeed("openssl", &["x509", "-in", text(&ca), "-noout", "-text"], "");
    for words in ["CA:TRUE", "Certificate Sign", "id-ecPublicKey"] {
        assert!(shown.contains(words), "`{words}` is missing in\n{shown}");
    }
    for (days, ends) in [(60, false), (91, true)] {
        let seconds = (days * 86_400).to_string();
        let checked = outside(
            "openssl",
            &["x509", "-in", text(&ca), "-noout", "-checkend", &seconds],
            "",
        );
        assert_eq!(!checked.status.success(), ends, "in {days} days\n{shown}");
    }
    let second = start();
    assert_eq!(second.instance["ca_spki"], spki, "the same key");
    assert_eq!(
        second
            .curl("https://www.shop.example/")
            .arg("--cacert")
            .arg(&ca)
            .run()
            .status,
        200
    );
    second.wait_event("exchange", 1);
    assert_eq!(
        second.events_named("authority_made"),
        Vec::<serde_json::Value>::new(),
        "nothing new"
    );
}

#[test]
fn versions_and_protocols_are_those_promised() {
    let project = static_site("hello");
    let server = Server::start(&project);
    let name = ["-servername", "www.shop.example"];
    for (options, words) in [
        (
            ["-tls1_2", "-alpn", "h2,http/1.1"],
            ["Protocol  : TLSv1.2", "ALPN protocol: h2"],
        ),
        (["-tls1_3", "-alpn", "h2,http/1.1"], ["TLSv1.3", "ALPN protocol: h2"]),
        (["-tls1_3", "-alpn", "http/1.1"], ["TLSv1.3", "ALPN protocol: http/1.1"]),
    ] {
        let said = handshake(&server, &[&name[..], &options].concat());
        for part in words {
            assert!(said.contains(part), "{options:?}: `{part}` is missing in\n{said}");
        }
        assert!(said.contains("Verify return code: 0 (ok)"), "{options:?}: {said}");
    }
    for old in ["-tls1_1", "-tls1"] {
        let said = handshake(&server, &[&name[..], &[old, "-cipher", "ALL:@SECLEVEL=0"]].concat());
        assert!(
            said.contains("no peer certificate available") && said.contains("alert"),
            "{old}: {said}"
        );
    }
    let none = handshake(&server, &[&name[..], &["-alpn", "spdy/3"]].concat());
    assert!(none.contains("no application protocol"), "RFC 7301 §3.2: {none}");
    let without = handshake(&server, &name);
    assert!(
        without.contains("No ALPN negotiated") && without.contains("(ok)"),
        "{without}"
    );
}

#[test]
fn an_unknown_name_gets_421_and_no_site() {
    let project = static_site("secret page");
    let server = Server::start(&project);
    for to in [server.https, server.proxy] {
        let to = format!("other.example:443:{to}");
        for version in ["--http1.1", "--http2"] {
            let answer = Curl::new("https://other.example/")
                .args(["-k", version, "--connect-to", &to])
                .run();
            assert_eq!((answer.exit, answer.status), (0, 421), "{version}: {answer:?}");
            assert!(!answer.text().contains("secret page"), "{answer:?}");
        }
        let trusting = server
            .direct("https://other.example/")
            .args(["--connect-to", &to])
            .run();
        assert_eq!(
            trusting.exit, 60,
            "no certificate for names that are not ours: {trusting:?}"
        );
    }
    let answer = Curl::new(&format!("https://{}/", server.https)).arg("-k").run();
    assert_eq!(answer.status, 421, "nor by address, without SNI: {answer:?}");
    let html = Curl::new(&format!("https://{}/", server.https))
        .args(["-k", "-H", "Accept: text/html"])
        .run();
    assert!(
        html.text().contains("href=\"https://www.shop.example"),
        "the page lists what is served: {}",
        html.text()
    );
}

#[test]
fn no_trust_store_and_no_system_file_is_touched() {
    let watched: Vec<PathBuf> = [
        "/etc/ssl",
        "/usr/share/ca-certificates",
        "/usr/local/share/ca-certificates",
    ]
    .iter()
    .flat_map(|folder| files_below(Path::new(folder)))
    .chain(["/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf"].map(PathBuf::from))
    .collect();
    assert!(watched.len() > 3, "there is a trust store to watch: {watched:?}");
    let look = || -> BTreeMap<PathBuf, (i64, i64, u64)> {
        let facts = |path: &PathBuf| {
            fs::metadata(path)
                .ok()
                .map(|found| (found.mtime(), found.mtime_nsec(), found.size()))
        };
        watched
            .iter()
            .filter_map(|path| Some((path.clone(), facts(path)?)))
            .collect()
    };
    let before = look();
    let project = static_site("hello");
    let server = Server::start(&project);
    assert_eq!(server.curl("https://www.shop.example/").run().status, 200);
    let untrusting = Curl::new("https://www.shop.example/")
        .args(["--socks5-hostname", &server.proxy.to_string()])
        .run();
    assert_eq!(untrusting.exit, 60, "the machine does not trust the CA: {untrusting:?}");
    assert!(run(&project, ["status"]).status.success());
    server.stop();
    assert_eq!(look(), before);
}
