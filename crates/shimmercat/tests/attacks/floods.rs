//! Floods of frames over one HTTP/2 connection after the other: each ends with `ENHANCE_YOUR_CALM`.

use std::time::Duration;

use sc_testkit::client::raw_h2::kind::{
    CONTINUATION, DATA, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
use sc_testkit::client::raw_h2::{END_HEADERS, END_STREAM, RawH2, frame, request};

use crate::attack::{Attack, Target};
use crate::kit::SITE;

/// RFC 9113 §7.
const ENHANCE_YOUR_CALM: u32 = 11;

const SETTINGS_PATIENCE: Duration = Duration::from_secs(10);

/// Streams that one connection of a flood opens at most.
const STREAMS: u32 = 20_000;

/// Sends pieces until the server takes no more, then expects it to have said why.
fn flood(target: &Target<'_>, prelude: &[u8], piece: impl Fn(u32) -> Vec<u8>) {
    let Some(mut client) = target.h2(&[]) else { return };
    let _ = client.send(prelude);
    let mut id = 3;
    while id < STREAMS && !target.is_over() {
        let bytes: Vec<u8> = (0..64).flat_map(|at| piece(id + 2 * at)).collect();
        id += 128;
        if client.send(&bytes).is_err() {
            break;
        }
        if let Some(code) = ended(&mut client) {
            assert_eq!(code, ENHANCE_YOUR_CALM);
            return;
        }
    }
    if !target.is_over() && id >= STREAMS {
        assert_eq!(client.end(SETTINGS_PATIENCE), Some(ENHANCE_YOUR_CALM));
    }
}

/// The code of a GOAWAY that is there by now.
fn ended(client: &mut RawH2) -> Option<u32> {
    loop {
        match client.next(Duration::ZERO) {
            Ok(Some(frame)) if frame.kind == sc_testkit::client::raw_h2::kind::GOAWAY => {
                return frame
                    .payload
                    .get(4..8)
                    .map(|code| u32::from_be_bytes([code[0], code[1], code[2], code[3]]));
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

fn get(id: u32, flags: u8) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, id, &request("GET", SITE, "/"))
}

#[test]
fn rapid_reset() {
    let attack = Attack {
        name: "rapid-reset (CVE-2023-44487)",
        limit: "resets",
        ..Attack::default()
    };
    attack.run(|target| {
        flood(target, &[], |id| {
            [get(id, END_STREAM), frame(RST_STREAM, 0, id, &[0, 0, 0, 8])].concat()
        });
    });
}

#[test]
fn made_you_reset() {
    let attack = Attack {
        name: "made-you-reset (CVE-2025-8671)",
        limit: "forced-resets",
        ..Attack::default()
    };
    attack.run(|target| {
        flood(target, &[], |id| {
            [
                get(id, END_STREAM),
                frame(WINDOW_UPDATE, 0, id, &[0x7f, 0xff, 0xff, 0xff]),
            ]
            .concat()
        });
    });
}

#[test]
fn continuations() {
    let attack = Attack {
        name: "continuation-flood (CVE-2024-27316)",
        limit: "continuations",
        ..Attack::default()
    };
    let block = request("GET", SITE, "/");
    let begun = frame(HEADERS, END_STREAM, 1, &block);
    attack.run(|target| flood(target, &begun, |_| frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b")));
}

fn control_frames(name: &'static str, prelude: &[u8], piece: impl Fn(u32) -> Vec<u8> + Sync) {
    let attack = Attack {
        name,
        limit: "control-frames",
        limits: &["control-frames: 1000", "control-frames-per-second: 100"],
        ..Attack::default()
    };
    attack.run(|target| flood(target, prelude, &piece));
}

#[test]
fn settings() {
    control_frames("settings-flood (CVE-2019-9515)", &[], |_| frame(SETTINGS, 0, 0, &[]));
}

#[test]
fn pings() {
    control_frames("ping-flood (CVE-2019-9512)", &[], |_| frame(PING, 0, 0, &[7; 8]));
}

#[test]
fn priorities() {
    control_frames("resource-loop (CVE-2019-9513)", &[], |id| {
        frame(PRIORITY, 0, id, &[0, 0, 0, 0, 1])
    });
}

#[test]
fn empty_data() {
    control_frames(
        "empty-frames (CVE-2019-9518)",
        &frame(HEADERS, END_HEADERS, 1, &request("POST", SITE, "/")),
        |_| frame(DATA, 0, 1, &[]),
    );
}

#[test]
fn tiny_windows() {
    let get_big = frame(HEADERS, END_HEADERS | END_STREAM, 1, &request("GET", SITE, "/big.bin"));
    control_frames("data-dribble (CVE-2019-9511)", &get_big, |_| {
        frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])
    });
}

#[test]
fn header_bomb() {
    let attack = Attack {
        name: "header-bomb (CVE-2026-49975)",
        limit: "header-bytes",
        ..Attack::default()
    };
    let crumbs: Vec<u8> = [request("GET", SITE, "/"), b"\x60\x01a".to_vec(), b"\xbe".repeat(900)].concat();
    attack.run(|target| {
        let Some(mut client) = target.h2(&[]) else { return };
        for id in (1..200).step_by(2) {
            if target.is_over()
                || client
                    .send(&frame(HEADERS, END_HEADERS | END_STREAM, id, &crumbs))
                    .is_err()
            {
                return;
            }
            let _ = ended(&mut client);
        }
    });
}

#[test]
fn hpack_bomb() {
    let attack = Attack {
        name: "hpack-bomb",
        limit: "header-bytes",
        ..Attack::default()
    };
    // One large field in the table, named again thousands of times: 16 KiB that stand for 64 MiB.
    let large = sc_testkit::client::raw_h2::block(&[("x", &"y".repeat(3900))]);
    let indexed: Vec<u8> = std::iter::once(0x40).chain(large.into_iter().skip(1)).collect();
    let bomb = [request("GET", SITE, "/"), indexed, b"\xbe".repeat(12_000)].concat();
    attack.run(|target| {
        let Some(mut client) = target.h2(&[]) else { return };
        for id in (1..200).step_by(2) {
            if target.is_over()
                || client
                    .send(&frame(HEADERS, END_HEADERS | END_STREAM, id, &bomb))
                    .is_err()
            {
                return;
            }
            if ended(&mut client).is_some() {
                return;
            }
        }
    });
}
