//! The little network's names: which are ours, which go out, which are refused. Design: `docs/little-network.md`.
//!
//! A decision only; sockets, guards and what is said about a refusal belong to the modes and the rooms below.

use std::collections::BTreeMap;
use std::rc::Rc;

use sc_config::{Address, Domain, Forward, Kind, Settings};
use sc_net::{Guard, Target, UpstreamAddr};
use sc_server::{Refusal, Route};

use crate::sites::upstream;

/// Which transport a name was asked for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Transport {
    /// A connection.
    Tcp,
    /// Datagrams.
    Udp,
}

/// What the little network knows.
#[derive(Clone, Debug)]
pub struct Names {
    /// Names and wildcards that are served by us, exact ones first, longer wildcards before shorter.
    pub sites: Vec<sc_config::NamePattern>,
    /// Names whose ports lead to other addresses.
    pub ports: BTreeMap<(String, Transport, u16), UpstreamAddr>,
    /// Which other names are forwarded.
    pub forward: Forward,
}

impl Names {
    /// The names of the settings.
    pub fn of(settings: &Settings) -> Self {
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

    /// Decides where a name and a port lead; `guard` bounds what is forwarded to the Internet.
    pub fn route(&self, target: &Target, transport: Transport, guard: &Rc<Guard>) -> Route {
        let host = target.host.to_string();
        if let Some(upstream) = self.port(&host, transport, target.port) {
            return Route::Relay(upstream.clone());
        }
        if self.is_site(&host) && transport == Transport::Tcp {
            match target.port {
                443 => return Route::Site,
                80 => return Route::Redirect,
                _ => {}
            }
        }
        if self.is_site(&host) || self.has_ports(&host) {
            return Route::Refuse(Refusal::NoSuchPort);
        }
        match &self.forward {
            Forward::No => Route::Refuse(Refusal::NotForwarded),
            Forward::Only(list) if !list.iter().any(|name| name.matches(&host)) => Route::Refuse(Refusal::NotListed),
            Forward::All | Forward::Only(_) => Route::Forward(guard.clone()),
        }
    }

    /// Says whether one of our sites answers to a host.
    pub fn is_site(&self, host: &str) -> bool {
        self.sites.iter().any(|name| name.matches(host))
    }

    /// Says whether a host has ports that lead elsewhere.
    pub fn has_ports(&self, host: &str) -> bool {
        self.ports.keys().any(|(name, _, _)| name == host)
    }

    /// The ports of a host that lead elsewhere, in words.
    pub fn ports_of(&self, host: &str) -> Vec<String> {
        let of_host = self.ports.keys().filter(|(name, _, _)| name == host);
        of_host
            .map(|(name, transport, port)| match transport {
                Transport::Tcp => format!("tcp `{name}:{port}`"),
                Transport::Udp => format!("udp `{name}:{port}`"),
            })
            .collect()
    }

    fn port(&self, host: &str, transport: Transport, port: u16) -> Option<&UpstreamAddr> {
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

#[cfg(test)]
mod tests;
