//! History: the audit log.

use super::call::call;
use super::extract::Args;
use super::problem::Failure;
use super::{ProblemBody, Shared, body, pages};
use axum::extract::State;
use axum::response::Response;
use engine::HistoryQuery;
use serde::Deserialize;
use types::operation::{HistoryEntry, Outcome};
use types::{Code, List, Problem, Timestamp, Verb};
use utoipa::IntoParams;

/// Which lines.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListArgs {
    /// At most this many; 50 unless given.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only what is newer than the line with this id.
    after: Option<uuid::Uuid>,
    /// Only what was asked at this time or later.
    since: Option<Timestamp>,
    /// What was asked, such as `volume.create`, or its beginning, such as `volume`.
    action: Option<String>,
    /// The id or name of what it is about.
    target: Option<String>,
    /// Who asked, such as `root` or `token:ci`.
    actor: Option<String>,
    /// Only what was refused or failed.
    #[serde(default)]
    failed: bool,
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
    if let Some(action) = args.action.as_deref() {
        known(action)?;
    }
    let (before, before_open) = place(args.cursor.as_deref())?;
    let query = HistoryQuery {
        limit: pages::limit(args.limit, 50)?,
        before,
        before_open,
        after: args.after,
        since: args.since,
        action: args.action,
        target: args.target,
        actor: args.actor,
        failed: args.failed,
    };
    let limit = query.limit;
    let found = call(&app, move |engine| engine.history(&query)).await?;
    // Those under way have no line yet, and come first: the next page may begin among them.
    let oldest = |open| found.iter().filter(|l| (l.outcome == Outcome::Running) == open).map(|l| l.id).min();
    let last = match oldest(false) {
        Some(line) => Some(line.to_string()),
        None => oldest(true).map(|operation| format!("{OPEN}{operation}")),
    };
    let next = last.filter(|_| found.len() == limit).map(|place| pages::encode(&place));
    Ok(body::page(found, next))
}

/// What the cursor of a page begins with that ends among what is under way.
const OPEN: &str = "open ";

/// Where a page begins: after a line, or after something that is under way.
fn place(cursor: Option<&str>) -> Result<(Option<uuid::Uuid>, Option<uuid::Uuid>), Problem> {
    let Some(cursor) = cursor else { return Ok((None, None)) };
    match pages::decode(cursor)?.strip_prefix(OPEN) {
        Some(id) => Ok((None, pages::id(Some(&pages::encode(id)))?)),
        None => Ok((pages::id(Some(cursor))?, None)),
    }
}

fn known(action: &str) -> Result<(), Problem> {
    let begins = |verb: &Verb| {
        verb.as_str().strip_prefix(action).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if Verb::ALL.iter().any(begins) {
        return Ok(());
    }
    let all: Vec<_> = Verb::ALL.iter().map(|v| v.as_str()).collect();
    Err(Problem::new(Code::InvalidRequest, format!("there is no action \"{}\"", action.escape_debug()))
        .hint(format!("the actions are: {}", all.join(", "))))
}
