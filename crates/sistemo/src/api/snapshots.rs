//! Snapshots.

use super::call::{call, called, change, tagged};
use super::extract::{Args, Raw, Seg, Who};
use super::pages::labels_in_query;
use super::problem::Failure;
use super::volumes::DeleteArgs;
use super::{ProblemBody, Shared, pages};
use axum::extract::State;
use axum::response::Response;
use engine::Engine;
use serde::Deserialize;
use types::operation::{Kind, Verb};
use types::snapshot::{RestoreSnapshot, Snapshot, TakeSnapshot};
use types::volume::Restore;
use types::{List, Operation};
use utoipa::IntoParams;

/// Which snapshots: those of which every field that is given has that value.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListArgs {
    /// At most this many; all of them unless given.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// The volume they are of, by name or id.
    volume: Option<String>,
    /// The machine whose disks they are of, by id or as it was called.
    machine: Option<String>,
    /// The pool they live in, by name or id.
    pool: Option<String>,
    /// Those that were deleted and can be taken back, instead of those that are there.
    #[serde(default)]
    deleted: bool,
    /// Those that have all of these labels, such as `env=prod,tier=web`.
    label: Option<String>,
}

impl ListArgs {
    fn want(&self, s: &Snapshot) -> bool {
        self.volume.as_ref().is_none_or(|v| s.volume.as_str() == v || s.volume_id.to_string() == *v)
            && self.machine.as_ref().is_none_or(|m| s.machine.as_ref().is_some_and(|n| n.as_str() == m))
            && self.pool.as_ref().is_none_or(|p| s.pool == *p)
    }
}

/// Lists the snapshots.
#[utoipa::path(
    get,
    path = "/v1/snapshots",
    tag = "snapshots",
    operation_id = "snapshots_list",
    params(ListArgs),
    responses(
        (status = 200, description = "By name", body = List<Snapshot>),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<Shared>, Args(mut args): Args<ListArgs>) -> Result<Response, Failure> {
    called(&app, Kind::Machine, &mut args.machine).await?;
    called(&app, Kind::Pool, &mut args.pool).await?;
    let labels = labels_in_query(args.label.as_deref())?;
    let deleted = args.deleted;
    let listed = move |engine: &Engine| if deleted { engine.deleted_snapshots() } else { engine.snapshots() };
    let mut all = call(&app, listed).await?;
    all.retain(|s| args.want(s) && s.labels.have(&labels));
    Ok(pages::cut(all, args.limit, args.cursor.as_deref(), |s| format!("{} {}", s.name, s.id))?)
}

/// Shows a snapshot.
#[utoipa::path(
    get,
    path = "/v1/snapshots/{snapshot}",
    tag = "snapshots",
    operation_id = "snapshots_show",
    params(("snapshot" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The snapshot", body = Snapshot, headers(("etag" = String, description = "The spec's revision, for If-Match"))),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show(State(app): State<Shared>, Seg(snapshot): Seg<String>) -> Result<Response, Failure> {
    tagged(&app, move |engine| engine.snapshot(&snapshot), |s| s.revision).await
}

/// Deletes a snapshot, which is kept for a while; its volume and what was made of it stay.
#[utoipa::path(
    delete,
    path = "/v1/snapshots/{snapshot}",
    tag = "snapshots",
    operation_id = "snapshots_delete",
    params(("snapshot" = String, Path, description = "Id or name"), DeleteArgs),
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn delete(
    State(app): State<Shared>,
    who: Who,
    Seg(snapshot): Seg<String>,
    Args(args): Args<DeleteArgs>,
) -> Result<Response, Failure> {
    change(&app, move |engine| match args.deleted {
        true => who.on(engine).discard_snapshot(&who.0, &snapshot),
        false => who.on(engine).delete_snapshot(&who.0, &snapshot, args.now),
    })
    .await
}

/// Takes a deleted snapshot back; by name, the one that was deleted last.
#[utoipa::path(
    post,
    path = "/v1/snapshots/{snapshot}/undelete",
    tag = "snapshots",
    operation_id = "snapshots_undelete",
    params(("snapshot" = String, Path, description = "Id or name")),
    request_body = Restore,
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn undelete(
    State(app): State<Shared>,
    who: Who,
    Seg(snapshot): Seg<String>,
    raw: Raw,
) -> Result<Response, Failure> {
    let asked: Restore = raw.change(&app, &who, Verb::SnapshotUndelete, Kind::Snapshot, &snapshot).await?;
    change(&app, move |engine| who.on(engine).undelete_snapshot(&who.0, &snapshot, &asked)).await
}

/// Makes a volume that is detached, or whose machine is stopped, what it was, or with `all` those of all
/// snapshots that were taken together with this one. What each is now is kept in a snapshot of its own first,
/// which comes right after the one that it becomes in the operation's `resources`. Without a body, one volume.
#[utoipa::path(
    post,
    path = "/v1/snapshots/{snapshot}/restore",
    tag = "snapshots",
    operation_id = "snapshots_restore",
    params(("snapshot" = String, Path, description = "Id or name")),
    request_body = RestoreSnapshot,
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn restore(
    State(app): State<Shared>,
    who: Who,
    Seg(snapshot): Seg<String>,
    raw: Raw,
) -> Result<Response, Failure> {
    let asked = match raw.is_absent() {
        true => RestoreSnapshot::default(),
        false => raw.change(&app, &who, Verb::SnapshotRestore, Kind::Snapshot, &snapshot).await?,
    };
    change(&app, move |engine| who.on(engine).restore_snapshot(&who.0, &snapshot, asked.all)).await
}

/// Takes a snapshot of a volume.
#[utoipa::path(
    post,
    path = "/v1/volumes/{volume}/snapshot",
    tag = "volumes",
    operation_id = "volumes_snapshot",
    params(("volume" = String, Path, description = "Id or name")),
    request_body = TakeSnapshot,
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn of_volume(
    State(app): State<Shared>,
    who: Who,
    Seg(volume): Seg<String>,
    raw: Raw,
) -> Result<Response, Failure> {
    let asked: TakeSnapshot = raw.change(&app, &who, Verb::VolumeSnapshot, Kind::Volume, &volume).await?;
    change(&app, move |engine| who.on(engine).snapshot_volume(&who.0, &volume, &asked)).await
}

/// Takes snapshots of all disks of a machine at one instant.
#[utoipa::path(
    post,
    path = "/v1/machines/{machine}/snapshot",
    tag = "machines",
    operation_id = "machines_snapshot",
    params(("machine" = String, Path, description = "Id or name")),
    request_body = TakeSnapshot,
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn of_machine(
    State(app): State<Shared>,
    who: Who,
    Seg(machine): Seg<String>,
    raw: Raw,
) -> Result<Response, Failure> {
    let asked: TakeSnapshot = raw.change(&app, &who, Verb::MachineSnapshot, Kind::Machine, &machine).await?;
    change(&app, move |engine| who.on(engine).snapshot_machine(&who.0, &machine, &asked)).await
}
