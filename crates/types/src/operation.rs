//! Operations: accepted requests to change something, and how they went.

use crate::Problem;
use crate::id::OperationId;
use crate::meta::{Actor, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

macro_rules! verbs {
    ($($variant:ident = $text:tt;)*) => {
        /// What was asked.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, ToSchema)]
        pub enum Verb {
            $(
                #[doc = concat!("`", $text, "`")]
                #[serde(rename = $text)]
                $variant,
            )*
        }

        impl Verb {
            /// Every verb, in the order of this file.
            pub const ALL: &'static [Verb] = &[$(Verb::$variant),*];

            /// The stable spelling.
            pub const fn as_str(self) -> &'static str {
                match self { $(Verb::$variant => $text),* }
            }
        }

        impl fmt::Display for Verb {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

verbs! {
    MachineDeploy = "machine.deploy";
    MachineStart = "machine.start";
    MachineStop = "machine.stop";
    MachineRestart = "machine.restart";
    MachineDelete = "machine.delete";
    MachineClone = "machine.clone";
    MachineRestore = "machine.restore";
    MachineEdit = "machine.edit";
    VolumeAttach = "machine.volume.attach";
    VolumeDetach = "machine.volume.detach";
    VolumeCreate = "volume.create";
    VolumeResize = "volume.resize";
    VolumeClone = "volume.clone";
    VolumeDelete = "volume.delete";
    VolumeTrim = "volume.trim";
    VolumeRestore = "volume.restore";
    VolumeExport = "volume.export";
    VolumeImport = "volume.import";
    VolumeEdit = "volume.edit";
    VolumeSnapshot = "volume.snapshot";
    MachineSnapshot = "machine.snapshot";
    SnapshotDelete = "snapshot.delete";
    SnapshotRestore = "snapshot.restore";
    SnapshotUndelete = "snapshot.undelete";
    VolumeMove = "volume.move";
    PoolCreate = "pool.create";
    PoolResize = "pool.resize";
    PoolDelete = "pool.delete";
    ImagePull = "image.pull";
    ImageDelete = "image.delete";
    HostShutdown = "host.shutdown";
    HostResume = "host.resume";
    MachineExec = "machine.exec";
    Recover = "recover";
    Reconcile = "reconcile";
    TokenCreate = "token.create";
    TokenRevoke = "token.revoke";
    TokenUse = "token.use";
    UserCreate = "user.create";
    UserPasswd = "user.passwd";
    UserDelete = "user.delete";
    Setup = "setup";
    Login = "login";
    Logout = "logout";
}

/// Which kind of resource.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A machine.
    Machine,
    /// A volume.
    Volume,
    /// A snapshot.
    Snapshot,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A pool.
    Pool,
    /// A host.
    Node,
    /// A token for the API.
    Token,
    /// A user who can log in.
    User,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Machine => "machine",
            Self::Volume => "volume",
            Self::Snapshot => "snapshot",
            Self::Image => "image",
            Self::Network => "network",
            Self::Pool => "pool",
            Self::Node => "node",
            Self::Token => "token",
            Self::User => "user",
        })
    }
}

/// What a request is about. The name is kept as text, since refused ones need not be valid.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Target {
    /// The kind of resource.
    pub kind: Kind,
    /// Its id, if it has one.
    pub id: Option<uuid::Uuid>,
    /// Its name at the time.
    pub name: String,
}

/// How far an operation is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OperationState {
    /// Accepted and not yet ended.
    Running,
    /// Ended as asked.
    Succeeded,
    /// Ended otherwise; `problem` says why.
    Failed,
}

impl fmt::Display for OperationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        })
    }
}

/// What an operation is doing now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// What is being done, such as `building image debian`.
    pub what: String,
    /// How much is done, in `unit`.
    pub done: u64,
    /// How much there is; `null` if unknown.
    pub total: Option<u64>,
    /// `bytes`, `percent` or another plural noun.
    pub unit: String,
}

/// An accepted request: who, what, on which resource, how far, how it ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(title = "Operation")]
pub struct Operation {
    /// The operation's id.
    pub id: OperationId,
    /// What was asked.
    pub verb: Verb,
    /// Who asked.
    pub actor: Actor,
    /// What it is about.
    pub target: Target,
    /// Everything it touches, the target first.
    #[serde(default)]
    pub resources: Vec<Target>,
    /// The target's spec generation that this asks for.
    pub generation: u64,
    /// How far it is.
    pub state: OperationState,
    /// Why it failed.
    pub problem: Option<Problem>,
    /// What went differently than hoped, without failing.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What it is doing now; only while it runs.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// What a `volume.trim` gave back to the host, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trimmed_bytes: Option<u64>,
    /// Of a delete: until when it can be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restorable_until: Option<Timestamp>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// How a request ended, for the audit log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Accepted and not yet ended.
    Running,
    /// Ended as asked.
    Succeeded,
    /// Accepted, then failed.
    Failed,
    /// Never accepted.
    Refused,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Refused => "refused",
        })
    }
}

/// One line of the audit log: written when a request is refused or has ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(title = "HistoryEntry")]
pub struct HistoryEntry {
    /// The entry's id, in the order of time.
    pub id: uuid::Uuid,
    /// When it was asked.
    pub time: Timestamp,
    /// Who asked.
    pub actor: Actor,
    /// What was asked.
    pub action: Verb,
    /// What it is about.
    pub target: Target,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it failed or was refused.
    pub problem: Option<Problem>,
    /// What went differently than hoped, without failing.
    pub warnings: Vec<String>,
    /// From acceptance to end.
    pub duration_ms: Option<u64>,
    /// The operation; `null` for a refused request.
    pub operation: Option<OperationId>,
}
