//! Channels, documents and counters between two processes.

use std::io::{ErrorKind, IoSlice};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Stdio;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{RecvFlags, SendFlags};
use sc_net::channel::{Channel, MESSAGE_BYTES, MESSAGE_FDS};
use sc_net::counters::Counters;
use sc_net::document;
use tokio::process::Child;

use crate::help::soon;
use crate::roles;

fn start(role: &str) -> (Channel, Child) {
    let (ours, theirs) = Channel::pair().unwrap();
    let child = roles::command(role).stdin(Stdio::from(theirs)).spawn().unwrap();
    (ours, child)
}

async fn receive(channel: &Channel) -> (Vec<u8>, Vec<OwnedFd>) {
    let message = soon("a message", channel.receive()).await.unwrap().unwrap();
    (message.bytes, message.fds)
}

#[tokio::test]
async fn messages_and_descriptors_reach_another_process_and_come_back() {
    let (channel, mut child) = start("echo");
    let text = vec![7; 200_000];
    let documents = [
        document::write("one", &text).unwrap(),
        document::write("none", b"").unwrap(),
    ];
    let fds: Vec<_> = documents.iter().map(AsFd::as_fd).collect();
    channel.send(b"with two", &fds).await.unwrap();
    channel.send(&[1; MESSAGE_BYTES], &[]).await.unwrap();
    let (bytes, fds) = receive(&channel).await;
    assert_eq!(bytes, b"with two");
    assert_eq!(fds.len(), 2);
    for fd in &fds {
        let flags = rustix::io::fcntl_getfd(fd).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }
    assert_eq!(document::read(&fds[0], 200_000).unwrap(), text);
    assert_eq!(document::read(&fds[1], 0).unwrap(), b"");
    assert_eq!(receive(&channel).await.0, [1; MESSAGE_BYTES]);
    drop(channel);
    // It ends well when it sees the end of the channel and has leaked nothing.
    assert!(soon("its end", child.wait()).await.unwrap().success());
}

#[tokio::test]
async fn as_many_descriptors_as_allowed_fit_and_one_more_does_not() {
    let (channel, _child) = start("echo");
    let document = document::write("one", b"x").unwrap();
    let most = vec![document.as_fd(); MESSAGE_FDS];
    channel.send(b"many", &most).await.unwrap();
    assert_eq!(receive(&channel).await.1.len(), MESSAGE_FDS);
    for (bytes, fds) in [
        (vec![0; MESSAGE_BYTES + 1], vec![]),
        (vec![], vec![]),
        (vec![0], vec![document.as_fd(); MESSAGE_FDS + 1]),
    ] {
        let refused = channel.send(&bytes, &fds).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        let refused = channel.try_send(&bytes, &fds).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    }
}

#[tokio::test]
async fn a_message_without_room_for_its_descriptors_is_an_error_and_the_next_one_is_not() {
    let (channel, _child) = start("starved");
    let document = document::write("one", b"x").unwrap();
    channel.send(b"too many", &[document.as_fd(); 40]).await.unwrap();
    channel.send(b"next", &[]).await.unwrap();
    assert_eq!(receive(&channel).await.0, b"a message came incomplete");
    assert_eq!(receive(&channel).await.0, b"next");
}

#[tokio::test]
async fn a_message_that_is_too_long_is_an_error_and_the_next_one_is_not() {
    let (channel, theirs) = Channel::pair().unwrap();
    let long = vec![1; MESSAGE_BYTES + 1];
    rustix::net::send(&theirs, &long, SendFlags::empty()).unwrap();
    rustix::net::send(&theirs, b"next", SendFlags::empty()).unwrap();
    let fault = soon("an error", channel.receive()).await.unwrap_err();
    assert_eq!(fault.kind(), ErrorKind::InvalidData);
    assert_eq!(receive(&channel).await.0, b"next");
}

#[tokio::test]
async fn last_words_are_heard_though_ours_were_not() {
    let (channel, theirs) = Channel::pair().unwrap();
    channel.send(b"unheard", &[]).await.unwrap();
    rustix::net::send(&theirs, b"last words", SendFlags::empty()).unwrap();
    drop(theirs);
    assert_eq!(receive(&channel).await.0, b"last words");
    for _ in 0..2 {
        assert!(soon("the end", channel.receive()).await.unwrap().is_none());
        let fault = channel.send(b"more", &[]).await.unwrap_err();
        assert_eq!(fault.kind(), ErrorKind::BrokenPipe);
    }
}

#[tokio::test]
async fn a_killed_process_is_the_end_of_its_channel() {
    let (channel, mut child) = start("echo");
    channel.send(b"hello", &[]).await.unwrap();
    assert_eq!(receive(&channel).await.0, b"hello");
    child.kill().await.unwrap();
    assert!(soon("the end", channel.receive()).await.unwrap().is_none());
}

