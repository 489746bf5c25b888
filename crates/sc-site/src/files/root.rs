//! The folder that files come from: opened once, noticed when it is replaced, and never left.
//!
//! Every file is opened by `openat2` below the folder's descriptor with `RESOLVE_BENEATH`, so the kernel itself refuses
//! `..` and symlinks that lead out; symlinks that stay inside are followed. The folder's path is looked up again (one
//! `stat`) when a [`Window`] begins, because builds replace whole folders (`rm -rf dist`, a swapped `current` link) and an
//! old descriptor would go on serving the old tree. What was seen of a file counts in the same window only; so nothing that
//! is served is older than one window. A developer's windows last for one request.

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use tokio::time::Instant;

/// A folder.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    open: RefCell<Option<(Identity, Rc<OwnedFd>)>>,
    /// How long a window lasts.
    lasts: Duration,
    window: Cell<Window>,
    /// When it ends; `None` before the first.
    ends: Cell<Option<Instant>>,
}

/// A short time in which what was seen of the files below a root is taken for true; the default is before all others.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Window(u64);

/// Why a file cannot be had.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum OpenError {
    /// Nothing has this name.
    #[error("no such file")]
    Missing,
    /// The root folder itself is not there.
    #[error("the root folder does not exist")]
    NoRoot,
    /// A symlink leads out of the root, or in a circle.
    #[error("a symbolic link leads out of the root folder")]
    Outside,
    /// It may not be read.
    #[error("the server may not read it")]
    Forbidden,
    /// The system failed us.
    #[error("{0}")]
    System(Errno),
}

impl OpenError {
    fn from_errno(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::INVAL | Errno::NXIO | Errno::NODEV => {
                OpenError::Missing
            }
            Errno::XDEV | Errno::LOOP => OpenError::Outside,
            Errno::ACCESS | Errno::PERM => OpenError::Forbidden,
            other => OpenError::System(other),
        }
    }
}

/// What tells one file from all others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Identity {
    device: u64,
    inode: u64,
}

/// What kind of thing was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    File,
    Folder,
    /// A socket, pipe or device: never served.
    Other,
}

/// What is known of a file; equal only while the file has not changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Meta {
    identity: Identity,
    pub(crate) kind: Kind,
    pub(crate) size: u64,
    modified: (i64, u32),
    changed: (i64, u32),
}

impl Meta {
    fn of(stat: &Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            _ => Kind::Other,
        };
        let nanos = |nanos: u64| u32::try_from(nanos).unwrap_or(0);
        Meta {
            identity: Identity {
                device: stat.st_dev,
                inode: stat.st_ino,
            },
            kind,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime, nanos(stat.st_mtime_nsec)),
            changed: (stat.st_ctime, nanos(stat.st_ctime_nsec)),
        }
    }

    /// When the content changed last.
    pub(crate) fn modified(&self) -> SystemTime {
        let (seconds, nanos) = self.modified;
        at(seconds, nanos)
    }

    /// A number that differs when size, time (to the nanosecond) or inode differ; the same on every run.
    pub(crate) fn fingerprint(&self) -> u64 {
        use crate::random::mix;
        let (seconds, nanos) = self.modified;
        let time = mix(seconds.cast_unsigned()) ^ u64::from(nanos);
        mix(mix(mix(time).wrapping_add(self.size)).wrapping_add(self.identity.inode))
    }

    /// Whether the content is as new as another's, or newer.
    pub(crate) fn is_as_new_as(&self, other: &Meta) -> bool {
        self.modified >= other.modified
    }

    /// Whether the file rests: its last change lies so far back that another one would show in its times.
    ///
    /// Older kernels stamp files only at clock ticks, at most 10 ms apart; two changes within one tick look alike. Some file
    /// systems know whole seconds only, or every second one.
    pub(crate) fn is_settled(&self) -> bool {
        const TICKS: Duration = Duration::from_millis(20);
        const COARSE: Duration = Duration::from_secs(3);
        let is_coarse = self.modified.1 == 0 && self.changed.1 == 0;
        let (seconds, nanos) = self.modified.max(self.changed);
        let last = at(seconds, nanos);
        let rest = if is_coarse { COARSE } else { TICKS };
        SystemTime::now().duration_since(last).is_ok_and(|since| since > rest)
    }
}

/// A time as the system gives it.
fn at(seconds: i64, nanos: u32) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let base = if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(whole)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(whole)
    };
    base.and_then(|base| base.checked_add(Duration::from_nanos(nanos.into())))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

