//! What a pool needs next.
//!
//! Invariant: what it is on is made at most once: when it was once whole and is not there, that is an absence
//! to be waited for, never a reason to make an empty one.

use super::Answer;
use crate::port::PoolObs;
use types::pool::{PoolOn, PoolSpec, PoolStatus};
use types::{ByteSize, Code, Problem};

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
    /// Nothing is left of it: remove the record.
    Forget,
}

/// Answers for a pool.
pub fn plan(spec: &PoolSpec, status: &PoolStatus, seen: &PoolObs) -> Answer<Step> {
    if spec.deleting.is_some() {
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
            Problem::new(Code::PoolOffline, format!("{path} does not hold pool \"{name}\" now"))
                .hint("mount the disk that it is on; its volumes are there again then")
        }
        PoolOn::Loop { .. } => {
            Problem::new(Code::PoolOffline, format!("the file of pool \"{name}\" is gone"))
                .hint(format!("put {name}.img back into the directory `pools` of the data directory"))
        }
    }
}
