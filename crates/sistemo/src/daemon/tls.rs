//! The daemon's certificate: the operator's, or one of its own.
//!
//! Invariant: a self-signed certificate that is there is never replaced while it is good, since
//! clients hold its fingerprint; its key is 0600 from the moment it exists.

use crate::config::{Config, Tls};
use crate::fingerprint::fingerprint;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use types::{Code, Problem};

/// What serves TLS, and the sha256 of its certificate; `None` without TLS.
pub fn acceptor(config: &Config) -> Result<Option<(TlsAcceptor, String)>, Problem> {
    let (cert, key) = match &config.tls {
        Tls::Off => return Ok(None),
        Tls::Files { cert, key } => (cert.clone(), key.clone()),
        Tls::SelfSigned => self_signed(&config.data_dir, &config.allowed_hosts)?,
    };
    let bad = |path: &Path, why: &dyn std::fmt::Display| {
        Problem::new(Code::InvalidConfig, format!("{} cannot be used for TLS: {why}", path.display()))
            .hint("tls.cert is a PEM file with the chain, tls.key one with its private key")
    };
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(&cert).and_then(Iterator::collect).map_err(|e| bad(&cert, &e))?;
    let Some(first) = chain.first() else { return Err(bad(&cert, &"there is no certificate in it")) };
    let fingerprint = fingerprint(first);
    let key_der = PrivateKeyDer::from_pem_file(&key).map_err(|e| bad(&key, &e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|b| b.with_no_client_auth().with_single_cert(chain, key_der))
        .map_err(|e| bad(&cert, &e))?;
    Ok(Some((TlsAcceptor::from(Arc::new(server)), fingerprint)))
}

/// The pair below `<data>/tls`, made if it is not there.
fn self_signed(data_dir: &Path, names: &[String]) -> Result<(PathBuf, PathBuf), Problem> {
    let dir = data_dir.join("tls");
    let (cert, key) = (dir.join("self-signed.pem"), dir.join("self-signed.key"));
    if cert.exists() && key.exists() {
        return Ok((cert, key));
    }
    let failed = |why: String| Problem::new(Code::IoError, format!("cannot make a certificate: {why}"));
    let mut all = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    all.extend(names.iter().cloned());
    let made = rcgen::generate_simple_self_signed(all).map_err(|e| failed(e.to_string()))?;
    let write = || {
        match std::fs::create_dir(&dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => host::durable::sync_dir(data_dir)?,
        }
        // The certificate last: a pair without it is made again.
        host::durable::write(&key, made.signing_key.serialize_pem().as_bytes(), 0o600)?;
        host::durable::write(&cert, made.cert.pem().as_bytes(), 0o644)
    };
    write().map_err(|e| failed(e.to_string()))?;
    Ok((cert, key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_pair_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = self_signed(dir.path(), &["vm.example".into()]).unwrap();
        assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let bytes = std::fs::read(&cert).unwrap();
        self_signed(dir.path(), &[]).unwrap();
        assert_eq!(std::fs::read(&cert).unwrap(), bytes);
        std::fs::remove_file(&cert).unwrap();
        self_signed(dir.path(), &[]).unwrap();
        assert_ne!(std::fs::read(&cert).unwrap(), bytes);
    }
}
