//! What only matters when a project is served to the Internet.
//!
//! [`internet_checks`] is what internet mode refuses to start with; [`internet_warnings`] and [`exposed_files`] are what a
//! person should hear before that. They look at settings with the command line laid over them, so they point at no place
//! in the file. Certificates are looked at where they can be read, in the mode itself.
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::address::Address;
use crate::diagnostic::Diagnostic;
use crate::settings::{Audience, Domain, Forward, Kind, Redis, Settings, Verify};

/// What internet mode refuses; nothing when it can start.
///
/// Shape: errors only. Whether the proxy would be open to everybody is asked elsewhere, by both modes.
pub fn internet_checks(settings: &Settings) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if !settings.listen_given {
        found.push(
            Diagnostic::error("`listen` is not given")
                .why("in internet mode no address is taken by itself")
                .hint("add `listen: [0.0.0.0:443, '[::]:443']` to the file, or give --listen"),
        );
    }
    if !settings.domains.iter().any(is_public) {
        found
            .push(Diagnostic::error("there is no public site").hint("add a domain, or remove its `audience: network`"));
    }
    found.extend(clashes(settings));
    for (one, other, is_alone) in [
        ("cert", "key", settings.cert.is_some() && settings.key.is_none()),
        ("key", "cert", settings.key.is_some() && settings.cert.is_none()),
    ] {
        if is_alone {
            let error = Diagnostic::error(format!("`{one}` is given without `{other}`"));
            found.push(error.why("a certificate and its key belong together"));
        }
    }
    if let Redis::Url(url) = &settings.redis {
        found.extend(redis_url(url.expose()));
    }
    if let Some(address) = settings.metrics.as_ref().filter(|address| !address.is_loopback()) {
        let error = Diagnostic::error(format!("others could read the metrics at `{address}`"));
        found.push(error.hint("listen on loopback, as in `metrics: 9145`, or on a unix socket"));
    }
    found
}

/// What does not work in internet mode as it does in devlove mode.
pub fn internet_warnings(settings: &Settings) -> Vec<Diagnostic> {
    let mut found: Vec<_> = settings
        .domains
        .iter()
        .filter(|domain| is_public(domain))
        .filter_map(unresolved)
        .collect();
    let has_proxy = settings.enable_socks5 && settings.socks5.is_some();
    if settings.enable_socks5 && !has_proxy {
        found.push(
            Diagnostic::warning("`enable-socks-5` switches the little network on, and `socks-5: false` off again")
                .hint("remove one of the two"),
        );
    }
    let inside: Vec<_> = settings.domains.iter().filter(|domain| !is_public(domain)).collect();
    if let (false, [first, others @ ..]) = (has_proxy, inside.as_slice()) {
        let others = others
            .iter()
            .map(|domain| format!(", `{}`", domain.name))
            .collect::<String>();
        found.push(
            Diagnostic::warning(format!("nobody reaches `{}`{others}", first.name))
                .why("only the little network leads there, and it is off in internet mode")
                .hint("switch it on with `enable-socks-5: true`, if that is wanted"),
        );
    }
    if !has_proxy && settings.forward != Forward::No {
        found.push(Diagnostic::warning("`forward` lets nothing out").why("the little network is off in internet mode"));
    }
    if settings.shape != crate::settings::Shape::default() {
        let message = "`sim-bandwidth` and `sim-latency` mean nothing in internet mode";
        found.push(Diagnostic::warning(message).why("a network is simulated for development only"));
    }
    let trusts_all = |domain: &&Domain| domain.consultant().is_some_and(|app| app.verify == Verify::Nothing);
    found.extend(settings.domains.iter().filter(trusts_all).map(|domain| {
        Diagnostic::warning(format!("`{}` trusts whoever answers for its application", domain.name))
            .why("its `verify` is `false`")
            .hint("give the PEM file of the application's authority, as in `verify: certs/ca.pem`")
    }));
    found
}

/// Files of the instance that a site would hand out to everybody: `sources` are devlove files, `key` the private key.
///
/// Shape: looks at the file system, since a link may lead into the folder of a site.
pub fn exposed_files(settings: &Settings, sources: &[PathBuf], key: &Path) -> Vec<Diagnostic> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let (key, sources) = (real(key), sources.iter().map(|path| real(path)).collect::<Vec<_>>());
    let mut found = Vec::new();
    for (domain, root) in settings.domains.iter().filter_map(files_of) {
        let root = real(root);
        let hands_out = |file: &Path| file.strip_prefix(&root).is_ok_and(|below| !is_hidden(below));
        if hands_out(&key) {
            let error = Diagnostic::error(format!("`{}` hands the private key to everybody", domain.name));
            found.push(
                error
                    .why(format!("`{}` is below its `root-dir`", key.display()))
                    .hint("move the key out of that folder, and have the certificate replaced"),
            );
        }
        for source in sources.iter().filter(|source| hands_out(source)) {
            let warning = Diagnostic::warning(format!("`{}` hands its settings to everybody", domain.name));
            found.push(
                warning
                    .why(format!("`{}` is below its `root-dir`", source.display()))
                    .hint("move the site into a folder of its own, as in `root-dir: public`"),
            );
        }
    }
    found
}

