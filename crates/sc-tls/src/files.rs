//! A certificate chain and its key from PEM files, as production configures them.
//!
//! Reads PKCS#8, SEC1 and PKCS#1 keys, and checks that key and certificate belong together. Which names must be covered,
//! and for how long, is for the caller to compare with `names_of` and `not_after`; watching the files is the caller's too.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use crate::provider::{provider, system_time};

/// Largest file that is read: the bundle of all public authorities has a quarter of this.
pub const FILE_LIMIT_BYTES: usize = 1 << 20;

/// Why a certificate or key file is not used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The file cannot be read.
    #[error("cannot read `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("`{path}` {why}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, as a clause whose subject is the file.
        why: &'static str,
    },
    /// Key and certificate are each readable, but do not go together.
    #[error("`{key}` is not the key of the certificate in `{chain}`")]
    Mismatch {
        /// The certificate file.
        chain: PathBuf,
        /// The key file.
        key: PathBuf,
        /// What rustls found.
        #[source]
        source: rustls::Error,
    },
}

/// Loads a chain (leaf first) and its private key.
///
/// Shape: two PEM files, which may be the same one; a key in PKCS#8, SEC1 or PKCS#1. Blocks.
/// Errors: `Io`, `Content` when there is no certificate or key in them, `Mismatch`.
pub fn load_certified_key(chain: &Path, key: &Path) -> Result<Arc<CertifiedKey>, FilesError> {
    let (chain_pem, key_pem) = (read(chain)?, Zeroizing::new(read(key)?));
    certified_key((&chain_pem, chain), (&key_pem, key)).map(Arc::new)
}

/// Makes a chain and its key of the bytes of PEM files and their names.
pub(crate) fn certified_key(
    (chain_pem, chain): (&[u8], &Path),
    (key_pem, key): (&[u8], &Path),
) -> Result<CertifiedKey, FilesError> {
    let certificates = certificates_of(chain_pem, chain)?;
    let private = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| content(key, "holds no usable private key"))?;
    CertifiedKey::from_der(certificates, private, &provider()).map_err(|source| match source {
        rustls::Error::InconsistentKeys(_) => FilesError::Mismatch {
            chain: chain.into(),
            key: key.into(),
            source,
        },
        rustls::Error::InvalidCertificate(_) => content(chain, "holds a certificate that cannot be read"),
        _ => content(key, "holds a private key of a kind that cannot be used"),
    })
}

/// The names a certificate is good for: its DNS names in lower case, wildcards as they stand, then its addresses.
///
/// Shape: empty for a certificate that cannot be read or has no subject alternative name.
/// Source: RFC 6125 §6.4.4: the common name does not count.
pub fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    extension.value.general_names.iter().filter_map(name_in).collect()
}

/// Until when a certificate is valid; `None` when it cannot be read.
pub fn not_after(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(system_time(certificate.validity().not_after.timestamp()))
}

/// From when on a certificate is valid; `None` when it cannot be read.
pub fn not_before(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(system_time(certificate.validity().not_before.timestamp()))
}

/// Every certificate of a PEM file, at least one.
pub(crate) fn certificates_in(path: &Path) -> Result<Vec<CertificateDer<'static>>, FilesError> {
    certificates_of(&read(path)?, path)
}

fn certificates_of(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, FilesError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(list) if list.is_empty() => Err(content(path, "holds no certificate")),
        Ok(list) => Ok(list),
        Err(_) => Err(content(path, "is not correct PEM")),
    }
}

fn name_in(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => address_in(bytes).map(|address| address.to_string()),
        _ => None,
    }
}

fn address_in(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)));
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes))))
        .ok()
}

/// The bytes of a file, at most [`FILE_LIMIT_BYTES`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FilesError> {
    let mut bytes = Vec::new();
    let limit = FILE_LIMIT_BYTES as u64 + 1;
    let done = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    done.map_err(|source| FilesError::Io {
        path: path.into(),
        source,
    })?;
    if bytes.len() > FILE_LIMIT_BYTES {
        return Err(content(path, "is larger than a certificate file can be"));
    }
    Ok(bytes)
}

/// What is wrong with what a file holds.
pub(crate) fn content(path: &Path, why: &'static str) -> FilesError {
    FilesError::Content { path: path.into(), why }
}
