//! Volumes: looking and doing.

use super::close::Ending;
use super::queue::Key;
use super::{Broken, Next};
use crate::admit::{go_for_good, mark_deleting, restorable};
use crate::db::{Change, VolumeRecord, encode};
use crate::plan::Answer;
use crate::plan::volume::{ImageLook, Look, ResetLook, Step, plan};
use crate::port::{FromSnapshot, VolumeObs};
use crate::{Engine, key};
use types::operation::{Kind, Progress};
use types::snapshot::{Consistency, SnapshotSpec};
use types::volume::{Condition, VolumeDeletion, VolumeSource, VolumeSpec, VolumeStatus};
use types::{ByteSize, Code, MachineId, Operation, Problem, SnapshotId, Verb, VolumeId};

impl Engine {
    pub(super) fn look_at_volume(&self, id: VolumeId) -> Result<Next, Broken> {
        let Some(record) = self.0.db.record::<VolumeSpec>(id.0)? else {
            self.0.queue.settled((Kind::Volume, id.0));
            return Ok(Next::Idle);
        };
        self.end_lost_exports((Kind::Volume, id.0))?;
        let look = self.volume_look(&record)?;
        match plan(&record.spec, &record.status, &look) {
            Answer::Do(step) => self.do_volume(&record, &step),
            Answer::Wait(wait) => Ok(self.wait((Kind::Volume, id.0), &wait)),
            Answer::Settled if record.spec.deleting.is_some() => {
                let status = VolumeStatus {
                    observed_generation: record.spec.generation,
                    fault: None,
                    condition: None,
                    ..record.status.value.clone()
                };
                self.conclude_volume(&record, status)?;
                Ok(Next::Idle)
            }
            Answer::Settled => {
                let status = VolumeStatus {
                    observed_generation: record.spec.generation,
                    filled: true,
                    size: look.pool.file.map_or(record.spec.size, |f| f.size),
                    fault: None,
                    condition: None,
                };
                self.conclude_volume(&record, status)?;
                self.look_at_growth(&record)
            }
            Answer::Stuck(problem) => {
                let again = self.give_up_volume(id, &problem)?;
                Ok(if again { Next::Again } else { Next::Idle })
            }
        }
    }

    fn volume_look(&self, record: &VolumeRecord) -> Result<Look, Broken> {
        let spec = &record.spec;
        let for_good = spec.deleting.as_ref().is_some_and(|d| d.keep_until.is_none());
        let pool = if for_good && self.is_lost(&spec.pool)? {
            VolumeObs::default()
        } else {
            self.pool(&spec.pool)?.observe(spec.id)?
        };
        let image = match spec.source {
            VolumeSource::Image { image } if pool.file.is_none() => self.image_look(image)?,
            VolumeSource::Volume { volume, .. } if pool.file.is_none() => {
                self.source_look(spec.id, volume)?
            }
            VolumeSource::Snapshot { snapshot, .. } if pool.file.is_none() => {
                self.snapshot_source(snapshot)?
            }
            _ => ImageLook::Missing,
        };
        let there = |key: String| self.0.db.0.get(&key).map(|found| found.is_some());
        let claimed =
            spec.deleting.is_some() && (there(key::attach(spec.id))? || there(key::hold(spec.id.0))?);
        let expired = restorable(record).is_some_and(|until| self.let_go(until));
        let reset = match &spec.reset {
            Some(reset) => self.reset_look(spec.id, reset)?,
            None => ResetLook::Ready,
        };
        let elsewhere = match spec.moving.as_ref().or(spec.leaving.as_ref()) {
            // Who waits for it learns why it cannot be reached; nobody else has to wait.
            Some(other) => match self.pool(other) {
                Ok(pool) => Some(pool.observe(spec.id)?),
                Err(fault) if spec.moving.is_some() => return Err(fault.into()),
                Err(_) => None,
            },
            None => None,
        };
        Ok(Look { pool, claimed, image, expired, reset, elsewhere })
    }

    /// The volume that `copy` is to be a copy of: without the hold, it may have changed since.
    fn source_look(&self, copy: VolumeId, source: VolumeId) -> Result<ImageLook, Broken> {
        let held = self.is_held_by(source.0, (Kind::Volume, copy.0))?;
        let Some(record) = self.0.db.record::<VolumeSpec>(source.0)?.filter(|_| held) else {
            return Ok(ImageLook::Missing);
        };
        let (spec, status) = (&record.spec, &record.status);
        Ok(match &status.fault {
            Some(fault) => ImageLook::Failed(fault.clone()),
            // One that is to go stays for as long as it is held.
            None if status.filled
                && (status.observed_generation == spec.generation || spec.deleting.is_some()) =>
            {
                ImageLook::Ready(status.size)
            }
            None if spec.deleting.is_some() => ImageLook::Missing,
            None => ImageLook::Coming,
        })
    }

