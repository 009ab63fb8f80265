//! TLS with libpq's meaning of `sslmode`.

use crate::config::{RootCert, SslMode, Tls};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A certificate or key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("reading {path}: {cause}")]
pub struct TlsFileError {
    path: PathBuf,
    cause: String,
}

fn unusable(path: &Path, cause: impl std::fmt::Display) -> TlsFileError {
    TlsFileError { path: path.to_owned(), cause: format!("{cause}") }
}

/// The client's side of the handshake for these settings.
///
/// `require` with a root certificate behaves as `verify-ca`, as libpq documents.
pub(super) fn client_config(tls: &Tls) -> Result<ClientConfig, TlsFileError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = tls.root_cert.as_ref().map(|root| chain_verifier(root, &provider)).transpose()?;
    let check = match (tls.mode, &chain) {
        (SslMode::VerifyFull, _) => CertificateCheck::ChainAndName,
        (SslMode::VerifyCa | SslMode::Require, Some(_)) => CertificateCheck::Chain,
        _ => CertificateCheck::Nothing,
    };
    let verifier = Arc::new(CertificateVerifier { provider: provider.clone(), chain, check });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(Path::new("TLS settings"), error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let Some((cert, key)) = &tls.client else { return Ok(builder.with_no_client_auth()) };
    let certs = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(cert, error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, error))?;
    builder.with_client_auth_cert(certs, private).map_err(|error| unusable(key, error))
}

fn chain_verifier(root: &RootCert, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, TlsFileError> {
    let mut store = RootCertStore::empty();
    let path = match root {
        RootCert::System { .. } => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Path::new("the system's certificate store")
        }
        RootCert::File(path) => {
            for cert in CertificateDer::pem_file_iter(path).map_err(|error| unusable(path, error))? {
                let cert = cert.map_err(|error| unusable(path, error))?;
                store.add(cert).map_err(|error| unusable(path, error))?;
            }
            path
        }
    };
    WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone())
        .build()
        .map_err(|error| unusable(path, error))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CertificateCheck {
    Nothing,
    Chain,
    ChainAndName,
}

#[derive(Debug)]
struct CertificateVerifier {
    provider: Arc<CryptoProvider>,
    chain: Option<Arc<WebPkiServerVerifier>>,
    check: CertificateCheck,
}

impl ServerCertVerifier for CertificateVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = self.chain.as_ref().filter(|_| self.check != CertificateCheck::Nothing) else {
            return Ok(ServerCertVerified::assertion());
        };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // the name is compared last, after the chain was accepted
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.check == CertificateCheck::Chain => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
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
