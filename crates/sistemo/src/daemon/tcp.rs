//! The API over TCP.
//!
//! Invariant: what listens beyond loopback without TLS was asked for in so many words; a port that
//! nobody asked for and another program has is done without.

use super::tls;
use crate::api::Listener;
use crate::config::{Config, Tls};
use std::io::ErrorKind;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use types::{Code, Problem};

/// Where TCP listens, and how.
pub struct Bound {
    /// For the server.
    pub listener: Listener,
    /// The address with its port.
    pub address: SocketAddr,
    /// The sha256 of the certificate, if there is TLS.
    pub fingerprint: Option<String>,
}

impl Bound {
    /// The address as a person types it.
    pub fn url(&self) -> String {
        let scheme = if self.fingerprint.is_some() { "https" } else { "http" };
        let port = self.address.port();
        match self.address {
            a if a.ip().is_unspecified() => format!("{scheme}://localhost:{port}"),
            a => format!("{scheme}://{a}"),
        }
    }
}

/// Opens the port; `None` if TCP is switched off, or its default port is taken.
pub async fn bind(config: &Config) -> Result<Option<Bound>, Problem> {
    let Some(listen) = config.listen else { return Ok(None) };
    if !listen.ip().is_loopback() && config.tls == Tls::Off && !config.listen_insecure {
        return Err(Problem::new(
            Code::InvalidConfig,
            format!("listen = \"{listen}\" goes beyond this host without TLS"),
        )
        .hint("set tls = \"self-signed\" or tls.cert and tls.key; or, behind a proxy that does it, listen_insecure = true"));
    }
    let listener = match TcpListener::bind(listen).await {
        Ok(listener) => listener,
        Err(e) if e.kind() == ErrorKind::AddrInUse && !config.listen_set => {
            tracing::warn!("TCP stays closed: {listen} is taken; name another address with `listen`");
            return Ok(None);
        }
        Err(e) => {
            return Err(Problem::new(Code::InvalidConfig, format!("cannot listen at {listen}: {e}"))
                .hint("name another address with `listen`, or \"off\""));
        }
    };
    let address = listener
        .local_addr()
        .map_err(|e| Problem::new(Code::Internal, format!("the port is not known: {e}")))?;
    let (acceptor, fingerprint) = match tls::acceptor(config)? {
        Some((acceptor, fingerprint)) => (Some(acceptor), Some(fingerprint)),
        None => (None, None),
    };
    Ok(Some(Bound { listener: Listener::Tcp(listener, acceptor), address, fingerprint }))
}
