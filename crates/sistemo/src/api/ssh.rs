//! What the system's ssh needs to know.

use super::call::call;
use super::extract::Seg;
use super::problem::Failure;
use super::{ProblemBody, Shared};
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use types::machine::Phase;
use types::{Code, MachineId, Name, Problem};
use utoipa::ToSchema;

/// How to reach a machine's sshd.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SshAccess {
    /// The machine's id, under which its host key is known.
    pub id: MachineId,
    /// The machine's name.
    pub name: Name,
    /// Its address.
    pub address: String,
    /// The port of its sshd.
    pub port: u16,
    /// The user whose login the key opens.
    pub user: String,
    /// The private key, on the daemon's host.
    pub key_path: String,
    /// The file of known host keys, on the daemon's host.
    pub known_hosts_path: String,
}

/// Tells how to reach the machine's sshd.
#[utoipa::path(
    get,
    path = "/v1/machines/{machine}/ssh",
    tag = "machines",
    operation_id = "machines_ssh",
    params(("machine" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "Address, user and key", body = SshAccess),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn ssh(State(app): State<Shared>, Seg(machine): Seg<String>) -> Result<Json<SshAccess>, Failure> {
    let key = app.about.ssh_key.clone().ok_or_else(|| {
        Problem::new(Code::ToolMissing, "there is no key for ssh")
            .hint("install ssh-keygen (package openssh-client) and start the daemon again")
    })?;
    let found = call(&app, move |engine| engine.machine(&machine)).await?;
    if !matches!(found.phase, Phase::Running | Phase::Starting) {
        return Err(Problem::new(
            Code::MachineNotRunning,
            format!("machine \"{}\" is {}", found.name, found.phase),
        )
        .hint(format!("start it with `sistemo machine start {}`", found.name))
        .into());
    }
    let address = found.address.ok_or_else(|| {
        Problem::new(Code::NetworkFailed, format!("machine \"{}\" has no address", found.name))
            .hint("`sistemo machine exec` needs no network")
    })?;
    Ok(Json(SshAccess {
        id: found.id,
        name: found.name,
        address: address.to_string(),
        port: 22,
        user: "root".into(),
        known_hosts_path: key.with_file_name("known_hosts").display().to_string(),
        key_path: key.display().to_string(),
    }))
}
