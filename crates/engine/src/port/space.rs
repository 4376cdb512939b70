//! What is kept on the file systems of pools, and what it takes.

use types::{ByteSize, SnapshotId, VolumeId};

/// What a file is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kept {
    /// A published volume.
    Volume(VolumeId),
    /// A published snapshot.
    Snapshot(SnapshotId),
    /// A deleted volume.
    Deleted(VolumeId),
    /// The content of an image.
    Image,
    /// The file that holds a pool.
    Pool,
    /// A temporary.
    Unfinished,
    /// The daemon's own.
    System,
}

/// How much of a file is its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sharing {
    /// What no other file has; never more than is allocated.
    pub exclusive: ByteSize,
    /// What others have as well.
    pub shared: ByteSize,
}

/// What a file takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Footprint {
    /// Its length.
    pub size: ByteSize,
    /// What it occupies.
    pub allocated: ByteSize,
    /// Whose that is; `None` where the file system does not say.
    pub sharing: Option<Sharing>,
}

/// The room of one pool. What its files have to themselves, and `shared`, add up to no more than `used`;
/// so they do over all pools that are on one file system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Space {
    /// The pool's name.
    pub pool: String,
    /// The size of its file system.
    pub total: ByteSize,
    /// What of it is in use.
    pub used: ByteSize,
    /// What can still be written.
    pub free: ByteSize,
    /// What several files share, counted once: with the first pool of its file system that has it.
    pub shared: ByteSize,
    /// Whether nothing but the pool is on its file system.
    pub dedicated: bool,
    /// Every file of ours.
    pub files: Vec<(Kept, Footprint)>,
}
