//! Operations.

use super::access::Caller;
use super::call::{call, view};
use super::extract::{Args, Seg};
use super::problem::Failure;
use super::{ProblemBody, Shared, body, events, pages};
use axum::extract::State;
use axum::response::Response;
use axum::{Extension, Json};
use serde::Deserialize;
use types::{Code, List, Operation, OperationId, OperationState, Problem, Verb};
use utoipa::IntoParams;

/// Which operations.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListArgs {
    /// At most this many; 50 unless given.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// How far they are.
    state: Option<OperationState>,
    /// What was asked.
    verb: Option<Verb>,
    /// The id or name of what they are about.
    target: Option<String>,
}

/// Lists operations, the newest first.
#[utoipa::path(
    get,
    path = "/v1/operations",
    tag = "operations",
    operation_id = "operations_list",
    params(ListArgs),
    responses(
        (status = 200, description = "The newest", body = List<Operation>),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<Shared>, Args(args): Args<ListArgs>) -> Result<Response, Failure> {
    let limit = pages::limit(args.limit, 50)?;
    let before = pages::id(args.cursor.as_deref())?.map(OperationId);
    let found = call(&app, move |engine| {
        engine.operations(limit, before, |op| {
            let of_target =
                |t: &String| op.target.name == *t || op.target.id.is_some_and(|id| id.to_string() == *t);
            args.state.is_none_or(|s| op.state == s)
                && args.verb.is_none_or(|v| op.verb == v)
                && args.target.as_ref().is_none_or(of_target)
        })
    })
    .await?;
    let full = found.len() == limit;
    let next = found.last().filter(|_| full).map(|op| pages::encode(&op.id.to_string()));
    Ok(body::page(found, next))
}

/// Shows an operation.
#[utoipa::path(
    get,
    path = "/v1/operations/{operation}",
    tag = "operations",
    operation_id = "operations_show",
    params(("operation" = String, Path, description = "Id")),
    responses(
        (status = 200, description = "The operation", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show_operation(
    State(app): State<Shared>,
    Seg(id): Seg<String>,
) -> Result<Json<Operation>, Failure> {
    let id = parse(&id)?;
    view(&app, move |engine| engine.operation(id)).await
}

/// Follows an operation: a server-sent event `operation` with the whole operation for each change,
/// progress included, ending after the last; comments in between show that the connection lives.
#[utoipa::path(
    get,
    path = "/v1/operations/{operation}/events",
    tag = "operations",
    operation_id = "operations_events",
    params(("operation" = String, Path, description = "Id")),
    responses(
        (status = 200, description = "Events", body = Operation, content_type = "text/event-stream"),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn events(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Seg(id): Seg<String>,
) -> Result<Response, Failure> {
    events::follow(app, caller, parse(&id)?).await
}

fn parse(id: &str) -> Result<OperationId, Problem> {
    id.parse().map_err(|_| {
        Problem::new(Code::OperationNotFound, format!("there is no operation \"{}\"", id.escape_debug()))
            .hint("`sistemo operation list` shows their ids")
    })
}
