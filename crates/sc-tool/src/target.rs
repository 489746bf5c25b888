//! Which little network is meant: the running instance of this project, or the address on the command line.
//!
//! An instance is found from the working directory upwards (`sc_config::Instance::find`). Without one and without an
//! address nothing is opened: a browser that found no proxy would show error pages at best, and another project's
//! sites at worst.
use std::fmt;
use std::path::{Path, PathBuf};

use sc_config::{Instance, Places};

use crate::args::{Project, Where};
use crate::ca::{CA_FILE, CaFile};
use crate::report::Report;
use crate::socks;
use crate::surroundings::Surroundings;

/// The proxy port of the first ShimmerCat and of `shimmercat devlove`.
const DEFAULT_PORT: u16 = 2006;

/// Address of a proxy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Proxy {
    /// Name or address, without brackets.
    pub(crate) host: String,
    /// Port.
    pub(crate) port: u16,
}

/// A project on this machine, running or not.
#[derive(Debug)]
pub(crate) struct Home {
    /// Its places.
    pub(crate) places: Places,
    /// What its instance left: alive, dead, or never started.
    pub(crate) instance: Option<Instance>,
}

/// The little network to use.
#[derive(Debug)]
pub(crate) struct Target {
    /// Where its proxy listens.
    pub(crate) proxy: Proxy,
    /// The address was typed, so it is used even if nothing answers.
    pub(crate) is_typed: bool,
    /// Configured names; empty when no instance of this project runs.
    pub(crate) names: Vec<String>,
    /// SHA-256 of the CA's public key, base64, when an instance told it.
    pub(crate) ca_spki: Option<String>,
    /// The project.
    pub(crate) home: Home,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Proxy {
    /// Reads `host:port` or `[v6]:port`. A wildcard address is reached over loopback.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = match host.trim_start_matches('[').trim_end_matches(']') {
            "0.0.0.0" | "" => "127.0.0.1",
            "::" => "::1",
            host => host,
        };
        Some(Self {
            host: host.to_owned(),
            port: port.parse().ok()?,
        })
    }

    /// Is this address on this machine only?
    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl Home {
    /// Finds the project.
    ///
    /// Errors: a folder that is not there, no `HOME`, an instance file that is not one.
    pub(crate) fn find(project: &Project, surroundings: &Surroundings) -> Result<Self, Report> {
        let start = match &project.working_dir {
            Some(folder) => surroundings.folder.join(folder),
            None => surroundings.folder.clone(),
        };
        let start = start.canonicalize().map_err(|error| {
            Report::because(format!("cannot look at the folder `{}`", start.display()), &error)
                .with_exit(crate::report::Exit::Usage)
        })?;
        let instance = Instance::find(&start, &project.scratch_dir_name).map_err(|error| Report::of(&error))?;
        let folder = match &instance {
            Some(instance) => instance.folder.clone(),
            None => sc_config::discover(&start, None).folder,
        };
        let places = Places::of(&folder, &project.scratch_dir_name, &surroundings.homes()?)
            .map_err(|error| Report::of(&error))?;
        Ok(Self { places, instance })
    }

    /// The instance, if its process runs.
    pub(crate) fn running(&self) -> Option<&Instance> {
        self.instance.as_ref().filter(|instance| instance.is_alive())
    }

    /// Where the CA's certificate is, whether it is there or not.
    pub(crate) fn ca_path(&self) -> PathBuf {
        match self.running() {
            Some(instance) => instance.ca_pem.clone(),
            None => self.places.ca_dir.join(CA_FILE),
        }
    }

    /// The CA's certificate.
    ///
    /// Errors: it is not there or cannot be read.
    pub(crate) fn ca(&self) -> Result<CaFile, Report> {
        let path = self.ca_path();
        CaFile::read(&path).map_err(|error| Report::of(&error).hint(START_HINT))
    }

    /// What a person calls this project: the last part of its folder.
    pub(crate) fn title(&self) -> String {
        title(&self.places.folder)
    }
}

