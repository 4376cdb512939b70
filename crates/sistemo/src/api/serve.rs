//! Accepting connections.
//!
//! Invariant: bounded: so many connections at once, so many from one address, so long for a
//! handshake and a request's head; a client that misbehaves costs one connection. The socket and
//! TCP have room of their own, so that nobody out there can lock the operator out.

use super::Peer;
use super::access::{Remote, one};
use super::call::stopped;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Connections at once; a waiting one is accepted when another ends.
const MAX_CONNECTIONS: usize = 512;
/// How many of them one address may have.
const MAX_OF_ONE: usize = MAX_CONNECTIONS / 2;
/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(15);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long bytes may wait for a client that takes none, in milliseconds (`tcp(7)`).
const UNTAKEN: u32 = 60_000;

/// Where connections come from.
pub enum Listener {
    /// This host's users.
    Unix(UnixListener),
    /// Everybody, with TLS if there is a certificate.
    Tcp(TcpListener, Option<TlsAcceptor>),
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream, IpAddr),
}

impl Listener {
    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(listener) => Ok(Stream::Unix(listener.accept().await?.0)),
            Self::Tcp(listener, _) => {
                let (stream, from) = listener.accept().await?;
                Ok(Stream::Tcp(stream, from.ip().to_canonical()))
            }
        }
    }

    fn tls(&self) -> Option<TlsAcceptor> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp(_, tls) => tls.clone(),
        }
    }
}

/// Serves `router` on `listener` until `stopping` becomes true and the requests under way are
/// answered; whoever does not want to wait for them drops this future.
pub async fn serve(listener: impl Into<Listener>, router: Router, mut stopping: watch::Receiver<bool>) {
    let listener = listener.into();
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let crowd = Crowd::default();
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = stopped(&mut stopping) => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, permit)) = accepted else {
            continue;
        };
        let place = match &stream {
            Stream::Tcp(_, address) => match crowd.enter(*address) {
                Some(place) => Some(place),
                None => {
                    tracing::debug!(%address, "too many connections from one address");
                    continue;
                }
            },
            Stream::Unix(_) => None,
        };
        let router = router.clone();
        let stopping = stopping.clone();
        let tls = listener.tls();
        connections.spawn(async move {
            connection(stream, tls, router, stopping).await;
            drop((permit, place));
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept(
    listener: &Listener,
    room: &Arc<Semaphore>,
) -> Option<(Stream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok(stream) => Some((stream, permit)),
        Err(e) => {
            // Out of descriptors, most likely: accepting again at once would only burn time.
            tracing::warn!("cannot accept a connection: {e}");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// How many connections each address has.
#[derive(Clone, Default)]
struct Crowd(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection's place in the crowd.
struct Place(Crowd, IpAddr);

impl Crowd {
    fn enter(&self, address: IpAddr) -> Option<Place> {
        let address = one(address);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let n = all.entry(address).or_default();
        if *n >= MAX_OF_ONE {
            return None;
        }
        *n += 1;
        Some(Place(self.clone(), address))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(n) = all.get_mut(&self.1) {
            *n -= 1;
            if *n == 0 {
                all.remove(&self.1);
            }
        }
    }
}

async fn connection(
    stream: Stream,
    tls: Option<TlsAcceptor>,
    router: Router,
    stopping: watch::Receiver<bool>,
) {
    match stream {
        Stream::Unix(stream) => match Peer::of(stream.as_fd()) {
            Ok(peer) => talk(stream, router.layer(Extension(peer)), stopping).await,
            Err(e) => tracing::warn!("a connection without a user: {e}"),
        },
        Stream::Tcp(stream, address) => {
            // Without these, only a client that stalls is served worse.
            let _ = stream.set_nodelay(true);
            let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNTAKEN);
            let remote = Remote { address, tls: tls.is_some() };
            let router = router.layer(Extension(remote));
            match tls {
                None => talk(stream, router, stopping).await,
                Some(tls) => match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                    Ok(Ok(stream)) => talk(stream, router, stopping).await,
                    Ok(Err(e)) => tracing::debug!(%address, "a TLS handshake failed: {e}"),
                    Err(_) => tracing::debug!(%address, "a TLS handshake took too long"),
                },
            }
        }
    }
}

async fn talk<S>(stream: S, router: Router, mut stopping: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let mut server = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    let served = tokio::select! {
        served = server.as_mut() => served,
        () = stopped(&mut stopping) => {
            server.as_mut().graceful_shutdown();
            server.await
        }
    };
    if let Err(e) = served {
        tracing::debug!("a connection ended early: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_does_not_take_all_the_room() {
        let crowd = Crowd::default();
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut places: Vec<_> = (0..MAX_OF_ONE).map(|_| crowd.enter(here).unwrap()).collect();
        assert!(crowd.enter(here).is_none() && crowd.enter(there).is_some());
        places.pop();
        assert!(crowd.enter(here).is_some());
        drop(places);
        assert!(crowd.0.lock().unwrap().is_empty());
    }
}
