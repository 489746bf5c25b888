//! A project folder for one test, deleted at its end.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A temporary folder with the files of a site.
pub struct TempProject {
    folder: TempDir,
}

impl TempProject {
    /// An empty folder. Its name is random, its path free of symbolic links.
    pub fn new() -> TempProject {
        let place = std::env::temp_dir()
            .canonicalize()
            .expect("the folder for temporary files exists");
        let folder = tempfile::Builder::new()
            .prefix("site-")
            .tempdir_in(place)
            .expect("a temporary folder");
        TempProject { folder }
    }

    /// A folder with this `devlove.yaml`.
    pub fn with_yaml(yaml: &str) -> TempProject {
        let project = TempProject::new();
        project.file("devlove.yaml", yaml);
        project
    }

    /// Writes a file, and the folders above it.
    pub fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &TempProject {
        let path = self.path_of(path);
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("folders can be made");
        fs::write(path, content).expect("a file can be written");
        self
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A path below the folder.
    pub fn path_of(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }
}

impl Default for TempProject {
    fn default() -> Self {
        TempProject::new()
    }
}
