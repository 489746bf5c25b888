//! Tells of limits that were reached: each time is counted, and the log hears of each limit once a second at most, so that
//! an attack does not become one on the log.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::metrics::Metric;

/// Between two lines about the same limit.
const PAUSE: Duration = Duration::from_secs(1);

/// When the log last heard of each limit.
#[derive(Debug, Default)]
pub(crate) struct Told(RefCell<BTreeMap<Metric, Last>>);

#[derive(Debug)]
struct Last {
    at: Instant,
    since: u64,
}

impl Told {
    /// Notes that a limit was reached; how often it was since the last line, when it is time for another.
    pub(crate) fn reached(&self, limit: Metric, now: Instant) -> Option<u64> {
        let mut told = self.0.borrow_mut();
        let Some(last) = told.get_mut(&limit) else {
            told.insert(limit, Last { at: now, since: 0 });
            return Some(1);
        };
        last.since += 1;
        if now.duration_since(last.at) < PAUSE {
            return None;
        }
        last.at = now;
        Some(std::mem::take(&mut last.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_one_line_a_second_and_every_time_is_in_it() {
        let (told, mut lines) = (Told::default(), Vec::new());
        for _ in 0..3_000 {
            lines.extend(told.reached(Metric::LimitResets, Instant::now()));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(lines, [1, 1000, 1000]);
        assert_eq!(told.reached(Metric::LimitHeaders, Instant::now()), Some(1));
    }
}
