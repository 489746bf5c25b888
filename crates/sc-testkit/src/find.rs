//! Finding outside programs, and saying which Debian package holds one that is missing.
//!
//! A test that needs a program fails without it: nothing is skipped silently.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

/// Programs whose package is called otherwise.
const PACKAGES: &[(&str, &str)] = &[
    ("certutil", "libnss3-tools"),
    ("danted", "dante-server"),
    ("dig", "bind9-dnsutils"),
    ("firefox", "firefox-esr"),
    ("h2load", "nghttp2-client"),
    ("ip", "iproute2"),
    ("nc", "netcat-openbsd"),
    ("nghttp", "nghttp2-client"),
    ("node", "nodejs"),
    ("nsenter", "util-linux"),
    ("php-fpm8.2", "php8.2-fpm"),
    ("redis-cli", "redis-tools"),
    ("script", "bsdutils"),
    ("setcap", "libcap2-bin"),
    ("setpriv", "util-linux"),
    ("ssh", "openssh-client"),
    ("systemd-analyze", "systemd"),
    ("systemd-socket-activate", "systemd"),
    ("unshare", "util-linux"),
];

/// The path of a program on `PATH`.
///
/// Shape: panics with the package to install when there is none.
pub fn find_program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|candidate| is_executable(candidate));
    found.unwrap_or_else(|| {
        let package = PACKAGES
            .iter()
            .find(|(program, _)| *program == name)
            .map_or(name, |(_, package)| package);
        panic!("`{name}` is not installed; on Debian: apt-get install {package}")
    })
}

fn is_executable(path: &std::path::Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
