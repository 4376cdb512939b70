//! Machines.

use super::call::{call, called, change, tagged, view};
use super::extract::{Args, Bare, Raw, Seg, Who};
use super::pages::labels_in_query;
use super::problem::Failure;
use super::{ProblemBody, Shared, pages};
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use types::label::Edit;
use types::machine::{AttachVolume, CloneMachine, DeletePlan, DeployMachine, DetachVolume, Machine, Phase};
use types::operation::{Kind, Verb};
use types::volume::Restore;
use types::{List, Operation};
use utoipa::IntoParams;

/// What becomes of the volumes.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct DeleteArgs {
    /// Keep the root volume too.
    #[serde(default)]
    preserve_storage: bool,
    /// For good: it cannot be taken back, nor what goes with it.
    #[serde(default)]
    now: bool,
    /// Only what was deleted before, out of the trash and for good: what is there is refused. By name,
    /// the one that was deleted last.
    #[serde(default)]
    deleted: bool,
}

/// How a disk is taken from a machine that runs.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct DetachArgs {
    /// Also while the guest uses it, as pulling out a disk would.
    #[serde(default)]
    force: bool,
}

/// Which machines: those of which every field that is given has that value.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListArgs {
    /// At most this many; all of them unless given.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Where it is in its life.
    phase: Option<Phase>,
    /// The image its root volume was cloned from.
    image: Option<String>,
    /// Its network.
    network: Option<String>,
    /// Those that were deleted and can be taken back, instead of those that are there.
    #[serde(default)]
    deleted: bool,
    /// Those that have all of these labels, such as `env=prod,tier=web`.
    label: Option<String>,
}

impl ListArgs {
    fn want(&self, m: &Machine) -> bool {
        self.phase.is_none_or(|p| m.phase == p)
            && self.image.as_ref().is_none_or(|i| m.image.as_ref().is_some_and(|n| n.as_str() == i))
            && self.network.as_ref().is_none_or(|i| m.network.as_ref().is_some_and(|n| n.as_str() == i))
    }
}

/// Lists the machines.
#[utoipa::path(
    get,
    path = "/v1/machines",
    tag = "machines",
    operation_id = "machines_list",
    params(ListArgs),
    responses(
        (status = 200, description = "By name", body = List<Machine>),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<Shared>, Args(mut args): Args<ListArgs>) -> Result<Response, Failure> {
    called(&app, Kind::Image, &mut args.image).await?;
    called(&app, Kind::Network, &mut args.network).await?;
    let deleted = args.deleted;
    let labels = labels_in_query(args.label.as_deref())?;
    let mut all =
        call(&app, move |engine| if deleted { engine.deleted_machines() } else { engine.machines() }).await?;
    all.retain(|m| args.want(m) && m.labels.have(&labels));
    Ok(pages::cut(all, args.limit, args.cursor.as_deref(), |m| format!("{} {}", m.name, m.id))?)
}

/// Deploys a machine: makes it and its root volume, and starts it.
#[utoipa::path(
    post,
    path = "/v1/machines",
    tag = "machines",
    operation_id = "machines_deploy",
    request_body = DeployMachine,
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn deploy(State(app): State<Shared>, who: Who, raw: Raw) -> Result<Response, Failure> {
    let asked: DeployMachine = raw.change(&app, &who, Verb::MachineDeploy, Kind::Machine, "").await?;
    change(&app, move |engine| who.on(engine).deploy(&who.0, asked)).await
}

