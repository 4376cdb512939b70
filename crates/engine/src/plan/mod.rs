//! The planners: what is the first thing that is not as it shall be?
//!
//! Invariant: a planner is a pure, total function of a record and a look at the world. It knows no
//! port and no store; start-up, retry, normal work and recovery all ask it the same question.

pub mod disks;
pub mod grow;
pub mod image;
pub mod machine;
pub mod node;
pub mod pool;
pub mod snapshot;
pub mod stall;
pub mod volume;

use types::operation::Kind;
use types::{Problem, Timestamp};
use uuid::Uuid;

/// A planner's answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer<S> {
    /// The first unmet step.
    Do(S),
    /// Nothing can be done until something else happens.
    Wait(Wait),
    /// Everything is as it shall be.
    Settled,
    /// It cannot become as it shall be, for this reason.
    Stuck(Problem),
}

/// What is waited for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wait {
    /// Look again at this time at the latest.
    pub until: Option<Timestamp>,
    /// Look again when one of these has changed.
    pub on: Vec<(Kind, Uuid)>,
}
