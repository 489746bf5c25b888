//! One certificate authority per project: created, loaded and renewed by itself, in a private folder the caller names.
//!
//! The folder holds `ca-private.pem` (key and certificate in one file, so that they can never disagree), `ca.pem` (the
//! certificate alone, for browsers and programs), `ca-previous.pem` after a renewal (so that old trust can be withdrawn;
//! its key is gone), and a lock. It touches no trust store: who trusts the CA is decided elsewhere. Leaves are `minter`'s.

mod folder;
mod issue;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, IsCa, Issuer, KeyPair};
use rcgen::{KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber};
use rustix::fs::Mode;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use self::folder::Folder;
pub use self::folder::FolderError;
use crate::provider::{certificate_time, random_serial, sha256_base64, system_time};

const PRIVATE_FILE: &str = "ca-private.pem";
const PUBLIC_FILE: &str = "ca.pem";
const PREVIOUS_FILE: &str = "ca-previous.pem";
const LOCK_FILE: &str = "ca.lock";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The whole life, of which one day lies in the past for clocks that differ.
const LIFE: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// With less than this left a new CA is made.
const RENEW_BEFORE_END: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// RFC 5280 appendix A.1, ub-common-name.
const COMMON_NAME_CHARS: usize = 64;
const COMMON_NAME_PREFIX: &str = "ShimmerCat devlove CA: ";

/// Why there is no CA.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The folder or a file in it cannot be used, or must not be.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The file with the key exists and makes no sense. It is not overwritten: somebody may want to look at it.
    #[error("`{path}` is damaged: {why}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The clock stands outside the years that a certificate can hold.
    #[error("the clock is set to a year that no certificate can hold")]
    Clock,
    /// Making the key or the certificate failed.
    #[error("cannot make a key and a certificate")]
    Crypto(#[source] rcgen::Error),
    /// The system gave no random bytes.
    #[error("no randomness")]
    Random,
    /// A file of a new certificate cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// How `Ca::open_or_create` came by the CA.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Created {
    /// There was none: this one is new.
    New,
    /// The old one was about to end, had ended, or lay in the future of a clock that was set back: this one is new, and
    /// whoever trusted the old one must be told.
    Renewed,
    /// Loaded as it was.
    Existing,
}

/// A project's certificate authority, ready to sign.
///
/// Shape: holds the private key, hence neither `Debug` nor serde.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    facts: Facts,
    pem: String,
    pem_path: PathBuf,
    previous_pem_path: PathBuf,
}

/// What a certificate says of itself, as far as it matters here.
struct Facts {
    der: CertificateDer<'static>,
    name: String,
    not_before: SystemTime,
    not_after: SystemTime,
    public_key: Vec<u8>,
    spki_sha256_base64: String,
}

impl Ca {
    /// Loads the CA of `dir`, or makes one, or replaces one with less than 30 days left.
    ///
    /// Shape: `dir` is created with mode 0700 when it is not there; `name` is the project's, shown to people in the
    /// subject. Processes that start at once get the same CA. Blocks for some milliseconds, with another process
    /// in the way up to ten seconds.
    /// Errors: `Folder` when `dir`, or a file in it, is a link, foreign, open to others or in a git work tree
    /// that does not ignore it;
    /// `Damaged` when the key file makes no sense.
    pub fn open_or_create(dir: &Path, name: &str, now: SystemTime) -> Result<(Ca, Created), CaError> {
        open_as(dir, name, now, rustix::process::geteuid().as_raw())
    }

    /// The file with the certificate alone, PEM.
    pub fn pem_path(&self) -> &Path {
        &self.pem_path
    }

    /// The file with the certificate that the latest renewal replaced; it may not exist.
    pub fn previous_pem_path(&self) -> &Path {
        &self.previous_pem_path
    }

    /// The certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The certificate, DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.facts.der
    }

    /// The common name of its subject.
    pub fn name(&self) -> &str {
        &self.facts.name
    }

    /// From when on it is valid.
    pub fn not_before(&self) -> SystemTime {
        self.facts.not_before
    }

    /// Until when it is valid.
    pub fn not_after(&self) -> SystemTime {
        self.facts.not_after
    }

    /// Whether `open_or_create` would replace it at `now`.
    pub fn is_due_for_renewal(&self, now: SystemTime) -> bool {
        is_due(&self.facts, now)
    }

    /// Base64 of the SHA-256 of its public key, as browsers take it on their command line.
    ///
    /// Source: RFC 7469 §2.4.
    pub fn spki_sha256_base64(&self) -> &str {
        &self.facts.spki_sha256_base64
    }

    pub(crate) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }
}

