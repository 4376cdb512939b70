//! Examples for the description of the API.
//!
//! Invariant: each is a value of the type that it stands for, written as the daemon writes it, so that none
//! shows what there no longer is.

use super::{ExecRequest, PoolRoom, Setting, SshAccess, Status};
use serde::Serialize;
use serde_json::Value;
use std::net::Ipv4Addr;
use types::access::{
    ChangePassword, CreateToken, CreateUser, CreatedToken, Login, Secret, Session, Setup, Token, User,
};
use types::event::{ChangeEvent, Subject};
use types::fs::FileSystem;
use types::image::{Image, ImageSource, PullImage};
use types::label::{Edit, Labels};
use types::machine::{
    AttachVolume, CloneMachine, DeletePlan, DeployMachine, Machine, MachineDisk, Phase, RestartPolicy,
};
use types::network::Network;
use types::operation::{HistoryEntry, Kind, Outcome, Target};
use types::pool::{CreatePool, DEFAULT_POOL, MoveVolume, Pool, PoolKind, PoolState, ResizePool};
use types::snapshot::{Consistency, RestoreSnapshot, Snapshot, SnapshotState, TakeSnapshot};
use types::storage::{GuestUsage, KindUsage, PoolContent, PoolUsage};
use types::volume::{AttachStatus, CloneVolume, CreateVolume, ResizeVolume, Restore, Volume, VolumeRole};
use types::{
    Actor, ByteSize, Code, ImageId, List, MachineId, Name, NetworkId, Operation, OperationId, OperationState,
    PoolId, Problem, Role, SnapshotId, Timestamp, TokenId, Verb, VolumeId,
};
use utoipa::openapi::path::Operation as Described;
use utoipa::openapi::{Content, RefOr};
use uuid::Uuid;

/// When all of it happens: 2026-01-31T12:00:00Z, in milliseconds since the Unix epoch.
const NOON: i64 = 1_769_860_800_000;
/// The host of all of it.
const NODE: &str = "host1";
const GIB: u64 = ByteSize::GIB;

/// Adds an example to each body that this operation takes or answers with and that there is one for.
pub fn add(operation: &mut Described) {
    if let Some(body) = &mut operation.request_body {
        body.content.values_mut().for_each(show);
    }
    for answer in operation.responses.responses.values_mut() {
        if let RefOr::T(answer) = answer {
            answer.content.values_mut().for_each(show);
        }
    }
}

fn show(content: &mut Content) {
    let Some(RefOr::Ref(schema)) = &content.schema else { return };
    let name = schema.ref_location.rsplit('/').next().unwrap_or_default();
    content.example = example(name).ok().flatten();
}

/// The example for a schema, if there is one.
fn example(schema: &str) -> Result<Option<Value>, Problem> {
    if let Some(item) = schema.strip_prefix("List_") {
        let items = example(item)?.map(|item| List { items: vec![item], next_cursor: None });
        return items.as_ref().map(json).transpose();
    }
    match asked(schema)? {
        Some(asked) => Ok(Some(asked)),
        None => shown(schema),
    }
}

