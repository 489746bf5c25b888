//! What no client gets more of, in the words of the rooms that keep each limit.
//!
//! Defaults stand in the file's own table and, for whoever uses the rooms without a file, in the rooms; a test holds the two
//! together. The budget of memory is not decided here: it depends on the machine.

use std::net::{IpAddr, Ipv6Addr};

use sc_config::Settings;
use sc_http::Limits;
use sc_net::Network;
use sc_server::Bounds;

/// All bounds; `exempt` holds when the file says nothing, and the budget of memory is what the file says.
pub fn bounds(settings: &Settings, exempt: &[Network]) -> Bounds {
    let limits = &settings.limits;
    let exempt = limits
        .exempt
        .as_ref()
        .map_or_else(|| exempt.to_vec(), |given| crate::networks(given));
    Bounds {
        http: http(settings),
        greeting_time: limits.greeting_time,
        handshake_time: limits.handshake_time,
        connections: limits.connections as usize,
        connections_per_address: limits.connections_per_address as usize,
        handshakes_per_address: limits.handshakes_per_address as usize,
        exempt,
        memory: limits.memory,
    }
}

/// This machine, whose developer is no attacker.
pub fn this_machine() -> Vec<Network> {
    [(IpAddr::from([127, 0, 0, 0]), 8), (Ipv6Addr::LOCALHOST.into(), 128)]
        .map(|(base, prefix)| Network::new(base, prefix))
        .into()
}

fn http(settings: &Settings) -> Limits {
    let limits = &settings.limits;
    Limits {
        target_bytes: size(limits.target_bytes),
        header_bytes: size(limits.header_bytes),
        header_fields: limits.header_fields as usize,
        head_time: limits.head_time,
        idle_time: limits.idle_time,
        body_idle_time: limits.body_idle_time,
        body_rate: limits.body_rate,
        write_stall_time: limits.write_stall_time,
        write_rate: limits.write_rate,
        header_table_bytes: small(limits.header_table_bytes),
        continuations: limits.continuations,
        streams: limits.streams,
        resets: limits.resets,
        resets_per_second: limits.resets_per_second,
        forced_resets: limits.forced_resets,
        control_frames: limits.control_frames,
        control_frames_per_second: limits.control_frames_per_second,
        stream_window_bytes: small(limits.stream_window_bytes),
        connection_window_bytes: small(limits.connection_window_bytes),
        send_buffer_bytes: size(limits.send_buffer_bytes),
    }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn small(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_the_file_are_those_of_the_engine() {
        let of_file = bounds(&Settings::default(), &[]);
        assert_eq!(format!("{of_file:?}"), format!("{:?}", Bounds::default()));
    }

    #[test]
    fn who_is_exempt_is_as_the_file_says_or_else_as_the_mode_does() {
        let exempt = |given: Option<&str>| {
            let mut settings = Settings::default();
            settings.limits.exempt = given.map(|text| text.parse().into_iter().collect());
            let exempt = bounds(&settings, &this_machine()).exempt;
            ["127.0.0.9", "::1", "10.0.0.7"].map(|address| {
                exempt
                    .iter()
                    .any(|network| network.contains(address.parse().expect("an address")))
            })
        };
        assert_eq!(exempt(None), [true, true, false]);
        assert_eq!(exempt(Some("10.0.0.0/8")), [false, false, true]);
        assert_eq!(exempt(Some("nobody")), [false; 3]);
    }
}
