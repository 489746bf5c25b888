//! Children that must not outlive us.

use std::io;

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