#[tokio::test]
async fn sending_waits_for_a_slow_reader() {
    let (channel, theirs) = Channel::pair().unwrap();
    let mut sent: u64 = 0;
    let full = loop {
        match channel.try_send(&[0; 10_000], &[]) {
            Ok(()) => sent += 1,
            Err(fault) => break fault,
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    let sending = channel.send(b"the last", &[]);
    let reading = async {
        let mut buffer = vec![0; MESSAGE_BYTES];
        let mut received: u64 = 0;
        loop {
            match rustix::net::recv(&theirs, &mut buffer, RecvFlags::empty()) {
                Ok((8, _)) => return received,
                Ok(_) => received += 1,
                Err(rustix::io::Errno::AGAIN) => tokio::task::yield_now().await,
                Err(fault) => panic!("{fault}"),
            }
        }
    };
    let (done, received) = soon("room", async { tokio::join!(sending, reading) }).await;
    done.unwrap();
    assert_eq!(received, sent);
}

#[tokio::test]
async fn standard_input_that_is_no_channel_is_left_alone() {
    let mut child = roles::command("inherited stdin").stdin(Stdio::piped()).spawn().unwrap();
    let said = soon("an answer", roles::says(&mut child)).await;
    assert_eq!(said, "standard input is not a channel");
    assert!(soon("its end", child.wait()).await.unwrap().success());
}

#[test]
fn a_document_cannot_be_changed() {
    let document = document::write("settings", b"as it was").unwrap();
    let name = std::fs::read_link(format!("/proc/self/fd/{}", document.as_raw_fd())).unwrap();
    assert_eq!(name.to_str(), Some("/memfd:settings (deleted)"));
    let denied = rustix::io::pwrite(&document, b"x", 0).unwrap_err();
    assert_eq!(denied, rustix::io::Errno::PERM);
    assert!(rustix::fs::ftruncate(&document, 0).is_err());
    assert!(rustix::fs::ftruncate(&document, 100).is_err());
    assert!(rustix::fs::fcntl_add_seals(&document, SealFlags::FUTURE_WRITE).is_err());
    for _ in 0..2 {
        assert_eq!(document::read(&document, 9).unwrap(), b"as it was");
    }
}

#[test]
fn documents_are_believed_only_when_sealed_and_short_enough() {
    let document = document::write("settings", b"nine byte").unwrap();
    let fault = document::read(&document, 8).unwrap_err();
    assert_eq!(fault.to_string(), "the document is too long");
    let open = rustix::fs::memfd_create("open", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::io::writev(&open, &[IoSlice::new(b"text")]).unwrap();
    rustix::fs::fcntl_add_seals(&open, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK).unwrap();
    let fault = document::read(&open, 8).unwrap_err();
    assert_eq!(fault.to_string(), "the document is not sealed");
    let (pipe, _write) = rustix::pipe::pipe().unwrap();
    assert_eq!(document::read(&pipe, 8).unwrap_err().kind(), ErrorKind::InvalidData);
}

#[test]
fn counters_are_shared_between_maps_and_bounded() {
    let (first, block) = Counters::create(1000).unwrap();
    let second = Counters::open(block.try_clone().unwrap(), 1000).unwrap();
    first.add(0, 1);
    second.add(0, 2);
    second.set(999, 5);
    assert_eq!((first.get(0), first.get(999), second.get(0)), (3, 5, 3));
    // Cells that do not exist are nobody's.
    second.set(1000, 1);
    second.add(usize::MAX, 1);
    assert_eq!((first.get(1000), first.get(usize::MAX), first.cells()), (0, 0, 1000));
    drop(first);
    assert_eq!(second.get(0), 3);
    assert!(
        rustix::fs::ftruncate(&block, 8).is_err(),
        "it cannot be taken away from under us"
    );
}

#[test]
fn only_blocks_of_the_right_size_are_mapped() {
    assert!(Counters::create(0).is_err());
    assert!(Counters::create(usize::MAX / 4).is_err());
    let (_counters, block) = Counters::create(8).unwrap();
    for cells in [0, 7, 9, usize::MAX] {
        assert!(Counters::open(block.try_clone().unwrap(), cells).is_err(), "{cells}");
    }
    let sealed = document::write("document", &[0; 64]).unwrap();
    assert!(Counters::open(sealed, 8).is_err());
    let open = rustix::fs::memfd_create("open", MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&open, 64).unwrap();
    assert!(Counters::open(open, 8).is_err(), "it could shrink");
}

#[tokio::test]
async fn what_a_process_counted_is_there_after_its_death() {
    let (channel, mut child) = start("counts");
    let (counters, block) = Counters::create(8).unwrap();
    channel.send(b"count here", &[block.as_fd()]).await.unwrap();
    drop(block);
    assert_eq!(receive(&channel).await.0, b"counted");
    child.kill().await.unwrap();
    assert_eq!((counters.get(3), counters.get(7), counters.get(0)), (42, u64::MAX, 0));
}
