//! Operations as they change, for whoever follows one.
//!
//! Invariant: nobody misses an end: a follower first listens, then reads how far the operation is,
//! and reads again when it was too slow or nothing was heard for a while.

use super::Shared;
use super::access::Caller;
use super::call::{call, closing};
use super::problem::Failure;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, Stream};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;
use types::{Operation, OperationId, OperationState};

/// How often a silent stream shows that it lives.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Changes that a slow follower may be behind before it has to read again.
const BACKLOG: usize = 256;

/// Where the engine tells its news and followers hear them.
#[derive(Clone)]
pub struct Hub(broadcast::Sender<Arc<Operation>>, watch::Sender<u64>);

impl Default for Hub {
    fn default() -> Self {
        Self(broadcast::channel(BACKLOG).0, watch::channel(0).0)
    }
}

impl Hub {
    /// What to call with every revision of the store. It never blocks.
    pub fn revisions(&self) -> engine::store::OnCommit {
        let told = self.1.clone();
        Arc::new(move |revision| {
            told.send_if_modified(|newest| {
                let newer = revision > *newest;
                *newest = (*newest).max(revision);
                newer
            });
        })
    }

    /// The newest revision of the store that this was told of; 0 before the first.
    pub(super) fn revision(&self) -> u64 {
        *self.1.borrow()
    }

    /// Hears of revisions.
    pub(super) fn news(&self) -> watch::Receiver<u64> {
        let mut news = self.1.subscribe();
        news.mark_unchanged();
        news
    }

    /// Tells a change. Never blocks; without followers it does nothing.
    pub fn tell(&self, operation: &Operation) {
        if self.0.receiver_count() > 0 {
            let _ = self.0.send(Arc::new(operation.clone()));
        }
    }
}

/// Answers with the operation's events.
pub(super) async fn follow(app: Shared, caller: Caller, id: OperationId) -> Result<Response, Failure> {
    let news = app.events.0.subscribe();
    let now = call(&app, move |engine| engine.operation(id)).await?;
    let closing = closing(&app, caller);
    let follower = Follower { app, id, news, first: Some(now), ended: false, closing };
    Ok(Sse::new(follower.events()).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response())
}

struct Follower {
    app: Shared,
    id: OperationId,
    news: broadcast::Receiver<Arc<Operation>>,
    first: Option<Operation>,
    ended: bool,
    closing: BoxFuture<'static, ()>,
}

impl Follower {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut this| async move {
            let operation = this.next().await?;
            this.ended = operation.state != OperationState::Running;
            let event = Event::default().event("operation").json_data(&operation).ok()?;
            Some((Ok(event), this))
        })
    }

    async fn next(&mut self) -> Option<Operation> {
        if self.ended {
            return None;
        }
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            let heard = tokio::select! {
                () = &mut self.closing => {
                    // It may have ended at the same moment, and this is the last chance to tell.
                    let id = self.id;
                    let now = call(&self.app, move |engine| engine.operation(id)).await.ok()?;
                    return (now.state != OperationState::Running).then_some(now);
                }
                heard = tokio::time::timeout(HEARTBEAT, self.news.recv()) => heard,
            };
            match heard {
                Ok(Ok(operation)) if operation.id == self.id => {
                    return Some(Operation::clone(&operation));
                }
                Ok(Ok(_)) => {}
                Ok(Err(RecvError::Closed)) => return None,
                Ok(Err(RecvError::Lagged(_))) | Err(_) => {
                    let id = self.id;
                    let now = call(&self.app, move |engine| engine.operation(id)).await.ok()?;
                    if now.state != OperationState::Running {
                        return Some(now);
                    }
                }
            }
        }
    }
}
