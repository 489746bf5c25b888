//! One HTTP/1.1 request at a time, just as much of it as the measurements need: answers have a length, and it is counted.

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The head of a request.
pub(crate) fn request(host: &str, path: &str) -> Vec<u8> {
    format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n").into_bytes()
}

/// What came back.
pub(crate) struct Answer {
    /// Bytes of the body.
    pub(crate) body: usize,
    /// Whether the server will close.
    pub(crate) closes: bool,
}

/// Asks, and reads the whole answer.
///
/// Errors: anything but 200 with a `Content-Length`.
pub(crate) async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &[u8]) -> Result<Answer> {
    stream.write_all(request).await?;
    stream.flush().await?;
    let mut buffer = vec![0; 4 << 10];
    let (mut have, mut head) = (0, None);
    while head.is_none() {
        let space = buffer
            .get_mut(have..)
            .filter(|space| !space.is_empty())
            .context("the head is too long")?;
        let got = stream.read(space).await?;
        ensure!(got > 0, "the server closed before it answered");
        have += got;
        head = buffer
            .get(..have)
            .and_then(|seen| seen.windows(4).position(|four| four == b"\r\n\r\n"));
    }
    let ends = head.unwrap_or_default() + 4;
    let head = String::from_utf8_lossy(buffer.get(..ends).unwrap_or_default()).to_ascii_lowercase();
    if !head.starts_with("http/1.1 200") {
        bail!("the server answered `{}`", head.lines().next().unwrap_or_default());
    }
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let body: usize = field("content-length:")
        .and_then(|value| value.parse().ok())
        .context("no Content-Length")?;
    let closes = field("connection:") == Some("close");
    let mut left = body.checked_sub(have - ends).context("more than was announced")?;
    while left > 0 {
        let got = stream.read(&mut buffer).await?;
        ensure!(got > 0, "the server closed {left} bytes too early");
        left = left.checked_sub(got).context("more than was announced")?;
    }
    Ok(Answer { body, closes })
}
