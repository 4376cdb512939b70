//! Networks.

use super::call::{call, tagged};
use super::extract::{Args, Seg};
use super::problem::Failure;
use super::{ProblemBody, Shared, pages};
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use types::List;
use types::network::Network;
use utoipa::IntoParams;

/// Which networks: those of which every field that is given has that value.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListArgs {
    /// At most this many; all of them unless given.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Its name.
    name: Option<String>,
}

impl ListArgs {
    fn want(&self, n: &Network) -> bool {
        self.name.as_ref().is_none_or(|s| n.name.as_str() == s)
    }
}

/// Lists the networks.
#[utoipa::path(
    get,
    path = "/v1/networks",
    tag = "networks",
    operation_id = "networks_list",
    params(ListArgs),
    responses(
        (status = 200, description = "By name", body = List<Network>),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<Shared>, Args(args): Args<ListArgs>) -> Result<Response, Failure> {
    let mut all = call(&app, |engine| engine.networks()).await?;
    all.retain(|n| args.want(n));
    Ok(pages::cut(all, args.limit, args.cursor.as_deref(), |n| format!("{} {}", n.name, n.id))?)
}

/// Shows a network.
#[utoipa::path(
    get,
    path = "/v1/networks/{network}",
    tag = "networks",
    operation_id = "networks_show",
    params(("network" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The network", body = Network, headers(("etag" = String, description = "The spec's revision, for If-Match"))),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show(State(app): State<Shared>, Seg(network): Seg<String>) -> Result<Response, Failure> {
    tagged(&app, move |engine| engine.network(&network), |n| n.revision).await
}
