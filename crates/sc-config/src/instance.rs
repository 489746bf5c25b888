//! What a running instance says about itself: one JSON file in its scratch folder.
//!
//! `sc-tool` and the commands that talk to an instance find it from a working directory by walking up, as the devlove
//! file is found. The file is written whole or not at all, readable by its owner only. A file that outlived its
//! process is told apart by [`Instance::is_alive`].
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::discover;

/// Name of the file in the scratch folder.
pub const FILE_NAME: &str = "instance.json";

/// No more than this is read; a larger file was not written by us.
const FILE_MAX_BYTES: u64 = 4 << 20;

/// A running instance.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Instance {
    /// Process id.
    pub pid: u32,
    /// When the kernel started that process, in clock ticks since boot; tells a recycled pid apart.
    #[serde(default)]
    pub pid_started: Option<u64>,
    /// `devlove` or `internet`.
    pub mode: String,
    /// Version of the program.
    pub version: String,
    /// The project's folder.
    pub folder: PathBuf,
    /// The devlove file; absent when it runs without one.
    #[serde(default)]
    pub config: Option<PathBuf>,
    /// Addresses where HTTPS is served.
    pub https: Vec<String>,
    /// Address of the little network.
    #[serde(default)]
    pub socks: Option<String>,
    /// The CA's certificate.
    pub ca_pem: PathBuf,
    /// SHA-256 of the CA's public key, base64, as browsers want it.
    pub ca_spki: String,
    /// Control socket.
    pub control: PathBuf,
    /// Configured names and wildcards.
    pub names: Vec<String>,
    /// When it started, seconds since 1970.
    pub started_unix: u64,
}

/// What can go wrong with an instance's file.
#[derive(Debug, Error)]
pub enum InstanceError {
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file does not hold an instance.
    #[error("`{}` was not written by this program", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The file belongs to somebody else, who must not tell our browsers where to go.
    #[error("`{}` belongs to the user {owner}", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// User id of its owner.
        owner: u32,
    },
    /// The file cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Instance {
    /// Process id and start of the calling process, for the two fields of the same names.
    pub fn this_process() -> (u32, Option<u64>) {
        let pid = std::process::id();
        (pid, process_start(pid))
    }

    /// Writes the file into `scratch`: first beside it, then renamed over it, mode `0600`.
    ///
    /// Errors: `Write`; the former file is then untouched.
    pub fn write(&self, scratch: &Path) -> Result<(), InstanceError> {
        let path = scratch.join(FILE_NAME);
        let beside = scratch.join(format!("{FILE_NAME}.{}", std::process::id()));
        let failed = |source| InstanceError::Write {
            path: path.clone(),
            source,
        };
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| failed(io::Error::other(error)))?;
        text.push(b'\n');
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)
            .map_err(failed)?;
        let written = file.write_all(&text).and_then(|()| fs::rename(&beside, &path));
        written.map_err(|error| {
            drop(fs::remove_file(&beside));
            failed(error)
        })
    }

    /// Reads the file from `scratch`; `None` when there is none.
    ///
    /// Errors: `Read`, `Content`, `Owner`.
    pub fn read(scratch: &Path) -> Result<Option<Self>, InstanceError> {
        let path = scratch.join(FILE_NAME);
        let text = match read_bounded(&path) {
            Ok((text, owner)) if owner == rustix::process::getuid().as_raw() => text,
            Ok((_, owner)) => return Err(InstanceError::Owner { path, owner }),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(source) => return Err(InstanceError::Read { path, source }),
        };
        match serde_json::from_slice(&text) {
            Ok(instance) => Ok(Some(instance)),
            Err(source) => Err(InstanceError::Content { path, source }),
        }
    }

    /// Removes the file from `scratch` if it is this instance's; another's stays.
    ///
    /// Errors: `Read`, `Content`, `Owner`, `Write`.
    pub fn remove(&self, scratch: &Path) -> Result<(), InstanceError> {
        let same = |found: &Self| found.pid == self.pid && found.pid_started == self.pid_started;
        if Self::read(scratch)?.as_ref().is_some_and(same) {
            let path = scratch.join(FILE_NAME);
            return fs::remove_file(&path).map_err(|source| InstanceError::Write { path, source });
        }
        Ok(())
    }

    /// Says whether the process that wrote this still runs.
    ///
    /// Shape: true when a process has this pid and, where the kernel tells, it is the one that started then.
    pub fn is_alive(&self) -> bool {
        match (self.pid_started, process_start(self.pid)) {
            (Some(then), Some(now)) => then == now,
            (_, Some(_)) => true,
            (_, None) if Path::new("/proc/self/stat").exists() => false,
            (_, None) => signal_reaches(self.pid),
        }
    }

    /// Finds the instance of the project around `start`: in each folder up to the repository's root.
    ///
    /// Shape: the nearest one that is alive, else the nearest of those that left a file, else `None`. Folders that we
    /// may not look into hold nothing for us.
    /// Errors: `Read`, `Content`, `Owner`.
    pub fn find(start: &Path, scratch_name: &str) -> Result<Option<Self>, InstanceError> {
        let mut dead = None;
        for folder in discover::upwards(start) {
            match Self::read(&folder.join(scratch_name)) {
                Err(InstanceError::Read { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {}
                Err(error) => return Err(error),
                Ok(Some(instance)) if instance.is_alive() => return Ok(Some(instance)),
                Ok(found) => dead = dead.or(found),
            }
        }
        Ok(dead)
    }
}

/// The file's content and its owner, asked from the same open file.
fn read_bounded(path: &Path) -> io::Result<(Vec<u8>, u32)> {
    let file = File::open(path)?;
    let owner = file.metadata()?.uid();
    let mut text = Vec::new();
    file.take(FILE_MAX_BYTES).read_to_end(&mut text)?;
    Ok((text, owner))
}

/// When the kernel started a process: field 22 of its `stat` (proc_pid_stat(5)), `None` where that cannot be read.
fn process_start(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Source: kill(2) with signal 0; `EPERM` means that the process is there.
fn signal_reaches(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| match rustix::process::test_kill_process(pid) {
        Ok(()) => true,
        Err(error) => error == rustix::io::Errno::PERM,
    })
}
