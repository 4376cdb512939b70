//! The end of reading a volume.
//!
//! Invariant: the hold goes in the transaction that ends the request; a request that no reader of this
//! process belongs to is one that an earlier process left.

use super::Broken;
use super::close::Ending;
use crate::Engine;
use crate::db::Change;
use crate::port::Fault;
use std::sync::PoisonError;
use types::operation::{Kind, Progress};
use types::{Code, Operation, OperationId, Problem, Verb, VolumeId};

impl Engine {
    /// Tells how far reading is.
    pub fn export_progress(&self, volume: VolumeId, progress: &Progress) {
        self.0.live.progress(Kind::Volume, volume.0, progress);
    }

    /// Records that reading is over, and how it ended.
    ///
    /// # Errors
    /// `database-failed`; the request is ended later then, as one that was left.
    pub fn end_export(
        &self,
        volume: VolumeId,
        operation: OperationId,
        why: Option<Problem>,
    ) -> Result<(), Problem> {
        self.0.exports.lock().unwrap_or_else(PoisonError::into_inner).remove(&operation);
        let ended = loop {
            match self.end_reading(volume, operation, why.clone()) {
                Err(Broken::Raced) => {}
                other => break other,
            }
        };
        self.wake(Kind::Volume, volume.0);
        self.0.queue.settled((Kind::Volume, volume.0));
        match ended {
            Ok(()) | Err(Broken::Raced) => Ok(()),
            Err(Broken::Fault(Fault { problem, .. }) | Broken::Problem(problem)) => Err(problem),
        }
    }

    /// Ends what an earlier process was reading.
    pub(super) fn end_lost_exports(&self, volume: VolumeId) -> Result<(), Broken> {
        let open = self.open_operations(Kind::Volume, volume.0)?;
        let served =
            |op: &Operation| self.0.exports.lock().unwrap_or_else(PoisonError::into_inner).contains(&op.id);
        for op in open.iter().filter(|op| op.verb == Verb::VolumeExport && !served(op)) {
            let why = Problem::new(Code::Superseded, "the daemon ended while the volume was being read")
                .hint("ask for it again");
            self.end_reading(volume, op.id, Some(why))?;
        }
        Ok(())
    }

    fn end_reading(
        &self,
        volume: VolumeId,
        operation: OperationId,
        why: Option<Problem>,
    ) -> Result<(), Broken> {
        let mut change = Change::system();
        self.release_hold(&mut change, volume.0, (Kind::Volume, operation.0))?;
        self.close(change, Kind::Volume, volume.0, |op| {
            (op.id == operation).then(|| why.clone().map_or_else(Ending::well, Ending::failed))
        })
    }
}