    /// The snapshot that a volume is to be a copy of, which never changes.
    fn snapshot_source(&self, source: SnapshotId) -> Result<ImageLook, Problem> {
        let Some(record) = self.0.db.record::<SnapshotSpec>(source.0)? else { return Ok(ImageLook::Missing) };
        Ok(match (&record.status.fault, record.status.taken) {
            (Some(fault), _) => ImageLook::Failed(fault.clone()),
            (None, Some(taken)) => ImageLook::Ready(taken.size),
            (None, None) => match &record.spec.deleting {
                Some(going) => going.because.clone().map_or(ImageLook::Missing, ImageLook::Failed),
                None => ImageLook::Coming,
            },
        })
    }

    fn do_volume(&self, record: &VolumeRecord, step: &Step) -> Result<Next, Broken> {
        let spec = &record.spec;
        let pool = || self.pool(&spec.pool);
        let tell = |p: Progress| self.tell_volume(spec.id, &p);
        match step {
            Step::CreateBlank { size, fs, fs_uuid } => {
                pool()?.create_blank(spec.id, *size, (*fs, *fs_uuid), &encode(&spec.value), &tell)?;
            }
            Step::TakeUpload { size } => {
                pool()?.create_from_upload(spec.id, *size, &encode(&spec.value))?;
            }
            Step::Clone { image, size } => {
                pool()?.create_from_image(spec.id, *image, *size, &encode(&spec.value), &tell)?;
            }
            Step::Copy { from, size } => {
                let source = self.0.db.record::<VolumeSpec>(from.0)?.ok_or(Broken::Raced)?;
                let from = (source.spec.pool.as_str(), *from);
                pool()?.create_copy(spec.id, from, *size, &encode(&spec.value), &tell)?;
            }
            Step::CopySnapshot { from, size } => {
                let source = self.0.db.record::<SnapshotSpec>(from.0)?.ok_or(Broken::Raced)?;
                let from = FromSnapshot {
                    pool: &source.spec.pool,
                    id: *from,
                    same_file: source.spec.passing || spec.read_only,
                };
                pool()?.create_from_snapshot(spec.id, from, *size, &encode(&spec.value), &tell)?;
            }
            Step::Reset { to, size } => {
                let Some(reset) = spec.reset.as_ref().filter(|r| r.to == *to) else {
                    return Err(Broken::Raced);
                };
                let source = self.0.db.record::<SnapshotSpec>(to.0)?.ok_or(Broken::Raced)?;
                pool()?.reset(spec.id, (&source.spec.pool, *to), *size, &tell)?;
                self.end_reset(record, reset)?;
            }
            Step::DropReset => {
                let Some(reset) = &spec.reset else { return Err(Broken::Raced) };
                let text = format!("volume \"{}\" was deleted meanwhile", spec.name);
                self.give_up_reset(record, reset, &Problem::new(Code::Superseded, text))?;
            }
            Step::Grow { to } => pool()?.grow(spec.id, *to)?,
            Step::WriteSidecar => pool()?.write_sidecar(spec.id, &encode(&spec.value))?,
            Step::AdoptSize { size } => {
                let mut new = spec.value.clone();
                new.size = *size;
                new.generation += 1;
                let mut change = Change::system();
                change.update(spec, &new);
                change.commit(&self.0.db)?;
                tracing::warn!(volume = %new.name, size = %size, "the file was made larger by hand");
            }
            Step::Discard { keep_until: Some(t) } => pool()?.trash(spec.id, *t)?,
            Step::Discard { keep_until: None } => pool()?.remove(spec.id)?,
            Step::Expire => {
                let mut change = Change::system();
                change.on(&record.status);
                go_for_good(&mut change, record);
                change.commit(&self.0.db)?;
            }
            Step::Carry { .. } | Step::Arrive { .. } | Step::TurnBack { .. } | Step::Leave { .. } => {
                return self.do_move(record, step);
            }
            Step::Restore => pool()?.restore(spec.id, &encode(&spec.value))?,
            Step::Forget => return self.forget_volume(record),
        }
        Ok(Next::Again)
    }

