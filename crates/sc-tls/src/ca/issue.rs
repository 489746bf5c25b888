//! A certificate for several names at once, written into files as a master of internet mode reads them.
//!
//! For instances that nobody but this machine talks to; a person's own instance gets its certificate from a public authority.
//! Leaves by server name, which never touch the disk, are [`crate::minter`]'s.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rcgen::{PKCS_ECDSA_P256_SHA256, SanType};
use zeroize::Zeroizing;

use super::{Ca, CaError, DAY, pem_of};
use crate::provider::{certificate_time, random_serial};

/// Clocks of virtual machines lag behind now and then.
const BACKDATED: Duration = Duration::from_secs(60 * 60);

impl Ca {
    /// Makes a key and a certificate for `names`, valid for a day, and writes both into `folder`.
    ///
    /// Shape: the files are `cert.pem` (leaf, then the CA) and `privkey.pem` (0600), new in the folder; their paths come
    /// back in this order. Blocks for some milliseconds.
    /// Errors: `Crypto` also for a name that cannot stand in a certificate, `Write` when a file is there already.
    pub fn issue(&self, names: &[String], now: SystemTime, folder: &Path) -> Result<(PathBuf, PathBuf), CaError> {
        let (begin, end) = (now.checked_sub(BACKDATED), now.checked_add(DAY));
        let mut params = CertificateParams::default();
        params.not_before = begin
            .map(|begin| begin.max(self.not_before()))
            .and_then(certificate_time)
            .ok_or(CaError::Clock)?;
        params.not_after = end
            .map(|end| end.min(self.not_after()))
            .and_then(certificate_time)
            .ok_or(CaError::Clock)?;
        params.serial_number = Some(random_serial().map_err(|_| CaError::Random)?);
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = names
            .iter()
            .map(|name| name.as_str().try_into().map(SanType::DnsName))
            .collect::<Result<_, _>>()
            .map_err(CaError::Crypto)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CaError::Crypto)?;
        let leaf = params.signed_by(&key, self.issuer()).map_err(CaError::Crypto)?;
        let chain = format!("{}{}", pem_of(leaf.der()), self.pem());
        let private = Zeroizing::new(key.serialize_pem());
        Ok((
            write_new(folder.join("cert.pem"), chain.as_bytes(), 0o644)?,
            write_new(folder.join("privkey.pem"), private.as_bytes(), 0o600)?,
        ))
    }
}

fn write_new(path: PathBuf, bytes: &[u8], mode: u32) -> Result<PathBuf, CaError> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
    match opened.and_then(|mut file| file.write_all(bytes)) {
        Ok(()) => Ok(path),
        Err(source) => Err(CaError::Write { path, source }),
    }
}
