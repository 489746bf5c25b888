//! A Redis of our own: started on a unix socket without a TCP port and without a disk, watched, and started again.
//!
//! It ends with the master, however that ends. It runs in a process group of its own, so that a terminal's Ctrl-C leaves it
//! up while the workers drain. Nothing here makes anybody wait: who wants to know is told.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sc_net::tasks::Spawner;
use sc_server::chain;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::link::{Link, LinkError};
use super::{Place, Target};

/// Memory that it may use for data. A hundred thousand lines of the usual size take about forty megabytes.
const MEMORY: &str = "64mb";
/// Waits between two starts: up to the first, doubling to the second.
const RESTART_BASE: Duration = Duration::from_millis(100);
const RESTART_CAP: Duration = Duration::from_secs(30);
/// After this long up, the waits begin again with the shortest.
const HEALTHY_TIME: Duration = Duration::from_secs(60);
/// How long it may take from its start to its first answer.
const START_TIME: Duration = Duration::from_secs(10);
/// How often it is asked during its start.
const START_EVERY: Duration = Duration::from_millis(20);
/// How often it is asked whether it lives.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// How long it may take to answer.
const ASK_TIME: Duration = Duration::from_secs(1);
/// How often in a row it may fail to.
const ASK_FAILURES: u32 = 3;
/// How long it may take to end when told to.
const STOP_TIME: Duration = Duration::from_secs(2);
/// What is kept of what it said last.
const SAID_BYTES: usize = 2048;
/// Bytes of a path that `sockaddr_un` can hold, its final zero not counted.
const SOCKET_BYTES: usize = 107;

/// How it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Health {
    /// Started, and not yet answering.
    Starting,
    /// It answers.
    Up {
        /// Its process.
        pid: u32,
    },
    /// It has ended, or could not be started.
    Down {
        /// Why, in words.
        why: String,
        /// When it is started again.
        again_in: Duration,
    },
    /// It was told to end, and has.
    Stopped,
}

/// What an [`Own`] needs.
pub struct Owning {
    /// The program ([`super::find_server`]).
    pub program: PathBuf,
    /// Its unix socket, in a folder that only the owner may enter and that no other master uses.
    pub socket: PathBuf,
    /// Told of every change.
    pub told: Rc<dyn Fn(&Health)>,
    /// Decides how long restarts wait.
    pub seed: u64,
}

/// The task, from outside.
pub struct Own {
    shared: Rc<Shared>,
    socket: PathBuf,
}

struct Shared {
    health: RefCell<Health>,
    told: Rc<dyn Fn(&Health)>,
    stop: CancellationToken,
    stopped: Notify,
}

