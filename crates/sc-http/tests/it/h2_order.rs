//! HTTP/2: which response comes first, how streams share, and how fast a long line is filled. The client is one of bare
//! frames, so that windows and priorities are exactly what a test says.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body::Frame;
use sc_http::client::{Incoming, Outgoing, h2_handshake};
use sc_http::{Body, ClientLimits, Drain, Fault, Interim, Limits, Scheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::app::{App, read_all};
use crate::run;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const PRIORITY_UPDATE: u8 = 16;
const END_STREAM: u8 = 1;

/// A client that asks for things and notes what comes.
struct Raw {
    io: DuplexStream,
    heard: Vec<u8>,
    /// Whether the connection's window is kept as narrow as it is at first.
    is_narrow: bool,
    /// How fast it is widened again, in bytes per second, when that is not at once.
    rate: Option<u32>,
    /// DATA by stream, in order.
    data: Vec<(u32, usize)>,
    /// Streams that have ended, in order.
    ended: Vec<u32>,
    settings: Vec<u8>,
    /// What it asks for.
    path: &'static str,
}

impl Raw {
    /// Connects to a server with windows that never end, but for the connection's where it is narrow.
    async fn connect(limits: Limits, (near, far): (DuplexStream, DuplexStream), is_narrow: bool) -> Raw {
        tokio::task::spawn_local(async move {
            let drain = Drain::at_once(CancellationToken::new());
            sc_http::h2::serve(far, Rc::new(App::default()), &limits, drain).await
        });
        let mut raw = Raw {
            io: near,
            heard: Vec::new(),
            is_narrow,
            rate: None,
            data: Vec::new(),
            ended: Vec::new(),
            settings: Vec::new(),
            path: "/big",
        };
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        hello.extend(frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]));
        if !is_narrow {
            hello.extend(frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000u32.to_be_bytes()));
        }
        raw.io.write_all(&hello).await.unwrap();
        raw
    }

    /// Asks for several things at once: streams, how many bytes, and the `priority` field.
    async fn ask(&mut self, requests: &[(u32, usize, Option<&str>)]) {
        let mut bytes = Vec::new();
        for (stream, wanted, priority) in requests {
            // `GET`, `https`.
            let mut block = vec![0x82, 0x87];
            let mut literal = |name: &[u8], value: &str| {
                block.extend_from_slice(name);
                block.push(value.len() as u8);
                block.extend_from_slice(value.as_bytes());
            };
            literal(&[0x01], "a.example");
            literal(&[0x04], &format!("{}?{wanted}", self.path));
            if let Some(priority) = priority {
                literal(b"\x00\x08priority", priority);
            }
            bytes.extend(frame(HEADERS, END_STREAM | 4, *stream, &block));
        }
        self.io.write_all(&bytes).await.unwrap();
    }

    /// Reads until this holds.
    async fn until(&mut self, is_enough: impl Fn(&Raw) -> bool) {
        let mut space = vec![0; 64 << 10];
        while !is_enough(self) {
            let read = self.io.read(&mut space).await.unwrap();
            assert!(read > 0, "the server ended after {:?}", self.ended);
            self.heard.extend_from_slice(&space[..read]);
            let (mut at, mut taken) = (0, 0);
            while let Some(head) = self.heard.get(at..at + 9) {
                let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                let (kind, flags) = (head[3], head[4]);
                let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
                let Some(payload) = self.heard.get(at + 9..at + 9 + length) else {
                    break;
                };
                match kind {
                    DATA => {
                        taken += length;
                        self.data.push((stream, length));
                    }
                    SETTINGS if flags == 0 => self.settings = payload.to_vec(),
                    3 | 7 => panic!("a frame of type {kind}: {payload:?}"),
                    _ => {}
                }
                if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                    self.ended.push(stream);
                }
                at += 9 + length;
            }
            self.heard.drain(..at);
            if self.is_narrow && taken > 0 {
                if let Some(rate) = self.rate {
                    tokio::time::sleep(Duration::from_secs(taken as u64) / rate).await;
                }
                let wider = frame(WINDOW_UPDATE, 0, 0, &(taken as u32).to_be_bytes());
                self.io.write_all(&wider).await.unwrap();
            }
        }
    }

    fn came(&self, stream: u32) -> usize {
        self.data
            .iter()
            .filter(|(other, _)| *other == stream)
            .map(|(_, bytes)| bytes)
            .sum()
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn urgent_responses_come_first_on_a_narrow_line() {
    for is_narrow in [false, true] {
        run(async move {
            let mut raw = Raw::connect(Limits::default(), duplex(4 << 10), is_narrow).await;
            let bytes = 600 << 10;
            let wanted = [
                (1, bytes, Some("u=7")),
                (3, bytes, Some("u=1")),
                (5, bytes, None),
                (7, bytes, Some("u=0")),
                (9, bytes, Some("u=1")),
            ];
            raw.ask(&wanted).await;
            raw.until(|raw| raw.ended.len() == wanted.len()).await;
            assert_eq!(raw.ended, [7, 3, 9, 5, 1], "narrow: {is_narrow}");
            // SETTINGS_NO_RFC7540_PRIORITIES.
            assert!(raw.settings.chunks(6).any(|setting| setting == [0, 9, 0, 0, 0, 1]));
        });
    }
}

#[test]
fn a_priority_update_changes_what_comes_next() {
    run(async {
        let mut raw = Raw::connect(Limits::default(), duplex(4 << 10), false).await;
        let bytes = 1 << 20;
        raw.ask(&[(1, bytes, Some("u=2")), (3, bytes, Some("u=2"))]).await;
        raw.until(|raw| raw.came(1) > 100_000).await;
        assert_eq!(raw.came(3), 0, "one after the other");
        let update =
            |stream: u32, field: &[u8]| frame(PRIORITY_UPDATE, 0, 0, &[&stream.to_be_bytes()[..], field].concat());
        // Also for a stream to come, and whatever its request says.
        let updates = [update(3, b"u=0"), update(5, b"u=1, i")].concat();
        raw.io.write_all(&updates).await.unwrap();
        let before = raw.came(1);
        raw.ask(&[(5, bytes, Some("u=7"))]).await;
        raw.until(|raw| raw.ended.len() == 3).await;
        assert_eq!(raw.ended, [3, 5, 1]);
        let until_third = raw.data.iter().rposition(|(stream, _)| *stream == 3).unwrap();
        let between: usize = raw.data[..until_third]
            .iter()
            .filter(|(stream, _)| *stream == 1)
            .map(|(_, bytes)| bytes)
            .sum();
        // What waits in the engine, in its cork and in the line is not called back.
        assert!(between < before + (160 << 10), "{before}, then {between}");
    });
}

#[test]
fn what_is_in_memory_keeps_to_windows_and_order_too() {
    run(async {
        let mut raw = Raw::connect(Limits::default(), duplex(64 << 10), true).await;
        raw.path = "/now";
        // Two that are small, one that is not, and others for which there is no window then but that are urgent.
        let wanted = [
            (1, 1000, None),
            (3, 1000, None),
            (5, 200_000, Some("u=5")),
            (7, 10_000, Some("u=1")),
            (9, 10_000, Some("u=0")),
        ];
        raw.ask(&wanted).await;
        raw.until(|raw| raw.ended.len() == wanted.len()).await;
        assert_eq!(raw.ended.last(), Some(&5), "{:?}", raw.ended);
        for (stream, bytes, _) in wanted {
            assert_eq!(raw.came(stream), bytes, "stream {stream}");
        }
        // Many at once, of which the window takes a few.
        let many: Vec<_> = (5..25).map(|at| (2 * at + 1, 10_000, None)).collect();
        raw.ask(&many).await;
        raw.until(|raw| raw.ended.len() == wanted.len() + many.len()).await;
        for (stream, bytes, _) in many {
            assert_eq!(raw.came(stream), bytes, "stream {stream}");
        }
    });
}

#[test]
fn a_thousand_streams_share_fairly() {
    run(async {
        let limits = Limits {
            streams: 1000,
            ..Limits::default()
        };
        let mut raw = Raw::connect(limits, duplex(64 << 10), false).await;
        let bytes = 64 << 10;
        let wanted: Vec<_> = (0..1000).map(|at| (2 * at + 1, bytes, None)).collect();
        raw.ask(&wanted).await;
        raw.until(|raw| raw.data.iter().map(|(_, bytes)| bytes).sum::<usize>() >= 500 * bytes)
            .await;
        let mut came: BTreeMap<u32, usize> = BTreeMap::new();
        for (stream, bytes) in &raw.data {
            *came.entry(*stream).or_default() += bytes;
        }
        let (least, most) = (came.values().min().unwrap(), came.values().max().unwrap());
        assert_eq!(came.len(), 1000, "each has got something");
        assert!(
            most - least <= 32 << 10,
            "half of all has come: {least} to {most} of {bytes}"
        );
        raw.until(|raw| raw.ended.len() == 1000).await;
    });
}

#[test]
fn who_waits_for_others_is_not_taken_for_one_that_does_not_read() {
    run(async {
        let mut raw = Raw::connect(Limits::default(), duplex(64 << 10), true).await;
        raw.rate = Some(25_000);
        let bytes = 300 << 10;
        // Two minutes for all: those that share have a tenth of the rate each, and the last one waits for nine others.
        let shared: Vec<_> = (0..10).map(|at| (2 * at + 1, bytes, None)).collect();
        raw.ask(&shared).await;
        raw.until(|raw| raw.ended.len() == 10).await;
        let followed: Vec<_> = (10..20).map(|at| (2 * at + 1, bytes, Some("u=3"))).collect();
        raw.ask(&followed).await;
        raw.until(|raw| raw.ended.len() == 20).await;
        assert!(raw.ended.iter().all(|id| raw.came(*id) == bytes));
    });
}

#[test]
fn streams_that_are_reset_while_nothing_can_be_written_leave_no_trace() {
    run(async {
        let mut raw = Raw::connect(Limits::default(), duplex(2 << 10), false).await;
        let bytes = 1 << 20;
        for round in 0..12 {
            let ids = [1, 3, 5, 7].map(|id| 8 * round + id);
            raw.ask(&ids.map(|id| (id, bytes, None))).await;
            raw.until(|raw| ids.iter().all(|id| raw.came(*id) > 0)).await;
            // Nothing is read meanwhile. The answer to the PING cannot be written, so what follows it must wait.
            let resets = ids.map(|id| frame(RST_STREAM, 0, id, &[0, 0, 0, 8])).concat();
            let bytes = [frame(PING, 0, 0, &[0; 8]), resets].concat();
            raw.io.write_all(&bytes).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        raw.ask(&[(1001, bytes, None)]).await;
        let whole = raw.until(|raw| raw.ended.contains(&1001));
        let whole = tokio::time::timeout(Duration::from_secs(3600), whole).await;
        whole.expect("room for those that were not reset");
        // As large as the pieces that the application makes, not crumbs that fit into what room is left.
        let frames = raw.data.iter().filter(|(id, _)| *id == 1001).count();
        assert!(frames < 2 * bytes / 10_000, "{frames} frames");
    });
}

/// A body of zeroes.
struct Zeroes(usize);

impl http_body::Body for Zeroes {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        const PIECE: &[u8] = &[0; 64 << 10];
        let part = self.0.min(PIECE.len());
        self.0 -= part;
        Poll::Ready((part > 0).then(|| Ok(Frame::data(Bytes::from_static(&PIECE[..part])))))
    }
}

/// A line of any width on which every byte takes this long.
fn long_line(delay: Duration) -> (DuplexStream, DuplexStream) {
    let (near, near_end) = duplex(64 << 10);
    let (far, far_end) = duplex(64 << 10);
    let (near_read, near_write) = tokio::io::split(near_end);
    let (far_read, far_write) = tokio::io::split(far_end);
    for (mut from, mut to) in [(near_read, far_write), (far_read, near_write)] {
        let (queue, mut queued) = tokio::sync::mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
        tokio::task::spawn_local(async move {
            let mut space = vec![0; 64 << 10];
            while let Ok(read @ 1..) = from.read(&mut space).await {
                let _ = queue.send((Instant::now() + delay, space[..read].to_vec()));
            }
        });
        tokio::task::spawn_local(async move {
            while let Some((due, bytes)) = queued.recv().await {
                tokio::time::sleep_until(due).await;
                if to.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        });
    }
    (near, far)
}

#[test]
fn one_stream_fills_a_long_line_in_both_directions() {
    const BYTES: usize = 64 << 20;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let moving = async {
        // 50 ms there and back, on a clock that moves only while everything waits: what counts is how often it has to.
        let (near, far) = long_line(Duration::from_millis(25));
        tokio::task::spawn_local(async move {
            let drain = Drain::at_once(CancellationToken::new());
            sc_http::h2::serve(far, Rc::new(App::default()), &Limits::default(), drain).await
        });
        let (h2, driver) = h2_handshake(near).await.unwrap();
        tokio::task::spawn_local(driver);
        let out = Outgoing {
            method: Method::POST,
            target: "/sink".into(),
            authority: "a.example".into(),
            scheme: Scheme::Https,
            headers: HeaderMap::new(),
            upgrade: None,
            body: Body::stream(Zeroes(BYTES)),
        };
        let began = Instant::now();
        let (interim, limits) = (Interim::default(), ClientLimits::default());
        let Ok(Incoming::Response { mut body, .. }) = h2.send(Box::new(out), &interim, &limits).await else {
            panic!("no response")
        };
        let (said, _) = read_all(&mut body).await.unwrap();
        assert_eq!(said, format!("{BYTES} bytes, 0 trailers").as_bytes());
        let up = began.elapsed();
        // With the first window alone, 256 KiB a round trip, it would be 12.8 s.
        assert!(up < Duration::from_millis(2500), "up: {up:?}");

        let began = Instant::now();
        let mut raw = Raw::connect(Limits::default(), long_line(Duration::from_millis(25)), false).await;
        raw.ask(&[(1, BYTES, None)]).await;
        raw.until(|raw| raw.ended.len() == 1).await;
        assert_eq!(raw.came(1), BYTES);
        let down = began.elapsed();
        assert!(down < Duration::from_millis(500), "down: {down:?}");
    };
    tokio::task::LocalSet::new().block_on(&runtime, Box::pin(moving));
}
