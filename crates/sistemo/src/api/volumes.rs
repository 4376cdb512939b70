//! Volumes.

use super::call::{call, called, change, tagged};
use super::extract::{Args, Bare, Raw, Seg, Who};
use super::pages::labels_in_query;
use super::problem::Failure;
use super::storage::look;
use super::{ProblemBody, Shared, body, pages};
use axum::extract::{RawQuery, State};
use axum::response::Response;
use serde::Deserialize;
use std::time::Instant;
use types::label::Edit;
use types::operation::{Kind, Verb};
use types::volume::{
    AttachStatus, CloneVolume, Condition, CreateVolume, ResizeVolume, Restore, Volume, VolumeRole,
};
use types::{Code, List, Operation, Problem};
use utoipa::IntoParams;

/// A list of so many volumes is in memory as a whole, and may be kept.
const SHORT: usize = 2000;

/// Which volumes: those of which every field that is given has that value.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListArgs {
    /// At most this many; all of them unless given.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// `attached` or `detached`.
    status: Option<AttachStatus>,
    /// `root` or `data`.
    role: Option<VolumeRole>,
    /// The machine that holds it, by name or id.
    attached_to: Option<String>,
    /// The image it was cloned from.
    image: Option<String>,
    /// The pool it lives in, by name or id.
    pool: Option<String>,
    /// What stands beside its status.
    condition: Option<Condition>,
    /// Those that were deleted and can be taken back, instead of those that are there.
    #[serde(default)]
    deleted: bool,
    /// Those that have all of these labels, such as `env=prod,tier=web`.
    label: Option<String>,
    /// With what each of them takes: every file is looked at, and the guests that run are asked.
    #[serde(default)]
    usage: bool,
}

/// What to show.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ShowArgs {
    /// With what it takes: its file is looked at, and its guest is asked if it runs.
    #[serde(default)]
    usage: bool,
}

/// How to delete.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct DeleteArgs {
    /// For good: the trash does not keep it, or no longer.
    #[serde(default)]
    pub now: bool,
    /// Only what was deleted before, out of the trash and for good: what is there is refused. By name,
    /// the one that was deleted last.
    #[serde(default)]
    pub deleted: bool,
}

impl ListArgs {
    fn want(&self, v: &Volume) -> bool {
        self.status.is_none_or(|s| v.status == s)
            && self.role.is_none_or(|r| v.role == r)
            && self.attached_to.as_ref().is_none_or(|m| {
                v.attached_to.as_ref().is_some_and(|n| n.as_str() == m)
                    || v.attached_to_id.is_some_and(|id| id.to_string() == *m)
            })
            && self.image.as_ref().is_none_or(|i| v.image.as_ref().is_some_and(|n| n.as_str() == i))
            && self.pool.as_ref().is_none_or(|p| v.pool == *p)
            && self.condition.is_none_or(|c| v.condition == Some(c))
    }
}

/// Lists the volumes.
#[utoipa::path(
    get,
    path = "/v1/volumes",
    tag = "volumes",
    operation_id = "volumes_list",
    params(ListArgs),
    responses(
        (status = 200, description = "By name", body = List<Volume>),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(app): State<Shared>,
    Args(mut args): Args<ListArgs>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let deleted = args.deleted;
    // What is measured or has its time is read each time.
    let keeps = !args.usage && !deleted;
    let asked = format!("volumes?{}", query.unwrap_or_default());
    let (asked_at, mut turn) = (app.events.revision(), None);
    if keeps {
        if let Some(body) = app.answers.get(&asked, asked_at, Instant::now()) {
            return Ok(body::whole(body));
        }
        turn = app.answers.turn(&asked).await;
        if let Some(body) = app.answers.get(&asked, asked_at, Instant::now()) {
            return Ok(body::whole(body));
        }
    }
    let (revision, began) = (app.events.revision(), Instant::now());
    let labels = labels_in_query(args.label.as_deref())?;
    called(&app, Kind::Image, &mut args.image).await?;
    called(&app, Kind::Pool, &mut args.pool).await?;
    let mut all =
        call(&app, move |engine| if deleted { engine.deleted_volumes() } else { engine.volumes() }).await?;
    all.retain(|v| args.want(v) && v.labels.have(&labels));
    if args.usage {
        all = look(&app, move |engine| engine.add_usage(&mut all).map(|()| all)).await?;
    }
    let keeps = keeps && all.len() <= SHORT;
    let page = pages::cut(all, args.limit, args.cursor.as_deref(), |v| format!("{} {}", v.name, v.id))?;
    if !keeps {
        return Ok(page);
    }
    let body = axum::body::to_bytes(page.into_body(), usize::MAX).await;
    let body = body.map_err(|e| Problem::new(Code::Internal, format!("a list cannot be written: {e}")))?;
    app.answers.put(&asked, revision, began, &body);
    drop(turn);
    Ok(body::whole(body))
}

