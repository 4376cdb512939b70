//! This host: its end, and that it was called off.

use super::call::change;
use super::extract::{Bare, Who};
use super::problem::Failure;
use super::{ProblemBody, Shared};
use axum::extract::State;
use axum::response::Response;
use types::Operation;

/// Shuts every guest down before the host goes, and starts none until it is back. Which machines shall
/// run stays as it is: they run again after the next boot.
#[utoipa::path(
    post,
    path = "/v1/host/shutdown",
    tag = "host",
    operation_id = "host_shutdown",
    responses(
        (status = 202, description = "Accepted; it ends once no machine runs", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn shutdown(State(app): State<Shared>, who: Who, _: Bare) -> Result<Response, Failure> {
    change(&app, move |engine| who.on(engine).shut_down_host(&who.0)).await
}

/// Calls the host's end off: machines that were held back run again.
#[utoipa::path(
    post,
    path = "/v1/host/resume",
    tag = "host",
    operation_id = "host_resume",
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn resume(State(app): State<Shared>, who: Who, _: Bare) -> Result<Response, Failure> {
    change(&app, move |engine| who.on(engine).resume_host(&who.0)).await
}
