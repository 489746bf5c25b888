//! A confined process reads, accepts and dials, and does nothing else to the machine.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use sc_net::confine::{Confinement, Landlock, confine};

/// Seccomp goes for all threads of a process, so the test starts itself anew with the folder that it looks at.
const CONFINED: &str = "SC_NET_TEST_CONFINED";

#[test]
fn a_confined_process_only_reads_accepts_and_dials() {
    if let Some(folder) = std::env::var_os(CONFINED) {
        return confined(Path::new(&folder));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let this = std::env::current_exe().expect("the test's program");
    let name = "confine::a_confined_process_only_reads_accepts_and_dials";
    let run = Command::new(this)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CONFINED, folder.path())
        .output()
        .expect("it starts");
    let told = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{told}\n{}", String::from_utf8_lossy(&run.stdout));
}

fn confined(folder: &Path) {
    let file = folder.join("page.html");
    fs::write(&file, "hello").expect("before, files are written");
    let listener = TcpListener::bind("127.0.0.1:0").expect("before, ports are bound");
    let address = listener.local_addr().expect("its address");
    let socket = folder.join("app.sock");
    let application = UnixListener::bind(&socket).expect("a socket");

    let held = confine();
    let all = Confinement {
        no_new_privs: true,
        landlock: Landlock::Whole,
        seccomp: true,
    };
    assert_eq!(held, all, "the kernel of the tests has all three");
    assert_eq!(held.words(), ["no-new-privs", "landlock", "seccomp"]);

    // What a worker does.
    assert_eq!(fs::read_to_string(&file).expect("reading"), "hello");
    assert_eq!(fs::read_dir(folder).expect("looking").count(), 2);
    let mut dialled = TcpStream::connect(address).expect("dialling");
    let (mut accepted, _) = listener.accept().expect("accepting");
    let thread = std::thread::spawn(move || accepted.write_all(b"hi"));
    thread.join().expect("threads are made").expect("writing to a socket");
    let mut hi = [0; 2];
    dialled.read_exact(&mut hi).expect("reading from a socket");
    let mut to_application = UnixStream::connect(&socket).expect("an application on a unix socket");
    to_application.write_all(b"hi").expect("writing to it");
    application.accept().expect("it accepts");
    UdpSocket::bind("127.0.0.1:0").expect("an association of the little network");

    // What nobody should through it.
    let refused = |what: &str, outcome: std::io::Result<()>| {
        let error = outcome.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{what}: {error}");
    };
    let drop_it = |outcome: std::io::Result<fs::File>| outcome.map(drop);
    refused("writing a file", fs::write(&file, "x"));
    refused(
        "writing the end of a file",
        drop_it(fs::OpenOptions::new().append(true).open(&file)),
    );
    refused("making a file", fs::write(folder.join("new"), "x"));
    refused("making a folder", fs::create_dir(folder.join("new")));
    refused("removing a file", fs::remove_file(&file));
    refused("renaming a file", fs::rename(&file, folder.join("other")));
    refused("linking a file", std::os::unix::fs::symlink(&file, folder.join("link")));
    refused(
        "changing a mode",
        fs::set_permissions(&file, fs::Permissions::from_mode(0o777)),
    );
    let path = std::ffi::CString::new(file.as_os_str().as_encoded_bytes()).expect("a path");
    // SAFETY: fchmodat2(2) reads a path that lives until after the call, and numbers.
    let newly = unsafe { libc::syscall(452, libc::AT_FDCWD, path.as_ptr(), 0o777, 0) };
    refused(
        "changing a mode by the newer call",
        (newly == 0).then_some(()).ok_or_else(std::io::Error::last_os_error),
    );
    refused("executing", Command::new("/bin/true").spawn().map(drop));
    refused("binding a port", TcpListener::bind("127.0.0.1:0").map(drop));
    refused(
        "a signal to another process",
        rustix::process::kill_process(
            rustix::process::getppid().expect("a parent"),
            rustix::process::Signal::CONT,
        )
        .map_err(Into::into),
    );
    assert_eq!(fs::read_to_string(&file).expect("reading"), "hello");
}
