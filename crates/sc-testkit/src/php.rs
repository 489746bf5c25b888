//! A real php-fpm of its own: a socket in a temporary folder, a fixed number of processes.
//!
//! Warnings go to the web server (FastCGI's stderr), as php-fpm does when it keeps no log of its own. It ends with the test.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::find::find_program;
use crate::program::{Launch, Program, Signal};

/// It starts slowly on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(60);

/// The program, as Debian 12 calls it.
const PROGRAM: &str = "php-fpm8.2";

/// A running php-fpm.
pub struct PhpFpm {
    program: Program,
    folder: TempDir,
}

impl PhpFpm {
    /// Starts one with this many processes.
    pub fn start(children: usize) -> PhpFpm {
        PhpFpm::start_with(children, &[])
    }

    /// Starts one with further lines in the section of its pool, such as `php_admin_value[memory_limit] = 64M`.
    pub fn start_with(children: usize, lines: &[&str]) -> PhpFpm {
        let folder = TempDir::new().expect("a temporary folder");
        let at = folder.path();
        // Servers of other users than ours are to reach the socket.
        fs::set_permissions(at, fs::Permissions::from_mode(0o711)).expect("the folder is ours");
        let is_root = fs::metadata("/proc/self").expect("this process has a user").uid() == 0;
        let user = if is_root { "user = root\ngroup = root\n" } else { "" };
        let config = format!(
            "[global]\nerror_log = /proc/self/fd/2\ndaemonize = no\n\
             [www]\n{user}listen = {socket}\nlisten.mode = 0666\npm = static\npm.max_children = {children}\n\
             ping.path = /ping\nphp_admin_value[output_buffering] = 0\nphp_admin_flag[log_errors] = on\nphp_admin_flag[display_errors] = off\n\
             php_admin_value[upload_tmp_dir] = {tmp}\nphp_admin_value[session.save_path] = {tmp}\n\
             php_admin_value[upload_max_filesize] = 128M\nphp_admin_value[post_max_size] = 130M\n{lines}\n",
            socket = at.join("php.sock").display(),
            tmp = at.display(),
            lines = lines.join("\n"),
        );
        let file = at.join("php-fpm.conf");
        fs::write(&file, config).expect("a file can be written");
        let mut launch = Launch::new(find_program("setpriv"))
            .args(["--pdeathsig", "TERM", "--"])
            .arg(find_program(PROGRAM))
            .args(["--nodaemonize", "--fpm-config"])
            .arg(&file)
            .arg("--prefix")
            .arg(at);
        if is_root {
            launch = launch.arg("--allow-to-run-as-root");
        }
        let mut program = launch.expect_errors().start();
        program.wait_for_text("ready to handle connections", START);
        PhpFpm { program, folder }
    }

    /// The socket that it listens on.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("php.sock")
    }

    /// Its address as the devlove file has it.
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Where it keeps uploads and sessions.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends it; it finishes nothing.
    pub fn stop(&mut self) {
        if !self.program.has_ended() {
            self.program.signal(Signal::TERM);
            self.program.wait_exit(START);
        }
    }
}

impl Drop for PhpFpm {
    fn drop(&mut self) {
        // A killed master would leave its processes behind.
        self.stop();
    }
}
