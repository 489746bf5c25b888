//! A worker's process as the master sees it: started by exec, spoken to over its channel, looked after until it is reaped.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};
use sc_net::channel::Channel;
use sc_net::counters::Counters;
use sc_net::tasks::Spawner;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::bus::Line;
use crate::messages::{Outcast, ToMaster, ToWorker};
use crate::sockets;
use crate::supervisor::{Moment, Worker};
use crate::systemd;
use crate::worker::{CELLS, HEARTBEAT};

/// This very program, even when its file was replaced on the disk meanwhile.
const OURSELVES: &str = "/proc/self/exe";

/// How long a worker that closed its channel may take to be gone.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// News of a worker.
#[derive(Debug)]
pub(super) enum News {
    /// It said something.
    Said(Worker, ToMaster),
    /// It sent log lines that the bus could not take: a message of [`crate::bus::Line`].
    Wrote(Worker, Vec<u8>),
    /// It is gone; `None` when the system did not tell how.
    Ended(Worker, Option<ExitStatus>),
}

/// A living worker.
pub(super) struct Process {
    channel: Rc<Channel>,
    handle: OwnedFd,
    /// What it counts; shared memory, so nothing is lost with it.
    pub(super) counters: Counters,
    pub(super) pid: u32,
    pub(super) lane: usize,
    /// How it is confined, once it is ready.
    pub(super) confined: Vec<String>,
    /// Its beats when they were last looked at, and since when they are the same.
    beats: Cell<(u64, Moment)>,
    /// The addresses of applications that it leaves out.
    pub(super) outcasts: Vec<Outcast>,
}

impl Process {
    /// Starts a worker and gives it everything that it begins with.
    ///
    /// Shape: `given` stands between the start message and its descriptors: document, certificates, ticket keys; then sockets.
    /// Errors: the system's; nothing runs then.
    pub(super) fn start(
        (worker, lane, generation): (Worker, usize, u64),
        now: Moment,
        given: &Given<'_>,
        tasks: &Spawner,
        news: mpsc::Sender<News>,
    ) -> io::Result<Self> {
        let (channel, theirs) = Channel::pair()?;
        let (counters, cells) = Counters::create(CELLS)?;
        let mut command = Command::new(OURSELVES);
        command
            .arg0(format!("{} {} of lane {lane}", sockets::WORKER, worker.0))
            .arg("worker")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            // A person's Ctrl-C is for the master, which then tells its workers.
            .process_group(0);
        for name in systemd::VARIABLES {
            command.env_remove(name);
        }
        let mut child = command.spawn()?;
        // The other end of the channel is the worker's alone, or its end would never be seen.
        drop(command);
        let begun = (|| {
            let pid = child.id().ok_or_else(|| io::Error::other("it has no process id"))?;
            let number = i32::try_from(pid).map_err(io::Error::other)?;
            let number = Pid::from_raw(number).ok_or_else(|| io::Error::other("its process id is 0"))?;
            let handle = rustix::process::pidfd_open(number, PidfdFlags::empty())?;
            let sockets = given.sockets.iter().map(|(role, _)| *role).collect();
            let start = ToWorker::Start {
                worker: worker.0,
                lane,
                generation,
                sockets,
            };
            let mut fds = vec![
                given.document.as_fd(),
                given.credentials.as_fd(),
                given.tickets.as_fd(),
                cells.as_fd(),
            ];
            fds.extend(given.sockets.iter().map(|(_, socket)| *socket));
            channel.try_send(&serde_json::to_vec(&start)?, &fds)?;
            Ok((pid, handle))
        })();
        let (pid, handle) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                let _ = child.start_kill();
                return Err(error);
            }
        };
        let channel = Rc::new(channel);
        tasks.spawn("worker", look_after(worker, channel.clone(), child, news));
        let beats = Cell::new((0, now));
        Ok(Process {
            channel,
            handle,
            counters,
            pid,
            lane,
            confined: Vec::new(),
            beats,
            outcasts: Vec::new(),
        })
    }

    /// Says something; what cannot be said at once is not said.
    ///
    /// Errors: the channel is full, so the worker has not listened for long; or it is gone.
    pub(super) fn tell(&self, message: &ToWorker, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.channel.try_send(&serde_json::to_vec(message)?, fds)
    }

    /// Ends it without asking.
    pub(super) fn kill(&self) {
        // It may have ended by itself just now.
        let _ = rustix::process::pidfd_send_signal(&self.handle, Signal::KILL);
    }

    /// Begins anew to count how long it is silent.
    pub(super) fn heard_now(&self, now: Moment) {
        self.beats.set((self.counters.get(HEARTBEAT), now));
    }

    /// Since when its loop has not turned.
    pub(super) fn silent_since(&self, now: Moment) -> Moment {
        let (last, since) = self.beats.get();
        let beats = self.counters.get(HEARTBEAT);
        if beats == last {
            return since;
        }
        self.beats.set((beats, now));
        now
    }
}

/// What a worker is given at its start.
pub(super) struct Given<'a> {
    pub(super) document: &'a OwnedFd,
    pub(super) credentials: &'a OwnedFd,
    pub(super) tickets: &'a OwnedFd,
    pub(super) sockets: Vec<(crate::sockets::Role, BorrowedFd<'a>)>,
}

/// Hears what a worker says until it is gone, and reaps it.
async fn look_after(worker: Worker, channel: Rc<Channel>, mut child: Child, news: mpsc::Sender<News>) {
    while let Ok(Some(message)) = channel.receive().await {
        let heard = if Line::is_message(&message.bytes) {
            News::Wrote(worker, message.bytes)
        } else if let Ok(said) = serde_json::from_slice(&message.bytes) {
            News::Said(worker, said)
        } else {
            // It does not speak our language: it is not fit to serve.
            let _ = child.start_kill();
            break;
        };
        if news.send(heard).await.is_err() {
            break;
        }
    }
    let status = match tokio::time::timeout(LAST_BREATH, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            let _ = child.start_kill();
            child.wait().await
        }
    };
    // A master that has stopped needs no news.
    let _ = news.send(News::Ended(worker, status.ok())).await;
}
