//! Relaying: every byte, both directions, half-close, bulk through pipes, idling and torn streams.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use sc_net::relay::{RelayEnd, RelayLimits};
use sc_net::{Connection, Relayed, Stream, copy_both, relay};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::help::{connection, soon, tcp_pair};

const BULK_BYTES: usize = 50_000_000;

/// Bytes that differ at every place and for every seed.
fn pattern(seed: u64, from: usize, into: &mut [u8]) {
    for (at, chunk) in into.chunks_mut(8).enumerate() {
        let word = ((from / 8 + at) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed;
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
}

async fn send(mut to: impl AsyncWrite + Unpin, seed: u64, count: usize) {
    let mut buffer = vec![0; 64 * 1024];
    let mut sent = 0;
    while sent < count {
        let part = buffer.len().min(count - sent);
        pattern(seed, sent, &mut buffer[..part]);
        to.write_all(&buffer[..part]).await.unwrap();
        sent += part;
    }
    to.shutdown().await.unwrap();
}

async fn receive(mut from: impl AsyncRead + Unpin, seed: u64, count: usize) {
    let mut buffer = vec![0; 64 * 1024];
    let mut expected = vec![0; 64 * 1024];
    let mut got = 0;
    while got < count {
        let part = buffer.len().min(count - got);
        from.read_exact(&mut buffer[..part]).await.unwrap();
        pattern(seed, got, &mut expected[..part]);
        assert!(buffer[..part] == expected[..part], "bytes differ after {got}");
        got += part;
    }
    assert_eq!(from.read(&mut buffer).await.unwrap(), 0, "more than was sent");
}

/// Sends bulk both ways at once through a relay.
async fn check_bulk<C, U>(client: C, served: Connection, upstream: Stream, app: U) -> Relayed
where
    C: AsyncRead + AsyncWrite,
    U: AsyncRead + AsyncWrite,
{
    let (client_reads, client_writes) = tokio::io::split(client);
    let (app_reads, app_writes) = tokio::io::split(app);
    let (limits, never) = (RelayLimits::default(), CancellationToken::new());
    let all = async {
        tokio::join!(
            relay(served, upstream, &limits, &never),
            send(client_writes, 1, BULK_BYTES),
            receive(app_reads, 1, BULK_BYTES),
            send(app_writes, 2, BULK_BYTES),
            receive(client_reads, 2, BULK_BYTES),
        )
    };
    let (relayed, ..) = tokio::time::timeout(Duration::from_secs(120), all)
        .await
        .expect("bulk within two minutes");
    assert!(matches!(relayed.end, RelayEnd::Finished), "{relayed:?}");
    assert_eq!(
        (relayed.sent_bytes, relayed.received_bytes),
        (BULK_BYTES as u64, BULK_BYTES as u64)
    );
    relayed
}

#[tokio::test]
async fn bulk_between_tcp_sockets_is_spliced() {
    let (client, served) = connection().await;
    let (upstream, app) = tcp_pair().await;
    let relayed = check_bulk(client, served, upstream.into(), app).await;
    assert!(relayed.spliced_bytes > BULK_BYTES as u64, "{relayed:?}");
}

#[tokio::test]
async fn bulk_to_a_unix_socket_is_spliced_too() {
    let (client, served) = connection().await;
    let (upstream, app) = UnixStream::pair().unwrap();
    let relayed = check_bulk(client, served, upstream.into(), app).await;
    assert!(relayed.spliced_bytes > BULK_BYTES as u64, "{relayed:?}");
}

#[tokio::test]
async fn streams_of_any_kind_are_copied() {
    let (client, near) = tokio::io::duplex(100_000);
    let (far, app) = tokio::io::duplex(1000);
    let limits = RelayLimits::default();
    let (client_reads, client_writes) = tokio::io::split(client);
    let (app_reads, app_writes) = tokio::io::split(app);
    let (relayed, ..) = soon("copying", async {
        tokio::join!(
            copy_both(near, BytesMut::new(), far, &limits),
            send(client_writes, 3, 1_000_003),
            receive(app_reads, 3, 1_000_003),
            send(app_writes, 4, 999),
            receive(client_reads, 4, 999),
        )
    })
    .await;
    assert!(matches!(relayed.end, RelayEnd::Finished));
    assert_eq!(
        (relayed.sent_bytes, relayed.received_bytes, relayed.spliced_bytes),
        (1_000_003, 999, 0)
    );
}

/// A relay between two TCP connections, with its outcome.
async fn with_relay<F: Future<Output = ()>>(
    limits: RelayLimits,
    story: impl FnOnce(TcpStream, TcpStream) -> F,
) -> Relayed {
    let (client, served) = connection().await;
    let (upstream, app) = tcp_pair().await;
    let never = CancellationToken::new();
    let (relayed, ()) = soon("a relay", async {
        tokio::join!(relay(served, upstream.into(), &limits, &never), story(client, app))
    })
    .await;
    relayed
}

async fn say(to: &mut TcpStream, text: &str) {
    to.write_all(text.as_bytes()).await.unwrap();
}

async fn hear(from: &mut TcpStream, text: &str) {
    let mut got = vec![0; text.len()];
    from.read_exact(&mut got).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&got), text);
}

