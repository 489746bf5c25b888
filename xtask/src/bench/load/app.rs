//! The other side: an application that answers 1 KiB, kept or closing, an echo, and a source without end. A process of its
//! own on the load's core, the same for every server.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::block_on;
use crate::bench::running::Running;
use crate::bench::stage::free_port;

/// Bytes of each answer.
pub(crate) const ANSWER: usize = 1 << 10;

/// Where its four parts listen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    /// The application that keeps connections.
    pub(crate) keep: u16,
    /// The one that closes them.
    pub(crate) close: u16,
    /// The echo.
    pub(crate) echo: u16,
    /// The source.
    pub(crate) source: u16,
}

/// Starts it on a core.
pub(crate) fn start(core: usize, folder: &Path) -> Result<(Running, Ports)> {
    let keep = free_port(17_000)?;
    let close = free_port(keep + 1)?;
    let echo = free_port(close + 1)?;
    let source = free_port(echo + 1)?;
    let ports = Ports {
        keep,
        close,
        echo,
        source,
    };
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("bench-app")
        .args([keep, close, echo, source].map(|port| port.to_string()));
    let address = (Ipv4Addr::LOCALHOST, source).into();
    let mut running = Running::start(&mut command, core, address, folder.join("app.out"))?;
    running.wait().context("the application does not start")?;
    Ok((running, ports))
}

/// Lives as that process.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let ports: Vec<u16> = args.iter().map(|arg| arg.parse()).collect::<Result<_, _>>()?;
    let [keep, close, echo, source] = ports[..] else {
        bail!("four ports are needed");
    };
    block_on(async {
        let mut set = JoinSet::new();
        set.spawn_local(accept(listen(keep).await?, |stream| answer(stream, true)));
        set.spawn_local(accept(listen(close).await?, |stream| answer(stream, false)));
        set.spawn_local(accept(listen(echo).await?, repeat));
        // The last one is waited for at the start, so all are there.
        set.spawn_local(accept(listen(source).await?, flood));
        match set.join_next().await {
            Some(Ok(Err(error))) => Err(error),
            _ => bail!("the application ended"),
        }
    })
}

async fn listen(port: u16) -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    listener.with_context(|| format!("cannot listen on {port}"))
}

async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F) -> Result<()>
where
    F: Future<Output = Result<()>> + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                connections.spawn_local(serve(stream));
            }
            // Connections end as their clients please.
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Answers each head with the same bytes; requests have no bodies here.
async fn answer(mut stream: TcpStream, keeps: bool) -> Result<()> {
    let connection = if keeps { "" } else { "Connection: close\r\n" };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{connection}Content-Length: {ANSWER}\r\n\r\n");
    let bytes = [head.into_bytes(), vec![b'x'; ANSWER]].concat();
    let mut buffer = Vec::with_capacity(8 << 10);
    loop {
        let got = stream.read_buf(&mut buffer).await?;
        if got == 0 {
            return Ok(());
        }
        while let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            buffer.drain(..end + 4);
            stream.write_all(&bytes).await?;
            if !keeps {
                stream.shutdown().await?;
                return Ok(());
            }
        }
    }
}

async fn repeat(mut stream: TcpStream) -> Result<()> {
    let mut buffer = [0; 512];
    loop {
        let got = stream.read(&mut buffer).await?;
        if got == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..got]).await?;
    }
}

async fn flood(mut stream: TcpStream) -> Result<()> {
    let zeroes = vec![0; 256 << 10];
    loop {
        stream.write_all(&zeroes).await?;
    }
}
