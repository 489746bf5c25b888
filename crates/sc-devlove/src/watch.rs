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
    /// A change was received that has not been told yet.
    is_settling: bool,
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
            let concerns = |path: &PathBuf| {
                path.file_name()
                    .is_some_and(|name| names.iter().any(|known| known == name))
            };
            let matters = |event: notify::Event| {
                // Events were lost, without paths: any file may have changed.
                event.need_rescan() || (!event.kind.is_access() && event.paths.iter().any(concerns))
            };
            if event.is_ok_and(matters) {
                // A full channel means that a change is already on its way.
                let _ = sender.try_send(());
            }
        };
        let mut watcher = notify::recommended_watcher(tell)?;
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(Watch {
            _watcher: watcher,
            changes,
            is_settling: false,
        })
    }

    /// Waits for a change, and then until the files have been quiet for a moment.
    ///
    /// Cancel: nothing is lost; the next call goes on waiting out a change that was received already.
    pub(crate) async fn changed(&mut self) {
        if !self.is_settling {
            if self.changes.recv().await.is_none() {
                return std::future::pending().await;
            }
            self.is_settling = true;
        }
        while tokio::time::timeout(SETTLE, self.changes.recv())
            .await
            .is_ok_and(|change| change.is_some())
        {}
        self.is_settling = false;
    }
}