impl Root {
    /// A folder that need not be there yet, and how long what was seen of it is taken for true.
    pub(crate) fn new(path: PathBuf, lasts: Duration) -> Self {
        Root {
            path,
            open: RefCell::new(None),
            lasts,
            window: Cell::default(),
            ends: Cell::default(),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that stands at the path now, or stood there when the window began that is given with it.
    ///
    /// Errors: [`OpenError::NoRoot`] when none does.
    pub(crate) fn descriptor(&self) -> Result<(Rc<OwnedFd>, Window), OpenError> {
        let now = (!self.lasts.is_zero()).then(Instant::now);
        if now.zip(self.ends.get()).is_some_and(|(now, ends)| now < ends)
            && let Some((_, fd)) = &*self.open.borrow()
        {
            return Ok((fd.clone(), self.window.get()));
        }
        let fd = self.look()?;
        self.window.set(Window(self.window.get().0 + 1));
        self.ends.set(now.map(|now| now + self.lasts));
        Ok((fd, self.window.get()))
    }

    fn look(&self) -> Result<Rc<OwnedFd>, OpenError> {
        let no_root = |errno| match OpenError::from_errno(errno) {
            OpenError::Missing => OpenError::NoRoot,
            other => other,
        };
        let stat = rustix::fs::stat(&self.path).map_err(no_root)?;
        let identity = Meta::of(&stat).identity;
        if let Some((known, fd)) = &*self.open.borrow()
            && *known == identity
        {
            return Ok(fd.clone());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = Rc::new(rustix::fs::open(&self.path, flags, Mode::empty()).map_err(no_root)?);
        let identity = Meta::of(&rustix::fs::fstat(&*fd).map_err(no_root)?).identity;
        *self.open.borrow_mut() = Some((identity, fd.clone()));
        Ok(fd)
    }
}

/// Opens what stands at a path below a root; the empty path is the root itself.
pub(crate) fn open(root: &OwnedFd, relative: &[u8]) -> Result<(Arc<OwnedFd>, Meta), OpenError> {
    // NONBLOCK keeps a pipe from blocking us, NOCTTY a terminal from becoming ours; both are refused afterwards.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = open_beneath(root, relative, flags)?;
    let meta = Meta::of(&rustix::fs::fstat(&fd).map_err(OpenError::from_errno)?);
    Ok((Arc::new(fd), meta))
}

fn open_beneath(root: &OwnedFd, relative: &[u8], flags: OFlags) -> Result<OwnedFd, OpenError> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let relative = if relative.is_empty() { b"." } else { relative };
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(root, relative, flags, Mode::empty(), resolve) {
            // A rename during the walk: the kernel asks to try again (openat2(2), EAGAIN).
            Err(Errno::AGAIN) if tries < 8 => tries += 1,
            Err(Errno::INTR) => {}
            Err(Errno::NOSYS) => return walk(root, relative, flags).map_err(OpenError::from_errno),
            result => return result.map_err(OpenError::from_errno),
        }
    }
}

/// What kind of thing stands at a path below a root; it need not be readable.
pub(crate) fn kind(root: &OwnedFd, relative: &[u8]) -> Result<Kind, OpenError> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let fd = open_beneath(root, relative, flags)?;
    let stat = rustix::fs::fstat(&fd).map_err(OpenError::from_errno)?;
    Ok(Meta::of(&stat).kind)
}

/// The same where there is no `openat2`, as before Linux 5.6 and in some sandboxes: folder by folder, and no symlink is
/// followed at all.
fn walk(root: &OwnedFd, relative: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut names = relative
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
        .peekable();
    let mut folder = rustix::fs::openat(root, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    while let Some(name) = names.next() {
        if name == b".." {
            return Err(Errno::XDEV);
        }
        if names.peek().is_none() {
            return rustix::fs::openat(&folder, name, flags | OFlags::NOFOLLOW, Mode::empty());
        }
        let through = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        folder = rustix::fs::openat(&folder, name, through, Mode::empty())?;
    }
    Err(Errno::NOENT)
}

/// What stands at a path now, wherever its symlinks lead: good only for asking whether a known file is unchanged.
pub(crate) fn look(root: &OwnedFd, relative: &[u8]) -> Option<Meta> {
    let stat = rustix::fs::statat(root, relative, AtFlags::empty()).ok()?;
    Some(Meta::of(&stat))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_openat2_no_link_is_followed() {
        let place = tempfile::tempdir().expect("a folder");
        let below = place.path().join("root/a");
        std::fs::create_dir_all(&below).expect("folders");
        std::fs::write(place.path().join("secret"), "secret").expect("a file");
        std::fs::write(below.join("file"), "file").expect("a file");
        std::os::unix::fs::symlink("../../secret", below.join("link")).expect("a link");
        std::os::unix::fs::symlink("a", place.path().join("root/folder")).expect("a link");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let root = rustix::fs::open(place.path().join("root"), flags, Mode::empty()).expect("the root");
        let walked = |path: &str| walk(&root, path.as_bytes(), flags).map(|_| ());
        assert_eq!(walked("a/file"), Ok(()));
        assert_eq!(walked("."), Ok(()));
        assert_eq!(walked("a"), Ok(()));
        assert_eq!(walked("a/../../secret"), Err(Errno::XDEV));
        assert_eq!(walked("a/link"), Err(Errno::LOOP));
        assert_eq!(walked("folder/file"), Err(Errno::NOTDIR));
        assert_eq!(walked("a/none"), Err(Errno::NOENT));
    }
}
