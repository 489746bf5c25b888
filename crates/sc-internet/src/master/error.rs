//! Why the master could not begin, or had to give up.

use std::io::ErrorKind;
use std::path::PathBuf;

use sc_config::Diagnostic;
use sc_net::listen::BindError;
use sc_tls::FilesError;

use crate::sockets::SocketsError;
use crate::systemd::ServiceError;

/// Why a run could not begin. Nothing was served when this is returned.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The settings cannot be served to the Internet.
    #[error("the configuration cannot be served")]
    Mistakes(Vec<Diagnostic>),
    /// The project's folders could not be made.
    #[error("the project's folders cannot be used")]
    Places(#[source] sc_config::PlacesError),
    /// The lock of the project's folder was not to be had.
    #[error(transparent)]
    Lock(sc_config::LockError),
    /// There is no certificate.
    #[error("there is no certificate at `{}`", .0.display())]
    NoCertificate(PathBuf),
    /// The certificate or its key cannot be used.
    #[error("the certificate cannot be used")]
    Certificate(#[source] FilesError),
    /// The certificate does not cover every public name.
    #[error("the certificate does not cover {}", listed(.missing))]
    Uncovered {
        /// The names that it lacks.
        missing: Vec<String>,
        /// The names that it has.
        #[source]
        source: Covered,
    },
    /// The certificate is not for this day, unlike the one that is in use.
    #[error("the certificate in `{}` {when}", chain.display())]
    NotValid {
        /// Its file.
        chain: PathBuf,
        /// What of it: that it has ended, or not begun.
        when: &'static str,
    },
    /// A listening socket could not be had.
    #[error("cannot listen")]
    Sockets(#[source] SocketsError),
    /// What the service manager said cannot be understood.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The control socket, or the address of the metrics, could not be bound.
    #[error("cannot listen on {what} {address}")]
    Bind {
        /// What would be served there.
        what: &'static str,
        /// The address.
        address: String,
        /// Why; names the holder.
        source: BindError,
    },
    /// The sites cannot be served as configured.
    #[error("a site cannot be served as it is configured")]
    Site(#[source] sc_site::SiteError),
    /// The first workers could not serve.
    #[error("no worker can serve: {0}")]
    Unfit(String),
    /// The system refused something that a run cannot do without.
    #[error("cannot {doing}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file that tells others of this instance cannot be written.
    #[error("cannot tell other programs of this instance")]
    Instance(#[source] sc_config::InstanceError),
}

/// What a certificate covers, said as the reason for what it does not.
#[derive(Debug, thiserror::Error)]
#[error("`{}` is for {}", chain.display(), listed(.names))]
pub struct Covered {
    /// Its file.
    pub chain: PathBuf,
    /// Its names.
    pub names: Vec<String>,
}

/// Shape: `` `a`, `b` and `c` ``.
fn listed(names: &[String]) -> String {
    match names {
        [] => "no name at all".to_owned(),
        [one] => format!("`{one}`"),
        [some @ .., last] => format!("`{}` and `{last}`", some.join("`, `")),
    }
}

impl RunError {
    /// Whether an address or a lock is taken already.
    pub fn is_taken(&self) -> bool {
        match self {
            RunError::Lock(error) => matches!(error, sc_config::LockError::Held { .. }),
            RunError::Bind { source, .. } => matches!(source, BindError::InUse { .. }),
            RunError::Sockets(SocketsError::Bind(error)) => matches!(error, BindError::InUse { .. }),
            _ => false,
        }
    }

    /// Whether the configuration, the command line or the certificate is at fault.
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            RunError::Mistakes(_)
                | RunError::NoCertificate(_)
                | RunError::Certificate(_)
                | RunError::Uncovered { .. }
                | RunError::NotValid { .. }
                | RunError::Site(_)
        )
    }

    /// What to try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            RunError::Lock(_) if self.is_taken() => Some("stop it, or run a second one with --scratch-dir-name NAME"),
            RunError::Places(sc_config::PlacesError::NotAFolder(_)) => {
                Some("move it out of the way, or choose another name with --scratch-dir-name NAME")
            }
            RunError::Certificate(FilesError::Io { source, .. }) => Some(match source.kind() {
                ErrorKind::PermissionDenied => "let the user read it that this runs as, and nobody else",
                _ => "look at --cert and --key, or at `cert` and `key` in the file",
            }),
            RunError::Certificate(FilesError::Content { .. }) => Some(
                "both are PEM files, with lines such as `-----BEGIN CERTIFICATE-----`; certbot writes fullchain.pem and privkey.pem",
            ),
            RunError::Certificate(FilesError::Mismatch { .. }) => {
                Some("take both from one folder: a certificate that was renewed has a new key")
            }
            RunError::NoCertificate(_) => Some("name it with --cert and --key, or put cert.pem and privkey.pem there"),
            RunError::Uncovered { .. } => {
                Some("reissue it with these names, take the sites out, or give them `audience: network`")
            }
            RunError::NotValid { .. } => Some("look at what was copied there, and at the clock of this machine"),
            RunError::Sockets(SocketsError::Bind(BindError::Denied { .. })) => {
                Some("let it bind low ports: setcap cap_net_bind_service=+ep `which shimmercat`")
            }
            RunError::Sockets(_) | RunError::Bind { .. } if self.is_taken() => {
                Some("stop that program, or choose another address")
            }
            RunError::Sockets(SocketsError::Bind(BindError::NotHere { .. })) => {
                Some("`ip address` shows the addresses of this machine; 0.0.0.0 and [::] stand for all of them")
            }
            RunError::Sockets(SocketsError::Bind(BindError::NotInherited { .. })) => {
                Some("whoever starts it opens the socket and passes its number, as systemd-socket-activate does")
            }
            RunError::Sockets(SocketsError::NoSuchName { .. }) => {
                Some("a service manager passes sockets by LISTEN_FDS, LISTEN_FDNAMES and LISTEN_PID")
            }
            _ => None,
        }
    }
}
