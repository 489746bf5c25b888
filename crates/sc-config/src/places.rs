//! Where a project keeps what is not committed: scratch folder, state, CA, browser profiles, control socket.
//!
//! Everything follows from the project's folder, the name of the scratch folder and the homes of the user, which the
//! program reads from its environment and hands in. Folders are made `0700` and refused when they are a symlink or
//! belong to somebody else. What a running instance writes there is in [`crate::instance`].
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use thiserror::Error;

/// Name of the scratch folder when none is given. Source: the first ShimmerCat.
pub const DEFAULT_SCRATCH_NAME: &str = ".shimmercat.loves.devs";

/// Room for a unix socket's path: `sun_path` has 108 bytes (unix(7)), less some for other systems (104) and a margin.
const SOCKET_PATH_MAX_BYTES: usize = 99;

/// The user's homes, as the program found them in its environment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Homes {
    /// `HOME`.
    pub home: PathBuf,
    /// `XDG_STATE_HOME`; a relative one is ignored, as the XDG specification asks.
    pub xdg_state_home: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`; a relative one is ignored, as the XDG specification asks.
    pub xdg_runtime_dir: Option<PathBuf>,
}

/// The places of one project, all absolute.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Places {
    /// Name of this project and scratch folder that no other on this machine has: the folder's last part and 8 hex digits.
    pub id: String,
    /// The project's folder, without symlinks.
    pub folder: PathBuf,
    /// Scratch folder inside the project's folder.
    pub scratch: PathBuf,
    /// State of this project and scratch folder.
    pub state: PathBuf,
    /// The CA of the project, shared by its scratch folders.
    pub ca_dir: PathBuf,
    /// Browser profiles.
    pub profiles: PathBuf,
    /// What only lives as long as the instance.
    pub runtime: PathBuf,
    /// Control socket.
    pub control: PathBuf,
}

/// What can go wrong with the places of a project.
#[derive(Debug, Error)]
pub enum PlacesError {
    /// The project's folder cannot be looked at.
    #[error("cannot look at the folder `{}`", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The name of the scratch folder is no plain name.
    #[error("`{0}` is not the name of a folder")]
    ScratchName(String),
    /// `HOME` is not an absolute path.
    #[error("the home folder `{}` is not an absolute path", .0.display())]
    Home(PathBuf),
    /// A folder cannot be made.
    #[error("cannot make the folder `{}`", path.display())]
    Make {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A symlink or a file stands where a folder is wanted.
    #[error("`{}` is not a folder of its own", .0.display())]
    NotAFolder(PathBuf),
    /// The folder belongs to somebody else.
    #[error("the folder `{}` belongs to the user {owner}", path.display())]
    Owner {
        /// The folder.
        path: PathBuf,
        /// User id of its owner.
        owner: u32,
    },
}

impl Places {
    /// Works out the places; makes nothing.
    ///
    /// Shape: `folder` must exist. The same folder reached through symlinks has the same places. A scratch name other
    /// than the default one is a universe of its own: other state, profiles and control socket, but the same CA.
    /// Errors: `Folder`, `ScratchName`, `Home`.
    pub fn of(folder: &Path, scratch_name: &str, homes: &Homes) -> Result<Self, PlacesError> {
        if matches!(scratch_name, "" | "." | "..") || scratch_name.contains(['/', '\0']) {
            return Err(PlacesError::ScratchName(scratch_name.to_owned()));
        }
        if !homes.home.is_absolute() {
            return Err(PlacesError::Home(homes.home.clone()));
        }
        let folder = folder.canonicalize().map_err(|source| PlacesError::Folder {
            path: folder.to_owned(),
            source,
        })?;
        let state_home = absolute(homes.xdg_state_home.as_deref());
        let state_home = state_home
            .unwrap_or_else(|| homes.home.join(".local/state"))
            .join("shimmercat");
        let (project, _) = project_id(&folder, DEFAULT_SCRATCH_NAME);
        let (universe, hash) = project_id(&folder, scratch_name);
        let state = state_home.join("projects").join(&universe);
        let ca_dir = state_home.join("projects").join(&project).join("ca");
        let runtime = match absolute(homes.xdg_runtime_dir.as_deref()) {
            Some(dir) => dir.join("shimmercat").join(&universe),
            None => state.clone(),
        };
        let (runtime, control) = short_enough(runtime, &hash);
        let (scratch, profiles) = (folder.join(scratch_name), state.join("profiles"));
        Ok(Self {
            id: universe,
            folder,
            scratch,
            state,
            ca_dir,
            profiles,
            runtime,
            control,
        })
    }

    /// Makes the scratch, state, CA and runtime folders, `0700`, and keeps the scratch folder out of git.
    ///
    /// Errors: `Make`, and `NotAFolder` or `Owner` for a folder that somebody else could read or change.
    pub fn create(&self) -> Result<(), PlacesError> {
        for folder in [&self.scratch, &self.state, &self.ca_dir, &self.profiles, &self.runtime] {
            private_folder(folder)?;
        }
        for folder in [&self.scratch, &self.state, &self.ca_dir] {
            let ignore = folder.join(".gitignore");
            if !ignore.exists() {
                fs::write(&ignore, "*\n").map_err(|source| PlacesError::Make { path: ignore, source })?;
            }
        }
        Ok(())
    }
}

fn absolute(path: Option<&Path>) -> Option<PathBuf> {
    path.filter(|path| path.is_absolute()).map(Path::to_owned)
}

/// A name for the folder that a person recognises and no other folder shares: its last part and 8 hex digits.
fn project_id(folder: &Path, scratch_name: &str) -> (String, String) {
    let mut hash = Sha256::new();
    hash.update(folder.as_os_str().as_bytes());
    if scratch_name != DEFAULT_SCRATCH_NAME {
        hash.update([0]);
        hash.update(scratch_name.as_bytes());
    }
    let digest: String = hash
        .finalize()
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let name = folder
        .file_name()
        .map_or_else(|| "root".to_owned(), |name| name.to_string_lossy().into_owned());
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') {
            c
        } else {
            '_'
        }
    };
    let name: String = name.chars().take(40).map(safe).collect();
    (format!("{name}-{digest}"), digest)
}

/// Moves the runtime folder below `/tmp` when its socket's path would not fit into a unix address.
fn short_enough(runtime: PathBuf, hash: &str) -> (PathBuf, PathBuf) {
    let control = runtime.join("control.sock");
    if control.as_os_str().len() <= SOCKET_PATH_MAX_BYTES {
        return (runtime, control);
    }
    let user = rustix::process::getuid().as_raw();
    let runtime = PathBuf::from(format!("/tmp/shimmercat-{user}-{hash}"));
    let control = runtime.join("control.sock");
    (runtime, control)
}

/// Makes `path` and its parents, `0700` where they are new, and refuses a last part that is not ours alone.
///
/// Errors: `Make`, `NotAFolder`, `Owner`.
pub fn private_folder(path: &Path) -> Result<(), PlacesError> {
    let failed = |source| PlacesError::Make {
        path: path.to_owned(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .or_else(|error| match path.symlink_metadata() {
            Ok(_) => Ok(()),
            Err(_) => Err(failed(error)),
        })?;
    let found = path.symlink_metadata().map_err(failed)?;
    if !found.is_dir() {
        return Err(PlacesError::NotAFolder(path.to_owned()));
    }
    if found.uid() != rustix::process::getuid().as_raw() {
        return Err(PlacesError::Owner {
            path: path.to_owned(),
            owner: found.uid(),
        });
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}
