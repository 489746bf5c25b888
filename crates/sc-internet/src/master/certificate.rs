//! The certificate of the instance: where its files are, what they hold, whether they cover what is public.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use sc_config::{Places, Settings};
use sc_tls::Credentials;

use super::error::{Covered, RunError};

/// From when on it is said each day that the certificate ends.
const ENDS_SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// The certificate and the files it came from.
#[derive(Clone)]
pub(super) struct Certificate {
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
    pub(super) credentials: Rc<Credentials>,
}

impl Certificate {
    /// Whether it is this one, from the same files. The chain counts: one that was not complete is repaired by a reload.
    pub(super) fn is_same(&self, other: &Certificate) -> bool {
        (&self.chain, &self.key) == (&other.chain, &other.key)
            && *self.credentials.to_document() == *other.credentials.to_document()
    }

    /// Why no browser would take it at this time, if so.
    pub(super) fn untimely(&self, now: SystemTime) -> Option<&'static str> {
        if self.credentials.not_after().is_some_and(|end| end < now) {
            Some("has ended")
        } else if self.credentials.not_before().is_some_and(|begin| begin > now) {
            Some("is not valid yet")
        } else {
            None
        }
    }

    /// Whole days until its end, when those are few.
    pub(super) fn ends_in_days(&self, now: SystemTime) -> Option<u64> {
        let left = self.credentials.not_after()?.duration_since(now).unwrap_or_default();
        (left < ENDS_SOON).then_some(left.as_secs() / (24 * 3600))
    }
}

/// Reads the files that the settings name.
///
/// Errors: there are none, they cannot be used, or they do not cover every public name.
pub(super) fn read(settings: &Settings, places: &Places) -> Result<Certificate, RunError> {
    let (chain, key) = settings.certificate_files(places);
    if !chain.exists() {
        return Err(RunError::NoCertificate(chain));
    }
    let credentials = Credentials::read(&chain, &key).map_err(RunError::Certificate)?;
    let uncovered = credentials.uncovered(&sc_compile::public_names(settings));
    if !uncovered.is_empty() {
        let names = credentials.names().to_vec();
        return Err(RunError::Uncovered {
            missing: uncovered,
            source: Covered { chain, names },
        });
    }
    let credentials = Rc::new(credentials);
    Ok(Certificate {
        chain,
        key,
        credentials,
    })
}