fn is_public(domain: &Domain) -> bool {
    domain.is_site() && domain.audience == Audience::Public
}

fn files_of(domain: &Domain) -> Option<(&Domain, &Path)> {
    match &domain.kind {
        Kind::Electric {
            root_dir: Some(root), ..
        } => Some((domain, root)),
        Kind::Electric { .. } | Kind::Api { .. } | Kind::Network { .. } => None,
    }
}

/// Hidden names are not served; the one that RFC 8615 sets aside is.
fn is_hidden(below: &Path) -> bool {
    let is_hidden = |name: &[u8]| name.starts_with(b".") && name != b".well-known";
    below.iter().any(|name| is_hidden(name.as_encoded_bytes()))
}

/// Source: RFC 6761 §6.2-6.4 for the reserved ends; a name without a dot has no place in the public DNS.
fn unresolved(domain: &Domain) -> Option<Diagnostic> {
    let name = domain.name.name();
    let is_reserved = ["test", "localhost", "invalid"].contains(&name.rsplit('.').next().unwrap_or_default());
    if name.contains('.') && !is_reserved {
        return None;
    }
    let warning = Diagnostic::warning(format!(
        "`{}` is public, but no DNS server knows such a name",
        domain.name
    ));
    Some(
        warning
            .why("who sends it to the HTTPS port gets the site all the same")
            .hint("write `audience: network` to keep it inside the little network"),
    )
}

/// Two listeners of which only one can have the port.
fn clashes(settings: &Settings) -> Vec<Diagnostic> {
    let proxy = settings.socks5.as_ref().filter(|_| settings.enable_socks5);
    let named = |what: &'static str| move |address| (what, address);
    let listeners: Vec<(&str, &Address)> = (settings.listen.iter().map(named("listen")))
        .chain(settings.redirect.iter().map(named("redirect")))
        .chain(proxy.map(named("socks-5")))
        .chain(settings.metrics.iter().map(named("metrics")))
        .collect();
    let mut found = Vec::new();
    for (index, (what, address)) in listeners.iter().enumerate() {
        let before = listeners.iter().take(index);
        if let Some((other, taken)) = before.into_iter().find(|(_, taken)| overlaps(address, taken)) {
            found.push(
                Diagnostic::error(format!("`{what}` and `{other}` cannot both have `{address}`"))
                    .why(if address == taken {
                        "an address serves one thing".to_owned()
                    } else {
                        format!("`{taken}` and `{address}` overlap")
                    })
                    .hint("give each an address of its own"),
            );
        }
    }
    found
}

/// Addresses of the two families never meet: listeners on IPv6 take IPv6 only.
fn overlaps(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Tcp(one), Address::Tcp(other)) => {
            let is_any = |ip: IpAddr| ip.is_unspecified();
            let same_family = one.is_ipv4() == other.is_ipv4();
            let meet = one.ip() == other.ip() || (same_family && (is_any(one.ip()) || is_any(other.ip())));
            one.port() != 0 && one.port() == other.port() && meet
        }
        _ => one == other,
    }
}

/// What cannot be right about a URL of a Redis. The URL may hold a password, so it is never repeated.
fn redis_url(url: &str) -> Option<Diagnostic> {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let what = match scheme {
        "unix" | "redis+unix" if !rest.starts_with('/') => "must name its socket by an absolute path",
        "unix" | "redis+unix" => return None,
        "redis" | "rediss" => network_fault(rest)?,
        _ => "must begin with `redis://`, `rediss://` or `unix://`",
    };
    let error = Diagnostic::error(format!("the URL of `redis` {what}"));
    Some(error.hint("write it as in `rediss://redis.internal:6380/0` or `unix:///run/redis.sock`"))
}

/// `[user:password@]host[:port][/number][?…][#…]`
fn network_fault(rest: &str) -> Option<&'static str> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (name, port) = match host.rsplit_once(':') {
        // The colons of an address in brackets are its own.
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    let path = path.split(['?', '#']).next().unwrap_or_default().trim_matches('/');
    match port {
        _ if name.is_empty() => Some("names no host"),
        Some(port) if port.parse::<u16>().map_or(true, |port| port == 0) => Some("has a port that is none"),
        _ if !path.is_empty() && path.parse::<u32>().is_err() => Some("has a database that is no number"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
