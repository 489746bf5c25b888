//! How many descriptors this process and the programs it starts may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open descriptors to at least `wanted`; programs started later have it too.
///
/// Shape: panics when the system allows no such number.
pub fn allow_descriptors(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            ..limit
        };
        setrlimit(Resource::Nofile, raised).unwrap_or_else(|error| panic!("{wanted} descriptors: {error}"));
    }
}
