//! What this program reads from its environment, once, at the edge.
use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use sc_config::Homes;

use crate::report::Report;

/// The environment of this run.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    /// Working directory, absolute.
    pub(crate) folder: PathBuf,
    /// `HOME`, if set.
    home: Option<PathBuf>,
    xdg_state_home: Option<PathBuf>,
    xdg_runtime_dir: Option<PathBuf>,
    /// `PATH`.
    pub(crate) path: OsString,
    /// `SSL_CERT_FILE`: what other programs trust instead of the system's roots.
    pub(crate) ssl_cert_file: Option<PathBuf>,
    /// `NODE_OPTIONS`, to be kept.
    pub(crate) node_options: Option<String>,
    /// `SHIMMERCAT=0` runs commands as if we were not there.
    pub(crate) switched_off: bool,
    /// `NO_COLOR` is set to something.
    pub(crate) no_color: bool,
    /// There is a display to open windows on.
    pub(crate) has_display: bool,
    /// Somebody can answer a question.
    pub(crate) can_ask: bool,
}

impl Surroundings {
    /// Reads the environment of this process.
    ///
    /// Errors: when the working directory is gone.
    pub(crate) fn read() -> Result<Self, Report> {
        let folder =
            env::current_dir().map_err(|error| Report::because("the working directory cannot be used", &error))?;
        let path_of = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        Ok(Self {
            folder,
            home: path_of("HOME"),
            xdg_state_home: path_of("XDG_STATE_HOME"),
            xdg_runtime_dir: path_of("XDG_RUNTIME_DIR"),
            path: env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin")),
            ssl_cert_file: path_of("SSL_CERT_FILE"),
            node_options: env::var("NODE_OPTIONS").ok().filter(|text| !text.is_empty()),
            switched_off: env::var_os("SHIMMERCAT").is_some_and(|value| value == "0"),
            no_color: is_set("NO_COLOR"),
            has_display: is_set("DISPLAY") || is_set("WAYLAND_DISPLAY") || cfg!(target_os = "macos"),
            can_ask: io::stdin().is_terminal() && io::stderr().is_terminal(),
        })
    }

    /// The user's homes.
    ///
    /// Errors: when `HOME` is not set.
    pub(crate) fn homes(&self) -> Result<Homes, Report> {
        let home = self.home()?.to_owned();
        Ok(Homes {
            home,
            xdg_state_home: self.xdg_state_home.clone(),
            xdg_runtime_dir: self.xdg_runtime_dir.clone(),
        })
    }

    /// `HOME`.
    ///
    /// Errors: when it is not set.
    pub(crate) fn home(&self) -> Result<&Path, Report> {
        self.home.as_deref().ok_or_else(|| {
            Report::failed("the variable `HOME` is not set")
                .hint("set it to a folder of your own, e.g. `HOME=/home/me`")
        })
    }
}
