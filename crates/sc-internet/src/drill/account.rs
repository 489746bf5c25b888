//! What became of each request: the judge, and the sum of its verdicts.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::Instant;

use super::client::{Failure, Line, Met, Seen};
use super::report::Latency;
use super::targets::{Site, Target};

/// Losses that are told one by one; the rest is counted.
const LOSSES: usize = 100;

/// How requests are sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// HTTP/1.1, many requests on a connection.
    KeptAlive,
    /// HTTP/1.1, one request on a connection.
    Single,
    /// HTTP/2, several requests at a time on a connection.
    Http2,
}

impl Protocol {
    /// All of them, in the order of a report.
    pub const ALL: [Protocol; 3] = [Protocol::KeptAlive, Protocol::Single, Protocol::Http2];

    /// A short name.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::KeptAlive => "HTTP/1.1 kept alive",
            Protocol::Single => "HTTP/1.1 one each",
            Protocol::Http2 => "HTTP/2",
        }
    }
}

/// A request that was lost.
#[derive(Clone, Debug)]
pub struct Loss {
    /// When it was known to be lost, from the beginning of the load.
    pub at: Duration,
    /// How it was sent.
    pub protocol: Protocol,
    /// Its method.
    pub method: Method,
    /// Its URL.
    pub url: String,
    /// The client's port of the last connection that was tried.
    pub port: Option<u16>,
    /// What happened.
    pub why: String,
    /// Whether the answer is that of a failed application, made by the server in its place.
    pub by_application: bool,
    /// The disturbance before it and how long before.
    pub after: Option<(String, Duration)>,
}

/// What one try came to.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The answer is whole and right.
    Whole,
    /// Its file was written by somebody meanwhile, so nothing can be said of its bytes.
    Changed,
    /// A client that follows HTTP sends it again.
    Again,
    /// It was in flight on a worker that was killed.
    Killed,
    /// It is lost.
    Lost { why: String, by_application: bool },
}

/// One try, for the judge.
pub(super) struct Try<'a> {
    pub(super) site: &'a Site,
    pub(super) target: &'a Target,
    /// What the quiet round got.
    pub(super) expected: &'a Seen,
    pub(super) line: Option<&'a Line>,
    /// Whether the connection had carried a request before, or others beside it: its end may cross with the request.
    pub(super) is_reused: bool,
    pub(super) began: Instant,
}

impl Try<'_> {
    /// The verdict.
    pub(super) fn judge(&self, result: Result<&Seen, &Failure>) -> Verdict {
        match result {
            Ok(seen) => self.compare(seen),
            Err(failure) => self.excuse(failure),
        }
    }

    fn excuse(&self, failure: &Failure) -> Verdict {
        let met = self
            .line
            .map_or(Met::Nothing, |line| line.met_kill(self.began, Instant::now()));
        match met {
            Met::InFlight => Verdict::Killed,
            Met::Afterwards if failure.is_silent => Verdict::Again,
            _ if failure.is_repeatable && self.is_reused => Verdict::Again,
            _ => Verdict::Lost {
                why: failure.why.clone(),
                by_application: false,
            },
        }
    }

    fn compare(&self, seen: &Seen) -> Verdict {
        let expected = self.expected;
        if self.target.file.as_ref().is_some_and(|file| file.has_changed()) {
            return Verdict::Changed;
        }
        if seen.status != expected.status {
            return Verdict::Lost {
                why: format!(
                    "answered {}, and {} in the quiet round",
                    seen.status,
                    expected.status.as_u16()
                ),
                by_application: self.site.has_app && self.target.file.is_none() && is_of_application(seen.status),
            };
        }
        let is_same = (seen.bytes, seen.hash) == (expected.bytes, expected.hash);
        if self.target.file.is_some() && !is_same {
            return Verdict::Lost {
                why: format!(
                    "the file came with {} bytes, not the {} of the quiet round",
                    seen.bytes, expected.bytes
                ) + if seen.bytes == expected.bytes {
                    ", or with others"
                } else {
                    ""
                },
                by_application: false,
            };
        }
        Verdict::Whole
    }
}

