//! `sc-tool doctor`: what stands between a browser and the sites, checked from one end to the other.
//!
//! Each finding is one line: `ok`, `warn` or `fail`, what was seen, and the one thing to do next. It changes nothing.
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::args;
use crate::browsers;
use crate::ca::{CaFile, pem_body};
use crate::profile::{self, Family};
use crate::report::{Report, chain};
use crate::screen::Screen;
use crate::socks::SocksError;
use crate::surroundings::Surroundings;
use crate::target::{Home, Proxy, START_HINT, Target};
use crate::{chromium, nss, socks};

/// Exit code when something failed.
const FOUND_SOMETHING: u8 = 4;

/// A CA that ends sooner should have been renewed by the server.
const RENEWAL: Duration = Duration::from_secs(3 * 86_400);

/// As much of the auto-config as is read.
const PAC_MAX_BYTES: u64 = 1 << 20;

/// Where the system keeps its roots as one file.
const SYSTEM_ROOTS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One line.
#[derive(Debug)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    text: String,
    next: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Ok,
            text: text.into(),
            next: None,
        }
    }

    fn warn(check: &'static str, text: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Warn,
            text: text.into(),
            next: Some(next.into()),
        }
    }

    fn fail(check: &'static str, text: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Fail,
            text: text.into(),
            next: Some(next.into()),
        }
    }
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Ok => "32",
            Self::Warn => "33",
            Self::Fail => "1;31",
        }
    }
}

/// Checks everything and prints what was found. Exit code 4 when something failed.
///
/// Errors: the project cannot be looked at at all.
pub(crate) fn examine(args: &args::Doctor, around: &Surroundings, screen: Screen) -> Result<ExitCode, Report> {
    let mut findings = Vec::new();
    let home = Home::find(&args.place.project, around)?;
    findings.push(project(&home));
    findings.push(instance(&home));
    if let Ok(target) = Target::find(&args.place, around) {
        proxy(&target, &mut findings);
    }
    let ca = home.ca().ok();
    certificate(&home, ca.as_ref(), &mut findings);
    browsers_and_profiles(&home, ca.as_ref(), around, &mut findings);
    if let Some(ca) = &ca {
        findings.push(trust_stores(ca, around));
    }
    print(&findings, args.json, screen);
    let has_failed = findings.iter().any(|finding| finding.verdict == Verdict::Fail);
    Ok(if has_failed {
        ExitCode::from(FOUND_SOMETHING)
    } else {
        ExitCode::SUCCESS
    })
}

fn project(home: &Home) -> Finding {
    let folder = home.places.folder.display();
    match sc_config::discover(&home.places.folder, None).path {
        Some(path) => Finding::ok("project", path.display().to_string()),
        None => Finding::warn(
            "project",
            format!("`{folder}` has no devlove.yaml"),
            "run `shimmercat init`",
        ),
    }
}

fn instance(home: &Home) -> Finding {
    match (&home.instance, home.running()) {
        (_, Some(running)) => Finding::ok(
            "server",
            format!("{} {}, process {}", running.mode, running.version, running.pid),
        ),
        (Some(dead), None) => Finding::fail(
            "server",
            format!("process {} is gone and left its file behind", dead.pid),
            START_HINT,
        ),
        (None, None) => Finding::fail("server", "no instance of this project runs", START_HINT),
    }
}

fn proxy(target: &Target, findings: &mut Vec<Finding>) {
    let proxy = &target.proxy;
    let site = target.first_site();
    let reached = match site {
        Some(name) => socks::connect(proxy, name, socks::HTTPS).map(drop),
        None => socks::probe(proxy, None),
    };
    if let Err(error) = &reached
        && !matches!(error, SocksError::Refused(_))
    {
        findings.push(Finding::fail("proxy", format!("{proxy}: {}", chain(error)), START_HINT));
        return;
    }
    let text = format!("{proxy} answers SOCKS5");
    findings.push(match proxy.is_loopback() {
        true => Finding::ok("proxy", text),
        false => Finding::warn(
            "proxy",
            text + " and is not on this machine alone",
            "use a loopback address",
        ),
    });
    if let Some(name) = site {
        findings.push(match reached {
            Ok(()) => Finding::ok("name", format!("{name}:443 is reached through it")),
            Err(error) => Finding::fail(
                "name",
                format!("{name}:443: {}", chain(&error)),
                "run `shimmercat check`",
            ),
        });
    }
    findings.push(match fetch_pac(proxy) {
        Ok(()) => Finding::ok("pac", format!("http://{proxy}/proxy.pac")),
        Err(why) => Finding::warn("pac", format!("http://{proxy}/proxy.pac: {why}"), "use `sc-tool pac`"),
    });
}

