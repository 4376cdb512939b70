//! What a machine's serial console has shown.

use super::access::Caller;
use super::call::{call, closing};
use super::extract::{Args, Seg};
use super::problem::Failure;
use super::{ProblemBody, Shared};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::Deserialize;
use utoipa::IntoParams;

/// How.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct LogArgs {
    /// Go on with what the console shows from now on.
    #[serde(default)]
    follow: bool,
}

/// Reads the machine's serial console, as the guest wrote it.
#[utoipa::path(
    get,
    path = "/v1/machines/{machine}/logs",
    tag = "machines",
    operation_id = "machines_logs",
    params(("machine" = String, Path, description = "Id or name"), LogArgs),
    responses(
        (status = 200, description = "Bytes from the guest", content_type = "application/octet-stream"),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn logs(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Seg(machine): Seg<String>,
    Args(args): Args<LogArgs>,
) -> Result<Response, Failure> {
    let id = call(&app, move |engine| engine.machine(&machine)).await?.id;
    let console = app.guests.console(id, args.follow)?.take_until(closing(&app, caller));
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], Body::from_stream(console)).into_response())
}
