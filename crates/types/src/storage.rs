//! What things take of the disks of the host.
//!
//! Invariant: in one pool, what everything has to itself and what is shared, counted once, add up to no
//! more than the file system says is in use; `overhead_bytes` is the rest. What cannot be seen is `null`
//! and counts as overhead, never as nothing.

use crate::pool::PoolState;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a volume takes; `null` is what cannot be seen just now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct VolumeUsage {
    /// What its file occupies on the host.
    pub allocated_bytes: Option<u64>,
    /// What of that nothing else has: deleted for good, it comes back.
    pub exclusive_bytes: Option<u64>,
    /// What of that it shares with copies, snapshots or an image.
    pub shared_bytes: Option<u64>,
    /// What the guest that has it mounted says is in use there; only while it runs.
    pub guest_used_bytes: Option<u64>,
    /// What is allocated and not in use in the guest, about: `volume trim` gives it back.
    pub reclaimable_bytes: Option<u64>,
}

impl VolumeUsage {
    /// What a guest says of it beside what the host sees.
    #[must_use]
    pub fn in_guest(mut self, used: Option<u64>) -> Self {
        self.guest_used_bytes = used;
        let both = self.allocated_bytes.zip(used);
        self.reclaimable_bytes = both.map(|(allocated, used)| allocated.saturating_sub(used));
        self
    }
}

/// What all things of one kind take, together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct KindUsage {
    /// How many there are.
    pub count: u64,
    /// What they may grow to.
    pub size_bytes: u64,
    /// What their files occupy; what is shared counts in each.
    pub allocated_bytes: u64,
    /// What of that nothing else has.
    pub exclusive_bytes: u64,
}

/// What the guests that run say of their volumes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct GuestUsage {
    /// How many volumes they have mounted and told of.
    pub count: u64,
    /// What is in use there.
    pub used_bytes: u64,
    /// What is allocated for them and not in use there, about.
    pub reclaimable_bytes: u64,
}

/// Where the room of a pool is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct PoolContent {
    /// The size of its file system.
    pub size_bytes: u64,
    /// What the file system says is in use: the sum of all `exclusive_bytes`, of `shared_bytes` and of
    /// `overhead_bytes`.
    pub used_bytes: u64,
    /// What can still be written.
    pub free_bytes: u64,
    /// The volumes.
    pub volumes: KindUsage,
    /// The snapshots.
    pub snapshots: KindUsage,
    /// Deleted volumes that can be taken back.
    pub trash: KindUsage,
    /// Images.
    pub images: KindUsage,
    /// The files that hold other pools.
    pub pools: KindUsage,
    /// What is in the making, or was broken off.
    pub unfinished: KindUsage,
    /// The daemon's own: database, kernels, room that is kept for a full disk.
    pub system: KindUsage,
    /// What several of these share, counted once.
    pub shared_bytes: u64,
    /// What else is in use: what the file system needs itself, and whatever is kept there besides.
    pub overhead_bytes: u64,
    /// Whether nothing but the pool is on its file system.
    pub dedicated: bool,
    /// What the guests say.
    pub guests: GuestUsage,
}

impl PoolContent {
    /// Every kind with its name, in the order in which people are shown them.
    pub fn kinds(&self) -> [(&'static str, KindUsage); 7] {
        [
            ("volumes", self.volumes),
            ("snapshots", self.snapshots),
            ("trash", self.trash),
            ("images", self.images),
            ("pools", self.pools),
            ("unfinished", self.unfinished),
            ("system", self.system),
        ]
    }

    /// What can be told of: all that is exclusive, and what is shared, once.
    pub fn accounted(&self) -> u64 {
        self.kinds().iter().fold(self.shared_bytes, |sum, (_, k)| sum.saturating_add(k.exclusive_bytes))
    }
}

/// A pool, and where its room is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PoolUsage {
    /// The pool's name.
    pub name: String,
    /// How it is.
    pub status: PoolState,
    /// What its volumes may grow to, all together.
    pub committed_bytes: u64,
    /// The most that they may, if `pool.overcommit` is set.
    pub committed_limit_bytes: Option<u64>,
    /// Where its room is; `null` while it cannot be seen.
    pub content: Option<PoolContent>,
    /// What is to be said about its room.
    pub warnings: Vec<String>,
}
