//! A server that runs, with all its processes: started on its core, measured from `/proc`, ended with its value.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take to accept.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it may take to end: programs that count write their counts then.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// How long it may go on with its start once it accepts, how often it is looked at, and below which part of a core it rests.
const SETTLES_WITHIN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(400);
const RESTING: f64 = 0.02;

/// Clock ticks per second in `/proc/PID/stat`; the same on every Linux that Rust knows.
const TICKS: f64 = 100.0;

/// A child process and what it started.
pub(super) struct Running {
    child: Child,
    /// Where it is asked.
    pub(super) address: SocketAddr,
    /// When it was started.
    pub(super) started: Instant,
    /// What it said.
    pub(super) output: PathBuf,
}

impl Running {
    /// Starts a command on a core; what it says goes into a file.
    pub(super) fn start(command: &mut Command, core: usize, address: SocketAddr, output: PathBuf) -> Result<Self> {
        let mut pinned = Command::new("taskset");
        pinned
            .args(["-c", &core.to_string()])
            .arg(command.get_program())
            .args(command.get_args());
        pinned.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(folder) = command.get_current_dir() {
            pinned.current_dir(folder);
        }
        let file = fs::File::create(&output).with_context(|| format!("cannot write {}", output.display()))?;
        pinned.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let started = Instant::now();
        let child = pinned.spawn().context("taskset does not start")?;
        Ok(Running {
            child,
            address,
            started,
            output,
        })
    }

