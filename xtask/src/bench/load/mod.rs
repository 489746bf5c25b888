//! What puts work on a server: [`h2load`] for HTTP, and small generators of our own for what it cannot do, each on one thread.
//!
//! The generators of our own trust any certificate and check nothing twice: their core must not be the one that is short.
//! That the right bytes come back is seen before ([`super::check`]).

pub(super) mod app;
pub(super) mod h2load;
pub(super) mod hands;
pub(super) mod http;
pub(super) mod idle;
pub(super) mod records;
pub(super) mod socks;
pub(super) mod steady;
pub(super) mod tls;

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Builder;
use tokio::task::{JoinSet, LocalSet};

use super::meter::{Meter, Sample};

/// Load before the measured time, so that connections and caches are there.
const WARM_UP: Duration = Duration::from_millis(250);

/// Runs something on this thread.
pub(super) fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    LocalSet::new().block_on(&runtime, future)
}

/// What the workers of a load have done so far.
#[derive(Clone, Default)]
pub(super) struct Tally(Rc<Cell<u64>>);

impl Tally {
    /// Counts work.
    pub(super) fn add(&self, work: u64) {
        self.0.set(self.0.get() + work);
    }

    fn read(&self) -> u64 {
        self.0.get()
    }
}

/// Looks at a server while workers that never end by themselves load it.
///
/// Shape: `unit` is how much of the tally is one unit of work.
/// Errors: of the first worker that fails.
pub(super) fn measure(
    meter: Meter,
    time: Duration,
    unit: f64,
    workers: impl FnOnce(&mut JoinSet<Result<()>>, &Tally) -> Result<()>,
) -> Result<Sample> {
    block_on(async {
        let tally = Tally::default();
        let mut set = JoinSet::new();
        workers(&mut set, &tally)?;
        let looked = async {
            tokio::time::sleep(WARM_UP).await;
            let (before, done) = (meter.look(), tally.read());
            tokio::time::sleep(time).await;
            let after = meter.look();
            after.since(&before, time, (tally.read() - done) as f64 / unit)
        };
        tokio::select! {
            sample = looked => Ok(sample),
            Some(ended) = set.join_next() => match ended {
                Ok(Err(error)) => Err(error.context("the load failed")),
                _ => anyhow::bail!("the load ended"),
            },
        }
    })
}

/// Connects from one of a hundred addresses of this machine: bounds that servers have for each client are not what is
/// measured, and ports are not used up.
pub(super) async fn connect(to: SocketAddr, from: u8) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_nodelay(true)?;
    socket.bind((Ipv4Addr::new(127, 1, 0, 1 + from % 100), 0).into())?;
    let stream = socket.connect(to).await;
    stream.with_context(|| format!("no connection to {to}"))
}
