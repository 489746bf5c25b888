//! SOCKS5 (RFC 1928): connections that say one byte and hear one, and connections that carry as much as they can.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Tally, connect, measure};
use crate::bench::meter::{Meter, Sample};

/// Clients at a time that connect again and again.
const CONNECTING: u8 = 16;

/// Clients at a time that read.
const READING: u8 = 8;

/// Loads a proxy with connections to `target`, which echoes.
pub(crate) fn connections(at: SocketAddr, target: u16, meter: Meter, time: Duration) -> Result<Sample> {
    measure(meter, time, 1.0, |set, tally| {
        for client in 0..CONNECTING {
            set.spawn_local(again(at, target, client, tally.clone()));
        }
        Ok(())
    })
}

/// Loads a proxy with bytes from `target`, which sends without end; counts MiB.
pub(crate) fn bytes(at: SocketAddr, target: u16, meter: Meter, time: Duration) -> Result<Sample> {
    measure(meter, time, f64::from(1 << 20), |set, tally| {
        for client in 0..READING {
            set.spawn_local(read(at, target, client, tally.clone()));
        }
        Ok(())
    })
}

async fn again(at: SocketAddr, target: u16, client: u8, tally: Tally) -> Result<()> {
    loop {
        let mut stream = through(at, target, client).await?;
        stream.write_all(b"x").await?;
        ensure!(stream.read_u8().await? == b'x', "the echo said something else");
        tally.add(1);
    }
}

async fn read(at: SocketAddr, target: u16, client: u8, tally: Tally) -> Result<()> {
    let mut stream = through(at, target, client).await?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let got = stream.read(&mut buffer).await?;
        ensure!(got > 0, "the source ended");
        tally.add(got as u64);
    }
}

/// Greets a proxy and has it connect to a port of this machine.
async fn through(at: SocketAddr, target: u16, client: u8) -> Result<TcpStream> {
    let mut stream = connect(at, client).await?;
    stream.write_all(&[5, 1, 0]).await?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await?;
    ensure!(
        chosen == [5, 0],
        "the proxy wants something else than nothing: {chosen:?}"
    );
    let port = target.to_be_bytes();
    stream.write_all(&[5, 1, 0, 1, 127, 0, 0, 1, port[0], port[1]]).await?;
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).await?;
    ensure!(reply[..4] == [5, 0, 0, 1], "the proxy refused with reply {}", reply[1]);
    Ok(stream)
}
