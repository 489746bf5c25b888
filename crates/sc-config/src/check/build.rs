//! Second look, top level: project settings, and what they mean together.
//!
//! Values that have the wrong shape were reported before and are skipped. Domains are in [`super::domain`].
use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::{Component, Path, PathBuf};

use crate::address::Address;
use crate::diagnostic::Diagnostic;
use crate::names;
use crate::networks::Network;
use crate::settings::{Forward, LogFormat, Redis, Secret, Settings, Shape, SocksUser};
use crate::source::Place;
use crate::tree::{Entry, Node};
use crate::units;

use super::fields::{Fields, text};
use super::{Look, scalar};

/// What both halves of the second look share.
pub(super) struct Builder<'a> {
    pub(super) folder: &'a Path,
    pub(super) look: Look<'a>,
    pub(super) found: &'a mut Vec<Diagnostic>,
    /// Where the key of each domain that was made stands.
    pub(super) domain_places: &'a mut Vec<Place>,
}

impl Builder<'_> {
    /// Makes settings of the value of `shimmercat-devlove`.
    pub(super) fn top(&mut self, entry: &Entry) -> Settings {
        let fields = Fields::of(&entry.node);
        let mut settings = Settings::default();
        self.listeners(fields, &mut settings);
        self.forwarding(fields, &mut settings);
        self.access(fields, &mut settings);
        settings.shape = Shape {
            bandwidth: fields
                .text("sim-bandwidth")
                .and_then(|text| units::bandwidth(text).ok()),
            latency: fields.text("sim-latency").and_then(|text| units::latency(text).ok()),
        };
        settings.log_codes = fields.text("log-codes").map(str::to_owned);
        settings.log_format = match fields.text("log-format") {
            Some("pretty") => LogFormat::Pretty,
            Some("json") => LogFormat::Json,
            _ => LogFormat::Auto,
        };
        self.internet(fields, &mut settings);
        limits(fields, &mut settings);
        if let Some(domains) = fields.get("domains") {
            self.domains(domains, &mut settings);
        }
        self.open_proxy(fields, &settings);
        settings
    }

    fn listeners(&mut self, fields: Fields<'_>, settings: &mut Settings) {
        let mut seen: HashMap<Address, Place> = HashMap::new();
        let mut listen = Vec::new();
        for node in fields
            .many("listen")
            .iter()
            .chain(fields.node("socks-5"))
            .chain(fields.many("redirect"))
            .chain(fields.node("metrics"))
        {
            let Some(address) = text(node).and_then(|text| self.listening(text)) else {
                continue;
            };
            if address.port() == Some(0) {
                continue;
            }
            if let Some(first) = seen.get(&address) {
                let error = Diagnostic::error(format!("`{address}` is there twice")).at(node.place.clone());
                self.found
                    .push(error.label("second time").also(first.clone(), "first time"));
            }
            seen.insert(address, node.place.clone());
        }
        listen.extend(
            fields
                .many("listen")
                .iter()
                .filter_map(text)
                .filter_map(|text| self.listening(text)),
        );
        if !listen.is_empty() {
            (settings.listen, settings.listen_given) = (listen, true);
        }
        if fields.node("socks-5").is_some() {
            settings.socks5 = fields.text("socks-5").and_then(|text| self.listening(text));
            settings.socks5_given = true;
        }
        settings.redirect = fields
            .many("redirect")
            .iter()
            .filter_map(text)
            .filter_map(|text| self.listening(text))
            .collect();
        settings.enable_socks5 = fields.flag("enable-socks-5").unwrap_or(false);
    }

    fn forwarding(&mut self, fields: Fields<'_>, settings: &mut Settings) {
        settings.forward = match fields.flag("forward") {
            Some(true) => Forward::All,
            Some(false) => Forward::No,
            None => match fields.each("forward", |text| text.parse().ok()) {
                hosts if hosts.is_empty() => Forward::No,
                hosts => Forward::Only(hosts),
            },
        };
        settings.allow_private = fields.each("allow-private", |text| text.parse().ok());
        for node in fields.many("allow-private") {
            let network = text(node).and_then(|text| text.parse::<Network>().ok());
            if network.is_some_and(|network| network.prefix() == 0) {
                let warning = Diagnostic::warning("`allow-private` allows every address").at(node.place.clone());
                self.found
                    .push(warning.hint("list only the addresses that the sites need"));
            }
        }
    }

    fn access(&mut self, fields: Fields<'_>, settings: &mut Settings) {
        settings.socks_allow = fields.each("socks-allow", |text| text.parse().ok());
        let Some(users) = fields.get("socks-users") else { return };
        for user in Fields::of(&users.node).all() {
            if let Some(password) = text(&user.node) {
                settings.socks_users.push(SocksUser {
                    name: user.key.clone(),
                    password: Secret::new(password),
                });
            }
        }
        if !is_local(&users.place) {
            let warning = Diagnostic::warning("passwords stand in a file that is meant to be committed");
            let warning = warning.at(users.place.clone());
            self.found
                .push(warning.hint("move `socks-users` to `devlove.local.yaml` and ignore that file in git"));
        }
    }

    fn internet(&mut self, fields: Fields<'_>, settings: &mut Settings) {
        settings.cert = fields.text("cert").map(|path| self.absolute(path));
        settings.key = fields.text("key").map(|path| self.absolute(path));
        for (one, other) in [("cert", "key"), ("key", "cert")] {
            if let (Some(entry), None) = (fields.get(one), fields.get(other)) {
                let error = Diagnostic::error(format!("`{one}` is given without `{other}`")).at(entry.place.clone());
                self.found.push(error.why("a certificate and its key belong together"));
            }
        }
        settings.redis = fields
            .text("redis")
            .and_then(|text| text.parse().ok())
            .unwrap_or(Redis::Auto);
        settings.workers = fields.text("workers").and_then(|text| text.parse::<NonZeroU16>().ok());
        settings.disclose_errors = fields.flag("disclose-errors").unwrap_or(false);
        settings.standby = fields.flag("standby");
        let time = |name| fields.text(name).and_then(|text| units::time_limit(text).ok());
        settings.worker_life = time("worker-life").unwrap_or(settings.worker_life);
        settings.drain_time = time("drain-time").unwrap_or(settings.drain_time);
        settings.stop_time = time("stop-time").unwrap_or(settings.stop_time);
        settings.instance = fields.text("instance").map(str::to_owned);
        self.metrics(fields, settings);
    }

    /// Metrics tell strangers too much about a site, so they stay on the machine.
    fn metrics(&mut self, fields: Fields<'_>, settings: &mut Settings) {
        settings.metrics = fields.text("metrics").and_then(|text| self.listening(text));
        if let (Some(node), Some(address)) = (fields.node("metrics"), &settings.metrics)
            && !address.is_loopback()
        {
            let error = Diagnostic::error(format!("others could read the metrics at `{address}`"));
            self.found.push(
                error
                    .at(node.place.clone())
                    .hint("listen on loopback, as in `metrics: 9145`, or on a unix socket"),
            );
        }
    }

    fn domains(&mut self, entry: &Entry, settings: &mut Settings) {
        let domains = Fields::of(&entry.node).all();
        if domains.is_empty() && matches!(entry.node.value, crate::tree::Value::Map(_)) {
            let error = Diagnostic::error("`domains` is empty").at(entry.place.clone());
            self.found
                .push(error.hint("add a domain, as in `www.shop.example: { root-dir: site }`"));
        }
        let mut seen: HashMap<String, &Entry> = HashMap::new();
        for domain in domains {
            let Ok((prefix, name)) = names::split_key(&domain.key) else {
                continue;
            };
            if let Some(first) = seen.get(&name.to_string()) {
                let error = Diagnostic::error(format!("the name `{name}` is there twice")).at(domain.place.clone());
                let error = error.label("second time").also(first.place.clone(), "first time");
                self.found
                    .push(error.why("case, prefixes and spelling in Unicode or punycode make no difference"));
                continue;
            }
            seen.insert(name.to_string(), domain);
            if let Some(made) = self.domain(domain, prefix, name) {
                settings.domains.push(made);
                self.domain_places.push(domain.place.clone());
            }
            self.own_listeners(domain, settings);
        }
    }

    /// A proxy that others can reach must know them, and must not take them everywhere.
    fn open_proxy(&mut self, fields: Fields<'_>, settings: &Settings) {
        let (Some(entry), Some(address)) = (fields.get("socks-5"), &settings.socks5) else {
            return;
        };
        let knows_them = fields.get("socks-users").is_some() || fields.get("socks-allow").is_some();
        if address.is_loopback() || matches!(address, Address::Fd(_) | Address::SocketName(_)) {
            return;
        }
        let open = Diagnostic::error(format!("the proxy at `{address}` is open to everybody who reaches it"))
            .at(entry.node.place.clone())
            .hint("add `socks-users` or `socks-allow`, or listen on loopback, as in `socks-5: 2006`");
        if !knows_them {
            self.found.push(open);
        }
        if let (Forward::All, Some(forward)) = (&settings.forward, fields.get("forward")) {
            let error = Diagnostic::error("a proxy that others can reach must not forward every name");
            let error = error
                .at(forward.node.place.clone())
                .also(entry.node.place.clone(), "reachable by others");
            self.found
                .push(error.hint("list the names, as in `forward: [fonts.googleapis.com]`"));
        }
    }

    /// Says whether a value was reported already, so that nothing follows from it.
    pub(super) fn is_blamed(&self, place: &Place) -> bool {
        self.found
            .iter()
            .any(|diagnostic| diagnostic.place.as_ref() == Some(place))
    }

    fn listening(&self, text: &str) -> Option<Address> {
        scalar::listen(text).ok().map(|address| address.below(self.folder))
    }

    /// Reads an address of an application; unix paths start at the file's folder.
    pub(super) fn connecting(&self, node: &Node) -> Option<Address> {
        text(node)
            .and_then(|text| scalar::connect(text).ok())
            .map(|address| address.below(self.folder))
    }

    /// Makes a path of the file absolute, without `.` parts; `..` stays, since it may follow a symlink.
    pub(super) fn absolute(&self, path: &str) -> PathBuf {
        self.folder
            .join(path)
            .components()
            .filter(|part| !matches!(part, Component::CurDir))
            .collect()
    }
}

