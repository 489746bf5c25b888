//! Certificates and keys from files that OpenSSL made.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sc_testkit::find_program;
use sc_tls::{ClientTrust, FilesError, HTTP11_ONLY, client_config, load_certified_key, names_of, server_config};
use tempfile::TempDir;

use crate::support::shake;

/// Always this one.
#[derive(Debug)]
struct Fixed(Arc<CertifiedKey>);

impl ResolvesServerCert for Fixed {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// A self-signed certificate as people make them: `openssl req -x509`, which marks it as a CA.
struct SelfSigned {
    folder: TempDir,
}

impl SelfSigned {
    fn new(key: &str) -> SelfSigned {
        let made = SelfSigned {
            folder: TempDir::new().expect("a temporary folder"),
        };
        let names = "subjectAltName=DNS:App.example,DNS:*.app.example,IP:127.0.0.1,IP:::1,email:a@app.example";
        let command = "req -x509 -nodes -days 30 -subj /CN=ignored.example -keyout pkcs8.pem -out chain.pem";
        let arguments = command.split(' ').chain(["-addext", names]).chain(key.split(' '));
        made.openssl(arguments);
        made
    }

    fn openssl<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) {
        let mut command = Command::new(find_program("openssl"));
        let output = command
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .expect("openssl can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn load(&self, key: &str) -> Result<Arc<CertifiedKey>, FilesError> {
        load_certified_key(&self.path("chain.pem"), &self.path(key))
    }
}

const EC: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1";

#[test]
fn keys_of_every_encoding_are_loaded() {
    let ec = SelfSigned::new(EC);
    ec.load("pkcs8.pem").expect("PKCS#8");
    ec.openssl("ec -in pkcs8.pem -out sec1.pem".split(' '));
    assert!(
        fs::read_to_string(ec.path("sec1.pem"))
            .expect("a file")
            .contains("BEGIN EC PRIVATE KEY")
    );
    ec.load("sec1.pem").expect("SEC1");
    let rsa = SelfSigned::new("-newkey rsa:2048");
    rsa.load("pkcs8.pem").expect("PKCS#8");
    rsa.openssl("rsa -in pkcs8.pem -out pkcs1.pem -traditional".split(' '));
    assert!(
        fs::read_to_string(rsa.path("pkcs1.pem"))
            .expect("a file")
            .contains("BEGIN RSA PRIVATE KEY")
    );
    rsa.load("pkcs1.pem").expect("PKCS#1");
    // Both in one file.
    let both = ["chain.pem", "pkcs8.pem"]
        .map(|name| fs::read_to_string(rsa.path(name)).expect("a file"))
        .concat();
    fs::write(rsa.path("both.pem"), both).expect("a file can be written");
    load_certified_key(&rsa.path("both.pem"), &rsa.path("both.pem")).expect("one file for both");
}

#[test]
fn mistakes_name_the_file() {
    let (ec, other) = (SelfSigned::new(EC), SelfSigned::new(EC));
    let chain = ec.path("chain.pem");
    let error = load_certified_key(&chain, &other.path("pkcs8.pem")).expect_err("another's key");
    assert!(
        matches!(&error, FilesError::Mismatch { chain: found, .. } if *found == chain),
        "{error}"
    );
    let error = load_certified_key(&chain, &chain).expect_err("no key");
    assert_eq!(
        error.to_string(),
        format!("`{}` holds no usable private key", chain.display())
    );
    let error = load_certified_key(&ec.path("pkcs8.pem"), &ec.path("pkcs8.pem")).expect_err("no certificate");
    assert_eq!(
        error.to_string(),
        format!("`{}` holds no certificate", ec.path("pkcs8.pem").display())
    );
    let error = ec.load("missing.pem").expect_err("no file");
    assert_eq!(
        error.to_string(),
        format!("cannot read `{}`", ec.path("missing.pem").display())
    );
    fs::write(
        ec.path("broken.pem"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .expect("a file");
    let error = load_certified_key(&ec.path("broken.pem"), &ec.path("pkcs8.pem")).expect_err("not a certificate");
    assert!(
        error.to_string().ends_with("holds a certificate that cannot be read"),
        "{error}"
    );
}

#[test]
fn names_and_end_of_a_certificate() {
    let key = SelfSigned::new(EC).load("pkcs8.pem").expect("a key");
    let certificate = key.end_entity_cert().expect("a certificate");
    assert_eq!(
        names_of(certificate),
        ["app.example", "*.app.example", "127.0.0.1", "::1"]
    );
    let left = sc_tls::files::not_after(certificate)
        .expect("an end")
        .duration_since(SystemTime::now());
    let month = Duration::from_secs(30 * 24 * 60 * 60);
    assert!(left.is_ok_and(|left| left <= month && month - left < Duration::from_secs(3600)));
    assert_eq!(names_of(&vec![1, 2, 3].into()), [""; 0]);
}

#[tokio::test]
async fn a_self_signed_application_is_trusted_by_its_own_certificate_and_no_other_name() {
    let (ours, other) = (SelfSigned::new(EC), SelfSigned::new(EC));
    let server =
        server_config(Arc::new(Fixed(ours.load("pkcs8.pem").expect("a key"))), HTTP11_ONLY).expect("a configuration");
    let trusting =
        |made: &SelfSigned| client_config(&ClientTrust::Pem(made.path("chain.pem")), HTTP11_ONLY).expect("trust");
    for name in ["app.example", "127.0.0.1"] {
        let (_accepted, connected) = shake(&server, &trusting(&ours), name).await;
        connected.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for (client, name) in [(trusting(&ours), "other.example"), (trusting(&other), "app.example")] {
        let (accepted, connected) = shake(&server, &client, name).await;
        assert!(matches!(connected.err(), Some(sc_tls::ConnectError::Certificate(_))));
        assert_eq!(accepted.err().expect("no handshake").fault.reason(), "distrusted");
    }
}
