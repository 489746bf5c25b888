//! Why a run could not begin.

use sc_net::listen::BindError;

/// Why a run could not begin. Nothing was served when this is returned.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The project's folders could not be made.
    #[error("the project's folders cannot be used")]
    Places(#[source] sc_config::PlacesError),
    /// The lock of the project's folder was not to be had.
    #[error(transparent)]
    Lock(sc_config::LockError),
    /// An address could not be bound.
    #[error("cannot listen on {what} {address}")]
    Bind {
        /// What would be served there.
        what: &'static str,
        /// The address.
        address: String,
        /// Why; names the holder.
        source: BindError,
    },
    /// An address of a form that cannot be listened on here.
    #[error("cannot listen on `{0}`")]
    NotHere(String),
    /// The proxy would be open to others.
    #[error(transparent)]
    OpenProxy(sc_compile::OpenProxy),
    /// The CA could not be opened or made.
    #[error("the project's certificate authority cannot be used")]
    Ca(#[source] sc_tls::CaError),
    /// Leaf certificates cannot be made.
    #[error("certificates cannot be made")]
    Mint(#[source] sc_tls::MintError),
    /// The TLS configuration cannot be made.
    #[error("TLS cannot be set up")]
    Tls(#[source] sc_tls::TlsError),
    /// A site cannot be served as configured.
    #[error("a site cannot be served as it is configured")]
    Site(#[source] sc_site::SiteError),
    /// The file that tells others of this instance cannot be written.
    #[error("cannot tell other programs of this instance")]
    Instance(#[source] sc_config::InstanceError),
}

impl RunError {
    /// Whether an address or a lock is taken already.
    pub fn is_taken(&self) -> bool {
        match self {
            RunError::Lock(error) => matches!(error, sc_config::LockError::Held { .. }),
            RunError::Bind { source, .. } => matches!(source, BindError::InUse { .. }),
            _ => false,
        }
    }

    /// Whether the configuration or the command line is at fault.
    pub fn is_configuration(&self) -> bool {
        matches!(self, RunError::NotHere(_) | RunError::OpenProxy(_) | RunError::Site(_))
    }

    /// What to try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            RunError::Lock(_) if self.is_taken() => Some("stop it, or run a second one with --scratch-dir-name NAME"),
            RunError::Bind { .. } if self.is_taken() => {
                Some("choose another port, or leave the option out for a free one")
            }
            RunError::OpenProxy(open) => Some(open.hint()),
            _ => None,
        }
    }
}
