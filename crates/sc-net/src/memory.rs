//! How much memory this process has taken, and how much there is for all. Read from proc(5), which never waits.
//!
//! What counts is what the process has to itself: code that is mapped from files is not among it. The file is opened once,
//! so that a process which has shut itself off from the file system can still read it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// This process's memory.
#[derive(Debug)]
pub struct Memory {
    statm: Option<File>,
    page_bytes: u64,
}

impl Memory {
    /// Opens what the system tells.
    pub fn of_this_process() -> Self {
        Memory {
            statm: File::open("/proc/self/statm").ok(),
            page_bytes: rustix::param::page_size() as u64,
        }
    }

    /// Bytes that are resident and no file's; 0 when the system does not tell. One system call.
    pub fn taken_bytes(&self) -> u64 {
        let mut text = [0; 128];
        let read = self.statm.as_ref().and_then(|file| file.read_at(&mut text, 0).ok());
        let text = text.get(..read.unwrap_or(0)).unwrap_or_default();
        let mut pages = std::str::from_utf8(text)
            .unwrap_or_default()
            .split_ascii_whitespace()
            .map(|field| field.parse::<u64>().unwrap_or(0));
        let (resident, shared) = (pages.nth(1).unwrap_or(0), pages.next().unwrap_or(0));
        resident.saturating_sub(shared).saturating_mul(self.page_bytes)
    }
}

/// Bytes of memory that this machine has, or that its group of processes may have if that is less; `None` when the system
/// does not tell.
pub fn machine_bytes() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let total = read("/proc/meminfo")
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<u64>()
                .ok()
        })
        .map(|kib| kib.saturating_mul(1024));
    let group = read("/proc/self/cgroup")
        .lines()
        .find_map(|line| {
            line.strip_prefix("0::")
                .map(|group| format!("/sys/fs/cgroup{group}/memory.max"))
        })
        .and_then(|file| read(&file).trim().parse::<u64>().ok());
    total.into_iter().chain(group).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_seen() {
        let memory = Memory::of_this_process();
        let before = memory.taken_bytes();
        let taken = vec![1_u8; 64 << 20];
        let after = memory.taken_bytes();
        assert!(taken.iter().all(|byte| *byte == 1));
        assert!(before > 0 && after > before + (48 << 20), "{before} {after}");
        assert!(machine_bytes().is_some_and(|bytes| bytes > after));
    }
}
