//! A private folder: created `0700`, refused when anybody else could read or swap what is in it.
//!
//! Everything inside is reached through one descriptor of the folder, so that a path which changes under us cannot lead
//! elsewhere. Writes are atomic (new file, fsync, rename, fsync of the folder). What the files mean is `ca`'s business.

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags};

/// Longer than any honest holder needs (a key and a signature take milliseconds), short enough for a person to wait.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// A key and a certificate together take about 1 KiB.
const FILE_LIMIT_BYTES: u64 = 64 * 1024;

/// Why a folder, or a file in it, is not used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The system refused an operation.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was tried, as an infinitive.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// The folder would lie in a git work tree that does not ignore it, where a private key is committed by accident.
    #[error("`{path}` lies inside the git work tree `{work_tree}`, where a private key must not be")]
    InWorkTree {
        /// The folder that was asked for.
        path: PathBuf,
        /// The folder that holds `.git`.
        work_tree: PathBuf,
    },
    /// A symbolic link that somebody else could turn elsewhere, or in the place of the folder or a file itself.
    #[error("`{path}` is a symbolic link")]
    Symlink {
        /// The link.
        path: PathBuf,
    },
    /// Not a folder, or not an ordinary file.
    #[error("`{path}` is not {expected}")]
    WrongKind {
        /// What was found.
        path: PathBuf,
        /// What should be there: `a folder`, `an ordinary file`.
        expected: &'static str,
    },
    /// Another user owns it.
    #[error("`{path}` belongs to user {uid}, not to us")]
    ForeignOwner {
        /// What was found.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// Others may read or write it.
    #[error("`{path}` is open to other users (mode {mode:04o})")]
    TooOpen {
        /// What was found.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A folder above it can be changed by everybody.
    #[error("everybody may rename what is in `{path}`, a folder above the private one")]
    OpenAncestor {
        /// The folder above.
        path: PathBuf,
    },
    /// Another process has held the lock for too long.
    #[error("another process has held `{path}` for more than {} s", LOCK_PATIENCE.as_secs())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
}

/// An open private folder.
pub(super) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
    owner: u32,
}

/// Held while the folder is looked at and changed; released on drop.
pub(super) struct Lock {
    _file: File,
}

impl Folder {
    /// Creates the folder when it is not there, and checks it and the way to it.
    ///
    /// Shape: `owner` is the user who must own it, ordinarily the effective one of this process.
    pub(super) fn open(path: &Path, owner: u32) -> Result<Folder, FolderError> {
        let path = std::path::absolute(path).map_err(|source| io_error("resolve", path, source))?;
        refuse_foreign_links(&path, owner)?;
        refuse_work_tree(&path)?;
        create(&path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&path, flags, Mode::empty()).map_err(|errno| open_error(&path, "a folder", errno))?;
        let stat = rustix::fs::fstat(&fd).map_err(|errno| io_error("examine", &path, errno.into()))?;
        check_private(&path, stat.st_uid, stat.st_mode, owner)?;
        refuse_open_ancestors(&path)?;
        Ok(Folder { fd, path, owner })
    }

    /// Where a file of this folder is, for people and other programs.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Waits for the folder's lock.
    ///
    /// Errors: `Locked` after ten seconds.
    pub(super) fn lock(&self, name: &str) -> Result<Lock, FolderError> {
        let path = self.path_of(name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| open_error(&path, "an ordinary file", errno))?;
        let file = File::from(fd);
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(std::fs::TryLockError::Error(source)) => return Err(io_error("lock", &path, source)),
                Err(std::fs::TryLockError::WouldBlock) if started.elapsed() > LOCK_PATIENCE => {
                    return Err(FolderError::Locked { path });
                }
                Err(std::fs::TryLockError::WouldBlock) => wait_a_little(),
            }
        }
    }

    /// Reads a file that only its owner may open; `None` when there is none.
    pub(super) fn read_private(&self, name: &str) -> Result<Option<Vec<u8>>, FolderError> {
        self.read(name, |path, metadata| {
            check_private(path, metadata.uid(), metadata.mode(), self.owner)
        })
    }

    /// Reads a file whose content is no secret; `None` when there is none.
    pub(super) fn read_public(&self, name: &str) -> Result<Option<Vec<u8>>, FolderError> {
        self.read(name, |_, _| Ok(()))
    }

    fn read(
        &self,
        name: &str,
        check: impl FnOnce(&Path, &std::fs::Metadata) -> Result<(), FolderError>,
    ) -> Result<Option<Vec<u8>>, FolderError> {
        let path = self.path_of(name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(open_error(&path, "an ordinary file", errno)),
        };
        let file = File::from(fd);
        let metadata = file.metadata().map_err(|source| io_error("examine", &path, source))?;
        if !metadata.is_file() {
            return Err(FolderError::WrongKind {
                path,
                expected: "an ordinary file",
            });
        }
        check(&path, &metadata)?;
        let mut bytes = Vec::new();
        file.take(FILE_LIMIT_BYTES)
            .read_to_end(&mut bytes)
            .map_err(|source| io_error("read", &path, source))?;
        Ok(Some(bytes))
    }

    /// Puts a file in its place at once: whoever opens it sees the old content or the new, never a part.
    ///
    /// Shape: to be called with the lock held, since the intermediate name is fixed.
    pub(super) fn write(&self, name: &str, bytes: &[u8], mode: Mode) -> Result<(), FolderError> {
        let path = self.path_of(name);
        let temporary = format!(".{name}.new");
        match rustix::fs::unlinkat(&self.fd, &temporary, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(io_error("replace", &path, errno.into())),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, &temporary, flags, mode)
            .map_err(|errno| io_error("write", &path, errno.into()))?;
        let mut file = File::from(fd);
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(|source| io_error("write", &path, source))?;
        rustix::fs::renameat(&self.fd, &temporary, &self.fd, name)
            .and_then(|()| rustix::fs::fsync(&self.fd))
            .map_err(|errno| io_error("write", &path, errno.into()))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the CA is opened at start-up, before anything is served"
)]
fn wait_a_little() {
    std::thread::sleep(Duration::from_millis(5));
}

