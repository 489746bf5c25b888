//! Finding the devlove file from a working directory.
//!
//! An explicit path wins; else the working directory is looked at, then each parent up to the root of the repository
//! (the folder that holds `.git`). Nothing is read here beyond whether a file is there; see [`crate::load`].
use std::path::{Component, Path, PathBuf};

/// Names of the file, in order of preference.
pub const FILE_NAMES: [&str; 3] = ["devlove.yaml", "devlove.yml", "devlove"];

/// Names of the file that overrides on one machine, beside the other one.
pub const LOCAL_NAMES: [&str; 2] = ["devlove.local.yaml", "devlove.local.yml"];

/// Where the project is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// The devlove file; `None` when there is none and the project runs on guesses.
    pub path: Option<PathBuf>,
    /// The project's folder: that of the file, else the working directory. Relative paths start here.
    pub folder: PathBuf,
    /// The file's path as a person at the working directory would write it, for messages.
    pub shown: PathBuf,
}

impl Found {
    /// The project of this very file.
    pub fn file(path: &Path) -> Self {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.map_or_else(|| PathBuf::from("."), Path::to_owned);
        Self {
            path: Some(path.to_owned()),
            folder,
            shown: path.to_owned(),
        }
    }

    /// Every path whose change can change the settings, each once: the file, and those of either name in the folder,
    /// whether they exist or not.
    pub fn watched(&self) -> Vec<PathBuf> {
        let names = FILE_NAMES.iter().chain(&LOCAL_NAMES);
        let in_folder = names.map(|name| self.folder.join(name));
        let others = in_folder.filter(|path| self.path.as_ref() != Some(path));
        self.path.iter().cloned().chain(others).collect()
    }
}

/// Finds the devlove file.
///
/// Shape: `start` is the absolute working directory; `explicit` is relative to it. An explicit path is taken even when
/// nothing is there, so that reading it gives the error; an explicit folder is searched, but not its parents.
pub fn discover(start: &Path, explicit: Option<&Path>) -> Found {
    if let Some(explicit) = explicit {
        let path = start.join(explicit);
        if !path.is_dir() {
            return Found {
                shown: explicit.to_owned(),
                ..Found::file(&path)
            };
        }
        return in_folder(&path, explicit).unwrap_or_else(|| nothing(&path));
    }
    let mut shown = PathBuf::new();
    for folder in upwards(start) {
        if let Some(found) = in_folder(folder, &shown) {
            return found;
        }
        shown.push(Component::ParentDir);
    }
    nothing(start)
}

fn in_folder(folder: &Path, shown: &Path) -> Option<Found> {
    let name = FILE_NAMES.into_iter().find(|name| folder.join(name).is_file())?;
    Some(Found {
        path: Some(folder.join(name)),
        folder: folder.to_owned(),
        shown: shown.join(name),
    })
}

fn nothing(folder: &Path) -> Found {
    Found {
        path: None,
        folder: folder.to_owned(),
        shown: PathBuf::from(FILE_NAMES[0]),
    }
}

/// `start` and its parents, as far as the root of the repository; only `start` where there is no repository.
pub(crate) fn upwards(start: &Path) -> impl Iterator<Item = &Path> {
    let depth = start
        .ancestors()
        .position(|folder| folder.join(".git").exists())
        .unwrap_or(0);
    start.ancestors().take(depth + 1)
}
