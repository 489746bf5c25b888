//! The resolver of an instance that has one certificate: every name gets it, and it can be swapped while it serves.
//!
//! A client that asked for a name that is not covered learns so by itself, from the certificate that it gets. Which
//! sites exist is decided by what the request says, not by SNI.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::credentials::Credentials;

/// Answers every handshake with the same credentials.
pub struct One {
    current: RwLock<Arc<Credentials>>,
}

impl One {
    /// A resolver that begins with these credentials.
    pub fn new(credentials: Credentials) -> Arc<Self> {
        Arc::new(Self {
            current: RwLock::new(Arc::new(credentials)),
        })
    }

    /// Uses other credentials from the next handshake on; those under way and open connections keep theirs.
    pub fn swap(&self, credentials: Credentials) {
        // Nothing can panic while the lock is held, so a poisoned one holds what it should.
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(credentials);
    }

    /// The credentials that the next handshake gets.
    pub fn current(&self) -> Arc<Credentials> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for One {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current().certified().clone())
    }
}

/// rustls demands it. Shows no key.
impl fmt::Debug for One {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("One").finish_non_exhaustive()
    }
}
