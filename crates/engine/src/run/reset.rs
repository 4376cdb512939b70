//! Volumes whose content becomes that of a snapshot.
//!
//! Invariant: what was there is in a snapshot of its own before anything of it is touched; volume and
//! both snapshots are held until it is done or given up, and the same content put in place twice is
//! the same.

use super::Broken;
use super::close::Ending;
use crate::Engine;
use crate::db::{Change, VolumeRecord};
use crate::key;
use crate::plan::volume::ResetLook;
use types::operation::Kind;
use types::snapshot::{Consistency, SnapshotSpec};
use types::volume::Reset;
use types::{Code, Problem, SnapshotId, Verb};

impl Engine {
    /// Whether what is there was kept, and what shall be there is.
    pub(super) fn reset_look(&self, reset: &Reset) -> Result<ResetLook, Problem> {
        let unknown = || Problem::new(Code::SnapshotNotFound, "a snapshot was deleted meanwhile");
        let Some(before) = self.0.db.record::<SnapshotSpec>(reset.before.0)? else {
            return Ok(ResetLook::Failed(unknown()));
        };
        if let Some(going) = &before.spec.deleting {
            return Ok(ResetLook::Failed(going.because.clone().unwrap_or_else(unknown)));
        }
        if before.status.taken.is_none() {
            return Ok(ResetLook::Waiting(reset.before));
        }
        Ok(match self.0.db.record::<SnapshotSpec>(reset.to.0)? {
            Some(to) if to.spec.deleting.is_none() && to.status.taken.is_some() => ResetLook::Ready,
            _ => ResetLook::Failed(unknown()),
        })
    }

    /// The content is in place: the volume is itself again.
    pub(super) fn end_reset(&self, record: &VolumeRecord, reset: &Reset) -> Result<(), Broken> {
        let taken = self.0.db.record::<SnapshotSpec>(reset.to.0)?.and_then(|to| to.status.taken);
        let mut change = self.without_reset(record, reset)?;
        let mark = key::unclean(record.spec.id);
        match taken {
            Some(taken) if taken.consistency == Consistency::Filesystem => change.delete(mark),
            _ => change.put(mark, &true),
        };
        change.commit(&self.0.db)?;
        self.after_reset(record, reset);
        Ok(())
    }

    /// It cannot be done: the volume stays as it is.
    pub(super) fn give_up_reset(
        &self,
        record: &VolumeRecord,
        reset: &Reset,
        problem: &Problem,
    ) -> Result<(), Broken> {
        let change = self.without_reset(record, reset)?;
        self.commit_and_close(change, Kind::Volume, record.spec.id.0, |op| {
            (op.verb == Verb::SnapshotRestore).then(|| Ending::failed(problem.clone()))
        })?;
        self.after_reset(record, reset);
        Ok(())
    }

    fn without_reset(&self, record: &VolumeRecord, reset: &Reset) -> Result<Change, Problem> {
        let mut new = record.spec.value.clone();
        new.reset = None;
        new.generation += 1;
        let mut change = Change::system();
        change.update(&record.spec, &new);
        let ours = (Kind::Volume, record.spec.id.0);
        for held in [record.spec.id.0, reset.to.0, reset.before.0] {
            self.release_hold(&mut change, held, ours)?;
        }
        Ok(change)
    }

    /// Whoever waited for what was held looks again.
    fn after_reset(&self, record: &VolumeRecord, reset: &Reset) {
        for SnapshotId(id) in [reset.to, reset.before] {
            self.wake(Kind::Snapshot, id);
        }
        self.wake(Kind::Volume, record.spec.id.0);
    }
}
