//! The lock of a project's scratch folder: one instance at a time.
//!
//! It is the kernel's and ends with the process, however that ends; nothing has to be cleaned up.
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::instance::Instance;
use crate::places::Places;

/// Why the lock was not taken.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another instance has it.
    #[error("another instance of this project is running: {holder}")]
    Held {
        /// Which one, as far as it says.
        holder: String,
    },
    /// The lock file cannot be used.
    #[error("cannot lock `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Takes the lock of the project's scratch folder; it lasts as long as the file is open.
///
/// Shape: the folder must exist ([`Places::create`]).
/// Errors: `Held`, `File`.
pub fn lock(places: &Places) -> Result<File, LockError> {
    let path = places.scratch.join("lock");
    let opened = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path);
    let taken = opened
        .map_err(TryLockError::Error)
        .and_then(|file| file.try_lock().map(|()| file));
    taken.map_err(|error| match error {
        TryLockError::WouldBlock => LockError::Held {
            holder: holder(&places.scratch),
        },
        TryLockError::Error(source) => LockError::File { path, source },
    })
}

fn holder(scratch: &Path) -> String {
    match Instance::read(scratch) {
        Ok(Some(instance)) if instance.is_alive() => {
            let https = match instance.https.join(", ") {
                none if none.is_empty() => String::new(),
                some => format!(", HTTPS {some}"),
            };
            let proxy = instance
                .socks
                .map_or_else(String::new, |proxy| format!(", proxy {proxy}"));
            format!("pid {}, shimmercat {}{https}{proxy}", instance.pid, instance.mode)
        }
        _ => "it has only just started".to_owned(),
    }
}
