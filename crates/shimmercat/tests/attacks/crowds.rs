//! Many connections at once: half-open, idle, shaking hands, or holding what they asked for.

use std::time::{Duration, Instant};

use sc_testkit::client::raw_h2::kind::HEADERS;
use sc_testkit::client::raw_h2::{END_HEADERS, END_STREAM, frame, request};
use sc_testkit::pause;

use crate::attack::{Attack, Target};
use crate::kit::SITE;

fn hold<T>(target: &Target<'_>, held: T, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until && !target.is_over() {
        pause(Duration::from_millis(50));
    }
    drop(held);
}

#[test]
fn half_open_connections() {
    let attack = Attack {
        name: "half-open connections",
        limit: "handshakes-per-address",
        limits: &["handshakes-per-address: 8", "handshake-time: 2s"],
        ..Attack::default()
    };
    attack.run(|target| {
        let held: Vec<_> = (0..200).filter_map(|_| target.tcp().ok()).collect();
        hold(target, held, Duration::from_secs(3));
    });
}

#[test]
fn idle_connections() {
    let attack = Attack {
        name: "idle connections",
        limit: "connections-per-address",
        limits: &["connections-per-address: 32"],
        ..Attack::default()
    };
    attack.run(|target| {
        let held: Vec<_> = (0..64).filter_map(|_| target.tls("http/1.1")).collect();
        assert!(held.len() <= 32, "{}", held.len());
        hold(target, held, Duration::from_secs(2));
    });
}

#[test]
fn handshakes() {
    let attack = Attack {
        name: "handshake flood",
        limit: "handshakes-per-address",
        limits: &["handshakes-per-address: 4"],
        attackers: 12,
        ..Attack::default()
    };
    attack.run(|target| {
        // A client of its own has no ticket, so the handshake is a full one.
        if let Ok(stream) = target.tcp() {
            let _ = target.tls_client().over(stream, SITE);
        }
    });
}

#[test]
fn memory() {
    let attack = Attack {
        name: "whatever costs memory",
        limit: "memory",
        limits: &["memory: 96MiB", "write-stall-time: 20s"],
        budget_mib: 160,
        ..Attack::default()
    };
    let get_big = request("GET", SITE, "/big.bin");
    attack.run(|target| {
        let mut held = Vec::new();
        for _ in 0..300 {
            let Some(mut client) = target.h2(&[(4, 0)]) else { break };
            let many: Vec<u8> = (1..256)
                .step_by(2)
                .flat_map(|id| frame(HEADERS, END_HEADERS | END_STREAM, id, &get_big))
                .collect();
            let _ = client.send(&many);
            held.push(client);
        }
        hold(target, held, Duration::from_secs(2));
    });
}