/// The command that brings an instance up.
pub(crate) const START_HINT: &str = "start it with `shimmercat devlove`";

impl Target {
    /// Decides which little network is meant; does not ask whether it answers.
    ///
    /// Errors: neither an instance runs nor was an address given.
    pub(crate) fn find(place: &Where, surroundings: &Surroundings) -> Result<Self, Report> {
        let home = Home::find(&place.project, surroundings)?;
        let known = home
            .running()
            .and_then(|instance| instance.socks.as_deref())
            .and_then(Proxy::parse);
        let is_typed = place.port.is_some() || place.host.is_some();
        let proxy = match (is_typed, known) {
            (true, _) => Proxy {
                host: place.host.clone().unwrap_or_else(|| "127.0.0.1".to_owned()),
                port: place.port.unwrap_or(DEFAULT_PORT),
            },
            (false, Some(known)) => known,
            (false, None) => return Err(not_running(&home)),
        };
        let names = home
            .running()
            .map(|instance| instance.names.clone())
            .unwrap_or_default();
        let ca_spki = home
            .running()
            .map(|instance| instance.ca_spki.clone())
            .filter(|spki| !spki.is_empty());
        Ok(Self {
            proxy,
            is_typed,
            names,
            ca_spki,
            home,
        })
    }

    /// Like [`Target::find`], and makes sure that a proxy answers there.
    ///
    /// Shape: an address that was typed is taken on trust; the report of its silence is then returned as a warning.
    /// Errors: as `find`, and when nothing answers at the instance's own address.
    pub(crate) fn find_answering(place: &Where, surroundings: &Surroundings) -> Result<(Self, Option<String>), Report> {
        let target = Self::find(place, surroundings)?;
        match socks::probe(&target.proxy, target.first_site()) {
            Ok(()) => Ok((target, None)),
            Err(error) => {
                let text = format!(
                    "no SOCKS5 proxy answers at {}: {}",
                    target.proxy,
                    crate::report::chain(&error)
                );
                if target.is_typed {
                    Ok((target, Some(text)))
                } else {
                    Err(Report::failed(text).hint(START_HINT))
                }
            }
        }
    }

    /// The first configured name that is a site's: with a dot, and no wildcard.
    pub(crate) fn first_site(&self) -> Option<&str> {
        let name = self
            .names
            .iter()
            .find(|name| name.contains('.') && !name.contains('*'))?;
        Some(name)
    }

    /// The page of the first site.
    pub(crate) fn first_page(&self) -> Option<String> {
        self.first_site().map(|name| format!("https://{name}/"))
    }
}

/// The last part of a folder.
fn title(folder: &Path) -> String {
    folder
        .file_name()
        .map_or_else(|| "project".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn not_running(home: &Home) -> Report {
    let folder = home.places.folder.display();
    match home.running() {
        Some(instance) => Report::failed(format!(
            "the instance of `{folder}` (process {}) runs without a proxy port",
            instance.pid
        ))
        .hint("start it with a SOCKS5 port, or name one with `-5 PORT`"),
        None => Report::failed(format!("no shimmercat runs for `{folder}`")).hint(START_HINT),
    }
}

#[cfg(test)]
mod tests {
    use super::Proxy;

    #[test]
    fn addresses_of_instances_are_read_and_written() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(
                Proxy::parse(text).map(|proxy| proxy.to_string()).as_deref(),
                expect,
                "{text}"
            );
        };
        check("127.0.0.1:2006", Some("127.0.0.1:2006"));
        check("[::1]:2007", Some("[::1]:2007"));
        check("0.0.0.0:2006", Some("127.0.0.1:2006"));
        check("[::]:2006", Some("[::1]:2006"));
        check("127.0.0.1", None);
        check("127.0.0.1:x", None);
    }
}
