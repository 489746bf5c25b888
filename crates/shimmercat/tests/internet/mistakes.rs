//! What a newcomer does wrong, and what `shimmercat internet` says to it: what, where, why, what to try; and the exit code.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use sc_testkit::program::Launch;
use sc_testkit::{TempProject, TestCa};

use crate::kit::{PATIENCE, SITE, Shop};

/// Asserts how a start ends and everything that it says, with places that differ from run to run made equal; the snapshot
/// is named after the mistake.
#[track_caller]
fn check(mistake: &str, shop: &Shop, launch: Launch, code: i32) {
    let done = launch.run(PATIENCE);
    let project = shop.project.path().to_str().expect("a path of letters");
    let said = done.stderr.replace(project, "PROJECT");
    assert_eq!(done.stdout, "", "{mistake}: nothing was served, so nothing is logged");
    assert_eq!(done.status.code(), Some(code), "{mistake}: {said}");
    let name = format!("tests/snapshots/mistakes/{}.txt", mistake.replace(' ', "-"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let found = format!("{said}exit code {code}\n");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("the folder can be made");
        fs::write(&path, &found).expect("the snapshot can be written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let path = path.display();
    assert_eq!(
        found, expected,
        "{path} differs; run with UPDATE_EXPECT=1 and look at the change"
    );
}

/// `internet` at a free port without any certificate on the command line.
fn bare(shop: &Shop, options: &[&str]) -> Launch {
    shop.shimmercat(["internet", "--listen", "127.0.0.1:0"]).args(options)
}

#[test]
fn without_a_file() {
    let shop = Shop::new();
    fs::remove_file(shop.project.path_of("devlove.yaml")).expect("the file is there");
    check("no devlove.yaml", &shop, shop.internet(&[]), 3);
}

#[test]
fn without_an_address() {
    let shop = Shop::new();
    let launch = shop.shimmercat(["internet"]);
    check("no listen", &shop, launch, 3);
}

#[test]
fn without_a_public_site() {
    let shop = Shop::with(&["kibana: { root-dir: site, audience: network }"]);
    shop.project.file("site/index.html", "");
    check("no public site", &shop, shop.internet(&[]), 3);
}

#[test]
fn without_a_certificate() {
    let shop = Shop::new();
    check("no certificate", &shop, bare(&shop, &[]), 3);
}

#[test]
fn with_a_certificate_whose_file_is_not_there() {
    let shop = Shop::new();
    let launch = bare(&shop, &["--cert", "no/fullchain.pem", "--key", "no/privkey.pem"]);
    check("no such certificate", &shop, launch, 3);
}

#[test]
fn with_a_key_that_is_not_there() {
    let shop = Shop::new();
    let launch = bare(&shop, &["--key", "no/privkey.pem"])
        .arg("--cert")
        .arg(&shop.certificate.chain);
    check("no such key", &shop, launch, 3);
}

#[test]
fn with_a_certificate_and_no_key() {
    let shop = Shop::new();
    check("no key option", &shop, bare(&shop, &["--cert", "a.pem"]), 2);
}

#[test]
fn with_a_file_that_is_no_certificate() {
    let shop = Shop::new();
    shop.project.file("a.pem", "Dear diary\n");
    check("no PEM", &shop, bare(&shop, &["--cert", "a.pem", "--key", "a.pem"]), 3);
}

#[test]
fn with_the_key_of_another_certificate() {
    let shop = Shop::new();
    let folder = shop.project.path_of("other");
    fs::create_dir(&folder).expect("a folder can be made");
    let other = TestCa::new().write(&folder, &["*.shop.example"]);
    let launch = bare(&shop, &[])
        .arg("--cert")
        .arg(&shop.certificate.chain)
        .arg("--key")
        .arg(&other.key);
    check("key of another certificate", &shop, launch, 3);
}

#[test]
fn with_a_certificate_that_does_not_cover_every_site() {
    let shop = Shop::with(&[
        &format!("{SITE}: {{ root-dir: site }}"),
        "www.other.example: { root-dir: site }",
        "a.b.shop.example: { root-dir: site }",
    ]);
    shop.project.file("site/index.html", "");
    check("not covered", &shop, shop.internet(&[]), 3);
}

#[test]
fn with_a_port_that_is_taken() {
    let shop = Shop::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = taken.local_addr().expect("an address").to_string();
    let launch = shop
        .shimmercat(["internet", "--listen", &at])
        .arg("--cert")
        .arg(&shop.certificate.chain)
        .arg("--key")
        .arg(&shop.certificate.key);
    let done = launch.run(PATIENCE);
    let seen = done
        .stderr
        .replace(&at, "ADDR")
        .replace(&std::process::id().to_string(), "US");
    println!("$ port taken: exit {:?}\n{seen}", done.status.code());
    let first = "error: cannot listen\nwhy: ADDR is taken by pid US (";
    assert!(seen.starts_with(first), "{seen}");
    assert!(
        seen.ends_with(")\nhint: stop that program, or choose another address\n"),
        "{seen}"
    );
    assert_eq!(done.status.code(), Some(5));
}

#[test]
fn with_an_address_of_another_machine() {
    let shop = Shop::new();
    let launch = shop.shimmercat(["internet", "--listen", "192.0.2.1:443"]);
    let launch = launch
        .arg("--cert")
        .arg(&shop.certificate.chain)
        .arg("--key")
        .arg(&shop.certificate.key);
    check("not here", &shop, launch, 1);
}

#[test]
fn with_an_address_that_is_none() {
    let shop = Shop::new();
    check(
        "no address",
        &shop,
        shop.shimmercat(["internet", "--listen", "www.example.com"]),
        2,
    );
    check(
        "a port too large",
        &shop,
        shop.shimmercat(["internet", "--listen", "0.0.0.0:70000"]),
        2,
    );
}

#[test]
fn with_one_address_for_two_things() {
    let shop = Shop::new();
    let launch = shop
        .shimmercat(["internet", "--listen", "127.0.0.1:8443", "-t", "127.0.0.1:8443"])
        .arg("--cert")
        .arg(&shop.certificate.chain)
        .arg("--key")
        .arg(&shop.certificate.key);
    check("twice the same address", &shop, launch, 3);
}

#[test]
fn with_a_redis_that_is_none() {
    let shop = Shop::new();
    check(
        "a bad scheme",
        &shop,
        shop.internet(&["--redis", "http://:secret@cache:6379"]),
        2,
    );
    check("no URL", &shop, shop.internet(&["--redis", "yes"]), 2);
    shop.rewrite(
        &["redis: memcached://cache"],
        &[&format!("{SITE}: {{ root-dir: site }}")],
    );
    check("a bad scheme in the file", &shop, shop.internet(&[]), 3);
}

#[test]
fn with_socks_for_everybody() {
    let shop = Shop::new();
    let options = ["--enable-socks-5", "--socks-5", "0.0.0.0:0"];
    check("open SOCKS", &shop, shop.internet(&options), 3);
}

#[test]
fn with_a_mistake_in_the_file() {
    let shop = Shop::new();
    shop.rewrite(&["lisen: 443"], &[&format!("{SITE}: {{ root-dir: site }}")]);
    check("a misspelt key", &shop, shop.internet(&[]), 3);
}

#[test]
fn with_a_folder_that_is_not_there() {
    let shop = Shop::with(&[&format!("{SITE}: {{ root-dir: sit }}")]);
    check("no root folder", &shop, shop.internet(&[]), 3);
}

#[test]
fn with_a_socket_that_nobody_passed() {
    let shop = Shop::new();
    let launch = |options: &[&str]| {
        let launch = shop.shimmercat(["internet"]).args(options);
        launch
            .arg("--cert")
            .arg(&shop.certificate.chain)
            .arg("--key")
            .arg(&shop.certificate.key)
    };
    check("no such name", &shop, launch(&["--listen", "socket-name://web"]), 1);
    check("no such number", &shop, launch(&["--listen", "socket-fd://99"]), 1);
}

#[test]
fn with_a_scratch_folder_that_cannot_be_made() {
    let shop = Shop::new();
    let elsewhere = TempProject::new();
    std::os::unix::fs::symlink(elsewhere.path(), shop.project.path_of(".shimmercat.loves.devs")).expect("a link");
    check("a link for the scratch folder", &shop, shop.internet(&[]), 1);
}

#[test]
fn with_zero_workers_or_a_life_too_short() {
    let shop = Shop::new();
    check("no workers", &shop, shop.internet(&["--workers", "0"]), 2);
    shop.rewrite(&["worker-life: 5m"], &[&format!("{SITE}: {{ root-dir: site }}")]);
    check("a short life", &shop, shop.internet(&[]), 3);
}

#[test]
fn with_commands_to_nobody() {
    let shop = Shop::new();
    for command in ["status", "reload", "recycle", "logs"] {
        check(command, &shop, shop.shimmercat([command]), 1);
    }
    check("worker", &shop, shop.shimmercat(["worker"]), 1);
}
