//! How connections come to their end with their server: idle ones, HTTP/2, websockets, other tunnels. On an invented clock.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, Method, StatusCode};
use proptest::prelude::*;
use sc_http::client::{Incoming, Outgoing, h2_handshake};
use sc_http::h1::{Served, serve};
use sc_http::{
    Answer, Body, ClientLimits, Drain, Duplex, End, Exchange, Fault, Head, Interim, Limits, Meter, Payload, Protocol,
    Scheme, Service,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::run;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A drain whose delays are 10, 20 and 30 seconds.
fn drain() -> Drain {
    Drain {
        begin: CancellationToken::new(),
        hurry: CancellationToken::new(),
        idle_after: Duration::from_secs(10),
        goaway_after: Duration::from_secs(20),
        last_call: CancellationToken::new(),
        tunnel_after: Duration::from_secs(30),
    }
}

fn h1<S: Service>(service: Rc<S>, drain: &Drain, limits: Limits) -> (DuplexStream, JoinHandle<Option<Fault>>) {
    let (near, far) = duplex(1 << 16);
    let drain = drain.clone();
    let served = spawn_local(async move {
        match serve(far, BytesMut::new(), Scheme::Http, service, &limits, drain).await {
            Served::Closed(fault) => fault,
            Served::Handover { .. } => panic!("nobody asked for that"),
        }
    });
    (near, served)
}

async fn hear(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut space = [0; 4000];
    let read = stream.read(&mut space).await.unwrap();
    String::from_utf8_lossy(&space[..read]).into_owned()
}

/// Seconds since `start`, rounded.
fn since(start: Instant) -> u64 {
    (start.elapsed().as_millis() as u64 + 500) / 1000
}

#[test]
fn an_idle_connection_is_kept_for_a_while_and_answers_once_more() {
    run(async {
        let drain = drain();
        let (mut stream, served) = h1(Rc::new(App::default()), &drain, Limits::default());
        stream.write_all(GET).await.unwrap();
        assert!(!hear(&mut stream).await.contains("close"));
        drain.begin.cancel();
        sleep(Duration::from_secs(9)).await;
        stream.write_all(GET).await.unwrap();
        let answer = hear(&mut stream).await;
        assert!(
            answer.contains("connection: close") && answer.ends_with("hello"),
            "{answer}"
        );
        assert_eq!(hear(&mut stream).await, "");
        drop(stream);
        assert!(served.await.unwrap().is_none());
    });
}

#[test]
fn an_idle_connection_ends_late_and_reads_on_for_a_while() {
    for (idle_time, expected) in [(75, 10), (4, 4)] {
        run(async {
            let drain = drain();
            let limits = Limits {
                idle_time: Duration::from_secs(idle_time),
                ..Limits::default()
            };
            let (mut stream, served) = h1(Rc::new(App::default()), &drain, limits);
            stream.write_all(GET).await.unwrap();
            hear(&mut stream).await;
            let start = Instant::now();
            drain.begin.cancel();
            assert_eq!(hear(&mut stream).await, "");
            assert_eq!(since(start), expected);
            // A request that crossed our end is read, and not met by a reset.
            sleep(Duration::from_secs(1)).await;
            stream.write_all(GET).await.unwrap();
            assert!(served.await.unwrap().is_none());
            assert_eq!(since(start), expected + 5);
        });
    }
}

#[test]
fn in_a_hurry_idle_connections_end_and_exchanges_finish() {
    run(async {
        let drain = drain();
        let (mut idle, _served) = h1(Rc::new(App::default()), &drain, Limits::default());
        idle.write_all(GET).await.unwrap();
        hear(&mut idle).await;
        let (mut busy, _served) = h1(Rc::new(App::default()), &drain, Limits::default());
        busy.write_all(b"GET /slow?60000 HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let (mut fresh, _served) = h1(Rc::new(App::default()), &drain, Limits::default());
        let start = Instant::now();
        drain.begin.cancel();
        sleep(Duration::from_secs(3)).await;
        drain.hurry.cancel();
        assert_eq!(hear(&mut idle).await, "");
        assert_eq!(since(start), 3);
        sleep(Duration::from_secs(1)).await;
        fresh.write_all(GET).await.unwrap();
        assert!(hear(&mut fresh).await.contains("connection: close"));
        let answer = hear(&mut busy).await;
        assert!(
            answer.contains("connection: close") && answer.ends_with("slow"),
            "{answer}"
        );
        assert_eq!(since(start), 60);
    });
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Kind, flags, stream and payload of the next frame of HTTP/2; `None` at the end.
async fn next_frame(stream: &mut DuplexStream) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let [a, b, c, kind, flags, stream_id @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    stream.read_exact(&mut payload).await.ok()?;
    Some((kind, flags, u32::from_be_bytes(stream_id), payload))
}

/// The next frame of one kind.
async fn next_of(stream: &mut DuplexStream, wanted: u8) -> (u8, u32, Vec<u8>) {
    loop {
        let (kind, flags, id, payload) = next_frame(stream).await.expect("a frame");
        if kind == wanted {
            return (flags, id, payload);
        }
    }
}

#[test]
fn http2_is_told_in_two_steps_and_streams_between_are_answered() {
    for is_hurried in [false, true] {
        run(async move {
            let drain = drain();
            let (mut near, far) = duplex(1 << 16);
            let serving = drain.clone();
            let app = Rc::new(App::default());
            let served = spawn_local(async move { sc_http::h2::serve(far, app, &Limits::default(), serving).await });
            let request = |stream| frame(1, 5, stream, &[0x82, 0x87, 0x84, 0x01, 1, b'a']);
            let hello = [
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
                frame(4, 0, 0, &[]),
                request(1),
            ];
            near.write_all(&hello.concat()).await.unwrap();
            assert_eq!(next_of(&mut near, 0).await, (1, 1, b"hello".to_vec()));
            let start = Instant::now();
            drain.begin.cancel();
            sleep(Duration::from_secs(7)).await;
            near.write_all(&request(3)).await.unwrap();
            assert_eq!(next_of(&mut near, 0).await, (1, 3, b"hello".to_vec()));
            if is_hurried {
                drain.hurry.cancel();
            }
            let (_, _, first) = next_of(&mut near, 7).await;
            assert_eq!(since(start), if is_hurried { 7 } else { 20 });
            assert_eq!(first, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
            let (flags, _, ping) = next_of(&mut near, 6).await;
            assert_eq!(flags, 0);
            // What was sent before the client can have read that is answered all the same.
            near.write_all(&request(5)).await.unwrap();
            assert_eq!(next_of(&mut near, 0).await, (1, 5, b"hello".to_vec()));
            near.write_all(&frame(6, 1, 0, &ping)).await.unwrap();
            let (_, _, second) = next_of(&mut near, 7).await;
            assert_eq!(second, [0, 0, 0, 5, 0, 0, 0, 0]);
            assert_eq!(next_frame(&mut near).await, None);
            drop(near);
            assert!(served.await.unwrap().is_none());
        });
    }
}

#[test]
fn an_http2_client_that_opens_stream_after_stream_is_told_when_it_pauses_or_at_the_last_call() {
    // The client opens a stream every 600 ms until then; the last call is at 40 s, if there is one.
    for (pauses_at, has_last_call, hurries, told_at) in [
        (30, false, false, 30),
        (300, true, false, 60),
        (30, false, true, 0),
        (0, false, false, 20),
    ] {
        run(async move {
            let drain = drain();
            let (mut near, far) = duplex(1 << 16);
            let serving = drain.clone();
            let app = Rc::new(App::default());
            spawn_local(async move { sc_http::h2::serve(far, app, &Limits::default(), serving).await });
            let hello = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[])];
            near.write_all(&hello.concat()).await.unwrap();
            let start = Instant::now();
            drain.begin.cancel();
            if hurries {
                drain.hurry.cancel();
            }
            // A long download hinders nothing.
            let slow = [
                0x82, 0x87, 0x04, 11, b'/', b's', b'l', b'o', b'w', b'?', b'9', b'0', b'0', b'0', b'0',
            ];
            let slow = [&slow[..], &[0x01, 1, b'a']].concat();
            near.write_all(&frame(1, 5, 1, &slow)).await.unwrap();
            let (told, mut stream) = (Cell::new(None), 3);
            let (mut reading, mut writing) = tokio::io::split(near);
            let told_of_goaway = async {
                let mut bytes = Vec::new();
                let mut space = [0; 4000];
                while !bytes
                    .windows(17)
                    .any(|seen| seen[3] == 7 && seen[9..13] == [0x7f, 0xff, 0xff, 0xff])
                {
                    let read = reading.read(&mut space).await.unwrap();
                    assert!(read > 0, "it ends with its last exchange");
                    bytes.extend_from_slice(&space[..read]);
                }
                told.set(Some(since(start)));
            };
            let opens = async {
                while told.get().is_none() {
                    if since(start) < pauses_at {
                        let get = [0x82, 0x87, 0x84, 0x01, 1, b'a'];
                        writing.write_all(&frame(1, 5, stream, &get)).await.unwrap();
                        stream += 2;
                    }
                    sleep(Duration::from_millis(600)).await;
                    if has_last_call && since(start) >= 40 {
                        drain.last_call.cancel();
                    }
                }
            };
            tokio::join!(told_of_goaway, opens);
            assert_eq!(told.get(), Some(told_at), "{pauses_at} {has_last_call} {hurries}");
        });
    }
}

#[test]
fn a_fresh_http2_connection_is_given_the_time_for_its_first_request() {
    run(async {
        let drain = Drain {
            goaway_after: Duration::ZERO,
            ..drain()
        };
        drain.begin.cancel();
        let (mut near, far) = duplex(1 << 16);
        let app = Rc::new(App::default());
        spawn_local(async move { sc_http::h2::serve(far, app, &Limits::default(), drain).await });
        let start = Instant::now();
        let hello = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[])];
        near.write_all(&hello.concat()).await.unwrap();
        sleep(Duration::from_millis(900)).await;
        let get = frame(1, 5, 1, &[0x82, 0x87, 0x84, 0x01, 1, b'a']);
        near.write_all(&get).await.unwrap();
        while next_frame(&mut near).await.expect("a frame").0 != 7 {}
        assert_eq!(since(start), 2, "a second after the first request");
    });
}

