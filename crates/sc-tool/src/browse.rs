//! `sc-tool chrome` and `sc-tool firefox`: from the command line to a browser window, in order.
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::args::{Browse, Chrome};
use crate::ca::CaFile;
use crate::chromium_db::Seeded;
use crate::launch::{self, Start};
use crate::profile::{Family, Profile};
use crate::report::{Report, chain};
use crate::screen::Screen;
use crate::surroundings::Surroundings;
use crate::target::Target;
use crate::theme::Colour;
use crate::{browsers, chromium, files, firefox, shell};

/// Opens a Chromium-family browser.
///
/// Errors: no instance, no browser, a profile that cannot be used, a browser that fails at once.
pub(crate) fn chrome(args: &Chrome, around: &Surroundings, screen: Screen) -> Result<ExitCode, Report> {
    Opening::begin(Family::Chrome, &args.browse, args.strict_dns, around, screen)?.go()
}

/// Opens Firefox.
///
/// Errors: as `chrome`.
pub(crate) fn firefox(args: &Browse, around: &Surroundings, screen: Screen) -> Result<ExitCode, Report> {
    Opening::begin(Family::Firefox, args, false, around, screen)?.go()
}

/// Everything that is decided before a file is touched.
struct Opening<'a> {
    family: Family,
    args: &'a Browse,
    is_strict: bool,
    around: &'a Surroundings,
    screen: Screen,
    target: Target,
    program: PathBuf,
    dir: PathBuf,
    pages: Vec<OsString>,
}

impl<'a> Opening<'a> {
    fn begin(
        family: Family,
        args: &'a Browse,
        is_strict: bool,
        around: &'a Surroundings,
        screen: Screen,
    ) -> Result<Self, Report> {
        let (target, silence) = Target::find_answering(&args.place, around)?;
        if let Some(silence) = silence {
            screen.warning(&silence);
        }
        let program = browsers::find(family, args.executable.as_deref(), &around.path)?;
        let dir = profile_dir(family, args, &target, &program, around)?;
        let typed = args.urls.iter().map(|url| page(url));
        let pages: Vec<OsString> = match args.urls.is_empty() {
            false => typed.collect(),
            true => target.first_page().map(OsString::from).into_iter().collect(),
        };
        Ok(Self {
            family,
            args,
            is_strict,
            around,
            screen,
            target,
            program,
            dir,
            pages,
        })
    }

    fn go(self) -> Result<ExitCode, Report> {
        if self.args.dry_run {
            let line = self.command_line(&self.browser_args(None));
            self.screen.data(&format!("{line}\n"));
            return Ok(ExitCode::SUCCESS);
        }
        let profile = Profile::open(&self.dir, self.family, &self.target.home.places.folder, self.args.fresh)?;
        let spki = self.prepare(&profile)?;
        let keylog = self.keylog()?;
        let args = self.browser_args(spki.as_deref());
        if self.args.verbose {
            self.screen.say(&self.command_line(&args));
        }
        let start = Start {
            program: &self.program,
            args: &args,
            keylog: keylog.as_deref(),
        };
        if self.args.wait || launch::is_one_shot(&self.args.browser_args) {
            let code = launch::wait(&start)?;
            if code != ExitCode::SUCCESS {
                self.hints().iter().for_each(|hint| self.screen.hint(hint));
            }
            return Ok(code);
        }
        let log = profile.dir.join("sc-tool.log");
        launch::detach(&start, &log).map_err(|report| self.hints().into_iter().fold(report, Report::hint))?;
        self.say_where(&profile);
        Ok(ExitCode::SUCCESS)
    }

    /// Seeds trust and settings while no browser has the profile open; returns the key to believe where that failed.
    fn prepare(&self, profile: &Profile) -> Result<Option<String>, Report> {
        let ca = self.target.home.ca();
        if profile.is_in_use() {
            if ca.is_ok_and(|ca| !self.is_trusted(&profile.dir, &ca)) {
                self.screen
                    .warning("the open browser does not trust the present CA; close it and open it anew");
            }
            return Ok(None);
        }
        self.settle(profile)?;
        match ca {
            Ok(ca) => self.trust(profile, &ca),
            Err(report) => {
                self.screen
                    .warning(&format!("{}; pages will show certificate errors", report.message));
                Ok(None)
            }
        }
    }

    fn settle(&self, profile: &Profile) -> Result<(), Report> {
        let title = self.target.home.title();
        let colour = Colour::of(&self.target.home.places.state);
        match self.family {
            Family::Chrome => chromium::settle(profile, &title, colour),
            Family::Firefox => firefox::settle(profile, &self.target.proxy, &title, colour),
        }
    }

    fn is_trusted(&self, dir: &Path, ca: &CaFile) -> bool {
        match self.family {
            Family::Chrome => chromium::trusts(dir, ca),
            Family::Firefox => crate::nss::holds(dir, ca),
        }
    }