    /// Progress of a volume is also that of a machine's operation that waits for it.
    fn tell_volume(&self, id: VolumeId, progress: &Progress) {
        self.0.live.progress(Kind::Volume, id.0, progress);
    }

    fn forget_volume(&self, record: &VolumeRecord) -> Result<Next, Broken> {
        let spec = &record.spec;
        let for_good = spec.deleting.as_ref().is_some_and(|d| d.keep_until.is_none());
        if for_good && !self.is_lost(&spec.pool)? {
            // Nothing is published, so what is left are temporaries of a fill that was cut short.
            self.pool(&spec.pool)?.remove(spec.id)?;
        }
        let mut change = Change::system();
        change
            .on(spec)
            .on(&record.status)
            .delete(spec.key.clone())
            .delete(record.status.key.clone())
            .delete(key::tail(&spec.id.short()))
            .delete(key::unclean(spec.id));
        self.end_copy(&mut change, record)?;
        let because = spec.deleting.as_ref().and_then(|d| d.because.clone());
        self.commit_and_close(change, Kind::Volume, spec.id.0, |op| {
            Some(match (&because, op.verb) {
                (_, Verb::VolumeDelete) => Ending::well(),
                (Some(problem), _) => Ending::failed(problem.clone()),
                (None, _) => {
                    Ending::failed(Problem::new(Code::Superseded, "the volume was deleted meanwhile"))
                }
            })
        })?;
        self.after_copy(record);
        self.0.queue.settled((Kind::Volume, spec.id.0));
        // What this freed may not have been enough.
        self.make_room();
        Ok(Next::Idle)
    }

    /// Lets go of what a copy was made of, if it was not whole before.
    fn end_copy(&self, change: &mut Change, record: &VolumeRecord) -> Result<(), Problem> {
        match source_key(record) {
            Some((_, id)) => self.release_hold(change, id, (Kind::Volume, record.spec.id.0)),
            None => Ok(()),
        }
    }

    /// Whether what is now whole is a copy of what no guest had unmounted or held still.
    fn is_unclean(&self, record: &VolumeRecord) -> Result<bool, Problem> {
        if record.status.filled {
            return Ok(false);
        }
        let snapshot = match record.spec.source {
            VolumeSource::Snapshot { snapshot, .. } => snapshot,
            // It is held as long as it is copied, so no guest has changed that since.
            VolumeSource::Volume { volume, .. } => {
                return Ok(self.0.db.0.get(&key::unclean(volume))?.is_some());
            }
            _ => return Ok(false),
        };
        let source = self.0.db.record::<SnapshotSpec>(snapshot.0)?;
        let taken = source.and_then(|source| source.status.taken);
        Ok(taken.is_none_or(|taken| taken.consistency == Consistency::Crash))
    }

    /// Whoever waited for what was held looks again.
    fn after_copy(&self, record: &VolumeRecord) {
        if let Some(source) = source_key(record) {
            self.wake(source.0, source.1);
            self.0.queue.settled(source);
        }
    }

    fn conclude_volume(&self, record: &VolumeRecord, status: VolumeStatus) -> Result<(), Broken> {
        let mut change = Change::system();
        if status != record.status.value {
            change.update(&record.status, &status).on(&record.spec);
        }
        if status.filled {
            self.end_copy(&mut change, record)?;
            if self.is_unclean(record)? {
                change.put(key::unclean(record.spec.id), &true);
            }
        }
        let generation = record.spec.generation;
        // A run begins with what was settled before it, so none can miss this.
        let at_rest = self.holder_of(record)?.is_none_or(|machine| machine.status.run.is_none());
        self.commit_and_close(change, Kind::Volume, record.spec.id.0, |op| {
            let superseded = |how| {
                Ending::failed(Problem::new(Code::Superseded, format!("the volume was {how} meanwhile")))
            };
            let deleted = record.spec.deleting.is_some();
            match (&status.fault, op.verb) {
                _ if op.generation > generation => None,
                (Some(problem), Verb::VolumeEdit) if problem.code == Code::PoolOffline => {
                    let text = format!(
                        "{problem}; what is kept beside the volume's file follows once the pool is back"
                    );
                    Some(Ending::with(vec![text]))
                }
                (Some(problem), _) => Some(Ending::failed(problem.clone())),
                (None, Verb::VolumeDelete) if !deleted => Some(superseded("taken back")),
                (None, Verb::VolumeDelete) => Some(Ending::well()),
                (None, _) if deleted => Some(superseded("deleted")),
                (None, Verb::VolumeResize) if at_rest => Some(Ending::well()),
                // What is well here may have to be done in a guest, too.
                (None, Verb::VolumeResize | Verb::VolumeTrim) => None,
                (None, _) => Some(Ending::well()),
            }
        })?;
        if status.filled {
            self.after_copy(record);
        }
        self.0.queue.settled((Kind::Volume, record.spec.id.0));
        self.wake_holder(record.spec.id)?;
        Ok(())
    }

