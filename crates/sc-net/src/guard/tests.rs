//! The table of addresses, one line each.

use super::*;

fn addr(text: &str) -> SocketAddr {
    SocketAddr::new(text.parse().expect("an address"), 443)
}

#[test]
fn every_special_address_is_refused_for_what_it_is() {
    use Forbidden::*;
    let table = [
        ("0.0.0.0", Unspecified),
        ("0.1.2.3", Unspecified),
        ("10.0.0.1", Private),
        ("10.255.255.255", Private),
        ("100.64.0.1", CarrierGrade),
        ("100.127.255.255", CarrierGrade),
        ("100.100.100.200", Metadata),
        ("127.0.0.1", Loopback),
        ("127.255.255.254", Loopback),
        ("168.63.129.16", Metadata),
        ("169.254.0.1", LinkLocal),
        ("169.254.169.254", Metadata),
        ("169.254.170.2", Metadata),
        ("172.16.0.1", Private),
        ("172.31.255.255", Private),
        ("192.0.0.1", Reserved),
        ("192.0.0.192", Metadata),
        ("192.0.2.1", Documentation),
        ("192.88.99.1", Reserved),
        ("192.168.1.1", Private),
        ("198.18.0.1", Benchmarking),
        ("198.19.255.255", Benchmarking),
        ("198.51.100.1", Documentation),
        ("203.0.113.1", Documentation),
        ("224.0.0.1", Multicast),
        ("239.255.255.255", Multicast),
        ("240.0.0.1", Reserved),
        ("255.255.255.254", Reserved),
        ("255.255.255.255", Broadcast),
        ("::", Unspecified),
        ("::1", Loopback),
        ("::2", Unspecified),
        ("::127.0.0.1", Loopback),
        ("::8.8.8.8", Reserved),
        ("::ffff:127.0.0.1", Loopback),
        ("::ffff:0.0.0.0", Unspecified),
        ("::ffff:169.254.169.254", Metadata),
        ("::ffff:10.1.2.3", Private),
        ("::ffff:0:127.0.0.1", Loopback),
        ("::ffff:0:8.8.8.8", Reserved),
        ("64:ff9b::127.0.0.1", Loopback),
        ("64:ff9b::192.168.0.1", Private),
        ("64:ff9b::a9fe:a9fe", Metadata),
        ("64:ff9b:1::1", Private),
        ("100::1", Reserved),
        ("2001::1", Reserved),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", Reserved),
        ("2001:2::1", Benchmarking),
        ("2001:10::1", Reserved),
        ("2001:20::1", Reserved),
        ("2001:db8::1", Documentation),
        ("2002:7f00:1::", Loopback),
        ("2002:a00:1::1", Private),
        ("2002:a9fe:a9fe::1", Metadata),
        ("2a00:1450::5efe:10.0.0.1", Private),
        ("2a00:1450::200:5efe:127.0.0.1", Loopback),
        ("3fff::1", Documentation),
        ("4000::1", Reserved),
        ("5f00::1", Reserved),
        ("fc00::1", Private),
        ("fd00:ec2::254", Metadata),
        ("fd12:3456::1", Private),
        ("fe80::1", LinkLocal),
        ("febf::1", LinkLocal),
        ("fec0::1", Private),
        ("ff02::1", Multicast),
    ];
    let guard = Guard::public(Vec::new(), Vec::new());
    for (text, expected) in table {
        assert_eq!(guard.check(addr(text)), Err(expected), "{text}");
    }
}

#[test]
fn the_public_internet_is_allowed() {
    let guard = Guard::public(Vec::new(), Vec::new());
    for text in [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.1",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.1",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2606:4700::1111",
        "2a00:1450:4001::200e",
    ] {
        assert_eq!(guard.check(addr(text)), Ok(()), "{text}");
    }
}

#[test]
fn listed_networks_are_allowed_in_every_disguise() {
    let allow = vec![
        "10.1.0.0/16".parse().expect("a network"),
        "fd00::/8".parse().expect("a network"),
    ];
    let guard = Guard::public(allow, Vec::new());
    for text in ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00::7"] {
        assert_eq!(guard.check(addr(text)), Ok(()), "{text}");
    }
    assert_eq!(guard.check(addr("10.2.0.1")), Err(Forbidden::Private));
    assert_eq!(guard.check(addr("fc00::7")), Err(Forbidden::Private));
}

#[test]
fn our_own_listeners_are_refused_even_when_listed() {
    let allow = vec![
        "127.0.0.0/8".parse().expect("a network"),
        "::/0".parse().expect("a network"),
    ];
    let own = vec![
        "127.0.0.1:2006".parse().expect("an address"),
        "0.0.0.0:4043".parse().expect("an address"),
    ];
    let guard = Guard::public(allow, own);
    let check = |text: &str| guard.check(text.parse().expect("an address"));
    assert_eq!(check("127.0.0.1:2006"), Err(Forbidden::Own));
    assert_eq!(check("[::ffff:127.0.0.1]:2006"), Err(Forbidden::Own));
    assert_eq!(check("[64:ff9b::127.0.0.1]:2006"), Err(Forbidden::Own));
    assert_eq!(check("0.0.0.0:2006"), Err(Forbidden::Own));
    assert_eq!(check("127.0.0.1:4043"), Err(Forbidden::Own));
    assert_eq!(check("127.9.9.9:4043"), Err(Forbidden::Own));
    assert_eq!(check("127.0.0.1:5000"), Ok(()));
    assert_eq!(check("8.8.8.8:4043"), Ok(()));
}

#[test]
fn any_allows_all() {
    assert_eq!(Guard::any().check(addr("127.0.0.1")), Ok(()));
    assert_eq!(Guard::any().check_unix(), Ok(()));
    assert_eq!(
        Guard::public(Vec::new(), Vec::new()).check_unix(),
        Err(Forbidden::UnixSocket)
    );
}

#[test]
fn networks_are_read_and_printed() {
    let check = |text: &str, expected: &str| {
        let found = text
            .parse::<Network>()
            .map_or_else(|fault| fault.to_string(), |network| network.to_string());
        assert_eq!(found, expected);
    };
    check("10.0.0.0/8", "10.0.0.0/8");
    check("192.168.1.7", "192.168.1.7/32");
    check("[fd00::]/8", "fd00::/8");
    check("::/0", "::/0");
    check("10.0.0.0/33", "`33` is not a prefix length between 0 and 32");
    check("10.0.0.0/x", "`x` is not a prefix length between 0 and 32");
    check("home/8", "`home` is not an IP address");
    assert!(
        "0.0.0.0/0"
            .parse::<Network>()
            .is_ok_and(|all| all.contains(IpAddr::V4(Ipv4Addr::BROADCAST)))
    );
}