/// What is asked for.
fn asked(schema: &str) -> Result<Option<Value>, Problem> {
    Ok(Some(match schema {
        "AttachVolume" => json(&attach())?,
        "ChangePassword" => json(&ChangePassword { password: password() })?,
        "CloneMachine" => json(&CloneMachine { name: Name::new("web2")? })?,
        "CloneVolume" => json(&CloneVolume { name: named("appdata2")?, ..CloneVolume::default() })?,
        "CreatePool" => json(&CreatePool {
            name: Name::new("fast")?,
            path: None,
            size_bytes: Some(20 * GIB),
            sparse: false,
        })?,
        "CreateToken" => json(&CreateToken {
            role: Role::Operator,
            name: named("ci")?,
            expires_in_seconds: Some(30 * 86_400),
        })?,
        "CreateUser" => {
            json(&CreateUser { name: Name::new("ada")?, role: Role::Operator, password: password() })?
        }
        "CreateVolume" => json(&CreateVolume {
            name: named("appdata")?,
            size_bytes: 2 * GIB,
            pool: Some(DEFAULT_POOL.into()),
            fs: FileSystem::Xfs,
            labels: labels()?,
        })?,
        "DeployMachine" => json(&DeployMachine {
            image: Some("debian".into()),
            name: named("web")?,
            vcpus: Some(2),
            memory_bytes: Some(GIB / 2),
            storage_bytes: Some(5 * GIB),
            attach: vec![attach()],
            restart: Some(RestartPolicy::OnFailure),
            labels: labels()?,
            ..DeployMachine::default()
        })?,
        "Edit" => {
            let labels = [("env".to_owned(), Some("prod".to_owned())), ("tier".to_owned(), None)].into();
            json(&Edit { name: None, protected: Some(false), labels })?
        }
        "ExecRequest" => json(&ExecRequest {
            argv: ["uname", "-a"].map(String::from).into(),
            tty: false,
            rows: 0,
            cols: 0,
            term: None,
        })?,
        "Login" => json(&Login { name: "ada".into(), password: password() })?,
        "MoveVolume" => json(&MoveVolume { pool: "fast".into() })?,
        "PullImage" => json(&PullImage { image: "debian".into() })?,
        "ResizePool" => json(&ResizePool { size_bytes: 40 * GIB })?,
        "ResizeVolume" => json(&ResizeVolume { size_bytes: 4 * GIB })?,
        "Restore" => json(&Restore { name: named("appdata-again")? })?,
        "RestoreSnapshot" => json(&RestoreSnapshot { all: true })?,
        "Setup" => json(&Setup {
            code: Secret::new("0123456789abcdef0123456789abcdef"),
            name: Name::new("ada")?,
            password: password(),
        })?,
        "TakeSnapshot" => json(&TakeSnapshot { name: named("before")? })?,
        _ => return Ok(None),
    }))
}

