//! Images.

use super::call::{call, change, view};
use super::extract::{Raw, Seg, Who};
use super::problem::Failure;
use super::{ProblemBody, Shared, body};
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use types::image::{Image, PullImage};
use types::operation::{Kind, Verb};
use types::{List, Operation};

/// Lists the images.
#[utoipa::path(
    get,
    path = "/v1/images",
    tag = "images",
    operation_id = "images_list",
    responses(
        (status = 200, description = "All of them, by name", body = List<Image>),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<Shared>) -> Result<Response, Failure> {
    call(&app, |engine| engine.images()).await.map(body::list)
}

/// Makes an image ready: builds a recipe or takes in a file.
#[utoipa::path(
    post,
    path = "/v1/images",
    tag = "images",
    operation_id = "images_pull",
    request_body = PullImage,
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn pull(State(app): State<Shared>, who: Who, raw: Raw) -> Result<Response, Failure> {
    let asked: PullImage = raw.change(&app, &who, Verb::ImagePull, Kind::Image, "").await?;
    change(&app, move |engine| engine.pull_image(&who.0, asked)).await
}

/// Shows an image.
#[utoipa::path(
    get,
    path = "/v1/images/{image}",
    tag = "images",
    operation_id = "images_show",
    params(("image" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The image", body = Image),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show(State(app): State<Shared>, Seg(image): Seg<String>) -> Result<Json<Image>, Failure> {
    view(&app, move |engine| engine.image(&image)).await
}

/// Deletes an image that no volume started from.
#[utoipa::path(
    delete,
    path = "/v1/images/{image}",
    tag = "images",
    operation_id = "images_delete",
    params(("image" = String, Path, description = "Id or name")),
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn delete(
    State(app): State<Shared>,
    who: Who,
    Seg(image): Seg<String>,
) -> Result<Response, Failure> {
    change(&app, move |engine| engine.delete_image(&who.0, &image)).await
}
