//! Certificates for servers under test: a CA of the test's own, and leaves that it signs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls_pki_types::CertificateDer;

/// A CA that nothing trusts unless it is told to.
pub struct TestCa {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate chain and its key, in two files.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The leaf, then the CA.
    pub chain: PathBuf,
    /// The leaf's key, PKCS#8.
    pub key: PathBuf,
    /// The CA, to be trusted by clients.
    pub ca: PathBuf,
}

impl TestCa {
    /// A new CA.
    pub fn new() -> TestCa {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::new(Vec::new()).expect("no names are no fault");
        params.distinguished_name.push(DnType::CommonName, "CA of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).expect("a CA can sign itself");
        let pem = certificate.pem();
        TestCa {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Writes a leaf for these names into `folder` as `cert.pem`, `privkey.pem` and `ca.pem`: each written beside and
    /// renamed into its place. What stood there is replaced.
    pub fn write(&self, folder: &Path, names: &[&str]) -> CertificateFiles {
        let now = std::time::SystemTime::now();
        self.write_valid(folder, names, now + Duration::from_secs(30 * 24 * 3600))
    }

    /// The same, valid until `not_after`.
    pub fn write_valid(&self, folder: &Path, names: &[&str], not_after: std::time::SystemTime) -> CertificateFiles {
        let key = KeyPair::generate().expect("a key can be made");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("the names of a test are names");
        params.distinguished_name.push(DnType::CommonName, "server under test");
        params.not_after = not_after.into();
        let leaf = params.signed_by(&key, &self.issuer).expect("the CA signs");
        fs::create_dir_all(folder).expect("a folder can be made");
        let files = CertificateFiles {
            chain: folder.join("cert.pem"),
            key: folder.join("privkey.pem"),
            ca: folder.join("ca.pem"),
        };
        replace(&files.ca, &self.pem);
        replace(&files.chain, &format!("{}{}", leaf.pem(), self.pem));
        replace(&files.key, &key.serialize_pem());
        files
    }
}

impl Default for TestCa {
    fn default() -> Self {
        TestCa::new()
    }
}

/// Replaces a file as a careful program does: nobody sees half of it.
pub fn replace(path: &Path, content: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, content).unwrap_or_else(|error| panic!("{}: {error}", beside.display()));
    fs::rename(&beside, path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// The first certificate of a PEM file.
pub fn first_certificate(path: &Path) -> CertificateDer<'static> {
    use rustls_pki_types::pem::PemObject as _;
    CertificateDer::from_pem_file(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
