//! The sample site in motion: its application ([`server`]) and the walk through it ([`walk`]).
//!
//! Read next: `walk.rs`, which is `cargo xtask demo` from start to end.

mod client;
mod instance;
mod server;
mod walk;

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, bail};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

/// `cargo xtask demo`.
pub(crate) fn demo(args: &[String]) -> Result<()> {
    let keep = match args {
        [] => std::io::IsTerminal::is_terminal(&std::io::stdin()),
        [flag] if flag == "--once" => false,
        _ => bail!("`demo` takes only `--once`: stop when everything has been shown"),
    };
    block_on(walk::run(keep))
}

/// `cargo xtask app`.
pub(crate) fn app(args: &[String]) -> Result<()> {
    let (mut port, mut echo_port) = (8000, 8007);
    let mut rest = args.iter();
    while let Some(flag) = rest.next() {
        let value = rest.next().with_context(|| format!("`{flag}` needs a value"))?;
        let value = value.parse().with_context(|| format!("`{value}` is not a port"))?;
        match flag.as_str() {
            "--port" => port = value,
            "--echo-port" => echo_port = value,
            other => bail!("`app` takes `--port N` and `--echo-port N`, not `{other}`"),
        }
    }
    block_on(async {
        let app = server::Server::bind(loopback(port), loopback(echo_port)).await?;
        println!("sample application on {}, TCP echo on {}", app.http(), app.echo());
        app.run().await
    })
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn block_on(future: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    LocalSet::new().block_on(&runtime, future)
}
