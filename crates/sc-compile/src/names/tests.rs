//! Each kind of name, over TCP and UDP.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
use std::collections::BTreeMap;

use sc_config::NamePattern;
use sc_net::Host;

use super::*;

fn names(forward: Forward) -> Names {
    let sites = ["www.shop.example", "phpmyadmin", "*.tenants.shop.example"];
    let sites = sites.map(|name| name.parse::<NamePattern>().unwrap()).to_vec();
    let database: UpstreamAddr = "127.0.0.1:33060".parse::<std::net::SocketAddr>().unwrap().into();
    let ports = BTreeMap::from([
        (("mysql".to_owned(), Transport::Tcp, 3306), database.clone()),
        (("resolver".to_owned(), Transport::Udp, 53), database),
    ]);
    Names { sites, ports, forward }
}

fn word(route: &Route) -> String {
    match route {
        Route::Site => "site".to_owned(),
        Route::Redirect => "redirect".to_owned(),
        Route::Relay(upstream) => format!("relay {upstream}"),
        Route::Forward(_) => "forward".to_owned(),
        Route::Refuse(refusal) => format!("refuse {:02x}", refusal.reply().code()),
    }
}

#[track_caller]
fn check(forward: Forward, target: &str, tcp: &str, udp: &str) {
    let (host, port) = target.rsplit_once(':').unwrap();
    let host = host.parse().map_or_else(|_| Host::Name(host.to_owned()), Host::V4);
    let target = Target {
        host,
        port: port.parse().unwrap(),
    };
    let names = names(forward);
    let guard = Rc::new(Guard::public(Vec::new(), Vec::new()));
    let told = |transport| word(&names.route(&target, transport, &guard));
    assert_eq!(told(Transport::Tcp), tcp, "TCP to {target}");
    assert_eq!(told(Transport::Udp), udp, "UDP to {target}");
}

#[test]
fn our_own_names() {
    check(Forward::No, "www.shop.example:443", "site", "refuse 04");
    check(Forward::No, "www.shop.example:80", "redirect", "refuse 04");
    check(Forward::No, "www.shop.example:22", "refuse 04", "refuse 04");
    check(Forward::No, "phpmyadmin:443", "site", "refuse 04");
    check(Forward::No, "a.b.tenants.shop.example:443", "site", "refuse 04");
    check(Forward::No, "tenants.shop.example:443", "refuse 02", "refuse 02");
}

#[test]
fn names_with_ports() {
    check(Forward::No, "mysql:3306", "relay 127.0.0.1:33060", "refuse 04");
    check(Forward::No, "mysql:443", "refuse 04", "refuse 04");
    check(Forward::No, "resolver:53", "refuse 04", "relay 127.0.0.1:33060");
}

#[test]
fn other_names_need_w() {
    let list = || {
        Forward::Only(vec![
            "fonts.example.net".parse().unwrap(),
            "*.cdn.example.net".parse().unwrap(),
        ])
    };
    check(Forward::No, "stats.example.net:443", "refuse 02", "refuse 02");
    check(Forward::No, "192.0.2.1:443", "refuse 02", "refuse 02");
    check(Forward::All, "stats.example.net:443", "forward", "forward");
    check(Forward::All, "192.0.2.1:8443", "forward", "forward");
    check(list(), "stats.example.net:443", "refuse 02", "refuse 02");
    check(list(), "fonts.example.net:443", "forward", "forward");
    check(list(), "x.cdn.example.net:443", "forward", "forward");
    check(list(), "www.shop.example:443", "site", "refuse 04");
}
