//! What `shimmercat check --as internet` tells of a project: what internet mode refuses, and what will be different.
//!
//! Beside the mistakes that only matter here it looks at the certificate, as a start would, and at what the sites would
//! hand out. Nothing is bound, nothing is started, and no application is asked.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sc_config::source::Place;
use sc_config::{Audience, Diagnostic, Places, Redis, Settings};
use sc_server::chain;
use sc_tls::Credentials;

use crate::bus;
use crate::master::load;

/// A certificate that ends sooner is spoken of: authorities renew a third of its life before, which is longer.
const ENDS_SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// What is looked at.
pub struct Project<'a> {
    /// Everything that the file decided.
    pub settings: &'a Settings,
    /// Where the project keeps what is not committed.
    pub places: &'a Places,
    /// The files that the settings came from.
    pub sources: &'a [PathBuf],
    /// Where the key of each domain stands in them, in the order of the settings; empty when that is not known.
    pub domain_places: &'a [Place],
    /// What time it is.
    pub now: SystemTime,
}

/// Everything that would be refused or different on the Internet; empty when there is nothing.
///
/// Shape: errors first. Reads the certificate and looks at folders; blocks.
pub fn findings(project: &Project<'_>) -> Vec<Diagnostic> {
    let settings = project.settings;
    let (chain_file, key_file) = settings.certificate_files(project.places);
    let mut found = load::check(settings).err().unwrap_or_default();
    found.extend(redis(settings));
    found.extend(sites(settings));
    found.extend(certificate(project, &chain_file, &key_file));
    found.extend(sc_config::exposed_files(settings, project.sources, &key_file));
    found.extend(sc_config::internet_warnings(settings));
    found.sort_by_key(|one| one.severity);
    found
}

fn redis(settings: &Settings) -> Option<Diagnostic> {
    let Redis::Url(url) = &settings.redis else { return None };
    let error = bus::Target::of(&bus::Place::Url(url.clone())).err()?;
    Some(Diagnostic::error("the Redis of `redis` cannot be used").why(chain(&error)))
}

fn sites(settings: &Settings) -> Option<Diagnostic> {
    let error = load::try_sites(settings).err()?;
    Some(Diagnostic::error("a site cannot be served as it is configured").why(chain(&error)))
}

fn certificate(project: &Project<'_>, chain_file: &Path, key_file: &Path) -> Vec<Diagnostic> {
    if !chain_file.exists() {
        return vec![
            Diagnostic::error("there is no certificate")
                .why(format!("looked at `{}`", chain_file.display()))
                .hint("name it with `cert` and `key`, or put `cert.pem` and `privkey.pem` there"),
        ];
    }
    let mut found = Vec::new();
    match Credentials::read(chain_file, key_file) {
        Err(error) => found.push(Diagnostic::error("the certificate cannot be used").why(chain(&error))),
        Ok(credentials) => {
            found.extend(uncovered(project, &credentials, chain_file));
            found.extend(validity(&credentials, chain_file, project.now));
        }
    }
    found.extend(readable_key(key_file));
    found
}

/// One diagnostic for all names, that points at each.
fn uncovered(project: &Project<'_>, credentials: &Credentials, chain_file: &Path) -> Option<Diagnostic> {
    let is_public = |domain: &sc_config::Domain| domain.is_site() && domain.audience == Audience::Public;
    let domains = project.settings.domains.iter().enumerate();
    let missing: Vec<_> = domains
        .filter(|(_, domain)| is_public(domain) && !credentials.covers(&domain.name.to_string()))
        .collect();
    let (first, others) = missing.split_first()?;
    let message = match others {
        [] => format!("the certificate does not cover `{}`", first.1.name),
        _ => format!("the certificate does not cover {} public names", missing.len()),
    };
    let place = |(index, _): &(usize, _)| project.domain_places.get(*index).cloned();
    let mut error = Diagnostic::error(message);
    if let Some(at) = place(first) {
        error = error.at(at).label("not in the certificate");
        for also in others.iter().filter_map(place) {
            error = error.also(also, "nor this one");
        }
    }
    let names = credentials.names().join(", ");
    let file = chain_file.file_name().map_or_else(|| chain_file.into(), PathBuf::from);
    Some(
        error
            .why(format!("`{}` names {names}", file.display()))
            .hint("have it issued with every public name, or write `audience: network`"),
    )
}

fn validity(credentials: &Credentials, chain_file: &Path, now: SystemTime) -> Option<Diagnostic> {
    let file = chain_file.display();
    let is_future = credentials.not_before().is_some_and(|from| from > now);
    if is_future {
        let error = Diagnostic::error("the certificate is not valid yet").why(format!("it stands in `{file}`"));
        return Some(error.hint("look at the clock of this machine"));
    }
    match credentials.not_after()?.duration_since(now) {
        Err(_) => Some(Diagnostic::error("the certificate has ended").why(format!("it stands in `{file}`"))),
        Ok(left) if left < ENDS_SOON => {
            let days = left.as_secs() / (24 * 3600);
            let warning = Diagnostic::warning(format!("the certificate ends in {days} days"));
            Some(warning.why(format!("it stands in `{file}`")))
        }
        Ok(_) => None,
    }
}

/// A key that every user of the machine can read.
fn readable_key(key_file: &Path) -> Option<Diagnostic> {
    let mode = fs::metadata(key_file).ok()?.mode();
    (mode & 0o004 != 0).then(|| {
        Diagnostic::warning("every user of this machine can read the private key")
            .why(format!("`{}` has the mode {:03o}", key_file.display(), mode & 0o777))
            .hint(format!("chmod o-r {}", key_file.display()))
    })
}

#[cfg(test)]
mod tests;
