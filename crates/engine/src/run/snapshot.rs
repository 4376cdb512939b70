//! Snapshots: looking and doing.
//!
//! Invariant: that a snapshot was taken is said in the transaction that lets its volume go, and of
//! those that belong together for all at once; until then nothing on disk is believed.

use super::close::Ending;
use super::{Broken, Next};
use crate::admit::{go_for_good, going_snapshot, restorable};
use crate::db::{Change, MachineRecord, SnapshotRecord, encode};
use crate::plan::Answer;
use crate::plan::snapshot::{Look, Source, Step, plan, too_late};
use crate::port::{Backup, Fault, Held, ProcessObs, SnapshotObs};
use crate::store::Check;
use crate::{Engine, key};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use types::machine::{Disk, MachineSpec, Mount};
use types::operation::{Kind, Progress};
use types::snapshot::{Consistency, SnapshotDeletion, SnapshotSidecar, SnapshotSpec, SnapshotStatus, Taken};
use types::volume::VolumeSpec;
use types::{Code, MachineId, Problem, RunId, SnapshotId, Verb, VolumeId};
use uuid::Uuid;

impl Engine {
    pub(super) fn look_at_snapshot(&self, id: SnapshotId) -> Result<Next, Broken> {
        let Some(record) = self.0.db.record::<SnapshotSpec>(id.0)? else {
            self.0.queue.settled((Kind::Snapshot, id.0));
            return Ok(Next::Idle);
        };
        self.end_lost_exports((Kind::Snapshot, id.0))?;
        let look = self.snapshot_look(&record)?;
        match plan(&record.spec, &record.status, &look) {
            Answer::Do(step) => self.do_snapshot(&record, &step),
            Answer::Wait(wait) => Ok(self.wait((Kind::Snapshot, id.0), &wait)),
            Answer::Settled => {
                let status = SnapshotStatus {
                    observed_generation: record.spec.generation,
                    fault: None,
                    ..record.status.value.clone()
                };
                self.conclude_snapshot(&record, status)?;
                Ok(Next::Idle)
            }
            Answer::Stuck(problem) => {
                let again = self.give_up_snapshot(id, &problem)?;
                Ok(if again { Next::Again } else { Next::Idle })
            }
        }
    }

    fn snapshot_look(&self, record: &SnapshotRecord) -> Result<Look, Broken> {
        let spec = &record.spec;
        let for_good = spec.deleting.as_ref().is_some_and(|d| d.keep_until.is_none());
        let pool = if for_good && self.is_lost(&spec.pool)? {
            SnapshotObs::default()
        } else {
            self.pool(&spec.pool)?.observe_snapshot(spec.id)?
        };
        let held = (spec.deleting.is_some() && self.is_for_reset(&mut Change::system(), record)?)
            || ((spec.deleting.is_some() || spec.passing) && self.needed(record)?);
        let source = match (&record.status.taken, &spec.deleting) {
            (None, None) => self.all_of_it(record)?,
            _ => Source::Ready,
        };
        let expired = restorable(record).is_some_and(|until| self.let_go(until));
        Ok(Look { pool, held, expired, source })
    }

