//! Requests about snapshots.
//!
//! Invariant: what a snapshot is of is held in the transaction that accepts it, so that neither a run
//! begins nor a size changes before it was taken; a snapshot that is read is held likewise, and stays.

use super::machine::refuse_going;
use super::restore::{go_for_good, restorable};
use super::volume::{refuse_deleting, refuse_lost};
use super::{Draft, made_up};
use crate::db::{SnapshotRecord, VolumeRecord};
use crate::plan::machine::after;
use crate::{Engine, key};
use types::machine::MachineSpec;
use types::operation::Kind;
use types::snapshot::{Group, SnapshotDeletion, SnapshotSpec, TakeSnapshot, Taken};
use types::volume::VolumeSpec;
use types::{Actor, Code, MachineId, Name, Operation, Problem, SnapshotId, Verb, VolumeId};

/// What a made-up name has behind that of the volume.
const TAIL: usize = 6;

impl Engine {
    /// Accepts a snapshot of a volume, whether or not a machine that runs has it.
    ///
    /// # Errors
    /// `volume-not-found`, `name-taken`, `pool-full`, `being-deleted`, …
    pub fn snapshot_volume(
        &self,
        actor: &Actor,
        volume: &str,
        req: &TakeSnapshot,
    ) -> Result<Operation, Problem> {
        self.admit(actor, Verb::VolumeSnapshot, (Kind::Volume, volume), |draft| {
            let source = self.0.db.find::<VolumeSpec>(volume)?;
            if let Some(machine) = self.holder(draft, source.spec.id)? {
                refuse_going(&machine)?;
            }
            let id = SnapshotId(self.0.ports.clock.new_id());
            let name = match &req.name {
                Some(name) => name.clone(),
                None => name_of(&source.spec.name, id)?,
            };
            let spec = self.new_snapshot(draft, (id, name), &source, None, false)?;
            self.take_hold(&mut draft.change, source.spec.id.0, (Kind::Snapshot, id.0))?;
            draft.about(Kind::Snapshot, id.0, spec.name.as_str(), spec.generation);
            draft.touch(Kind::Volume, source.spec.id.0, source.spec.name.as_str());
            Ok(())
        })
    }

    /// Accepts snapshots of all disks of a machine at one instant. That of the root disk has the name
    /// that was asked for, those of the others add the names of their volumes.
    ///
    /// # Errors
    /// `machine-not-found`, `name-taken`, `pool-full`, `being-deleted`, …
    pub fn snapshot_machine(
        &self,
        actor: &Actor,
        machine: &str,
        req: &TakeSnapshot,
    ) -> Result<Operation, Problem> {
        self.admit(actor, Verb::MachineSnapshot, (Kind::Machine, machine), |draft| {
            let record = self.0.db.find::<MachineSpec>(machine)?;
            refuse_going(&record)?;
            let mut disks = record.spec.disks.clone();
            disks.retain(|d| d.leaving.is_none());
            let members: Vec<_> = disks.iter().map(|_| SnapshotId(self.0.ports.clock.new_id())).collect();
            let Some(first) = members.first().copied() else {
                return Err(Problem::new(Code::Internal, "a machine has no disk at all"));
            };
            let called = match &req.name {
                Some(name) => name.clone(),
                None => name_of(&record.spec.name, first)?,
            };
            let group = Group { id: first, machine: record.spec.name.clone(), members: members.clone() };
            for (disk, id) in disks.iter().zip(members) {
                let source = self.0.db.find::<VolumeSpec>(&disk.volume.to_string())?;
                let name = if id == first { called.clone() } else { joined(&called, &source.spec.name)? };
                let spec = self.new_snapshot(draft, (id, name), &source, Some(group.clone()), false)?;
                self.take_hold(&mut draft.change, source.spec.id.0, (Kind::Snapshot, id.0))?;
                if id == first {
                    draft.about(Kind::Snapshot, id.0, spec.name.as_str(), spec.generation);
                }
            }
            draft.touch(Kind::Machine, record.spec.id.0, record.spec.name.as_str());
            Ok(())
        })
    }

