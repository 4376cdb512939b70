//! Taking back what was deleted, and letting it go before its time.
//!
//! Invariant: what is restored was neither gone nor going for good in the transaction that accepts it:
//! whoever lets it go for good changes its spec first ([`go_for_good`]).

use super::machine::place;
use super::volume::in_use;
use super::{Draft, network};
use crate::db::{Change, Record, Spec, VolumeRecord};
use crate::{Engine, key};
use types::machine::{Disk, MachineSpec};
use types::network::NetworkSpec;
use types::operation::Kind;
use types::snapshot::SnapshotSpec;
use types::volume::{Restore, VolumeRole, VolumeSpec};
use types::{Actor, Code, MachineId, Name, Operation, Problem, Timestamp, Verb};
use uuid::Uuid;

/// What was deleted has these.
pub(crate) trait Deleted: Spec {
    fn name(&self) -> &Name;
    /// When it was deleted, and until when it can be taken back.
    fn mark(&self) -> Option<(Timestamp, Option<Timestamp>)>;
    /// It goes: the next generation of it cannot be taken back.
    fn let_go(&mut self);
}

impl Deleted for VolumeSpec {
    fn name(&self) -> &Name {
        &self.name
    }
    fn mark(&self) -> Option<(Timestamp, Option<Timestamp>)> {
        self.deleting.as_ref().map(|d| (d.at, d.keep_until))
    }
    fn let_go(&mut self) {
        self.deleting.iter_mut().for_each(|d| d.keep_until = None);
        self.generation += 1;
    }
}

impl Deleted for SnapshotSpec {
    fn name(&self) -> &Name {
        &self.name
    }
    fn mark(&self) -> Option<(Timestamp, Option<Timestamp>)> {
        self.deleting.as_ref().map(|d| (d.at, d.keep_until))
    }
    fn let_go(&mut self) {
        self.deleting.iter_mut().for_each(|d| d.keep_until = None);
        self.generation += 1;
    }
}

impl Deleted for MachineSpec {
    fn name(&self) -> &Name {
        &self.name
    }
    fn mark(&self) -> Option<(Timestamp, Option<Timestamp>)> {
        self.deleting.as_ref().map(|d| (d.at, d.keep_until))
    }
    fn let_go(&mut self) {
        self.deleting.iter_mut().for_each(|d| d.keep_until = None);
        self.generation += 1;
    }
}

/// Until when something can be taken back, if it was deleted and can.
pub(crate) fn restorable<S: Deleted, T>(record: &Record<S, T>) -> Option<Timestamp> {
    record.spec.value.mark().and_then(|(_, until)| until)
}

/// Decides that something that was deleted goes: from here on nobody can take it back.
pub(crate) fn go_for_good<S: Deleted, T>(change: &mut Change, record: &Record<S, T>) -> S {
    let mut new = record.spec.value.clone();
    new.let_go();
    change.update(&record.spec, &new);
    new
}

impl Engine {
    /// Accepts a deleted volume back, with all that is in it. By name, the one that was deleted last.
    ///
    /// # Errors
    /// `volume-not-found`, `not-deleted`, `being-deleted` if it goes for good, `name-taken`,
    /// `volume-lost` if its file is not in the trash.
    pub fn restore_volume(&self, actor: &Actor, volume: &str, req: &Restore) -> Result<Operation, Problem> {
        self.admit(actor, Verb::VolumeRestore, (Kind::Volume, volume), |draft| {
            let record = self.find_deleted::<VolumeSpec>(volume)?;
            let name = req.name.as_ref().unwrap_or(&record.spec.name);
            self.wake_volume(draft, &record, name, None)?;
            let spec = &record.spec;
            draft.about(Kind::Volume, spec.id.0, name.as_str(), spec.generation + 1);
            Ok(())
        })
    }

