//! How the machine is: its memory, and how busy its processors are. Read from proc(5), which never waits. Also how many
//! descriptors it lets us have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that a process of ours can use: more than its connections, those to applications and its files come to.
const DESCRIPTORS: u64 = 524_288;

/// Takes as many descriptors as we may have, for the master and, since children inherit it, for its workers: the usual
/// 1,024 are the clients of one lane.
///
/// Shape: never less than before. A service manager that filters system calls has set the number that it wants.
pub(super) fn allow_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(DESCRIPTORS).min(DESCRIPTORS);
    if limit.current.is_some_and(|current| current < most) {
        let raised = Rlimit {
            current: Some(most),
            ..limit
        };
        // Where it is not allowed, accepting pauses when they run out, and says so.
        let _ = setrlimit(Resource::Nofile, raised);
    }
}

/// Memory of the machine.
pub(super) struct Memory {
    available_bytes: u64,
}

/// What a worker takes, generously: code that is shared, buffers that are not.
const WORKER_BYTES: u64 = 48 << 20;

impl Memory {
    /// As the kernel reckons it. Source: proc(5), `MemAvailable`; when it does not tell, there is enough.
    pub(super) fn now() -> Self {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        Memory {
            available_bytes: kib.map_or(u64::MAX, |kib| kib.saturating_mul(1024)),
        }
    }

    /// Whether each lane may keep a second worker, with as much again to spare.
    pub(super) fn allows_standby(&self, lanes: usize) -> bool {
        self.available_bytes >= WORKER_BYTES.saturating_mul(4).saturating_mul(lanes as u64)
    }

    /// Whether another worker fits.
    pub(super) fn allows_one_more(&self) -> bool {
        self.available_bytes >= WORKER_BYTES
    }
}

/// How busy the processors are.
#[derive(Default)]
pub(super) struct Load {
    busy: u64,
    all: u64,
}

/// Above this share of the processors' time, in percent, nobody is renewed who need not be.
const BUSY_PERCENT: u64 = 85;

impl Load {
    /// Whether they were too busy since the last time this was asked. Source: proc(5), `/proc/stat`.
    pub(super) fn is_overloaded(&mut self) -> bool {
        let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let ticks: Vec<u64> = text
            .lines()
            .next()
            .unwrap_or_default()
            .split_ascii_whitespace()
            .skip(1)
            .filter_map(|field| field.parse().ok())
            .collect();
        // user nice system idle iowait irq softirq steal; guest times are in user's already.
        let all: u64 = ticks.iter().take(8).sum();
        let idle: u64 = ticks.iter().skip(3).take(2).sum();
        let busy = all.saturating_sub(idle);
        let before = std::mem::replace(self, Load { busy, all });
        let (busy, all) = (busy.saturating_sub(before.busy), all.saturating_sub(before.all));
        before.all > 0 && all > 0 && busy * 100 >= all * BUSY_PERCENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_descriptors_as_may_be_are_taken() {
        let before = getrlimit(Resource::Nofile);
        allow_descriptors();
        let after = getrlimit(Resource::Nofile);
        assert_eq!(after.maximum, before.maximum);
        let most = before.maximum.unwrap_or(DESCRIPTORS).min(DESCRIPTORS);
        assert!(after.current.is_none_or(|current| current >= most), "{after:?}");
    }
}
