//! Snapshots: what a volume was at one moment, kept as it was.
//!
//! Invariant: the content of a snapshot never changes; it is independent of its volume, which may
//! change, grow or go.

use crate::Problem;
use crate::fs::FileSystem;
use crate::id::{ImageId, OperationId, SnapshotId, VolumeId};
use crate::label::Labels;
use crate::meta::Timestamp;
use crate::name::Name;
use crate::size::ByteSize;
use crate::volume::VolumeRole;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;
use uuid::Uuid;

/// What can be relied on of the file system in a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// Everything was written out, and nothing was in the middle of being written: the guest had
    /// unmounted it in order, or held it still for as long as it took.
    Filesystem,
    /// As after a loss of power: the journal puts it right when it is next mounted.
    Crash,
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Filesystem => "filesystem",
            Self::Crash => "crash",
        })
    }
}

/// Snapshots of all disks of a machine at one instant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Group {
    /// What they have in common: the id of the first of them, which is of the root disk.
    pub id: SnapshotId,
    /// What the machine was called.
    pub machine: Name,
    /// All of them, the first first.
    pub members: Vec<SnapshotId>,
}

/// The mark on a snapshot that is going.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SnapshotDeletion {
    /// When it was asked for.
    pub at: Timestamp,
    /// Until when it is kept and can be taken back; `None`: it goes for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_until: Option<Timestamp>,
    /// Which request.
    pub operation: OperationId,
    /// Set when it goes because it could not be taken: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<Problem>,
}

/// What is wanted of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SnapshotSpec {
    /// The snapshot.
    pub id: SnapshotId,
    /// Its name; free for others once `deleting` is set.
    pub name: Name,
    /// Counts the changes of this spec, from 1.
    pub generation: u64,
    /// The host that holds it.
    pub node: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// The volume it is of.
    pub volume: VolumeId,
    /// What that was called.
    pub volume_name: Name,
    /// What that was for.
    pub role: VolumeRole,
    /// The pool that it lives in: that of its volume.
    pub pool: String,
    /// The image that the content goes back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageId>,
    /// The file system that its volume was made with, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fs: Option<FileSystem>,
    /// Whom it belongs together with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// What people sort it by: at first what its volume had.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// It is taken for whoever holds it, and goes with the last hold; nobody else is told of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub passing: bool,
    /// Set once the snapshot is to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleting: Option<SnapshotDeletion>,
}

/// What was seen of a snapshot when it was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Taken {
    /// When.
    pub at: Timestamp,
    /// How large the volume was.
    pub size: ByteSize,
    /// What can be relied on.
    pub consistency: Consistency,
}

/// What was seen of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SnapshotStatus {
    /// The spec generation that all of this answers; 0 before the first.
    pub observed_generation: u64,
    /// Set once its content is complete and durable. From then on a missing file is a loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<Taken>,
    /// Why the last try failed, until one succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Problem>,
}

/// What lies beside a snapshot's content, so that it tells of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SnapshotSidecar {
    /// What is wanted of it.
    #[serde(flatten)]
    pub spec: SnapshotSpec,
    /// How it was taken.
    pub taken: Taken,
}

/// Where a snapshot is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotState {
    /// It is being taken.
    Taking,
    /// It is complete.
    Ready,
    /// It was deleted, and can be taken back for a while.
    Deleted,
    /// It is going.
    Deleting,
    /// Its file has vanished behind Sistemo's back.
    Lost,
}

impl fmt::Display for SnapshotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Taking => "taking",
            Self::Ready => "ready",
            Self::Deleted => "deleted",
            Self::Deleting => "deleting",
            Self::Lost => "lost",
        })
    }
}

/// A snapshot as the API shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(title = "Snapshot")]
pub struct Snapshot {
    /// The snapshot's id.
    pub id: SnapshotId,
    /// Its name.
    pub name: Name,
    /// `taking`, `ready`, `deleted`, `deleting` or `lost`.
    pub status: SnapshotState,
    /// The name of the volume it is of; what that was called if it is gone.
    pub volume: Name,
    /// The id of that volume.
    pub volume_id: VolumeId,
    /// Whether that volume is still there and was not deleted.
    pub volume_exists: bool,
    /// `root` or `data`.
    pub role: VolumeRole,
    /// The pool it lives in.
    pub pool: String,
    /// How large the volume was, in bytes; `null` while it is being taken.
    pub size_bytes: Option<u64>,
    /// `filesystem` or `crash`; `null` while it is being taken.
    pub consistency: Option<Consistency>,
    /// What snapshots of one machine, taken at one instant, have in common.
    pub group: Option<Uuid>,
    /// The machine whose disks these are, as it was called.
    pub machine: Option<Name>,
    /// When it was taken.
    pub taken_at: Option<Timestamp>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// The host that holds it.
    pub node: String,
    /// What people sort it by.
    pub labels: Labels,
    /// Why the last try failed.
    pub fault: Option<Problem>,
    /// When it was deleted; only of one that was.
    #[serde(default)]
    pub deleted_at: Option<Timestamp>,
    /// Until when it can be taken back; only of a deleted one that can.
    #[serde(default)]
    pub restorable_until: Option<Timestamp>,
    /// The spec's revision, for `If-Match`; it moves with every change of what is wanted.
    #[serde(default)]
    pub revision: u64,
}

/// Asks for a snapshot of a volume, or of all disks of a machine.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TakeSnapshot {
    /// Its name; without one, Sistemo makes one up. Of a machine's, the root disk's has this name and
    /// those of the others add the names of their volumes.
    #[serde(default)]
    pub name: Option<Name>,
}

/// Asks that a volume becomes what it was in a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreSnapshot {
    /// Those that were taken together with it, too: all disks of a machine, as of one instant.
    #[serde(default)]
    pub all: bool,
}
