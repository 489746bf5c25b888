//! Watches the configuration files, so that a change applies as soon as it is saved.
//!
//! The folder is watched, not the file, since editors write a new file and rename it over the old one. What is said is only
//! that something may have changed; reading and comparing is done by [`crate::run`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Quiet time after the last change before the files are read: editors write in several steps.
const SETTLE: Duration = Duration::from_millis(80);

/// A running watch; it ends when this is dropped.
pub(crate) struct Watch {
    _watcher: RecommendedWatcher,
    changes: mpsc::Receiver<()>,
}

impl Watch {
    /// Begins to watch these files, which need not exist, all in one folder.
    ///
    /// Errors: the system's, e.g. when it has no more watches to give.
    pub(crate) fn on(files: Vec<PathBuf>, folder: &Path) -> Result<Self, notify::Error> {
        let (sender, changes) = mpsc::channel(1);
        let names: Vec<_> = files
            .iter()
            .filter_map(|file| file.file_name().map(ToOwned::to_owned))
            .collect();
        let tell = move |event: Result<notify::Event, notify::Error>| {
            // A full channel means that a change is already on its way.
            let concerns = |path: &PathBuf| {
                path.file_name()
                    .is_some_and(|name| names.iter().any(|known| known == name))
            };
            if event.is_ok_and(|event| !event.kind.is_access() && event.paths.iter().any(concerns)) {
                let _ = sender.try_send(());
            }
        };
        let mut watcher = notify::recommended_watcher(tell)?;
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(Watch {
            _watcher: watcher,
            changes,
        })
    }

    /// Waits for a change, and then until the files have been quiet for a moment.
    ///
    /// Cancel: a change that was being waited out is told again by the next call only if another follows; callers keep
    /// this future until it is done.
    pub(crate) async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            return std::future::pending().await;
        }
        while tokio::time::timeout(SETTLE, self.changes.recv())
            .await
            .is_ok_and(|change| change.is_some())
        {}
    }
}