/// What is answered.
fn shown(schema: &str) -> Result<Option<Value>, Problem> {
    Ok(Some(match schema {
        "ChangeEvent" => {
            json(&ChangeEvent { revision: 7, kind: Subject::Volume, id: id(2), deleted: false })?
        }
        "CreatedToken" => {
            let secret = format!("sis_{}_{}", "0123456789ab", "0123456789abcdef".repeat(4));
            json(&CreatedToken { token: Secret::new(secret), about: token()? })?
        }
        "DeletePlan" => json(&DeletePlan {
            machine: Name::new("web")?,
            running: true,
            goes: vec![Name::new("web-root")?],
            stays: vec![Name::new("appdata")?],
        })?,
        "HistoryEntry" => json(&HistoryEntry {
            id: id(10),
            time: at(0),
            actor: actor(),
            action: Verb::VolumeCreate,
            target: target(),
            outcome: Outcome::Succeeded,
            problem: None,
            warnings: vec![],
            duration_ms: Some(2000),
            operation: Some(OperationId(id(9))),
        })?,
        "Image" => json(&Image {
            id: ImageId(id(4)),
            name: Name::new("debian")?,
            status: "ready".into(),
            digest: Some(format!("sha256:{}", "0123456789abcdef".repeat(4))),
            size_bytes: Some(GIB),
            source: ImageSource::Recipe("debian".into()),
            volumes: 1,
            created_at: at(0),
            fault: None,
            revision: 4,
        })?,
        "Machine" => json(&machine()?)?,
        "Network" => json(&Network {
            id: NetworkId(id(6)),
            name: Name::new("default")?,
            subnet: "10.200.0.0/16".into(),
            gateway: Ipv4Addr::new(10, 200, 0, 1),
            bridge: "sistemo0".into(),
            machines: 1,
            created_at: at(0),
            revision: 1,
        })?,
        "Operation" => json(&Operation {
            id: OperationId(id(9)),
            verb: Verb::VolumeCreate,
            actor: actor(),
            target: target(),
            resources: vec![target()],
            generation: 1,
            state: OperationState::Succeeded,
            problem: None,
            warnings: vec![],
            progress: None,
            trimmed_bytes: None,
            restorable_until: None,
            created_at: at(0),
            ended_at: Some(at(2)),
        })?,
        "Pool" => json(&Pool {
            id: Some(PoolId(id(5))),
            name: Name::new("fast")?,
            kind: PoolKind::Loop,
            status: PoolState::Online,
            path: "/var/lib/sistemo/pools/fast".into(),
            size_bytes: Some(20 * GIB),
            free_bytes: Some(18 * GIB),
            committed_bytes: 2 * GIB,
            shares_blocks: Some(true),
            sparse: false,
            volumes: 1,
            fault: None,
            created_at: Some(at(0)),
            revision: 5,
        })?,
        "PoolUsage" => json(&PoolUsage {
            name: DEFAULT_POOL.into(),
            status: PoolState::Online,
            committed_bytes: 7 * GIB,
            committed_limit_bytes: None,
            content: Some(content()),
            warnings: vec![],
        })?,
        "Session" => json(&Session {
            actor: "user:ada@192.0.2.1".into(),
            role: Role::Operator,
            expires_at: Some(at(12 * 3600)),
        })?,
        "Setting" => {
            json(&Setting { key: "listen".into(), value: "127.0.0.1:7777".into(), origin: "default".into() })?
        }
        "Snapshot" => json(&snapshot()?)?,
        "SshAccess" => json(&SshAccess {
            id: MachineId(id(1)),
            name: Name::new("web")?,
            address: "10.200.0.2".into(),
            port: 22,
            user: "root".into(),
            key_path: "/var/lib/sistemo/ssh/id_ed25519".into(),
            known_hosts_path: "/var/lib/sistemo/ssh/known_hosts".into(),
        })?,
        "Status" => json(&Status {
            version: env!("CARGO_PKG_VERSION").into(),
            node: NODE.into(),
            pid: 4242,
            data_dir: "/var/lib/sistemo".into(),
            started_at: at(0),
            halting: false,
            machines: 1,
            machines_running: 1,
            volumes: 2,
            pools: vec![PoolRoom {
                name: DEFAULT_POOL.into(),
                total_bytes: 100 * GIB,
                free_bytes: 60 * GIB,
                warning: None,
            }],
        })?,
        "Token" => json(&token()?)?,
        "User" => json(&User { name: Name::new("ada")?, role: Role::Operator, created_at: at(0) })?,
        "Volume" => json(&volume()?)?,
        _ => return Ok(None),
    }))
}

fn machine() -> Result<Machine, Problem> {
    let disk = |id: Uuid, name: &str, role, size_bytes, slot, mount: &str| -> Result<MachineDisk, Problem> {
        Ok(MachineDisk {
            id: VolumeId(id),
            name: Name::new(name)?,
            role,
            size_bytes,
            slot,
            mount: Some(mount.into()),
            read_only: false,
            device: format!("virtio-{}", VolumeId(id).short()),
        })
    };
    Ok(Machine {
        id: MachineId(id(1)),
        name: Name::new("web")?,
        phase: Phase::Running,
        vcpus: 2,
        memory_bytes: GIB / 2,
        image: named("debian")?,
        restart: RestartPolicy::OnFailure,
        address: Some(Ipv4Addr::new(10, 200, 0, 2)),
        mac: Some("52:54:00:12:34:56".into()),
        network: named("default")?,
        root_volume: named("web-root")?,
        volumes: vec![
            disk(id(3), "web-root", VolumeRole::Root, 5 * GIB, 0, "/")?,
            disk(id(2), "appdata", VolumeRole::Data, 2 * GIB, 1, "/var/lib/app")?,
        ],
        kernel: Some("6.1.0-32-amd64".into()),
        node: NODE.into(),
        created_at: at(0),
        started_at: Some(at(1)),
        last_exit: None,
        generation: 1,
        observed_generation: 1,
        fault: None,
        notes: vec![],
        protected: false,
        labels: labels()?,
        deleted_at: None,
        restorable_until: None,
        revision: 6,
    })
}

