//! Handshakes: connect, TLS 1.3, one request for a file of 1 KiB, end. Full ones, or resumed with the ticket of the one before.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustls::HandshakeKind;
use tokio::io::AsyncWriteExt;

use super::{Tally, connect, http, measure, tls};
use crate::bench::meter::{Meter, Sample};
use crate::bench::stage::FILES;

/// Clients at a time.
const CLIENTS: u8 = 16;

/// Loads a server with handshakes for so long.
pub(crate) fn run(at: SocketAddr, meter: Meter, time: Duration, resume: bool) -> Result<Sample> {
    measure(meter, time, 1.0, |set, tally| {
        for client in 0..CLIENTS {
            set.spawn_local(shake(at, client, resume, tally.clone()));
        }
        Ok(())
    })
}

async fn shake(at: SocketAddr, client: u8, resume: bool, tally: Tally) -> Result<()> {
    let (connector, name) = (tls::connector("http/1.1", resume)?, tls::name(FILES)?);
    let request = http::request(FILES, "1k.txt");
    let mut first = true;
    loop {
        let tcp = connect(at, client).await?;
        let mut stream = connector.connect(name.clone(), tcp).await?;
        let answer = http::ask(&mut stream, &request).await?;
        ensure!(answer.body == 1024, "{} bytes instead of 1024", answer.body);
        let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        ensure!(
            first || resumed == resume,
            "a handshake was not of the kind that is measured"
        );
        first = false;
        // The server may have closed by now.
        let _ = stream.shutdown().await;
        tally.add(1);
    }
}
