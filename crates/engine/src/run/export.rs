//! The end of reading a volume or a snapshot.
//!
//! Invariant: the hold goes in the transaction that ends the request; a request that no reader of this
//! process belongs to is one that an earlier process left.

use super::Broken;
use super::close::Ending;
use super::queue::Key;
use crate::Engine;
use crate::admit::{Export, Reading};
use crate::db::Change;
use crate::port::Fault;
use std::sync::PoisonError;
use types::operation::{Kind, Progress};
use types::snapshot::SnapshotSpec;
use types::{Code, Operation, Problem, Verb};
use uuid::Uuid;

impl Engine {
    /// Whether what is to be read is there; of a volume that a machine runs with, once its snapshot was
    /// taken. A change of the store may make it so.
    ///
    /// # Errors
    /// Why it never will be.
    pub fn export_ready(&self, reading: Reading) -> Result<bool, Problem> {
        let Reading::Snapshot(id) = reading else { return Ok(true) };
        let gone = || Problem::new(Code::Superseded, "the snapshot to be read was given up");
        let record = self.0.db.record::<SnapshotSpec>(id.0)?.ok_or_else(gone)?;
        match record.spec.value.deleting {
            Some(going) => Err(going.because.unwrap_or_else(gone)),
            None => Ok(record.status.taken.is_some()),
        }
    }

    /// Tells how far reading is.
    pub fn export_progress(&self, export: &Export, progress: &Progress) {
        let (kind, id) = about(&export.operation);
        self.0.live.progress(kind, id, progress);
    }

    /// Records that reading is over, and how it ended.
    ///
    /// # Errors
    /// `database-failed`; the request is ended later then, as one that was left.
    pub fn end_export(&self, export: &Export, why: Option<Problem>) -> Result<(), Problem> {
        let operation = &export.operation;
        self.0.exports.lock().unwrap_or_else(PoisonError::into_inner).remove(&operation.id);
        let ended = loop {
            match self.end_reading(operation, why.clone()) {
                Err(Broken::Raced) => {}
                other => break other,
            }
        };
        for (kind, id) in [about(operation), held(operation)] {
            self.wake(kind, id);
            self.0.queue.settled((kind, id));
        }
        match ended {
            Ok(()) | Err(Broken::Raced) => Ok(()),
            Err(Broken::Fault(Fault { problem, .. }) | Broken::Problem(problem)) => Err(problem),
        }
    }

    /// Ends what an earlier process was reading.
    pub(super) fn end_lost_exports(&self, (kind, id): Key) -> Result<(), Broken> {
        let served =
            |op: &Operation| self.0.exports.lock().unwrap_or_else(PoisonError::into_inner).contains(&op.id);
        let open = self.open_operations(kind, id)?;
        for op in open.iter().filter(|op| op.verb == Verb::VolumeExport && !served(op)) {
            let why = Problem::new(Code::Superseded, "the daemon ended while the volume was being read")
                .hint("ask for it again");
            self.end_reading(op, Some(why))?;
            let held = held(op);
            self.wake(held.0, held.1);
        }
        Ok(())
    }

    fn end_reading(&self, operation: &Operation, why: Option<Problem>) -> Result<(), Broken> {
        let mut change = Change::system();
        self.release_hold(&mut change, held(operation).1, (Kind::Volume, operation.id.0))?;
        let (kind, id) = about(operation);
        self.close(change, kind, id, |op| {
            (op.id == operation.id).then(|| why.clone().map_or_else(Ending::well, Ending::failed))
        })
    }
}

/// What was asked for.
fn about(operation: &Operation) -> Key {
    (operation.target.kind, operation.target.id.unwrap_or(Uuid::nil()))
}

/// What is read for it, and held: a snapshot, if it has to do with one.
fn held(operation: &Operation) -> Key {
    let snapshot = operation.resources.iter().find(|r| r.kind == Kind::Snapshot);
    snapshot.and_then(|r| Some((r.kind, r.id?))).unwrap_or_else(|| about(operation))
}
