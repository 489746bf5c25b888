//! Before anything is timed: everybody must give the very same bytes, with status 200, over the protocol that is measured.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::load::app::ANSWER;
use super::load::h2load::Requests;
use super::peers::program;
use super::stage::{FILES, Stage};

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

fn output(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    ensure!(
        output.status.success(),
        "curl failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
