//! What a pool needs next.
//!
//! Invariant: what it is on is made at most once: when it was once whole and is not there, that is an absence
//! to be waited for, never a reason to make an empty one. One that is told lost is touched no more.

use super::{Answer, Wait};
use crate::port::PoolObs;
use types::operation::Kind;
use types::pool::{PoolOn, PoolSpec, PoolStatus};
use types::{ByteSize, Code, Problem};
use uuid::Uuid;

/// A step towards what is wanted of a pool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Make it.
    Make,
    /// Make its volumes reachable.
    Bring,
    /// Make it at least this large.
    Grow {
        /// How large.
        to: ByteSize,
    },
    /// Write down the spec of this generation.
    WriteRecord,
    /// Remove all there is of it.
    Remove,
    /// It is lost: decide that some of what was in it goes for good.
    LetGo,
    /// It is lost: remove its record in the data directory, and nothing else.
    Abandon,
    /// Nothing is left of it: remove the record.
    Forget,
}

/// What there is on record of what is in a pool; only looked at while it goes because it is lost.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Inside {
    /// Something that it has not been decided of that it goes.
    pub wanted: bool,
    /// The last of what is on its way, or keeps something from going.
    pub last: Option<(Kind, Uuid)>,
}

/// Answers for a pool.
pub fn plan(spec: &PoolSpec, status: &PoolStatus, seen: &PoolObs, inside: &Inside) -> Answer<Step> {
    if let Some(going) = &spec.deleting {
        if going.lost {
            return match inside {
                Inside { wanted: true, .. } => Answer::Do(Step::LetGo),
                Inside { last: Some(last), .. } => Answer::Wait(Wait { until: None, on: vec![*last] }),
                _ if seen.record.is_some() => Answer::Do(Step::Abandon),
                _ => Answer::Do(Step::Forget),
            };
        }
        return Answer::Do(if seen.any { Step::Remove } else { Step::Forget });
    }
    if !seen.whole {
        return if status.made { Answer::Stuck(offline(spec)) } else { Answer::Do(Step::Make) };
    }
    if !seen.online {
        return Answer::Do(Step::Bring);
    }
    if let Some(to) = spec.on.size() {
        let grown = seen.size.is_some_and(|size| size >= to) && (!status.made || status.size >= to);
        if !grown {
            return Answer::Do(Step::Grow { to });
        }
    }
    if seen.record != Some(spec.generation) {
        return Answer::Do(Step::WriteRecord);
    }
    Answer::Settled
}

/// The fault of a pool that was once whole and is not there.
pub fn offline(spec: &PoolSpec) -> Problem {
    let name = &spec.name;
    match &spec.on {
        PoolOn::Directory { path } => {
            Problem::new(Code::PoolOffline, format!("{path} does not hold pool \"{name}\" now")).hint(
                format!(
                    "mount the disk that it is on; its volumes are there again then. If it is gone for good: \
                     `sistemo pool delete {name} --lost`"
                ),
            )
        }
        PoolOn::Loop { .. } => {
            Problem::new(Code::PoolOffline, format!("the file of pool \"{name}\" is gone"))
                .hint(format!("put {name}.img back into the directory `pools` of the data directory"))
        }
    }
}
