//! Events: that something changed, and where to look.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an event is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A machine.
    Machine,
    /// A volume.
    Volume,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A snapshot.
    Snapshot,
    /// A pool.
    Pool,
    /// An operation.
    Operation,
    /// A line of the history.
    History,
}

/// That something changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ChangeEvent {
    /// The revision that changed it; a follower goes on from the last it saw.
    pub revision: u64,
    /// What it is.
    pub kind: Subject,
    /// Which.
    pub id: uuid::Uuid,
    /// Whether it is gone.
    pub deleted: bool,
}
