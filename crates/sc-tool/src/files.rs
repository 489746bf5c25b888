//! Reading and writing files in folders of ours without following anybody's links.
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// A settings file of a browser that is larger than this is left alone.
const FILE_MAX_BYTES: u64 = 64 << 20;

fn no_follow(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
}

/// Reads a file; `None` when there is none. A symlink in its place is an error.
pub(crate) fn read(path: &Path) -> io::Result<Option<String>> {
    let mut file = match no_follow(OpenOptions::new().read(true)).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if file.metadata()?.len() > FILE_MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is too large"));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(Some(text))
}

/// Writes a file whole or not at all, `0600`: first beside it, then renamed over it. Does nothing when it is the same.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    if matches!(read(path), Ok(Some(found)) if found == text) {
        return Ok(());
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create_new(&beside)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| std::fs::rename(&beside, path));
    written.inspect_err(|_| drop(std::fs::remove_file(&beside)))
}

/// Makes a file that was not there, `0600`.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    no_follow(OpenOptions::new().write(true).create_new(true).mode(0o600)).open(path)
}

/// Makes sure that a plain file of ours is there, so that a database can be opened on it without being world-readable.
///
/// Errors: something else than our own file stands there.
pub(crate) fn ensure(path: &Path) -> io::Result<()> {
    match create_new(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => return other.map(drop),
    }
    let found = path.symlink_metadata()?;
    if found.is_file() && found.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        "it is not a plain file of this user",
    ))
}

/// Opens a log file anew, `0600`, for a browser's output.
pub(crate) fn log(path: &Path) -> io::Result<File> {
    no_follow(OpenOptions::new().write(true).create(true).truncate(true).mode(0o600)).open(path)
}

/// Takes every right of others from a plain file.
pub(crate) fn close_to_others(path: &Path) -> io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}