    /// Whether somebody reads it; before it was taken, whether somebody waits for any of those that are
    /// taken together.
    fn needed(&self, record: &SnapshotRecord) -> Result<bool, Problem> {
        let spec = &record.spec;
        let mut all = vec![spec.id];
        if let (None, None, Some(group)) = (&spec.deleting, &record.status.taken, &spec.group) {
            all.extend(&group.members);
        }
        for id in all {
            if self.0.db.0.get(&key::hold(id.0))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The records of all that are taken together with this one, itself first.
    fn together(&self, record: &SnapshotRecord) -> Result<Vec<SnapshotRecord>, Problem> {
        let mut all = vec![record.clone()];
        for id in record.spec.group.iter().flat_map(|g| &g.members).filter(|id| **id != record.spec.id) {
            all.extend(self.0.db.record::<SnapshotSpec>(id.0)?);
        }
        Ok(all)
    }

    /// Whether everything that is to be taken together can be had now.
    fn all_of_it(&self, record: &SnapshotRecord) -> Result<Source, Broken> {
        if let Some(group) = record.spec.group.as_ref().filter(|g| g.id != record.spec.id) {
            return Ok(match self.0.db.record::<SnapshotSpec>(group.id.0)? {
                Some(first) if first.spec.deleting.is_none() => Source::Coming(Kind::Snapshot, group.id.0),
                _ => Source::Failed(too_late(&record.spec)),
            });
        }
        for one in self.together(record)? {
            match self.source_of(&one)? {
                Source::Ready => {}
                other => return Ok(other),
            }
        }
        Ok(Source::Ready)
    }

    /// The volume that a snapshot is of: without the hold, it may have changed since.
    fn source_of(&self, record: &SnapshotRecord) -> Result<Source, Broken> {
        let spec = &record.spec;
        let held = self.is_held_by(spec.volume.0, (Kind::Snapshot, spec.id.0))?;
        let Some(volume) = self.0.db.record::<VolumeSpec>(spec.volume.0)?.filter(|_| held) else {
            return Ok(Source::Failed(too_late(spec)));
        };
        if let Some(fault) = &volume.status.fault {
            return Ok(Source::Failed(fault.clone()));
        }
        // One that is to go stays for as long as it is held; one that is to be reset waits for this.
        let rests = volume.status.observed_generation == volume.spec.generation
            || volume.spec.deleting.is_some()
            || volume.spec.reset.is_some();
        if !volume.status.filled || !rests {
            return Ok(Source::Coming(Kind::Volume, spec.volume.0));
        }
        match self.had_by(spec.volume)? {
            Some(machine) if self.live(&machine)?.is_none() => {
                Ok(Source::Coming(Kind::Machine, machine.spec.id.0))
            }
            _ => Ok(Source::Ready),
        }
    }

    /// The machine whose run has a volume, if there is one.
    fn had_by(&self, volume: VolumeId) -> Result<Option<MachineRecord>, Problem> {
        let Some(claim) = self.0.db.get::<MachineId>(&key::attach(volume))? else { return Ok(None) };
        let machine = self.0.db.record::<MachineSpec>(claim.value.0)?;
        Ok(machine.filter(|m| m.status.run.is_some()))
    }

    /// A machine's run, if it is up and its volumes can be had while it is; else it has to end first, or
    /// to come up.
    fn live(&self, machine: &MachineRecord) -> Result<Option<(MachineId, RunId)>, Broken> {
        let Some(run) = &machine.status.run else { return Ok(None) };
        let up = run.hello_at.is_some() && run.stop_deadline.is_none();
        let id = machine.spec.id;
        let alive = up && self.0.ports.vmm.observe(id, run.id)? == ProcessObs::Alive;
        Ok(alive.then_some((id, run.id)))
    }

    fn do_snapshot(&self, record: &SnapshotRecord, step: &Step) -> Result<Next, Broken> {
        let spec = &record.spec;
        let pool = || self.pool(&spec.pool);
        match step {
            Step::Take => self.take(record)?,
            Step::WriteSidecar => {
                let Some(taken) = record.status.taken else { return Err(Broken::Raced) };
                let sidecar = SnapshotSidecar { spec: spec.value.clone(), taken };
                pool()?.write_snapshot_sidecar(spec.id, &encode(&sidecar))?;
            }
            Step::Expire => {
                let mut change = Change::system();
                change.on(&record.status);
                go_for_good(&mut change, record);
                change.commit(&self.0.db)?;
            }
            Step::Discard => pool()?.remove_snapshot(spec.id)?,
            Step::LetGo => {
                let going = SnapshotDeletion {
                    at: self.now(),
                    keep_until: None,
                    operation: types::OperationId(spec.id.0),
                    because: None,
                };
                let mut change = Change::system();
                change.on(&record.status).check(key::hold(spec.id.0), Check::Absent);
                going_snapshot(&mut change, record, going);
                self.untaken(&mut change, record)?;
                change.commit(&self.0.db)?;
                self.after_taking(&self.together(record)?);
            }
            Step::Forget => return self.forget_snapshot(record),
        }
        Ok(Next::Again)
    }

    /// Takes all that belong together, and says so.
    fn take(&self, record: &SnapshotRecord) -> Result<(), Broken> {
        let all = self.together(record)?;
        let live = match self.had_by(record.spec.volume)? {
            None => None,
            Some(machine) => Some(self.live(&machine)?.ok_or(Broken::Raced)?),
        };
        let at = self.now();
        let still = match live {
            None => self.copy_all(&all, false).map(|()| None)?,
            Some(run) => Some(self.copy_live(&all, run)?),
        };
        let mut change = Change::system();
        for one in &all {
            let (id, volume) = (one.spec.id, one.spec.volume);
            let size = self.pool(&one.spec.pool)?.settle_snapshot(id)?;
            let whole = match &still {
                Some(still) => still.contains(&volume),
                None => self.0.db.0.get(&key::unclean(volume))?.is_none(),
            };
            let consistency = if whole { Consistency::Filesystem } else { Consistency::Crash };
            let status =
                SnapshotStatus { taken: Some(Taken { at, size, consistency }), ..one.status.value.clone() };
            change.on(&one.spec).update(&one.status, &status);
            self.release_hold(&mut change, volume.0, (Kind::Snapshot, id.0))?;
        }
        change.commit(&self.0.db)?;
        self.after_taking(&all);
        Ok(())
    }

    fn copy_all(&self, all: &[SnapshotRecord], live: bool) -> Result<(), Fault> {
        let first = all.first().map_or(Uuid::nil(), |one| one.spec.id.0);
        let tell = |p: Progress| self.0.live.progress(Kind::Snapshot, first, &p);
        all.iter().try_for_each(|one| {
            self.pool(&one.spec.pool)?.take_snapshot(one.spec.id, one.spec.volume, live, &tell)
        })
    }

    /// Takes them from under a guest that is held still meanwhile; the volumes of which it was,
    /// throughout. Where blocks can be shared that is all; else the hypervisor copies, and the guest goes
    /// on once it has begun to.
    fn copy_live(
        &self,
        all: &[SnapshotRecord],
        (machine, run): (MachineId, RunId),
    ) -> Result<BTreeSet<VolumeId>, Broken> {
        let guest = &self.0.ports.guest;
        let of_machine = self.0.db.record::<MachineSpec>(machine.0)?.map(|m| m.spec.value.disks);
        let disks = of_machine.unwrap_or_default();
        let (held, thawed) = (RefCell::new(None), Cell::new(false));
        let hold = || match guest.freeze(machine, run) {
            Ok(said) => *held.borrow_mut() = Some(still(all, &disks, &said)),
            Err(fault) => {
                tracing::warn!(%machine, code = %fault.problem.code, "not held still: {fault}");
                if fault.passing {
                    // Its answer may only have been lost.
                    let _ = guest.thaw(machine, run);
                }
            }
        };
        let holds = || held.borrow().is_some();
        let thaw = || thawed.set(holds() && guest.thaw(machine, run).unwrap_or(false));
        let can = |one: &SnapshotRecord| self.pool(&one.spec.pool).is_ok_and(|pool| pool.shares());
        let sharing = all.iter().all(can);
        if sharing {
            hold();
        }
        // Several are shared one after the other, which is one instant only if nothing writes to any: where
        // a guest that is held still cannot see to that, it is stopped.
        let quiet = held.borrow().as_ref().is_some_and(|still| still.len() == all.len());
        let at_once = all.len() == 1 || !sharing || !quiet;
        let copied = match sharing {
            true if quiet || all.len() == 1 => {
                let copied = self.copy_all(all, true);
                thaw();
                copied
            }
            true => {
                let copied = Cell::new(Ok(()));
                let then = || copied.set(self.copy_all(all, true));
                let paused = self.0.ports.vmm.while_paused(machine, run, &then);
                thaw();
                // Its clock stood while it did. The copy is good, whatever becomes of that.
                if paused.is_ok()
                    && let Err(fault) = guest.set_clock(machine, run)
                {
                    tracing::warn!(%machine, code = %fault.problem.code, "its clock: {fault}");
                }
                paused.and(copied.into_inner())
            }
            false => self.backup(all, (machine, run), &hold, &thaw),
        };
        match copied {
            Ok(()) if thawed.get() => Ok(held.take().unwrap_or_default()),
            Ok(()) if at_once => Ok(BTreeSet::new()),
            Ok(()) => Err(not_at_once().into()),
            Err(fault) => {
                // Else it would only go on by itself in a while.
                let _ = holds() && guest.thaw(machine, run).is_ok();
                // What came to an end in the middle is not had by waiting for it.
                let gone = self.0.ports.vmm.observe(machine, run)? != ProcessObs::Alive;
                Err(if gone { went().into() } else { fault.into() })
            }
        }
    }

    /// Copies that the hypervisor makes while the guest goes on, all as of one instant.
    fn backup(
        &self,
        all: &[SnapshotRecord],
        (machine, run): (MachineId, RunId),
        hold: &dyn Fn(),
        begun: &dyn Fn(),
    ) -> Result<(), Fault> {
        let first = all.first().map_or(Uuid::nil(), |one| one.spec.id.0);
        let progress = |p: Progress| self.0.live.progress(Kind::Snapshot, first, &p);
        let disk = |one: &SnapshotRecord| (one.spec.volume.short(), one.spec.pool.clone(), one.spec.id);
        let disks: Vec<_> = all.iter().map(disk).collect();
        self.0.ports.vmm.backup(machine, run, &Backup { disks: &disks, hold, begun, progress: &progress })
    }

    /// Lets its volume go, if it was not taken before.
    fn untaken(&self, change: &mut Change, record: &SnapshotRecord) -> Result<(), Problem> {
        match record.status.taken {
            Some(_) => Ok(()),
            None => {
                let by = (Kind::Snapshot, record.spec.id.0);
                self.release_hold(change, record.spec.volume.0, by)
            }
        }
    }

    /// Whoever waited for what was held looks again.
    fn after_taking(&self, all: &[SnapshotRecord]) {
        for one in all {
            self.wake(Kind::Snapshot, one.spec.id.0);
            self.wake(Kind::Volume, one.spec.volume.0);
            self.0.queue.settled((Kind::Volume, one.spec.volume.0));
        }
    }

    fn forget_snapshot(&self, record: &SnapshotRecord) -> Result<Next, Broken> {
        let spec = &record.spec;
        if !self.is_lost(&spec.pool)? {
            // Nothing is published, so what is left are temporaries of one that was cut short.
            self.pool(&spec.pool)?.remove_snapshot(spec.id)?;
        }
        let mut change = Change::system();
        change.on(spec).on(&record.status).delete(spec.key.clone()).delete(record.status.key.clone());
        self.untaken(&mut change, record)?;
        let because = spec.deleting.as_ref().and_then(|d| d.because.clone());
        self.commit_and_close(change, Kind::Snapshot, spec.id.0, |op| {
            Some(match (&because, op.verb) {
                (_, Verb::SnapshotDelete) => Ending::well(),
                (Some(problem), _) => Ending::failed(problem.clone()),
                (None, _) => Ending::failed(too_late(spec)),
            })
        })?;
        self.after_taking(std::slice::from_ref(record));
        self.0.queue.settled((Kind::Snapshot, spec.id.0));
        self.make_room();
        Ok(Next::Idle)
    }

    fn conclude_snapshot(&self, record: &SnapshotRecord, status: SnapshotStatus) -> Result<(), Broken> {
        let mut change = Change::system();
        if status != record.status.value {
            change.update(&record.status, &status).on(&record.spec);
        }
        let generation = record.spec.generation;
        self.commit_and_close(change, Kind::Snapshot, record.spec.id.0, |op| {
            let superseded = |how| {
                let text = format!("the snapshot was {how} meanwhile");
                Ending::failed(Problem::new(Code::Superseded, text))
            };
            let deleted = record.spec.deleting.is_some();
            (op.generation <= generation).then(|| match (&status.fault, op.verb) {
                (Some(problem), _) => Ending::failed(problem.clone()),
                (None, Verb::SnapshotDelete) if !deleted => superseded("taken back"),
                (None, Verb::SnapshotUndelete) if deleted => superseded("deleted"),
                (None, _) => Ending::well(),
            })
        })?;
        self.0.queue.settled((Kind::Snapshot, record.spec.id.0));
        Ok(())
    }

    /// A snapshot that could not be taken goes, and with it those that belong together with it.
    pub(super) fn give_up_snapshot(&self, id: SnapshotId, problem: &Problem) -> Result<bool, Broken> {
        let Some(record) = self.0.db.record::<SnapshotSpec>(id.0)? else { return Ok(false) };
        let spec = &record.spec;
        if spec.deleting.is_some() || record.status.taken.is_some() {
            let status = match spec.deleting {
                Some(_) => record.status.value.clone(),
                None => SnapshotStatus { fault: Some(problem.clone()), ..record.status.value.clone() },
            };
            let mut change = Change::system();
            if status != record.status.value {
                change.update(&record.status, &status).on(spec);
            }
            let generation = spec.generation;
            self.commit_and_close(change, Kind::Snapshot, id.0, |op| {
                (op.generation <= generation).then(|| Ending::failed(problem.clone()))
            })?;
            self.0.queue.settled((Kind::Snapshot, id.0));
            return Ok(false);
        }
        let open = self.open_operations(Kind::Snapshot, id.0)?;
        let asked = open.first().map(|op| op.id);
        let mut change = Change::system();
        let all = self.together(&record)?;
        for one in all.iter().filter(|one| one.spec.deleting.is_none()) {
            let operation = asked.unwrap_or(types::OperationId(id.0));
            let because = Some(problem.clone());
            let going = SnapshotDeletion { at: self.now(), keep_until: None, operation, because };
            change.on(&one.status);
            going_snapshot(&mut change, one, going);
            self.untaken(&mut change, one)?;
        }
        change.commit(&self.0.db)?;
        self.after_taking(&all);
        for one in &all {
            // Whoever waits for it learns why it does not come.
            self.0.queue.settled((Kind::Snapshot, one.spec.id.0));
        }
        Ok(true)
    }
}

/// Those of these volumes to which nothing is written while a guest holds still.
fn still(all: &[SnapshotRecord], disks: &[Disk], said: &Held) -> BTreeSet<VolumeId> {
    let still = |volume: &VolumeId| {
        let disk = disks.iter().find(|disk| disk.volume == *volume);
        disk.is_some_and(|disk| disk.read_only)
            || match &said.0 {
                Some(serials) => serials.contains(&volume.short()),
                None => disk.is_some_and(|disk| disk.mount != Mount::None),
            }
    };
    all.iter().map(|one| one.spec.volume).filter(still).collect()
}

/// The fault of a copy whose machine has gone.
fn went() -> Fault {
    Fault::lasting(Code::MachineNotRunning, "the machine came to its end while its disks were copied")
        .hint("nothing was kept; take the snapshot anew")
}

/// The fault of snapshots that would not be of one instant.
fn not_at_once() -> Fault {
    let text = "the guest was not held still for long enough, so its disks cannot be had as of one instant";
    Fault::passing(Code::GuestFailed, text)
        .hint("try again when the guest has less to do, or stop the machine first")
}
