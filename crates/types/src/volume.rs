//! Volumes: block devices with a name and a life of their own.
//!
//! Invariant: `spec` is what is wanted, `status` what was last seen; only admission writes the
//! first and only the reconciler the second.

use crate::Problem;
use crate::fs::FileSystem;
use crate::id::{ImageId, MachineId, OperationId, SnapshotId, VolumeId};
use crate::label::Labels;
use crate::meta::Timestamp;
use crate::name::Name;
use crate::pool::DEFAULT_POOL;
use crate::size::ByteSize;
use crate::storage::VolumeUsage;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;
use uuid::Uuid;

/// What a volume is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum VolumeRole {
    /// A machine boots from it.
    Root,
    /// Everything else.
    Data,
}

impl fmt::Display for VolumeRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Root => "root",
            Self::Data => "data",
        })
    }
}

/// What a volume starts as.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum VolumeSource {
    /// An empty file system, or none at all, as [`VolumeSpec::file_system`] says; with this UUID,
    /// decided before the effect so that a second try makes the same one.
    Blank {
        /// The file system's UUID.
        fs_uuid: Uuid,
    },
    /// A clone of an image.
    Image {
        /// Which image.
        image: ImageId,
    },
    /// What somebody sent, which is in the pool already.
    Upload,
    /// A copy of another volume, as that was when no process had it open.
    Volume {
        /// Which volume; it is held from the request on until the copy is whole.
        volume: VolumeId,
        /// The image that the first of them was made from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<ImageId>,
    },
    /// A copy of a snapshot.
    Snapshot {
        /// Which snapshot; it is held until the copy is whole.
        snapshot: SnapshotId,
        /// The image that the content goes back to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<ImageId>,
    },
}

impl VolumeSource {
    /// The image that its content goes back to.
    pub fn image(&self) -> Option<ImageId> {
        match self {
            Self::Blank { .. } | Self::Upload => None,
            Self::Image { image } => Some(*image),
            Self::Volume { image, .. } | Self::Snapshot { image, .. } => *image,
        }
    }
}

/// The mark on a volume that is going.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VolumeDeletion {
    /// When it was asked for.
    pub at: Timestamp,
    /// Until when the trash keeps it and it can be taken back; `None`: it goes for good, since it
    /// never held anyone's data, its time is over, or somebody asked for that.
    pub keep_until: Option<Timestamp>,
    /// Which request.
    pub operation: OperationId,
    /// Set when it goes because it could not be made: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<Problem>,
}

/// The mark on a volume whose content is to become that of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reset {
    /// Of which snapshot; it stays until this is done.
    pub to: SnapshotId,
    /// The snapshot of what is there before, which is taken first; it stays likewise.
    pub before: SnapshotId,
    /// The volume that was asked for together with this one and comes last, if that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<VolumeId>,
    /// Of the one that comes last: those before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<VolumeId>,
    /// Of the one that comes last: why another could not be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Problem>,
}

/// What is wanted of a volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VolumeSpec {
    /// The volume.
    pub id: VolumeId,
    /// Its name; free for others once `deleting` is set.
    pub name: Name,
    /// Counts the changes of this spec, from 1.
    pub generation: u64,
    /// The host that holds it.
    pub node: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// What it is for.
    pub role: VolumeRole,
    /// The pool it lives in.
    #[serde(default = "default_pool")]
    pub pool: String,
    /// The pool it is on its way to; until it is there, it is held still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving: Option<String>,
    /// A pool that it does not live in, or not any more, in which something of it may be left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<String>,
    /// The size it shall have; never less than before.
    pub size: ByteSize,
    /// What it starts as.
    pub source: VolumeSource,
    /// The file system that it was made with; see [`VolumeSpec::file_system`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fs: Option<FileSystem>,
    /// Who the content shall say it is, of a copy: the guest that mounts it gives it this UUID, and a
    /// root a machine id and SSH host keys of its own. Decided before the effect, so that a second
    /// try comes to the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Uuid>,
    /// The machine whose deploy or clone made it, and with which it goes if that fails; see
    /// [`VolumeSpec::goes_with`].
    pub owner: Option<MachineId>,
    /// It is only read: it shares its file with the snapshot that it is of, and no guest may write to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// It cannot be deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
    /// What people sort it by.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Set until its content is that of a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<Reset>,
    /// Set once the volume is to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleting: Option<VolumeDeletion>,
}

