//! Settings in, what is said out.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use crate::diagnostic::render_all;
use crate::settings::{Consultant, Secret, Shape};

fn public(name: &str) -> Domain {
    Domain::files(name.parse().unwrap(), "/srv/site".into())
}

fn good() -> Settings {
    Settings {
        domains: vec![public("www.shop.example")],
        listen: vec!["0.0.0.0:443".parse().unwrap(), "[::]:443".parse().unwrap()],
        listen_given: true,
        ..Settings::default()
    }
}

fn addresses(texts: &[&str]) -> Vec<Address> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Every message, and nothing that is not an error.
fn errors(settings: &Settings) -> Vec<String> {
    let found = internet_checks(settings);
    assert!(found.iter().all(|one| one.severity == crate::Severity::Error));
    assert!(render_all(&found, false).lines().all(|line| line.chars().count() <= 80));
    found.into_iter().map(|one| one.message).collect()
}

fn warnings(settings: &Settings) -> Vec<String> {
    let found = internet_warnings(settings);
    assert!(render_all(&found, false).lines().all(|line| line.chars().count() <= 80));
    found.into_iter().map(|one| one.message).collect()
}

#[test]
fn what_is_right_is_not_spoken_of() {
    assert_eq!(errors(&good()), [""; 0]);
    assert_eq!(warnings(&good()), [""; 0]);
    let with_more = Settings {
        redirect: addresses(&["0.0.0.0:80", "[::]:80"]),
        metrics: Some(Address::loopback(9145)),
        cert: Some("/c".into()),
        key: Some("/k".into()),
        redis: Redis::Url(Secret::new("rediss://:secret@redis.internal:6380/0")),
        ..good()
    };
    assert_eq!(errors(&with_more), [""; 0]);
}

#[test]
fn an_address_and_a_public_site_are_needed() {
    let mut inside = public("kibana");
    inside.audience = Audience::Network;
    let settings = Settings {
        domains: vec![inside],
        ..Settings::default()
    };
    assert_eq!(errors(&settings), ["`listen` is not given", "there is no public site"]);
}

#[test]
fn listeners_that_overlap_are_told() {
    let check = |listen: &[&str], redirect: &[&str], expected: &[&str]| {
        let settings = Settings {
            listen: addresses(listen),
            redirect: addresses(redirect),
            ..good()
        };
        assert_eq!(errors(&settings), expected, "{listen:?} {redirect:?}");
    };
    check(&["0.0.0.0:443", "[::]:443"], &["0.0.0.0:80"], &[]);
    check(&["127.0.0.1:443"], &["127.0.0.2:443"], &[]);
    check(&["127.0.0.1:0"], &["127.0.0.1:0"], &[]);
    check(&["unix:///a"], &["unix:///b"], &[]);
    check(
        &["0.0.0.0:443"],
        &["127.0.0.1:443"],
        &["`redirect` and `listen` cannot both have `127.0.0.1:443`"],
    );
    check(
        &["127.0.0.1:443", "0.0.0.0:443"],
        &[],
        &["`listen` and `listen` cannot both have `0.0.0.0:443`"],
    );
    check(
        &["unix:///a"],
        &["unix:///a"],
        &["`redirect` and `listen` cannot both have `unix:///a`"],
    );
    let proxy = Settings {
        redirect: addresses(&["127.0.0.1:2006"]),
        ..good()
    };
    assert_eq!(errors(&proxy), [""; 0]);
    let enabled = Settings {
        enable_socks5: true,
        ..proxy
    };
    assert_eq!(
        errors(&enabled),
        ["`socks-5` and `redirect` cannot both have `127.0.0.1:2006`"]
    );
}

#[test]
fn a_certificate_comes_with_its_key() {
    for (cert, key, expected) in [
        (Some("/c".into()), None, "`cert` is given without `key`"),
        (None, Some("/k".into()), "`key` is given without `cert`"),
    ] {
        assert_eq!(errors(&Settings { cert, key, ..good() }), [expected]);
    }
}