/// What stands for an application that failed or was not reached; its own errors are such statuses, too.
fn is_of_application(status: StatusCode) -> bool {
    status.is_server_error()
}

/// The sum.
#[derive(Default)]
pub(super) struct Account {
    pub(super) requests: [u64; Protocol::ALL.len()],
    took: Vec<u32>,
    pub(super) reconnected: u64,
    pub(super) killed: u64,
    pub(super) changed: u64,
    pub(super) lost: u64,
    pub(super) lost_by_application: u64,
    pub(super) losses: Vec<Loss>,
}

impl Account {
    /// Counts a request that has its verdict.
    pub(super) fn count(&mut self, protocol: Protocol) {
        if let Some(count) = self.requests.get_mut(protocol as usize) {
            *count += 1;
        }
    }

    /// Notes how long a whole answer took.
    pub(super) fn took(&mut self, took: Duration) {
        self.took.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    pub(super) fn lose(&mut self, loss: Loss) {
        self.lost += 1;
        self.lost_by_application += u64::from(loss.by_application);
        if self.losses.len() < LOSSES {
            self.losses.push(loss);
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.requests.iter().sum()
    }

    /// The times of all whole answers; nothing when there were none.
    pub(super) fn latency(&mut self) -> Option<Latency> {
        self.took.sort_unstable();
        let last = self.took.len().checked_sub(1)?;
        let at = |part: usize| {
            let micros = self.took.get(last * part / 100).copied().unwrap_or(0);
            Duration::from_micros(micros.into())
        };
        Some(Latency {
            p50: at(50),
            p99: at(99),
            max: at(100),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_sorted_times() {
        let mut account = Account::default();
        assert!(account.latency().is_none());
        for micros in (0..=100).rev() {
            account.took(Duration::from_micros(micros));
        }
        let latency = account.latency().expect("there are times");
        let micros = [latency.p50, latency.p99, latency.max].map(|time| time.as_micros());
        assert_eq!(micros, [50, 99, 100]);
    }

    fn target() -> Target {
        Target {
            method: Method::GET,
            path: "/".to_owned(),
            file: None,
        }
    }

    fn site(has_app: bool) -> Site {
        Site {
            name: "www.shop.example".to_owned(),
            has_app,
            targets: Vec::new(),
        }
    }

    fn seen(status: StatusCode) -> Seen {
        Seen {
            status,
            bytes: 1,
            hash: [0; 32],
        }
    }

    fn verdict(has_app: bool, is_reused: bool, result: Result<&Seen, &Failure>) -> Verdict {
        let (site, target, expected) = (site(has_app), target(), seen(StatusCode::OK));
        let one = Try {
            site: &site,
            target: &target,
            expected: &expected,
            line: None,
            is_reused,
            began: Instant::now(),
        };
        one.judge(result)
    }

    #[test]
    fn an_error_of_the_application_is_lost_and_said_to_be_its_own() {
        let bad = seen(StatusCode::BAD_GATEWAY);
        assert!(matches!(
            verdict(true, false, Ok(&bad)),
            Verdict::Lost {
                by_application: true,
                ..
            }
        ));
        assert!(matches!(
            verdict(false, false, Ok(&bad)),
            Verdict::Lost {
                by_application: false,
                ..
            }
        ));
        assert!(matches!(
            verdict(true, false, Ok(&seen(StatusCode::OK))),
            Verdict::Whole
        ));
    }

    #[test]
    fn silence_is_excused_on_a_used_connection_only_and_half_an_answer_never() {
        let silent = Failure {
            why: String::new(),
            is_silent: true,
            is_repeatable: true,
        };
        assert!(matches!(verdict(false, true, Err(&silent)), Verdict::Again));
        assert!(matches!(verdict(false, false, Err(&silent)), Verdict::Lost { .. }));
        let half = Failure {
            is_silent: false,
            is_repeatable: false,
            ..silent
        };
        assert!(matches!(verdict(false, true, Err(&half)), Verdict::Lost { .. }));
    }
}