#[test]
fn a_client_that_does_not_hear_is_refused_after_a_while() {
    run(async {
        let drain = drain();
        let (mut near, far) = duplex(1 << 16);
        let serving = drain.clone();
        let app = Rc::new(App::default());
        let served = spawn_local(async move { sc_http::h2::serve(far, app, &Limits::default(), serving).await });
        let request = |stream| frame(1, 5, stream, &[0x82, 0x87, 0x84, 0x01, 1, b'a']);
        let hello = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[])];
        near.write_all(&hello.concat()).await.unwrap();
        drain.begin.cancel();
        drain.hurry.cancel();
        next_of(&mut near, 7).await;
        for stream in [1, 3, 5] {
            near.write_all(&request(stream)).await.unwrap();
            assert_eq!(next_of(&mut near, 0).await, (1, stream, b"hello".to_vec()));
            sleep(Duration::from_secs(2)).await;
        }
        near.write_all(&request(7)).await.unwrap();
        assert_eq!(next_of(&mut near, 3).await, (0, 7, vec![0, 0, 0, 7]));
        drop(near);
        assert!(served.await.unwrap().is_none());
    });
}

/// Switches protocols and joins the client to a stream that the test holds.
struct Switch {
    io: RefCell<Option<DuplexStream>>,
    end: Rc<Cell<End>>,
}

