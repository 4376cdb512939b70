//! What a snapshot needs next.
//!
//! Invariant: what it is was decided by the transaction that says that it was taken. A file without
//! that is of a try that was cut short, and is taken anew; one that was taken is never made again.

use super::{Answer, Wait};
use crate::port::SnapshotObs;
use types::operation::Kind;
use types::snapshot::{SnapshotSpec, SnapshotStatus};
use types::{ByteSize, Code, Problem};
use uuid::Uuid;

/// A step towards what is wanted of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Take it, and those that belong together with it, and say so.
    Take,
    /// Publish the sidecar of this generation.
    WriteSidecar,
    /// Its time in the trash is over: decide that it goes for good.
    Expire,
    /// Remove file and sidecar for good.
    Discard,
    /// Nobody needs it any more: want it no longer.
    LetGo,
    /// Nothing is left of it: remove the record.
    Forget,
}

/// The volume that a snapshot is of, as far as it cares.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// It can be had now.
    Ready,
    /// Once this has come to rest.
    Coming(Kind, Uuid),
    /// It cannot be had.
    Failed(Problem),
}

/// What was seen of a snapshot's world.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Look {
    /// The pool's view.
    pub pool: SnapshotObs,
    /// Somebody reads it.
    pub held: bool,
    /// It was deleted, and its time in the trash is over.
    pub expired: bool,
    /// What it is of; only looked at while it has not been taken.
    pub source: Source,
}

/// Answers for a snapshot.
pub fn plan(spec: &SnapshotSpec, status: &SnapshotStatus, look: &Look) -> Answer<Step> {
    if let Some(going) = &spec.deleting {
        // The end of the last hold wakes it.
        return match (&look.pool, going.keep_until) {
            _ if look.held => Answer::Wait(Wait::default()),
            (SnapshotObs { file: None, sidecar: None }, _) => Answer::Do(Step::Forget),
            (_, None) => Answer::Do(Step::Discard),
            (SnapshotObs { file: None, .. }, _) => Answer::Do(Step::Expire),
            _ if look.expired => Answer::Do(Step::Expire),
            // It stays where it is; that it was deleted is known without the database, too.
            (obs, _) if obs.sidecar != Some(spec.generation) => Answer::Do(Step::WriteSidecar),
            _ => Answer::Settled,
        };
    }
    if spec.passing && !look.held {
        return Answer::Do(Step::LetGo);
    }
    let Some(taken) = &status.taken else {
        return match &look.source {
            Source::Ready => Answer::Do(Step::Take),
            Source::Coming(kind, id) => Answer::Wait(Wait { until: None, on: vec![(*kind, *id)] }),
            Source::Failed(problem) => Answer::Stuck(problem.clone()),
        };
    };
    match look.pool.file {
        // Its file may be on its way to become that of its reader.
        _ if spec.passing && look.pool.sidecar == Some(spec.generation) => Answer::Settled,
        _ if spec.passing => Answer::Do(Step::WriteSidecar),
        None => Answer::Stuck(lost(spec)),
        Some(file) if file.size != taken.size => Answer::Stuck(changed(spec, taken.size, file.size)),
        Some(_) if look.pool.sidecar != Some(spec.generation) => Answer::Do(Step::WriteSidecar),
        Some(_) => Answer::Settled,
    }
}

/// The fault of a snapshot whose content was once complete and is not there.
pub fn lost(spec: &SnapshotSpec) -> Problem {
    Problem::new(Code::SnapshotLost, format!("the file of snapshot \"{}\" is gone", spec.name))
        .hint(format!("put {}.raw back into the pool's snapshots, or delete the snapshot", spec.id))
}

fn changed(spec: &SnapshotSpec, had: ByteSize, has: ByteSize) -> Problem {
    let text = format!("the file of snapshot \"{}\" had {had} and something else gave it {has}", spec.name);
    Problem::new(Code::SnapshotLost, text)
        .hint(format!("put {}.raw back as it was, or delete the snapshot", spec.id))
}

/// The fault of a snapshot that can be taken no more: what it was to be of has changed since.
pub fn too_late(spec: &SnapshotSpec) -> Problem {
    let text = format!("volume \"{}\" went before snapshot \"{}\" was taken", spec.volume_name, spec.name);
    Problem::new(Code::VolumeNotFound, text).hint("nothing was kept; take another snapshot")
}
