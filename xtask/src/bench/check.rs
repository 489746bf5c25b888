//! Before anything is timed: everybody must give the very same bytes, with status 200, over the protocol that is measured.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::load::app::ANSWER;
use super::load::h2load::Requests;
use super::peers::program;
use super::running::nap;
use super::stage::{FILES, Stage};

/// Requests by which a log is tried, and how many are enough to show that this works.
const LOGGED: (u32, u32) = (30_000, 500);

/// Its last lines have come when none came for so long; nginx writes what it has each second.
const SETTLED: Duration = Duration::from_millis(1200);

/// How long that may take.
const SETTLES_WITHIN: Duration = Duration::from_secs(8);

/// Asks once, with curl, which looks at the certificate too.
///
/// Shape: the bytes of the body as they were on the wire, so compressed ones.
/// Errors: anything but the expected answer.
pub(super) fn answers(stage: &Stage, at: SocketAddr, requests: &Requests) -> Result<u64> {
    let body = stage.folder.join("checked");
    let mut curl = program("curl")?;
    curl.args(["--silent", "--show-error", "--max-time", "20", "--tlsv1.3"])
        .arg(if requests.http1 { "--http1.1" } else { "--http2" })
        .arg("--cacert")
        .arg(stage.cert())
        // As h2load does it: the port is no part of what is asked for.
        .args([
            "--connect-to",
            &format!("{}:443:{}:{}", requests.host, at.ip(), at.port()),
        ])
        .args([
            "--write-out",
            "%{http_code} %{http_version} %{size_download}",
            "--output",
        ])
        .arg(&body);
    if requests.gzip {
        curl.args(["--compressed", "-H", "Accept-Encoding: gzip"]);
    }
    curl.arg(format!("https://{}/{}", requests.host, requests.path));
    let said = output(&mut curl)?;
    let version = if requests.http1 { "1.1" } else { "2" };
    let wanted = format!("200 {version} ");
    ensure!(
        said.starts_with(&wanted),
        "it answered `{said}` where `{wanted}` was wanted"
    );
    let content = match requests.host {
        FILES => stage.content(requests.path)?,
        _ => vec![b'x'; ANSWER],
    };
    ensure!(std::fs::read(&body)? == content, "it answered with other bytes");
    let size = said.rsplit(' ').next().and_then(|size| size.parse().ok());
    size.context("curl says no size")
}

/// Whether an access log has every request: a log that drops lines under load is no match for one that does not.
///
/// Shape: asks some ten thousand times, as fast as it goes, and waits until the log does not grow any more.
pub(super) fn logged(log: &Path, at: SocketAddr, requests: &Requests, quick: bool) -> Result<(u32, usize)> {
    let before = settled(log);
    let count = if quick { LOGGED.1 } else { LOGGED.0 };
    requests.count(at, count)?;
    Ok((count, settled(log) - before))
}

/// Lines of a log that has not grown for a while.
fn settled(log: &Path) -> usize {
    let until = Instant::now() + SETTLES_WITHIN;
    let (mut seen, mut since) = (lines(log), Instant::now());
    while since.elapsed() < SETTLED && Instant::now() < until {
        nap(Duration::from_millis(200));
        let now = lines(log);
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
    seen
}

/// Lines about requests, which name the file that was asked for.
fn lines(log: &Path) -> usize {
    let text = std::fs::read(log).unwrap_or_default();
    text.split(|byte| *byte == b'\n')
        .filter(|line| line.windows(6).any(|word| word == b"1k.txt"))
        .count()
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    ensure!(
        output.status.success(),
        "curl failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