    /// Waits until it accepts.
    pub(super) fn wait(&mut self) -> Result<()> {
        while std::net::TcpStream::connect(self.address).is_err() {
            self.check()?;
            if self.started.elapsed() > PATIENCE {
                bail!("it does not accept on {}: {}", self.address, self.words());
            }
            nap(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Waits until it has nothing more to do of its own: what a start goes on with belongs to no request.
    pub(super) fn settle(&self) {
        let until = Instant::now() + SETTLES_WITHIN;
        let mut before = Used::of(self.pid());
        while Instant::now() < until {
            nap(LOOK);
            let now = Used::of(self.pid());
            if now.since(&before) < LOOK.as_secs_f64() * RESTING {
                return;
            }
            before = now;
        }
    }

    /// An error when it has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("it ended with {status}: {}", self.words()),
            None => Ok(()),
        }
    }

    fn words(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Its first process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let family: Vec<_> = family(self.pid()).into_iter().map(|pid| (pid, born(pid))).collect();
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
        let until = Instant::now() + ENDS_WITHIN;
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            nap(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Whoever outlived its parent, and is still the same process.
        let left = family
            .into_iter()
            .filter(|(pid, then)| then.is_some() && born(*pid) == *then);
        for (pid, _) in left {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// When a process was started, in ticks.
fn born(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(19).map(str::to_owned)
}

/// By how much ticks may be ahead of the exact sum before threads must have come and gone: their own coarseness.
const UNSEEN: f64 = 0.03;

/// What a family of processes has used of the processor so far, seconds.
///
/// Shape: exact from the scheduler's own counters (nanoseconds), as long as no thread and no process of the family ended;
/// what ended ones used is only known in ticks.
#[derive(Clone, Debug, Default)]
pub(super) struct Used {
    processes: BTreeMap<u32, One>,
}

#[derive(Clone, Debug, Default)]
struct One {
    threads: BTreeSet<u32>,
    exact: f64,
    ticks: f64,
    children: f64,
}

impl Used {
    /// Looks at a process and all below it.
    pub(super) fn of(root: u32) -> Self {
        let processes = family(root).into_iter().filter_map(|pid| Some((pid, One::read(pid)?)));
        Used {
            processes: processes.collect(),
        }
    }

    /// Looks at this very process.
    pub(super) fn ours() -> Self {
        let pid = std::process::id();
        Used {
            processes: One::read(pid).map(|one| (pid, one)).into_iter().collect(),
        }
    }

    /// What was used since an earlier look.
    pub(super) fn since(&self, before: &Used) -> f64 {
        let mut used = 0.0;
        for (pid, now) in &self.processes {
            let new = One::default();
            let then = before.processes.get(pid).unwrap_or(&new);
            let (exact, ticks) = (now.exact - then.exact, now.ticks - then.ticks);
            // Threads that ended are missing in the exact sum; some may have come and gone unseen.
            let is_whole = then.threads.is_subset(&now.threads) && ticks <= exact + UNSEEN;
            used += if is_whole { exact } else { ticks };
            used += now.children - then.children;
        }
        // What ended was counted again, as a whole, by its parent.
        let gone = before
            .processes
            .iter()
            .filter(|(pid, _)| !self.processes.contains_key(pid));
        (used - gone.map(|(_, one)| one.ticks + one.children).sum::<f64>()).max(0.0)
    }
}

impl One {
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let ticks = |at: usize| {
            fields
                .get(at)
                .and_then(|field| field.parse::<f64>().ok())
                .unwrap_or(0.0)
                / TICKS
        };
        let (mut exact, mut threads) = (0.0, BTreeSet::new());
        for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
            threads.extend(thread.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
            let counters = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            let nanoseconds = counters.split(' ').next().and_then(|field| field.parse::<f64>().ok());
            exact += nanoseconds.unwrap_or(0.0) / 1e9;
        }
        Some(One {
            threads,
            exact,
            ticks: ticks(11) + ticks(12),
            children: ticks(13) + ticks(14),
        })
    }
}

/// Resident memory of a family, bytes.
pub(super) fn resident_bytes(root: u32) -> u64 {
    let resident = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    family(root).into_iter().filter_map(resident).sum::<u64>() << 10
}

/// A process and everything below it.
pub(super) fn family(root: u32) -> Vec<u32> {
    let mut parents: Vec<(u32, u32)> = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(Path::new("/proc").join(format!("{pid}/stat"))).unwrap_or_default();
        let parent = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        parents.extend(parent.map(|parent| (pid, parent)));
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found
}

/// Waits; this process does nothing else meanwhile.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no runtime here whose thread could be blocked"
)]
pub(super) fn nap(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(threads: &[u32], exact: f64, ticks: f64, children: f64) -> One {
        One {
            threads: threads.iter().copied().collect(),
            exact,
            ticks,
            children,
        }
    }

    fn used(processes: &[(u32, One)]) -> Used {
        Used {
            processes: processes.iter().cloned().collect(),
        }
    }

    #[test]
    fn what_is_alive_is_counted_exactly() {
        let before = used(&[(7, one(&[7], 1.0, 1.0, 0.0))]);
        // A second thread, and a second process.
        let after = used(&[(7, one(&[7, 8], 1.5043, 1.51, 0.0)), (9, one(&[9], 0.25, 0.24, 0.0))]);
        assert!((after.since(&before) - 0.7543).abs() < 1e-9);
    }

    #[test]
    fn what_has_ended_is_counted_in_ticks() {
        let before = used(&[(7, one(&[7, 8], 1.0, 1.0, 0.0)), (9, one(&[9], 0.3, 0.3, 0.0))]);
        // A thread ended, and a process, whose whole life its parent now answers for.
        let after = used(&[(7, one(&[7, 10], 0.4, 1.02, 0.5))]);
        assert!((after.since(&before) - 0.22).abs() < 1e-9);
        // Threads came and went between two looks.
        let after = used(&[(7, one(&[7, 8], 1.001, 1.9, 0.0)), (9, one(&[9], 0.3, 0.3, 0.0))]);
        assert!((after.since(&before) - 0.9).abs() < 1e-9);
    }

    #[test]
    fn this_process_uses_the_processor() {
        let before = Used::ours();
        let until = Instant::now() + Duration::from_millis(50);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        assert!(Used::ours().since(&before) > 0.0);
    }
}