struct Noted(Rc<Meter>, Rc<Cell<End>>);

impl Drop for Noted {
    fn drop(&mut self) {
        self.1.set(self.0.end.get());
    }
}

impl Service for Switch {
    async fn answer(&self, exchange: Box<Exchange>) -> Answer {
        let status = if exchange.protocol == Protocol::Http2 {
            StatusCode::OK
        } else {
            StatusCode::SWITCHING_PROTOCOLS
        };
        let io = self.io.borrow_mut().take().expect("one tunnel");
        Answer {
            head: Head::new(status),
            payload: Payload::Tunnel(Box::new(io)),
            guard: Some(Box::new(Noted(exchange.meter.clone(), self.end.clone()))),
        }
    }
}

/// A tunnel that is open: its two ends, its drain, and how its exchange ended.
struct Open {
    client: Box<dyn Duplex>,
    app: DuplexStream,
    drain: Drain,
    end: Rc<Cell<End>>,
}

async fn open(protocol: Protocol, upgrade: &str, room: usize) -> Open {
    let (drain, end) = (drain(), Rc::new(Cell::new(End::Cancelled)));
    let (app, io) = duplex(room);
    let switch = Rc::new(Switch {
        io: RefCell::new(Some(io)),
        end: end.clone(),
    });
    let client: Box<dyn Duplex> = if protocol == Protocol::Http2 {
        let (near, far) = duplex(1 << 16);
        let serving = drain.clone();
        spawn_local(async move { sc_http::h2::serve(far, switch, &Limits::default(), serving).await });
        let (h2, driver) = h2_handshake(near).await.unwrap();
        spawn_local(driver);
        let out = Outgoing {
            method: Method::CONNECT,
            target: "/".into(),
            authority: "a".into(),
            scheme: Scheme::Https,
            headers: HeaderMap::new(),
            upgrade: Some(upgrade.into()),
            body: Body::empty(),
        };
        match h2
            .send(Box::new(out), &Interim::default(), &ClientLimits::default())
            .await
        {
            Ok(Incoming::Upgraded { io, .. }) => io,
            _ => panic!("no tunnel"),
        }
    } else {
        let (mut near, _served) = h1(switch, &drain, Limits::default());
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: {upgrade}\r\n\r\n");
        near.write_all(request.as_bytes()).await.unwrap();
        let head = hear(&mut near).await;
        assert!(
            head.starts_with("HTTP/1.1 101 ") && head.ends_with("\r\n\r\n"),
            "{head}"
        );
        Box::new(near)
    };
    Open {
        client,
        app,
        drain,
        end,
    }
}