async fn hear_end(from: &mut TcpStream) {
    assert_eq!(from.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn the_client_may_end_first() {
    let relayed = with_relay(RelayLimits::default(), |mut client, mut app| async move {
        say(&mut client, "question").await;
        client.shutdown().await.unwrap();
        hear(&mut app, "question").await;
        hear_end(&mut app).await;
        for _ in 0..3 {
            say(&mut app, "answer").await;
            hear(&mut client, "answer").await;
        }
        app.shutdown().await.unwrap();
        hear_end(&mut client).await;
    })
    .await;
    assert!(matches!(relayed.end, RelayEnd::Finished));
    assert_eq!(
        (relayed.sent_bytes, relayed.received_bytes, relayed.spliced_bytes),
        (8, 18, 0)
    );
}

#[tokio::test]
async fn the_upstream_may_end_first() {
    let relayed = with_relay(RelayLimits::default(), |mut client, mut app| async move {
        say(&mut app, "greeting").await;
        app.shutdown().await.unwrap();
        hear(&mut client, "greeting").await;
        hear_end(&mut client).await;
        for _ in 0..3 {
            say(&mut client, "more").await;
            hear(&mut app, "more").await;
        }
        client.shutdown().await.unwrap();
        hear_end(&mut app).await;
    })
    .await;
    assert!(matches!(relayed.end, RelayEnd::Finished));
    assert_eq!((relayed.sent_bytes, relayed.received_bytes), (12, 8));
}

#[tokio::test]
async fn what_was_read_ahead_goes_first() {
    let (mut client, mut served) = connection().await;
    served.read_ahead.extend_from_slice(b"read ahead, ");
    let (upstream, mut app) = tcp_pair().await;
    let (limits, never) = (RelayLimits::default(), CancellationToken::new());
    let (relayed, ()) = soon("a relay", async {
        tokio::join!(relay(served, upstream.into(), &limits, &never), async {
            say(&mut client, "then the rest").await;
            hear(&mut app, "read ahead, then the rest").await;
            drop((client, app));
        })
    })
    .await;
    assert_eq!(relayed.sent_bytes, 25);
}

#[tokio::test]
async fn a_transfer_may_be_bulky_and_small_by_turns() {
    let relayed = with_relay(RelayLimits::default(), |mut client, mut app| async move {
        let mut bulk = vec![0; 2_000_000];
        let mut got = vec![0; 2_000_000];
        for seed in 0..3 {
            pattern(seed, 0, &mut bulk);
            let (sent, read) = tokio::join!(client.write_all(&bulk), app.read_exact(&mut got));
            sent.unwrap();
            read.unwrap();
            assert!(got == bulk);
            for at in 0..30 {
                say(&mut client, &format!("small {at:2}")).await;
                hear(&mut app, &format!("small {at:2}")).await;
                say(&mut app, "yes").await;
                hear(&mut client, "yes").await;
            }
        }
    })
    .await;
    assert!(relayed.spliced_bytes > 3_000_000, "{relayed:?}");
    assert_eq!(relayed.received_bytes, 270);
}

fn is_reset(result: io::Result<usize>) -> bool {
    result.is_err_and(|fault| fault.kind() == io::ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn a_torn_stream_is_passed_on_as_torn() {
    let relayed = with_relay(RelayLimits::default(), |mut client, mut app| async move {
        say(&mut app, "half an ans").await;
        hear(&mut client, "half an ans").await;
        socket2::SockRef::from(&app).set_linger(Some(Duration::ZERO)).unwrap();
        drop(app);
        assert!(
            is_reset(client.read(&mut [0; 8]).await),
            "the client must not take it for a whole answer"
        );
    })
    .await;
    assert!(matches!(relayed.end, RelayEnd::Upstream(_)), "{relayed:?}");

    let relayed = with_relay(RelayLimits::default(), |mut client, mut app| async move {
        say(&mut client, "half a quest").await;
        hear(&mut app, "half a quest").await;
        socket2::SockRef::from(&client)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(client);
        assert!(is_reset(app.read(&mut [0; 8]).await));
    })
    .await;
    assert!(matches!(relayed.end, RelayEnd::Client(_)), "{relayed:?}");
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_relay_sooner_when_half_closed() {
    let limits = RelayLimits {
        idle: Duration::from_secs(600),
        half_closed_idle: Duration::from_secs(60),
    };
    let (client, near) = tokio::io::duplex(100);
    let (far, app) = tokio::io::duplex(100);
    let begun = tokio::time::Instant::now();
    let relayed = copy_both(near, BytesMut::new(), far, &limits).await;
    assert!(matches!(relayed.end, RelayEnd::Idle));
    assert_eq!(begun.elapsed().as_secs(), 600);
    drop((client, app));

    let (mut client, near) = tokio::io::duplex(100);
    let (far, mut app) = tokio::io::duplex(100);
    let begun = tokio::time::Instant::now();
    let (relayed, ()) = tokio::join!(copy_both(near, BytesMut::new(), far, &limits), async {
        tokio::time::sleep(Duration::from_secs(500)).await;
        client.write_all(b"still here").await.unwrap();
        tokio::time::sleep(Duration::from_secs(500)).await;
        client.shutdown().await.unwrap();
        app.read_exact(&mut [0; 10]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(200)).await;
    });
    assert!(matches!(relayed.end, RelayEnd::Idle));
    assert_eq!(begun.elapsed().as_secs(), 1200);
    assert_eq!(relayed.sent_bytes, 10);
}

#[tokio::test]
async fn a_slow_reader_holds_the_writer_up() {
    let (client, near) = tokio::io::duplex(1_000_000);
    let (far, app) = tokio::io::duplex(1000);
    let limits = RelayLimits::default();
    let (mut reads, mut writes) = (app, client);
    let copying = copy_both(near, BytesMut::new(), far, &limits);
    let story = async {
        let bulk = vec![7; 3_000_000];
        let mut written = 0;
        // Nobody reads: what is taken is bounded by the buffers between.
        while let Ok(count) = tokio::time::timeout(Duration::from_millis(100), writes.write(&bulk[written..])).await {
            written += count.unwrap();
        }
        assert!(written <= 1_000_000 + 1000 + 64 * 1024, "{written} bytes were taken");
        let (sent, got) = tokio::join!(
            async {
                writes.write_all(&bulk[written..]).await.unwrap();
                writes.shutdown().await.unwrap();
            },
            async {
                let mut got = Vec::new();
                reads.read_to_end(&mut got).await.unwrap();
                reads.shutdown().await.unwrap();
                got
            }
        );
        let () = sent;
        assert!(got == bulk);
    };
    soon("a slow reader", async { tokio::join!(copying, story) }).await;
}

#[tokio::test]
async fn a_relay_that_is_stopped_ends_both_streams_and_says_what_it_moved() {
    let (mut client, served) = connection().await;
    let (upstream, mut app) = tcp_pair().await;
    let (limits, stop) = (RelayLimits::default(), CancellationToken::new());
    let (relayed, ()) = soon("a relay", async {
        tokio::join!(relay(served, upstream.into(), &limits, &stop), async {
            say(&mut client, "question").await;
            hear(&mut app, "question").await;
            say(&mut app, "answer").await;
            hear(&mut client, "answer").await;
            stop.cancel();
            // Neither end is reset, also when it had more to say.
            assert_eq!(client.read(&mut [0; 10]).await.unwrap(), 0);
            assert_eq!(app.read(&mut [0; 10]).await.unwrap(), 0);
            say(&mut client, "too late").await;
            say(&mut app, "too late").await;
            drop(client.into_std());
            drop(app.into_std());
        })
    })
    .await;
    assert!(matches!(relayed.end, RelayEnd::Stopped), "{relayed:?}");
    assert_eq!((relayed.sent_bytes, relayed.received_bytes), (8, 6));
}
