//! Clients that take their time: with heads, with bodies, with reading. Each is let go of when its patience is at its end,
//! whatever else it sends meanwhile.

use std::io::Read as _;
use std::thread;
use std::time::{Duration, Instant};

use sc_testkit::client::raw_h2::kind::{DATA, HEADERS, PING, WINDOW_UPDATE};
use sc_testkit::client::raw_h2::{END_HEADERS, END_STREAM, frame, request};
use sc_testkit::{HttpApp, pause};

use crate::attack::{Attack, Target, begin};
use crate::kit::SITE;

/// Connections that each attacker holds.
const CONNECTIONS: usize = 24;

/// Holds many connections with `hello` sent, and sends one byte after the other on each until all were let go of.
fn trickle(target: &Target<'_>, hello: &str, byte: &[u8]) {
    let mut held: Vec<_> = (0..CONNECTIONS).filter_map(|_| target.tls("http/1.1")).collect();
    held.retain_mut(|stream| begin(stream, hello.as_bytes()));
    while !held.is_empty() && !target.is_over() {
        pause(Duration::from_millis(100));
        held.retain_mut(|stream| begin(stream, byte) && !has_ended(stream));
    }
}

/// Whether the server has closed; what it says before that is thrown away.
fn has_ended(stream: &mut crate::kit::SiteStream) -> bool {
    let _ = stream.sock.set_read_timeout(Some(Duration::from_millis(1)));
    let mut space = [0; 1024];
    matches!(stream.read(&mut space), Ok(0))
}

#[test]
fn slow_heads() {
    let attack = Attack {
        name: "slow-headers (Slowloris)",
        limit: "head-time",
        limits: &["head-time: 1s"],
        ..Attack::default()
    };
    attack.run(|target| trickle(target, &format!("GET / HTTP/1.1\r\nHost: {SITE}\r\nX-A: "), b"a"));
}

#[test]
fn slow_header_blocks() {
    let attack = Attack {
        name: "slow-header-block",
        limit: "head-time",
        limits: &["head-time: 1s"],
        ..Attack::default()
    };
    let block = request("GET", SITE, "/");
    attack.run(|target| {
        let mut held: Vec<_> = (0..CONNECTIONS).filter_map(|_| target.h2(&[])).collect();
        for client in &mut held {
            let _ = client.send(&frame(HEADERS, END_STREAM, 1, &block));
        }
        while !held.is_empty() && !target.is_over() {
            held.retain_mut(|client| client.next(Duration::from_millis(20)).is_ok());
        }
    });
}

/// A name whose application reads what is uploaded.
fn uploads(app: &HttpApp) -> Vec<String> {
    vec![format!("api.shop.example: {{ port: '{}' }}", app.address())]
}

#[test]
fn slow_bodies() {
    let app = HttpApp::start();
    let attack = Attack {
        name: "slow-body (R.U.D.Y.)",
        limit: "body-rate",
        limits: &["body-idle-time: 2s", "body-rate: 1000"],
        domains: uploads(&app),
        ..Attack::default()
    };
    let hello = "POST /upload HTTP/1.1\r\nHost: api.shop.example\r\nContent-Length: 1000000\r\n\r\n";
    attack.run(|target| trickle(target, hello, b"a"));
}

#[test]
fn slow_bodies_of_streams() {
    let app = HttpApp::start();
    let attack = Attack {
        name: "slow-body over HTTP/2",
        limit: "body-rate",
        limits: &["body-idle-time: 2s", "body-rate: 1000"],
        domains: uploads(&app),
        ..Attack::default()
    };
    let post = request("POST", "api.shop.example", "/upload");
    attack.run(|target| {
        let Some(mut client) = target.h2(&[]) else { return };
        for id in (1..100).step_by(2) {
            let _ = client.send(&frame(HEADERS, END_HEADERS, id, &post));
        }
        let until = Instant::now() + Duration::from_secs(4);
        while Instant::now() < until && !target.is_over() {
            for id in (1..100).step_by(2) {
                if client.send(&frame(DATA, 0, id, b"a")).is_err() {
                    return;
                }
            }
            while let Ok(Some(_)) = client.next(Duration::from_millis(5)) {}
            pause(Duration::from_millis(100));
        }
    });
}

#[test]
fn slow_reading() {
    let attack = Attack {
        name: "slow-read",
        limit: "write-rate",
        limits: &["write-stall-time: 2s", "write-rate: 10kB/s"],
        ..Attack::default()
    };
    attack.run(|target| {
        let mut held: Vec<_> = (0..CONNECTIONS).filter_map(|_| target.tls("http/1.1")).collect();
        let hello = format!("GET /big.bin HTTP/1.1\r\nHost: {SITE}\r\n\r\n");
        held.retain_mut(|stream| begin(stream, hello.as_bytes()));
        let until = Instant::now() + Duration::from_secs(6);
        while !held.is_empty() && Instant::now() < until && !target.is_over() {
            pause(Duration::from_millis(100));
            held.retain_mut(|stream| {
                let _ = stream.sock.set_read_timeout(Some(Duration::from_millis(1)));
                !matches!(stream.sock.read(&mut [0; 16]), Ok(0))
            });
        }
    });
}

#[test]
fn zero_windows() {
    let attack = Attack {
        name: "zero-window (CVE-2019-9517)",
        limit: "write-rate",
        limits: &["write-stall-time: 2s"],
        ..Attack::default()
    };
    let get_big = request("GET", SITE, "/big.bin");
    attack.run(|target| {
        // No window for any stream, and a PING now and then to look alive.
        let mut held: Vec<_> = (0..CONNECTIONS).filter_map(|_| target.h2(&[(4, 0)])).collect();
        for client in &mut held {
            let many: Vec<u8> = (1..200)
                .step_by(2)
                .flat_map(|id| frame(HEADERS, END_HEADERS | END_STREAM, id, &get_big))
                .collect();
            let _ = client.send(&many);
        }
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until && !target.is_over() {
            pause(Duration::from_millis(100));
            held.retain_mut(|client| {
                client.send(&frame(PING, 0, 0, &[1; 8])).is_ok() && client.next(Duration::from_millis(1)).is_ok()
            });
        }
    });
}

#[test]
fn dribbling_windows() {
    let attack = Attack {
        name: "one byte of window a time",
        limit: "write-rate",
        limits: &["write-stall-time: 2s"],
        ..Attack::default()
    };
    let get_big = request("GET", SITE, "/big.bin");
    attack.run(|target| {
        let Some(mut client) = target.h2(&[(4, 0)]) else { return };
        let _ = client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &get_big));
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until && !target.is_over() {
            pause(Duration::from_millis(50));
            if client.send(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])).is_err() {
                return;
            }
            while let Ok(Some(_)) = client.next(Duration::from_millis(1)) {}
        }
        thread::yield_now();
    });
}