    /// Puts a snapshot into a draft that is taken for whoever holds it, and goes with the last hold.
    pub(super) fn new_passing_snapshot(
        &self,
        draft: &mut Draft,
        id: SnapshotId,
        source: &VolumeRecord,
        group: Option<Group>,
    ) -> Result<(), Problem> {
        let name = name_of(&source.spec.name, id)?;
        self.new_snapshot(draft, (id, name), source, group, true)?;
        self.take_hold(&mut draft.change, source.spec.id.0, (Kind::Snapshot, id.0))
    }

    /// Whether a machine has this volume that runs.
    fn runs_with(&self, volume: VolumeId) -> Result<bool, Problem> {
        let Some(holder) = self.0.db.get::<MachineId>(&key::attach(volume))? else { return Ok(false) };
        let machine = self.0.db.record::<MachineSpec>(holder.value.0)?;
        Ok(machine.is_some_and(|m| m.status.run.is_some()))
    }

    /// Puts a snapshot into a draft; whoever calls this takes the hold.
    pub(super) fn new_snapshot(
        &self,
        draft: &mut Draft,
        (id, name): (SnapshotId, Name),
        source: &VolumeRecord,
        group: Option<Group>,
        passing: bool,
    ) -> Result<SnapshotSpec, Problem> {
        refuse_deleting(source)?;
        refuse_lost(source)?;
        refuse_reset(source)?;
        let of = &source.spec;
        if of.moving.is_some() {
            return Err(crate::hold::held(&of.name));
        }
        self.refuse_offline(&of.pool)?;
        if self.runs_with(of.id)? {
            self.refuse_full_live_copy(draft, (&of.pool, name.as_str()), of.size)?;
        } else {
            self.refuse_full_copy(draft, (&of.pool, name.as_str()), (&of.pool, of.id))?;
        }
        self.warn_of_room(draft, &of.pool);
        if let Some(slow) = self.slow_copy_warning(&of.pool) {
            draft.warn(slow);
        }
        // Nobody is told of one that passes, so its name need not be its own.
        if !passing {
            self.take_name(draft, Kind::Snapshot, &name, id.0)?;
        }
        let spec = SnapshotSpec {
            id,
            name,
            generation: 1,
            node: self.settings().node.clone(),
            created_at: self.now(),
            volume: of.id,
            volume_name: of.name.clone(),
            role: of.role,
            pool: of.pool.clone(),
            image: of.source.image(),
            fs: of.file_system(),
            group,
            labels: of.labels.clone(),
            passing,
            deleting: None,
        };
        // Nobody else has this id: there is nothing to be checked, and a transaction holds only so much.
        draft.change.on(of).put(key::spec(Kind::Snapshot, id.0), &spec);
        draft.touch(Kind::Snapshot, id.0, spec.name.as_str());
        Ok(spec)
    }

    /// Accepts the end of a snapshot; its volume, other snapshots and copies stay. It is kept for a while,
    /// or with `for_good` goes at once. One that is kept can still go for good.
    ///
    /// # Errors
    /// `snapshot-not-found`, `being-deleted`, `busy`, `pool-offline`.
    pub fn delete_snapshot(
        &self,
        actor: &Actor,
        snapshot: &str,
        for_good: bool,
    ) -> Result<Operation, Problem> {
        self.admit(actor, Verb::SnapshotDelete, (Kind::Snapshot, snapshot), |draft| {
            let record = self.0.db.find::<SnapshotSpec>(snapshot)?;
            if for_good && restorable(&record).is_some() {
                self.refuse_offline(&record.spec.pool)?;
                let new = go_for_good(&mut draft.change, &record);
                draft.about(Kind::Snapshot, new.id.0, new.name.as_str(), new.generation);
                return Ok(());
            }
            refuse_going_snapshot(&record)?;
            let spec = &record.spec;
            if record.status.taken.is_none() {
                return Err(not_yet_taken(&spec.name));
            }
            let read = !self.readers(&mut draft.change, spec.id.0)?.is_empty();
            if self.is_for_reset(&mut draft.change, &record)? || read {
                return Err(Problem::new(Code::Busy, format!("snapshot \"{}\" is being read", spec.name))
                    .hint("`sistemo operation list` shows by what; try again once that has ended"));
            }
            self.refuse_offline(&spec.pool)?;
            // That its pool was away a moment ago is no reason to let it go at once.
            let lost = record.status.fault.as_ref().is_some_and(|fault| fault.code != Code::PoolOffline);
            let keep_until = (!for_good && !lost).then(|| after(self.now(), self.settings().trash_keep));
            draft.operation.restorable_until = keep_until;
            let operation = draft.operation.id;
            let going = SnapshotDeletion { at: self.now(), keep_until, operation, because: None };
            let new = going_snapshot(&mut draft.change, &record, going);
            draft.change.on(&record.status);
            draft.about(Kind::Snapshot, new.id.0, new.name.as_str(), new.generation);
            Ok(())
        })
    }
}

