//! The folder of a browser's profile: made `0700`, marked as ours, never a symlink, never somebody else's.
//!
//! Only a folder that carries the marker is ever seeded or thrown away, so that a mistyped `--user-dir` cannot hurt a
//! person's everyday profile. What goes into it is the matter of [`crate::chromium`] and [`crate::firefox`].
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sc_config::places::private_folder;

use crate::files;
use crate::report::{Exit, Report};

/// The file that says that a profile is ours.
pub(crate) const MARKER: &str = ".sc-tool-profile";

/// Which family of browsers a profile belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Family {
    /// Chromium and what is made of it.
    Chrome,
    /// Firefox.
    Firefox,
}

impl Family {
    /// The command that opens it, and the name of its folder.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Chrome => "chrome",
            Self::Firefox => "firefox",
        }
    }

    /// The link by which a running browser says that the profile is in use.
    fn lock(self) -> &'static str {
        match self {
            Self::Chrome => "SingletonLock",
            Self::Firefox => "lock",
        }
    }
}

/// A profile that is ours.
#[derive(Debug)]
pub(crate) struct Profile {
    /// Its folder, without symlinks.
    pub(crate) dir: PathBuf,
    /// It has just been made.
    pub(crate) is_new: bool,
    family: Family,
}

impl Profile {
    /// Opens the profile, or makes it; with `fresh`, throws an old one away before.
    ///
    /// Errors: the folder is a symlink, somebody else's, or full of things that sc-tool did not put there.
    pub(crate) fn open(dir: &Path, family: Family, project: &Path, fresh: bool) -> Result<Self, Report> {
        let dir = own_path(dir)?;
        if fresh {
            throw_away(&dir, family)?;
        }
        let is_new = match dir.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::DirBuilder::new()
                    .mode(0o700)
                    .create(&dir)
                    .map_err(|error| cannot("make", &dir, &error))?;
                true
            }
            Err(error) => return Err(cannot("look at", &dir, &error)),
            Ok(found) => {
                check_owner(&dir, &found)?;
                !is_marked(&dir, family)? && is_empty(&dir)?
            }
        };
        if is_new {
            mark(&dir, family, project)?;
        } else if !is_marked(&dir, family)? {
            return Err(
                Report::usage(format!("`{}` is not a profile that sc-tool made", dir.display()))
                    .hint("choose a new or empty folder with `--user-dir`"),
            );
        }
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))
            .map_err(|error| cannot("close to others", &dir, &error))?;
        Ok(Self { dir, is_new, family })
    }

    /// Says whether a browser has the profile open.
    pub(crate) fn is_in_use(&self) -> bool {
        in_use(&self.dir, self.family)
    }

    /// A folder inside the profile, made if need be.
    ///
    /// Errors: it is a symlink, a file, or somebody else's.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, Report> {
        let path = self.dir.join(name);
        private_folder(&path).map_err(|error| Report::of(&error))?;
        Ok(path)
    }
}

/// Is there a profile of ours at this place? Changes nothing.
pub(crate) fn exists(dir: &Path, family: Family) -> bool {
    is_marked(dir, family).unwrap_or(false)
}

/// The last part as it is, all before it without symlinks; parents are made if need be.
fn own_path(dir: &Path) -> Result<PathBuf, Report> {
    let name = dir
        .file_name()
        .ok_or_else(|| Report::usage(format!("`{}` cannot be a profile", dir.display())))?;
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !parent.exists() {
        private_folder(parent).map_err(|error| Report::of(&error))?;
    }
    let parent = parent
        .canonicalize()
        .map_err(|error| cannot("look at", parent, &error))?;
    Ok(parent.join(name))
}

fn check_owner(dir: &Path, found: &fs::Metadata) -> Result<(), Report> {
    let me = rustix::process::geteuid().as_raw();
    let refuse = |why: String| Err(Report::failed(format!("the profile `{}` {why}", dir.display())));
    if found.is_symlink() {
        return refuse("is a symlink".to_owned());
    }
    if !found.is_dir() {
        return refuse("is not a folder".to_owned());
    }
    if found.uid() != me {
        return refuse(format!("belongs to user {}, and this runs as user {me}", found.uid()));
    }
    Ok(())
}

fn is_empty(dir: &Path) -> Result<bool, Report> {
    let mut entries = fs::read_dir(dir).map_err(|error| cannot("look into", dir, &error))?;
    Ok(entries.next().is_none())
}

fn is_marked(dir: &Path, family: Family) -> Result<bool, Report> {
    let marker = dir.join(MARKER);
    let text = files::read(&marker).map_err(|error| cannot("read", &marker, &error))?;
    Ok(text.is_some_and(|text| text.lines().next() == Some(&format!("sc-tool {}", family.word()))))
}

fn mark(dir: &Path, family: Family, project: &Path) -> Result<(), Report> {
    let marker = dir.join(MARKER);
    let text = format!("sc-tool {}\nproject {}\n", family.word(), project.display());
    files::write(&marker, &text).map_err(|error| cannot("write", &marker, &error))
}

fn throw_away(dir: &Path, family: Family) -> Result<(), Report> {
    let found = match dir.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(|error| cannot("look at", dir, &error))?,
    };
    check_owner(dir, &found)?;
    if !is_marked(dir, family)? {
        if is_empty(dir)? {
            return Ok(());
        }
        return Err(Report::usage(format!(
            "`{}` is not a profile that sc-tool made, so `--fresh` leaves it alone",
            dir.display()
        )));
    }
    if in_use(dir, family) {
        return Err(
            Report::failed(format!("a browser has the profile `{}` open", dir.display()))
                .hint("close its windows, then try again"),
        );
    }
    fs::remove_dir_all(dir).map_err(|error| cannot("remove", dir, &error))
}

/// Both families leave a dangling link `host-pid` or `address:+pid`; it counts while that process is there.
fn in_use(dir: &Path, family: Family) -> bool {
    let Ok(target) = fs::read_link(dir.join(family.lock())) else {
        return false;
    };
    let digits: String = target
        .to_string_lossy()
        .chars()
        .rev()
        .take_while(char::is_ascii_digit)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect();
    let pid = digits.parse().ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| match rustix::process::test_kill_process(pid) {
        Ok(()) => true,
        Err(error) => error == rustix::io::Errno::PERM,
    })
}

pub(crate) fn cannot(what: &str, path: &Path, error: &io::Error) -> Report {
    Report::because(format!("cannot {what} `{}`", path.display()), error).with_exit(Exit::Failed)
}
