//! Waiting for a condition, with a deadline that says what was seen last.
//!
//! The only place in the tests that sleeps, and only between two looks at a condition that cannot be waited on.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Looks again and again until `look` returns `Ok`, and returns that.
///
/// Shape: panics after `within`, with `what` and the last `Err`.
pub fn eventually<T, E: Debug>(what: &str, within: Duration, mut look: impl FnMut() -> Result<T, E>) -> T {
    let started = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if started.elapsed() > within => panic!("{what}: not within {within:?}, last seen: {seen:?}"),
            Err(_) => pause(Duration::from_millis(5)),
        }
    }
}

/// Sleeps. For an application that is slow on purpose, never for synchronisation.
#[expect(clippy::disallowed_methods, reason = "threads of tests have no runtime to block")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