/// Marks a snapshot as going and frees its name.
pub(crate) fn going_snapshot(
    change: &mut crate::db::Change,
    record: &SnapshotRecord,
    going: SnapshotDeletion,
) -> SnapshotSpec {
    let mut new = record.spec.value.clone();
    new.deleting = Some(going);
    new.generation += 1;
    change.update(&record.spec, &new);
    if !new.passing {
        change.delete(key::name(Kind::Snapshot, new.name.as_str()));
    }
    new
}

/// A name for a snapshot of something of this name.
pub(super) fn name_of(of: &Name, id: SnapshotId) -> Result<Name, Problem> {
    let stem: String = of.as_str().chars().take(Name::MAX - TAIL).collect();
    Name::new(&made_up(stem.trim_end_matches('-'), id.0))
}

fn joined(called: &Name, volume: &Name) -> Result<Name, Problem> {
    Name::new(&format!("{called}-{volume}")).map_err(|p| p.hint("choose a shorter name for the snapshot"))
}

/// How a snapshot was taken that can be used now.
pub(super) fn ready(record: &SnapshotRecord) -> Result<Taken, Problem> {
    refuse_going_snapshot(record)?;
    if let Some(fault) = &record.status.fault {
        return Err(fault.clone());
    }
    record.status.taken.ok_or_else(|| not_yet_taken(&record.spec.name))
}

fn refuse_going_snapshot(record: &SnapshotRecord) -> Result<(), Problem> {
    if record.spec.passing {
        let text = format!("snapshot \"{}\" is taken for a copy and goes with it", record.spec.name);
        return Err(Problem::new(Code::Busy, text).hint("`sistemo volume snapshot` takes one that stays"));
    }
    match &record.spec.deleting {
        Some(SnapshotDeletion { keep_until: Some(until), .. }) => {
            let (name, id) = (&record.spec.name, record.spec.id);
            Err(Problem::new(Code::Deleting, format!("snapshot \"{name}\" was deleted"))
                .hint(format!("until {until}, `sistemo snapshot undelete {id}` takes it back")))
        }
        Some(_) => {
            Err(Problem::new(Code::Deleting, format!("snapshot \"{}\" is being deleted", record.spec.name))
                .hint("`sistemo snapshot list` shows what there is"))
        }
        None => Ok(()),
    }
}

fn not_yet_taken(name: &Name) -> Problem {
    Problem::new(Code::SnapshotNotReady, format!("snapshot \"{name}\" is still being taken"))
        .hint("`sistemo operation list` shows how far that is; try again once it has ended")
}

/// Refuses a volume whose content is about to be another.
pub(super) fn refuse_reset(record: &VolumeRecord) -> Result<(), Problem> {
    match record.spec.reset {
        Some(_) => {
            Err(Problem::new(Code::Busy, format!("volume \"{}\" is being restored", record.spec.name))
                .hint("`sistemo operation list` shows how far that is; try again once it has ended"))
        }
        None => Ok(()),
    }
}
