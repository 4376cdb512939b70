//! Networks.

use super::call::{call, view};
use super::extract::Seg;
use super::problem::Failure;
use super::{ProblemBody, Shared, body};
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use types::List;
use types::network::Network;

/// Lists the networks.
#[utoipa::path(
    get,
    path = "/v1/networks",
    tag = "networks",
    operation_id = "networks_list",
    responses(
        (status = 200, description = "All of them, by name", body = List<Network>),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<Shared>) -> Result<Response, Failure> {
    call(&app, |engine| engine.networks()).await.map(body::list)
}

/// Shows a network.
#[utoipa::path(
    get,
    path = "/v1/networks/{network}",
    tag = "networks",
    operation_id = "networks_show",
    params(("network" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The network", body = Network),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show(State(app): State<Shared>, Seg(network): Seg<String>) -> Result<Json<Network>, Failure> {
    view(&app, move |engine| engine.network(&network)).await
}
