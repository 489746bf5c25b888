//! One `shimmercat devlove` for the length of the demonstration: started, waited for, stopped.
//!
//! What it prints is held back while the walk is shown, and passed on afterwards; a failure shows all of it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

/// Start-up takes a fraction of a second; a machine under load is given this long.
const READY: Duration = Duration::from_secs(20);
/// Open exchanges get a while to finish when it is asked to stop.
const STOP: Duration = Duration::from_secs(20);
/// Where devlove says what it is doing, beside the configuration file.
const INSTANCE_FILE: &str = ".shimmercat.loves.devs/instance.json";

/// A running `shimmercat devlove`.
pub(crate) struct Instance {
    child: Child,
    printed: Rc<Printed>,
    readers: JoinSet<()>,
    /// Where its proxy listens.
    pub(crate) proxy: SocketAddr,
    /// Where it serves HTTPS.
    pub(crate) https: Vec<String>,
    /// The certificate of the project's CA.
    pub(crate) ca: PathBuf,
}

#[derive(Default)]
struct Printed {
    held: RefCell<Vec<String>>,
    passing_on: Cell<bool>,
}

impl Instance {
    /// Starts the program in a folder and waits until it says that it is ready.
    pub(crate) async fn start(program: &Path, folder: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["devlove", "--log-format", "pretty", "-C"]).arg(folder);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .with_context(|| format!("{} does not start", program.display()))?;
        let printed = Rc::<Printed>::default();
        let mut readers = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            readers.spawn_local(follow(stdout, printed.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.spawn_local(follow(stderr, printed.clone()));
        }
        match ready(&mut child, folder).await {
            Ok(facts) => {
                let text = |key: &str| {
                    facts[key]
                        .as_str()
                        .with_context(|| format!("the instance file has no `{key}`"))
                };
                let proxy = text("socks")?
                    .parse()
                    .context("the proxy address of the instance file")?;
                let ca = PathBuf::from(text("ca_pem")?);
                let https = facts["https"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str);
                let https = https.map(str::to_owned).collect();
                Ok(Instance {
                    child,
                    printed,
                    readers,
                    proxy,
                    https,
                    ca,
                })
            }
            Err(error) => {
                child.kill().await.ok();
                while readers.join_next().await.is_some() {}
                Err(error.context(printed.held.borrow().join("\n")))
            }
        }
    }

    /// What it printed up to now.
    pub(crate) fn held(&self) -> String {
        self.printed.held.borrow().join("\n")
    }

    /// From now on, passes on what it prints.
    pub(crate) fn pass_on(&self) {
        self.printed.passing_on.set(true);
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(mut self) -> Result<ExitStatus> {
        let status = self.child.wait().await.context("cannot wait for shimmercat")?;
        while self.readers.join_next().await.is_some() {}
        Ok(status)
    }

    /// Asks it to stop, passes on its last words and waits until it has.
    pub(crate) async fn stop(mut self) -> Result<()> {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
            kill_process(pid, Signal::TERM).ok();
        }
        self.pass_on();
        let ended = tokio::time::timeout(STOP, self.child.wait()).await;
        let status = ended.context("shimmercat did not stop when asked")??;
        while self.readers.join_next().await.is_some() {}
        if !status.success() {
            bail!("shimmercat ended with {status}");
        }
        Ok(())
    }
}

/// Waits for the instance file of this very process, with something listening behind it.
async fn ready(child: &mut Child, folder: &Path) -> Result<Value> {
    let wanted = child.id().map(u64::from);
    let look = async {
        loop {
            if let Some(status) = child.try_wait()? {
                bail!("shimmercat ended at once: {status}");
            }
            let text = tokio::fs::read_to_string(folder.join(INSTANCE_FILE))
                .await
                .unwrap_or_default();
            let facts: Value = serde_json::from_str(&text).unwrap_or_default();
            if wanted.is_some() && facts["pid"].as_u64() == wanted {
                return Ok(facts);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(READY, look)
        .await
        .context("shimmercat was not ready in time")?
}

async fn follow(stream: impl AsyncRead + Unpin, printed: Rc<Printed>) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if printed.passing_on.get() {
            println!("{line}");
        } else {
            printed.held.borrow_mut().push(line);
        }
    }
}
