//! What changed between two settings, in words a person reads after a reload.
//!
//! One line each: `+` for a new domain, `-` for one that is gone, `~` for what is different. Secrets are not shown.
use std::fmt::Display;

use crate::address::Address;
use crate::balance::{Ejection, HealthChecks};
use crate::settings::{
    ApplicationProtocol, Audience, Consultant, Domain, Forward, Kind, LogFormat, Redis, Settings, Verify,
};
use crate::units::show_time;

/// Says what changed from `old` to `new`; nothing when nothing did.
pub fn changes(old: &Settings, new: &Settings) -> Vec<String> {
    let mut lines = Vec::new();
    for domain in &new.domains {
        match old.domains.iter().find(|other| other.name == domain.name) {
            None => lines.push(format!("+ {}{}", title(domain), leads_to(domain))),
            Some(other) => lines.extend(differences(&facts(other), &facts(domain), &domain.name)),
        }
    }
    let gone = old
        .domains
        .iter()
        .filter(|domain| !new.domains.iter().any(|other| other.name == domain.name));
    lines.extend(gone.map(|domain| format!("- {}", title(domain))));
    let top = differences(&project_facts(old), &project_facts(new), &"");
    lines.extend(top);
    lines
}

/// One named fact: how it is told, and what is compared (which may be a secret).
struct Fact {
    name: &'static str,
    told: String,
    compared: String,
}

fn fact(name: &'static str, told: impl Display) -> Fact {
    let told = told.to_string();
    Fact {
        name,
        compared: told.clone(),
        told,
    }
}

fn secret(name: &'static str, compared: String) -> Fact {
    Fact {
        name,
        told: String::new(),
        compared,
    }
}