    fn wake_holder(&self, id: VolumeId) -> Result<(), Problem> {
        if let Some(claim) = self.0.db.get::<MachineId>(&key::attach(id))? {
            self.wake(Kind::Machine, claim.value.0);
        }
        Ok(())
    }

    /// A volume that could not be made is released, if a request for just it is open; one that
    /// could not be grown wants its old size again, so that a failed resize has changed nothing.
    pub(super) fn give_up_volume(&self, id: VolumeId, problem: &Problem) -> Result<bool, Broken> {
        let Some(record) = self.0.db.record::<VolumeSpec>(id.0)? else { return Ok(false) };
        let spec = &record.spec;
        if spec.deleting.is_some() {
            let generation = spec.generation;
            self.commit_and_close(Change::system(), Kind::Volume, id.0, |op| {
                (op.generation <= generation).then(|| Ending::failed(problem.clone()))
            })?;
            return Ok(false);
        }
        if let Some(reset) = &spec.reset {
            return self.give_up_reset(&record, reset, problem).map(|()| true);
        }
        if self.give_up_growth(&record, problem)? {
            return Ok(false);
        }
        if spec.moving.is_some() {
            return self.turn_back(&record, Some(problem)).map(|()| true);
        }
        let open = self.open_operations(Kind::Volume, id.0)?;
        let creating = open
            .iter()
            .find(|op| matches!(op.verb, Verb::VolumeCreate | Verb::VolumeClone | Verb::VolumeImport));
        if let (false, Some(op)) = (record.status.filled, creating) {
            return self.release_volume(&record, op, problem).map(|()| true);
        }
        let resizing = open.iter().any(|op| op.verb == Verb::VolumeResize);
        let size = if problem.code == Code::VolumeLost {
            // What is left of the file says nothing; what it was like before is wanted again.
            record.status.filled.then_some(record.status.size)
        } else {
            let seen = self.pool(&spec.pool).and_then(|pool| pool.observe(id));
            seen.ok().and_then(|o| o.file).map(|f| f.size)
        };
        if let Some(size) = size.filter(|size| resizing && *size < spec.size) {
            return self.revert_size(&record, size, problem).map(|()| true);
        }
        let condition = match problem.code {
            Code::VolumeLost => Some(Condition::Lost),
            Code::PoolFull => Some(Condition::PoolFull),
            Code::PoolOffline => Some(Condition::PoolOffline),
            Code::IoError => Some(Condition::IoError),
            _ => None,
        };
        let status = VolumeStatus { fault: Some(problem.clone()), condition, ..record.status.value.clone() };
        self.conclude_volume(&record, status)?;
        Ok(false)
    }

    fn release_volume(&self, record: &VolumeRecord, op: &Operation, problem: &Problem) -> Result<(), Broken> {
        let going = VolumeDeletion {
            at: self.0.ports.clock.now(),
            keep_until: None,
            operation: op.id,
            because: Some(problem.clone()),
        };
        let mut change = Change::system();
        change.on(&record.status);
        mark_deleting(&mut change, record, going);
        change.commit(&self.0.db)?;
        Ok(())
    }

    fn revert_size(&self, record: &VolumeRecord, size: ByteSize, problem: &Problem) -> Result<(), Broken> {
        let mut new = record.spec.value.clone();
        new.size = size;
        new.generation += 1;
        let mut change = Change::system();
        change.update(&record.spec, &new);
        self.commit_and_close(change, Kind::Volume, new.id.0, |op| {
            (op.verb == Verb::VolumeResize).then(|| Ending::failed(problem.clone()))
        })
    }
}

/// What a volume that is not whole yet is a copy of, and holds.
fn source_key(record: &VolumeRecord) -> Option<Key> {
    match record.spec.source {
        _ if record.status.filled => None,
        VolumeSource::Volume { volume, .. } => Some((Kind::Volume, volume.0)),
        VolumeSource::Snapshot { snapshot, .. } => Some((Kind::Snapshot, snapshot.0)),
        VolumeSource::Blank { .. } | VolumeSource::Image { .. } | VolumeSource::Upload => None,
    }
}
