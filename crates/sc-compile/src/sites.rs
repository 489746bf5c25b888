//! The sites of the settings, as `sc-site` wants them, and the addresses of applications.
//!
//! Names, folders and addresses were checked when the file was read; nothing is looked up or opened here.

use std::ops::RangeInclusive;

use sc_config::{
    Address, ApplicationProtocol, Audience, Consultant, Domain, HealthChecks, Kind, Settings, Statuses, Verify,
};
use sc_net::UpstreamAddr;
use sc_site::{
    BalanceSpec, FastCgiSpec, FilesSpec, HealthSpec, NamePattern, PoolSpec, RedirectSpec, RetrySpec, SiteSpec,
    UpstreamProtocol, UpstreamSpec,
};
use sc_tls::ClientTrust;

/// The sites of the settings, in the order of the file.
pub fn sites(settings: &Settings) -> Vec<SiteSpec> {
    settings
        .domains
        .iter()
        .filter(|domain| domain.is_site())
        .map(|domain| site(domain, settings))
        .collect()
}

/// The names that everybody may ask for, which a certificate must cover: `www.shop.example`, `*.shop.example`.
pub fn public_names(settings: &Settings) -> Vec<String> {
    settings
        .domains
        .iter()
        .filter(|domain| domain.is_site() && domain.audience == Audience::Public)
        .map(|domain| domain.name.to_string())
        .collect()
}

fn site(domain: &Domain, settings: &Settings) -> SiteSpec {
    let name = NamePattern::parse(&domain.name.to_string()).expect("sc-config has checked every name");
    let mut spec = SiteSpec::new(name);
    spec.audience = match domain.audience {
        Audience::Public => sc_site::Audience::Public,
        Audience::Network => sc_site::Audience::Network,
    };
    if let Kind::Electric {
        root_dir: Some(dir),
        index,
        spa,
        ..
    } = &domain.kind
    {
        spec.root = Some(FilesSpec {
            is_spa: *spa,
            index: index.clone(),
            ..FilesSpec::new(dir)
        });
    }
    spec.upstream = domain.consultant().map(|consultant| application(consultant, settings));
    spec.headers.clone_from(&domain.headers);
    let redirect = |r: &sc_config::Redirect| RedirectSpec {
        from: r.from.clone(),
        to: r.to.clone(),
        status: r.status,
    };
    spec.redirects = domain.redirects.iter().map(redirect).collect();
    spec
}

fn application(consultant: &Consultant, settings: &Settings) -> UpstreamSpec {
    let first = UpstreamAddr::Unix(std::path::PathBuf::new());
    let mut spec = UpstreamSpec::new(first);
    spec.addrs = consultant.connect_to.iter().filter_map(upstream).collect();
    spec.protocol = match &consultant.protocol {
        ApplicationProtocol::Http => UpstreamProtocol::Http,
        ApplicationProtocol::Https => UpstreamProtocol::Https,
        ApplicationProtocol::H2c => UpstreamProtocol::H2c,
        ApplicationProtocol::FastCgi(fastcgi) => {
            spec.fastcgi = FastCgiSpec {
                extensions: fastcgi.script_extensions.clone(),
                front_controller: fastcgi.front_controller.clone(),
                document_root: fastcgi.document_root.clone(),
                is_kept: fastcgi.keep_connection,
                variables: fastcgi.variables.clone(),
            };
            UpstreamProtocol::FastCgi
        }
    };
    spec.trust = match &consultant.verify {
        Verify::Platform => ClientTrust::Platform,
        Verify::Pem(file) => ClientTrust::Pem(file.clone()),
        Verify::Nothing => ClientTrust::Insecure,
    };
    spec.timeouts.connect = consultant.connect_timeout;
    spec.timeouts.first_byte = consultant.first_byte_timeout;
    spec.timeouts.idle = consultant.idle_timeout;
    spec.timeouts.queue = consultant.queue_timeout;
    spec.server_name.clone_from(&consultant.server_name);
    spec.pool = PoolSpec {
        busy: consultant.connections.into(),
        waiting: consultant.queue.into(),
        idle: consultant.idle_connections.into(),
        idle_time: consultant.idle_connection_timeout,
    };
    spec.retries = RetrySpec {
        most: consultant.retries.into(),
        budget_percent: consultant.retry_budget,
    };
    spec.balance = balance(consultant);
    spec.health = consultant.health.as_ref().map(checks);
    spec.discloses_errors = settings.disclose_errors;
    spec
}

