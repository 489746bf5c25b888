//! The one certificate of an instance: its chain and key as they were read, and the questions that are asked of them.
//!
//! A master reads the files and hands the bytes to its workers, so that a worker that is started later never meets files
//! that somebody is about to replace. Which names must be covered, when to look at the files again, and whom to tell is
//! the caller's business. Revocation (OCSP) is not looked at.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use crate::files::{self, FilesError};
use crate::provider::sha256_hex;

/// A certificate chain and its private key, which belong together.
pub struct Credentials {
    chain: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    certified: Arc<CertifiedKey>,
    names: Vec<String>,
    fingerprint: String,
    not_before: Option<SystemTime>,
    not_after: Option<SystemTime>,
}

/// A document that holds no credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// It does not begin or end as it should.
    #[error("the document is not one of credentials")]
    Document,
    /// What it holds cannot be used.
    #[error("the document's certificate cannot be used")]
    Content(#[source] FilesError),
}

/// How a document begins; the number counts its forms.
const MARK: &[u8; 8] = b"sc-cred1";
/// A length in a document: big endian.
const LENGTH_BYTES: usize = 4;

impl Credentials {
    /// Reads a chain (leaf first) and its private key from PEM files, which may be the same one.
    ///
    /// Shape: blocks; each file is looked at up to [`files::FILE_LIMIT_BYTES`].
    /// Errors: as `FilesError` says; `Mismatch` may mean that only one of the files was replaced so far.
    pub fn read(chain: &Path, key: &Path) -> Result<Self, FilesError> {
        let (chain_pem, key_pem) = (files::read(chain)?, Zeroizing::new(files::read(key)?));
        Self::new(chain_pem, key_pem, chain, key)
    }

    /// Reads what [`to_document`](Self::to_document) wrote.
    ///
    /// Errors: `Document` for anything else, `Content` when certificate and key cannot be used.
    pub fn from_document(document: &[u8]) -> Result<Self, CredentialsError> {
        let rest = document.strip_prefix(MARK).ok_or(CredentialsError::Document)?;
        let (length, rest) = rest
            .split_first_chunk::<LENGTH_BYTES>()
            .ok_or(CredentialsError::Document)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| CredentialsError::Document)?;
        let (chain, key) = rest.split_at_checked(length).ok_or(CredentialsError::Document)?;
        let key = Zeroizing::new(key.to_vec());
        Self::new(chain.to_vec(), key, Path::new("certificate"), Path::new("key")).map_err(CredentialsError::Content)
    }

    fn new(chain: Vec<u8>, key: Zeroizing<Vec<u8>>, chain_path: &Path, key_path: &Path) -> Result<Self, FilesError> {
        let certified = files::certified_key((&chain, chain_path), (&key, key_path))?;
        let leaf = certified.end_entity_cert();
        let leaf = leaf.map_err(|_| files::content(chain_path, "holds no certificate"))?;
        Ok(Self {
            names: files::names_of(leaf),
            fingerprint: sha256_hex(leaf),
            not_before: files::not_before(leaf),
            not_after: files::not_after(leaf),
            chain,
            key,
            certified: Arc::new(certified),
        })
    }

    /// Writes everything down, the private key in clear: only ever into a sealed memory file for a worker of our own.
    pub fn to_document(&self) -> Zeroizing<Vec<u8>> {
        let length = u32::try_from(self.chain.len()).unwrap_or(u32::MAX);
        Zeroizing::new([MARK.as_slice(), &length.to_be_bytes(), &self.chain, &self.key].concat())
    }

    /// The names of the certificate: DNS names in lower case, wildcards as they stand, then addresses.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// From when on the certificate is valid.
    pub fn not_before(&self) -> Option<SystemTime> {
        self.not_before
    }

    /// Until when the certificate is valid.
    pub fn not_after(&self) -> Option<SystemTime> {
        self.not_after
    }

    /// The SHA-256 of the certificate in hexadecimal: tells two certificates apart.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Says whether browsers take the certificate for `name`.
    ///
    /// Shape: a DNS name, an address, or a wildcard such as `*.x`, which only the same wildcard covers.
    /// Source: RFC 6125 §6.4.3: a star is the whole first label and stands for exactly one.
    pub fn covers(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        self.names.iter().any(|known| is_covered_by(name, known))
    }

    /// Those of `names` that the certificate does not cover, in their order.
    pub fn uncovered<N: AsRef<str>>(&self, names: &[N]) -> Vec<String> {
        let names = names.iter().map(AsRef::as_ref);
        names.filter(|name| !self.covers(name)).map(str::to_owned).collect()
    }

    pub(crate) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// The private key, for deriving other keys from it.
    pub(crate) fn private_key(&self) -> Option<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(&self.key).ok()
    }
}

fn is_covered_by(name: &str, known: &str) -> bool {
    if name.eq_ignore_ascii_case(known) {
        return true;
    }
    let Some(parent) = known.strip_prefix("*.") else {
        return false;
    };
    match name.split_once('.') {
        Some((label, rest)) => {
            let is_label = !label.is_empty() && label != "*";
            is_label && rest.eq_ignore_ascii_case(parent) && name.parse::<IpAddr>().is_err()
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_covered_by;

    #[test]
    fn a_star_stands_for_one_label() {
        for (name, known, covered) in [
            ("www.shop.example", "www.shop.example", true),
            ("WWW.Shop.example", "www.shop.example", true),
            ("www.shop.example", "*.shop.example", true),
            ("shop.example", "*.shop.example", false),
            ("a.b.shop.example", "*.shop.example", false),
            (".shop.example", "*.shop.example", false),
            ("*.shop.example", "*.shop.example", true),
            ("*.b.shop.example", "*.shop.example", false),
            ("www.shop.example", "w*.shop.example", false),
            ("www.shop.example", "*", false),
            ("shop", "*", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "*.0.0.1", false),
        ] {
            assert_eq!(is_covered_by(name, known), covered, "{name} by {known}");
        }
    }
}