/// Compares facts in order; both sides list the same names in the same order.
fn differences(old: &[Fact], new: &[Fact], about: &dyn Display) -> Vec<String> {
    let about = match about.to_string() {
        about if about.is_empty() => about,
        about => format!("{about}: "),
    };
    let pairs = new.iter().map(|new| (old.iter().find(|old| old.name == new.name), new));
    let changed = pairs.filter(|(old, new)| old.is_none_or(|old| old.compared != new.compared));
    let line = |(old, new): (Option<&Fact>, &Fact)| match old.map_or("", |old| old.told.as_str()) {
        old if old.is_empty() && new.told.is_empty() => format!("~ {about}{} changed", new.name),
        old => format!("~ {about}{} {} -> {}", new.name, or_none(old), or_none(&new.told)),
    };
    changed.map(line).collect()
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

fn title(domain: &Domain) -> String {
    if domain.is_site() {
        format!("https://{}", domain.name)
    } else {
        domain.name.to_string()
    }
}

/// Where requests for a new domain go.
fn leads_to(domain: &Domain) -> String {
    let mut targets: Vec<String> = Vec::new();
    match &domain.kind {
        Kind::Electric {
            root_dir, consultant, ..
        } => {
            targets.extend(root_dir.as_ref().map(|path| path.display().to_string()));
            targets.extend(consultant.as_ref().map(|consultant| addresses(&consultant.connect_to)));
        }
        Kind::Api { consultant } => targets.push(addresses(&consultant.connect_to)),
        Kind::Network { tcp, udp } => {
            targets.extend(tcp.iter().map(|(port, to)| format!("tcp {port} -> {}", short(to))));
            targets.extend(udp.iter().map(|(port, to)| format!("udp {port} -> {}", short(to))));
        }
    }
    if domain.is_site() {
        format!(" -> {}", targets.join(", "))
    } else {
        format!(": {}", targets.join(", "))
    }
}

/// An address as it would be written in the file: loopback is only its port.
fn short(address: &Address) -> String {
    match address {
        Address::Tcp(addr) if addr.ip() == std::net::Ipv4Addr::LOCALHOST => addr.port().to_string(),
        other => other.to_string(),
    }
}

fn addresses(list: &[Address]) -> String {
    list.iter().map(short).collect::<Vec<_>>().join(", ")
}

fn facts(domain: &Domain) -> Vec<Fact> {
    let kind = match &domain.kind {
        Kind::Electric { .. } => "electric",
        Kind::Api { .. } => "API",
        Kind::Network { .. } => "network",
    };
    let mut facts = vec![fact("kind", kind)];
    match &domain.kind {
        Kind::Electric {
            root_dir,
            index,
            spa,
            consultant,
        } => {
            facts.push(fact(
                "root-dir",
                root_dir
                    .as_ref()
                    .map(|path| path.display().to_string())
                    .unwrap_or_default(),
            ));
            facts.push(fact("index", index.join(", ")));
            facts.push(fact("spa", spa));
            facts.extend(consultant_facts("connect-to", consultant.as_ref()));
        }
        Kind::Api { consultant } => facts.extend(consultant_facts("port", Some(consultant))),
        Kind::Network { tcp, udp } => {
            facts.push(fact("tcp", ports(tcp)));
            facts.push(fact("udp", ports(udp)));
        }
    }
    let audience = match domain.audience {
        Audience::Public => "public",
        Audience::Network => "network",
    };
    facts.push(fact("audience", audience));
    facts.push(secret("headers", format!("{:?}", domain.headers)));
    facts.push(secret("redirects", format!("{:?}", domain.redirects)));
    facts
}

fn consultant_facts(address: &'static str, consultant: Option<&Consultant>) -> Vec<Fact> {
    let told = |tell: &dyn Fn(&Consultant) -> String| consultant.map(tell).unwrap_or_default();
    let verify = |consultant: &Consultant| match &consultant.verify {
        Verify::Platform => "true".to_owned(),
        Verify::Nothing => "false".to_owned(),
        Verify::Pem(path) => path.display().to_string(),
    };
    // The options of no application are those of a plain one, so that coming and going is told by the address alone.
    vec![
        fact(address, told(&|consultant| addresses(&consultant.connect_to))),
        fact(
            "application-protocol",
            consultant
                .map_or(ApplicationProtocol::Http.word(), |c| c.protocol.word())
                .to_owned(),
        ),
        // Variables may hold passwords.
        secret(
            "options of FastCGI",
            told(&|consultant| format!("{:?}", consultant.fastcgi())),
        ),
        fact("verify", consultant.map_or_else(|| "true".to_owned(), verify)),
        fact("connect-timeout", time(consultant, |c| c.connect_timeout)),
        fact("first-byte-timeout", time(consultant, |c| c.first_byte_timeout)),
        fact("idle-timeout", time(consultant, |c| c.idle_timeout)),
        fact(
            "server-name",
            told(&|consultant| consultant.server_name.clone().unwrap_or_default()),
        ),
        fact("connections", of(consultant, &|c| c.connections.to_string())),
        fact("idle-connections", of(consultant, &|c| c.idle_connections.to_string())),
        fact(
            "idle-connection-timeout",
            time(consultant, |c| c.idle_connection_timeout),
        ),
        fact("queue", of(consultant, &|c| c.queue.to_string())),
        fact("queue-timeout", time(consultant, |c| c.queue_timeout)),
        fact("retries", of(consultant, &|c| c.retries.to_string())),
        fact("retry-budget", of(consultant, &|c| c.retry_budget.to_string())),
        fact("ejection", of(consultant, &|c| ejection(c.ejection.as_ref()))),
        fact(
            "slow-start",
            of(consultant, &|c| {
                c.slow_start.map_or_else(|| "false".to_owned(), show_time)
            }),
        ),
        fact("panic-threshold", of(consultant, &|c| c.panic_threshold.to_string())),
        fact(
            "health",
            told(&|consultant| consultant.health.as_ref().map(health).unwrap_or_default()),
        ),
    ]
}

/// A fact of an application, or what it is by default.
fn of(consultant: Option<&Consultant>, tell: &dyn Fn(&Consultant) -> String) -> String {
    consultant.map_or_else(|| tell(&Consultant::at(Vec::new())), tell)
}

fn ejection(ejection: Option<&Ejection>) -> String {
    let Some(ejection) = ejection else {
        return "false".to_owned();
    };
    let (pause, longest) = (show_time(ejection.pause), show_time(ejection.longest_pause));
    let failures = ejection.failures;
    let mut told = format!("after {failures} failures, for {pause} to {longest}");
    if !ejection.status.is_empty() {
        told.push_str(", status ");
        told.push_str(&list(&ejection.status));
    }
    told
}

fn health(health: &HealthChecks) -> String {
    let (interval, timeout) = (show_time(health.interval), show_time(health.timeout));
    format!(
        "{} every {interval} within {timeout}, status {}, {} good or {} bad in a row",
        health.path,
        list(&health.status),
        health.healthy_after,
        health.unhealthy_after
    )
}

fn time(consultant: Option<&Consultant>, which: impl Fn(&Consultant) -> std::time::Duration) -> String {
    let defaults = Consultant::at(Vec::new());
    show_time(which(consultant.unwrap_or(&defaults)))
}

fn ports(list: &[(u16, Address)]) -> String {
    list.iter()
        .map(|(port, to)| format!("{port}: {}", short(to)))
        .collect::<Vec<_>>()
        .join(", ")
}

fn list<T: Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn project_facts(settings: &Settings) -> Vec<Fact> {
    let forward = match &settings.forward {
        Forward::No => "off".to_owned(),
        Forward::All => "all".to_owned(),
        Forward::Only(names) => list(names),
    };
    let log_format = match settings.log_format {
        LogFormat::Auto => "auto",
        LogFormat::Pretty => "pretty",
        LogFormat::Json => "json",
    };
    let redis = match &settings.redis {
        Redis::Auto => "auto",
        Redis::Off => "off",
        Redis::Url(url) => url.expose(),
    };
    let users: Vec<_> = settings
        .socks_users
        .iter()
        .map(|user| (&user.name, user.password.expose()))
        .collect();
    let limits = settings.limits.told().into_iter().map(|(name, told)| fact(name, told));
    let memory = settings.limits.memory.map(crate::units::show_size);
    let exempt = settings
        .limits
        .exempt
        .as_ref()
        .map(|networks| match networks.as_slice() {
            [] => "false".to_owned(),
            networks => list(networks),
        });
    let limits = limits.chain([
        fact("memory", memory.unwrap_or_default()),
        fact("exempt", exempt.unwrap_or_default()),
    ]);
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|p| p.display().to_string()).unwrap_or_default();
    let facts = vec![
        fact("listen", list(&settings.listen)),
        fact(
            "socks-5",
            settings.socks5.as_ref().map(ToString::to_string).unwrap_or_default(),
        ),
        fact("forward", forward),
        fact("allow-private", list(&settings.allow_private)),
        secret("socks-users", format!("{users:?}")),
        fact("socks-allow", list(&settings.socks_allow)),
        fact("enable-socks-5", settings.enable_socks5),
        fact(
            "sim-bandwidth",
            settings
                .shape
                .bandwidth
                .map(|bytes| format!("{bytes} bytes/s"))
                .unwrap_or_default(),
        ),
        fact("sim-latency", settings.shape.latency.map(show_time).unwrap_or_default()),
        fact("log-codes", settings.log_codes.as_deref().unwrap_or("default")),
        fact("log-format", log_format),
        fact("redirect", list(&settings.redirect)),
        fact("cert", path(&settings.cert)),
        fact("key", path(&settings.key)),
        secret("redis", redis.to_owned()),
        fact(
            "workers",
            settings.workers.map(|workers| workers.to_string()).unwrap_or_default(),
        ),
        fact(
            "standby",
            settings.standby.map_or("auto", |on| if on { "true" } else { "false" }),
        ),
        fact("worker-life", show_time(settings.worker_life)),
        fact("drain-time", show_time(settings.drain_time)),
        fact("stop-time", show_time(settings.stop_time)),
        fact(
            "metrics",
            settings.metrics.as_ref().map(ToString::to_string).unwrap_or_default(),
        ),
        fact("instance", settings.instance.as_deref().unwrap_or_default()),
        fact("disclose-errors", settings.disclose_errors),
    ];
    facts.into_iter().chain(limits).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use crate::settings::{Secret, SocksUser};

    fn api(name: &str, port: u16) -> Domain {
        let kind = Kind::Api {
            consultant: Consultant::at(vec![Address::loopback(port)]),
        };
        Domain {
            kind,
            ..Domain::files(name.parse().unwrap(), "/p/site".into())
        }
    }

    fn with(domains: Vec<Domain>) -> Settings {
        Settings {
            domains,
            ..Settings::default()
        }
    }

    #[test]
    fn domains_come_go_and_change() {
        let old = with(vec![api("api.x", 8000), api("gone.x", 1)]);
        let new = with(vec![
            Domain::files("www.x".parse().unwrap(), "/p/site".into()),
            api("api.x", 8001),
        ]);
        assert_eq!(
            changes(&old, &new),
            [
                "+ https://www.x -> /p/site",
                "~ api.x: port 8000 -> 8001",
                "- https://gone.x"
            ]
        );
        assert!(changes(&new, &new).is_empty());
    }

    #[test]
    fn a_change_of_kind_is_told() {
        let old = with(vec![api("x.y", 8000)]);
        let new = with(vec![Domain::files("x.y".parse().unwrap(), "/p/site".into())]);
        let lines = changes(&old, &new);
        assert_eq!(lines.first().map(String::as_str), Some("~ x.y: kind API -> electric"));
        assert!(
            lines.contains(&"~ x.y: root-dir none -> /p/site".to_owned()),
            "{lines:?}"
        );
    }

    #[test]
    fn where_a_domain_stands_is_no_change() {
        let mut moved = api("x.y", 8000);
        moved.line = 9;
        assert!(changes(&with(vec![api("x.y", 8000)]), &with(vec![moved])).is_empty());
    }

    #[test]
    fn secrets_are_not_shown() {
        let old = with(Vec::new());
        let user = SocksUser {
            name: "ada".to_owned(),
            password: Secret::new("hunter2"),
        };
        let new = Settings {
            socks_users: vec![user],
            redis: Redis::Url(Secret::new("redis://:hunter2@h/")),
            forward: Forward::All,
            ..with(Vec::new())
        };
        assert_eq!(
            changes(&old, &new),
            ["~ forward off -> all", "~ socks-users changed", "~ redis changed"]
        );
    }
}