fn fetch_pac(proxy: &Proxy) -> Result<(), String> {
    let mut stream = socks::dial(proxy).map_err(|error| chain(&error))?;
    let request = format!("GET /proxy.pac HTTP/1.1\r\nHost: {proxy}\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    stream
        .take(PAC_MAX_BYTES)
        .read_to_end(&mut answer)
        .map_err(|error| error.to_string())?;
    let answer = String::from_utf8_lossy(&answer);
    match answer.split_ascii_whitespace().nth(1) {
        Some("200") if answer.contains("FindProxyForURL") => Ok(()),
        Some("200") => Err("it is something else".to_owned()),
        Some(status) => Err(format!("status {status}")),
        None => Err("no answer".to_owned()),
    }
}

fn certificate(home: &Home, ca: Option<&CaFile>, findings: &mut Vec<Finding>) {
    let path = home.ca_path();
    let Some(ca) = ca else {
        findings.push(Finding::fail(
            "ca",
            format!("`{}` is not there yet", path.display()),
            START_HINT,
        ));
        return;
    };
    findings.push(match ca.remaining(SystemTime::now()) {
        None => Finding::fail(
            "ca",
            format!("`{}` has expired", ca.facts.name),
            "restart `shimmercat devlove`",
        ),
        Some(left) => {
            let text = format!("`{}`, {} days left", ca.facts.name, left.as_secs() / 86_400);
            if left < RENEWAL {
                Finding::warn("ca", text, "restart `shimmercat devlove`")
            } else {
                Finding::ok("ca", text)
            }
        }
    });
    let folder = path.parent().unwrap_or(Path::new("/"));
    findings.push(match open_to_others(folder) {
        None => Finding::ok("ca files", format!("{} is closed to others", folder.display())),
        Some(open) => {
            let open = crate::shell::quote(open.as_os_str());
            Finding::fail(
                "ca files",
                format!("{open} is open to others, or is theirs"),
                format!("run `chmod go= {open}`"),
            )
        }
    });
}

/// The first thing in the CA's folder, or the folder, that others could use. The certificate itself is public.
fn open_to_others(folder: &Path) -> Option<std::path::PathBuf> {
    let me = rustix::process::geteuid().as_raw();
    let is_open = |path: &Path| {
        path.symlink_metadata()
            .is_ok_and(|found| found.permissions().mode() & 0o077 != 0 || found.uid() != me)
    };
    if is_open(folder) {
        return Some(folder.to_owned());
    }
    let entries = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let holds_key =
        |path: &Path| fs::read(path).is_ok_and(|text| String::from_utf8_lossy(&text).contains("PRIVATE KEY"));
    entries
        .filter(|path| path.is_file() && holds_key(path))
        .find(|path| is_open(path))
}

fn browsers_and_profiles(home: &Home, ca: Option<&CaFile>, around: &Surroundings, findings: &mut Vec<Finding>) {
    let mut is_any = false;
    for family in [Family::Chrome, Family::Firefox] {
        let Some(program) = browsers::first(family, &around.path) else {
            continue;
        };
        is_any = true;
        findings.push(Finding::ok(family.word(), program.display().to_string()));
        let snap = around
            .home()
            .ok()
            .and_then(|home| browsers::snap_folder(&program, home));
        let profiles = match (snap, home.places.state.file_name()) {
            (Some(snap), Some(project)) => snap.join(project),
            _ => home.places.profiles.clone(),
        };
        findings.extend(profile(family, &profiles.join(family.word()), ca));
    }
    if !is_any {
        findings.push(Finding::warn(
            "browsers",
            "none was found",
            "install Chromium or Firefox",
        ));
    }
}

fn profile(family: Family, dir: &Path, ca: Option<&CaFile>) -> Option<Finding> {
    let check = "profile";
    if !profile::exists(dir, family) {
        return Some(Finding::ok(
            check,
            format!("{} makes it at its first start", family.word()),
        ));
    }
    let ca = ca?;
    let is_trusted = match family {
        Family::Chrome => chromium::trusts(dir, ca),
        Family::Firefox => nss::holds(dir, ca),
    };
    let shown = dir.display();
    Some(match is_trusted {
        true => Finding::ok(check, format!("{shown} trusts the CA")),
        false => Finding::warn(
            check,
            format!("{shown} does not trust the present CA"),
            format!("close the browser and run `sc-tool {}`", family.word()),
        ),
    })
}

fn trust_stores(ca: &CaFile, around: &Surroundings) -> Finding {
    let body = ca.base64();
    let is_in = |file: &&&str| {
        fs::read_to_string(file).is_ok_and(|text| text.split("-----END").any(|pem| pem_body(pem) == body))
    };
    if let Some(file) = SYSTEM_ROOTS.iter().find(is_in) {
        return Finding::warn(
            "trust",
            format!("the whole system trusts the CA ({file})"),
            "remove it if you did not mean it",
        );
    }
    let user = around.home().map(|home| home.join(".pki/nssdb"));
    match user.is_ok_and(|dir| nss::holds(&dir, ca)) {
        true => Finding::warn(
            "trust",
            "your NSS database trusts the CA",
            "`sc-tool ca untrust` takes it back",
        ),
        false => Finding::ok("trust", "only sc-tool's profiles trust the CA"),
    }
}

fn print(findings: &[Finding], as_json: bool, screen: Screen) {
    for finding in findings {
        let Finding {
            check,
            verdict,
            text,
            next,
        } = finding;
        let word = verdict.word();
        screen.data(&match (as_json, next) {
            (true, next) => format!(
                "{}\n",
                json!({ "check": check, "verdict": word, "text": text, "next": next })
            ),
            (false, None) => format!(
                "{} {check}: {text}\n",
                screen.paint(verdict.colour(), &format!("{word:<4}"))
            ),
            (false, Some(next)) => {
                format!(
                    "{} {check}: {text}\n     next: {next}\n",
                    screen.paint(verdict.colour(), &format!("{word:<4}"))
                )
            }
        });
    }
}
