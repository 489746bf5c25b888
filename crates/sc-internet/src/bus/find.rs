//! Finds the program of a Redis of our own.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// What is looked for, in this order. Both read the same configuration and speak the same protocol.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];

/// The first `redis-server`, else the first `valkey-server`, in the folders of `path`.
///
/// Shape: `path` is the text of the environment's `PATH`; relative folders in it are passed over.
pub fn find_server(path: &OsStr) -> Option<PathBuf> {
    PROGRAMS.iter().find_map(|program| {
        std::env::split_paths(path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(program))
            .find(|file| is_program(file))
    })
}

fn is_program(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

    use super::*;

    #[test]
    fn redis_is_preferred_and_what_cannot_be_run_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        for (file, mode) in [
            (first.join("valkey-server"), 0o755),
            (first.join("redis-server"), 0o644),
            (second.join("redis-server"), 0o755),
        ] {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let both = std::env::join_paths([&first, &second]).unwrap();
        assert_eq!(find_server(&both), Some(second.join("redis-server")));
        assert_eq!(find_server(first.as_os_str()), Some(first.join("valkey-server")));
        assert_eq!(find_server(OsStr::new("")), None);
        assert_eq!(find_server(OsStr::new("relative")), None);
    }
}
