//! The line in invented time.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::task::LocalSet;

use super::*;
use crate::Tasks;

fn line(bandwidth: Option<u64>) -> Line {
    Line {
        shape: Shape {
            bandwidth,
            latency: None,
        },
        free: Cell::new(None),
    }
}

#[tokio::test(start_paused = true)]
async fn the_line_sends_at_its_rate_and_bursts_no_more_than_its_bucket() {
    let line = line(Some(100_000));
    let begun = Instant::now();
    // 100 kB take a second, of which the first bucket is free.
    let mut left = begun;
    for _ in 0..100 {
        left = line.reserve(begun, 1000);
    }
    assert_eq!(left - begun, Duration::from_secs(1) - BURST);
    // After a long silence there is one bucket again, and no more.
    let later = begun + Duration::from_secs(3600);
    assert_eq!(line.reserve(later, 5000), later);
    assert_eq!(line.reserve(later, 5000) - later, Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn without_a_bandwidth_nothing_waits() {
    let now = Instant::now();
    assert_eq!(line(None).reserve(now, usize::MAX), now);
    assert_eq!(line(Some(0)).reserve(now, 1 << 40), now);
    assert!(Shape::default().is_off());
    assert!(
        !Shape {
            bandwidth: None,
            latency: Some(Duration::from_millis(1))
        }
        .is_off()
    );
}

/// Runs `with` with a shaped stream, its other end and the time it began.
async fn shaped<F: Future<Output = ()>>(shape: Shape, with: impl FnOnce(Stream, UnixStream, Instant) -> F) {
    LocalSet::new()
        .run_until(async {
            let tasks = Tasks::new(|panicked| panic!("{panicked:?}"));
            let (near, far) = UnixStream::pair().unwrap();
            let shaper = Shaper::new(shape, tasks.spawner());
            with(shaper.apply(near.into()), far, Instant::now()).await;
            tokio::time::timeout(Duration::from_secs(60), tasks.wait())
                .await
                .unwrap();
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn latency_delays_each_write_but_not_the_rate() {
    let shape = Shape {
        bandwidth: None,
        latency: Some(Duration::from_millis(200)),
    };
    shaped(shape, |mut near, mut far, begun| async move {
        near.write_all(b"one").await.unwrap();
        near.flush().await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO);
        tokio::time::sleep(Duration::from_millis(100)).await;
        near.write_all(b"two").await.unwrap();
        let mut got = [0; 3];
        far.read_exact(&mut got).await.unwrap();
        let first = begun.elapsed();
        far.read_exact(&mut got).await.unwrap();
        let second = begun.elapsed();
        assert_eq!(&got, b"two");
        for (found, expected) in [(first, 200), (second, 300)] {
            let late = found.saturating_sub(Duration::from_millis(expected));
            assert!(
                found >= Duration::from_millis(expected) && late <= Duration::from_millis(5),
                "{found:?}"
            );
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn bandwidth_bounds_the_rate_and_everything_written_before_a_drop_arrives() {
    let shape = Shape {
        bandwidth: Some(100_000),
        latency: Some(Duration::from_millis(10)),
    };
    shaped(shape, |mut near, mut far, begun| async move {
        let sent: Vec<u8> = (0..200_000_u32).map(|at| at as u8).collect();
        let copy = sent.clone();
        let (_, got) = tokio::join!(
            async move {
                near.write_all(&copy).await.unwrap();
                drop(near);
            },
            async move {
                let mut got = Vec::new();
                far.read_to_end(&mut got).await.unwrap();
                got
            }
        );
        assert!(got == sent);
        let took = begun.elapsed();
        assert!(
            took > Duration::from_millis(1950) && took < Duration::from_millis(2100),
            "{took:?}"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn shutting_down_waits_for_delivery_and_a_closed_stream_takes_nothing() {
    let shape = Shape {
        bandwidth: None,
        latency: Some(Duration::from_millis(50)),
    };
    shaped(shape, |mut near, mut far, begun| async move {
        near.write_all(b"last words").await.unwrap();
        near.shutdown().await.unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(50));
        near.flush().await.unwrap();
        assert_eq!(near.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"last words");
        far.write_all(b"still read").await.unwrap();
        let mut back = [0; 10];
        near.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"still read");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_gone_is_noticed() {
    let shape = Shape {
        bandwidth: None,
        latency: Some(Duration::from_millis(50)),
    };
    shaped(shape, |mut near, far, _| async move {
        drop(far);
        near.write_all(b"to nobody").await.unwrap();
        assert!(near.shutdown().await.is_err());
    })
    .await;
}
