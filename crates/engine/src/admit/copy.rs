//! Requests for copies: of a volume, and of a machine with all of its volumes.
//!
//! Invariant: what is copied is held in the transaction that accepts the copy, and no process has it
//! open then; a copy has its own identity from the first moment.

use super::machine::{copy_name, refuse_going};
use super::snapshot::{ready, refuse_reset};
use super::volume::{NewVolume, cannot_shrink_copy, refuse_deleting, refuse_lost, size};
use super::{Draft, made_up};
use crate::db::{MachineRecord, SnapshotRecord, VolumeRecord};
use crate::{Engine, key};
use types::fs::FileSystem;
use types::machine::{CloneMachine, Desired, Disk, MachineSpec};
use types::network::NetworkSpec;
use types::operation::Kind;
use types::snapshot::{Consistency, SnapshotSpec};
use types::volume::{CloneVolume, VolumeRole, VolumeSource, VolumeSpec};
use types::{Actor, ByteSize, Code, MachineId, Name, Operation, Problem, Verb, VolumeId};
use uuid::Uuid;

impl Engine {
    /// Accepts an independent copy of a volume that no machine has running, or of a snapshot. What is
    /// named is a volume if there is one of that name or id, else a snapshot.
    ///
    /// # Errors
    /// `volume-not-found`, `machine-running`, `snapshot-not-ready`, `volume-too-small`, `name-taken`, `pool-full`, …
    pub fn clone_volume(&self, actor: &Actor, volume: &str, req: CloneVolume) -> Result<Operation, Problem> {
        self.admit(actor, Verb::VolumeClone, (Kind::Volume, volume), |draft| {
            let found = self.find_source(volume)?;
            let id = self.new_volume_id(draft)?;
            let name = match &req.name {
                Some(name) => name.clone(),
                None => Name::new(&made_up("vol", id.0))?,
            };
            let source = match found {
                Original::Volume(source) => *source,
                Original::Snapshot(source) => {
                    let spec = self.new_copy_of_snapshot(draft, id, name, &source, &req)?;
                    draft.about(Kind::Volume, id.0, spec.name.as_str(), spec.generation);
                    return Ok(());
                }
            };
            if let Some(machine) = self.holder(draft, source.spec.id)? {
                refuse_running(draft, &machine, "clone its volumes")?;
            }
            let spec = self.new_copy(draft, id, name, &source, (req.size_bytes, req.pool.as_ref()), None)?;
            draft.about(Kind::Volume, id.0, spec.name.as_str(), spec.generation);
            Ok(())
        })
    }

    fn find_source(&self, named: &str) -> Result<Original, Problem> {
        match self.0.db.find::<VolumeSpec>(named) {
            Ok(volume) => Ok(Original::Volume(Box::new(volume))),
            Err(missing) if missing.code == Code::VolumeNotFound => {
                match self.0.db.find::<SnapshotSpec>(named) {
                    Ok(snapshot) => Ok(Original::Snapshot(Box::new(snapshot))),
                    Err(other) if other.code == Code::SnapshotNotFound => Err(missing),
                    Err(other) => Err(other),
                }
            }
            Err(other) => Err(other),
        }
    }

    /// Puts a copy of a snapshot into a draft.
    fn new_copy_of_snapshot(
        &self,
        draft: &mut Draft,
        id: VolumeId,
        name: Name,
        source: &SnapshotRecord,
        req: &CloneVolume,
    ) -> Result<VolumeSpec, Problem> {
        let taken = ready(source)?;
        let from = &source.spec;
        let asked = req.size_bytes.map(|bytes| size(bytes, ByteSize::mib(1))).transpose()?;
        let wanted = asked.unwrap_or(taken.size);
        if wanted < taken.size {
            return Err(cannot_shrink_copy(&from.name, taken.size, wanted));
        }
        let pool = self.usable_pool(draft, req.pool.as_ref().or(Name::new(&from.pool).ok().as_ref()))?;
        self.refuse_full_snapshot_copy((&pool, name.as_str()), (&from.pool, from.id))?;
        draft.operation.warnings.extend(self.room_warnings(&pool));
        draft.operation.warnings.extend(self.slow_copy_warning(&pool));
        let copy = NewVolume {
            id,
            name,
            pool,
            role: from.role,
            size: wanted,
            source: VolumeSource::Snapshot { snapshot: from.id, image: from.image },
            fs: from.fs.or(from.image.map(|_| FileSystem::Ext4)),
            identity: Some(Uuid::from_u128(rand::random())),
            owner: None,
            labels: from.labels.clone(),
        };
        let spec = self.new_volume(draft, copy)?;
        draft.change.on(&source.spec).on(&source.status);
        if taken.consistency == Consistency::Crash {
            draft.change.put(key::unclean(id), &true);
        }
        self.take_hold(&mut draft.change, from.id.0, (Kind::Volume, id.0))?;
        Ok(spec)
    }

