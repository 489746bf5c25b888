//! Who may use the little network, what it may reach, and how slow it is.
//!
//! A proxy that others can reach must know them and must not take them everywhere: [`check_proxy`] is asked before
//! anything is bound, and again when a reload would change what is forwarded.

use std::net::SocketAddr;

use sc_config::{Forward, Settings};
use sc_net::shape::Shape;
use sc_net::socks::Auth;
use sc_net::{Guard, Network};

/// Why a proxy is not opened.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OpenProxy {
    /// Others can reach it, and nothing says who they are.
    #[error("the proxy at {0} would be open to everybody who can reach it")]
    ToEverybody(String),
    /// Others can reach it, and it lets everything through.
    #[error("the proxy at {0} would let others use this machine's Internet access")]
    ToTheInternet(String),
}

impl OpenProxy {
    /// What to try.
    pub fn hint(&self) -> &'static str {
        match self {
            OpenProxy::ToEverybody(_) => "set socks-users or socks-allow, or use a loopback address",
            OpenProxy::ToTheInternet(_) => "give -w a list of hosts, or use a loopback address",
        }
    }
}

/// Refuses a proxy that others can reach and that does not know them, or lets them out everywhere.
///
/// Shape: the proxy is that of `settings`, since it takes a restart to change; `forward` is what a reload may change. In
/// a mode without a proxy nobody asks.
/// Errors: which of the two it is.
pub fn check_proxy(settings: &Settings, forward: &Forward) -> Result<(), OpenProxy> {
    let Some(address) = settings.socks5.as_ref().filter(|address| !address.is_loopback()) else {
        return Ok(());
    };
    if settings.socks_users.is_empty() && settings.socks_allow.is_empty() {
        return Err(OpenProxy::ToEverybody(address.to_string()));
    }
    match forward {
        Forward::All => Err(OpenProxy::ToTheInternet(address.to_string())),
        Forward::No | Forward::Only(_) => Ok(()),
    }
}

/// Who may use the proxy port.
pub fn auth(settings: &Settings) -> Auth {
    let users: Vec<_> = settings
        .socks_users
        .iter()
        .map(|user| (user.name.clone(), user.password.expose().to_owned()))
        .collect();
    if users.is_empty() {
        Auth::None
    } else {
        Auth::Users(users)
    }
}

/// The same networks, in the words of the room that uses them.
pub fn networks(networks: &[sc_config::Network]) -> Vec<Network> {
    networks
        .iter()
        .map(|network| Network::new(network.base(), network.prefix()))
        .collect()
}

/// The guard of everything that is forwarded to the Internet; `own` are our listeners, which nobody reaches through us.
pub fn guard(settings: &Settings, own: &[SocketAddr]) -> Guard {
    Guard::public(networks(&settings.allow_private), own.to_vec())
}

/// The simulated network; `None` when nothing is simulated.
pub fn shape(settings: &Settings) -> Option<Shape> {
    let shape = settings.shape;
    if shape.bandwidth.is_none() && shape.latency.is_none() {
        return None;
    }
    Some(Shape {
        bandwidth: shape.bandwidth,
        latency: shape.latency,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use sc_config::{Secret, SocksUser};

    use super::*;

    fn proxy(address: &str) -> Settings {
        Settings {
            socks5: Some(address.parse().unwrap()),
            ..Settings::default()
        }
    }

    fn user() -> SocksUser {
        SocksUser {
            name: "ada".to_owned(),
            password: Secret::new("hunter2"),
        }
    }

    #[test]
    fn a_proxy_on_loopback_may_do_anything() {
        for address in ["127.0.0.1:2006", "[::1]:2006", "unix:///run/proxy.sock"] {
            assert_eq!(check_proxy(&proxy(address), &Forward::All), Ok(()), "{address}");
        }
        let none = Settings {
            socks5: None,
            ..Settings::default()
        };
        assert_eq!(check_proxy(&none, &Forward::All), Ok(()));
    }

    #[test]
    fn a_proxy_that_others_reach_must_know_them() {
        let open = proxy("0.0.0.0:2006");
        let told = OpenProxy::ToEverybody("0.0.0.0:2006".to_owned());
        assert_eq!(check_proxy(&open, &Forward::No), Err(told));
        let users = Settings {
            socks_users: vec![user()],
            ..open.clone()
        };
        let allow = Settings {
            socks_allow: vec!["10.0.0.0/8".parse().unwrap()],
            ..open
        };
        for known in [users, allow] {
            assert_eq!(check_proxy(&known, &Forward::No), Ok(()));
            assert_eq!(
                check_proxy(&known, &Forward::Only(vec!["cdn.example".parse().unwrap()])),
                Ok(())
            );
            let told = OpenProxy::ToTheInternet("0.0.0.0:2006".to_owned());
            assert_eq!(check_proxy(&known, &Forward::All), Err(told));
        }
    }

    #[test]
    fn users_are_asked_for_when_there_are_some() {
        assert!(matches!(auth(&Settings::default()), Auth::None));
        let settings = Settings {
            socks_users: vec![user()],
            ..Settings::default()
        };
        assert!(matches!(auth(&settings), Auth::Users(users) if users == [("ada".to_owned(), "hunter2".to_owned())]));
    }
}
