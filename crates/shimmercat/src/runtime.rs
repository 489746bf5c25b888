//! The runtime of every command that serves: one thread, as the rooms below expect it.

use tokio::runtime::LocalOptions;

use crate::report::{Kind, Report};

/// Runs a life on a runtime of one thread.
///
/// Shape: `blocking_threads` bounds what may wait elsewhere, for files that are not in memory and for name look-ups.
/// Errors: the life's own, and the system's when there can be no runtime.
pub(crate) fn in_runtime(
    blocking_threads: usize,
    life: impl Future<Output = Result<(), Report>>,
) -> Result<(), Report> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(blocking_threads)
        .build_local(LocalOptions::default())
        .map_err(|error| Report::new(Kind::Failed, "cannot start the runtime").caused_by(&error))?;
    let done = runtime.block_on(life);
    // Name look-ups that nobody waits for any more may still run; they are left to themselves.
    runtime.shutdown_background();
    done
}
