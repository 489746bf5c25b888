//! `sc-tool ca`: the certificate for other programs, and trust outside our own profiles, given only on demand.
//!
//! Only the user's own NSS database is ever changed. For the system's store the commands are printed: they need root, and
//! that decision belongs to a person.
use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::SystemTime;

use crate::args::CaAction;
use crate::browsers::on_path;
use crate::ca::CaFile;
use crate::profile::cannot;
use crate::report::{Exit, Report};
use crate::screen::Screen;
use crate::shell::quote;
use crate::surroundings::Surroundings;
use crate::target::Home;

/// Name of the file with the CA's predecessor, in the CA's folder.
const PREVIOUS_FILE: &str = "ca-previous.pem";

/// As many certificates of one name as are taken back at once; renewals leave several.
const MAX_REMOVALS: usize = 32;

/// Does what was asked with the CA.
///
/// Errors: no CA; no consent; no `certutil`, or it failed.
pub(crate) fn act(action: &CaAction, around: &Surroundings, screen: Screen) -> Result<ExitCode, Report> {
    match action {
        CaAction::Export { file, project } => {
            let ca = Home::find(project, around)?.ca()?;
            match file {
                None => screen.data(&ca.pem),
                Some(file) => {
                    let path = around.folder.join(file);
                    std::fs::write(&path, &ca.pem).map_err(|error| cannot("write", &path, &error))?;
                }
            }
        }
        CaAction::Trust { yes, project } => trust(&Home::find(project, around)?, *yes, around, screen)?,
        CaAction::Untrust { project } => untrust(&Home::find(project, around)?, around, screen)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn trust(home: &Home, is_agreed: bool, around: &Surroundings, screen: Screen) -> Result<(), Report> {
    let ca = home.ca()?;
    screen.warning(&risk(home, &ca));
    screen.say("`sc-tool chrome`, `firefox`, `run` and `env` do not need this.");
    if !is_agreed {
        ask(around, screen)?;
    }
    let database = Database::of(around, screen, &ca)?;
    database.create()?;
    withdraw(home, &ca, &database)?;
    let (name, path) = (OsStr::new(&ca.facts.name), ca.path.as_os_str());
    let words = [
        "-A".as_ref(),
        "-n".as_ref(),
        name,
        "-t".as_ref(),
        "C,,".as_ref(),
        "-i".as_ref(),
        path,
    ];
    let output = database.run(&words)?;
    if !output.status.success() {
        return Err(database.failed(&output));
    }
    screen.say(&format!("`{}` is trusted in {}", ca.facts.name, database.dir.display()));
    screen.say("programs that use the system's store are not affected; for them:");
    screen.say(&system_commands(&ca));
    screen.next("`sc-tool ca untrust` takes it back");
    Ok(())
}

fn untrust(home: &Home, around: &Surroundings, screen: Screen) -> Result<(), Report> {
    let ca = home.ca()?;
    let database = Database::of(around, screen, &ca)?;
    let count = if database.exists() {
        withdraw(home, &ca, &database)?
    } else {
        0
    };
    let dir = database.dir.display();
    match count {
        0 => screen.say(&format!("`{}` was not trusted in {dir}", ca.facts.name)),
        _ => screen.say(&format!("`{}` is no longer trusted in {dir}", ca.facts.name)),
    }
    Ok(())
}

/// Takes the trust in the CA and in the one before it back; says how many certificates there were.
fn withdraw(home: &Home, ca: &CaFile, database: &Database) -> Result<usize, Report> {
    let before = CaFile::read(&home.places.ca_dir.join(PREVIOUS_FILE)).map(|before| before.facts.name);
    let mut count = database.remove(&ca.facts.name)?;
    if let Ok(before) = before {
        count += database.remove(&before)?;
    }
    Ok(count)
}

fn risk(home: &Home, ca: &CaFile) -> String {
    let folder = home.places.ca_dir.display();
    let days = ca
        .remaining(SystemTime::now())
        .map_or(0, |left| left.as_secs() / 86_400);
    format!(
        "whoever reads the key in `{folder}` can then pretend to be any site to every program that uses this \
         database, for {days} more days"
    )
}

fn ask(around: &Surroundings, screen: Screen) -> Result<(), Report> {
    if !around.can_ask {
        return Err(Report::usage("nobody can be asked here").hint("say `sc-tool ca trust --yes` if you mean it"));
    }
    screen.say("Type `yes` to go on:");
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Report::because("cannot read the answer", &error))?;
    if answer.trim() == "yes" {
        Ok(())
    } else {
        Err(Report::failed("nothing was changed"))
    }
}

/// The user's NSS database, which Chromium-family browsers and others on Linux read.
struct Database {
    dir: PathBuf,
    certutil: PathBuf,
}

impl Database {
    fn of(around: &Surroundings, screen: Screen, ca: &CaFile) -> Result<Self, Report> {
        let dir = around.home()?.join(".pki/nssdb");
        match on_path("certutil".as_ref(), &around.path) {
            Some(certutil) if !cfg!(target_os = "macos") => Ok(Self { dir, certutil }),
            found => {
                screen.say("by hand:");
                screen.say(&system_commands(ca));
                let why = if found.is_none() {
                    "`certutil` is not installed"
                } else {
                    "macOS keeps trust elsewhere"
                };
                Err(Report::failed(format!("{why}, so nothing was changed"))
                    .hint("Debian: `apt install libnss3-tools`, or use the commands above"))
            }
        }
    }

    fn exists(&self) -> bool {
        self.dir.join("cert9.db").exists()
    }

    fn create(&self) -> Result<(), Report> {
        if self.exists() {
            return Ok(());
        }
        sc_config::places::private_folder(&self.dir).map_err(|error| Report::of(&error))?;
        let output = self.run(&["-N".as_ref(), "--empty-password".as_ref()])?;
        if output.status.success() {
            Ok(())
        } else {
            Err(self.failed(&output))
        }
    }

    /// Removes every certificate of this name; says how many there were.
    fn remove(&self, name: &str) -> Result<usize, Report> {
        for count in 0..MAX_REMOVALS {
            if !self
                .run(&["-D".as_ref(), "-n".as_ref(), name.as_ref()])?
                .status
                .success()
            {
                return Ok(count);
            }
        }
        Ok(MAX_REMOVALS)
    }

    fn run(&self, args: &[&OsStr]) -> Result<Output, Report> {
        let mut database = OsString::from("sql:");
        database.push(&self.dir);
        let mut command = Command::new(&self.certutil);
        command.arg("-d").arg(database).args(args).stdin(Stdio::null());
        command
            .output()
            .map_err(|error| cannot("start", &self.certutil, &error).with_exit(Exit::Failed))
    }

    fn failed(&self, output: &Output) -> Report {
        let told = String::from_utf8_lossy(&output.stderr);
        Report::failed(format!(
            "`certutil` could not change {}: {}",
            self.dir.display(),
            told.trim()
        ))
    }
}

/// What a person types to have the whole system trust the CA.
fn system_commands(ca: &CaFile) -> String {
    let path = quote(ca.path.as_os_str());
    if cfg!(target_os = "macos") {
        return format!(
            "  security add-trusted-cert -r trustRoot -p ssl -k ~/Library/Keychains/login.keychain-db {path}"
        );
    }
    let name: String = ca
        .facts
        .name
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
        .collect();
    let installed = Path::new("/usr/local/share/ca-certificates").join(format!("{}.crt", name.to_ascii_lowercase()));
    format!(
        "  Debian, Ubuntu:  sudo cp {path} {} && sudo update-ca-certificates\n  Fedora, Arch:    sudo trust anchor {path}",
        installed.display()
    )
}
