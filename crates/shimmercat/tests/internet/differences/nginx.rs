//! nginx with the same files and an application, in the configuration that its manual gives for such a proxy.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use sc_testkit::{eventually, find_program};

use crate::kit::PATIENCE;

/// A running nginx; it ends when dropped.
pub(super) struct Nginx {
    child: Child,
    place: tempfile::TempDir,
    /// As it names itself, `nginx/1.22.1`.
    pub(super) version: String,
}

impl Nginx {
    /// Starts it for a folder under one name and an application under another.
    pub(super) fn start(root: &Path, application: u16, files: &str, name: &str) -> Nginx {
        let place = tempfile::tempdir().expect("a temporary folder");
        let (at, root) = (place.path().display(), root.display());
        let paths =
            ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {at}/{kind};"));
        let config = format!(
            "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log; events {{}}
             http {{ access_log off; {} types {{ text/plain txt; text/html html; }}
             default_type application/octet-stream;
             server {{ listen unix:{at}/socket default_server; server_name {files}; root {root}; index index.html; }}
             server {{ listen unix:{at}/socket; server_name {name}; location / {{
                 proxy_pass http://127.0.0.1:{application}; proxy_http_version 1.1;
                 proxy_set_header Host $http_host; proxy_set_header Connection \"\"; }} }} }}",
            paths.join(" "),
        );
        let conf = place.path().join("nginx.conf");
        std::fs::write(&conf, config).expect("the configuration can be written");
        let program = find_program("nginx");
        let asked = Command::new(&program)
            .arg("-v")
            .output()
            .expect("nginx tells its version");
        let words = String::from_utf8_lossy(&asked.stderr).into_owned();
        let version = words
            .split_whitespace()
            .find(|word| word.starts_with("nginx/"))
            .unwrap_or("nginx/?");
        let child = Command::new(&program)
            .arg("-p")
            .arg(place.path())
            .arg("-e")
            .arg(place.path().join("error.log"))
            .arg("-c")
            .arg(&conf)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx starts");
        let nginx = Nginx {
            child,
            version: version.to_owned(),
            place,
        };
        eventually("nginx listens", PATIENCE, || {
            UnixStream::connect(nginx.place.path().join("socket"))
        });
        nginx
    }

    pub(super) fn connect(&self) -> UnixStream {
        UnixStream::connect(self.place.path().join("socket")).expect("nginx accepts")
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
