//! The small grammars never panic, and what they print they read again.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use proptest::prelude::*;
use sc_config::{Address, NamePattern, Network, Settings, names, units};

fn addresses() -> impl Strategy<Value = Address> {
    let host = "[a-z][a-z0-9]{0,10}(\\.[a-z][a-z0-9]{0,10}){0,3}";
    prop_oneof![
        (any::<u32>(), any::<u16>())
            .prop_map(|(ip, port)| Address::Tcp(SocketAddr::from((Ipv4Addr::from_bits(ip), port)))),
        (any::<u128>(), any::<u16>())
            .prop_map(|(ip, port)| Address::Tcp(SocketAddr::from((Ipv6Addr::from_bits(ip), port)))),
        (host, any::<u16>()).prop_map(|(host, port)| Address::Name { host, port }),
        "/[a-zA-Z0-9 ._/-]{1,60}".prop_map(|path| Address::Unix(PathBuf::from(path))),
        (0..i32::MAX).prop_map(Address::Fd),
        "[a-zA-Z0-9._-]{1,30}".prop_map(Address::SocketName),
    ]
}

/// Texts that are near the grammars, so that the interesting branches are met.
fn near() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[0-9a-fA-F:.\\[\\]%/*]{0,24}",
        "(unix|socket-fd|socket-name|lookup|http)(://|\\()[a-z0-9.:/)é]{0,12}",
        "[0-9.]{0,8}(k|M|Ki|Mi|K|)(bit|b|B)?(/s)?[mshd]{0,2}",
        "(elec|api)? ?[*a-zA-Z0-9.é_-]{0,20}",
    ]
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in near()) {
        if let Err(error) = text.parse::<Address>() {
            prop_assert!(!error.hint().is_empty());
        }
        if let Err(error) = text.parse::<Network>() {
            prop_assert!(!error.hint().is_empty());
        }
        if let Err(error) = names::split_key(&text) {
            drop((error.to_string(), error.hint()));
        }
        drop((units::bandwidth(&text), units::latency(&text), units::time_limit(&text)));
        prop_assert!(names::nearest(&text, ["root-dir", "consultant"]).is_none_or(|name| name.contains('o')));
    }

    #[test]
    fn addresses_are_read_as_they_are_shown(address in addresses()) {
        prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
    }

    #[test]
    fn addresses_and_paths_go_through_serde_unchanged(address in addresses(), bytes in proptest::collection::vec(1u8.., 1..40)) {
        let path = PathBuf::from(OsString::from_vec(bytes));
        let settings = Settings {
            listen: vec![address, Address::Unix(path.clone())],
            cert: Some(path),
            ..Settings::default()
        };
        let text = serde_json::to_string(&settings).expect("settings can be written");
        prop_assert_eq!(serde_json::from_str::<Settings>(&text).expect("settings can be read"), settings);
    }

    #[test]
    fn whatever_is_read_is_shown_so_that_it_reads_the_same(text in near()) {
        if let Ok(address) = text.parse::<Address>() {
            prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
        }
        if let Ok(name) = text.parse::<NamePattern>() {
            prop_assert_eq!(name.to_string().parse::<NamePattern>(), Ok(name));
        }
        if let Ok(network) = text.parse::<Network>() {
            prop_assert_eq!(network.to_string().parse::<Network>(), Ok(network));
        }
    }

    #[test]
    fn a_wildcard_covers_what_is_below_it_and_nothing_else(below in "([a-z]{1,5}\\.){1,3}", other in "[a-z]{0,4}") {
        let pattern: NamePattern = "*.shop.example".parse().expect("a name");
        let host = format!("{}shop.example", below);
        prop_assert!(pattern.matches(&host));
        let host = format!("{}shop.example", other);
        prop_assert!(!pattern.matches(&host));
    }

    #[test]
    fn networks_hold_exactly_their_prefix(ip in any::<u32>(), prefix in 0u8..=32, probe in any::<u32>()) {
        let network = Network::new(IpAddr::V4(Ipv4Addr::from_bits(ip)), prefix).expect("a network");
        let same = u64::from(ip) >> (32 - prefix) == u64::from(probe) >> (32 - prefix);
        prop_assert_eq!(network.contains(IpAddr::V4(Ipv4Addr::from_bits(probe))), same);
        prop_assert!(network.contains(IpAddr::V4(Ipv4Addr::from_bits(ip))));
    }

    #[test]
    fn bandwidths_scale(number in 1u32..1_000_000) {
        let bytes = u64::from(number);
        prop_assert_eq!(units::bandwidth(&format!("{number}")), Ok(bytes));
        prop_assert_eq!(units::bandwidth(&format!("{number}kB/s")), Ok(bytes * 1000));
        prop_assert_eq!(units::bandwidth(&format!("{number}KiB/s")), Ok(bytes * 1024));
        prop_assert_eq!(units::bandwidth(&format!("{number}kbit/s")), Ok(bytes * 125));
        prop_assert_eq!(units::bandwidth(&format!("{number}kb/s")), units::bandwidth(&format!("{number}kbit/s")));
    }

    #[test]
    fn times_are_read_as_they_are_shown(milliseconds in 1u64..86_400_000) {
        let time = std::time::Duration::from_millis(milliseconds);
        prop_assert_eq!(units::time_limit(&units::show_time(time)), Ok(time));
    }
}
