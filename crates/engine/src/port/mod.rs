//! The ports: what the engine needs of the world, and nothing about how it is done.
//!
//! Invariant: every method is an *ensure*: it takes an absolute target, may be repeated after a
//! kill at any point inside it, and returns `Ok` only once its effect is durable. Methods block;
//! the reconciler calls them from its worker threads, at most one at a time for one resource.

mod clock;
mod guest;
mod images;
mod net;
mod pool;
mod pools;
mod receive;
mod space;
mod vmm;

pub use clock::Clock;
pub use guest::{Grown, Guest, GuestObs, Held};
pub use images::{ImageObs, Images};
pub use net::{Net, NicPlan};
pub use pool::{Capacity, FileObs, Fresh, FromSnapshot, Pool, SnapshotObs, VolumeObs};
pub use pools::{PoolObs, Pools};
pub use receive::{Bounds, beyond, no_room_to_receive};
pub use space::{Footprint, Kept, Sharing, Space};
pub use vmm::{Backup, DiskObs, Health, ProcessObs, RunDisk, RunPlan, Vmm};

use types::operation::{Kind, Progress};
use types::{Code, Problem};

/// What to do about a full pool.
pub const MAKE_ROOM: &str = "make room on the disk of the pool, or grow it (`sistemo pool list`), delete images, or delete volumes \
    and let go of them with `sistemo trash empty`";

/// Why a port could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct Fault {
    /// What a person reads. What a tool printed goes to the log, never here.
    pub problem: Problem,
    /// Whether the same call may succeed later without anybody's doing. Such faults are retried
    /// with back-off while an operation waits; others end it.
    pub passing: bool,
}

impl Fault {
    /// A fault that stays until somebody acts.
    pub fn lasting(code: Code, message: impl Into<String>) -> Self {
        Self { problem: Problem::new(code, message), passing: false }
    }

    /// A fault that may pass by itself.
    pub fn passing(code: Code, message: impl Into<String>) -> Self {
        Self { problem: Problem::new(code, message), passing: true }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.problem = self.problem.hint(hint);
        self
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self { problem, passing: false }
    }
}

/// Told by a long step how far it is. Called at most a few times a second.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Sync);

/// Told by a port that something about a resource may have changed. Carries no data: the
/// reconciler looks for itself. Cheap, never blocks, callable from any thread.
pub type Wake = std::sync::Arc<dyn Fn(Kind, uuid::Uuid) + Send + Sync>;

/// All ports of one node.
#[derive(Clone)]
pub struct Ports {
    /// Where volumes live.
    pub pools: std::sync::Arc<dyn Pools>,
    /// Images and kernels.
    pub images: std::sync::Arc<dyn Images>,
    /// The hypervisor.
    pub vmm: std::sync::Arc<dyn Vmm>,
    /// Bridges, taps and address translation.
    pub net: std::sync::Arc<dyn Net>,
    /// The agents in the guests.
    pub guest: std::sync::Arc<dyn Guest>,
    /// Time.
    pub clock: std::sync::Arc<dyn Clock>,
}