#[test]
fn urls_of_redis_are_read_and_never_repeated() {
    for (url, expected) in [
        ("redis://localhost", None),
        ("redis://[::1]:6379/3", None),
        ("redis://user:pa/ss@h:1", Some("has a port that is none")),
        ("redis://user:pass@h:6379/0?protocol=resp3", None),
        ("redis+unix:///run/redis.sock?db=1", None),
        ("unix:///run/redis.sock", None),
        (
            "unix://run/redis.sock",
            Some("must name its socket by an absolute path"),
        ),
        ("redis://:hunter2@:6379", Some("names no host")),
        ("redis:///0", Some("names no host")),
        ("redis://h:port", Some("has a port that is none")),
        ("redis://h:0", Some("has a port that is none")),
        ("redis://h:70000", Some("has a port that is none")),
        ("redis://h/shop", Some("has a database that is no number")),
        (
            "https://h",
            Some("must begin with `redis://`, `rediss://` or `unix://`"),
        ),
        ("hunter2", Some("must begin with `redis://`, `rediss://` or `unix://`")),
    ] {
        let settings = Settings {
            redis: Redis::Url(Secret::new(url)),
            ..good()
        };
        let expected: Vec<_> = expected
            .map(|what| format!("the URL of `redis` {what}"))
            .into_iter()
            .collect();
        assert_eq!(errors(&settings), expected, "{url}");
    }
}

#[test]
fn metrics_stay_on_the_machine() {
    let settings = Settings {
        metrics: Some("0.0.0.0:9145".parse().unwrap()),
        ..good()
    };
    assert_eq!(errors(&settings), ["others could read the metrics at `0.0.0.0:9145`"]);
}

#[test]
fn what_will_be_different_is_told() {
    let mut inside = public("kibana");
    inside.audience = Audience::Network;
    let mut trusting = public("api.shop.example");
    let mut consultant = Consultant::at(addresses(&["127.0.0.1:8443"]));
    consultant.verify = Verify::Nothing;
    trusting.kind = Kind::Api { consultant };
    let settings = Settings {
        domains: vec![public("intranet"), public("shop.test"), inside, trusting],
        forward: Forward::All,
        shape: Shape {
            bandwidth: Some(1),
            latency: None,
        },
        ..good()
    };
    assert_eq!(
        warnings(&settings),
        [
            "`intranet` is public, but no DNS server knows such a name",
            "`shop.test` is public, but no DNS server knows such a name",
            "nobody reaches `kibana`",
            "`forward` lets nothing out",
            "`sim-bandwidth` and `sim-latency` mean nothing in internet mode",
            "`api.shop.example` trusts whoever answers for its application",
        ]
    );
    let on = Settings {
        enable_socks5: true,
        domains: settings.domains.clone().into_iter().skip(2).take(1).collect(),
        shape: Shape::default(),
        ..settings
    };
    assert_eq!(warnings(&on), [""; 0]);
    let both = Settings { socks5: None, ..on };
    assert_eq!(
        warnings(&both)[0],
        "`enable-socks-5` switches the little network on, and `socks-5: false` off again"
    );
}

#[test]
fn files_of_the_instance_are_not_handed_out() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["site", "site/keys", "site/.scratch", "site/.well-known", "elsewhere"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    for name in [
        "site/devlove.yaml",
        "site/keys/k.pem",
        "site/.scratch/privkey.pem",
        "elsewhere/k.pem",
    ] {
        std::fs::write(at(name), "").unwrap();
    }
    std::os::unix::fs::symlink(at("site"), at("link")).unwrap();
    let settings = |root: &str| Settings {
        domains: vec![Domain::files("www.shop.example".parse().unwrap(), at(root))],
        ..good()
    };
    let told = |root: &str, key: &str| -> Vec<String> {
        let found = exposed_files(&settings(root), &[at("site/devlove.yaml")], &at(key));
        found.into_iter().map(|one| one.message).collect()
    };
    let (key, file) = (
        "`www.shop.example` hands the private key to everybody",
        "`www.shop.example` hands its settings to everybody",
    );
    assert_eq!(told("site", "site/keys/k.pem"), [key, file]);
    assert_eq!(told("link", "link/keys/k.pem"), [key, file]);
    assert_eq!(told("site", "site/.scratch/privkey.pem"), [file]);
    assert_eq!(told("site", "site/.well-known/privkey.pem"), [key, file]);
    assert_eq!(told("elsewhere", "site/keys/k.pem"), [""; 0]);
    assert_eq!(told("elsewhere", "elsewhere/missing.pem"), [key]);
}
