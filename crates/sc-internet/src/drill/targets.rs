//! What is asked for: `/` of every public site, and a bounded number of the files of its folder.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use http::Method;
use sc_config::{Audience, Domain, Kind, Settings};

use super::plan::shuffle;
use crate::supervisor::random::Random;

/// Files of one site that are asked for.
const FILES: usize = 40;

/// Entries of a site's folder that are looked at.
const ENTRIES: usize = 4000;

/// Larger files are passed over: the drill is about many requests.
const FILE_BYTES: u64 = 1 << 20;

/// What stands for the star of a wildcard.
const LABEL: &str = "drill";

/// A public site.
pub(super) struct Site {
    /// Its name as clients ask for it.
    pub(super) name: String,
    /// Whether an application answers what is not a file.
    pub(super) has_app: bool,
    /// What is asked for; `/` stands first when it is.
    pub(super) targets: Vec<Target>,
}

/// One thing that is asked for.
pub(super) struct Target {
    pub(super) method: Method,
    pub(super) path: String,
    /// The file that answers; its bytes are compared.
    pub(super) file: Option<FileSeen>,
}

/// A file as it was at the beginning.
pub(super) struct FileSeen {
    path: PathBuf,
    mark: Option<(u64, SystemTime)>,
}

impl FileSeen {
    fn now(path: PathBuf) -> Self {
        FileSeen {
            mark: mark(&path),
            path,
        }
    }

    /// Whether somebody has written it since.
    pub(super) fn has_changed(&self) -> bool {
        mark(&self.path) != self.mark
    }
}

fn mark(path: &Path) -> Option<(u64, SystemTime)> {
    let about = fs::metadata(path).ok()?;
    Some((about.len(), about.modified().ok()?))
}

/// Everything that may be asked for.
///
/// Shape: looks at the folders of the sites; blocks. Without `with_apps` nothing that an application would answer.
pub(super) fn sites(settings: &Settings, with_apps: bool, seed: u64) -> Vec<Site> {
    let public = |domain: &&Domain| domain.is_site() && domain.audience == Audience::Public;
    let mut random = Random::new(seed ^ 0x7a7a_7a7a);
    settings
        .domains
        .iter()
        .filter(public)
        .map(|domain| site(domain, with_apps, &mut random))
        .collect()
}

fn site(domain: &Domain, with_apps: bool, random: &mut Random) -> Site {
    let has_app = domain.consultant().is_some();
    let (root, index) = match &domain.kind {
        Kind::Electric {
            root_dir: Some(root),
            index,
            ..
        } => (Some(root), index.as_slice()),
        _ => (None, [].as_slice()),
    };
    let front = root.and_then(|root| index.iter().map(|name| root.join(name)).find(|file| file.is_file()));
    let mut targets = Vec::new();
    if with_apps || !has_app || front.is_some() {
        for method in [Method::GET, Method::HEAD] {
            targets.push(Target {
                method,
                path: "/".to_owned(),
                file: front.clone().map(FileSeen::now),
            });
        }
    }
    let mut files = root.map(|root| files(root)).unwrap_or_default();
    shuffle(&mut files, random);
    files.truncate(FILES);
    targets.extend(files.into_iter().map(|(path, file)| Target {
        method: Method::GET,
        path,
        file: Some(FileSeen::now(file)),
    }));
    let name = domain.name.to_string();
    Site {
        name: name
            .strip_prefix("*.")
            .map_or(name.clone(), |rest| format!("{LABEL}.{rest}")),
        has_app,
        targets,
    }
}

/// The files below a folder, with their paths in URLs: nothing hidden, no links, nothing large.
fn files(root: &Path) -> Vec<(String, PathBuf)> {
    let mut folders = VecDeque::from([(String::new(), root.to_owned())]);
    let (mut found, mut looked_at) = (Vec::new(), 0);
    while let Some((prefix, folder)) = folders.pop_front() {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut entries: Vec<_> = entries.take(ENTRIES - looked_at).collect();
        looked_at += entries.len();
        // The order of a folder is not the same on every machine.
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            let (Some(name), Ok(about)) = (name.to_str(), entry.metadata()) else {
                continue;
            };
            if name.starts_with('.') {
                continue;
            }
            let path = format!("{prefix}/{}", encoded(name));
            if about.is_dir() {
                folders.push_back((path, entry.path()));
            } else if about.is_file() && about.len() <= FILE_BYTES {
                found.push((path, entry.path()));
            }
        }
    }
    found
}

/// A name as a segment of a path (RFC 3986 §3.3), with everything encoded that may be.
fn encoded(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

    use super::*;

    fn domain(name: &str, root: &Path) -> Domain {
        Domain::files(name.parse().unwrap(), root.to_owned())
    }

    #[test]
    fn files_are_found_but_not_what_is_hidden_or_leads_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["index.html", "a b.txt", "img/ä.png", ".secret", ".git/config"] {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        fs::File::create(folder.path().join("large"))
            .unwrap()
            .set_len(FILE_BYTES + 1)
            .unwrap();
        let settings = Settings {
            domains: vec![domain("*.shop.example", folder.path())],
            ..Settings::default()
        };
        let sites = sites(&settings, false, 1);
        assert_eq!(sites[0].name, "drill.shop.example");
        let mut asked: Vec<_> = sites[0]
            .targets
            .iter()
            .map(|target| format!("{} {}", target.method, target.path))
            .collect();
        assert_eq!(asked[..2], ["GET /", "HEAD /"]);
        asked.sort_unstable();
        assert_eq!(
            asked,
            [
                "GET /",
                "GET /a%20b.txt",
                "GET /img/%C3%A4.png",
                "GET /index.html",
                "HEAD /"
            ]
        );
    }

    #[test]
    fn an_application_is_left_alone_when_asked() {
        let app = sc_config::Consultant::at(vec![sc_config::Address::loopback(1)]);
        let mut only_app = domain("api.shop.example", Path::new("/nowhere"));
        only_app.kind = Kind::Api { consultant: app };
        let settings = Settings {
            domains: vec![only_app],
            ..Settings::default()
        };
        assert_eq!(sites(&settings, false, 1)[0].targets.len(), 0);
        assert_eq!(sites(&settings, true, 1)[0].targets.len(), 2);
    }
}
