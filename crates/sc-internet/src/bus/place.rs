//! Which Redis, and how it is reached: URLs are read here, and the roots that `rediss` trusts are loaded here, once.
//!
//! Sentinel and Cluster are not spoken; neither is a client certificate.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redis::{ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo};
use sc_config::Secret;
use sc_tls::{ClientConfig, ClientConfigError, ClientTrust};
use serde::{Deserialize, Serialize};

/// Which Redis the processes of an instance share.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Place {
    /// None: lines go from worker to master by their channel, and nothing is shared between machines.
    Off,
    /// One that the master starts.
    Own {
        /// Its unix socket.
        socket: PathBuf,
    },
    /// Somebody else's.
    Url(Secret),
}

/// Why a place cannot be connected to.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The URL cannot be read. It is not repeated, because it may hold a password.
    #[error("the URL of Redis cannot be read: {0}")]
    Url(String),
    /// `#insecure`, which would accept any certificate.
    #[error("the URL of Redis asks not to check its certificate, which is not done")]
    Insecure,
    /// The certificates to trust cannot be loaded.
    #[error("the certificates that Redis is checked against cannot be loaded")]
    Trust(#[source] ClientConfigError),
}

/// Where to connect and what to say first.
#[derive(Clone)]
pub struct Target {
    pub(crate) address: Reach,
    pub(crate) hello: RedisConnectionInfo,
}

/// How a Redis is reached.
#[derive(Clone)]
pub(crate) enum Reach {
    Unix(PathBuf),
    Tcp {
        host: String,
        port: u16,
        tls: Option<Arc<ClientConfig>>,
    },
}

impl Target {
    /// Reads a place; `None` when there is no Redis.
    ///
    /// Shape: for `rediss` the trusted certificates are read from files, once; the environment's `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` say which, else the system's.
    /// Errors: a URL that cannot be read, certificates that cannot be loaded.
    pub fn of(place: &Place) -> Result<Option<Self>, PlaceError> {
        match place {
            Place::Off => Ok(None),
            Place::Own { socket } => Ok(Some(Self::own(socket))),
            Place::Url(url) => Self::of_url(url.expose()).map(Some),
        }
    }

    /// One of ours.
    pub(crate) fn own(socket: &Path) -> Self {
        Target {
            address: Reach::Unix(socket.to_owned()),
            hello: RedisConnectionInfo::default(),
        }
    }

    fn of_url(url: &str) -> Result<Self, PlaceError> {
        let info = url.into_connection_info().map_err(|error| {
            // Its `Display` may repeat the URL; its detail names a part of it only.
            PlaceError::Url(error.detail().unwrap_or("it is malformed").to_owned())
        })?;
        let address = match info.addr().clone() {
            ConnectionAddr::Tcp(host, port) => Reach::Tcp { host, port, tls: None },
            ConnectionAddr::TcpTls { insecure: true, .. } => return Err(PlaceError::Insecure),
            ConnectionAddr::TcpTls { host, port, .. } => {
                let config = sc_tls::client_config(&ClientTrust::Platform, &[]).map_err(PlaceError::Trust)?;
                Reach::Tcp {
                    host,
                    port,
                    tls: Some(config),
                }
            }
            ConnectionAddr::Unix(path) => Reach::Unix(path),
            _ => return Err(PlaceError::Url("its kind is not known".to_owned())),
        };
        Ok(Target {
            address,
            hello: info.redis_settings().clone(),
        })
    }
}

impl fmt::Display for Target {
    /// Its address, without user or password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Reach::Unix(path) => write!(f, "{}", path.display()),
            Reach::Tcp { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Reach::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

    use super::*;

    fn target(url: &str) -> Result<String, String> {
        match Target::of(&Place::Url(Secret::new(url))) {
            Ok(target) => Ok(target.map(|target| target.to_string()).unwrap_or_default()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn urls_are_read_and_never_repeated() {
        assert_eq!(target("redis://h").unwrap(), "h:6379");
        assert_eq!(target("redis://:hunter2@10.0.0.1:7000/2").unwrap(), "10.0.0.1:7000");
        assert_eq!(
            target("rediss://u:hunter2@[2001:db8::1]:6380").unwrap(),
            "[2001:db8::1]:6380"
        );
        assert_eq!(target("redis+unix:///run/redis.sock?db=1").unwrap(), "/run/redis.sock");
        assert_eq!(target("unix:///run/redis.sock").unwrap(), "/run/redis.sock");
        for broken in [
            "hunter2",
            "http://hunter2@h",
            "redis://hunter2@h/x",
            "redis://hunter2@h:99999999",
            "rediss://hunter2@h/#insecure",
            "rediss://hunter2@h/#other",
            "redis://",
            "",
        ] {
            let words = target(broken).unwrap_err();
            assert!(!words.contains("hunter2"), "{words}");
        }
    }

    #[test]
    fn without_a_redis_there_is_no_target() {
        assert!(Target::of(&Place::Off).unwrap().is_none());
        let own = Target::of(&Place::Own {
            socket: "/run/x".into(),
        })
        .unwrap()
        .unwrap();
        assert_eq!(own.to_string(), "/run/x");
    }
}
