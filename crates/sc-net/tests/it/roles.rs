//! Other processes for the tests: this very program, told by a variable which part to play.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sc_net::channel::Channel;
use sc_net::child::dies_with_parent;
use sc_net::counters::Counters;
use sc_net::{document, lanes};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const ROLE: &str = "SC_NET_ROLE";
/// What a role says about itself begins with this, so that it is not taken for the test runner's words.
const SAYS: &str = "role says ";

/// A command that plays `role` and nothing else; its standard input is whatever the caller makes it.
pub(crate) fn command(role: &str) -> Command {
    command_of(&std::env::current_exe().unwrap(), role)
}

/// The same with a copy of this program.
pub(crate) fn command_of(program: &Path, role: &str) -> Command {
    playing(Command::new(program), role)
}

/// The same among processes of its own, which sees no others. Only root can do that.
pub(crate) fn alone(role: &str) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(std::env::current_exe().unwrap());
    playing(command, role)
}

fn playing(mut command: Command, role: &str) -> Command {
    command
        .args(["--exact", "roles::plays_its_role", "--nocapture"])
        .env_clear()
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// The next thing that a role says.
pub(crate) async fn says(child: &mut Child) -> String {
    let stdout = child.stdout.as_mut().unwrap();
    let mut lines = BufReader::with_capacity(1, stdout).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, said)) = line.split_once(SAYS) {
            return said.to_owned();
        }
    }
    panic!("the role says nothing more");
}

fn say(what: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{SAYS}{what}").unwrap();
    out.flush().unwrap();
}

/// No test of its own: without the variable there is nothing to do.
#[tokio::test]
async fn plays_its_role() {
    match std::env::var(ROLE).as_deref() {
        Ok("echo") => echo().await,
        Ok("starved") => starved().await,
        Ok("counts") => counts().await,
        Ok("holds") => holds(),
        Ok("asks") => asks(),
        Ok("parent") => parent().await,
        Ok("inherited stdin") => say(Channel::from_stdin().unwrap_err()),
        Ok(other) => panic!("no role {other}"),
        Err(_) => {}
    }
}

/// Sends back what it gets: the bytes, and each document that came, anew.
async fn echo() {
    let channel = Channel::from_stdin().unwrap();
    let stdin = std::fs::read_link("/proc/self/fd/0").unwrap();
    assert_eq!(stdin.to_str(), Some("/dev/null"));
    let before = open_descriptors();
    while let Some(message) = channel.receive().await.unwrap() {
        let again: Vec<OwnedFd> = message
            .fds
            .iter()
            .map(|fd| document::write("again", &document::read(fd, 1 << 20).unwrap()).unwrap())
            .collect();
        let again: Vec<_> = again.iter().map(AsFd::as_fd).collect();
        channel.send(&message.bytes, &again).await.unwrap();
    }
    assert_eq!(open_descriptors(), before, "nothing is left open");
}

/// Has too few descriptors for the first message.
async fn starved() {
    let channel = Channel::from_stdin().unwrap();
    let before = open_descriptors();
    let limit = getrlimit(Resource::Nofile);
    let current = Some(before as u64 + 3);
    setrlimit(Resource::Nofile, Rlimit { current, ..limit }).unwrap();
    let fault = channel.receive().await.unwrap_err();
    setrlimit(Resource::Nofile, limit).unwrap();
    assert_eq!(open_descriptors(), before, "what did come of it is closed");
    channel.send(fault.to_string().as_bytes(), &[]).await.unwrap();
    let next = channel.receive().await.unwrap().unwrap();
    channel.send(&next.bytes, &[]).await.unwrap();
}

/// Counts in a block that it is given, until it is killed.
async fn counts() {
    let channel = Channel::from_stdin().unwrap();
    let block = channel.receive().await.unwrap().unwrap().fds.pop().unwrap();
    let counters = Counters::open(block, 8).unwrap();
    counters.add(3, 40);
    counters.add(3, 2);
    counters.set(7, u64::MAX);
    channel.send(b"counted", &[]).await.unwrap();
    std::future::pending().await
}

/// Holds the lock of an address until its standard input ends.
fn holds() {
    let addr = std::env::var("ADDRESS").unwrap().parse().unwrap();
    let _lock = lanes::hold(addr).unwrap();
    say("held");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Asks for the lock of an address that somebody else holds.
fn asks() {
    let addr = std::env::var("ADDRESS").unwrap().parse().unwrap();
    say(lanes::hold(addr).unwrap_err());
}

/// Starts a child that must not outlive it, and waits to be killed.
async fn parent() {
    let mut child = Command::new("sleep");
    child.arg("1000").stdin(Stdio::null());
    dies_with_parent(&mut child);
    let child = child.spawn().unwrap();
    say(child.id().unwrap());
    std::future::pending().await
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