fn default_pool() -> String {
    DEFAULT_POOL.into()
}

impl VolumeSpec {
    /// The file system that it was made with; `None`: nobody knows, since it was imported or its
    /// record is lost. What its guests made of it later is theirs.
    pub fn file_system(&self) -> Option<FileSystem> {
        // Records from before there was a choice do not tell; all was ext4 then.
        self.fs.or(match &self.source {
            VolumeSource::Blank { fs_uuid } if fs_uuid.is_nil() => None,
            VolumeSource::Blank { .. } => Some(FileSystem::Ext4),
            source => source.image().map(|_| FileSystem::Ext4),
        })
    }

    /// The machine with which it goes when that is deleted without `--preserve-storage`: its root volume
    /// does, data stays.
    pub fn goes_with(&self) -> Option<MachineId> {
        self.owner.filter(|_| self.role == VolumeRole::Root)
    }
}

/// What stands beside a volume's status.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Its content is being made.
    Filling,
    /// It is being made larger.
    Growing,
    /// It is on its way to another pool.
    Moving,
    /// It is going.
    Deleting,
    /// Its file has vanished behind Sistemo's back.
    Lost,
    /// The host failed to read or write it.
    IoError,
    /// There is no room to make or grow it.
    PoolFull,
    /// Its content is being replaced by a snapshot's.
    Restoring,
    /// What its pool is on is not there.
    PoolOffline,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Filling => "filling",
            Self::Growing => "growing",
            Self::Moving => "moving",
            Self::Deleting => "deleting",
            Self::Lost => "lost",
            Self::IoError => "io-error",
            Self::PoolFull => "pool-full",
            Self::Restoring => "restoring",
            Self::PoolOffline => "pool-offline",
        })
    }
}

/// What was seen of a volume.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct VolumeStatus {
    /// The spec generation that all of this answers; 0 before the first.
    pub observed_generation: u64,
    /// Whether its content was once complete and durable. From then on a missing file is a loss.
    pub filled: bool,
    /// The file's size.
    pub size: ByteSize,
    /// Why the last try failed, until one succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Problem>,
    /// What a person should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
}

/// `attached` or `detached`, and nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AttachStatus {
    /// A machine holds it.
    Attached,
    /// No machine holds it.
    Detached,
}

impl fmt::Display for AttachStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Attached => "attached",
            Self::Detached => "detached",
        })
    }
}

/// A volume as the API shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(title = "Volume")]
pub struct Volume {
    /// The volume's id.
    pub id: VolumeId,
    /// Its name.
    pub name: Name,
    /// `attached` or `detached`.
    pub status: AttachStatus,
    /// What stands beside the status, if anything.
    pub condition: Option<Condition>,
    /// The name of the machine that holds it.
    pub attached_to: Option<Name>,
    /// The id of the machine that holds it.
    pub attached_to_id: Option<MachineId>,
    /// `root` or `data`.
    pub role: VolumeRole,
    /// The pool it lives in.
    pub pool: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The file system that it was made with; `null` if nobody knows.
    #[serde(default)]
    pub fs: Option<FileSystem>,
    /// The host that holds it.
    pub node: String,
    /// The machine with which it goes when that is deleted without `--preserve-storage`.
    pub owner: Option<Name>,
    /// The image it was cloned from.
    pub image: Option<Name>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// The spec's generation.
    pub generation: u64,
    /// The generation that was last fully carried out.
    pub observed_generation: u64,
    /// Why the last try failed.
    pub fault: Option<Problem>,
    /// Whether no machine may write to it.
    #[serde(default)]
    pub read_only: bool,
    /// Whether it cannot be deleted.
    #[serde(default)]
    pub protected: bool,
    /// What people sort it by.
    #[serde(default)]
    pub labels: Labels,
    /// When it was deleted; only of one that was.
    #[serde(default)]
    pub deleted_at: Option<Timestamp>,
    /// Until when it can be taken back; only of a deleted one that can.
    #[serde(default)]
    pub restorable_until: Option<Timestamp>,
    /// The spec's revision, for `If-Match`; it moves with every change of what is wanted.
    #[serde(default)]
    pub revision: u64,
    /// What it takes; only where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<VolumeUsage>,
}

