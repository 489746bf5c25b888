//! A service manager of the test's own, as far as a master can tell: a notify socket, a store of descriptors, and starting
//! with descriptors passed in.
//!
//! It keeps every message with the time at which it came, and every descriptor with its name, as sd_notify(3) says.

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use sc_testkit::program::Launch;
use sc_testkit::{eventually, find_program};
use tempfile::TempDir;

use crate::kit::PATIENCE;

/// One message: its assignments, and when it came.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) at: Instant,
    pub(crate) says: BTreeMap<String, String>,
}

impl Told {
    /// The value of an assignment.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.says.get(name).map(String::as_str)
    }

    /// Whether a state is told, e.g. `READY`.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.get(name) == Some("1")
    }
}

#[derive(Default)]
struct Kept {
    told: Vec<Told>,
    store: Vec<(String, OwnedFd)>,
}

/// The manager; it listens until it is dropped.
pub(crate) struct Manager {
    folder: TempDir,
    kept: Arc<Mutex<Kept>>,
    is_over: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl Manager {
    /// Begins to listen.
    pub(crate) fn new() -> Manager {
        let folder = TempDir::new().expect("a temporary folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket can be bound");
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("a time limit can be set");
        let (kept, is_over) = (Arc::<Mutex<Kept>>::default(), Arc::<AtomicBool>::default());
        let listener = std::thread::spawn({
            let (kept, is_over) = (kept.clone(), is_over.clone());
            move || {
                while !is_over.load(Ordering::Relaxed) {
                    if let Some((text, fds)) = receive(&socket) {
                        lock(&kept).take(&text, fds);
                    }
                }
            }
        });
        Manager {
            folder,
            kept,
            is_over,
            listener: Some(listener),
        }
    }

    /// Where the master is to tell.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("notify")
    }

    /// A start that is told of this manager.
    pub(crate) fn manage(&self, launch: Launch) -> Launch {
        launch.env("NOTIFY_SOCKET", self.socket())
    }

    /// All messages so far.
    pub(crate) fn told(&self) -> Vec<Told> {
        lock(&self.kept).told.clone()
    }

    /// Waits until a message from number `from` (from 0) on fits, and gives its number and the message.
    pub(crate) fn wait(&self, what: &str, from: usize, fits: impl Fn(&Told) -> bool) -> (usize, Told) {
        eventually(what, PATIENCE, || {
            let told = self.told();
            let found = told.iter().enumerate().skip(from).find(|(_, told)| fits(told));
            found.map(|(at, told)| (at, told.clone())).ok_or(told.len())
        })
    }

    /// The names of all descriptors that are kept, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = lock(&self.kept).store.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// The sockets that are kept, as the kernel numbers them, sorted.
    pub(crate) fn sockets(&self) -> Vec<u64> {
        let mut sockets: Vec<u64> = lock(&self.kept).store.iter().map(|(_, fd)| inode(fd)).collect();
        sockets.sort_unstable();
        sockets
    }

    /// A start with all descriptors that are kept, as a service manager starts a service again. They stay in the store.
    pub(crate) fn give_back(&self, launch: Launch) -> Launch {
        let kept = lock(&self.kept);
        let fds: Vec<&OwnedFd> = kept.store.iter().map(|(_, fd)| fd).collect();
        let names: Vec<&str> = kept.store.iter().map(|(name, _)| name.as_str()).collect();
        self.manage(launch.through(passing(&fds, Some(&names))))
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(listener) = self.listener.take() {
            // When it panicked it said so already.
            let _ = listener.join();
        }
    }
}

impl Kept {
    fn take(&mut self, text: &str, fds: Vec<OwnedFd>) {
        let says: BTreeMap<String, String> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let told = Told {
            at: Instant::now(),
            says,
        };
        let name = told.get("FDNAME").unwrap_or("stored").to_owned();
        if told.is("FDSTORE") {
            for fd in fds {
                // A descriptor of the same open file is not kept twice. Source: sd_notify(3).
                if self.store.iter().all(|(_, kept)| inode(kept) != inode(&fd)) {
                    self.store.push((name.clone(), fd));
                }
            }
        } else if told.is("FDSTOREREMOVE") {
            self.store.retain(|(kept, _)| *kept != name);
        }
        self.told.push(told);
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

fn receive(socket: &UnixDatagram) -> Option<(String, Vec<OwnedFd>)> {
    let mut bytes = [0; 8192];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    );
    let count = got.ok()?.bytes;
    let fds = control
        .drain()
        .flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
            _ => Vec::new(),
        })
        .collect();
    Some((String::from_utf8_lossy(&bytes[..count]).into_owned(), fds))
}

/// The number of a socket in the kernel's tables: two descriptors with the same one are the same socket.
pub(crate) fn inode(fd: impl AsFd) -> u64 {
    rustix::fs::fstat(fd).expect("an open descriptor has a state").st_ino
}

/// Puts descriptors at 3, 4, …, says so in the environment when they have names, and becomes the program.
const PASS: &str = r#"
import fcntl, os, sys
given, names = [int(part) for part in sys.argv[1].split(",") if part], sys.argv[2]
high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 500) for fd in given]
for at, fd in enumerate(high):
    os.dup2(fd, 3 + at, inheritable=True)
os.closerange(3 + len(high), 1024)
if names != "-":
    os.environ.update(LISTEN_FDS=str(len(high)), LISTEN_FDNAMES=names, LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[3], sys.argv[3:])
"#;

/// The command, to be followed by a program and its arguments, that starts it with these descriptors; the process keeps its
/// number from the first to the last.
///
/// Shape: without names nothing is said in the environment. The descriptors become inheritable.
pub(crate) fn passing(fds: &[impl AsFd], names: Option<&[&str]>) -> Vec<String> {
    let numbers: Vec<String> = fds
        .iter()
        .map(|fd| {
            fcntl_setfd(fd, FdFlags::empty()).expect("a flag can be taken away");
            fd.as_fd().as_raw_fd().to_string()
        })
        .collect();
    let names = names.map_or_else(|| "-".to_owned(), |names| names.join(":"));
    let python = find_program("python3").to_string_lossy().into_owned();
    vec![python, "-c".to_owned(), PASS.to_owned(), numbers.join(","), names]
}
