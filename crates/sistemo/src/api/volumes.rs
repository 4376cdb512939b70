//! Volumes.

use super::call::{call, change, view};
use super::extract::{Raw, Seg, Who};
use super::problem::Failure;
use super::{ProblemBody, Shared, body};
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use types::operation::{Kind, Verb};
use types::volume::{CreateVolume, ResizeVolume, Volume};
use types::{List, Operation};

/// Lists the volumes.
#[utoipa::path(
    get,
    path = "/v1/volumes",
    tag = "volumes",
    operation_id = "volumes_list",
    responses(
        (status = 200, description = "All of them, by name", body = List<Volume>),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<Shared>) -> Result<Response, Failure> {
    call(&app, |engine| engine.volumes()).await.map(body::list)
}

/// Creates an empty data volume.
#[utoipa::path(
    post,
    path = "/v1/volumes",
    tag = "volumes",
    operation_id = "volumes_create",
    request_body = CreateVolume,
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create(State(app): State<Shared>, who: Who, raw: Raw) -> Result<Response, Failure> {
    let asked: CreateVolume = raw.change(&app, &who, Verb::VolumeCreate, Kind::Volume, "").await?;
    change(&app, move |engine| engine.create_volume(&who.0, asked)).await
}

/// Shows a volume.
#[utoipa::path(
    get,
    path = "/v1/volumes/{volume}",
    tag = "volumes",
    operation_id = "volumes_show",
    params(("volume" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The volume", body = Volume),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show(State(app): State<Shared>, Seg(volume): Seg<String>) -> Result<Json<Volume>, Failure> {
    view(&app, move |engine| engine.volume(&volume)).await
}

/// Deletes a detached volume; the trash keeps it for a while.
#[utoipa::path(
    delete,
    path = "/v1/volumes/{volume}",
    tag = "volumes",
    operation_id = "volumes_delete",
    params(("volume" = String, Path, description = "Id or name")),
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn delete(
    State(app): State<Shared>,
    who: Who,
    Seg(volume): Seg<String>,
) -> Result<Response, Failure> {
    change(&app, move |engine| engine.delete_volume(&who.0, &volume)).await
}

/// Makes a volume larger.
#[utoipa::path(
    post,
    path = "/v1/volumes/{volume}/resize",
    tag = "volumes",
    operation_id = "volumes_resize",
    params(("volume" = String, Path, description = "Id or name")),
    request_body = ResizeVolume,
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn resize(
    State(app): State<Shared>,
    who: Who,
    Seg(volume): Seg<String>,
    raw: Raw,
) -> Result<Response, Failure> {
    let asked: ResizeVolume = raw.change(&app, &who, Verb::VolumeResize, Kind::Volume, &volume).await?;
    change(&app, move |engine| engine.resize_volume(&who.0, &volume, asked)).await
}
