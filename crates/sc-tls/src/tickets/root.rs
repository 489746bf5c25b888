//! The root: where a ratchet starts, as bytes for a worker, and sealed for other machines.
//!
//! A root opens every ticket from its epoch on. To a worker it goes in clear, inside a sealed memory file; to other
//! machines only sealed. Who keeps it where is the caller's business.

use std::time::SystemTime;

use aws_lc_rs::rand;
use zeroize::Zeroizing;

use super::TicketsError;
use super::aead::{self, SECRET_BYTES, Secret};
use super::ratchet::epoch_of;
use crate::credentials::Credentials;

/// A secret, and the epoch from which on it gives keys. Wiped when it is dropped.
#[derive(Clone)]
pub struct Root {
    pub(super) chain: Secret,
    pub(super) epoch: u64,
}

/// How a document begins; the number counts its forms.
const MARK: &[u8; 8] = b"sc-root1";
/// How a sealed root begins.
const SEALED_MARK: &[u8; 8] = b"sc-seal1";

impl Root {
    /// A root that nobody else has.
    ///
    /// Errors: `Random`.
    pub fn random(now: SystemTime) -> Result<Self, TicketsError> {
        let mut chain = Zeroizing::new([0; SECRET_BYTES]);
        rand::fill(chain.as_mut_slice()).map_err(|_| TicketsError::Random)?;
        Ok(Self {
            chain,
            epoch: epoch_of(now).saturating_sub(1),
        })
    }

    /// The first epoch of which this root gives the key; epochs are counted from 1970 in steps of six hours.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Writes it down in clear: only ever into a sealed memory file for a worker of our own.
    pub fn to_document(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([MARK.as_slice(), &self.epoch.to_be_bytes(), self.chain.as_slice()].concat())
    }

    /// Reads what [`to_document`](Self::to_document) wrote.
    ///
    /// Errors: `Document` for anything else.
    pub fn from_document(document: &[u8]) -> Result<Self, TicketsError> {
        Self::read(document).ok_or(TicketsError::Document)
    }

    fn read(document: &[u8]) -> Option<Self> {
        let (epoch, chain) = document.strip_prefix(MARK)?.split_first_chunk::<8>()?;
        Some(Self {
            epoch: u64::from_be_bytes(*epoch),
            chain: Zeroizing::new(chain.try_into().ok()?),
        })
    }

    /// Seals it for machines that have the same private key.
    ///
    /// Errors: `Random`.
    pub fn seal(&self, credentials: &Credentials) -> Result<Vec<u8>, TicketsError> {
        let key = sealing_key(credentials).ok_or(TicketsError::Sealed)?;
        let mut sealed = SEALED_MARK.to_vec();
        aead::seal(&key, SEALED_MARK, &self.to_document(), &mut sealed).ok_or(TicketsError::Random)?;
        Ok(sealed)
    }

    /// Opens what [`seal`](Self::seal) made on a machine with the same private key.
    ///
    /// Errors: `Sealed` for anything else.
    pub fn open(sealed: &[u8], credentials: &Credentials) -> Result<Self, TicketsError> {
        let open = || {
            let key = sealing_key(credentials)?;
            let document = Zeroizing::new(aead::open(&key, SEALED_MARK, sealed.strip_prefix(SEALED_MARK)?)?);
            Self::read(&document)
        };
        open().ok_or(TicketsError::Sealed)
    }
}

/// A key that only who has the private key has.
///
/// Shape: of the key's encoding as it stands in the file, so all machines need the same one (PKCS#8, SEC1 or PKCS#1).
fn sealing_key(credentials: &Credentials) -> Option<Secret> {
    let key = credentials.private_key()?;
    Some(aead::extract(SEALED_MARK, key.secret_der(), &[b"shimmercat root"]))
}
