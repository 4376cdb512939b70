//! The client's side of TLS.
//!
//! Invariant: a certificate is accepted because an authority that this host trusts signed it for
//! that name, or because it is the very one that was named by its fingerprint.

use super::url::Target;
use crate::fingerprint::fingerprint;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use types::{Code, Problem};

/// Encrypts a connection.
pub(super) async fn handshake(
    target: &Target,
    host: &str,
    stream: TcpStream,
    expected: Option<&str>,
    within: Duration,
) -> Result<TlsStream<TcpStream>, Problem> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = ServerName::try_from(name.trim_start_matches('[').trim_end_matches(']').to_owned()).map_err(
        |_| Problem::new(Code::InvalidUrl, format!("\"{name}\" is no name that a certificate has")),
    )?;
    let config = config(expected)?;
    match tokio::time::timeout(within, TlsConnector::from(Arc::new(config)).connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(e)) if e.get_ref().is_some_and(|e| e.is::<rustls::Error>()) => Err(Problem::new(
            Code::DaemonUnreachable,
            format!("what answers at {target} is not who was expected: {e}"),
        )
        .hint("the daemon logs its certificate's fingerprint; set tls.fingerprint (SISTEMO_TLS_FINGERPRINT) to it")),
        Ok(Err(e)) => Err(super::transport::unreachable(target, &e)),
        Err(_) => Err(super::transport::unreachable(target, &std::io::ErrorKind::TimedOut.into())),
    }
}

fn config(expected: Option<&str>) -> Result<ClientConfig, Problem> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| Problem::new(Code::Internal, format!("TLS cannot be used: {e}")))?;
    Ok(match expected {
        Some(expected) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned { expected: expected.to_owned(), provider }))
            .with_no_client_auth(),
        None => {
            let mut roots = RootCertStore::empty();
            // Those that cannot be read are no reason to refuse the others.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            builder.with_root_certificates(roots).with_no_client_auth()
        }
    })
}

/// Accepts one certificate.
#[derive(Debug)]
struct Pinned {
    expected: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if fingerprint(end_entity) == self.expected {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::CertificateError::ApplicationVerificationFailure.into())
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