fn volume() -> Result<Volume, Problem> {
    Ok(Volume {
        id: VolumeId(id(2)),
        name: Name::new("appdata")?,
        status: AttachStatus::Attached,
        condition: None,
        attached_to: named("web")?,
        attached_to_id: Some(MachineId(id(1))),
        role: VolumeRole::Data,
        pool: DEFAULT_POOL.into(),
        size_bytes: 2 * GIB,
        fs: Some(FileSystem::Xfs),
        node: NODE.into(),
        owner: None,
        image: None,
        created_at: at(0),
        generation: 1,
        observed_generation: 1,
        fault: None,
        read_only: false,
        protected: false,
        labels: labels()?,
        deleted_at: None,
        restorable_until: None,
        revision: 7,
        usage: None,
    })
}

fn snapshot() -> Result<Snapshot, Problem> {
    Ok(Snapshot {
        id: SnapshotId(id(7)),
        name: Name::new("before")?,
        status: SnapshotState::Ready,
        volume: Name::new("appdata")?,
        volume_id: VolumeId(id(2)),
        volume_exists: true,
        role: VolumeRole::Data,
        pool: DEFAULT_POOL.into(),
        size_bytes: Some(2 * GIB),
        consistency: Some(Consistency::Filesystem),
        group: None,
        machine: None,
        taken_at: Some(at(2)),
        created_at: at(1),
        node: NODE.into(),
        labels: labels()?,
        fault: None,
        deleted_at: None,
        restorable_until: None,
        revision: 8,
    })
}

fn token() -> Result<Token, Problem> {
    Ok(Token {
        id: TokenId(id(8)),
        name: Name::new("ci")?,
        role: Role::Operator,
        created_at: at(0),
        expires_at: Some(at(30 * 86_400)),
    })
}

/// All that is exclusive, what is shared and the overhead add up to what is in use.
fn content() -> PoolContent {
    let kind = |count, size_bytes, allocated_bytes, exclusive_bytes| KindUsage {
        count,
        size_bytes,
        allocated_bytes,
        exclusive_bytes,
    };
    PoolContent {
        size_bytes: 100 * GIB,
        used_bytes: 6 * GIB,
        free_bytes: 94 * GIB,
        volumes: kind(2, 7 * GIB, 4 * GIB, 3 * GIB),
        images: kind(1, GIB, GIB, 0),
        system: kind(1, GIB, GIB, GIB),
        shared_bytes: GIB,
        overhead_bytes: GIB,
        guests: GuestUsage { count: 2, used_bytes: 3 * GIB, reclaimable_bytes: GIB },
        ..PoolContent::default()
    }
}

fn attach() -> AttachVolume {
    AttachVolume { volume: "appdata".into(), mount: Some("/var/lib/app".into()), read_only: false }
}

fn labels() -> Result<Labels, Problem> {
    Labels::parse(&["env=prod", "tier=web"])
}

fn target() -> Target {
    Target { kind: Kind::Volume, id: Some(id(2)), name: "appdata".into() }
}

fn actor() -> Actor {
    Actor("token:ci@192.0.2.1".into())
}

fn password() -> Secret {
    Secret::new("correct horse battery staple")
}

fn named(text: &str) -> Result<Option<Name>, Problem> {
    Name::new(text).map(Some)
}

/// So many seconds after noon.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(NOON + seconds * 1000)
}

/// One of the ids that the host made at noon.
fn id(n: u128) -> Uuid {
    Uuid::from_u128(0x019c_13ec_9e00_7abc_8def_0123_4567_8900 + n)
}

fn json(value: &impl Serialize) -> Result<Value, Problem> {
    serde_json::to_value(value)
        .map_err(|e| Problem::new(Code::Internal, format!("an example cannot be written: {e}")))
}