    fn trust(&self, profile: &Profile, ca: &CaFile) -> Result<Option<String>, Report> {
        let (seeded, fallback) = match self.family {
            Family::Chrome => match chromium::trust(profile, ca)? {
                Ok(seeded) => (seeded, None),
                Err(error) => (Seeded::Same, Some(self.fall_back(&chain(&error))?)),
            },
            Family::Firefox => match firefox::trust(profile, ca, &self.around.path) {
                Ok(seeded) => (seeded, None),
                Err(error) => return Err(Report::of(&error).hint("or begin a new profile with `--fresh`")),
            },
        };
        if self.args.verbose && seeded == Seeded::Added {
            self.screen.say(&format!(
                "put the CA `{}` into the profile, and nowhere else",
                ca.facts.name
            ));
        }
        Ok(fallback)
    }

    fn fall_back(&self, reason: &str) -> Result<String, Report> {
        let Some(spki) = self.target.ca_spki.clone() else {
            return Err(
                Report::failed(format!("the profile cannot be made to trust the CA: {reason}"))
                    .hint("begin a new profile with `--fresh`"),
            );
        };
        self.screen
            .warning(&format!("the profile cannot be made to trust the CA: {reason}"));
        self.screen
            .warning("using `--ignore-certificate-errors-spki-list`, which skips every check for this CA");
        Ok(spki)
    }

    /// Makes the key log's file before the browser does, for its owner only.
    fn keylog(&self) -> Result<Option<PathBuf>, Report> {
        let Some(keylog) = &self.args.ssl_keylog else {
            return Ok(None);
        };
        let path = self.around.folder.join(keylog);
        files::ensure(&path)
            .and_then(|()| files::close_to_others(&path))
            .map_err(|error| Report::because(format!("cannot use `{}` as key log", path.display()), &error))?;
        self.screen.warning(&format!(
            "`{}` will hold the keys of every connection of this browser",
            path.display()
        ));
        Ok(Some(path))
    }

    fn browser_args(&self, spki: Option<&str>) -> Vec<OsString> {
        let mut args = match self.family {
            Family::Firefox => firefox::flags(&self.dir),
            Family::Chrome => chromium::flags(&chromium::Plan {
                dir: &self.dir,
                proxy: &self.target.proxy,
                title: &self.target.home.title(),
                is_strict: self.is_strict,
                spki,
            }),
        };
        args.extend(self.args.browser_args.iter().cloned());
        args.extend(self.pages.iter().cloned());
        args
    }

    fn command_line(&self, args: &[OsString]) -> String {
        let words = std::iter::once(self.program.as_os_str()).chain(args.iter().map(OsString::as_os_str));
        shell::line(words)
    }

    fn say_where(&self, profile: &Profile) {
        let name = self.program.file_name().unwrap_or_default().to_string_lossy();
        let pages: Vec<_> = self.pages.iter().map(|page| page.to_string_lossy()).collect();
        let what = if pages.is_empty() {
            "a window".to_owned()
        } else {
            pages.join(" ")
        };
        let dir = profile.dir.display();
        self.screen.say(&format!(
            "{name} opens {what} through {}, profile {dir}",
            self.target.proxy
        ));
    }

    /// Why a browser may have failed to start.
    fn hints(&self) -> Vec<String> {
        let has = |flag: &str| {
            self.args
                .browser_args
                .iter()
                .any(|arg| arg.to_string_lossy().starts_with(flag))
        };
        let mut hints = Vec::new();
        let is_root = rustix::process::geteuid().is_root();
        if self.family == Family::Chrome && is_root && !has("--no-sandbox") {
            hints.push("Chromium does not run as root: use an ordinary user, or add `-- --no-sandbox`".to_owned());
        }
        if !self.around.has_display && !has("--headless") && !has("-headless") {
            hints.push(
                "there is no display: add `-- --headless` and what to do, e.g. `--screenshot=page.png`".to_owned(),
            );
        }
        hints
    }
}

/// A page as typed, with `https://` where no scheme was given.
fn page(typed: &str) -> OsString {
    let has_scheme = typed.contains("://")
        || ["about:", "chrome:", "data:", "view-source:"]
            .iter()
            .any(|scheme| typed.starts_with(scheme));
    if has_scheme {
        typed.into()
    } else {
        format!("https://{typed}").into()
    }
}

fn profile_dir(
    family: Family,
    args: &Browse,
    target: &Target,
    program: &Path,
    around: &Surroundings,
) -> Result<PathBuf, Report> {
    if let Some(dir) = &args.user_dir {
        return Ok(around.folder.join(dir));
    }
    let profiles = &target.home.places.profiles;
    let snap = browsers::snap_folder(program, around.home()?);
    let profiles = match (snap, target.home.places.state.file_name()) {
        (Some(snap), Some(project)) => snap.join(project),
        _ => profiles.clone(),
    };
    Ok(profiles.join(family.word()))
}

#[cfg(test)]
mod tests {
    use super::page;

    #[test]
    fn a_name_without_a_scheme_means_https() {
        let check = |typed: &str, expect: &str| assert_eq!(page(typed), expect);
        check("www.example.com/a", "https://www.example.com/a");
        check("http://www.example.com", "http://www.example.com");
        check("about:blank", "about:blank");
    }
}