/// Runs a story over both protocols.
fn over_both<F: Future<Output = ()>>(upgrade: &'static str, story: impl Fn(Open) -> F) {
    for protocol in [Protocol::Http11, Protocol::Http2] {
        run(async { story(open(protocol, upgrade, 1000).await).await });
    }
}

const CLOSE: [u8; 4] = [0x88, 2, 0x03, 0xe9];

/// Reads our Close as the application gets it, and takes the mask off.
async fn masked_close(app: &mut DuplexStream) -> [u8; 4] {
    let mut close = [0; 8];
    app.read_exact(&mut close).await.unwrap();
    let [first, second, a, b, _, _, code @ ..] = close;
    [first, second & 0x7f, code[0] ^ a, code[1] ^ b]
}

async fn exact(stream: &mut (impl tokio::io::AsyncRead + Unpin), bytes: usize) -> Vec<u8> {
    let mut space = vec![0; bytes];
    stream.read_exact(&mut space).await.unwrap();
    space
}

#[test]
fn an_idle_websocket_is_closed_towards_both_ends_and_ends_with_their_answers() {
    over_both("WebSocket", |open| async move {
        let Open {
            mut client,
            mut app,
            drain,
            end,
        } = open;
        client.write_all(&[0x81, 0x80, 1, 2, 3, 4]).await.unwrap();
        assert_eq!(exact(&mut app, 6).await, [0x81, 0x80, 1, 2, 3, 4]);
        let start = Instant::now();
        drain.begin.cancel();
        assert_eq!(exact(&mut client, 4).await, CLOSE);
        assert_eq!(since(start), 30);
        assert_eq!(masked_close(&mut app).await, CLOSE);
        client.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]).await.unwrap();
        app.write_all(&CLOSE).await.unwrap();
        assert_eq!(client.read(&mut [0; 9]).await.unwrap(), 0);
        assert_eq!(
            app.read(&mut [0; 9]).await.unwrap(),
            0,
            "the answer to our own Close is not passed on"
        );
        assert_eq!(since(start), 30);
        client.shutdown().await.unwrap();
        drop(app);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(end.get(), End::Complete);
    });
}

