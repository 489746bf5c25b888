//! All sites of a configuration, compiled: one immutable snapshot with its lookup by host name.
//!
//! Exact names beat wildcards, longer wildcards beat shorter ones, `*.x` covers every depth below `x`. A reload compiles
//! a new snapshot and drops the old one when its last exchange has ended; pools of applications live and die with it.

use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;

use sc_http::{Answer, Exchange};

use crate::files::Cache;
use crate::redirects::RedirectError;
use crate::upstreams::{EndpointStanding, Told};
use crate::{Audience, Disclosure, NamePattern, Site, SiteSpec, name, pages};

/// Starts a task: its name and what it does.
pub type Spawn = Rc<dyn Fn(&'static str, Pin<Box<dyn Future<Output = ()>>>)>;

/// What sites take from the program that runs them.
#[derive(Clone)]
pub struct Environment {
    /// How much pages say.
    pub disclosure: Disclosure,
    /// What requests of ours carry, so that we know them when they come back: unlike that of any other instance.
    pub marker: String,
    /// Starts the tasks that drive connections to applications and check them.
    pub spawn: Spawn,
    /// Is told what happens with applications.
    pub told: Told,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment")
            .field("disclosure", &self.disclosure)
            .finish_non_exhaustive()
    }
}

/// A list of sites that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// Two sites have one name.
    #[error("`{0}` is configured twice")]
    Duplicate(NamePattern),
    /// An application without an address.
    #[error("the application of `{0}` has no address")]
    NoAddress(NamePattern),
    /// A field that cannot be set, or must not be because the protocol engines own it.
    #[error("header `{name}` of `{site}` cannot be set")]
    Header {
        /// The site.
        site: NamePattern,
        /// The field's name, as given.
        name: String,
    },
    /// A redirect that cannot be made.
    #[error("site `{site}`")]
    Redirect {
        /// The site.
        site: NamePattern,
        /// What is wrong with it.
        source: RedirectError,
    },
    /// The loop marker is empty or cannot stand in a header field.
    #[error("the instance's marker cannot stand in a header field")]
    Marker,
    /// The TLS settings towards an application.
    #[error("TLS settings towards the application of `{site}`")]
    Tls {
        /// The site.
        site: NamePattern,
        /// What is wrong with them.
        source: Box<sc_tls::ClientConfigError>,
    },
}

/// The compiled sites.
#[derive(Debug)]
pub struct Sites {
    exact: HashMap<Box<str>, Rc<Site>>,
    below: HashMap<Box<str>, Rc<Site>>,
    names: Vec<(NamePattern, Audience)>,
    disclosure: Disclosure,
}

/// How many nearest names a page offers.
const NEAREST: usize = 3;

impl Sites {
    /// Compiles a list of sites.
    ///
    /// Errors: the first [`SiteError`]; files and applications that are not there yet are no error.
    pub fn compile(specs: Vec<SiteSpec>, environment: Environment) -> Result<Self, SiteError> {
        let (mut exact, mut below) = (HashMap::new(), HashMap::new());
        let cache = Rc::new(Cache::default());
        let mut names = Vec::with_capacity(specs.len());
        for spec in specs {
            let name = spec.name.clone();
            names.push((name.clone(), spec.audience));
            let site = Rc::new(Site::compile(spec, &cache, &environment)?);
            let map = if name.is_wildcard() { &mut below } else { &mut exact };
            if map.insert(name.stem().into(), site).is_some() {
                return Err(SiteError::Duplicate(name));
            }
        }
        Ok(Sites {
            exact,
            below,
            names,
            disclosure: environment.disclosure,
        })
    }

    /// The site that answers for a host (without port; in any case, with or without a trailing dot).
    pub fn find(&self, host: &str) -> Option<&Rc<Site>> {
        let host = host.strip_suffix('.').unwrap_or(host);
        if host.bytes().any(|b| b.is_ascii_uppercase()) {
            return self.find(&host.to_ascii_lowercase());
        }
        self.exact.get(host).or_else(|| {
            let above = host
                .match_indices('.')
                .filter(|(at, _)| *at > 0)
                .filter_map(|(at, _)| host.get(at + 1..));
            above.into_iter().find_map(|suffix| self.below.get(suffix))
        })
    }

    /// The configured names with their audience, in the order of the configuration.
    pub fn names(&self) -> impl Iterator<Item = (&NamePattern, Audience)> {
        self.names.iter().map(|(name, audience)| (name, *audience))
    }

    /// How the addresses of all applications stand, by the order of the configuration.
    pub fn endpoints(&self) -> Vec<EndpointStanding> {
        let site = |(name, _): &(NamePattern, Audience)| {
            let map = if name.is_wildcard() { &self.below } else { &self.exact };
            map.get(name.stem())
        };
        let sites = self.names.iter().filter_map(site);
        sites.flat_map(|site| site.endpoints()).collect()
    }

    /// The answer to a request for a name that is not configured: 421, with the names that are.
    ///
    /// Shape: names for [`Audience::Network`] are told only to clients inside the network.
    pub fn unknown_name(&self, exchange: &Exchange, is_inside: bool) -> Answer {
        let visible = || {
            self.names()
                .filter(|(_, a)| is_inside || *a == Audience::Public)
                .map(|(name, _)| name)
        };
        let nearest = name::nearest(exchange.authority.host(), visible(), NEAREST);
        let names: Vec<_> = visible().collect();
        pages::faults::unknown_name(exchange, &names, &nearest, self.disclosure)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn sites(names: &[&str]) -> Result<Sites, SiteError> {
        let environment = Environment {
            disclosure: Disclosure::Developer,
            marker: "test".into(),
            spawn: Rc::new(|_, _| {}),
            told: Rc::new(|_| {}),
        };
        Sites::compile(
            names
                .iter()
                .map(|n| SiteSpec::new(NamePattern::parse(n).unwrap()))
                .collect(),
            environment,
        )
    }

    #[test]
    fn exact_beats_wildcard_and_longer_beats_shorter() {
        let sites = sites(&["*.shop.example", "www.shop.example", "*.eu.shop.example", "phpmyadmin"]).unwrap();
        let found = |host: &str| sites.find(host).map(|site| site.name().to_string());
        assert_eq!(found("www.shop.example").as_deref(), Some("www.shop.example"));
        assert_eq!(found("WWW.Shop.Example.").as_deref(), Some("www.shop.example"));
        assert_eq!(found("a.shop.example").as_deref(), Some("*.shop.example"));
        assert_eq!(found("b.a.shop.example").as_deref(), Some("*.shop.example"));
        assert_eq!(found("b.eu.shop.example").as_deref(), Some("*.eu.shop.example"));
        assert_eq!(found("eu.shop.example").as_deref(), Some("*.shop.example"));
        assert_eq!(found("phpmyadmin").as_deref(), Some("phpmyadmin"));
        assert_eq!(found("shop.example"), None);
        assert_eq!(found(".shop.example"), None);
        assert_eq!(found("example"), None);
    }

    #[test]
    fn a_name_twice_is_refused() {
        assert!(matches!(sites(&["a.b", "A.B"]), Err(SiteError::Duplicate(_))));
        assert!(sites(&["a.b", "*.a.b"]).is_ok());
    }
}