    /// Puts a copy of a volume that no process has open into a draft, which holds only while that
    /// stays so.
    fn new_copy(
        &self,
        draft: &mut Draft,
        id: VolumeId,
        name: Name,
        source: &VolumeRecord,
        (bytes, pool): (Option<u64>, Option<&Name>),
        owner: Option<MachineId>,
    ) -> Result<VolumeSpec, Problem> {
        refuse_deleting(source)?;
        refuse_lost(source)?;
        refuse_reset(source)?;
        let from = &source.spec;
        if from.moving.is_some() {
            return Err(crate::hold::held(&from.name));
        }
        let wanted = bytes.map(|bytes| size(bytes, ByteSize::mib(1))).transpose()?.unwrap_or(from.size);
        if wanted < from.size {
            return Err(cannot_shrink_copy(&from.name, from.size, wanted));
        }
        let pool = self.usable_pool(draft, pool.or(Name::new(&from.pool).ok().as_ref()))?;
        self.refuse_full_copy((&pool, name.as_str()), (&from.pool, from.id))?;
        draft.operation.warnings.extend(self.room_warnings(&pool));
        draft.operation.warnings.extend(self.slow_copy_warning(&pool));
        let copy = NewVolume {
            id,
            name,
            pool,
            role: from.role,
            size: wanted,
            source: VolumeSource::Volume { volume: from.id, image: from.source.image() },
            fs: from.file_system(),
            identity: Some(Uuid::from_u128(rand::random())),
            owner,
            labels: from.labels.clone(),
        };
        let spec = self.new_volume(draft, copy)?;
        draft.change.on(&source.spec).on(&source.status);
        if self.0.db.0.get(&key::unclean(from.id))?.is_some() {
            draft.change.put(key::unclean(id), &true);
        }
        self.take_hold(&mut draft.change, from.id.0, (Kind::Volume, id.0))?;
        Ok(spec)
    }

    /// Accepts a copy of a machine that does not run: its volumes are copied, it gets addresses and
    /// an identity of its own, and runs.
    ///
    /// # Errors
    /// `machine-not-found`, `machine-running`, `name-taken`, `pool-full`, what a deploy is refused for.
    pub fn clone_machine(
        &self,
        actor: &Actor,
        machine: &str,
        req: CloneMachine,
    ) -> Result<Operation, Problem> {
        self.admit(actor, Verb::MachineClone, (Kind::Machine, machine), |draft| {
            let record = self.0.db.find::<MachineSpec>(machine)?;
            refuse_running(draft, &record, "clone it")?;
            self.ready_for_runs(draft)?;
            let id = self.new_machine_id(draft)?;
            let name = Name::machine(req.name.as_str())?;
            self.take_name(draft, Kind::Machine, &name, id.0)?;
            draft.about(Kind::Machine, id.0, name.as_str(), 1);
            let mut nics = vec![];
            for nic in &record.spec.nics {
                let network = self.0.db.find::<NetworkSpec>(&nic.network.to_string())?.spec;
                nics.push(self.take_nic(draft, &network, id)?);
            }
            let mut disks = vec![];
            for disk in &record.spec.disks {
                let source = self.0.db.find::<VolumeSpec>(&disk.volume.to_string())?;
                let volume = self.new_volume_id(draft)?;
                let called = match disk.role {
                    VolumeRole::Root => name.root_volume(),
                    VolumeRole::Data => copy_name(&name, &source.spec.name)?,
                };
                // A data volume goes with it only if this request fails.
                self.new_copy(draft, volume, called, &source, (None, None), Some(id))?;
                draft.change.claim(key::attach(volume), &id);
                disks.push(Disk { volume, leaving: None, ..disk.clone() });
            }
            let spec = MachineSpec {
                id,
                name,
                generation: 1,
                created_at: self.now(),
                desired: Desired::Running,
                epoch: 1,
                resumes: 0,
                disks,
                nics,
                uid: self.take_uid(draft, id)?,
                protected: false,
                deleting: None,
                ..record.spec.value.clone()
            };
            draft.change.claim(key::spec(Kind::Machine, id.0), &spec);
            Ok(())
        })
    }
}

/// What a copy is made of.
enum Original {
    Volume(Box<VolumeRecord>),
    Snapshot(Box<SnapshotRecord>),
}

/// Refuses while a machine runs or shall run; the draft holds only while it stays stopped.
pub(super) fn refuse_running(draft: &mut Draft, machine: &MachineRecord, what: &str) -> Result<(), Problem> {
    refuse_going(machine)?;
    let name = &machine.spec.name;
    let starting =
        machine.spec.desired == Desired::Running && machine.status.ended_epoch < machine.spec.epoch;
    if machine.status.run.is_some() || starting {
        let held = machine.status.run.is_none() && machine.status.held.is_some();
        let how = if held { "runs again once its host is back" } else { "is running" };
        return Err(Problem::new(Code::MachineRunning, format!("machine \"{name}\" {how}"))
            .hint(format!("stop it first: `sistemo machine stop {name}`, then {what}")));
    }
    draft.change.on(&machine.spec).on(&machine.status);
    Ok(())
}
