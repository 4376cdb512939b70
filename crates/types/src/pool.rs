//! Pools: where volumes live.
//!
//! Invariant: the pool `default` is the data directory's own and has no record; every other one has a spec,
//! which is also written down in the data directory, so that a lost database can be made anew.

use crate::Problem;
use crate::id::{OperationId, PoolId};
use crate::meta::Timestamp;
use crate::name::Name;
use crate::size::ByteSize;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// The pool that is always there.
pub const DEFAULT_POOL: &str = "default";

/// The smallest file system of a pool: XFS is not made smaller (tried with xfsprogs 6.1).
pub const MIN_POOL: ByteSize = ByteSize::mib(300);

/// What a pool is on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum PoolOn {
    /// A directory of the host, known again by a mark in it.
    Directory {
        /// Its path: absolute, and without links.
        path: String,
    },
    /// A file in the data directory that holds an XFS file system.
    Loop {
        /// The length the file shall have; never less than before.
        size: ByteSize,
        /// The file takes room only as it is written to.
        sparse: bool,
    },
}

impl PoolOn {
    /// The length of its file, of one that is in a file.
    pub fn size(&self) -> Option<ByteSize> {
        match self {
            Self::Directory { .. } => None,
            Self::Loop { size, .. } => Some(*size),
        }
    }
}

/// The mark on a pool that is going.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PoolDeletion {
    /// When it was asked for.
    pub at: Timestamp,
    /// Which request.
    pub operation: OperationId,
    /// Set when it goes because it could not be made: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<Problem>,
    /// What it is on is gone for good: what was in it is forgotten with it, and nothing there is touched.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
}

/// What is wanted of a pool.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PoolSpec {
    /// The pool; also the mark in it.
    pub id: PoolId,
    /// Its name, which it keeps.
    pub name: Name,
    /// Counts the changes of this spec, from 1.
    pub generation: u64,
    /// The host that has it.
    pub node: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// What it is on.
    pub on: PoolOn,
    /// Set once the pool is to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleting: Option<PoolDeletion>,
}

/// What was seen of a pool.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PoolStatus {
    /// The spec generation that all of this answers; 0 before the first.
    pub observed_generation: u64,
    /// Whether it was once complete. From then on what is missing is never made anew.
    pub made: bool,
    /// The length of the file whose file system makes use of all of it.
    #[serde(default)]
    pub size: ByteSize,
    /// Why the last try failed, until one succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Problem>,
}

/// How a pool is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PoolState {
    /// It is being made.
    Creating,
    /// It is there.
    Online,
    /// What it is on is not there, or cannot be used.
    Offline,
    /// It is going.
    Deleting,
}

impl fmt::Display for PoolState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Creating => "creating",
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Deleting => "deleting",
        })
    }
}

/// What kind of pool.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PoolKind {
    /// A directory of the host.
    Directory,
    /// An XFS file system in a file.
    Loop,
}

impl fmt::Display for PoolKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Directory => "directory",
            Self::Loop => "loop",
        })
    }
}

/// A pool as the API shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(title = "Pool")]
pub struct Pool {
    /// The pool's id; the default pool has none.
    pub id: Option<PoolId>,
    /// Its name.
    pub name: Name,
    /// What kind it is.
    pub kind: PoolKind,
    /// How it is.
    pub status: PoolState,
    /// The directory its volumes are in.
    pub path: String,
    /// The size of its file system; `null` while it is offline.
    pub size_bytes: Option<u64>,
    /// What is free there.
    pub free_bytes: Option<u64>,
    /// What its volumes may grow to, all together.
    pub committed_bytes: u64,
    /// Whether copies share their blocks with what they are made of, so that they cost next to nothing.
    pub shares_blocks: Option<bool>,
    /// Whether the file it is in takes room only as it is written to.
    pub sparse: bool,
    /// How many volumes are in it, those in the trash included.
    pub volumes: u64,
    /// Why the last try failed, or what is wrong with it.
    pub fault: Option<Problem>,
    /// When it was asked for; the default pool is always there.
    pub created_at: Option<Timestamp>,
    /// The spec's revision, for `If-Match`; it moves with every change of what is wanted.
    #[serde(default)]
    pub revision: u64,
}

/// Asks for a pool: in a directory, or in a file of a size.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePool {
    /// Its name.
    pub name: Name,
    /// A directory of the host, of which the pool makes use.
    #[serde(default)]
    pub path: Option<String>,
    /// The size in bytes of a file in the data directory, which gets an XFS file system; rounded up to a MiB.
    #[serde(default)]
    pub size_bytes: Option<u64>,
    /// Let that file take room only as it is written to. Data is lost when the host's disk is full then.
    #[serde(default)]
    pub sparse: bool,
}

/// Asks for a larger pool.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResizePool {
    /// The new size in bytes, rounded up to a MiB.
    pub size_bytes: u64,
}

/// Asks for a volume to live in another pool.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveVolume {
    /// The pool, by id or name.
    pub pool: String,
}
