//! Volumes whose content becomes that of a snapshot.
//!
//! Invariant: what was there is in a snapshot of its own before anything of it is touched; volume and
//! both snapshots stay until it is done or given up, and the same content put in place twice is the
//! same. Of several that were asked for together, one comes last and ends the request; if another could
//! not be had, that one is not touched.

use super::Broken;
use super::close::Ending;
use crate::Engine;
use crate::db::{Change, VolumeRecord};
use crate::key;
use crate::plan::volume::ResetLook;
use types::operation::Kind;
use types::snapshot::{Consistency, SnapshotSpec};
use types::volume::{Reset, VolumeSpec};
use types::{Code, Problem, SnapshotId, Verb, VolumeId};

impl Engine {
    /// Whether what is there was kept, and what shall be there is.
    pub(super) fn reset_look(&self, of: VolumeId, reset: &Reset) -> Result<ResetLook, Problem> {
        let unknown = || Problem::new(Code::SnapshotNotFound, "a snapshot was deleted meanwhile");
        let Some(before) = self.0.db.record::<SnapshotSpec>(reset.before.0)? else {
            return Ok(ResetLook::Failed(unknown()));
        };
        if let Some(going) = &before.spec.deleting {
            return Ok(ResetLook::Failed(going.because.clone().unwrap_or_else(unknown)));
        }
        if before.status.taken.is_none() {
            return Ok(ResetLook::Waiting(Kind::Snapshot, reset.before.0));
        }
        for other in &reset.others {
            let record = self.0.db.record::<VolumeSpec>(other.0)?;
            let theirs = record.and_then(|other| other.spec.value.reset);
            if theirs.is_some_and(|theirs| theirs.last == Some(of)) {
                return Ok(ResetLook::Waiting(Kind::Volume, other.0));
            }
        }
        if let Some(problem) = &reset.failed {
            return Ok(ResetLook::Failed(problem.clone()));
        }
        Ok(match self.0.db.record::<SnapshotSpec>(reset.to.0)? {
            Some(to) if to.spec.deleting.is_none() && to.status.taken.is_some() => ResetLook::Ready,
            _ => ResetLook::Failed(unknown()),
        })
    }

    /// The content is in place: the volume is itself again.
    pub(super) fn end_reset(&self, record: &VolumeRecord, reset: &Reset) -> Result<(), Broken> {
        let taken = self.0.db.record::<SnapshotSpec>(reset.to.0)?.and_then(|to| to.status.taken);
        let mut change = self.without_reset(record)?;
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
        let mut change = self.without_reset(record)?;
        self.fail_last(&mut change, reset, problem)?;
        let mut told = problem.clone();
        if !reset.others.is_empty() {
            told = self.with_way_back(told, reset)?;
        }
        self.commit_and_close(change, Kind::Volume, record.spec.id.0, |op| {
            (op.verb == Verb::SnapshotRestore).then(|| Ending::failed(told.clone()))
        })?;
        self.after_reset(record, reset);
        Ok(())
    }

    /// Tells the volume that comes last why one before it could not be had.
    fn fail_last(&self, change: &mut Change, reset: &Reset, problem: &Problem) -> Result<(), Problem> {
        let Some(last) = reset.last else { return Ok(()) };
        let Some(record) = self.0.db.record::<VolumeSpec>(last.0)? else { return Ok(()) };
        let mut new = record.spec.value.clone();
        let Some(theirs) = new.reset.as_mut().filter(|theirs| theirs.failed.is_none()) else { return Ok(()) };
        theirs.failed = Some(problem.clone());
        new.generation += 1;
        change.update(&record.spec, &new);
        Ok(())
    }

    /// Some may be as they were wanted and others not: all of them can be had back as they were.
    fn with_way_back(&self, problem: Problem, reset: &Reset) -> Result<Problem, Problem> {
        let before = self.0.db.record::<SnapshotSpec>(reset.before.0)?;
        Ok(match before.filter(|b| b.status.taken.is_some() && b.spec.deleting.is_none()) {
            Some(before) => {
                let name = &before.spec.name;
                problem.hint(format!(
                    "not all disks were restored: `sistemo snapshot restore {name} --all` makes them again \
                     what they were; or mend what is wrong, and try again"
                ))
            }
            None => problem,
        })
    }

    fn without_reset(&self, record: &VolumeRecord) -> Result<Change, Problem> {
        let mut new = record.spec.value.clone();
        new.reset = None;
        new.generation += 1;
        let mut change = Change::system();
        change.update(&record.spec, &new);
        let ours = (Kind::Volume, record.spec.id.0);
        self.release_hold(&mut change, record.spec.id.0, ours)?;
        Ok(change)
    }

    /// Whoever waited for what was held looks again.
    fn after_reset(&self, record: &VolumeRecord, reset: &Reset) {
        for SnapshotId(id) in [reset.to, reset.before] {
            self.wake(Kind::Snapshot, id);
        }
        for VolumeId(id) in reset.last.into_iter().chain([record.spec.id]) {
            self.wake(Kind::Volume, id);
        }
    }
}