fn create(path: &Path) -> Result<(), FolderError> {
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| io_error("create", path, source))
}

/// A link on the way is harmless when we or the system's administrator put it there; the folder itself must not be one.
fn refuse_foreign_links(path: &Path, owner: u32) -> Result<(), FolderError> {
    for step in path.ancestors() {
        let Ok(metadata) = step.symlink_metadata() else {
            continue;
        };
        if metadata.is_symlink() && (step == path || ![0, owner].contains(&metadata.uid())) {
            return Err(FolderError::Symlink {
                path: step.to_path_buf(),
            });
        }
    }
    Ok(())
}

fn refuse_work_tree(path: &Path) -> Result<(), FolderError> {
    let real = resolve_existing(path)?;
    for from in [path, &real] {
        for step in from.ancestors().take_while(|step| !ignores_all(step)) {
            if step.join(".git").symlink_metadata().is_ok() {
                return Err(FolderError::InWorkTree {
                    path: path.to_path_buf(),
                    work_tree: step.to_path_buf(),
                });
            }
        }
    }
    Ok(())
}

/// Whether git looks at nothing in a folder, so that a key below it is not committed by accident (gitignore(5)).
fn ignores_all(folder: &Path) -> bool {
    let patterns = std::fs::read_to_string(folder.join(".gitignore")).unwrap_or_default();
    patterns.lines().any(|line| line.trim_end() == "*") && !patterns.lines().any(|line| line.starts_with('!'))
}

/// Whoever may rename a folder above ours can put another in its place; the sticky bit (as on `/tmp`) forbids that.
fn refuse_open_ancestors(path: &Path) -> Result<(), FolderError> {
    let real = resolve_existing(path)?;
    for step in real.ancestors().skip(1) {
        let metadata = step.metadata().map_err(|source| io_error("examine", step, source))?;
        if metadata.mode() & 0o1002 == 0o0002 {
            return Err(FolderError::OpenAncestor {
                path: step.to_path_buf(),
            });
        }
    }
    Ok(())
}

/// The nearest existing folder at or above `path`, without links.
fn resolve_existing(path: &Path) -> Result<PathBuf, FolderError> {
    let existing = path.ancestors().find(|step| step.exists()).unwrap_or(Path::new("/"));
    existing
        .canonicalize()
        .map_err(|source| io_error("resolve", existing, source))
}

fn check_private(path: &Path, uid: u32, mode: u32, owner: u32) -> Result<(), FolderError> {
    if uid != owner {
        return Err(FolderError::ForeignOwner {
            path: path.to_path_buf(),
            uid,
        });
    }
    if mode & 0o077 != 0 {
        return Err(FolderError::TooOpen {
            path: path.to_path_buf(),
            mode: mode & 0o7777,
        });
    }
    Ok(())
}

fn open_error(path: &Path, expected: &'static str, errno: rustix::io::Errno) -> FolderError {
    let path = path.to_path_buf();
    match errno {
        rustix::io::Errno::LOOP => FolderError::Symlink { path },
        rustix::io::Errno::NOTDIR => FolderError::WrongKind { path, expected },
        _ => FolderError::Io {
            action: "open",
            path,
            source: errno.into(),
        },
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> FolderError {
    FolderError::Io {
        action,
        path: path.to_path_buf(),
        source,
    }
}
