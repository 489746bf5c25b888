//! Children that must not outlive their parent.

use std::process::Stdio;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::help::soon;
use crate::roles;

#[tokio::test]
async fn a_child_dies_with_a_parent_that_is_killed() {
    let mut parent = roles::command("parent").stdin(Stdio::null()).spawn().unwrap();
    let said = soon("the child's number", roles::says(&mut parent)).await;
    let child = Pid::from_raw(said.parse().unwrap()).unwrap();
    let child = pidfd_open(child, PidfdFlags::empty()).unwrap();
    let now = Timespec::default();
    let mut ended = [PollFd::new(&child, PollFlags::IN)];
    assert_eq!(
        poll(&mut ended, Some(&now)).unwrap(),
        0,
        "it lives as long as its parent"
    );
    parent.kill().await.unwrap();
    let soon = Timespec::try_from(Duration::from_secs(20)).unwrap();
    assert_eq!(poll(&mut ended, Some(&soon)).unwrap(), 1, "it has ended");
}
