//! Everything that changes, as a stream that can be taken up again.
//!
//! Invariant: a follower that comes back with the last revision it saw misses nothing, or is told
//! (410) that it has to read anew.

use super::access::Caller;
use super::call::{call, closing};
use super::extract::Args;
use super::problem::Failure;
use super::{ProblemBody, Shared};
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::watch;
use types::event::ChangeEvent;
use types::{Code, Problem};
use utoipa::IntoParams;

/// How often a silent stream shows that it lives.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// From where.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct FollowArgs {
    /// The last revision that was seen; now unless given. The header `Last-Event-ID` says the same.
    from: Option<u64>,
}

/// Follows all changes: first an event `revision` that says from where, then an event `change` for
/// each thing that changed, with its revision as the event's id.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "events",
    operation_id = "events",
    params(FollowArgs),
    responses(
        (status = 200, description = "Events", body = ChangeEvent, content_type = "text/event-stream"),
        (status = 410, description = "The log does not reach back so far", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn events(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Args(args): Args<FollowArgs>,
) -> Result<Response, Failure> {
    let last = match headers.get("last-event-id") {
        None => None,
        Some(value) => Some(value.to_str().ok().and_then(|v| v.parse().ok()).ok_or_else(|| {
            Problem::new(Code::InvalidRequest, "the Last-Event-ID is not an id of these events")
                .hint("it is the number of a revision")
        })?),
    };
    // Heard from before it is looked, so that nothing falls in between.
    let news = app.events.news();
    let asked = last.or(args.from);
    let (from, (upto, missed)) = call(&app, move |engine| {
        let from = match asked {
            Some(from) => from,
            None => engine.revision()?,
        };
        Ok((from, engine.changes(from)?))
    })
    .await?;
    let closing = closing(&app, caller);
    let follower = Follower { app, news, closing, from, upto, first: true, ready: missed.into() };
    Ok(Sse::new(follower.events()).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response())
}

struct Follower {
    app: Shared,
    news: watch::Receiver<u64>,
    closing: BoxFuture<'static, ()>,
    from: u64,
    upto: u64,
    first: bool,
    ready: VecDeque<ChangeEvent>,
}

impl Follower {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut this| async move {
            if std::mem::take(&mut this.first) {
                let told = serde_json::json!({ "revision": this.from });
                let event =
                    Event::default().event("revision").id(this.from.to_string()).json_data(told).ok()?;
                return Some((Ok(event), this));
            }
            let change = this.next().await?;
            // The id only with the last of a revision: whoever comes back with it has seen all of it.
            let whole = this.ready.front().is_none_or(|next| next.revision != change.revision);
            let mut event = Event::default().event("change").json_data(&change).ok()?;
            if whole {
                event = event.id(change.revision.to_string());
            }
            Some((Ok(event), this))
        })
    }

    async fn next(&mut self) -> Option<ChangeEvent> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Some(change);
            }
            tokio::select! {
                () = &mut self.closing => return None,
                heard = self.news.changed() => heard.ok()?,
            }
            let from = self.upto;
            // One that fell so far behind that the log is gone ends, and comes back to hear why.
            let (upto, changes) = call(&self.app, move |engine| engine.changes(from)).await.ok()?;
            (self.upto, self.ready) = (upto, changes.into());
        }
    }
}
