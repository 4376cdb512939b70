//! Accepting connections.
//!
//! Invariant: bounded: so many connections at once, so long for a request's head; a client that
//! misbehaves costs one connection.

use super::Peer;
use super::call::stopped;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Connections at once; a waiting one is accepted when another ends.
const MAX_CONNECTIONS: usize = 512;
/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(15);

/// Serves `router` on `listener` until `stopping` becomes true and the requests under way are
/// answered; whoever does not want to wait for them drops this future.
pub async fn serve(listener: UnixListener, router: Router, mut stopping: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
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
        let router = router.clone();
        let stopping = stopping.clone();
        connections.spawn(async move {
            connection(stream, router, stopping).await;
            drop(permit);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept(
    listener: &UnixListener,
    room: &Arc<Semaphore>,
) -> Option<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(e) => {
            // Out of descriptors, most likely: accepting again at once would only burn time.
            tracing::warn!("cannot accept a connection: {e}");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn connection(stream: UnixStream, router: Router, mut stopping: watch::Receiver<bool>) {
    let peer = match stream.peer_cred() {
        Ok(cred) => Peer::of_uid(cred.uid()),
        Err(e) => {
            tracing::warn!("a connection without a user: {e}");
            return;
        }
    };
    let service = TowerToHyperService::new(router.layer(Extension(peer)));
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
