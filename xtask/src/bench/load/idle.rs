//! Thousands of connections that have had one answer and then say nothing.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use super::{connect, http, tls};
use crate::bench::stage::FILES;

/// How many open at a time.
const OPENING: usize = 32;

/// Opens connections over HTTP/1.1 and asks once on each.
pub(crate) async fn open(at: SocketAddr, count: usize) -> Result<Vec<TlsStream<TcpStream>>> {
    let mut streams = Vec::with_capacity(count);
    let mut opening = JoinSet::new();
    let connector = tls::connector("http/1.1", false)?;
    let mut begun = 0;
    while streams.len() < count {
        while begun < count && opening.len() < OPENING {
            let (connector, client) = (connector.clone(), (begun % 100) as u8);
            begun += 1;
            opening.spawn_local(async move {
                let tcp = connect(at, client).await?;
                let mut stream = connector.connect(tls::name(FILES)?, tcp).await?;
                http::ask(&mut stream, &http::request(FILES, "1k.txt")).await?;
                anyhow::Ok(stream)
            });
        }
        let opened = opening.join_next().await.context("nothing opens")?;
        let so_far = streams.len();
        streams.push(opened?.with_context(|| format!("after {so_far} connections"))?);
    }
    Ok(streams)
}

/// Asks once more on each: all of them are still there.
pub(crate) async fn ask_again(streams: &mut [TlsStream<TcpStream>]) -> Result<()> {
    let request = http::request(FILES, "1k.txt");
    for stream in streams {
        let asked = tokio::time::timeout(Duration::from_secs(5), http::ask(stream, &request)).await;
        asked
            .context("no answer within 5 s")?
            .context("an idle connection was lost")?;
    }
    Ok(())
}
