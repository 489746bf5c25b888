//! The project's CA certificate, as far as profiles and bundles need it. The key stays with the server.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use thiserror::Error;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Name of the certificate's file in the CA's folder.
pub(crate) const CA_FILE: &str = "ca.pem";

/// A certificate file larger than this is something else.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// Why there is no usable certificate.
#[derive(Debug, Error)]
pub(crate) enum CaError {
    /// The file cannot be read.
    #[error("cannot read the CA's certificate `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("`{}` holds no certificate", .0.display())]
    Content(PathBuf),
}

/// A CA certificate and what the browsers' databases ask about it.
#[derive(Clone, Debug)]
pub(crate) struct CaFile {
    /// Where it was read.
    pub(crate) path: PathBuf,
    /// The certificate, PEM, and nothing else that the file may hold.
    pub(crate) pem: String,
    /// The certificate.
    pub(crate) der: Vec<u8>,
    /// Its facts.
    pub(crate) facts: Facts,
}

/// What a certificate says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Facts {
    /// DER of the subject.
    pub(crate) subject: Vec<u8>,
    /// DER of the issuer.
    pub(crate) issuer: Vec<u8>,
    /// DER of the serial number, with tag and length.
    pub(crate) serial: Vec<u8>,
    /// Common name, for people.
    pub(crate) name: String,
    /// End of its validity.
    pub(crate) not_after: SystemTime,
}

impl CaFile {
    /// Reads a PEM file.
    ///
    /// Errors: `Read`, `Content`.
    pub(crate) fn read(path: &Path) -> Result<Self, CaError> {
        let failed = |source| CaError::Read {
            path: path.to_owned(),
            source,
        };
        let content = || CaError::Content(path.to_owned());
        if fs::metadata(path).map_err(failed)?.len() > FILE_MAX_BYTES {
            return Err(content());
        }
        let text = fs::read(path).map_err(failed)?;
        let (_, block) = parse_x509_pem(&text).map_err(|_| content())?;
        if block.label != "CERTIFICATE" {
            return Err(content());
        }
        let facts = Facts::of(&block.contents).ok_or_else(content)?;
        let pem = String::from_utf8(text).map_err(|_| content())?;
        let pem = pem_text(&pem_body(&pem));
        Ok(Self {
            path: path.to_owned(),
            pem,
            der: block.contents,
            facts,
        })
    }

    /// Lower-case hex of the SHA-256 of the certificate.
    pub(crate) fn sha256_hex(&self) -> String {
        hex(&Sha256::digest(&self.der))
    }

    /// The base64 text between the PEM's lines, without line ends.
    pub(crate) fn base64(&self) -> String {
        pem_body(&self.pem)
    }

    /// How long it is still valid; `None` when it is over.
    pub(crate) fn remaining(&self, now: SystemTime) -> Option<Duration> {
        self.facts.not_after.duration_since(now).ok()
    }
}

impl Facts {
    /// Is this a CA of the same project, made earlier or later? Their names differ in a mark at the end.
    pub(crate) fn is_relative_of(&self, other: &Self) -> bool {
        stem(&self.name) == stem(&other.name)
    }

    /// Reads the facts from DER; `None` when it is no certificate.
    pub(crate) fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let raw_serial = certificate.raw_serial();
        let length = u8::try_from(raw_serial.len()).ok().filter(|length| *length < 0x80)?;
        let mut serial = vec![2, length];
        serial.extend_from_slice(raw_serial);
        let subject = certificate.subject();
        let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok());
        let not_after = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
        Some(Self {
            subject: subject.as_raw().to_vec(),
            issuer: certificate.issuer().as_raw().to_vec(),
            serial,
            name: name.unwrap_or("ShimmerCat").to_owned(),
            not_after: UNIX_EPOCH + Duration::from_secs(not_after),
        })
    }
}

/// The first certificate of a PEM text, base64 without line ends.
pub(crate) fn pem_body(pem: &str) -> String {
    let lines = pem.lines().skip_while(|line| !line.starts_with("-----BEGIN")).skip(1);
    lines
        .take_while(|line| !line.starts_with("-----END"))
        .map(str::trim)
        .collect()
}

/// A CA's name without the eight hexadecimal digits that tell it from the project's other ones.
fn stem(name: &str) -> &str {
    match name.rsplit_once(' ') {
        Some((stem, mark)) if mark.len() == 8 && mark.bytes().all(|byte| byte.is_ascii_hexdigit()) => stem,
        _ => name,
    }
}

fn pem_text(body: &str) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for (index, letter) in body.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text + "\n-----END CERTIFICATE-----\n"
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::stem;

    #[test]
    fn the_mark_of_a_ca_is_not_part_of_its_projects_name() {
        assert_eq!(stem("ShimmerCat shop 0a1b2c3d"), "ShimmerCat shop");
        assert_eq!(stem("ShimmerCat shop"), "ShimmerCat shop");
        assert_eq!(stem("shop window!"), "shop window!");
    }
}
