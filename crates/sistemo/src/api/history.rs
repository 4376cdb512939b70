//! History: the audit log.

use super::call::call;
use super::extract::Args;
use super::problem::Failure;
use super::{ProblemBody, Shared, body};
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use types::List;
use types::operation::HistoryEntry;
use utoipa::IntoParams;

/// How many.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListArgs {
    /// At most this many, the newest first; 50 unless given, 10000 at most.
    limit: Option<usize>,
}

/// Lists what was asked, by whom, and how it ended; the newest first.
#[utoipa::path(
    get,
    path = "/v1/history",
    tag = "history",
    operation_id = "history_list",
    params(ListArgs),
    responses(
        (status = 200, description = "The newest", body = List<HistoryEntry>),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<Shared>, Args(args): Args<ListArgs>) -> Result<Response, Failure> {
    let limit = args.limit.unwrap_or(50).min(10_000);
    call(&app, move |engine| engine.history(limit)).await.map(body::list)
}
