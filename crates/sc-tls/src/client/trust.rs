//! Whom the client's side trusts, as rustls verifiers.
//!
//! `Pem` means the certificates of that file and nobody else. A development server's self-signed certificate is often
//! marked as a CA, which a strict verifier refuses as a server's own; when exactly that certificate stands in the file
//! it is taken, with its name and dates still checked. `Insecure` accepts any certificate but still checks that the
//! server holds its key.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use rustls_platform_verifier::Verifier;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::ClientConfigError;
use crate::files::certificates_in;
use crate::provider::provider;

/// Whose certificates are accepted.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ClientTrust {
    /// Whoever the operating system trusts.
    Platform,
    /// What the certificates of a PEM file have signed, or those certificates themselves; nobody else.
    Pem(PathBuf),
    /// Anybody. For an application on the same machine only.
    Insecure,
}

pub(super) fn verifier(trust: &ClientTrust) -> Result<Arc<dyn ServerCertVerifier>, ClientConfigError> {
    match trust {
        ClientTrust::Platform => Ok(Arc::new(
            Verifier::new(provider()).map_err(ClientConfigError::Platform)?,
        )),
        ClientTrust::Pem(path) => Ok(Arc::new(PemVerifier::new(certificates_in(path)?)?)),
        ClientTrust::Insecure => Ok(Arc::new(AnybodyVerifier { provider: provider() })),
    }
}

#[derive(Debug)]
struct PemVerifier {
    inner: Arc<WebPkiServerVerifier>,
    listed: Vec<CertificateDer<'static>>,
}

impl PemVerifier {
    fn new(listed: Vec<CertificateDer<'static>>) -> Result<PemVerifier, ClientConfigError> {
        let mut roots = RootCertStore::empty();
        for certificate in &listed {
            roots.add(certificate.clone()).map_err(ClientConfigError::Trust)?;
        }
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| ClientConfigError::Trust(rustls::Error::Other(OtherError(Arc::new(error)))))?;
        Ok(PemVerifier { inner, listed })
    }
}

impl ServerCertVerifier for PemVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.listed.iter().any(|listed| listed == end_entity) {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return verify_dates(end_entity, now).map(|()| ServerCertVerified::assertion());
        }
        self.inner
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn verify_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < certificate.validity().not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > certificate.validity().not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

#[derive(Debug)]
struct AnybodyVerifier {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnybodyVerifier {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