/// Asks for a new, empty data volume.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateVolume {
    /// Its name; without one, Sistemo makes one up.
    #[serde(default)]
    pub name: Option<Name>,
    /// Its size in bytes, rounded up to a MiB.
    pub size_bytes: u64,
    /// The pool it shall live in, by id or name; `default` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The file system it shall have; ext4 unless given.
    #[serde(default, skip_serializing_if = "FileSystem::is_usual")]
    pub fs: FileSystem,
    /// What people sort it by.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

/// Asks for a volume that holds what is sent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ImportVolume {
    /// Its name; without one, Sistemo makes one up.
    pub name: Option<Name>,
    /// The pool it shall live in, by id or name; `default` unless given.
    pub pool: Option<String>,
    /// What it is for.
    pub role: VolumeRole,
    /// Its size in bytes, rounded up to a MiB; without one, that of what is sent.
    pub size_bytes: Option<u64>,
    /// What it is marked with.
    pub labels: Labels,
}

/// Asks for an independent copy of a volume.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloneVolume {
    /// The copy's name; without one, Sistemo makes one up.
    #[serde(default)]
    pub name: Option<Name>,
    /// Its size in bytes, rounded up to a MiB; without one, that of what is copied.
    #[serde(default)]
    pub size_bytes: Option<u64>,
    /// The pool it shall live in, by id or name; that of what is copied unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// It is only to be read; of a snapshot in the same pool it then takes no room and a moment,
    /// whatever the file system.
    #[serde(default)]
    pub read_only: bool,
}

/// Asks for a deleted volume or machine back.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// What it is called from now on; what it was called unless given.
    #[serde(default)]
    pub name: Option<Name>,
}

/// Asks for a larger volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResizeVolume {
    /// The new size in bytes, rounded up to a MiB.
    pub size_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_from_before_there_was_a_choice_tell_what_was_made_then() {
        let spec = |source: &str, more: &str| -> VolumeSpec {
            let id = "0192f0c1-2345-7abc-8def-0123456789ab";
            let text = format!(
                r#"{{"id":"{id}","name":"a","generation":1,"node":"localhost",
                "created_at":"2026-01-31T12:00:00Z","role":"data","size":1048576,"source":{source},"owner":null{more}}}"#
            );
            serde_json::from_str(&text.replace("ID", id)).unwrap()
        };
        let blank = r#"{"kind":"blank","fs_uuid":"ID"}"#;
        let nil = r#"{"kind":"blank","fs_uuid":"00000000-0000-0000-0000-000000000000"}"#;
        assert_eq!(spec(blank, "").file_system(), Some(FileSystem::Ext4));
        assert_eq!(spec(r#"{"kind":"image","image":"ID"}"#, "").file_system(), Some(FileSystem::Ext4));
        assert_eq!(spec(r#"{"kind":"upload"}"#, "").file_system(), None);
        assert_eq!(spec(r#"{"kind":"volume","volume":"ID"}"#, "").file_system(), None);
        assert_eq!(spec(nil, "").file_system(), None);
        let xfs = spec(blank, r#","fs":"xfs""#);
        assert_eq!(xfs.file_system(), Some(FileSystem::Xfs));
        assert_eq!(serde_json::from_str::<VolumeSpec>(&serde_json::to_string(&xfs).unwrap()).unwrap(), xfs);
    }
}
