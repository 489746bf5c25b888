//! What children may have of us: not our end, and none of our descriptors but those they are given.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::process::{Signal, getpid, getppid};
use tokio::process::Command;

/// Has the system kill the child as soon as this process ends, however that happens.
///
/// Shape: call it in the thread that will start the child and lives as long as the process; the system looks at that thread.
/// It does not work for programs that gain rights when executed (set-user-ID, file capabilities).
/// Source: PR_SET_PDEATHSIG(2const).
#[expect(
    unsafe_code,
    reason = "what happens between fork and exec can be said in no other way"
)]
pub fn dies_with_parent(command: &mut Command) {
    let parent = getpid();
    let ask = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have ended before the request was made; then nobody would send the signal.
        if getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    };
    // SAFETY: between fork and exec `ask` makes two system calls and neither allocates, locks nor touches memory of others.
    unsafe { command.pre_exec(ask) };
}

/// Has every descriptor that is open now, the standard streams apart, closed in children that are started from now on.
///
/// Shape: what we open ourselves is so from the beginning; this is for what whoever started us left open. Where the system
/// does not list descriptors, nothing is done.
pub fn keep_descriptors() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let open: Vec<RawFd> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    for number in open {
        close_on_exec(number);
    }
}

#[expect(
    unsafe_code,
    reason = "a number that was read from a list is borrowed in no other way"
)]
fn close_on_exec(number: RawFd) {
    // SAFETY: the number is not -1. The descriptor may be closed by now, or be another one; then the first call fails, or
    // the flag is set on one that has it already, as all of ours have.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    if let Ok(flags) = fcntl_getfd(descriptor) {
        // It cannot fail where the first call did not.
        let _ = fcntl_setfd(descriptor, flags | FdFlags::CLOEXEC);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_was_left_open_is_closed_in_children() {
        let (ours, _other) = std::io::pipe().expect("a pipe");
        fcntl_setfd(ours.as_fd(), FdFlags::empty()).expect("flags can be set");
        keep_descriptors();
        assert_eq!(fcntl_getfd(&ours).expect("it is open"), FdFlags::CLOEXEC);
    }
}
