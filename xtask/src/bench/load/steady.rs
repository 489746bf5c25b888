//! A steady stream of requests, a good deal less than the server could do, and how long each took.
//!
//! Requests are due at fixed times, whatever the answers do. One that waits because its connection is still busy with the
//! one before counts from the time at which it was due; so a stall is counted as often as it would be felt.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{connect, http, tls};
use crate::bench::stage::FILES;

/// Connections, over HTTP/1.1.
const CLIENTS: u8 = 16;

/// Requests per second on all of them.
pub(crate) const RATE: u32 = 2000;

/// Latencies of all requests of so much time, sorted, in seconds. Each connection is renewed when the server asks for it.
///
/// Errors: a request that got no answer.
pub(crate) async fn run(at: SocketAddr, time: Duration) -> Result<Vec<f64>> {
    let took = Rc::new(RefCell::new(Vec::new()));
    let begin = Instant::now() + Duration::from_millis(300);
    let mut set = JoinSet::new();
    for client in 0..CLIENTS {
        set.spawn_local(ask(at, client, begin, begin + time, took.clone()));
    }
    while let Some(ended) = set.join_next().await {
        ended?.context("a request was lost")?;
    }
    let mut took = took.take();
    ensure!(!took.is_empty(), "nothing was asked");
    took.sort_by(f64::total_cmp);
    Ok(took)
}

/// The value below which so many of a hundred lie.
pub(crate) fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let at = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
}

async fn ask(at: SocketAddr, client: u8, begin: Instant, end: Instant, took: Rc<RefCell<Vec<f64>>>) -> Result<()> {
    let connector = tls::connector("http/1.1", true)?;
    let request = http::request(FILES, "1k.txt");
    let every = Duration::from_secs(1) * u32::from(CLIENTS) / RATE;
    let mut due = begin + every * u32::from(client) / u32::from(CLIENTS);
    let mut stream = open(&connector, at, client).await?;
    while due < end {
        let is_late = Instant::now() > due;
        tokio::time::sleep_until(due).await;
        let since = if is_late { due } else { Instant::now() };
        let answer = http::ask(&mut stream, &request).await?;
        took.borrow_mut().push(since.elapsed().as_secs_f64());
        if answer.closes {
            stream = open(&connector, at, client).await?;
        }
        due += every;
    }
    Ok(())
}

async fn open(connector: &TlsConnector, at: SocketAddr, client: u8) -> Result<TlsStream<TcpStream>> {
    let tcp = connect(at, client).await?;
    Ok(connector.connect(tls::name(FILES)?, tcp).await?)
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let sorted: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(
            (
                percentile(&sorted, 99.0),
                percentile(&sorted, 50.0),
                percentile(&[], 50.0)
            ),
            (198.0, 100.0, 0.0)
        );
    }
}
