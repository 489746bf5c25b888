//! curl, run for one transfer.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::process::Command;

use crate::find::find_program;

/// A transfer to be made.
pub struct Curl {
    arguments: Vec<OsString>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct CurlAnswer {
    /// curl's own exit code; 0 when it got a response.
    pub exit: i32,
    /// The status of the last response, 0 without one.
    pub status: u16,
    /// The protocol version of the last response: `1.1`, `2`.
    pub version: String,
    /// All heads of responses, interim ones and redirects included, as text.
    pub heads: String,
    /// The body.
    pub body: Vec<u8>,
    /// curl's messages.
    pub stderr: String,
}

impl Curl {
    /// A transfer of `url`; `.curlrc` and the environment are ignored, proxies' own answers are not among the heads.
    pub fn new(url: &str) -> Curl {
        let fixed = ["-q", "-sS", "--max-time", "60", "--suppress-connect-headers", "--", url];
        // The URL goes last, so options of the test are put before it.
        Curl {
            arguments: fixed.iter().map(OsString::from).collect(),
        }
    }

    /// Adds an option.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Curl {
        let before_url = self.arguments.len() - 2;
        self.arguments.insert(before_url, argument.as_ref().to_owned());
        self
    }

    /// Adds options.
    pub fn args(self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Curl {
        arguments.into_iter().fold(self, Curl::arg)
    }

    /// Runs it.
    pub fn run(self) -> CurlAnswer {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let (heads, body) = (folder.path().join("heads"), folder.path().join("body"));
        let this = self
            .arg("-D")
            .arg(&heads)
            .arg("-o")
            .arg(&body)
            .arg("-w")
            .arg("%{http_code} %{http_version}");
        let mut command = Command::new(find_program("curl"));
        command.args(&this.arguments).env_clear().env("HOME", folder.path());
        let output = command.output().expect("curl can be started");
        let written = String::from_utf8_lossy(&output.stdout).into_owned();
        let (status, version) = written.split_once(' ').unwrap_or(("0", ""));
        CurlAnswer {
            exit: output.status.code().unwrap_or(-1),
            status: status.parse().unwrap_or(0),
            version: version.to_owned(),
            heads: fs::read_to_string(heads).unwrap_or_default(),
            body: fs::read(body).unwrap_or_default(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl CurlAnswer {
    /// The value of a header, the last of that name in all heads.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.heads.lines().filter_map(|line| line.split_once(':'));
        fields
            .rfind(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