    /// Accepts a deleted snapshot back. By name, the one that was deleted last.
    ///
    /// # Errors
    /// `snapshot-not-found`, `not-deleted`, `being-deleted` if it goes for good, `name-taken`,
    /// `snapshot-lost` if its file is gone.
    pub fn undelete_snapshot(
        &self,
        actor: &Actor,
        snapshot: &str,
        req: &Restore,
    ) -> Result<Operation, Problem> {
        self.admit(actor, Verb::SnapshotUndelete, (Kind::Snapshot, snapshot), |draft| {
            let record = self.find_deleted::<SnapshotSpec>(snapshot)?;
            let mut spec = record.spec.value.clone();
            spec.name = req.name.clone().unwrap_or(spec.name);
            self.take_name(draft, Kind::Snapshot, &spec.name, spec.id.0).map_err(|p| match p.code {
                Code::NameTaken => {
                    p.hint(format!("give another name: `sistemo snapshot undelete {snapshot} --name NEW`"))
                }
                _ => p,
            })?;
            let seen = self.pool(&spec.pool).and_then(|pool| pool.observe_snapshot(spec.id));
            if seen.map_err(|fault| fault.problem)?.file.is_none() {
                return Err(crate::plan::snapshot::lost(&spec));
            }
            spec.deleting = None;
            spec.generation += 1;
            draft.change.update(&record.spec, &spec);
            draft.about(Kind::Snapshot, spec.id.0, spec.name.as_str(), spec.generation);
            Ok(())
        })
    }

    /// Accepts a deleted machine back, stopped, with the volumes that were deleted with it and those
    /// of its others that nobody else has now. Where its address is taken it gets another.
    ///
    /// # Errors
    /// `machine-not-found`, `not-deleted`, `being-deleted` if it goes for good or is not stopped yet,
    /// `name-taken`, `volume-in-use`, `volume-not-found` or `volume-lost` for its root volume.
    pub fn restore_machine(&self, actor: &Actor, machine: &str, req: &Restore) -> Result<Operation, Problem> {
        self.admit(actor, Verb::MachineRestore, (Kind::Machine, machine), |draft| {
            let record = self.find_deleted::<MachineSpec>(machine)?;
            let before = &record.spec;
            if before.deleting.as_ref().is_some_and(|d| !d.released) {
                let text = format!("machine \"{}\" is still shutting down", before.name);
                return Err(Problem::new(Code::Deleting, text).hint("try again in a moment"));
            }
            let mut spec = before.value.clone();
            if let Some(name) = &req.name {
                spec.name = Name::machine(name.as_str())?;
            }
            self.take_name(draft, Kind::Machine, &spec.name, spec.id.0)
                .map_err(|p| or_another(p, "machine", machine))?;
            spec.deleting = None;
            spec.generation += 1;
            draft.about(Kind::Machine, spec.id.0, spec.name.as_str(), spec.generation);
            spec.disks = self.take_back_disks(draft, &before.value, &spec)?;
            self.take_back_nics(draft, &mut spec)?;
            draft.change.update(before, &spec);
            Ok(())
        })
    }

    /// The disks of a machine that comes back, attached again.
    fn take_back_disks(
        &self,
        draft: &mut Draft,
        before: &MachineSpec,
        spec: &MachineSpec,
    ) -> Result<Vec<Disk>, Problem> {
        let with_it: Vec<Uuid> = self.gone_with(before)?.iter().map(|v| v.spec.id.0).collect();
        let mut disks: Vec<Disk> = vec![];
        for disk in &before.disks {
            match self.take_back_disk(draft, before, spec, (disk, &disks), &with_it)? {
                None => disks.push(disk.clone()),
                Some(why) if disk.role == VolumeRole::Root => return Err(why),
                Some(why) => draft.operation.warnings.push(why.message),
            }
        }
        Ok(disks)
    }

    /// Attaches one disk again, beside those that are already, or says why that cannot be.
    fn take_back_disk(
        &self,
        draft: &mut Draft,
        before: &MachineSpec,
        spec: &MachineSpec,
        (disk, others): (&Disk, &[Disk]),
        with_it: &[Uuid],
    ) -> Result<Option<Problem>, Problem> {
        let Some(record) = self.0.db.record::<VolumeSpec>(disk.volume.0)? else {
            let gone = format!("a volume of machine \"{}\" is gone for good", before.name);
            return Ok(Some(Problem::new(Code::VolumeNotFound, gone).hint(
                "`sistemo volume list` shows what there is; deploy a machine anew with --volume or --attach",
            )));
        };
        let old = &record.spec.name;
        if with_it.contains(&disk.volume.0) {
            let renamed = spec.name != before.name && *old == before.name.root_volume();
            let name = if renamed { spec.name.root_volume() } else { old.clone() };
            self.wake_volume(draft, &record, &name, Some((spec.id, &before.name)))?;
        } else if record.spec.deleting.is_some() {
            return Ok(Some(
                Problem::new(Code::Deleting, format!("volume \"{old}\" was deleted by itself"))
                    .hint(format!("`sistemo volume restore {old}` first")),
            ));
        } else if let Some(holder) = self.holder(draft, record.spec.id)? {
            return Ok(Some(in_use(&record.spec, &holder.spec)));
        } else if let Some(taken) = self.taken_meanwhile(draft, disk, old, others)? {
            return Ok(Some(taken));
        } else {
            draft.change.on(&record.spec);
            draft.touch(Kind::Volume, disk.volume.0, old.as_str());
        }
        draft.change.put(key::attach(disk.volume), &spec.id);
        Ok(None)
    }

