//! What the instance, its machines and its workers are called in Redis.
//!
//! Two machines may share an instance, and a master that is started again is a new machine: so a worker's name is never
//! given twice, and the numbers of its lines can be compared.

use serde::{Deserialize, Serialize};

/// Bytes of a machine's host name that become part of names; enough to recognise it.
const HOST_BYTES: usize = 32;

/// Names of the keys of one instance, seen from one machine.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Instance {
    name: String,
    machine: String,
}

impl Instance {
    /// The instance `name` on this machine.
    ///
    /// Shape: `host` is the machine's name, of which letters, digits, `-` and `.` are kept; `nonce` is random and drawn
    /// anew at each start of a master.
    pub fn new(name: impl Into<String>, host: &str, nonce: u64) -> Self {
        let host: String = host
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
            .take(HOST_BYTES)
            .collect();
        let host = if host.is_empty() { "machine" } else { &host };
        Instance {
            name: name.into(),
            machine: format!("{host}-{nonce:016x}"),
        }
    }

    /// The instance's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// This machine's name: the host and the nonce.
    pub fn machine(&self) -> &str {
        &self.machine
    }

    /// The name of this machine's worker with that number.
    pub fn worker(&self, number: u64) -> String {
        format!("{}-{number}", self.machine)
    }

    /// Whether a worker is one of this machine's.
    pub fn is_ours(&self, worker: &str) -> bool {
        worker
            .strip_prefix(self.machine.as_str())
            .is_some_and(|rest| rest.starts_with('-'))
    }

    /// Key of the log stream.
    pub fn log_key(&self) -> String {
        self.key("log")
    }

    /// Key of a worker's heartbeat.
    pub fn worker_key(&self, worker: &str) -> String {
        self.key(&format!("worker:{worker}"))
    }

    /// Key of the set of machines, ordered by their last sign of life.
    pub fn machines_key(&self) -> String {
        self.key("machines")
    }

    /// Key of a machine's sign of life.
    pub fn machine_key(&self, machine: &str) -> String {
        self.key(&format!("machine:{machine}"))
    }

    /// Key of a machine's metrics.
    pub fn metrics_key(&self, machine: &str) -> String {
        self.key(&format!("metrics:{machine}"))
    }

    /// Key of the sealed root of the ticket keys.
    pub fn tickets_key(&self) -> String {
        self.key("tickets")
    }

    fn key(&self, rest: &str) -> String {
        format!("sc:{}:{rest}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_documented() {
        let instance = Instance::new("shop", "web 1.example/", 0xabc);
        assert_eq!(instance.machine(), "web1.example-0000000000000abc");
        assert_eq!(instance.worker(7), "web1.example-0000000000000abc-7");
        assert_eq!(instance.log_key(), "sc:shop:log");
        assert_eq!(instance.worker_key("w"), "sc:shop:worker:w");
        assert_eq!(instance.machine_key("m"), "sc:shop:machine:m");
        assert_eq!(Instance::new("shop", "", 1).machine(), "machine-0000000000000001");
    }

    #[test]
    fn a_master_that_starts_again_has_other_workers() {
        let [before, after] = [1, 2].map(|nonce| Instance::new("shop", "web", nonce));
        assert!(before.is_ours(&before.worker(1)));
        assert!(!after.is_ours(&before.worker(1)));
        assert!(!before.is_ours(before.machine()));
    }
}