fn limits(fields: Fields<'_>, settings: &mut Settings) {
    let Some(node) = fields.node("limits") else { return };
    let fields = Fields::of(node);
    let limits = &mut settings.limits;
    limits.read(|name| fields.text(name));
    limits.memory = fields.text("memory").and_then(|text| units::size(text).ok());
    limits.exempt = match fields.flag("exempt") {
        Some(_) => Some(Vec::new()),
        None => fields
            .get("exempt")
            .map(|_| fields.each("exempt", |text| text.parse().ok())),
    };
}

/// Whether a place is in the file that overrides on one machine.
fn is_local(place: &Place) -> bool {
    let name = place.source.path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| crate::discover::LOCAL_NAMES.contains(&name))
}

/// Says whether connecting to `target` would meet a listener at `listener`.
pub(super) fn meets(target: &Address, listener: &Address) -> bool {
    match (target, listener) {
        (Address::Tcp(target), Address::Tcp(listener)) => {
            let same_ip = target.ip() == listener.ip();
            let any = match listener.ip() {
                IpAddr::V4(ip) => ip.is_unspecified() && target.ip().is_loopback(),
                IpAddr::V6(ip) => ip.is_unspecified() && target.ip().is_loopback(),
            };
            target.port() == listener.port() && (same_ip || any)
        }
        (Address::Name { host, port }, Address::Tcp(listener)) => {
            host == "localhost" && *port == listener.port() && listener.ip().is_loopback()
        }
        (Address::Unix(target), Address::Unix(listener)) => target == listener,
        _ => false,
    }
}
