//! From settings, which speak of the file, to what the rooms below want: sites, and names that lead elsewhere.
//!
//! This is the only place of this mode that knows both sides.

use std::collections::BTreeMap;

use sc_config::{Address, ApplicationProtocol, Audience, Consultant, Domain, Forward, Kind, Settings, Verify};
use sc_net::UpstreamAddr;
use sc_site::{FilesSpec, NamePattern, RedirectSpec, SiteSpec, UpstreamProtocol, UpstreamSpec};
use sc_tls::ClientTrust;

/// Which transport a name was asked for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

/// What the little network knows.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// Names and wildcards that are served by us, exact ones first, longer wildcards before shorter.
    pub(crate) sites: Vec<sc_config::NamePattern>,
    /// Names whose ports lead to other addresses.
    pub(crate) ports: BTreeMap<(String, Transport, u16), UpstreamAddr>,
    /// Which other names are forwarded.
    pub(crate) forward: Forward,
}

impl Names {
    pub(crate) fn of(settings: &Settings) -> Self {
        let mut sites: Vec<_> = settings
            .domains
            .iter()
            .filter(|domain| domain.is_site())
            .map(|d| d.name.clone())
            .collect();
        sites.sort_by_key(|name| (name.is_wildcard(), std::cmp::Reverse(name.name().len())));
        let ports = settings.domains.iter().flat_map(ports_of).collect();
        Names {
            sites,
            ports,
            forward: settings.forward.clone(),
        }
    }

    /// Whether one of our sites answers to a host.
    pub(crate) fn is_site(&self, host: &str) -> bool {
        self.sites.iter().any(|name| name.matches(host))
    }

    /// Whether a host has ports that lead elsewhere.
    pub(crate) fn has_ports(&self, host: &str) -> bool {
        self.ports.keys().any(|(name, _, _)| name == host)
    }

    /// The ports of a host that lead elsewhere, in words.
    pub(crate) fn ports_of(&self, host: &str) -> Vec<String> {
        let of_host = self.ports.keys().filter(|(name, _, _)| name == host);
        of_host
            .map(|(name, transport, port)| match transport {
                Transport::Tcp => format!("tcp `{name}:{port}`"),
                Transport::Udp => format!("udp `{name}:{port}`"),
            })
            .collect()
    }

    /// Where a port of a host leads.
    pub(crate) fn port(&self, host: &str, transport: Transport, port: u16) -> Option<&UpstreamAddr> {
        self.ports.get(&(host.to_owned(), transport, port))
    }
}

fn ports_of(domain: &Domain) -> Vec<((String, Transport, u16), UpstreamAddr)> {
    let Kind::Network { tcp, udp } = &domain.kind else {
        return Vec::new();
    };
    let name = domain.name.name().to_owned();
    let entry = |transport| {
        let name = name.clone();
        move |(port, address): &(u16, Address)| upstream(address).map(|to| ((name.clone(), transport, *port), to))
    };
    tcp.iter()
        .filter_map(entry(Transport::Tcp))
        .chain(udp.iter().filter_map(entry(Transport::Udp)))
        .collect()
}

/// The sites of the settings.
pub(crate) fn sites(settings: &Settings) -> Vec<SiteSpec> {
    settings
        .domains
        .iter()
        .filter(|domain| domain.is_site())
        .map(|domain| site(domain, settings))
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
            dir: dir.clone(),
            is_spa: *spa,
            index: index.clone(),
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
    spec.protocol = match consultant.protocol {
        ApplicationProtocol::Http => UpstreamProtocol::Http,
        ApplicationProtocol::Https => UpstreamProtocol::Https,
        ApplicationProtocol::H2c => UpstreamProtocol::H2c,
    };
    spec.trust = match &consultant.verify {
        Verify::Platform => ClientTrust::Platform,
        Verify::Pem(file) => ClientTrust::Pem(file.clone()),
        Verify::Nothing => ClientTrust::Insecure,
    };
    spec.timeouts.connect = consultant.connect_timeout;
    spec.timeouts.first_byte = consultant.first_byte_timeout;
    spec.timeouts.idle = consultant.idle_timeout;
    spec.discloses_errors = settings.disclose_errors;
    spec
}

/// An address that can be connected to; sc-config has refused the forms that cannot.
pub(crate) fn upstream(address: &Address) -> Option<UpstreamAddr> {
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
