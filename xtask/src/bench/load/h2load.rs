//! HTTP load by nghttp2's `h2load`, which says when its warm-up is over: the server is looked at exactly between then and
//! the end, so handshakes are no part of a request's cost.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::WARM_UP;
use crate::bench::meter::{Meter, Sample};
use crate::shell;

/// The suite that everybody speaks, so that nobody's cipher is the cheaper one.
pub(crate) const SUITE: &str = "TLS_AES_256_GCM_SHA384";

/// How much longer than it should it may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked for, and by how many at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Requests {
    /// `--h1`, or nothing for HTTP/2.
    pub(crate) http1: bool,
    /// Connections.
    pub(crate) connections: u32,
    /// Streams at a time on each.
    pub(crate) streams: u32,
    /// The name that is asked.
    pub(crate) host: &'static str,
    /// The path, without its slash.
    pub(crate) path: &'static str,
    /// Whether gzip is accepted.
    pub(crate) gzip: bool,
    /// Whether MiB are counted rather than requests.
    pub(crate) by_bytes: bool,
}

/// What h2load said about the connection.
pub(crate) type Spoken = String;

impl Requests {
    /// Loads a server for so long.
    pub(crate) fn run(&self, at: SocketAddr, mut meter: Meter, time: Duration) -> Result<(Sample, Spoken)> {
        let mut child = Ended(self.timed(at, time)?.spawn().context("h2load does not start")?);
        meter.generator = Some(child.0.id());
        let output = child.0.stdout.take().context("h2load has no output")?;
        let (mut before, mut after, mut text) = (None, None, String::new());
        for line in BufReader::new(output).lines() {
            let line = line?;
            if line.starts_with("Main benchmark duration is started") {
                before = Some(meter.look());
            } else if line.starts_with("Main benchmark duration is over") {
                after = Some(meter.look());
            }
            text.push_str(&line);
            text.push('\n');
        }
        let (Some(before), Some(after)) = (before, after) else {
            bail!("h2load did not come to its end: {}", summary(&text));
        };
        let work = match self.by_bytes {
            true => bytes(&text).map(|bytes| bytes / f64::from(1 << 20)),
            false => requests(&text),
        };
        let work =
            work.with_context(|| format!("h2load met failures or said something unknown: {}", summary(&text)))?;
        Ok((after.since(&before, time, work), spoken(&text)))
    }

    /// Asks so often and no more, as fast as it goes.
    pub(crate) fn count(&self, at: SocketAddr, count: u32) -> Result<()> {
        let mut command = self.command(at, PATIENCE * 3)?;
        command.args(["-n", &count.to_string()]);
        let output = command.output().context("h2load does not start")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            requests(&text) == Some(f64::from(count)),
            "h2load met failures: {}",
            summary(&text)
        );
        Ok(())
    }

    fn timed(&self, at: SocketAddr, time: Duration) -> Result<Command> {
        let mut command = self.command(at, time * 2 + PATIENCE)?;
        command
            .args(["--warm-up-time", &format!("{}ms", WARM_UP.as_millis())])
            .args(["-D", &format!("{}ms", time.as_millis())]);
        Ok(command)
    }

    fn command(&self, at: SocketAddr, longest: Duration) -> Result<Command> {
        // It does not always come to an end, as when answers over HTTP/1.1 have chunks.
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", &format!("{:.0}", longest.as_secs_f64())]);
        command.arg(shell::find("h2load").context("`h2load` is not installed")?);
        if self.http1 {
            command.arg("--h1");
        }
        if self.gzip {
            command.args(["-H", "accept-encoding: gzip"]);
        }
        command
            .args([
                "-t",
                "1",
                "-c",
                &self.connections.to_string(),
                "-m",
                &self.streams.to_string(),
            ])
            .args(["--tls13-ciphers", SUITE, &format!("--connect-to={at}")])
            .arg(format!("https://{}/{}", self.host, self.path))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        Ok(command)
    }
}

/// A child that does not outlive its value.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Requests that succeeded; nothing when one did not.
fn requests(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("requests: "))?;
    let count = |word: &str| {
        let part = line.split(", ").find_map(|part| part.strip_suffix(word))?;
        part.trim().parse::<f64>().ok()
    };
    let is_clean = count("failed")? + count("errored")? + count("timeout")? == 0.0;
    let good = text.lines().find_map(|line| line.strip_prefix("status codes: "))?;
    let good = good.split(" 2xx").next()?.parse().ok()?;
    is_clean.then_some(good)
}

/// Bytes that came, when no request failed.
fn bytes(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("traffic: "))?;
    let count = line.split_once('(')?.1.split_once(')')?.0.parse().ok()?;
    let is_clean = text.contains(" 0 failed, 0 errored, 0 timeout");
    is_clean.then_some(count)
}

/// Its last words, in one line.
fn summary(text: &str) -> String {
    let end = text.find("finished in").and_then(|at| text.get(at..)).unwrap_or(text);
    let lines: Vec<&str> = end
        .lines()
        .filter(|line| !line.starts_with("progress"))
        .take(3)
        .collect();
    lines.join("; ")
}

/// Version, suite and key exchange of TLS.
fn spoken(text: &str) -> Spoken {
    let said = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or("?")
            .trim()
    };
    let group = said("Server Temp Key:").split(' ').next().unwrap_or("?");
    format!("{}, {}, {group}", said("TLS Protocol:"), said("Cipher:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_read() {
        let text = "TLS Protocol: TLSv1.3\nCipher: TLS_AES_256_GCM_SHA384\nServer Temp Key: X25519 253 bits\n\
                    requests: 14 total, 14 started, 14 done, 14 succeeded, 0 failed, 0 errored, 0 timeout\n\
                    status codes: 14 2xx, 0 3xx, 0 4xx, 0 5xx\n\
                    traffic: 14.92MB (15645352) total, 505.15KB (517272) headers (space savings 85.40%), 1B (1) data\n";
        assert_eq!(requests(text), Some(14.0));
        assert_eq!(bytes(text), Some(15_645_352.0));
        assert_eq!(spoken(text), "TLSv1.3, TLS_AES_256_GCM_SHA384, X25519");
        assert_eq!(requests(&text.replace("0 failed", "1 failed")), None);
        assert_eq!(bytes(&text.replace("0 errored", "1 errored")), None);
    }
}