#[test]
fn a_frame_under_way_is_finished_first_and_nothing_follows_the_close() {
    over_both("websocket", |open| async move {
        let Open {
            mut client,
            mut app,
            drain,
            ..
        } = open;
        // A fragment of 100 bytes, of which ten are there.
        app.write_all(&[0x01, 100]).await.unwrap();
        app.write_all(&[b'a'; 10]).await.unwrap();
        // From the client, a length of which one byte is there.
        client.write_all(&[0x82, 0xfe, 0x01]).await.unwrap();
        assert_eq!(exact(&mut client, 12).await[..2], [0x01, 100]);
        drain.begin.cancel();
        sleep(Duration::from_secs(31)).await;
        let mut rest = vec![b'a'; 90];
        rest.extend([0x80, 3, b'e', b'n', b'd']);
        app.write_all(&rest).await.unwrap();
        assert_eq!(exact(&mut client, 90).await, [b'a'; 90]);
        assert_eq!(exact(&mut client, 4).await, CLOSE, "between two fragments of a message");
        let mut rest = vec![0x00, 9, 9, 9, 9];
        rest.extend([b'b'; 256]);
        rest.extend([0x81, 0x80, 1, 2, 3, 4]);
        client.write_all(&rest).await.unwrap();
        let passed = exact(&mut app, 3 + 5 + 256).await;
        assert_eq!(passed[..8], [0x82, 0xfe, 0x01, 0x00, 9, 9, 9, 9]);
        assert_eq!(masked_close(&mut app).await, CLOSE);
        client.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
        app.write_all(&[0x88, 0]).await.unwrap();
        assert_eq!(client.read(&mut [0; 9]).await.unwrap(), 0);
        assert_eq!(app.read(&mut [0; 9]).await.unwrap(), 0);
    });
}

#[test]
fn ends_that_do_not_answer_are_waited_for_within_bounds() {
    over_both("websocket", |open| async move {
        let Open {
            mut client,
            mut app,
            drain,
            end,
        } = open;
        let start = Instant::now();
        drain.begin.cancel();
        sleep(Duration::from_secs(1)).await;
        drain.hurry.cancel();
        assert_eq!(exact(&mut client, 4).await, CLOSE);
        assert_eq!(since(start), 1);
        assert_eq!(client.read(&mut [0; 9]).await.unwrap(), 0);
        assert_eq!(since(start), 6);
        assert_eq!(masked_close(&mut app).await, CLOSE);
        assert_eq!(app.read(&mut [0; 9]).await.unwrap(), 0);
        sleep(Duration::from_secs(6)).await;
        assert_eq!(end.get(), End::Complete);
    });
}