fn open_as(dir: &Path, name: &str, now: SystemTime, owner: u32) -> Result<(Ca, Created), CaError> {
    let folder = Folder::open(dir, owner)?;
    let _lock = folder.lock(LOCK_FILE)?;
    let Some(private) = folder.read_private(PRIVATE_FILE)? else {
        return Ok((create(&folder, name, now)?, Created::New));
    };
    let path = folder.path_of(PRIVATE_FILE);
    let (key, facts) = parse(&private).map_err(|why| CaError::Damaged { path, why })?;
    if is_due(&facts, now) {
        folder.write(PREVIOUS_FILE, pem_of(&facts.der).as_bytes(), public_mode())?;
        return Ok((create(&folder, name, now)?, Created::Renewed));
    }
    Ok((assemble(&folder, key, facts)?, Created::Existing))
}

fn is_due(facts: &Facts, now: SystemTime) -> bool {
    let left = facts.not_after.duration_since(now).unwrap_or(Duration::ZERO);
    left < RENEW_BEFORE_END || now < facts.not_before
}

fn create(folder: &Folder, name: &str, now: SystemTime) -> Result<Ca, CaError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CaError::Crypto)?;
    let certificate = parameters(name, now)?.self_signed(&key).map_err(CaError::Crypto)?;
    let both = format!("{}{}", key.serialize_pem(), pem_of(certificate.der()));
    folder.write(PRIVATE_FILE, both.as_bytes(), Mode::RUSR | Mode::WUSR)?;
    let path = folder.path_of(PRIVATE_FILE);
    let (key, facts) = parse(both.as_bytes()).map_err(|why| CaError::Damaged { path, why })?;
    assemble(folder, key, facts)
}

fn parameters(name: &str, now: SystemTime) -> Result<CertificateParams, CaError> {
    let begin = now.checked_sub(DAY).ok_or(CaError::Clock)?;
    let mut params = CertificateParams::default();
    params.not_before = certificate_time(begin).ok_or(CaError::Clock)?;
    params.not_after = begin
        .checked_add(LIFE)
        .and_then(certificate_time)
        .ok_or(CaError::Clock)?;
    let serial = random_serial().map_err(|_| CaError::Random)?;
    let subject = DnValue::Utf8String(common_name(name, &serial));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    params.serial_number = Some(serial);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// What people read in a certificate viewer; a project may be called anything.
///
/// The mark at the end keeps two CAs of one project apart: a client that trusts the earlier one would otherwise find it by
/// its name and complain of a bad signature instead of an unknown issuer.
fn common_name(project: &str, serial: &SerialNumber) -> String {
    let mark: String = serial
        .to_bytes()
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let clean: String = project.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let room = COMMON_NAME_CHARS - COMMON_NAME_PREFIX.len() - 1 - mark.len();
    let shown: String = clean.trim().chars().take(room).collect();
    format!("{COMMON_NAME_PREFIX}{shown} {mark}")
}

/// Reads key and certificate, and checks that they belong together.
fn parse(bytes: &[u8]) -> Result<(KeyPair, Facts), &'static str> {
    let key = PrivateKeyDer::from_pem_slice(bytes).map_err(|_| "it holds no private key")?;
    let key = KeyPair::try_from(&key).map_err(|_| "its private key cannot be used")?;
    let der = CertificateDer::from_pem_slice(bytes).map_err(|_| "it holds no certificate")?;
    let facts = facts_of(der)?;
    if rcgen::PublicKeyData::der_bytes(&key) != facts.public_key {
        return Err("its key and its certificate do not belong together");
    }
    Ok((key, facts))
}

fn facts_of(der: CertificateDer<'static>) -> Result<Facts, &'static str> {
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| "its certificate cannot be read")?;
    if !certificate.is_ca() {
        return Err("its certificate is not a CA's");
    }
    let name = certificate
        .subject()
        .iter_common_name()
        .next()
        .and_then(|cn| cn.as_str().ok())
        .unwrap_or_default();
    Ok(Facts {
        name: name.to_owned(),
        not_before: system_time(certificate.validity().not_before.timestamp()),
        not_after: system_time(certificate.validity().not_after.timestamp()),
        public_key: certificate.public_key().subject_public_key.data.to_vec(),
        spki_sha256_base64: sha256_base64(certificate.public_key().raw),
        der: der.clone(),
    })
}

/// Makes the value, and mends the public copy where it is missing or differs.
fn assemble(folder: &Folder, key: KeyPair, facts: Facts) -> Result<Ca, CaError> {
    let pem = pem_of(&facts.der);
    if folder.read_public(PUBLIC_FILE)?.as_deref() != Some(pem.as_bytes()) {
        folder.write(PUBLIC_FILE, pem.as_bytes(), public_mode())?;
    }
    let issuer = Issuer::from_ca_cert_der(&facts.der, key).map_err(CaError::Crypto)?;
    let (pem_path, previous_pem_path) = (folder.path_of(PUBLIC_FILE), folder.path_of(PREVIOUS_FILE));
    Ok(Ca {
        issuer,
        facts,
        pem,
        pem_path,
        previous_pem_path,
    })
}

fn public_mode() -> Mode {
    Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH
}

fn pem_of(der: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for (index, character) in text.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem.push_str("\n-----END CERTIFICATE-----\n");
    pem
}
