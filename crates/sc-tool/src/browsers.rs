//! Finding browsers, and the folder in which a browser may keep a profile.
use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::profile::Family;
use crate::report::Report;

/// Names on `PATH` and, for macOS, fixed paths; the first one that is there is taken.
const CHROME: [&str; 12] = [
    "google-chrome",
    "google-chrome-stable",
    "chromium",
    "chromium-browser",
    "brave-browser",
    "microsoft-edge",
    "microsoft-edge-stable",
    "vivaldi",
    "vivaldi-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
];

/// As `CHROME`.
const FIREFOX: [&str; 5] = [
    "firefox",
    "firefox-esr",
    "firefox-developer-edition",
    "/Applications/Firefox.app/Contents/MacOS/firefox",
    "/Applications/Firefox Developer Edition.app/Contents/MacOS/firefox",
];

/// A launcher script is looked at this far for the snap behind it.
const SCRIPT_BYTES: u64 = 4096;

/// The browser to start: the one asked for, or the first of its family.
///
/// Errors: it is not there; no browser of the family is.
pub(crate) fn find(family: Family, wanted: Option<&Path>, search_path: &OsStr) -> Result<PathBuf, Report> {
    if let Some(wanted) = wanted {
        return on_path(wanted.as_os_str(), search_path)
            .ok_or_else(|| Report::usage(format!("`{}` is not a program that can be started", wanted.display())));
    }
    first(family, search_path).ok_or_else(|| match family {
        Family::Chrome => Report::failed("no browser of the Chromium family was found")
            .hint("install one (Debian: `apt install chromium`), or name it with `--executable FILE`"),
        Family::Firefox => Report::failed("Firefox was not found")
            .hint("install it (Debian: `apt install firefox-esr`), or name it with `--executable FILE`"),
    })
}

/// The first browser of a family that is installed.
pub(crate) fn first(family: Family, search_path: &OsStr) -> Option<PathBuf> {
    let names: &[&str] = match family {
        Family::Chrome => &CHROME,
        Family::Firefox => &FIREFOX,
    };
    names.iter().find_map(|name| on_path(name.as_ref(), search_path))
}

/// A program by name on the search path, or by path if there is a `/` in it.
pub(crate) fn on_path(name: &OsStr, search_path: &OsStr) -> Option<PathBuf> {
    let name = Path::new(name);
    if name.components().count() > 1 || name.is_absolute() {
        return is_program(name).then(|| name.to_owned());
    }
    env::split_paths(search_path)
        .map(|folder| folder.join(name))
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Where a snap may write: snaps see no hidden folder of the home, so their profile goes into their own one.
///
/// Shape: `None` for everything that is not a snap.
pub(crate) fn snap_folder(program: &Path, home: &Path) -> Option<PathBuf> {
    let name = snap_name(program)?;
    Some(home.join("snap").join(name).join("common/shimmercat"))
}

fn snap_name(program: &Path) -> Option<String> {
    if let Ok(name) = program.strip_prefix("/snap/bin") {
        return Some(name.to_string_lossy().into_owned());
    }
    let mut start = String::new();
    File::open(program)
        .ok()?
        .take(SCRIPT_BYTES)
        .read_to_string(&mut start)
        .ok()?;
    let (_, rest) = start
        .strip_prefix("#!")
        .and_then(|script| script.split_once("/snap/bin/"))?;
    let end = rest
        .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-')
        .unwrap_or(rest.len());
    rest.get(..end).filter(|name| !name.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::snap_folder;

    #[test]
    fn a_snap_gets_a_folder_that_it_may_write() {
        let found = snap_folder(Path::new("/snap/bin/chromium"), Path::new("/home/me"));
        assert_eq!(
            found.as_deref(),
            Some(Path::new("/home/me/snap/chromium/common/shimmercat"))
        );
        assert_eq!(snap_folder(Path::new("/usr/bin/env"), Path::new("/home/me")), None);
    }

    #[test]
    fn a_script_that_starts_a_snap_is_one_too() {
        let script = std::env::temp_dir().join(format!("sc-tool-snap-{}", std::process::id()));
        std::fs::write(&script, "#!/bin/sh\nexec /snap/bin/firefox \"$@\"\n").expect("a file in the temporary folder");
        let found = snap_folder(&script, Path::new("/home/me"));
        std::fs::remove_file(&script).expect("it was written just now");
        assert_eq!(
            found.as_deref(),
            Some(Path::new("/home/me/snap/firefox/common/shimmercat"))
        );
    }
}