#[test]
fn a_frame_that_does_not_come_to_its_end_is_given_up() {
    over_both("websocket", |open| async move {
        let Open {
            mut client,
            mut app,
            drain,
            ..
        } = open;
        app.write_all(&[0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0]).await.unwrap();
        assert_eq!(exact(&mut client, 10).await[1], 127);
        let start = Instant::now();
        drain.begin.cancel();
        assert_eq!(
            client.read(&mut [0; 9]).await.unwrap(),
            0,
            "no Close in the middle of a frame"
        );
        assert_eq!(since(start), 35);
    });
}

#[test]
fn a_close_of_their_own_is_not_followed_by_ours() {
    over_both("websocket", |open| async move {
        let Open {
            mut client,
            mut app,
            drain,
            ..
        } = open;
        app.write_all(&[0x88, 2, 0x03, 0xe8]).await.unwrap();
        assert_eq!(exact(&mut client, 4).await, [0x88, 2, 0x03, 0xe8]);
        drain.begin.cancel();
        assert_eq!(masked_close(&mut app).await, CLOSE);
        client.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
        assert_eq!(client.read(&mut [0; 9]).await.unwrap(), 0);
    });
}

#[test]
fn other_tunnels_get_an_end_in_both_directions() {
    over_both("tea", |open| async move {
        let Open {
            mut client,
            mut app,
            drain,
            end,
        } = open;
        app.write_all(b"tea").await.unwrap();
        assert_eq!(exact(&mut client, 3).await, b"tea");
        let start = Instant::now();
        drain.begin.cancel();
        assert_eq!(client.read(&mut [0; 9]).await.unwrap(), 0);
        assert_eq!(app.read(&mut [0; 9]).await.unwrap(), 0);
        assert_eq!(since(start), 30);
        client.shutdown().await.unwrap();
        drop(app);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(end.get(), End::Complete);
    });
}

/// A frame of a server: a header of any of the three forms, and a payload.
fn server_frame(is_last: bool, payload: usize) -> Vec<u8> {
    let mut out = vec![if is_last { 0x82 } else { 0x02 }];
    match payload {
        0..126 => out.push(payload as u8),
        126..65_536 => {
            out.push(126);
            out.extend((payload as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend((payload as u64).to_be_bytes());
        }
    }
    out.extend(vec![b'p'; payload]);
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..Default::default() })]

    /// Whenever it ends, a client gets whole frames, in order, and one Close behind them. Pieces are large
    /// enough for a frame to end within the time that it is given.
    #[test]
    fn a_websocket_ends_between_frames_whenever_that_is(
        frames in prop::collection::vec((any::<bool>(), prop_oneof![0..300usize, 65_500..65_600usize]), 1..12),
        piece in 16..5000usize,
        at in 0..120u64,
        is_http2: bool,
    ) {
        let protocol = if is_http2 { Protocol::Http2 } else { Protocol::Http11 };
        let frames: Vec<_> = frames.into_iter().map(|(is_last, payload)| server_frame(is_last, payload)).collect();
        let got = run(async {
            let Open { mut client, mut app, drain, .. } = open(protocol, "websocket", 20_000).await;
            drain.begin.cancel();
            let hurry = drain.hurry.clone();
            spawn_local(async move {
                sleep(Duration::from_millis(at)).await;
                hurry.cancel();
            });
            let sent = frames.concat();
            spawn_local(async move {
                for piece in sent.chunks(piece) {
                    if app.write_all(piece).await.is_err() {
                        return;
                    }
                    sleep(Duration::from_millis(1)).await;
                }
                let mut rest = Vec::new();
                let _ = app.read_to_end(&mut rest).await;
            });
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            got
        });
        let body = got.strip_suffix(&CLOSE).expect("a Close at the end");
        let mut rest = body;
        for frame in &frames {
            match rest.strip_prefix(&frame[..]) {
                Some(after) => rest = after,
                None => break,
            }
        }
        prop_assert!(rest.is_empty(), "{} of {} bytes are no whole frames", rest.len(), body.len());
    }
}
