//! The words of a run: the block at its start, the one line for the service manager, the last words.

use std::time::SystemTime;

use sc_config::{Domain, Kind, Settings};
use sc_server::{journal, metrics::Metric};

use super::live::Master;
use crate::bus;
use crate::sockets::Role;

/// Configured names and wildcards.
pub(super) fn names(settings: &Settings) -> Vec<String> {
    settings.domains.iter().map(|domain| domain.name.to_string()).collect()
}

/// `2027-01-03`, or a dash when nobody knows.
pub(super) fn day(at: Option<SystemTime>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| journal::rfc3339(at).chars().take(10).collect())
}

/// The block at the start: what is served, where, by whom, and how to go on.
pub(super) fn ready(master: &Master) -> Vec<String> {
    let settings = &master.document.settings;
    let shown = master.start.found.shown.display();
    let mut block = vec![format!("shimmercat internet {} - {shown}", master.start.version)];
    let title = |domain: &Domain| format!("https://{}", domain.name);
    let sites = || settings.domains.iter().filter(|domain| domain.is_site());
    let width = sites().map(|domain| title(domain).len()).max().unwrap_or(0).min(40);
    for domain in sites() {
        let note = if domain.audience == sc_config::Audience::Network {
            "  (little network only)"
        } else {
            ""
        };
        block.push(format!("  {:width$}  -> {}{note}", title(domain), leads_to(domain)));
    }
    let mut row = |name: &str, value: String| block.push(format!("  {name:<9}{value}"));
    row("https", master.sockets.addresses(Role::Https).join(", "));
    match master.sockets.addresses(Role::Redirect) {
        none if none.is_empty() => row("redirect", "off (-t ADDR sends plain HTTP to HTTPS)".to_owned()),
        some => row("redirect", some.join(", ")),
    }
    match master.sockets.addresses(Role::Socks) {
        none if none.is_empty() => row("network", "off (--enable-socks-5)".to_owned()),
        some => row("network", format!("{} (SOCKS5, SOCKS4a, HTTP)", some.join(", "))),
    }
    let certificate = &master.certificate;
    row(
        "cert",
        format!(
            "{}, until {}",
            certificate.chain.display(),
            day(certificate.credentials.not_after())
        ),
    );
    row("redis", redis(master));
    row("workers", workers(master));
    block.push("next: shimmercat status    (stop: Ctrl-C)".to_owned());
    block
}

fn leads_to(domain: &Domain) -> String {
    let files = match &domain.kind {
        Kind::Electric {
            root_dir: Some(dir), ..
        } => Some(dir.display().to_string()),
        _ => None,
    };
    let applications = domain.consultant().map(|c| {
        c.connect_to
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    });
    files
        .into_iter()
        .chain(applications)
        .collect::<Vec<_>>()
        .join(", then ")
}

/// Which Redis there is, in words.
pub(super) fn redis(master: &Master) -> String {
    match (&master.document.bus, &master.document.settings.redis) {
        (bus::Place::Own { socket }, _) => format!("own, at {}", socket.display()),
        (bus::Place::Url(_), _) => "shared with other machines".to_owned(),
        (bus::Place::Off, sc_config::Redis::Off) => "off; log lines go by the master alone".to_owned(),
        (bus::Place::Off, _) => {
            "none installed (Debian: redis-server or valkey-server); log lines go by the master alone".to_owned()
        }
    }
}

fn workers(master: &Master) -> String {
    let lanes = master.supervisor.lanes().len();
    let life = master.supervisor.rules().life.as_secs() / 60;
    let spread = master.supervisor.rules().spread.as_secs() / 60;
    let each = if master.supervisor.rules().standby {
        ", each with a warm one to follow"
    } else {
        ""
    };
    let lanes = if lanes == 1 {
        "1 lane".to_owned()
    } else {
        format!("{lanes} lanes")
    };
    format!("{lanes}{each}; renewed every {life} to {} minutes", life + spread)
}

/// One line on how it goes.
pub(super) fn summary(master: &Master) -> String {
    let (serving, lanes) = (master.supervisor.serving(), master.supervisor.lanes().len());
    let mut line = format!(
        "{serving} of {lanes} lanes serve, {} connections",
        master.open_connections()
    );
    match master.supervisor.draining() {
        0 => {}
        1 => line.push_str(", 1 former worker drains"),
        some => line.push_str(&format!(", {some} former workers drain")),
    }
    line
}

/// What was done, and what was not.
pub(super) fn farewell(master: &Master) -> Vec<String> {
    if !master.lives.is_ready {
        return Vec::new();
    }
    let cut = master.totals().get(Metric::ForcedCloses);
    let mut words = vec![format!("stopped after {} exchanges", master.exchanges())];
    if cut > 0 {
        words.push(format!("attention: {cut} exchanges or tunnels were cut"));
    }
    if master.log.lost_so_far() > 0 {
        words.push(format!("attention: {} log lines were lost", master.log.lost_so_far()));
    }
    words
}
