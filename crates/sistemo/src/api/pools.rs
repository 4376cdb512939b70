//! Pools.

use super::call::{call, change, tagged};
use super::extract::{Args, Raw, Seg, Who};
use super::problem::Failure;
use super::{ProblemBody, Shared, pages};
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use types::operation::{Kind, Verb};
use types::pool::{CreatePool, MoveVolume, Pool, PoolKind, PoolState, ResizePool};
use types::{List, Operation};
use utoipa::IntoParams;

/// Which pools: those of which every field that is given has that value.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListArgs {
    /// At most this many; all of them unless given.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// How it is.
    status: Option<PoolState>,
    /// What kind it is.
    kind: Option<PoolKind>,
}

/// Lists the pools.
#[utoipa::path(
    get,
    path = "/v1/pools",
    tag = "pools",
    operation_id = "pools_list",
    params(ListArgs),
    responses(
        (status = 200, description = "By name", body = List<Pool>),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<Shared>, Args(args): Args<ListArgs>) -> Result<Response, Failure> {
    let mut all = call(&app, |engine| engine.pools()).await?;
    all.retain(|p| args.status.is_none_or(|s| p.status == s) && args.kind.is_none_or(|k| p.kind == k));
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(pages::cut(all, args.limit, args.cursor.as_deref(), |p| p.name.to_string())?)
}

/// Creates a pool: in a directory, or in a file of a size.
#[utoipa::path(
    post,
    path = "/v1/pools",
    tag = "pools",
    operation_id = "pools_create",
    request_body = CreatePool,
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create(State(app): State<Shared>, who: Who, raw: Raw) -> Result<Response, Failure> {
    let asked: CreatePool = raw.change(&app, &who, Verb::PoolCreate, Kind::Pool, "").await?;
    change(&app, move |engine| who.on(engine).create_pool(&who.0, &asked)).await
}

/// Shows a pool.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}",
    tag = "pools",
    operation_id = "pools_show",
    params(("pool" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The pool", body = Pool, headers(("etag" = String, description = "The spec's revision, for If-Match"))),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show(State(app): State<Shared>, Seg(pool): Seg<String>) -> Result<Response, Failure> {
    tagged(&app, move |engine| engine.show_pool(&pool), |p| p.revision).await
}

/// How a pool goes.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct DeleteArgs {
    /// It is offline and will not come back: forget it with the volumes and snapshots in it; nothing it is on is
    /// touched.
    #[serde(default)]
    lost: bool,
}

/// Deletes a pool that nothing is in, or forgets one that is lost.
#[utoipa::path(
    delete,
    path = "/v1/pools/{pool}",
    tag = "pools",
    operation_id = "pools_delete",
    params(("pool" = String, Path, description = "Id or name"), DeleteArgs),
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn delete(
    State(app): State<Shared>,
    who: Who,
    Seg(pool): Seg<String>,
    Args(args): Args<DeleteArgs>,
) -> Result<Response, Failure> {
    change(&app, move |engine| who.on(engine).delete_pool(&who.0, &pool, args.lost)).await
}

/// Makes a pool that is in a file larger.
#[utoipa::path(
    post,
    path = "/v1/pools/{pool}/resize",
    tag = "pools",
    operation_id = "pools_resize",
    params(("pool" = String, Path, description = "Id or name")),
    request_body = ResizePool,
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn resize(
    State(app): State<Shared>,
    who: Who,
    Seg(pool): Seg<String>,
    raw: Raw,
) -> Result<Response, Failure> {
    let asked: ResizePool = raw.change(&app, &who, Verb::PoolResize, Kind::Pool, &pool).await?;
    change(&app, move |engine| who.on(engine).resize_pool(&who.0, &pool, &asked)).await
}

/// Brings a volume that no running machine has into another pool.
#[utoipa::path(
    post,
    path = "/v1/volumes/{volume}/move",
    tag = "volumes",
    operation_id = "volumes_move",
    params(("volume" = String, Path, description = "Id or name")),
    request_body = MoveVolume,
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn move_volume(
    State(app): State<Shared>,
    who: Who,
    Seg(volume): Seg<String>,
    raw: Raw,
) -> Result<Response, Failure> {
    let asked: MoveVolume = raw.change(&app, &who, Verb::VolumeMove, Kind::Volume, &volume).await?;
    change(&app, move |engine| who.on(engine).move_volume(&who.0, &volume, &asked)).await
}