/// Why it is not up.
#[derive(Debug, thiserror::Error)]
enum DownError {
    #[error("the path of its socket, `{0}`, is longer than {SOCKET_BYTES} bytes")]
    Path(PathBuf),
    #[error("what was left of its socket, `{0}`, cannot be removed")]
    Socket(PathBuf, #[source] io::Error),
    #[error("`{0}` cannot be started")]
    Start(PathBuf, #[source] io::Error),
    #[error("it ended ({status}){said}")]
    Ended { status: ExitStatus, said: String },
    #[error("it did not answer in {} s after its start{said}", START_TIME.as_secs())]
    Silent { said: String },
    #[error("it has stopped answering")]
    Stuck(#[source] LinkError),
    #[error("it cannot be watched")]
    Watch(#[source] io::Error),
}

impl Own {
    /// Starts it, and starts it again whenever it ends, until [`Own::stop`].
    pub fn start(spawner: &Spawner, owning: Owning) -> Self {
        Self::start_with(spawner, owning, MEMORY, ASK_EVERY)
    }

    /// The same with another size and another pace, so that tests need neither fill nor wait for long.
    pub(crate) fn start_with(spawner: &Spawner, owning: Owning, memory: &'static str, ask_every: Duration) -> Self {
        let shared = Rc::new(Shared {
            health: RefCell::new(Health::Starting),
            told: owning.told,
            stop: CancellationToken::new(),
            stopped: Notify::new(),
        });
        let own = Own {
            shared: shared.clone(),
            socket: owning.socket.clone(),
        };
        let task = Task {
            shared,
            program: owning.program,
            socket: owning.socket,
            backoff: Backoff::new(RESTART_BASE, RESTART_CAP, owning.seed),
            memory,
            ask_every,
        };
        spawner.spawn("redis", task.run());
        own
    }

    /// What workers and the reader connect to.
    pub fn place(&self) -> Place {
        Place::Own {
            socket: self.socket.clone(),
        }
    }

    /// How it is.
    pub fn health(&self) -> Health {
        self.shared.health.borrow().clone()
    }

    /// Ends it and waits for that; killed after two seconds. Its socket is removed.
    ///
    /// Cancel: it ends all the same.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        while self.health() != Health::Stopped {
            self.shared.stopped.notified().await;
        }
    }
}

struct Task {
    shared: Rc<Shared>,
    program: PathBuf,
    socket: PathBuf,
    backoff: Backoff,
    memory: &'static str,
    ask_every: Duration,
}

impl Task {
    async fn run(mut self) {
        let stop = self.shared.stop.clone();
        while !stop.is_cancelled() {
            self.say(Health::Starting);
            let started = Instant::now();
            let Err(error) = self.live().await else {
                break;
            };
            if started.elapsed() >= HEALTHY_TIME {
                self.backoff.reset();
            }
            let again_in = self.backoff.next();
            self.say(Health::Down {
                why: chain(&error),
                again_in,
            });
            tokio::select! {
                () = sleep(again_in) => {}
                () = stop.cancelled() => {}
            }
        }
        let _ = std::fs::remove_file(&self.socket);
        self.say(Health::Stopped);
        self.shared.stopped.notify_one();
    }

    fn say(&self, health: Health) {
        *self.shared.health.borrow_mut() = health.clone();
        (self.shared.told)(&health);
    }

    /// One life, from start to end. `Ok` when it was told to end.
    async fn live(&mut self) -> Result<(), DownError> {
        let mut child = self.spawn()?;
        let pid = child.id().unwrap_or_default();
        let said = Said::default();
        let outputs = (child.stdout.take(), child.stderr.take());
        let configuration = configuration(&self.socket, self.memory);
        let mut stdin = child.stdin.take();
        let talk = async {
            if let Some(mut stdin) = stdin.take() {
                // It says itself what is wrong when it does not read this.
                let _ = stdin.write_all(configuration.as_bytes()).await;
            }
            tokio::join!(listen(outputs.0, &said.usual), listen(outputs.1, &said.alarming));
        };
        let stop = self.shared.stop.clone();
        let result = tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            ended = ended(&mut child, talk) => match ended {
                Ok(status) => Err(DownError::Ended { status, said: said.last_words() }),
                Err(error) => Err(DownError::Watch(error)),
            },
            error = self.watch(pid, &said) => Err(error),
        };
        if matches!(result, Err(DownError::Stuck(_))) {
            // It would not hear that it should end.
            let _ = child.start_kill();
        }
        end(&mut child).await;
        result
    }

    fn spawn(&self) -> Result<Child, DownError> {
        if self.socket.as_os_str().len() > SOCKET_BYTES {
            return Err(DownError::Path(self.socket.clone()));
        }
        match std::fs::remove_file(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DownError::Socket(self.socket.clone(), error));
            }
            _ => {}
        }
        let mut command = Command::new(&self.program);
        command
            .arg("-")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        sc_net::child::dies_with_parent(&mut command);
        command
            .spawn()
            .map_err(|error| DownError::Start(self.program.clone(), error))
    }

    /// Asks again and again whether it lives, until it does not.
    async fn watch(&self, pid: u32, said: &Said) -> DownError {
        let target = Target::own(&self.socket);
        let first = async {
            while ask(&target, &mut None).await.is_err() {
                sleep(START_EVERY).await;
            }
        };
        if timeout(START_TIME, first).await.is_err() {
            return DownError::Silent {
                said: said.last_words(),
            };
        }
        // What it said at its start is not why it ends later.
        said.forget();
        self.say(Health::Up { pid });
        let mut link = None;
        let mut failures = 0;
        loop {
            sleep(self.ask_every).await;
            match ask(&target, &mut link).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    if failures == ASK_FAILURES {
                        return DownError::Stuck(error);
                    }
                }
            }
        }
    }
}

