//! The second instance: this same program with other settings, in a temporary folder, until the drill lets go of it.
//!
//! It ends when its channel closes, so it outlives the drill in no case, and it removes the folder itself should the drill
//! not have lived to do so.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::{self, DirBuilder};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use sc_config::places::DEFAULT_SCRATCH_NAME;
use sc_config::{Homes, Places, PlacesError, Settings};
use sc_net::channel::Channel;
use sc_net::document;
use sc_net::tasks::Tasks;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::systemd;

/// This very program, even when its file was replaced on the disk meanwhile.
const OURSELVES: &str = "/proc/self/exe";

/// The hidden command of the program that leads to [`super::serve`].
const COMMAND: &str = "drilled";

/// What the instance says once every lane serves, and what it is told to end.
pub(super) const READY: &[u8] = b"ready";
pub(super) const STOP: &[u8] = b"stop";

/// How long it may take to serve.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long it may take to end when nobody asks it anything any more.
const END_WITHIN: Duration = Duration::from_secs(20);

/// Lines of its messages that are kept.
const WORDS: usize = 40;

/// How the name of the folder begins; nothing else is ever removed.
const PREFIX: &str = "shimmercat-drill-";

/// A folder of our own below the one for temporary files, `0700`, gone with the value.
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes it, with folders for the instance inside.
    pub(super) fn make(temporary: &Path, random: u64) -> io::Result<Self> {
        let path = temporary
            .canonicalize()?
            .join(format!("{PREFIX}{:08x}", random & 0xffff_ffff));
        DirBuilder::new().mode(0o700).create(&path)?;
        let folder = Folder { path };
        DirBuilder::new().mode(0o700).create(folder.project())?;
        // Keys are refused a place that git would take up, and temporary folders may be anywhere.
        fs::write(folder.path.join(".gitignore"), "*\n")?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn project(&self) -> PathBuf {
        project(&self.path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Removes everything of a drill.
pub(super) fn remove(folder: &Path) {
    let name = folder.file_name().map(|name| name.to_string_lossy());
    if !name.is_some_and(|name| name.starts_with(PREFIX)) {
        return;
    }
    if let Ok(places) = places(folder) {
        // It is elsewhere when the path of a socket would have become too long.
        let _ = fs::remove_dir_all(places.runtime);
    }
    let _ = fs::remove_dir_all(folder);
}

/// The project of the instance: empty, since the settings come over the channel.
pub(super) fn project(folder: &Path) -> PathBuf {
    folder.join("p")
}

/// Where the instance keeps what it has: everything in the drill's folder.
pub(super) fn places(folder: &Path) -> Result<Places, PlacesError> {
    let homes = Homes {
        home: folder.join("home"),
        xdg_state_home: Some(folder.join("state")),
        xdg_runtime_dir: Some(folder.join("run")),
    };
    Places::of(&project(folder), DEFAULT_SCRATCH_NAME, &homes)
}

/// Why there is no instance.
#[derive(Debug, thiserror::Error)]
pub(super) enum InstanceError {
    #[error("it cannot be started")]
    Start(#[from] io::Error),
    #[error("its settings cannot be handed over")]
    Settings(#[from] serde_json::Error),
    #[error("it has no places")]
    Places(#[from] PlacesError),
    #[error("it says nothing of itself")]
    Instance(#[from] sc_config::InstanceError),
    #[error("it ended at once: {0}")]
    Ended(String),
    #[error("it did not serve in time: {0}")]
    Silent(String),
}

/// What the instance writes on stderr: the latest lines.
#[derive(Clone, Default)]
pub(super) struct Words(Rc<RefCell<VecDeque<String>>>);

impl Words {
    fn hear(&self, line: String) {
        let mut lines = self.0.borrow_mut();
        if lines.len() >= WORDS {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.0.borrow().iter().cloned().collect()
    }

    fn text(&self) -> String {
        let lines = self.lines();
        if lines.is_empty() {
            "it said nothing".to_owned()
        } else {
            lines.join("; ")
        }
    }
}

/// A running instance.
pub(super) struct Instance {
    child: Child,
    channel: Channel,
    pub(super) pid: u32,
    /// Where HTTPS is served.
    pub(super) https: SocketAddr,
    /// Its control socket.
    pub(super) control: PathBuf,
    pub(super) words: Words,
}

impl Instance {
    /// Starts it and waits until every lane serves.
    ///
    /// Cancel: it ends by itself.
    pub(super) async fn start(settings: &Settings, folder: &Folder, tasks: &Tasks) -> Result<Self, InstanceError> {
        let (channel, theirs) = Channel::pair()?;
        let settings = document::write("drill", &serde_json::to_vec(settings)?)?;
        let mut command = Command::new(OURSELVES);
        command
            .arg(COMMAND)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A person's Ctrl-C is for the drill, which then tells the instance.
            .process_group(0);
        for name in systemd::VARIABLES {
            command.env_remove(name);
        }
        let mut child = command.spawn()?;
        // The other end of the channel is the child's alone, or nobody would notice its end.
        drop(command);
        let words = Words::default();
        if let Some(stderr) = child.stderr.take() {
            let heard = words.clone();
            tasks.spawn("words of the drilled instance", async move {
                let mut lines = BufReader::new(stderr).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    heard.hear(line);
                }
            });
        }
        let pid = child.id().unwrap_or(0);
        channel
            .send(folder.path().as_os_str().as_bytes(), &[settings.as_fd()])
            .await?;
        match timeout(READY_WITHIN, channel.receive()).await {
            Ok(Ok(Some(message))) if message.bytes == READY => {}
            Ok(_) => {
                // What it said last may still be on its way.
                let _ = timeout(END_WITHIN, child.wait()).await;
                tokio::task::yield_now().await;
                return Err(InstanceError::Ended(words.text()));
            }
            Err(_) => return Err(InstanceError::Silent(words.text())),
        }
        let places = places(folder.path())?;
        let told = sc_config::Instance::read(&places.scratch)?;
        let https = told.as_ref().and_then(|told| told.https.first()?.parse().ok());
        let Some(https) = https else {
            return Err(InstanceError::Ended(words.text()));
        };
        Ok(Instance {
            child,
            channel,
            pid,
            https,
            control: places.control,
            words,
        })
    }

    /// Lets it end, and waits for that.
    ///
    /// Errors: in words, when it did not end well.
    /// Cancel: it ends by itself.
    pub(super) async fn stop(mut self) -> Result<(), String> {
        // When it is gone already, its exit status says so.
        let _ = self.channel.try_send(STOP, &[]);
        match timeout(END_WITHIN, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("it ended with {status}")),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => {
                let _ = self.child.start_kill();
                let _ = self.child.wait().await;
                Err(format!("it had to be killed after {} s", END_WITHIN.as_secs()))
            }
        }
    }
}