/// Creates an empty data volume; `/v1/volumes/import` makes one of what is sent.
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
    change(&app, move |engine| who.on(engine).create_volume(&who.0, asked)).await
}

/// Shows a volume.
#[utoipa::path(
    get,
    path = "/v1/volumes/{volume}",
    tag = "volumes",
    operation_id = "volumes_show",
    params(("volume" = String, Path, description = "Id or name"), ShowArgs),
    responses(
        (status = 200, description = "The volume", body = Volume, headers(("etag" = String, description = "The spec's revision, for If-Match"))),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show(
    State(app): State<Shared>,
    Seg(volume): Seg<String>,
    Args(args): Args<ShowArgs>,
) -> Result<Response, Failure> {
    let mut found = call(&app, move |engine| engine.volume(&volume)).await?;
    if args.usage {
        found = look(&app, move |engine| engine.add_usage_of(&mut found).map(|()| found)).await?;
    }
    tagged(&app, move |_| Ok(found), |v| v.revision).await
}

/// Deletes a detached volume; the trash keeps it for a while.
#[utoipa::path(
    delete,
    path = "/v1/volumes/{volume}",
    tag = "volumes",
    operation_id = "volumes_delete",
    params(("volume" = String, Path, description = "Id or name"), DeleteArgs),
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn delete(
    State(app): State<Shared>,
    who: Who,
    Seg(volume): Seg<String>,
    Args(args): Args<DeleteArgs>,
) -> Result<Response, Failure> {
    change(&app, move |engine| match args.deleted {
        true => who.on(engine).discard_volume(&who.0, &volume),
        false => who.on(engine).delete_volume(&who.0, &volume, args.now),
    })
    .await
}

/// Takes a deleted volume back; by name, the one that was deleted last.
#[utoipa::path(
    post,
    path = "/v1/volumes/{volume}/restore",
    tag = "volumes",
    operation_id = "volumes_restore",
    params(("volume" = String, Path, description = "Id or name")),
    request_body = Restore,
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn restore(
    State(app): State<Shared>,
    who: Who,
    Seg(volume): Seg<String>,
    raw: Raw,
) -> Result<Response, Failure> {
    let asked: Restore = raw.change(&app, &who, Verb::VolumeRestore, Kind::Volume, &volume).await?;
    change(&app, move |engine| who.on(engine).restore_volume(&who.0, &volume, &asked)).await
}

/// Makes an independent copy of a volume or a snapshot. Of a volume that a machine runs with, it is one of
/// how the volume is at this instant.
#[utoipa::path(
    post,
    path = "/v1/volumes/{volume}/clone",
    tag = "volumes",
    operation_id = "volumes_clone",
    params(("volume" = String, Path, description = "Id or name")),
    request_body = CloneVolume,
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn clone(
    State(app): State<Shared>,
    who: Who,
    Seg(volume): Seg<String>,
    raw: Raw,
) -> Result<Response, Failure> {
    let asked: CloneVolume = raw.change(&app, &who, Verb::VolumeClone, Kind::Volume, &volume).await?;
    change(&app, move |engine| who.on(engine).clone_volume(&who.0, &volume, asked)).await
}

/// Makes a volume larger, also while a machine runs with it; its file system follows.
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
    change(&app, move |engine| who.on(engine).resize_volume(&who.0, &volume, asked)).await
}

/// Changes what a volume is called and marked with.
#[utoipa::path(
    patch,
    path = "/v1/volumes/{volume}",
    tag = "volumes",
    operation_id = "volumes_edit",
    params(("volume" = String, Path, description = "Id or name")),
    request_body = Edit,
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn edit(
    State(app): State<Shared>,
    who: Who,
    Seg(volume): Seg<String>,
    raw: Raw,
) -> Result<Response, Failure> {
    let asked: Edit = raw.change(&app, &who, Verb::VolumeEdit, Kind::Volume, &volume).await?;
    change(&app, move |engine| who.on(engine).edit_volume(&who.0, &volume, &asked)).await
}

/// Lets the guest that has a volume mounted give back what it does not use. The operation's
/// `trimmed_bytes` tells how much that was.
#[utoipa::path(
    post,
    path = "/v1/volumes/{volume}/trim",
    tag = "volumes",
    operation_id = "volumes_trim",
    params(("volume" = String, Path, description = "Id or name")),
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn trim(
    State(app): State<Shared>,
    who: Who,
    Seg(volume): Seg<String>,
    _: Bare,
) -> Result<Response, Failure> {
    change(&app, move |engine| who.on(engine).trim_volume(&who.0, &volume)).await
}
