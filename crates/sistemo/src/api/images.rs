//! Images.

use super::call::{call, change, tagged};
use super::extract::{Args, Bare, Raw, Seg, Who};
use super::problem::Failure;
use super::{ProblemBody, Shared, pages};
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use types::image::{Image, PullImage};
use types::operation::{Kind, Verb};
use types::{List, Operation};
use utoipa::IntoParams;

/// Which images: those of which every field that is given has that value.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListArgs {
    /// At most this many; all of them unless given.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// `ready`, `building`, `deleting` or `failed`.
    status: Option<String>,
}

impl ListArgs {
    fn want(&self, i: &Image) -> bool {
        self.status.as_ref().is_none_or(|s| i.status == *s)
    }
}

/// Lists the images.
#[utoipa::path(
    get,
    path = "/v1/images",
    tag = "images",
    operation_id = "images_list",
    params(ListArgs),
    responses(
        (status = 200, description = "By name", body = List<Image>),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<Shared>, Args(args): Args<ListArgs>) -> Result<Response, Failure> {
    let mut all = call(&app, |engine| engine.images()).await?;
    all.retain(|i| args.want(i));
    Ok(pages::cut(all, args.limit, args.cursor.as_deref(), |i| format!("{} {}", i.name, i.id))?)
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
    change(&app, move |engine| who.on(engine).pull_image(&who.0, asked)).await
}

/// Shows an image.
#[utoipa::path(
    get,
    path = "/v1/images/{image}",
    tag = "images",
    operation_id = "images_show",
    params(("image" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The image", body = Image, headers(("etag" = String, description = "The spec's revision, for If-Match"))),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show(State(app): State<Shared>, Seg(image): Seg<String>) -> Result<Response, Failure> {
    tagged(&app, move |engine| engine.image(&image), |i| i.revision).await
}

/// Deletes an image; volumes that started from it are whole and stay.
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
    _: Bare,
) -> Result<Response, Failure> {
    change(&app, move |engine| who.on(engine).delete_image(&who.0, &image)).await
}
