//! The loop over a scripted listener, in invented time.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::cell::RefCell;
use std::collections::VecDeque;

use super::*;

/// Yields what it was told to, then waits for ever.
struct Script(RefCell<VecDeque<Option<Errno>>>);

impl Script {
    fn new(steps: impl IntoIterator<Item = Option<Errno>>) -> Self {
        Script(RefCell::new(steps.into_iter().collect()))
    }
}

impl Incoming for Script {
    async fn next(&self) -> io::Result<(Stream, ClientAddr, LocalAddr)> {
        let step = self.0.borrow_mut().pop_front();
        match step {
            None => std::future::pending().await,
            Some(Some(errno)) => Err(errno.into()),
            Some(None) => {
                let (ours, _theirs) = tokio::net::UnixStream::pair()?;
                Ok((ours.into(), ClientAddr::unix(None), LocalAddr::unix(None)))
            }
        }
    }
}

/// Runs a script for a minute of invented time and returns what was seen.
async fn run_script(script: Script, gate: Gate) -> (Vec<String>, Vec<Connection>, Option<io::Error>) {
    let events = RefCell::new(Vec::new());
    let open = RefCell::new(Vec::new());
    let begun = tokio::time::Instant::now();
    let ended = tokio::time::timeout(
        Duration::from_secs(60),
        accept_all(
            &script,
            &gate,
            &|event| {
                let text = match event {
                    AcceptEvent::Full { open } => format!("full {open}"),
                    AcceptEvent::Exhausted(_) => "exhausted".to_owned(),
                    AcceptEvent::Recovered { pauses } => {
                        format!("recovered after {pauses} pauses, {} ms", begun.elapsed().as_millis())
                    }
                };
                events.borrow_mut().push(text);
            },
            &|connection| open.borrow_mut().push(connection),
        ),
    )
    .await;
    (events.into_inner(), open.into_inner(), ended.ok())
}

#[tokio::test(start_paused = true)]
async fn exhaustion_pauses_doubling_and_is_told_once_a_spell() {
    let mut steps = vec![Some(Errno::MFILE); 9];
    steps.extend([None, Some(Errno::NOBUFS), Some(Errno::NOMEM), None]);
    let (events, open, ended) = run_script(Script::new(steps), Gate::new(100)).await;
    // 10 + 20 + … + 640 + 1000 + 1000 ms, then 10 + 20 ms: a success starts anew. Timers may each be late by one.
    assert_eq!(events.len(), 4);
    assert_eq!(events[0], "exhausted");
    assert!(
        events[1].starts_with("recovered after 9 pauses, 32") || events[1].contains("328"),
        "{events:?}"
    );
    assert_eq!(events[2], "exhausted");
    assert!(events[3].starts_with("recovered after 2 pauses, 33"), "{events:?}");
    assert_eq!(open.len(), 2);
    assert!(ended.is_none());
}

#[tokio::test(start_paused = true)]
async fn faults_of_the_incoming_connection_are_skipped_at_once() {
    let faults = [
        Errno::CONNABORTED,
        Errno::PROTO,
        Errno::HOSTUNREACH,
        Errno::NETDOWN,
        Errno::INTR,
    ];
    let steps = faults.into_iter().map(Some).chain([None]);
    let (events, open, ended) = run_script(Script::new(steps), Gate::new(100)).await;
    assert!(events.is_empty(), "{events:?}");
    assert_eq!(open.len(), 1);
    assert!(ended.is_none());
}

#[tokio::test(start_paused = true)]
async fn anything_else_ends_the_loop() {
    let (_, open, ended) = run_script(Script::new([None, Some(Errno::BADF), None]), Gate::new(100)).await;
    assert_eq!(open.len(), 1);
    assert_eq!(ended.unwrap().raw_os_error(), Some(Errno::BADF.raw_os_error()));
}

#[tokio::test(start_paused = true)]
async fn a_full_gate_accepts_nothing_more() {
    let gate = Gate::new(2);
    let (events, open, ended) = run_script(Script::new([None, None, None]), gate.clone()).await;
    assert_eq!(events, ["full 2"], "once a spell");
    assert_eq!(open.len(), 2);
    assert!(ended.is_none());
    assert_eq!(gate.open(), 2);
    drop(open);
    assert_eq!(gate.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn room_after_a_full_gate_is_told_once() {
    let gate = Gate::new(20);
    let (events, open) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
    let script = Script::new([None; 30]);
    let on_event = |event| {
        events.borrow_mut().push(match event {
            AcceptEvent::Full { open } => format!("full {open}"),
            AcceptEvent::Exhausted(_) => "exhausted".to_owned(),
            AcceptEvent::Recovered { pauses } => format!("recovered after {pauses}"),
        });
    };
    let on_connection = |connection| open.borrow_mut().push(connection);
    let running = accept_all(&script, &gate, &on_event, &on_connection);
    let story = async {
        let wait = || tokio::time::sleep(Duration::from_secs(1));
        wait().await;
        assert_eq!(*events.borrow(), ["full 20"]);
        // One place at a time is not the end of the spell.
        for _ in 0..3 {
            drop(open.borrow_mut().pop());
            wait().await;
        }
        assert_eq!(*events.borrow(), ["full 20"]);
        open.borrow_mut().truncate(10);
        wait().await;
        assert_eq!(*events.borrow(), ["full 20", "recovered after 4"]);
    };
    tokio::select! {
        _ = running => panic!("the loop ended"),
        () = story => {}
    }
}
