//! How the daemon is.

use super::call::call;
use super::problem::Failure;
use super::{ProblemBody, Shared};
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use types::machine::Phase;
use types::{Code, Problem, Timestamp};
use utoipa::ToSchema;

/// Room in a pool.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PoolRoom {
    /// The pool.
    pub name: String,
    /// The size of the file system it is on.
    pub total_bytes: u64,
    /// What is free there.
    pub free_bytes: u64,
    /// Set when it is nearly full (`pool.warn`): what to know about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

impl From<engine::PoolRoom> for PoolRoom {
    fn from(room: engine::PoolRoom) -> Self {
        Self {
            name: room.name,
            total_bytes: room.total_bytes,
            free_bytes: room.free_bytes,
            warning: room.warning,
        }
    }
}

/// How the daemon is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Its host's name in the store.
    pub node: String,
    /// Its process.
    pub pid: u32,
    /// Its data directory.
    pub data_dir: String,
    /// When it began.
    pub started_at: Timestamp,
    /// The host is shutting down: nothing is started until it is back.
    #[serde(default)]
    pub halting: bool,
    /// How many machines there are.
    pub machines: u64,
    /// How many of them run.
    pub machines_running: u64,
    /// How many volumes there are.
    pub volumes: u64,
    /// Room in the pools.
    pub pools: Vec<PoolRoom>,
}

/// Tells how the daemon is.
#[utoipa::path(
    get,
    path = "/v1/status",
    tag = "status",
    operation_id = "status",
    responses(
        (status = 200, description = "How it is", body = Status),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn status(State(app): State<Shared>) -> Result<Json<Status>, Failure> {
    let capacity = app.capacity.clone();
    let (machines, running, volumes, pools, halting) = call(&app, move |engine| {
        let machines = engine.machines()?;
        let running = machines.iter().filter(|m| m.phase == Phase::Running).count();
        Ok((machines.len(), running, engine.volumes()?.len(), capacity()?, engine.halting()?))
    })
    .await?;
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION").into(),
        node: app.about.node.clone(),
        pid: std::process::id(),
        data_dir: app.about.data_dir.display().to_string(),
        started_at: app.about.started_at,
        halting,
        machines: machines as u64,
        machines_running: running as u64,
        volumes: volumes as u64,
        pools: pools.into_iter().map(PoolRoom::from).collect(),
    }))
}

/// Says whether the process is well, the database included.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "status",
    operation_id = "healthz",
    security(()),
    responses(
        (status = 200, description = "It is", body = String, content_type = "text/plain"),
        (status = "default", description = "What is wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn healthz(State(app): State<Shared>) -> Result<&'static str, Failure> {
    call(&app, |engine| engine.revision()).await?;
    Ok("ok\n")
}

/// Says whether the daemon takes requests that change something: it is well and does not end.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "status",
    operation_id = "readyz",
    security(()),
    responses(
        (status = 200, description = "It does", body = String, content_type = "text/plain"),
        (status = "default", description = "Why not", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn readyz(State(app): State<Shared>) -> Result<&'static str, Failure> {
    if app.engine.is_ending() || *app.stopping.borrow() {
        return Err(Problem::new(Code::ShuttingDown, "the daemon is ending").into());
    }
    call(&app, |engine| engine.revision()).await?;
    Ok("ready\n")
}
