//! Takes what a run needs for itself: the ports, the control socket.

use std::net::SocketAddr;

use sc_config::{Address, Places, Settings};
use sc_net::Guard;
use sc_net::listen::{self, BindError, Listener, Place};
use sc_server::Kind;

use crate::error::RunError;

/// How many ports after a default one are tried before giving up.
const NEXT_PORTS: u16 = 100;

/// The bound listeners of a run.
pub(crate) struct Bound {
    https: Vec<Listener>,
    proxy: Option<Listener>,
    is_moved: bool,
}

impl Bound {
    /// Where HTTPS is served.
    pub(crate) fn https_texts(&self) -> Vec<String> {
        self.https.iter().map(|listener| listener.local().to_string()).collect()
    }

    /// Where the little network is, unless it is switched off.
    pub(crate) fn proxy_text(&self) -> Option<String> {
        self.proxy.as_ref().map(|proxy| proxy.local().to_string())
    }

    /// Whether a default port was taken and another is used.
    pub(crate) fn is_moved(&self) -> bool {
        self.is_moved
    }

    /// All bound addresses; the guard keeps clients from reaching them through us.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.https
            .iter()
            .chain(&self.proxy)
            .filter_map(|listener| listener.local().socket())
            .collect()
    }

    /// The guard of everything that `-w` lets out.
    pub(crate) fn guard(&self, settings: &Settings) -> Guard {
        sc_compile::guard(settings, &self.addresses())
    }

    /// The listeners, with what they speak.
    pub(crate) fn into_listeners(self) -> Vec<(Listener, Kind)> {
        let https = self.https.into_iter().map(|listener| (listener, Kind::Tls));
        https.chain(self.proxy.map(|proxy| (proxy, Kind::Proxy))).collect()
    }
}

/// Binds HTTPS and the proxy port.
///
/// Errors: an address that was asked for is taken, or cannot be had; default ports move on to the next free one.
pub(crate) fn all(settings: &Settings) -> Result<Bound, RunError> {
    let mut https = Vec::new();
    for address in &settings.listen {
        https.push(one("HTTPS", address, settings.listen_given)?);
    }
    let proxy = match &settings.socks5 {
        Some(address) => Some(one("the proxy port", address, settings.socks5_given)?),
        None => None,
    };
    let moved = |listener: &Listener, address: &Address| listener.local().port() != address.port();
    let is_proxy_moved = proxy.iter().zip(&settings.socks5).any(|(l, a)| moved(l, a));
    let is_moved = (!settings.listen_given && https.iter().zip(&settings.listen).any(|(l, a)| moved(l, a)))
        || (!settings.socks5_given && is_proxy_moved);
    Ok(Bound { https, proxy, is_moved })
}

fn one(what: &'static str, address: &Address, is_given: bool) -> Result<Listener, RunError> {
    let bound = match (address, is_given) {
        (Address::Tcp(addr), false) => listen::bind_first_free(*addr, NEXT_PORTS),
        (Address::Tcp(addr), true) => listen::bind(&Place::Tcp(*addr)),
        (Address::Unix(path), _) => listen::bind(&Place::Unix(path.clone())),
        (Address::Fd(number), _) => listen::bind(&Place::Fd(*number)),
        (Address::Name { .. } | Address::SocketName(_), _) => return Err(RunError::NotHere(address.to_string())),
    };
    bound.map_err(|source| RunError::Bind {
        what,
        address: address.to_string(),
        source,
    })
}

/// Binds the control socket.
pub(crate) fn control(places: &Places) -> Result<Listener, RunError> {
    let failed = |source: BindError| RunError::Bind {
        what: "the control socket",
        address: places.control.display().to_string(),
        source,
    };
    listen::bind(&Place::Unix(places.control.clone())).map_err(failed)
}