    /// Why a volume cannot be mounted where it was: names have changed, and another is there.
    fn taken_meanwhile(
        &self,
        draft: &mut Draft,
        disk: &Disk,
        name: &Name,
        others: &[Disk],
    ) -> Result<Option<Problem>, Problem> {
        let wanted = place(&disk.mount, name).filter(|_| disk.role == VolumeRole::Data);
        let Some(wanted) = wanted else { return Ok(None) };
        match self.refuse_taken_place(draft, others, &wanted) {
            Err(taken) if taken.code == Code::InvalidRequest => {
                let text = format!("volume \"{name}\" stays detached: another one is mounted at {wanted}");
                Ok(Some(Problem::new(taken.code, text).hint("attach it with a mount point of its own")))
            }
            other => other.map(|()| None),
        }
    }

    /// The interfaces of a machine that comes back, with what they had where that is still free.
    fn take_back_nics(&self, draft: &mut Draft, spec: &mut MachineSpec) -> Result<(), Problem> {
        for n in 0..spec.nics.len() {
            let nic = spec.nics[n].clone();
            let found = self.0.db.record::<NetworkSpec>(nic.network.0)?.map(|r| r.spec);
            let there = match &found {
                Some(net) => net.hosts().any(|a| a == nic.address),
                None => false,
            };
            let keys = [key::address(nic.network, nic.address), key::mac(&nic.mac)];
            let mut free = there;
            for key in &keys {
                free &= self.0.db.0.get(key)?.is_none();
            }
            if free {
                for key in keys {
                    draft.change.claim(key, &spec.id);
                }
                continue;
            }
            let network = match found {
                Some(network) => network,
                None => self.0.db.find::<NetworkSpec>(network::DEFAULT)?.spec,
            };
            spec.nics[n] = self.take_nic(draft, &network, spec.id)?;
            let now = spec.nics[n].address;
            draft.operation.warnings.push(format!("its address was {} and is {now}", nic.address));
        }
        Ok(())
    }

    /// Puts into a draft that a deleted volume is wanted again.
    fn wake_volume(
        &self,
        draft: &mut Draft,
        record: &VolumeRecord,
        name: &Name,
        machine: Option<(MachineId, &Name)>,
    ) -> Result<(), Problem> {
        let mut spec = record.spec.value.clone();
        self.take_name(draft, Kind::Volume, name, spec.id.0).map_err(|p| match machine {
            Some((_, machine)) => or_another(p, "machine", machine.as_str()),
            None => or_another(p, "volume", spec.name.as_str()),
        })?;
        let seen = self.pool(&spec.pool).and_then(|pool| pool.observe(spec.id));
        let seen = seen.map_err(|fault| fault.problem)?;
        if seen.file.is_none() && !seen.trashed {
            let text = format!("the file of volume \"{}\" is not in the trash any more", spec.name);
            return Err(Problem::new(Code::VolumeLost, text)
                .hint("somebody removed it by hand; if there is a backup of it, import that"));
        }
        spec.name = name.clone();
        spec.deleting = None;
        spec.owner = machine.map(|(id, _)| id);
        spec.generation += 1;
        draft.change.update(&record.spec, &spec);
        draft.touch(Kind::Volume, spec.id.0, name.as_str());
        Ok(())
    }

