//! The words of a run: the block at its start, and how settings and faults are called.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use sc_config::{Domain, Forward, Kind, Settings};
use sc_net::{Guard, dial};

use crate::bind::Bound;
use crate::run::Start;

/// How long the start waits to see whether an application answers.
const PROBE_TIME: Duration = Duration::from_millis(200);

/// What the project is called: the name of its folder.
pub(crate) fn project(folder: &Path) -> String {
    folder
        .file_name()
        .map_or_else(|| "/".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Applications that do not answer yet, by domain; all are asked at once.
pub(crate) async fn probe(settings: &Settings) -> Vec<bool> {
    join_all(settings.domains.iter().map(is_waiting)).await
}

async fn is_waiting(domain: &Domain) -> bool {
    let addresses = domain.consultant().map_or(&[][..], |consultant| &consultant.connect_to);
    let addresses: Vec<_> = addresses.iter().filter_map(sc_compile::upstream).collect();
    let guard = Guard::any();
    let answers = join_all(addresses.iter().map(|address| dial::dial(address, &guard, PROBE_TIME))).await;
    !answers.is_empty() && answers.iter().all(Result::is_err)
}

/// Where a run is to be found.
pub(crate) struct Addresses {
    https: Vec<String>,
    proxy: Option<String>,
    is_moved: bool,
}

impl Addresses {
    pub(crate) fn of(bound: &Bound) -> Self {
        Addresses {
            https: bound.https_texts(),
            proxy: bound.proxy_text(),
            is_moved: bound.is_moved(),
        }
    }
}

/// The block at the start: what is served, where, and how to go on.
pub(crate) fn ready(start: &Start, addresses: &Addresses, waiting: &[bool]) -> Vec<String> {
    let settings = &start.settings;
    let mut block = vec![format!("shimmercat devlove {} - {}", start.version, origin(start))];
    let width = settings
        .domains
        .iter()
        .map(|domain| url(domain).len())
        .max()
        .unwrap_or(0)
        .min(40);
    for (domain, is_waiting) in settings.domains.iter().zip(waiting) {
        let note = if *is_waiting { "  (not up yet)" } else { "" };
        for (name, leads_to) in rows(domain, &start.places.folder) {
            block.push(format!("  {name:width$}  {leads_to}{note}"));
        }
    }
    block.push(format!("  https    {}", addresses.https.join(", ")));
    match &addresses.proxy {
        Some(proxy) => {
            block.push(format!("  network  {proxy} (SOCKS5, SOCKS4a, HTTP, PAC)"));
            block.push(format!("  Internet {}", forwarding(&settings.forward)));
        }
        None => block.push("  network  off (socks-5: false); names open at the HTTPS port only".to_owned()),
    }
    if let Some(line) = simulated(&settings.shape) {
        block.push(format!("  line     {line}"));
    }
    if addresses.is_moved {
        block.push("  note     a default port was taken, so the next free one is used".to_owned());
    }
    if start.found.path.is_none() {
        block.push("next: shimmercat init    (writes a devlove.yaml to go on from)".to_owned());
    }
    let first = settings
        .domains
        .iter()
        .find(|domain| domain.is_site() && !domain.name.is_wildcard());
    let first = first.map_or_else(String::new, |domain| format!(" {}/", url(domain)));
    block.push(format!("next: sc-tool chrome{first}    (stop: Ctrl-C)"));
    block
}

fn origin(start: &Start) -> String {
    match &start.found.path {
        Some(_) => start.found.shown.display().to_string(),
        None => "no devlove.yaml here".to_owned(),
    }
}

fn url(domain: &Domain) -> String {
    format!("https://{}", domain.name)
}

fn rows(domain: &Domain, folder: &Path) -> Vec<(String, String)> {
    let applications = || {
        let list = domain
            .consultant()
            .map(|c| c.connect_to.iter().map(ToString::to_string).collect::<Vec<_>>());
        list.map(|list| list.join(", "))
    };
    match &domain.kind {
        Kind::Electric { root_dir, .. } => {
            let files = root_dir.as_ref().map(|dir| shown(dir, folder));
            let parts: Vec<_> = files.into_iter().chain(applications()).collect();
            vec![(url(domain), format!("-> {}", parts.join(", then ")))]
        }
        Kind::Api { .. } => vec![(url(domain), format!("-> {}", applications().unwrap_or_default()))],
        Kind::Network { tcp, udp } => {
            let row = |transport: &str, port: &u16, to: &sc_config::Address| {
                (format!("{transport} {}:{port}", domain.name), format!("-> {to}"))
            };
            tcp.iter()
                .map(|(port, to)| row("tcp", port, to))
                .chain(udp.iter().map(|(port, to)| row("udp", port, to)))
                .collect()
        }
    }
}

fn shown(dir: &Path, folder: &Path) -> String {
    match dir.strip_prefix(folder) {
        Ok(below) if below.as_os_str().is_empty() => ".".to_owned(),
        Ok(below) => below.display().to_string(),
        Err(_) => dir.display().to_string(),
    }
}

fn forwarding(forward: &Forward) -> String {
    match forward {
        Forward::No => "blocked (-w lets other names through, -w HOST,... some)".to_owned(),
        Forward::All => "other names are forwarded (-w)".to_owned(),
        Forward::Only(names) => {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            format!("forwarded: {}; the rest is blocked", names.join(", "))
        }
    }
}

/// The simulated network, as it was understood.
fn simulated(shape: &sc_config::Shape) -> Option<String> {
    let bandwidth = shape.bandwidth.map(|rate| format!("bandwidth {rate} bytes/second"));
    let latency = shape
        .latency
        .map(|time| format!("latency {} seconds", time.as_secs_f64()));
    let parts: Vec<_> = bandwidth.into_iter().chain(latency).collect();
    (!parts.is_empty()).then(|| format!("speed throttle: {}", parts.join("; ")))
}

/// Settings whose change applies only after a restart.
pub(crate) fn needs_restart(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let mut all = Vec::new();
    let mut compare = |name, is_changed: bool| {
        if is_changed {
            all.push(name);
        }
    };
    compare("listen", old.listen != new.listen);
    compare("socks-5", old.socks5 != new.socks5);
    compare("socks-users", old.socks_users != new.socks_users);
    compare("socks-allow", old.socks_allow != new.socks_allow);
    compare("sim-bandwidth, sim-latency", old.shape != new.shape);
    compare("log-codes", old.log_codes != new.log_codes);
    compare("log-format", old.log_format != new.log_format);
    all
}
