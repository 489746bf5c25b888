//! Rows that are not requests per second: memory of idle connections, times of starts, latency while workers are renewed.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::load::steady::percentile;
use super::load::{block_on, idle, steady};
use super::peers::{Kit, Server, Way};
use super::results::Turn;
use super::running::{Used, nap, resident_bytes};

/// How long idle connections lie before they are looked at: buffers that are given back after a while are given back.
const REST: Duration = Duration::from_secs(3);
/// Renewals that are timed in each round.
const RENEWALS: u64 = 5;

/// KiB of resident memory for each of so many idle connections; and the processor's part that they cost, in words.
pub(super) fn idle(kit: &Kit<'_>, server: Server, count: usize) -> Result<(Turn, String)> {
    let running = kit.start(server, Way::Quiet)?;
    running.settle();
    let (per_connection, used) = block_on(async {
        // What a first connection makes for all that follow is not theirs.
        drop(idle::open(running.address, 64).await?);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = resident_bytes(running.pid());
        let mut streams = idle::open(running.address, count).await?;
        tokio::time::sleep(REST).await;
        let (after, then) = (resident_bytes(running.pid()), Used::of(running.pid()));
        tokio::time::sleep(REST).await;
        let used = Used::of(running.pid()).since(&then) / REST.as_secs_f64();
        idle::ask_again(&mut streams).await?;
        anyhow::Ok((after.saturating_sub(before) as f64 / count as f64 / 1024.0, used))
    })?;
    let note = format!(
        "{}: {count} idle connections cost {:.1} ms of processor a second",
        server.name(),
        used * 1e3
    );
    Ok((Turn::figure(server, 0, per_connection), note))
}

/// Milliseconds from starting a server's program to its first answer.
pub(super) fn cold_start(kit: &Kit<'_>, server: Server, round: u64) -> Result<Turn> {
    let running = kit.start(server, Way::Quiet)?;
    block_on(idle::open(running.address, 1))?;
    Ok(Turn::figure(
        server,
        round,
        running.started.elapsed().as_secs_f64() * 1e3,
    ))
}

/// Milliseconds from the wish for a new worker to its accepting, when none was warm.
pub(super) fn warm(kit: &Kit<'_>, rounds: u64) -> Result<Vec<Turn>> {
    let running = kit.start(Server::ShimmerCat, Way::Alone)?;
    running.settle();
    let control = control(kit, running.address.port())?;
    // The first one finds a cold disk.
    block_on(renew(&control))?;
    let mut turns = Vec::new();
    for round in 0..rounds {
        for _ in 0..RENEWALS {
            nap(Duration::from_millis(100));
            let since = Instant::now();
            block_on(renew(&control))?;
            turns.push(Turn::figure(
                Server::ShimmerCat,
                round,
                since.elapsed().as_secs_f64() * 1e3,
            ));
        }
    }
    Ok(turns)
}

/// The 99th percentile of latency in milliseconds, without and with a renewal of the only lane each second, in turns.
pub(super) fn renewal(kit: &Kit<'_>, rounds: u64, time: Duration) -> Result<(Vec<Turn>, Vec<String>)> {
    let running = kit.start(Server::ShimmerCat, Way::Quiet)?;
    running.settle();
    let control = control(kit, running.address.port())?;
    let (mut turns, mut calm, mut stirred) = (Vec::new(), Vec::new(), Vec::new());
    block_on(async {
        // Caches and branches are warm before anything counts.
        steady::run(running.address, Duration::from_millis(500)).await?;
        for round in 0..rounds {
            let took = steady::run(running.address, time).await?;
            turns.push(Turn::figure(Server::Undisturbed, round, percentile(&took, 99.0) * 1e3));
            calm.extend(took);
            let took = tokio::select! {
                took = steady::run(running.address, time) => took?,
                failed = renew_each_second(&control) => return Err(failed),
            };
            turns.push(Turn::figure(Server::ShimmerCat, round, percentile(&took, 99.0) * 1e3));
            stirred.extend(took);
        }
        Ok(())
    })?;
    Ok((
        turns,
        vec![told("undisturbed", calm), told("renewed each second", stirred)],
    ))
}

fn told(what: &str, mut took: Vec<f64>) -> String {
    took.sort_by(f64::total_cmp);
    let at = |percent| percentile(&took, percent) * 1e3;
    let (middle, high, most) = (at(50.0), at(99.9), at(100.0));
    format!(
        "{what}: {} requests, none lost, p50 {middle:.2} ms, p99.9 {high:.2} ms, longest {most:.1} ms",
        took.len()
    )
}

/// Renews again and again; gives back why that failed.
async fn renew_each_second(control: &PathBuf) -> anyhow::Error {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first tick is at once; the load begins a little later.
    second.tick().await;
    loop {
        second.tick().await;
        if let Err(error) = renew(control).await {
            return error;
        }
    }
}

/// Asks the control socket for a new worker, and waits until it accepts.
async fn renew(control: &PathBuf) -> Result<()> {
    let mut stream = UnixStream::connect(control).await.context("no control socket")?;
    let ask = b"POST /recycle?lane=0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    stream.write_all(ask).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    ensure!(answer.starts_with("HTTP/1.1 200"), "the lane was not renewed: {answer}");
    Ok(())
}

/// Where an instance says that its control socket is.
fn control(kit: &Kit<'_>, port: u16) -> Result<PathBuf> {
    let file = kit.project(port).join(".shimmercat.loves.devs/instance.json");
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let told: Option<Value> = serde_json::from_str(&text).ok();
        if let Some(control) = told.as_ref().and_then(|told| told["control"].as_str()) {
            return Ok(PathBuf::from(control));
        }
        ensure!(Instant::now() < until, "{} is not written", file.display());
        nap(Duration::from_millis(10));
    }
}
