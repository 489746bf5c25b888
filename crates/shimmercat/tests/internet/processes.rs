//! Processes as the kernel tells them: alive or gone, their children, the sockets that they hold.

use std::fs;

use rustix::process::{Pid, Signal};
use sc_testkit::eventually;

use crate::kit::PATIENCE;

/// Signals a process that the test started through another one.
pub(crate) fn signal(pid: u32, signal: Signal) {
    // It may have ended by itself just now.
    let _ = rustix::process::kill_process(pid_of(pid), signal);
}

fn pid_of(pid: u32) -> Pid {
    i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id")
}

/// The state letter of a process, `None` when it is gone: `S` sleeps, `T` is stopped. Source: proc_pid_stat(5).
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Whether it has ended.
pub(crate) fn is_gone(pid: u32) -> bool {
    matches!(state(pid), None | Some('Z'))
}

/// Waits until all of them are gone.
pub(crate) fn wait_gone(pids: &[u32]) {
    eventually("processes end", PATIENCE, || {
        let left: Vec<_> = pids.iter().filter(|pid| !is_gone(**pid)).collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
}

/// The children of a process.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Those of this short name.
pub(crate) fn children_named(parent: u32, name: &str) -> Vec<u32> {
    let is_named = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name);
    children(parent).into_iter().filter(is_named).collect()
}

/// The listening sockets that a process holds, of those in a list.
pub(crate) fn held(pid: u32, sockets: &[u64]) -> Vec<u64> {
    let mut held: Vec<u64> = fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("a running process has descriptors")
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .filter(|inode| sockets.contains(inode))
        .collect();
    held.sort_unstable();
    held.dedup();
    held
}