/// Shows a machine.
#[utoipa::path(
    get,
    path = "/v1/machines/{machine}",
    tag = "machines",
    operation_id = "machines_show",
    params(("machine" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The machine", body = Machine, headers(("etag" = String, description = "The spec's revision, for If-Match"))),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show(State(app): State<Shared>, Seg(machine): Seg<String>) -> Result<Response, Failure> {
    tagged(&app, move |engine| engine.machine(&machine), |m| m.revision).await
}

/// Deletes a machine; one that runs is stopped first.
#[utoipa::path(
    delete,
    path = "/v1/machines/{machine}",
    tag = "machines",
    operation_id = "machines_delete",
    params(("machine" = String, Path, description = "Id or name"), DeleteArgs),
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn delete(
    State(app): State<Shared>,
    who: Who,
    Seg(machine): Seg<String>,
    Args(args): Args<DeleteArgs>,
) -> Result<Response, Failure> {
    let DeleteArgs { preserve_storage, now, deleted } = args;
    change(&app, move |engine| match deleted {
        true => who.on(engine).discard_machine(&who.0, &machine),
        false => who.on(engine).delete_machine(&who.0, &machine, preserve_storage, now),
    })
    .await
}

/// Takes a deleted machine back, stopped, with its volumes; by name, the one that was deleted last.
#[utoipa::path(
    post,
    path = "/v1/machines/{machine}/restore",
    tag = "machines",
    operation_id = "machines_restore",
    params(("machine" = String, Path, description = "Id or name")),
    request_body = Restore,
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn restore(
    State(app): State<Shared>,
    who: Who,
    Seg(machine): Seg<String>,
    raw: Raw,
) -> Result<Response, Failure> {
    let asked: Restore = raw.change(&app, &who, Verb::MachineRestore, Kind::Machine, &machine).await?;
    change(&app, move |engine| who.on(engine).restore_machine(&who.0, &machine, &asked)).await
}

/// Tells what a delete would take along and what would stay.
#[utoipa::path(
    get,
    path = "/v1/machines/{machine}/delete-plan",
    tag = "machines",
    operation_id = "machines_delete_plan",
    params(("machine" = String, Path, description = "Id or name"), DeleteArgs),
    responses(
        (status = 200, description = "What goes and what stays", body = DeletePlan),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn delete_plan(
    State(app): State<Shared>,
    Seg(machine): Seg<String>,
    Args(args): Args<DeleteArgs>,
) -> Result<Json<DeletePlan>, Failure> {
    view(&app, move |engine| engine.plan_delete(&machine, args.preserve_storage)).await
}

/// Starts a machine.
#[utoipa::path(
    post,
    path = "/v1/machines/{machine}/start",
    tag = "machines",
    operation_id = "machines_start",
    params(("machine" = String, Path, description = "Id or name")),
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn start(
    State(app): State<Shared>,
    who: Who,
    Seg(machine): Seg<String>,
    _: Bare,
) -> Result<Response, Failure> {
    change(&app, move |engine| who.on(engine).start_machine(&who.0, &machine)).await
}

/// Asks the guest to shut down; pulls the plug after `stop_timeout`.
#[utoipa::path(
    post,
    path = "/v1/machines/{machine}/stop",
    tag = "machines",
    operation_id = "machines_stop",
    params(("machine" = String, Path, description = "Id or name")),
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn stop(
    State(app): State<Shared>,
    who: Who,
    Seg(machine): Seg<String>,
    _: Bare,
) -> Result<Response, Failure> {
    change(&app, move |engine| who.on(engine).stop_machine(&who.0, &machine)).await
}

/// Stops and starts a machine.
#[utoipa::path(
    post,
    path = "/v1/machines/{machine}/restart",
    tag = "machines",
    operation_id = "machines_restart",
    params(("machine" = String, Path, description = "Id or name")),
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn restart(
    State(app): State<Shared>,
    who: Who,
    Seg(machine): Seg<String>,
    _: Bare,
) -> Result<Response, Failure> {
    change(&app, move |engine| who.on(engine).restart_machine(&who.0, &machine)).await
}

/// Copies a machine with all of its volumes, as of one instant if it runs, and starts the copy.
#[utoipa::path(
    post,
    path = "/v1/machines/{machine}/clone",
    tag = "machines",
    operation_id = "machines_clone",
    params(("machine" = String, Path, description = "Id or name")),
    request_body = CloneMachine,
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn clone(
    State(app): State<Shared>,
    who: Who,
    Seg(machine): Seg<String>,
    raw: Raw,
) -> Result<Response, Failure> {
    let asked: CloneMachine = raw.change(&app, &who, Verb::MachineClone, Kind::Machine, &machine).await?;
    change(&app, move |engine| who.on(engine).clone_machine(&who.0, &machine, asked)).await
}

/// Attaches a volume to a machine; one that runs gets it at once.
#[utoipa::path(
    post,
    path = "/v1/machines/{machine}/volumes",
    tag = "machines",
    operation_id = "machines_attach",
    params(("machine" = String, Path, description = "Id or name")),
    request_body = AttachVolume,
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn attach(
    State(app): State<Shared>,
    who: Who,
    Seg(machine): Seg<String>,
    raw: Raw,
) -> Result<Response, Failure> {
    let asked: AttachVolume = raw.change(&app, &who, Verb::VolumeAttach, Kind::Machine, &machine).await?;
    change(&app, move |engine| who.on(engine).attach_volume(&who.0, &machine, asked)).await
}

/// Detaches a volume from a machine. The guest of one that runs lets go of it first, and is left alone
/// while it uses it, unless forced.
#[utoipa::path(
    delete,
    path = "/v1/machines/{machine}/volumes/{volume}",
    tag = "machines",
    operation_id = "machines_detach",
    params(("machine" = String, Path, description = "Id or name"), ("volume" = String, Path, description = "Id or name"), DetachArgs),
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn detach(
    State(app): State<Shared>,
    who: Who,
    Seg((machine, volume)): Seg<(String, String)>,
    Args(args): Args<DetachArgs>,
) -> Result<Response, Failure> {
    let asked = DetachVolume { volume, force: args.force };
    change(&app, move |engine| who.on(engine).detach_volume(&who.0, &machine, asked)).await
}

/// Changes what a machine is called and marked with.
#[utoipa::path(
    patch,
    path = "/v1/machines/{machine}",
    tag = "machines",
    operation_id = "machines_edit",
    params(("machine" = String, Path, description = "Id or name")),
    request_body = Edit,
    responses(
        (status = 202, description = "Accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn edit(
    State(app): State<Shared>,
    who: Who,
    Seg(machine): Seg<String>,
    raw: Raw,
) -> Result<Response, Failure> {
    let asked: Edit = raw.change(&app, &who, Verb::MachineEdit, Kind::Machine, &machine).await?;
    change(&app, move |engine| who.on(engine).edit_machine(&who.0, &machine, &asked)).await
}