    /// Accepts that a deleted volume goes for good now. By name, the one that was deleted last; one that
    /// is there, or is there again, is refused.
    ///
    /// # Errors
    /// `volume-not-found`, `not-deleted`, `being-deleted` if it goes for good already, `pool-offline`.
    pub fn discard_volume(&self, actor: &Actor, volume: &str) -> Result<Operation, Problem> {
        self.admit(actor, Verb::VolumeDelete, (Kind::Volume, volume), |draft| {
            let record = self.find_deleted::<VolumeSpec>(volume)?;
            self.refuse_offline(&record.spec.pool)?;
            let new = go_for_good(&mut draft.change, &record);
            draft.about(Kind::Volume, new.id.0, new.name.as_str(), new.generation);
            Ok(())
        })
    }

    /// Accepts that a deleted snapshot goes for good now, as [`Engine::discard_volume`] does.
    ///
    /// # Errors
    /// `snapshot-not-found`, `not-deleted`, `being-deleted` if it goes for good already, `pool-offline`.
    pub fn discard_snapshot(&self, actor: &Actor, snapshot: &str) -> Result<Operation, Problem> {
        self.admit(actor, Verb::SnapshotDelete, (Kind::Snapshot, snapshot), |draft| {
            let record = self.find_deleted::<SnapshotSpec>(snapshot)?;
            self.refuse_offline(&record.spec.pool)?;
            let new = go_for_good(&mut draft.change, &record);
            draft.about(Kind::Snapshot, new.id.0, new.name.as_str(), new.generation);
            Ok(())
        })
    }

    /// Accepts that a deleted machine goes for good now, and with it the volumes that were deleted with
    /// it, as [`Engine::discard_volume`] does.
    ///
    /// # Errors
    /// `machine-not-found`, `not-deleted`, `being-deleted` if it goes for good already, `pool-offline`.
    pub fn discard_machine(&self, actor: &Actor, machine: &str) -> Result<Operation, Problem> {
        self.admit(actor, Verb::MachineDelete, (Kind::Machine, machine), |draft| {
            let record = self.find_deleted::<MachineSpec>(machine)?;
            self.forget_for_good(draft, &record)
        })
    }

    /// Something that was deleted and can be taken back, by id, or by name the latest.
    fn find_deleted<S: Deleted>(&self, id_or_name: &str) -> Result<Record<S, S::Status>, Problem> {
        let kind = S::KIND;
        let live = |name: &Name| {
            Problem::new(Code::NotDeleted, format!("{kind} \"{name}\" is not deleted"))
                .hint(format!("`sistemo {kind} list --deleted` shows what can be taken back"))
        };
        if Uuid::parse_str(id_or_name).is_ok() {
            let record = self.0.db.find::<S>(id_or_name)?;
            return match record.spec.mark() {
                None => Err(live(record.spec.name())),
                Some((_, None)) => Err(for_good(kind, record.spec.name())),
                Some((_, Some(_))) => Ok(record),
            };
        }
        let name = Name::new(id_or_name)?;
        let mut all = self.0.db.records::<S>()?;
        all.retain(|r| *r.spec.name() == name);
        let deleted = all.iter().filter(|r| matches!(r.spec.mark(), Some((_, Some(_)))));
        let latest = deleted.max_by_key(|r| (r.spec.mark(), r.spec.key.clone())).cloned();
        if let Some(latest) = latest {
            return Ok(latest);
        }
        match all.iter().find(|r| r.spec.mark().is_none()) {
            Some(_) => Err(live(&name)),
            None if !all.is_empty() => Err(for_good(kind, &name)),
            None => Err(Problem::new(S::MISSING, format!("no {kind} \"{name}\" was deleted of late"))
                .hint(format!("`sistemo {kind} list --deleted` shows what can be taken back"))),
        }
    }
}

fn for_good(kind: Kind, name: &Name) -> Problem {
    Problem::new(Code::Deleting, format!("{kind} \"{name}\" is being deleted for good"))
        .hint(format!("`sistemo {kind} list --deleted` shows what can be taken back"))
}

/// Of a name that is taken: what comes back can have another. Other problems stay as they are.
fn or_another(problem: Problem, kind: &str, of: &str) -> Problem {
    match problem.code {
        Code::NameTaken => {
            problem.hint(format!("give another name: `sistemo {kind} restore {of} --name NEW`"))
        }
        _ => problem,
    }
}
