//! Watches files for changes without a thread: by the folders they are in, also through symbolic links.
//!
//! Editors and certificate tools write a new file and rename it over the old one, or swap a link somewhere on the way. So
//! every name on the way to a file is watched in its folder, and the way is found anew after each change. What is said is
//! only that something may have changed; reading and comparing is the caller's.
//!
//! Source: inotify(7).

use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout_at};

use crate::readiness;

/// Quiet time after the last change before it is told: editors write in several steps.
pub const SETTLE: Duration = Duration::from_millis(100);
/// A file that is never quiet is told of after this time.
pub const LONGEST_SETTLE: Duration = Duration::from_secs(2);
/// When the system had no watches to give, they are asked for again after this time.
const RETRY: Duration = Duration::from_secs(10);

/// A running watch; it ends when this is dropped.
#[derive(Debug)]
pub struct Watch {
    files: Vec<PathBuf>,
    eyes: Eyes,
    /// When the first change was seen that has not been told yet.
    since: Option<Instant>,
    /// When to look for the way again, because the last time failed.
    retry: Option<Instant>,
}

impl Watch {
    /// Begins to watch these files. Needs a tokio runtime.
    ///
    /// Shape: neither the files nor their folders need to exist; relative paths start at the working folder. A folder that
    /// we may not read is not watched.
    /// Errors: no descriptors, or no watches left for this user.
    pub fn on(files: Vec<PathBuf>) -> io::Result<Watch> {
        let files: Vec<PathBuf> = files.iter().map(std::path::absolute).collect::<Result<_, _>>()?;
        Ok(Watch {
            eyes: Eyes::on(&files)?,
            files,
            since: None,
            retry: None,
        })
    }

    /// Waits for a change, and then until the files have been quiet for [`SETTLE`].
    ///
    /// Shape: everything that changed before it returns can be read; what changes later is told by the next call.
    /// Cancel: nothing is lost; the next call goes on waiting out a change that was seen already.
    pub async fn changed(&mut self) {
        let since = match self.since {
            Some(since) => since,
            None => {
                self.first().await;
                *self.since.insert(Instant::now())
            }
        };
        let latest = since + LONGEST_SETTLE;
        while timeout_at(latest.min(Instant::now() + SETTLE), self.eyes.change())
            .await
            .is_ok()
            && Instant::now() < latest
        {}
        self.look_again();
        self.since = None;
    }

    async fn first(&mut self) {
        while let Some(retry) = self.retry {
            if timeout_at(retry, self.eyes.change()).await.is_ok() {
                return;
            }
            self.look_again();
            if self.retry.is_none() {
                return;
            }
        }
        self.eyes.change().await;
    }

    /// Finds the way anew: links and folders may be others now.
    fn look_again(&mut self) {
        match Eyes::on(&self.files) {
            Ok(eyes) => {
                self.eyes = eyes;
                self.retry = None;
            }
            Err(_) => self.retry = Some(Instant::now() + RETRY),
        }
    }
}

/// Waits for a change as [`Watch::changed`] does; without a watch, for ever.
pub async fn changed(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// One inotify instance and the names that matter in each folder.
#[derive(Debug)]
struct Eyes {
    inotify: AsyncFd<OwnedFd>,
    names: HashMap<i32, Vec<OsString>>,
}

impl Eyes {
    fn on(files: &[PathBuf]) -> io::Result<Eyes> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let mut names = HashMap::new();
        for file in files {
            follow(&inotify, file, &mut names)?;
        }
        Ok(Eyes {
            inotify: readiness::watch(inotify, Interest::READABLE)?,
            names,
        })
    }

    /// Waits for an event that matters. An instance that cannot be read tells nothing any more.
    ///
    /// Cancel: nothing is lost; events are read and judged in one step.
    async fn change(&self) {
        let looked = self.inotify.async_io(Interest::READABLE, |inotify| {
            self.matters(inotify).map_err(io::Error::from)
        });
        if looked.await.is_err() {
            std::future::pending().await
        }
    }

    /// Reads all events there are; `AGAIN` when none of them matters.
    fn matters(&self, inotify: &OwnedFd) -> rustix::io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); EVENTS_BYTES];
        let mut events = Reader::new(inotify.as_fd(), &mut buffer);
        let mut matters = false;
        loop {
            match events.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                    let is_ours = |names: &Vec<OsString>| names.iter().any(|known| Some(&**known) == name);
                    matters |= event.events().intersects(ALWAYS) || self.names.get(&event.wd()).is_some_and(is_ours);
                }
                Err(Errno::AGAIN) if matters => return Ok(()),
                Err(Errno::INTR) => {}
                Err(fault) => return Err(fault),
            }
        }
    }
}

/// Room for some dozens of events; one with the longest name has 272 bytes.
const EVENTS_BYTES: usize = 4096;

/// What happens to a name in its folder.
const NAME: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO);
/// What happens to a file: written in place, or its rights changed.
const CONTENT: WatchFlags = WatchFlags::CLOSE_WRITE.union(WatchFlags::ATTRIB);
/// What happens to the folder itself. Several names may be in one folder, so each watch adds to the ones before.
const FOLDER: WatchFlags = WatchFlags::DELETE_SELF
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::MASK_ADD);
/// What matters without a name: the folder went away, or events were lost.
const ALWAYS: ReadFlags = ReadFlags::DELETE_SELF
    .union(ReadFlags::MOVE_SELF)
    .union(ReadFlags::UNMOUNT)
    .union(ReadFlags::QUEUE_OVERFLOW);

/// How many links may be on the way, as many as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Watches each name on the way to `file`, as far as the way exists.
///
/// Shape: a folder is watched before its name is looked at, so nothing can change in between unseen.
/// Errors: no memory or no watches left; folders that are gone or closed to us are passed over.
fn follow(inotify: &OwnedFd, file: &Path, names: &mut HashMap<i32, Vec<OsString>>) -> io::Result<()> {
    let mut folder = PathBuf::from("/");
    let mut way: VecDeque<OsString> = steps(file).collect();
    let mut links = 0;
    while let Some(step) = way.pop_front() {
        if step == ".." {
            folder.pop();
            continue;
        }
        let content = if way.is_empty() { CONTENT } else { WatchFlags::empty() };
        match inotify::add_watch(inotify, &folder, NAME | FOLDER | content) {
            Ok(number) => {
                let known = names.entry(number).or_default();
                if !known.contains(&step) {
                    known.push(step.clone());
                }
            }
            Err(Errno::NOENT | Errno::ACCESS | Errno::NOTDIR | Errno::LOOP) => {}
            Err(fault) => return Err(fault.into()),
        }
        let path = folder.join(&step);
        match std::fs::read_link(&path) {
            Ok(target) => {
                links += 1;
                if links > MOST_LINKS {
                    return Ok(());
                }
                if target.is_absolute() {
                    folder = PathBuf::from("/");
                }
                for step in steps(&target).collect::<Vec<_>>().into_iter().rev() {
                    way.push_front(step);
                }
            }
            // No link: a folder, the file, or nothing yet; what lies beyond nothing is found when it appears.
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) => folder = path,
        }
    }
    Ok(())
}

fn steps(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}
