//! A service manager of the test's own, and the real `systemd-socket-activate`.
#![expect(clippy::unwrap_used, reason = "tests may fail loudly")]

use std::collections::BTreeMap;
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use sc_testkit::find_program;

use super::*;
use crate::sockets::{Role, Sockets, Wanted};

/// A service told by these variables.
fn service(variables: &[(&str, &str)]) -> Result<Service, ServiceError> {
    let variables: BTreeMap<String, OsString> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
        .collect();
    Service::from_environment(|name| variables.get(name).cloned())
}

/// The next message that was told, and the inodes of the descriptors that came with it.
fn told(manager: &UnixDatagram) -> (String, Vec<u64>) {
    let mut buffer = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut buffer)];
    let received = rustix::net::recvmsg(manager, &mut into, &mut control, RecvFlags::DONTWAIT).unwrap();
    let inodes = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.map(|fd| rustix::fs::fstat(fd).unwrap().st_ino).collect(),
        _ => Vec::new(),
    });
    let inodes = inodes.collect();
    (String::from_utf8(buffer[..received.bytes].to_vec()).unwrap(), inodes)
}

fn text(manager: &UnixDatagram) -> String {
    let (text, inodes) = told(manager);
    assert!(inodes.is_empty());
    text
}

#[test]
fn what_is_told_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let pid = std::process::id().to_string();
    let service = service(&[
        ("NOTIFY_SOCKET", path.to_str().unwrap()),
        ("WATCHDOG_USEC", "3000000"),
        ("WATCHDOG_PID", &pid),
    ])
    .unwrap();
    assert!(service.is_told());
    service.ready("2 lanes\nREADY=0").unwrap();
    assert_eq!(text(&manager), "READY=1\nSTATUS=2 lanes READY=0");
    service.status("lane 1 renews itself").unwrap();
    assert_eq!(text(&manager), "STATUS=lane 1 renews itself");
    let micros = || {
        let now = clock_gettime(ClockId::Monotonic);
        now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
    };
    let before = micros();
    service.reloading().unwrap();
    let said = text(&manager);
    let said: i64 = said
        .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
        .unwrap()
        .parse()
        .unwrap();
    assert!((before..=micros()).contains(&said));
    service.extend(Duration::from_millis(1500)).unwrap();
    assert_eq!(text(&manager), "EXTEND_TIMEOUT_USEC=1500000");
    assert_eq!(service.watchdog_interval(), Some(Duration::from_millis(1500)));
    service.watchdog().unwrap();
    assert_eq!(text(&manager), "WATCHDOG=1");
    service.stopping().unwrap();
    assert_eq!(text(&manager), "STOPPING=1");
}

#[test]
fn sockets_are_kept_and_forgotten_by_name() {
    let name = format!("shimmercat test {}", std::process::id());
    let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let service = service(&[("NOTIFY_SOCKET", &format!("@{name}"))]).unwrap();
    let wanted = Wanted {
        role: Role::Redirect,
        address: "127.0.0.1:0".parse().unwrap(),
    };
    let sockets = Sockets::open(&[wanted], 2, Vec::new(), false).unwrap();
    service.store(&sockets.stored()).unwrap();
    for lane in 0..2 {
        let expected = format!("FDSTORE=1\nFDPOLL=0\nFDNAME=shimmercat/redirect/{lane}/tcp/127.0.0.1%3A0");
        let inode = rustix::fs::fstat(sockets.of_lane(lane)[0].1).unwrap().st_ino;
        assert_eq!(told(&manager), (expected, vec![inode]));
    }
    service.forget(&["one".to_owned(), "two".to_owned()]).unwrap();
    assert_eq!(text(&manager), "FDSTOREREMOVE=1\nFDNAME=one");
    assert_eq!(text(&manager), "FDSTOREREMOVE=1\nFDNAME=two");
}

#[test]
fn without_a_manager_nothing_happens() {
    let file = tempfile::tempfile().unwrap();
    for place in [None, Some(""), Some("vsock:2:1234"), Some("relative")] {
        let variables: Vec<_> = place.map(|place| ("NOTIFY_SOCKET", place)).into_iter().collect();
        let mut service = service(&variables).unwrap();
        assert!(!service.is_told());
        service.ready("x").unwrap();
        service.reloading().unwrap();
        service.watchdog().unwrap();
        service.stopping().unwrap();
        service.store(&[("x".to_owned(), file.as_fd())]).unwrap();
        service.forget(&["x".to_owned()]).unwrap();
        assert_eq!(service.watchdog_interval(), None);
        assert!(service.inherited().unwrap().is_empty());
    }
}

#[test]
fn a_manager_that_is_gone_or_reads_nothing_is_an_error_soon() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let service = service(&[("NOTIFY_SOCKET", path.to_str().unwrap())]).unwrap();
    let begun = Instant::now();
    let full = (0..100_000).find_map(|_| service.status("x").err()).unwrap();
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    assert!(begun.elapsed() < SEND_TIME * 10);
    drop(manager);
    assert_eq!(
        service.status("x").unwrap_err().kind(),
        io::ErrorKind::ConnectionRefused
    );
}