/// Waits for the end of a process while its words are listened to, and for the last of them.
async fn ended(child: &mut Child, talk: impl Future<Output = ()>) -> io::Result<ExitStatus> {
    let mut talk = std::pin::pin!(talk);
    let status = tokio::select! {
        biased;
        status = child.wait() => status?,
        // Its outputs end with it, save if it handed them on.
        () = talk.as_mut() => return child.wait().await,
    };
    let _ = timeout(START_EVERY, talk).await;
    Ok(status)
}

/// Ends a process: asks it to, and kills it if it does not listen.
async fn end(child: &mut Child) {
    let Some(pid) = child.id() else {
        return;
    };
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
    if timeout(STOP_TIME, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

async fn ask(target: &Target, link: &mut Option<Link>) -> Result<(), LinkError> {
    let asked = async {
        let mut open = match link.take() {
            Some(open) => open,
            None => Link::open(target).await?,
        };
        open.ask::<()>(&redis::cmd("PING"), ASK_TIME).await?;
        *link = Some(open);
        Ok(())
    };
    timeout(ASK_TIME, asked).await.unwrap_or(Err(LinkError::Slow(ASK_TIME)))
}

/// Keeps the last words of an output.
async fn listen(output: Option<impl AsyncRead + Unpin>, said: &RefCell<Vec<u8>>) {
    let Some(mut output) = output else {
        return;
    };
    let mut buffer = [0; 512];
    while let Ok(read @ 1..) = output.read(&mut buffer).await {
        let mut said = said.borrow_mut();
        said.extend(buffer.iter().take(read));
        let surplus = said.len().saturating_sub(SAID_BYTES);
        said.drain(..surplus);
    }
}

/// What a process said last on its two outputs.
#[derive(Default)]
struct Said {
    usual: RefCell<Vec<u8>>,
    alarming: RefCell<Vec<u8>>,
}

impl Said {
    fn forget(&self) {
        self.usual.borrow_mut().clear();
        self.alarming.borrow_mut().clear();
    }

    /// The last line of errors, else of anything, as the end of a sentence.
    fn last_words(&self) -> String {
        let last = [&self.alarming, &self.usual].into_iter().find_map(|said| {
            let said = said.borrow();
            let text = String::from_utf8_lossy(&said);
            let line = text.lines().map(str::trim).rfind(|line| !line.is_empty());
            line.map(str::to_owned)
        });
        last.map_or_else(String::new, |line| format!("; its last words: {line}"))
    }
}

/// What it reads from its standard input; understood by Redis since 5 and by Valkey.
fn configuration(socket: &Path, memory: &str) -> String {
    let settings = [
        ("port", "0".to_owned()),
        ("unixsocket", quoted(socket)),
        ("unixsocketperm", "600".to_owned()),
        ("save", "\"\"".to_owned()),
        ("appendonly", "no".to_owned()),
        ("maxmemory", memory.to_owned()),
        ("maxmemory-policy", "noeviction".to_owned()),
        ("databases", "1".to_owned()),
        ("daemonize", "no".to_owned()),
        ("supervised", "no".to_owned()),
        ("loglevel", "warning".to_owned()),
        ("logfile", "\"\"".to_owned()),
    ];
    settings.iter().fold(String::new(), |mut text, (name, value)| {
        text.push_str(&format!("{name} {value}\n"));
        text
    })
}

/// A path as the configuration of Redis has it: in quotes, with escapes for everything unusual.
fn quoted(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let mut text = String::from("\"");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => text.push(char::from(*byte)),
            other => text.push_str(&format!("\\x{other:02x}")),
        }
    }
    text.push('"');
    text
}
