//! Outside programs that are run for one answer: Python, Node, nc, openssl and the like.
//!
//! Each runs with a deadline; what it wrote is shown when it fails.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use sc_testkit::program::{Finished, Launch};
use sc_testkit::{find_program, python};

/// How long an outside program may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a program found on `PATH`, with this on stdin.
pub(crate) fn outside(program: &str, arguments: &[&str], stdin: &str) -> Finished {
    with_stdin(Launch::new(find_program(program)).args(arguments), stdin).run(PATIENCE)
}

/// Runs a program and asserts that it succeeds; gives what it wrote on stdout.
pub(crate) fn succeed(program: &str, arguments: &[&str], stdin: &str) -> String {
    let done = outside(program, arguments, stdin);
    assert!(done.status.success(), "{program} {arguments:?}: {done:?}");
    done.stdout
}

/// Runs a Python script with the pinned packages and asserts that it succeeds; gives what it printed.
pub(crate) fn run_python(script: &str, arguments: &[&str]) -> String {
    let launch = Launch::new(python()).args(["-c", script]).args(arguments);
    let done = launch.run(PATIENCE);
    assert!(
        done.status.success(),
        "the script failed: {}\n{}",
        done.stderr,
        done.stdout
    );
    done.stdout
}

/// Runs a Node script and asserts that it succeeds; gives what it printed.
pub(crate) fn run_node(script: &str, arguments: &[&str]) -> String {
    let launch = Launch::new(find_program("node")).args(["-e", script]).args(arguments);
    let done = launch.run(PATIENCE);
    assert!(
        done.status.success(),
        "the script failed: {}\n{}",
        done.stderr,
        done.stdout
    );
    done.stdout
}

/// Gives a start a text to read on stdin.
pub(crate) fn with_stdin(launch: Launch, text: &str) -> Launch {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("stdin");
    std::fs::write(&path, text).expect("a file can be written");
    // The open file outlives its name.
    launch.stdin(File::open(&path).expect("the file is there"))
}

/// A path as text, for command lines.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