#[test]
fn what_is_said_to_somebody_else_is_not_for_us() {
    let other = std::os::unix::process::parent_id().to_string();
    let mut told_other = service(&[
        ("WATCHDOG_USEC", "3000000"),
        ("WATCHDOG_PID", &other),
        ("LISTEN_FDS", "2"),
        ("LISTEN_PID", &other),
    ])
    .unwrap();
    assert_eq!(told_other.watchdog_interval(), None);
    assert!(told_other.inherited().unwrap().is_empty());
    let mut nobody_named = service(&[("WATCHDOG_USEC", "3000000"), ("LISTEN_FDS", "2")]).unwrap();
    assert_eq!(nobody_named.watchdog_interval(), Some(Duration::from_millis(1500)));
    assert!(nobody_named.inherited().unwrap().is_empty());
}

#[test]
fn values_without_sense_are_said() {
    let pid = std::process::id().to_string();
    for (variables, name) in [
        (vec![("WATCHDOG_USEC", "soon")], "WATCHDOG_USEC"),
        (vec![("LISTEN_PID", &*pid), ("LISTEN_FDS", "-1")], "LISTEN_FDS"),
        (vec![("LISTEN_PID", &*pid), ("LISTEN_FDS", "99999999999")], "LISTEN_FDS"),
        (vec![("LISTEN_PID", "me"), ("LISTEN_FDS", "1")], "LISTEN_PID"),
        (
            vec![("LISTEN_PID", &*pid), ("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "a:b")],
            "LISTEN_FDNAMES",
        ),
    ] {
        let fault = service(&variables).unwrap_err().to_string();
        assert!(fault.contains(&format!("set `{name}` to")), "{fault}");
    }
    let mut absent = service(&[("LISTEN_PID", &*pid), ("LISTEN_FDS", "60000")]).unwrap();
    assert!(matches!(absent.inherited(), Err(ServiceError::Descriptor(_))));
}

const ROLE: &str = "SC_INTERNET_ACTIVATED";

#[test]
fn sockets_of_systemd_socket_activate_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["web", "more", "plain"].map(|name| folder.path().join(name));
    let mut command = Command::new(find_program("systemd-socket-activate"));
    for path in &paths {
        command.arg("--listen").arg(path);
    }
    let mut activator = command
        .arg("--fdname=web:web:plain")
        .arg(format!("--setenv={ROLE}=1"))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "systemd::tests::serves_what_was_passed_in", "--nocapture"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let answer = |path| {
        // It listens soon after it was started.
        let mut client = sc_testkit::eventually("a listener", Duration::from_secs(20), || UnixStream::connect(path));
        let mut answer = String::new();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.read_to_string(&mut answer).unwrap();
        answer
    };
    assert_eq!(paths.each_ref().map(answer), ["https 0", "https 1", "redirect"]);
    assert!(activator.wait().unwrap().success());
}

/// No test of its own: without the variable there is nothing to do.
#[test]
fn serves_what_was_passed_in() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let descriptors = || {
        let listed = std::fs::read_dir("/proc/self/fd").unwrap();
        listed.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>()
    };
    let before = descriptors();
    let mut service = Service::from_environment(|name| std::env::var_os(name)).unwrap();
    let inherited = service.inherited().unwrap();
    let names: Vec<&str> = inherited.iter().map(|item| &*item.name).collect();
    assert_eq!(names, ["web", "web", "plain"]);
    assert!(service.inherited().unwrap().is_empty(), "they are given once");
    let wanted = [(Role::Https, "socket-name://web"), (Role::Redirect, "socket-fd://5")];
    let wanted = wanted.map(|(role, address)| Wanted {
        role,
        address: address.parse().unwrap(),
    });
    let sockets = Sockets::open(&wanted, 2, inherited, false).unwrap();
    assert!(sockets.notes().is_empty());
    assert_eq!(descriptors(), before, "nothing was opened");
    for (_, fd) in sockets.of_lane(0) {
        let flags = rustix::io::fcntl_getfd(fd).unwrap();
        assert!(
            flags.contains(rustix::io::FdFlags::CLOEXEC),
            "no child gets it by accident"
        );
    }
    let listener = |lane: usize, at: usize| {
        let listener = sockets.of_lane(lane)[at].1.try_clone_to_owned().unwrap();
        UnixListener::from(listener)
    };
    for (lane, at, answer) in [(0, 0, "https 0"), (1, 0, "https 1"), (0, 1, "redirect")] {
        let (mut client, _) = listener(lane, at).accept().unwrap();
        client.write_all(answer.as_bytes()).unwrap();
    }
    drop(sockets);
    assert_eq!(descriptors().len(), before.len() - 3, "all were closed");
}