fn balance(consultant: &Consultant) -> BalanceSpec {
    let mut balance = BalanceSpec {
        slow_start: consultant.slow_start.unwrap_or_default(),
        panic_percent: consultant.panic_threshold,
        failures: 0,
        ..BalanceSpec::default()
    };
    if let Some(ejection) = &consultant.ejection {
        balance.failures = ejection.failures.into();
        balance.pause = ejection.pause;
        balance.longest_pause = ejection.longest_pause;
        balance.failing_statuses = ranges(&ejection.status);
    }
    balance
}

fn checks(health: &HealthChecks) -> HealthSpec {
    HealthSpec {
        path: health.path.clone(),
        interval: health.interval,
        timeout: health.timeout,
        healthy_after: health.healthy_after.into(),
        unhealthy_after: health.unhealthy_after.into(),
        statuses: ranges(&health.status),
    }
}

fn ranges(statuses: &[Statuses]) -> Vec<RangeInclusive<u16>> {
    statuses.iter().map(|statuses| statuses.first..=statuses.last).collect()
}

/// An address that can be connected to; `None` for the forms that cannot, which sc-config refuses for applications.
pub fn upstream(address: &Address) -> Option<UpstreamAddr> {
    match address {
        Address::Tcp(addr) => Some(UpstreamAddr::Tcp(*addr)),
        Address::Name { host, port } => Some(UpstreamAddr::Name {
            host: host.clone(),
            port: *port,
        }),
        Address::Unix(path) => Some(UpstreamAddr::Unix(path.clone())),
        Address::Fd(_) | Address::SocketName(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn domain(name: &str, kind: Kind, audience: Audience) -> Domain {
        Domain {
            kind,
            audience,
            ..Domain::files(name.parse().unwrap(), "/srv".into())
        }
    }

    fn api() -> Kind {
        Kind::Api {
            consultant: Consultant::at(vec![Address::loopback(8000)]),
        }
    }

    fn settings() -> Settings {
        let ports = Kind::Network {
            tcp: vec![(3306, Address::loopback(33060))],
            udp: Vec::new(),
        };
        Settings {
            domains: vec![
                domain("www.shop.example", api(), Audience::Public),
                domain("phpmyadmin", api(), Audience::Network),
                domain("*.shop.example", api(), Audience::Public),
                domain("mysql", ports, Audience::Network),
            ],
            ..Settings::default()
        }
    }

    #[test]
    fn only_public_sites_need_a_certificate() {
        assert_eq!(public_names(&settings()), ["www.shop.example", "*.shop.example"]);
    }

    #[test]
    fn every_site_is_served_and_nothing_else() {
        let sites = sites(&settings());
        let audiences: Vec<_> = sites.iter().map(|site| site.audience).collect();
        let (public, network) = (sc_site::Audience::Public, sc_site::Audience::Network);
        assert_eq!(audiences, [public, network, public]);
    }

    #[test]
    fn error_pages_are_disclosed_only_when_that_was_asked_for() {
        for disclose_errors in [false, true] {
            let settings = Settings {
                disclose_errors,
                ..settings()
            };
            let sites = sites(&settings);
            let discloses = |site: &SiteSpec| site.upstream.as_ref().is_some_and(|spec| spec.discloses_errors);
            assert_eq!(sites.iter().any(discloses), disclose_errors);
        }
    }

    #[test]
    fn the_defaults_of_the_file_are_those_of_the_engine() {
        let spec = application(&Consultant::at(vec![Address::loopback(8000)]), &Settings::default());
        let own = UpstreamSpec::new(UpstreamAddr::Unix(std::path::PathBuf::new()));
        let told = |spec: &UpstreamSpec| {
            format!(
                "{:?} {:?} {:?} {:?}",
                spec.timeouts, spec.pool, spec.balance, spec.retries
            )
        };
        assert_eq!(told(&spec), told(&own));
        let health = checks(&HealthChecks::at("/health"));
        assert_eq!(format!("{health:?}"), format!("{:?}", HealthSpec::new("/health")));
    }

    #[test]
    fn inherited_sockets_are_no_applications() {
        assert_eq!(upstream(&Address::Fd(3)), None);
        assert_eq!(upstream(&Address::SocketName("https".to_owned())), None);
        assert!(upstream(&Address::loopback(80)).is_some());
    }
}
